"""`mrd-hf inspect`: numbers worked out by hand, unreadable files, what fits a terminal, and no model for it."""

import gc
import json
import os
import re
import struct
import subprocess
import sys
import weakref

import numpy as np
import pytest
from support.pages import blocks
from support.paths import ROOT
from support.textured_square import write_textured_obj
from tiny_commands import mrd_hf

from mrd_hf.cli import shape_facts
from mrd_hf.cli.file_headers import FileHeader, read_header


FORMATS = ROOT / "docs" / "formats.md"


@pytest.fixture
def two_parts(tmp_path):
    """A textured square of area 1 and, elsewhere, a rectangle of area 3 in a colour of its own."""
    file = write_textured_obj(tmp_path)
    with file.open("a") as text:
        text.write("v 0 0 5\nv 3 0 5\nv 3 1 5\nv 0 1 5\no plate\nusemtl blue\nf -4 -3 -2 -1\nl 1 2\n")
    with (tmp_path / "square.mtl").open("a") as library:
        library.write("newmtl blue\nKd 0 0 1\n")
    return file


def inspected(capsys, *arguments) -> list[dict]:
    mrd_hf("inspect", *arguments, "--json")
    return json.loads(capsys.readouterr().out)["files"]


def glb(document: dict) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<4sII", b"glTF", 2, 20 + len(text)) + struct.pack("<I4s", len(text), b"JSON") + text


def test_a_mesh_is_described_by_its_numbers(two_parts, capsys):
    (facts,) = inspected(capsys, two_parts)
    assert (facts["kind"], facts["num_parts"], facts["num_faces"], facts["num_points"]) == ("mesh", 2, 4, 0)
    assert facts["bounding_box"] == [[0, 0, 0], [3, 1, 5]] and facts["extents"] == [3, 1, 5]
    assert facts["area"] == pytest.approx(4)
    assert facts["color_sources"] == pytest.approx({"material": 0.75, "texture": 0.25})
    assert list(facts["color_sources"]) == ["material", "texture"]  # the largest first
    # A quarter is of the texture's four colours, red, green, blue and white; three are blue.
    expected = 0.25 * np.array([127.5, 127.5, 127.5]) + 0.75 * np.array([0, 0, 255])
    np.testing.assert_allclose(facts["mean_color"], expected, atol=3)
    assert facts["warnings"] == ["1 elements 'l' left out"]
    assert facts["bytes"] == two_parts.stat().st_size and facts["format"] == "OBJ"
    square, plate = sorted(facts["parts"], key=lambda part: part["area"])
    assert square == {
        "name": "paint",
        "num_faces": 2,
        "area": pytest.approx(1),
        "color_source": "texture",
        "texture_size": [8, 8],
        "wrap": ["repeat", "repeat"],
    }
    assert (plate["area"], plate["texture_size"], plate["wrap"]) == (pytest.approx(3), None, None)


def test_a_cloud_is_described_by_its_points(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.array([[0, 0, 0, 1, 0, 0], [2, 4, -6, 0, 0, 0.5]]))
    np.save(tmp_path / "b.npy", np.zeros((7, 3)))
    colored, bare = inspected(capsys, tmp_path / "a.npy", tmp_path / "b.npy")
    assert (colored["kind"], colored["num_points"], colored["num_faces"]) == ("point cloud", 2, 0)
    assert colored["bounding_box"] == [[0, 0, -6], [2, 4, 0]]
    assert colored["mean_color"] == [128, 0, 64] and colored["color_sources"] == {"vertex colours": 1.0}
    assert bare["color_sources"] == {"none": 1.0} and bare["mean_color"] == [102, 102, 102]  # 0.4 of 255
    assert colored["up_axis"] == "y" and colored["up_axis_is_assumed"] is True


def test_a_file_that_cannot_be_read_is_listed_and_the_others_go_on(tmp_path, capsys):
    asset = {"version": "2.0", "generator": "Someone's exporter"}
    needed = {"asset": asset, "extensionsUsed": ["ACME_knots"], "extensionsRequired": ["ACME_knots"]}
    (tmp_path / "a.glb").write_bytes(glb(needed))
    np.save(tmp_path / "b.npy", np.zeros((7, 3)))
    (tmp_path / "c.txt").write_text("no shape")
    files = [str(tmp_path / name) for name in ("a.glb", "b.npy", "c.txt")]
    assert mrd_hf("inspect", *files, "--json") == 1
    out, err = capsys.readouterr()
    broken, cloud, text = json.loads(out)["files"]
    assert "2 of 3 files failed." in err
    assert broken["generator"] == "Someone's exporter" and broken["extensions"] == ["ACME_knots"]
    assert files[0] in broken["error"] and "ACME_knots" in broken["error"] and "kind" not in broken
    assert cloud["num_points"] == 7 and "error" not in cloud
    assert "'.txt' are not known" in text["error"]
    assert mrd_hf("inspect", *files) == 1
    shown = capsys.readouterr().out
    assert len(re.findall("not read$", shown, re.MULTILINE)) == 2 and "ACME_knots" in shown and "7 points" in shown
    assert mrd_hf("inspect", files[1]) == 0


