import io
import json
import os
import runpy
import shutil
import struct
import sys
import zipfile
import zlib
from dataclasses import replace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trimesh
from datasets import Dataset, Features, Value, load_dataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.model_files import object_3mf, threemf, understated, zipped
from support.paths import SCRIPTS
from support.tiny_meshes import glb

from mrd_hf.commands.prepare import print_summary
from mrd_hf.data import rendering
from mrd_hf.data.rendering import RenderSettings
from mrd_hf.data.sources.meshes import mesh_folder
from mrd_hf.data.sources.meshes.mesh_files import MeshFiles, leads_out
from mrd_hf.data.sources.meshes.mesh_folder import mesh_folder_features, prepare_mesh_folder
from mrd_hf.data.sources.meshes.mesh_jobs import UNNAMED, mesh_jobs
from mrd_hf.data.sources.meshes.mesh_metadata import read_metadata
from mrd_hf.data.sources.meshes.mesh_names import folder_categories, shape_ids, words_of_name
from mrd_hf.data.sources.meshes.mesh_parquet import mesh_rows, row_content
from mrd_hf.errors import UserError


OBJ = "mtllib skin.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl skin\nf 1/1 2/2 3/3\n"

MTL = "newmtl skin\nKd 0 0 1\n"


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def prepare(folder, tmp_path, **options):
    report = prepare_mesh_folder(folder, tmp_path / "out", num_points=64, **options)
    assert report["prepared"] + len(report["skipped"]) == len(mesh_jobs(folder, options.get("metadata")))
    return report, load_dataset(str(tmp_path / "out"), split="train")


def swollen(data):
    """The file with its first PNG claiming 20,000 x 10,000 pixels."""
    start = data.index(b"IHDR")
    header = b"IHDR" + struct.pack(">II", 20_000, 10_000) + data[start + 12 : start + 17]
    return data[:start] + header + struct.pack(">I", zlib.crc32(header)) + data[start + 21 :]


def test_a_job_that_kills_its_worker_is_named_by_where_its_mesh_is(tmp_path):
    (job,) = mesh_jobs(write(tmp_path / "meshes", {"chairs/Office Chair.obj": OBJ}), None)
    assert str(job) == f"{tmp_path}/meshes/chairs/Office Chair.obj"
    assert str(replace(job, source="shapes.parquet", row=7)) == "shapes.parquet: row 7: chairs/Office Chair.obj"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Office_Chair-02", "office chair"),
        ("OfficeChair2", "office chair"),
        ("TVStand_v", "tv stand v"),
        ("chair (1)", "chair"),
        ("bed.low.001", "bed low"),
        ("Boîte à outils", "boîte à outils"),
        ("0042", ""),
        ("00a3f5d2b1c94e8f", ""),
        ("8e1ddec0-9a4b-4a6b-8d5f-0123456789ab", ""),
        ("2seater_sofa", "2seater sofa"),
    ],
)
def test_words_of_names(name, words):
    assert words_of_name(name) == words


@given(st.text(max_size=30))
def test_words_are_clean_whatever_the_name(name):
    words = words_of_name(name)
    assert words == " ".join(words.split()) and "_" not in words and not words[-1:].isdecimal()
    assert words == words.lower() and len(words) <= 3 * len(name)


@given(st.lists(st.text("ab./", min_size=1, max_size=5).filter(lambda p: p.strip("./")), unique=True))
def test_ids_are_unique_and_do_not_depend_on_the_order(paths):
    paths = [f"x{path}.glb".replace("//", "/") for path in dict.fromkeys(paths)]
    paths = list(dict.fromkeys(paths))
    ids = dict(zip(paths, shape_ids(paths), strict=True))
    assert len(set(ids.values())) == len(paths)
    assert ids == dict(zip(paths[::-1], shape_ids(paths[::-1]), strict=True))


def test_ids_keep_suffixes_only_where_they_must():
    paths = ["a/chair.glb", "a/chair.obj", "b/chair.glb", "v1.2.glb"]
    assert shape_ids(paths) == ["a/chair.glb", "a/chair.obj", "b/chair", "v1.2"]
    assert shape_ids(["a.glb", "a.glb.ply", "a.obj"]) == ["a.glb", "a.glb.ply", "a.obj"]


def test_categories_are_folders_but_not_splits():
    paths = ["night_stand/train/a.off", "night_stand/test/b.off", "Chairs/train/c.off", "d.off", "000-001/e.off"]
    assert folder_categories(paths) == ["night stand", "night stand", "chairs", None, None]
    assert folder_categories(["only/a.off", "only/b.off"]) == [None, None]


