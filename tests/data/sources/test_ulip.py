import os
import runpy
import shutil
import sys

import numpy as np
import pytest
from datasets import load_dataset
from support.paths import SCRIPTS
from tiny_ulip import CHAIR, MUG, NUM_POINTS, PLANE, cloud, picture, png, write_download

from mrd_hf.data.schema import triplet_features
from mrd_hf.data.sources.ulip import prepare_ulip
from mrd_hf.errors import UserError


def prepare(folder, out, **options):
    report = prepare_ulip(folder, out, **{"num_points": NUM_POINTS, **options})
    assert report["shapes"] == report["prepared"] + len(report["skipped"])
    return report, load_dataset(str(out), split="train")


def test_rows_follow_the_schema(tmp_path):
    report, data = prepare(write_download(tmp_path / "in"), tmp_path / "out")
    assert data.features == triplet_features() and data["id"][:] == [PLANE, CHAIR]
    row = data[0]
    assert (row["source"], row["name"], row["category"]) == ("shapenet", "airplane,aeroplane, plane", "airplane")
    assert row["license"] is None and row["creator"] is None
    assert row["texts"] == [{"text": text, "source": "name"} for text in ("airplane", "aeroplane", "plane")]
    expected = cloud(0) - cloud(0).mean(axis=0, dtype=np.float64)
    expected /= np.linalg.norm(expected, axis=1).max()
    assert np.abs(np.array(row["points"]) - expected).max() < 1e-3  # the axes as they are, in the order of the file
    assert (np.array(row["colors"]) == 102).all()  # 0.4 of 255, as models have it for clouds without colour
    assert report["settings"] == {"source": "ulip", "split": "train", "num_points": NUM_POINTS, "seed": 0}


def test_pictures_are_the_files_as_they_are_in_the_order_of_the_views(tmp_path):
    _, data = prepare(write_download(tmp_path / "in"), tmp_path / "out")
    stored = data.with_format("arrow")[:1]["images"][0].as_py()
    assert [image["bytes"] for image in stored] == [png(view) for view in range(30)]


def test_the_flat_folder_of_renders_gives_the_same(tmp_path):
    folder = write_download(tmp_path / "in")
    _, expected = prepare(folder, tmp_path / "out")
    flat = folder / "only_rgb_depth_images"
    flat.mkdir()
    for file in (folder / "rendered_images").rglob("*.png"):
        file.rename(flat / file.name)
    shutil.rmtree(folder / "rendered_images")
    report, found = prepare(folder, tmp_path / "flat")
    assert not report["warnings"] and found[:] == expected[:]


def test_the_test_split(tmp_path):
    _, data = prepare(write_download(tmp_path / "in"), tmp_path / "out", split="test")
    assert data["id"][:] == [MUG] and data["category"][:] == ["mug"]


def test_more_points_than_wanted_are_drawn_with_the_seed(tmp_path):
    folder = write_download(tmp_path / "in")
    _, zero = prepare(folder, tmp_path / "zero", num_points=8)
    _, one = prepare(folder, tmp_path / "one", num_points=8, seed=1)
    assert np.array(zero[0]["points"]).shape == np.array(zero[0]["colors"]).shape == (8, 3)
    assert zero[0]["points"] != one[0]["points"]


def write_pickled(path, folder):
    np.save(path, {"x": print}, allow_pickle=True)


BROKEN = {
    "gone": (lambda path, folder: path.unlink(), "no such file"),
    "text": (lambda path, folder: path.write_text("hello"), "is not a .npy file"),
    "cut": (lambda path, folder: path.write_bytes(path.read_bytes()[:-4]), "whose shape does not fit its"),
    "pickle": (write_pickled, "asks for builtins.print"),
    "nan": (lambda path, folder: np.save(path, np.full((32, 3), np.nan)), "not finite"),
    "flat": (lambda path, folder: np.save(path, np.zeros((32, 2))), "has shape (32, 2); expected (n, 3)"),
    "same": (lambda path, folder: np.save(path, np.ones((32, 3))), "all points coincide"),
    "few": (lambda path, folder: np.save(path, cloud(0, 31)), "has 31 points; --num-points is 32"),
    "large": (lambda path, folder: np.save(path, np.zeros((2000, 3))), "bytes; expected at most"),
    "blind": (lambda path, folder: [p.unlink() for p in folder.rglob("*blind_r_*.png")], "none of its 30 renders"),
    "no_image": (
        lambda path, folder: [p.write_bytes(b"<html>") for p in folder.rglob("*no_image_r_*.png")],
        "no_image_r_000.png: not an image",
    ),
}