def test_what_is_shown_fits_the_terminal_and_does_it_no_harm(two_parts, tmp_path, capsys):
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    name = "evil\x1b[2J" + "n" * 90 + ".npy"
    np.save(folder / name, np.array([[-1.2345e10, 1.25e-7, 0], [1e10, 1.5e-7, 1.23456e-5]]))
    two_parts.write_text(two_parts.read_text().replace("usemtl blue", "usemtl blue \x1b[31m " + "x" * 200))
    for arguments in ([two_parts], [two_parts, "--parts"], [folder / name], [two_parts, folder / name, "--parts"]):
        assert mrd_hf("inspect", *arguments) == 0
        out = capsys.readouterr().out
        # Of one file the name is in full, to be copied.
        assert max(map(len, out.splitlines()[len(arguments) == 1 or arguments[1] == "--parts" :])) <= 100
        assert "\x1b" not in out
    assert re.search(r"2 points +2.23e\+10x2.5e-08x1.23e-05 +none$", out, re.MULTILINE)


def test_a_table_names_the_parts(two_parts, capsys):
    assert mrd_hf("inspect", two_parts, "--parts") == 0
    out = capsys.readouterr().out
    assert re.search(r"^ +paint +2 +1 +texture +8x8 +repeat$", out, re.MULTILINE)
    assert re.search(r"^ +blue +2 +3 +material$", out, re.MULTILINE)
    assert mrd_hf("inspect", two_parts) == 0
    assert "paint" not in capsys.readouterr().out


def test_one_shape_at_a_time_is_in_memory(tmp_path, monkeypatch):
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", np.zeros((7, 3)))
    read, alive = shape_facts.read_shape, []

    def watched(file, *choice):
        assert not any(shape() for shape in alive)
        shape = read(file, *choice)
        alive.append(weakref.ref(shape))
        return shape

    monkeypatch.setattr(shape_facts, "read_shape", watched)
    gc.disable()
    try:
        assert mrd_hf("inspect", tmp_path) == 0
    finally:
        gc.enable()
    assert len(alive) == 4