def test_a_folder_of_every_kind_of_mesh(tmp_path):
    box = trimesh.creation.box()
    kinds = {f"Boxes/Some_Box-{i}.{kind}": box.export(file_type=kind) for i, kind in enumerate(("ply", "off", "stl"))}
    gltf = {f"gltf/{name}": data for name, data in box.export(file_type="gltf").items()}
    files = {**kinds, **gltf, "Reds/redBox.GLB": glb(), "Reds/a.obj": OBJ, "Reds/skin.mtl": "newmtl skin\nKd 0 0 1\n"}
    folder = write(tmp_path / "in", {**files, "notes.txt": "", ".hidden.glb": "", "__MACOSX/x.glb": ""})
    report, data = prepare(folder, tmp_path)
    assert report["skipped"] == [] and report["warnings"] == []
    assert data.features == mesh_folder_features()
    ids = ["Boxes/Some_Box-0", "Boxes/Some_Box-1", "Boxes/Some_Box-2", "Reds/a", "Reds/redBox", "gltf/model"]
    assert data["id"][:] == ids
    assert data["name"][:] == ["some box"] * 3 + ["a", "red box", "model"]
    assert data["category"][:] == ["boxes"] * 3 + ["reds"] * 2 + ["gltf"]
    assert data["texts"][0] == [{"text": "some box", "source": "file_name"}]
    assert set(data["source"]) == {"meshes"} and data["model"][4] == "Reds/redBox.GLB"
    assert data["license"][0] == "NOASSERTION" and data["creator"][0] is None and data["images"][0] == []
    colors = [np.unique(np.array(row["colors"]), axis=0).tolist() for row in data]
    assert colors[1:] == [[[102] * 3]] * 2 + [[[0, 0, 255]], [[255, 0, 0]], [[102] * 3]]