def test_each_kind_of_broken_shape_is_named_and_nothing_else_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr("mrd_hf.data.sources.ulip.MAX_CLOUD_BYTES", 20_000)
    ids = {name: f"03001627-{name}" for name in BROKEN}
    folder = write_download(tmp_path / "in", train=(PLANE, *ids.values(), CHAIR))
    for name, (damage, _) in BROKEN.items():
        damage(folder / "shapenet_pc" / f"{ids[name]}.npy", folder)
    report, data = prepare(folder, tmp_path / "out")
    assert data["id"][:] == [PLANE, CHAIR] and not report["warnings"]
    found = {item["id"]: item["why"] for item in report["skipped"]}
    assert len(found) == len(BROKEN) == len(report["skipped"])
    for name, (_, reason) in BROKEN.items():
        assert reason in found[ids[name]] and ids[name] in found[ids[name]]


def test_single_pictures_that_cannot_be_read_are_warnings(tmp_path):
    folder = write_download(tmp_path / "in")
    picture(folder, CHAIR, 3).unlink()
    picture(folder, CHAIR, 4).write_bytes(png(4)[:-20])
    report, data = prepare(folder, tmp_path / "out")
    whys = [item["why"] for item in report["warnings"] if item["id"] == CHAIR]
    assert len(whys) == len(report["warnings"]) == 2
    assert "r_036.png: no such file" in whys[0] and "r_048.png: not an image" in whys[1]
    assert len(data[1]["images"]) == 28 and len(data[0]["images"]) == 30


def test_a_cloud_that_was_downloaded_again_since_is_named(tmp_path):
    folder, out = write_download(tmp_path / "in"), tmp_path / "out"
    prepare(folder, out)
    assert "outdated" not in prepare(folder, out)[0]
    (part,), cloud = (out / "data").iterdir(), folder / "shapenet_pc" / f"{CHAIR}.npy"
    os.utime(cloud, (part.stat().st_mtime + 5,) * 2)
    assert prepare(folder, out)[0]["outdated"] == {str(part): str(cloud)}


def test_shapes_without_a_class_or_listed_twice_are_skipped(tmp_path):
    folder = write_download(tmp_path / "in")
    (folder / "train.txt").write_text(f"{PLANE}.npy\n\n09999999-x.npy\n{CHAIR}.npy\n{PLANE}.npy\n")
    report, data = prepare(folder, tmp_path / "out")
    assert data["id"][:] == [PLANE, CHAIR]
    (unknown, twice) = report["skipped"]
    assert unknown["id"] == "09999999-x" and "taxonomy.json: has no synset 09999999" in unknown["why"]
    assert twice["id"] == PLANE and "listed more than once" in twice["why"]


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("train.txt", None, r"train\.txt: no such file"),
        ("train.txt", "\n", r"train\.txt: lists no shape"),
        ("train.txt", "../../secret.npy\n", r"train\.txt: line 1: '\.\./\.\./secret\.npy'; expected <synset>-<model>"),
        ("train.txt", "chair\n", r"train\.txt: line 1: 'chair'; expected <synset>-<model>"),
        ("train.txt", b"\xff\xfe-x.npy", r"train\.txt: cannot be read"),
        ("taxonomy.json", None, r"taxonomy\.json: no such file"),
        ("taxonomy.json", "[", r"taxonomy\.json: is not JSON"),
        ("taxonomy.json", "{}", r"taxonomy\.json: expected a list"),
        ("taxonomy.json", '[{"synsetId": "1"}]', r"taxonomy\.json: entry 0: has no text as its 'name'"),
        ("taxonomy.json", '[{"synsetId": "1", "name": " , "}]', r"taxonomy\.json: entry 0: has no text as its 'name'"),
    ],
)
def test_broken_lists_are_one_error(file, content, reason, tmp_path):
    folder = write_download(tmp_path / "in")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=reason):
        prepare(folder, tmp_path / "out")


def test_a_download_without_its_parts_is_one_error(tmp_path):
    folder = write_download(tmp_path / "in")
    (folder / "rendered_images").rename(folder / "elsewhere")
    with pytest.raises(UserError, match="has neither rendered_images nor only_rgb_depth_images"):
        prepare(folder, tmp_path / "out")
    (folder / "shapenet_pc").rename(folder / "gone")
    with pytest.raises(UserError, match="has no shapenet_pc"):
        prepare(folder, tmp_path / "out")
    with pytest.raises(UserError, match="no such folder"):
        prepare(tmp_path / "nothing", tmp_path / "out")


def test_the_command_keeps_the_points_that_ulip_has(tmp_path, monkeypatch, capsys):
    folder = write_download(tmp_path / "in")
    np.save(folder / "shapenet_pc" / f"{MUG}.npy", cloud(9, 8192))
    script = SCRIPTS / "prepare_dataset.py"
    arguments = ["ulip", folder, "--split", "test", "--out", tmp_path / "out", "--num_workers", 1]
    # In this process: each start of the script pays for importing torch.
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
    runpy.run_path(str(script), run_name="__main__")
    assert "1 shapes prepared, 0 skipped" in capsys.readouterr().out
    (row,) = load_dataset(str(tmp_path / "out"), split="train")
    assert np.array(row["points"]).shape == (8192, 3)