def test_no_model_is_imported():
    """Nor torch or transformers, which takes seconds."""
    code = """
import atexit, sys
atexit.register(lambda: print("imported:", {"torch", "transformers", "trimesh", "matplotlib"} & set(sys.modules)))
from mrd_hf_cli.main import main
main()
"""
    shape = ROOT / "scripts" / "demo_data" / "shapes" / "chair.glb"
    done = subprocess.run([sys.executable, "-c", code, "inspect", shape], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "216" in done.stdout and "imported: set()" in done.stdout


def test_a_pipe_is_not_waited_for_and_any_name_is_shown(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.glb")
    name = os.path.join(os.fsencode(tmp_path), b"latin-\xe9\x1b[2J.npy")
    with open(name, "wb") as file:
        np.save(file, np.zeros((7, 3)))
    assert mrd_hf("inspect", tmp_path) == 1
    shown = capsys.readouterr().out
    assert "pipe.glb" in shown and "no such file" in shown
    assert "7 points" in shown and "\x1b" not in shown and r"latin-\xe9\x1b[2J.npy" in shown
    assert mrd_hf("inspect", tmp_path, "--json") == 1
    assert r"latin-\xe9" in json.loads(capsys.readouterr().out)["files"][0]["file"]


HEADERS = {
    "a.glb": (glb({"asset": {"version": "2.0", "generator": "G 1"}}), ("GLB", "2.0", "binary", "G 1")),
    "b.gltf": (b'\xef\xbb\xbf{"asset": {"version": "2.1", "generator": 7}}', ("GLTF", "2.1", "json", "7")),
    "c.glb": (b"glTF\x01\0\0\0", ("GLB", "1", "binary", None)),
    "d.ply": (b"ply\r\nformat ascii 1.0\r\ncomment VCGLIB generated\r\n", ("PLY", "1.0", "ascii", "VCGLIB generated")),
    "e.ply": (b"ply\nformat binary_big_endian 1.0\nend_header\ncomment", ("PLY", "1.0", "binary_big_endian", None)),
    "f.stl": (b"Exported from Blender".ljust(84, b"\0"), ("STL", None, "binary", "Exported from Blender")),
    "g.stl": (b"solid tool\nfacet normal 0 0 0\nouter loop\nvertex 0 0 0", ("STL", None, "ascii", "solid tool")),
    "h.obj": (b"#\n# Blender v2.79\nv 0 0 0", ("OBJ", None, "ascii", "Blender v2.79")),
    "i.off": (b"# made by hand\nCOFF\n", ("OFF", None, "ascii", "made by hand")),
    "j.pcd": (b"# .PCD v0.7\nVERSION 0.7\nDATA binary_compressed\n", ("PCD", "0.7", "binary_compressed", ".PCD v0.7")),
    "k.npy": (b"\x93NUMPY\x01\x00\x76\x00", ("NPY", "1.0", "binary", None)),
    "p.dae": (
        b'<?xml version="1.0"?>\n<COLLADA xmlns="x" version="1.4.1"><asset><contributor>\n'
        b"<authoring_tool>Blender 2.92</authoring_tool>",
        ("DAE", "1.4.1", "xml", "Blender 2.92"),
    ),
    "q.las": (
        b"LASF".ljust(24, b"\0") + b"\x01\x04" + b"someone".ljust(32, b"\0") + b"PDAL 2".ljust(40, b"\0"),
        ("LAS", "1.4", "binary", "PDAL 2"),
    ),
    "r.laz": (b"LASF", ("LAZ", None, None, None)),
    "s.usda": (b"#usda 1.0\n(\n)\n", ("USDA", "1.0", "ascii", None)),
    "t.usd": (b"PXR-USDC\x00\x08\x00\0\0", ("USD", "0.8.0", "binary", None)),
    "u.usdz": (b"PK\x03\x04", ("USDZ", None, "zip", None)),
    "l.xyz": (b"0 0 0", ("XYZ", None, None, None)),
    "m.glb": (b"", ("GLB", None, "json", None)),
    "n.gltf": (b'{"asset": [1], "extensionsUsed": "x"}', ("GLTF", None, "json", None)),
    "o.gltf": (b"[" * 100_000, ("GLTF", None, "json", None)),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_headers_are_read(name, tmp_path):
    content, expected = HEADERS[name]
    (tmp_path / name).write_bytes(content)
    header = read_header(tmp_path / name)
    assert (header.format, header.version, header.encoding, header.generator) == expected
    assert isinstance(header, FileHeader) and header.extensions == []


def test_versions_are_of_the_packages_that_read_shapes(monkeypatch):
    """Those of the extra `formats`, as its metadata has them, and no others."""
    declared = [
        "torch>=2.6",
        'Nowhere>=2.0; extra == "formats"',
        "pytest>=8; platform_machine != 'aarch64' and extra == 'formats'",
        'faiss-cpu>=1.9; extra == "retrieval"',
    ]
    monkeypatch.setattr(shape_facts, "requires", {"mrd-hf": declared}.get)
    found = shape_facts.versions()
    assert list(found)[-2:] == ["Nowhere", "pytest"] and not found.keys() & {"torch", "faiss-cpu"}
    assert found["Nowhere"] is None and found["pytest"] == pytest.__version__ and found["numpy"] == np.__version__


def test_the_keys_of_the_json_are_documented(two_parts, tmp_path, capsys):
    mrd_hf("inspect", two_parts, tmp_path / "square.mtl", "--json")
    answer = json.loads(capsys.readouterr().out)
    mesh, broken = answer["files"]
    assert answer["versions"].keys() >= {"mrd-hf", "numpy", "pillow"}
    keys = {*answer, *mesh, *broken, *mesh["parts"][0]}
    documented = set(re.findall(r"^\| `(\w+)` \|", FORMATS.read_text(), flags=re.MULTILINE))
    assert documented == keys


def test_the_printed_example_is_what_is_printed(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert mrd_hf("inspect", "scripts/demo_data/shapes/chair.glb", "--parts") == 0
    printed, versions, _ = capsys.readouterr().out.partition("mrd-hf ")
    assert versions
    (example,) = [code for _, code in blocks(FORMATS, "text") if "chair.glb" in code]
    assert example.splitlines() == printed.splitlines()