def make_of(form, tmp_path, files):
    """The collection as a folder or as a zip file, and the file that its only mesh is in."""
    if form == "folder":
        return write(tmp_path / "shapes", files), tmp_path / "shapes" / next(iter(files))
    with zipfile.ZipFile(tmp_path / "shapes.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return tmp_path / "shapes.zip", tmp_path / "shapes.zip"


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_mesh_that_was_repaired_is_told_of_and_read_with_overwrite(tmp_path, capsys, form):
    """In one process, which must not remember what a zip file held."""
    folder, file = make_of(form, tmp_path, {"chairs/chair.off": "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"})
    report, first = prepare(folder, tmp_path)
    part = tmp_path / "out" / "data" / "train-00000-of-00001.parquet"
    assert "outdated" not in report and "outdated" not in prepare(folder, tmp_path)[0]
    made = part.stat().st_mtime
    make_of(form, tmp_path, {"chairs/chair.off": "OFF\n3 1 0\n0 0 0\n1 0 0\n0 0 1\n3 0 1 2\n"})
    os.utime(file, (made + 5, made + 5))
    report, kept = prepare(folder, tmp_path)
    assert report["outdated"] == {str(part): str(file)} and kept[0]["points"] == first[0]["points"]
    print_summary(report, "out")
    assert f"kept: {part}, though {file} was changed since; delete the file and run again" in capsys.readouterr().out
    part.unlink()
    _, again = prepare(folder, tmp_path)
    report, rebuilt = prepare(folder, tmp_path, overwrite=True)
    for data in (again, rebuilt):  # the triangle stands now
        assert np.ptp(np.array(data[0]["points"]), axis=0)[1] == 0 != np.ptp(np.array(first[0]["points"]), axis=0)[1]
    os.utime(part, (made + 9, made + 9))
    assert "outdated" not in prepare(folder, tmp_path)[0]


def test_a_folder_with_and_without_a_slash_at_its_end_is_one_input(tmp_path, monkeypatch):
    """As the shell completes it; whatever else was typed stays as it is, for datasets that were begun with it."""
    write(tmp_path / "my_models", {"Red Mug.glb": glb()})
    monkeypatch.chdir(tmp_path)
    for typed in ("my_models", "./my_models", str(tmp_path / "my_models"), "my_models/../my_models"):
        assert {job.source for slashes in ("", "/", "//") for job in mesh_jobs(typed + slashes)} == {typed}
    monkeypatch.chdir("my_models")
    assert [job.source for job in mesh_jobs("./")] == [job.source for job in mesh_jobs(".")] == ["."]
    first = prepare_mesh_folder("../my_models", tmp_path / "out", num_points=16)
    assert prepare_mesh_folder("../my_models/", tmp_path / "out", num_points=16) == first


@pytest.mark.parametrize(
    ("names", "metadata", "shared"),
    [
        (["a/model", "b/model", "c/model", "d/model"], None, "model"),
        (["chair_1", "chair_2", "chair_3", "Chair-4"], None, "chair"),
        (["chairs/1", "chairs/2", "chairs/3", "chairs/4", "x/y/000"], None, None),
        (["a/model", "b/model", "c/model"], None, None),
        (["chair_1", "chair_2", "chair_3", "mug"], None, None),
        (["chair_1", "chair_2", "chair_3", "chair_4"], "caption", None),
    ],
)
def test_shapes_that_no_text_tells_apart_are_told_of(tmp_path, capsys, names, metadata, shared):
    folder = write(tmp_path / "in", {f"{name}.glb": glb() for name in names})
    if metadata is not None:
        rows = "".join(f"{name}.glb,a thing\n" for name in names)
        write(folder, {"metadata.csv": f"file_name,{metadata}\n{rows}"})
    report, _ = prepare(folder, tmp_path)
    assert report.get("one_text") == shared and report["skipped"] == []
    print_summary(report, "out")
    printed = capsys.readouterr().out
    assert ("warning" in printed) == (shared is not None)
    if shared is not None:
        assert f"all shapes have the same text, '{shared}'" in printed and "metadata.csv" in printed


def test_z_up_is_turned_and_points_fill_the_unit_sphere(tmp_path):
    folder = write(tmp_path / "in", {"box.glb": glb()})  # 1 x 2 x 3
    report = prepare_mesh_folder(folder, tmp_path / "out", num_points=4000, up_axis="z")
    points = np.array(load_dataset(str(tmp_path / "out"), split="train")[0]["points"], dtype=np.float64)
    assert np.ptp(points, axis=0) / np.ptp(points, axis=0).max() == pytest.approx([1 / 3, 1, 2 / 3], abs=0.02)
    assert np.linalg.norm(points, axis=1).max() == pytest.approx(1, abs=2e-3)
    assert report["settings"]["up_axis"] == "z"


def test_which_axis_is_up_is_as_the_files_say_and_so_it_is_reported(tmp_path):
    box = threemf(object_3mf(2), '<item objectid="2"/>')  # 1 x 2 x 3, z up
    folder = write(tmp_path / "in", {"box.3mf": box, "other.glb": glb()})
    report = prepare_mesh_folder(folder, tmp_path / "out", num_points=4000)
    data = load_dataset(str(tmp_path / "out"), split="train")
    heights = {row["id"]: np.ptp(np.array(row["points"], dtype=float)[:, 1]) for row in data}
    assert report["settings"]["up_axis"] == "as each file says, else y"
    assert heights["box"] / heights["other"] == pytest.approx(3 / 2, abs=0.05)
    report = prepare_mesh_folder(folder, tmp_path / "y", num_points=4000, up_axis="y")
    assert report["settings"]["up_axis"] == "y"
    data = load_dataset(str(tmp_path / "y"), split="train")
    assert np.ptp(np.array(data[0]["points"], dtype=float)[:, 1]) == pytest.approx(heights["other"], abs=0.05)


def test_z_up_faces_the_camera(tmp_path):
    # A triangle pointing up along z, whose tip leans to the front, -y.
    folder = write(tmp_path / "in", {"tip.obj": "v -1 0 0\nv 1 0 0\nv 0 -1 5\nf 1 2 3\n"})
    prepare_mesh_folder(folder, tmp_path / "out", num_points=4000, up_axis="z")
    points = np.array(load_dataset(str(tmp_path / "out"), split="train")[0]["points"], dtype=np.float64)
    tip = points[points[:, 1].argmax()]
    assert tip[1] > 0.9 and tip[2] > 0.1


METADATA = [
    {"file_name": "a.glb", "name": "Crate", "captions": ["a red crate", "a box"], "license": "CC0-1.0"},
    {"file_name": "sub/b.glb", "text": "a thing", "creator": "Ann", "category": "things"},
    {"file_name": "a.glb", "captions": ["a third text", "a box"]},
    {"file_name": "gone.glb"},
]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata_says_what_belongs_and_what_it_is(tmp_path, kind):
    folder = write(tmp_path / "in", {name: glb() for name in ("a.glb", "sub/b.glb", "unnamed.glb")})
    empty = dict.fromkeys(key for row in METADATA for key in row)
    if kind == "csv":
        rows = [{**row, "captions": json.dumps(row["captions"])} if "captions" in row else row for row in METADATA]
        Dataset.from_list([{**empty, **row} for row in rows]).to_csv(str(folder / "metadata.csv"))
    elif kind == "jsonl":
        (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, METADATA)))
    else:
        Dataset.from_list([{**empty, **row} for row in METADATA]).to_parquet(str(folder / "metadata.parquet"))
    report, data = prepare(folder, tmp_path)
    assert data["id"][:] == ["a", "sub/b"]
    crate, thing = data
    assert (crate["name"], crate["license"], thing["name"], thing["creator"]) == ("Crate", "CC0-1.0", "b", "Ann")
    assert thing["category"] == "things" and thing["texts"] == [{"text": "a thing", "source": "text"}]
    texts = [(entry["text"], entry["source"]) for entry in crate["texts"]]
    captions = ["a red crate", "a box", "a third text"]
    assert texts == [("Crate", "name"), *((text, "caption") for text in captions)]
    assert report["skipped"] == [
        {"id": "gone", "why": "gone.glb: no such file in in."},
        {"id": "unnamed", "why": "no metadata file names it, so it is left out"},
    ]


def test_texts_in_jsonl_may_have_any_character(tmp_path):
    text = "a chair " + " ".join(map(chr, (0x2028, 0x2029, 0x85, 0x0B, 0x1C))) + " of wood"
    rows = [{"file_name": "a.glb", "caption": text}, {"file_name": "b.glb", "caption": "a lamp"}]
    for ends in ("\n", "\r\n"):
        # Control characters are escaped in JSON, and U+2028 and U+0085 need not be.
        data = ends.join(["", *(json.dumps(row, ensure_ascii=False) for row in rows), ""]).encode("utf-8-sig")
        described = read_metadata(data, "metadata.jsonl")
        assert [described[row["file_name"]].texts for row in rows] == [((row["caption"], "caption"),) for row in rows]
    with pytest.raises(UserError, match=r"metadata\.jsonl: line 3 is no JSON object"):
        read_metadata(b'{"file_name": "a.glb"}\n\n3\n', "metadata.jsonl")


def test_metadata_elsewhere_and_of_sub_folders(tmp_path):
    folder = write(tmp_path / "in", {"x/a.glb": glb(), "y/a.glb": glb(), "x/metadata.csv": "file_name,text\na.glb,ax"})
    (tmp_path / "captions.csv").write_text("file_name,text\nx/a.glb,from outside\n")
    own, outer = mesh_jobs(folder), mesh_jobs(folder, tmp_path / "captions.csv")
    assert own[0].description.texts == (("ax", "text"),) and own[1].skipped
    assert outer[0].description.texts == (("from outside", "text"),) and outer[1].skipped
    (tmp_path / "captions.csv").write_text("file_name,text\nx/a.glb,one\n./x/a.glb,two\n")
    assert mesh_jobs(folder, tmp_path / "captions.csv")[0].description.texts == (("one", "text"), ("two", "text"))
    inner = mesh_jobs(folder, folder / "x" / "metadata.csv")
    assert [(job.name, job.skipped is None) for job in inner] == [("x/a.glb", True), ("y/a.glb", False)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.csv", "name\nx\n", "line 2 has no 'file_name' \\(its columns: name\\)"),
        ("metadata.csv", "file_name,name\na.glb,b,c\n", "line 2 has more values"),
        ("metadata.csv", b"file_name\n\xff\xfe.glb\n", "cannot be read as CSV"),
        ("metadata.csv", "", "has no rows"),
        ("metadata.jsonl", '{"file_name": "a.glb"}\n[1]\n', "line 2 is no JSON object"),
        ("metadata.jsonl", '{"file_name": "a.glb", "text": [["x"]]}\n', "line 1: 'text' has \\['x'\\]"),
        ("metadata.jsonl", '{"file_name": "a.glb", "texts": [{"caption": "x"}]}\n', "line 1: 'texts' has {'caption'"),
        ("metadata.jsonl", '{"file_name": "a.glb", "texts": [{"text": "x", "source": {}}]}', "'texts' has {};"),
        ("metadata.jsonl", "{", "cannot be read as JSONL"),
        ("metadata.parquet", b"PAR1", "cannot be read as PARQUET"),
    ],
)
def test_bad_metadata_is_one_message(name, content, message):
    with pytest.raises(UserError, match=f"^{name}: .*{message}"):
        read_metadata(content.encode() if isinstance(content, str) else content, name)


def test_metadata_that_names_no_file_is_told_before_the_files_that_it_leaves_out(tmp_path):
    folder = write(tmp_path / "in", {"chairs/1.glb": glb(), "metadata.csv": "file_name\nchairs/99.glb\nchairs/98.glb"})
    with pytest.raises(
        UserError, match=r"metadata's chairs/99\.glb is not there, nor is any other file that it names"
    ):
        mesh_jobs(folder)
    (folder / "metadata.csv").write_text("file_name\nCHAIRS/1.GLB\n")  # as on Windows
    assert mesh_jobs(folder)[0].name == "CHAIRS/1.GLB"


def test_missing_files_are_printed_before_those_that_metadata_leaves_out(capsys):
    skipped = [{"id": str(number), "why": UNNAMED} for number in range(20)]
    skipped.append({"id": "99", "why": "99.glb: no such file in in."})
    report = {"prepared": 1, "skipped": skipped, "warnings": [], "missing": [], "splits": {"train": 1}}
    print_summary(report, "out")
    assert "skipped: 99: 99.glb: no such file" in capsys.readouterr().out.splitlines()[1]


def test_the_folder_of_the_meshes_is_no_output(tmp_path):
    folder = write(tmp_path / "in", {"a.glb": glb()})
    with pytest.raises(UserError, match="is the folder of the meshes, which is left as it is; give --output another"):
        prepare_mesh_folder(folder, tmp_path / "in" / ".")
    assert [file.name for file in folder.iterdir()] == ["a.glb"]


def test_two_kinds_of_metadata_are_refused(tmp_path):
    folder = write(tmp_path, {"a.glb": glb(), "metadata.csv": "file_name\na.glb", "metadata.jsonl": ""})
    with pytest.raises(UserError, match="has 2 metadata files"):
        mesh_jobs(folder)


def test_what_is_damaged_or_hostile_is_named_and_nothing_else_is_lost(tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), (0, 200, 0)).save(picture, "PNG")
    files = {
        "good.glb": glb(),
        "truncated.glb": glb()[:-300],
        "empty.glb": b"",
        "bomb.obj": OBJ,
        "skin.mtl": "newmtl skin\nKd 0 0 1\nmap_Kd bomb.png\n",
        "bomb.png": swollen(picture.getvalue()),
        "inner bomb.glb": swollen(glb(Image.new("RGB", (8, 8)))),
        "missing/texture.obj": OBJ,
        "missing/skin.mtl": "newmtl skin\nKd 0 0 1\nmap_Kd gone.png\n",
        "no faces.obj": "v 0 0 0\nv 1 0 0\nv 0 1 0\n",
        "tiny.obj": "v 0 0 0\nv 1e-170 0 0\nv 0 1e-170 0\nf 1 2 3\n",
        "0001.glb": glb(),
        "last.glb": glb(),
    }
    report, data = prepare(write(tmp_path / "in", files), tmp_path)
    assert data["id"][:] == ["bomb", "good", "inner bomb", "last", "missing/texture"]
    assert [item["id"] for item in report["skipped"]] == ["0001", "empty", "no faces", "tiny", "truncated"]
    reasons = {item["id"]: item["why"] for item in report["skipped"]}
    assert reasons["no faces"] == "no faces.obj: 3 points and no face; expected a mesh."
    assert "no text" in reasons["0001"]
    assert reasons["truncated"].startswith("truncated.glb: cannot be read as 'glb'")
    warnings = {item["id"]: item["why"] for item in report["warnings"]}
    assert warnings.pop("bomb").startswith("texture cannot be read: bomb.png (Image size")
    assert warnings.pop("missing/texture") == "file not found: gone.png"
    assert warnings.pop("inner bomb").startswith("texture cannot be read: image 0 inside the file (Image size")
    assert warnings == {}
    colors = dict(zip(data["id"], (np.array(row["colors"])[0].tolist() for row in data), strict=True))
    assert colors["bomb"] == colors["missing/texture"] == [0, 0, 255]


def test_a_folder_behind_a_link_belongs_to_the_collection(tmp_path):
    write(tmp_path / "elsewhere", {"chair.glb": glb(), "._chair.glb": b""})
    write(tmp_path / "shapes", {"lamps/lamp.glb": glb()})
    (tmp_path / "shapes" / "chairs").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    report, data = prepare(tmp_path / "shapes", tmp_path)
    assert data["category"][:] == ["chairs", "lamps"] and not report["skipped"]


def test_a_zip_file_is_read_in_place_and_never_beyond_it(tmp_path):
    (tmp_path / "secret.glb").write_bytes(glb())
    (tmp_path / "skin.mtl").write_text("newmtl skin\nKd 1 0 0\n")
    archive = tmp_path / "in.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("chairs/red.glb", glb())
        file.writestr("chairs/cut.obj", OBJ.replace("skin.mtl", "../../skin.mtl"))
        file.writestr("chairs/ok.obj", OBJ.replace("skin.mtl", "../materials/skin.mtl"))
        file.writestr("materials/Skin.MTL", "newmtl skin\nKd 0 0 1\n")  # in other letter case, as on Windows
        for name in ("../secret.glb", "/secret.glb", "x/../../secret.glb", "..\\other.glb"):
            file.writestr(name, glb())
        file.writestr("__MACOSX/._red.glb", b"")
    before = sorted(tmp_path.rglob("*"))
    report, data = prepare(archive, tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if "out" not in path.parts) == before
    assert data["id"][:] == ["chairs/cut", "chairs/ok", "chairs/red"]
    assert [np.array(row["colors"])[0].tolist() for row in data] == [[102] * 3, [0, 0, 255], [255, 0, 0]]
    assert len(report["skipped"]) == 4
    assert all(item["why"].endswith("leads out of in.zip, so it is not read.") for item in report["skipped"])
    (warning,) = report["warnings"]
    assert warning["why"] == "file may not be read: ../../skin.mtl; only what lies in in.zip is"


def test_a_zip_file_with_backslashes_is_one_with_slashes(tmp_path):
    files = {"chairs/red.glb": glb(), "chairs/ok.obj": OBJ.replace("skin.mtl", "../m/skin.mtl"), "m/skin.mtl": MTL}
    found = []
    for name, separator in (("a.zip", "/"), ("b.zip", "\\")):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for path, content in files.items():
                file.writestr(path.replace("/", separator), content)
        _, data = prepare(tmp_path / name, tmp_path, overwrite=True)
        found.append(data.remove_columns(["points"]).to_list())
    assert found[0] == found[1] and found[0][0]["model"] == "chairs/ok.obj"
    assert {tuple(color) for color in found[0][0]["colors"]} == {(0, 0, 255)}


def test_a_zip_bomb_and_a_damaged_member_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("mrd_hf.models.shape_limits.HARMLESS_BYTES", 100_000)
    archive = tmp_path / "in.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.stl", b"\0" * 1_000_000)
        file.writestr("good.glb", glb())
        file.writestr("hurt.obj", OBJ * 20)
    data = bytearray(archive.read_bytes())
    data[data.index(b"hurt.obj") + 20] ^= 255
    archive.write_bytes(data)
    report, prepared = prepare(archive, tmp_path)
    assert prepared["id"][:] == ["good"]
    bomb, hurt = report["skipped"]
    assert bomb["why"].startswith("bomb.stl: 1 MiB once unpacked, of 0.0 MiB")
    assert hurt["why"].startswith("hurt.obj: damaged or not readable")


def test_a_zip_file_packed_by_another_method_than_deflate_is_not_unpacked(tmp_path):
    """Python bounds the output of no other."""
    (tmp_path / "in.zip").write_bytes(zipped({"a.obj": OBJ}, zipfile.ZIP_LZMA))
    with pytest.raises(OSError, match="not readable .it is not packed by deflate; pack it again by that"):
        MeshFiles(tmp_path / "in.zip").read("a.obj")
    (tmp_path / "in.zip").write_bytes(understated(zipped({"a.obj": bytes(2**23)}), 100))
    assert MeshFiles(tmp_path / "in.zip").read("a.obj") == bytes(100)


@given(st.text("./\\a:C", max_size=12))
def test_paths_that_lead_out_are_told(name):
    depth = 0
    parts = name.replace("\\", "/").split("/")
    escapes = name.replace("\\", "/").startswith("/")
    for part in parts:
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        escapes |= depth < 0
    # Going out and back in again is out; a drive letter is, too, but "a/../C:" only after it is resolved.
    if escapes or (len(name) > 1 and name[0].isalpha() and name[1] == ":" and ".." not in name):
        assert leads_out(name)
    elif ":" not in name:
        assert not leads_out(name)


def test_metadata_cannot_name_files_outside(tmp_path):
    (tmp_path / "secret.glb").write_bytes(glb())
    rows = f"file_name\n../secret.glb\n{tmp_path}/secret.glb\na.glb\nnotes.txt\n"
    folder = write(tmp_path / "in", {"a.glb": glb(), "notes.txt": "", "metadata.csv": rows})
    report, data = prepare(folder, tmp_path)
    assert data["id"][:] == ["a"]
    assert [item["why"].partition(": ")[2][:12] for item in report["skipped"]] == ["leads out of"] * 2 + [
        "expected a m"
    ]


@pytest.mark.skipif("Mesh" not in dir(datasets), reason="these datasets have no Mesh feature")
def test_parquet_files_with_meshes(tmp_path):
    features = Features(
        {"mesh": datasets.Mesh(), "caption": Value("string"), "label": datasets.ClassLabel(names=["cube"])}
    )
    rows = [
        {"mesh": {"bytes": glb(), "path": f"{name}.glb"}, "caption": caption, "label": 0}
        for name, caption in (("mesh", "first"), ("mesh", "second"), ("Red_Crate", None))
    ]
    rows.append({"mesh": {"bytes": None, "path": "elsewhere.glb"}, "caption": None, "label": None})
    folder = tmp_path / "in"
    folder.mkdir()
    Dataset.from_list(rows, features=features).to_parquet(str(folder / "train.parquet"), batch_size=2)
    Dataset.from_dict({"x": [1]}).to_parquet(str(folder / "other.parquet"))
    report, data = prepare(folder, tmp_path)
    assert data["id"][:] == ["train.parquet/000000", "train.parquet/000001", "Red_Crate"]
    assert [row["texts"][0]["text"] for row in data] == ["first", "second", "red crate"]
    assert data["category"][:] == ["cube"] * 3
    (skipped,) = report["skipped"]
    assert skipped == {
        "id": "elsewhere",
        "why": "elsewhere.glb: row 4 of train.parquet has no mesh inside; embed the files before writing it.",
    }


def write_noted(file, columns, features):
    """A parquet file in whose notes of `datasets` the columns are these features."""
    noted = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table(columns).replace_schema_metadata(noted), file)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 5], "row 2: the label 5 is none of 2"), (["a", "b"], "row 1: the label 'a' is none of 2")],
)
def test_a_label_that_is_no_class_is_told_by_its_row(tmp_path, labels, message):
    features = {"mesh": {"_type": "Mesh"}, "label": {"names": ["cube", "mug"], "_type": "ClassLabel"}}
    meshes = [{"bytes": glb(), "path": f"{number}.glb"} for number in range(2)]
    write_noted(tmp_path / "a.parquet", {"mesh": meshes, "label": labels}, features)
    with pytest.raises(UserError, match=rf"a\.parquet: {message}"):
        mesh_rows(tmp_path / "a.parquet")
    write_noted(tmp_path / "b.parquet", {"mesh": meshes, "label": [1, -1]}, features)
    assert [row.category for _, row in mesh_rows(tmp_path / "b.parquet")] == ["mug", None]


def test_categories_and_splits_may_be_of_classes(tmp_path):
    """As `load_dataset(...).class_encode_column` makes them, in the table of meshes and in metadata.parquet."""
    told = {"category": ["mug", None, "chair"], "split": ["test", "train", "train"], "name": ["m", "x", "c"]}
    features = Features(
        {
            "category": datasets.ClassLabel(names=["chair", "mug"]),
            "split": datasets.ClassLabel(names=["train", "test"]),
            "name": Value("string"),
        }
    )
    names = [f"{name}.glb" for name in told["name"]]
    table = Dataset.from_dict(told, features=features).add_column("file_name", names)
    table.to_parquet(str(tmp_path / "metadata.parquet"))
    assert pq.read_table(tmp_path / "metadata.parquet")["category"].to_pylist() == [1, None, 0]
    described = read_metadata((tmp_path / "metadata.parquet").read_bytes(), "metadata.parquet")
    found = [(described[name].category, described[name].split) for name in names]
    assert found == list(zip(told["category"], told["split"], strict=True))

    meshes = [{"bytes": glb(), "path": name} for name in names]
    noted = {
        "mesh": {"_type": "Mesh"},
        "category": {"names": ["chair", "mug"], "_type": "ClassLabel"},
        "split": {"names": ["train", "test"], "_type": "ClassLabel"},
    }
    write_noted(tmp_path / "a.parquet", {"mesh": meshes, "category": [1, -1, 0], "split": [1, 0, 0]}, noted)
    assert [(row.category, row.split) for _, row in mesh_rows(tmp_path / "a.parquet")] == found
    write_noted(tmp_path / "b.parquet", {"file_name": names, "category": [0, 1, 2]}, noted)
    with pytest.raises(UserError, match=r"^b\.parquet: row 3: the category 2 is none of 2 classes\.$"):
        read_metadata((tmp_path / "b.parquet").read_bytes(), "b.parquet")


def test_notes_of_earlier_datasets_on_lists(tmp_path):
    """Lists were noted as lists, of columns that are no meshes."""
    features = {"x": [{"dtype": "string", "_type": "Value"}]}
    write_noted(tmp_path / "a.parquet", {"x": [["a"]]}, features)
    assert mesh_rows(tmp_path / "a.parquet") == []
    meshes = [{"bytes": b"", "path": "b.glb"}]
    write_noted(tmp_path / "b.parquet", {"x": [["a"]], "mesh": meshes}, {**features, "mesh": {"_type": "Mesh"}})
    assert [name for name, _ in mesh_rows(tmp_path / "b.parquet")] == ["b.glb"]


def test_a_parquet_file_that_was_replaced_is_read_again(tmp_path):
    contents = [[b"one", None], [b"other", b"last"]]
    for content in contents:
        column = pa.array([{"bytes": data, "path": "a.glb"} for data in content])
        info = {"info": {"features": {"mesh": {"_type": "Mesh"}}}}
        table = pa.table({"mesh": column}).replace_schema_metadata({"huggingface": json.dumps(info)})
        pq.write_table(table, tmp_path / "a.parquet")
        assert [row_content(str(tmp_path / "a.parquet"), row) for row in range(2)] == content


def test_files_are_kept_for_the_viewer_where_it_knows_them(tmp_path):
    boxes = {f"box.{kind}": trimesh.creation.box().export(file_type=kind) for kind in ("ply", "stl", "off")}
    folder = write(tmp_path / "in", {**boxes, "Red.GLB": glb(), "a.obj": OBJ})
    _, data = prepare(folder, tmp_path, keep_mesh=True)
    assert data.features["mesh"] == datasets.Mesh() and data.features == mesh_folder_features(keep_mesh=True)
    kept = {row["model"]: row["mesh"] for row in data.cast_column("mesh", datasets.Mesh(decode=False))}
    assert {name: None if file is None else file["path"] for name, file in kept.items()} == {
        "Red.GLB": "Red.GLB",
        "a.obj": None,
        "box.off": None,
        "box.ply": "box.ply",
        "box.stl": "box.stl",
    }
    assert all(file is None or file["bytes"] == (folder / name).read_bytes() for name, file in kept.items())
    shown = next(row["mesh"] for row in data if row["model"] == "box.ply")  # as `datasets` itself reads it
    assert len(shown.faces) == 12
    # Such a column is a source itself, row by row.
    (tmp_path / "rows").mkdir()
    data.select_columns(["mesh"]).to_parquet(str(tmp_path / "rows" / "train.parquet"))
    report, again = prepare(tmp_path / "rows", tmp_path / "again", keep_mesh=True)
    assert len(again) == 3 and len(report["skipped"]) == 2
    files = again.cast_column("mesh", datasets.Mesh(decode=False))["mesh"]
    assert {file["path"]: file["bytes"] for file in files} == {
        file["path"]: file["bytes"] for file in kept.values() if file is not None
    }


@pytest.mark.skipif("Mesh" not in dir(datasets), reason="these datasets have no Mesh feature")
def test_a_dataset_that_keeps_its_files_is_a_source_itself(tmp_path):
    rows = [
        {"file_name": "a/1.glb", "name": "Crate", "category": "box", "license": "CC0-1.0", "caption": "a red crate"},
        {"file_name": "a/Lamp_2.glb", "text": "a thing", "creator": "Ann", "category": "lamp"},
        {"file_name": "Blue Mug.glb"},
    ]
    metadata = "\n".join(map(json.dumps, rows))
    folder = write(tmp_path / "in", {**{row["file_name"]: glb() for row in rows}, "metadata.jsonl": metadata})
    prepare(folder, tmp_path, keep_mesh=True)
    report, again = prepare(tmp_path / "out", tmp_path / "again")
    assert report["skipped"] == []
    found = {
        row["model"]: (row["name"], row["category"], row["license"], row["creator"], row["texts"]) for row in again
    }
    assert found == {
        "1.glb": (
            "Crate",
            "box",
            "CC0-1.0",
            None,
            [{"text": "Crate", "source": "name"}, {"text": "a red crate", "source": "caption"}],
        ),
        "Lamp_2.glb": ("lamp", "lamp", "NOASSERTION", "Ann", [{"text": "a thing", "source": "text"}]),
        "Blue Mug.glb": ("blue mug", None, "NOASSERTION", None, [{"text": "blue mug", "source": "file_name"}]),
    }


@pytest.mark.skipif("Mesh" not in dir(datasets), reason="these datasets have no Mesh feature")
def test_what_was_made_in_the_folder_of_the_meshes_is_none_of_them(tmp_path, monkeypatch):
    folder = write(tmp_path / "in", {"Red Mug.glb": glb(), "triplets.glb": glb(), "triplets-2/lamp.glb": glb()})
    monkeypatch.chdir(folder)

    def make(out, **options):
        report = prepare_mesh_folder(folder, out, num_points=16, keep_mesh=True, **options)
        assert report["skipped"] == []
        return report

    first = make("triplets")
    assert make("triplets") == make(folder / "triplets", overwrite=True) == first and first["prepared"] == 3
    shutil.rmtree("triplets")
    for index in range(2):
        report = make("./triplets/deeper", num_shards=2, shard_index=index)
    assert report["prepared"] == 3 and not report["missing"]
    # Where the dataset is around the meshes, they are none of its files.
    assert prepare_mesh_folder(folder / "triplets-2", folder, num_points=16)["prepared"] == 1


def test_files_are_kept_only_by_a_datasets_that_can(tmp_path, monkeypatch):
    monkeypatch.setattr(mesh_folder, "Mesh", None)
    with pytest.raises(UserError, match="--keep-mesh needs a newer datasets"):
        prepare_mesh_folder(write(tmp_path / "in", {"Red.GLB": glb()}), tmp_path / "out", keep_mesh=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(rendering.EmbreeScene is None, reason="needs embreex")
def test_pictures_are_drawn_alike_by_any_number_of_workers(tmp_path):
    folder = write(tmp_path / "in", {f"{name}.glb": glb() for name in "abc"})
    settings = RenderSettings(num_views=2, resolution=32)
    reports = [
        prepare_mesh_folder(folder, tmp_path / f"out{n}", num_points=32, rendering=settings, num_workers=n)
        for n in (1, 2)
    ]
    assert reports[0] == reports[1] and reports[0]["settings"]["rendering"]["num_views"] == 2
    one, two = (load_dataset(str(tmp_path / f"out{n}"), split="train").data.table for n in (1, 2))
    assert one == two
    row = load_dataset(str(tmp_path / "out1"), split="train")[0]
    assert [image.size for image in row["images"]] == [(32, 32)] * 2
    assert np.array(row["images"][0])[16, 16, 0] > 100 > np.array(row["images"][0])[16, 16, 1]


def test_pictures_without_embreex_fail_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(rendering, "EmbreeScene", None)
    folder = write(tmp_path / "in", {"a.glb": glb()})
    with pytest.raises(UserError, match="mrd-hf\\[render\\]"):
        prepare_mesh_folder(folder, tmp_path / "out", rendering=RenderSettings())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("x")])
def test_no_meshes_is_one_message(tmp_path, make):
    make(tmp_path / "in")
    with pytest.raises(UserError, match="no such folder|no mesh in it"):
        mesh_jobs(tmp_path / "in")
    (tmp_path / "in.zip").write_text("no zip")
    with pytest.raises(UserError, match="not a zip file"):
        MeshFiles(tmp_path / "in.zip")


SCRIPT = SCRIPTS / "prepare_dataset.py"


def run_script(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "meshes", *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.mark.skipif(rendering.EmbreeScene is None, reason="needs embreex")
def test_the_command_draws_as_it_is_told(tmp_path, monkeypatch, capsys):
    folder, out = write(tmp_path / "in", {"Red_Box.glb": glb(), "bad.glb": b""}), tmp_path / "out"
    options = "--num_views 3 --resolution 40 --elevation -20 45 --background #0000ff --ambient 1 --num_points 16"
    run_script(monkeypatch, folder, "--out", out, *options.split(), "--num_workers", 1)
    printed = capsys.readouterr().out
    assert (
        "1 shapes prepared, 1 skipped" in printed
        and "skipped: bad: bad.glb: cannot be read as 'glb': the file is empty." in printed
    )
    (row,) = load_dataset(str(out), split="train")
    assert [image.size for image in row["images"]] == [(40, 40)] * 3
    corner, middle = (np.array(row["images"][0])[place, place].astype(int) for place in (0, 20))
    assert np.abs(corner - [0, 0, 255]).max() < 8 and np.abs(middle - [255, 0, 0]).max() < 8
    rendered = json.loads((out / "report.json").read_text())["settings"]["rendering"]
    assert rendered["elevations"] == [-20, 45]


def test_the_command_without_pictures_needs_no_embreex(tmp_path, monkeypatch):
    monkeypatch.setattr(rendering, "EmbreeScene", None)
    folder = write(tmp_path / "in", {"b.glb": glb(), "captions.csv": "file_name,caption\nb.glb,a block\n"})
    options = ["--no_images", "--num_points", 16, "--num_workers", 1, "--metadata", folder / "captions.csv"]
    run_script(monkeypatch, folder, "--out", tmp_path / "out", *options)
    (row,) = load_dataset(str(tmp_path / "out"), split="train")
    assert row["images"] == [] and row["texts"] == [{"text": "a block", "source": "caption"}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--background", "whyte"], "argument --background: expected a color's name or #rrggbb, got whyte"),
        (["--up_axis", "x"], "argument --up-axis"),
        (["--num_views", "0"], "error: num_views is 0"),
        (["--metadata", "gone.csv", "--no_images"], "error: gone.csv: no such file"),
    ],
)
def test_the_command_names_what_is_wrong(tmp_path, monkeypatch, capsys, options, message):
    write(tmp_path, {"a.glb": glb()})
    with pytest.raises(SystemExit) as ended:
        run_script(monkeypatch, tmp_path, "--out", tmp_path / "out", *options)
    assert ended.value.code == 2 and message in capsys.readouterr().err
