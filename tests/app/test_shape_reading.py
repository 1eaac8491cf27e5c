"""Uploads, read in processes of their own: the same points as the feature extractor's, and no harm done."""

import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import trimesh
from PIL import Image
from support.hostile_uploads import hostile_files
from support.tiny_gltf import textured_gltf
from support.tiny_meshes import QUARTERS, glb

from mrd_hf import PointCloudFeatureExtractor
from mrd_hf.app import shape_reading
from mrd_hf.app.shape_reading import ShapeReader, UnreadableShape, read_upload


NUM_POINTS = 300


@pytest.fixture(scope="module")
def reader():
    reader = ShapeReader(NUM_POINTS)
    reader.warm_up()
    yield reader
    reader.close()


def some_files(folder):
    generator = np.random.default_rng(0)
    xyz, rgb = generator.normal(size=(500, 3)), generator.integers(0, 256, (500, 3))
    (folder / "textured.glb").write_bytes(glb(Image.fromarray(QUARTERS)))
    (folder / "red.glb").write_bytes(glb())
    trimesh.creation.icosphere().export(folder / "plain.stl")
    trimesh.PointCloud(xyz, colors=rgb.astype(np.uint8)).export(folder / "cloud.ply")
    np.save(folder / "bare.npy", xyz.astype(np.float32))
    np.save(folder / "six.npy", np.concatenate([xyz, rgb / 255], axis=1))
    np.savez(folder / "pair.npz", points=xyz, colors=rgb.astype(np.uint8))
    np.savetxt(folder / "lines.xyz", np.concatenate([xyz, rgb / 255], axis=1))
    return sorted(folder.iterdir())


def test_points_are_those_of_the_feature_extractor(tmp_path):
    extractor = PointCloudFeatureExtractor(num_points=NUM_POINTS)
    files = some_files(tmp_path)
    assert len(files) == 8
    for file in files:
        shape = read_upload(file, "y", NUM_POINTS)
        assert shape.notes == [] and shape.view.startswith(b"glTF") and shape.up_axis == "y"
        for up_axis in ("y", "z"):
            expected = extractor(str(file), up_axis=up_axis)["point_values"]
            found = extractor(shape.points, up_axis=up_axis)["point_values"]
            np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=file.name)


def test_an_upload_is_read_in_another_process(reader, tmp_path):
    (tmp_path / "box.glb").write_bytes(glb())
    shape = reader.read(str(tmp_path / "box.glb"), "y")
    here = read_upload(tmp_path / "box.glb", "y", NUM_POINTS)
    assert (shape.points == here.points).all() and shape.view == here.view and shape.notes == []
    (tmp_path / "box.glb").unlink()
    assert reader.read(str(tmp_path / "box.glb"), "y") is shape  # kept, so that a click does not read it again


@pytest.mark.skipif(sys.platform != "linux", reason="is not told there which files a process has mapped")
def test_that_process_has_no_torch(reader, tmp_path):
    """Which would take seconds as it starts, and half a gigabyte."""
    (tmp_path / "box.glb").write_bytes(glb())
    reader.read(str(tmp_path / "box.glb"), "y")
    started = [process.process.pid for process in reader._free.queue if process.process]
    assert started
    for pid in started:
        mapped = {Path(each.path).name for each in psutil.Process(pid).memory_maps()}
        assert any(name.startswith("_multiarray") for name in mapped)  # so the list does show what is loaded
        assert not any(name.startswith("libtorch") for name in mapped)


def test_where_neither_person_nor_file_says_which_axis_is_up_the_extractor_does(tmp_path):
    """As the command line and the pipelines have it."""
    trimesh.creation.cone(1, 3).export(tmp_path / "cone.stl")
    (tmp_path / "box.glb").write_bytes(glb())
    extractor = PointCloudFeatureExtractor(num_points=NUM_POINTS, up_axis="z")
    reader = ShapeReader(NUM_POINTS, extractor.up_axis)
    try:
        shape = reader.read(str(tmp_path / "cone.stl"), None)
        found = extractor(shape.points, up_axis=shape.up_axis)["point_values"]
        np.testing.assert_allclose(found, extractor(str(tmp_path / "cone.stl"))["point_values"], atol=1e-6)
        assert shape.up_axis == "z" and reader.read(str(tmp_path / "cone.stl"), "y").up_axis == "y"
        # A glTF file says y, and the person has the last word.
        assert [reader.read(str(tmp_path / "box.glb"), axis).up_axis for axis in (None, "z")] == ["y", "z"]
    finally:
        reader.close()


def test_a_cloud_of_many_points_is_thinned(monkeypatch, tmp_path):
    monkeypatch.setattr(shape_reading, "MAX_POINTS", 100)
    np.save(tmp_path / "many.npy", np.random.default_rng(0).normal(size=(101, 3)))
    shape = read_upload(tmp_path / "many.npy", "y", NUM_POINTS)
    points, notes = shape.points, shape.notes
    assert len(points) == 100 and notes == ["100 of its 101 points are used."]


@pytest.mark.parametrize("name", sorted(hostile_files()))
def test_a_file_made_to_harm_is_refused_within_the_limits(reader, tmp_path, name):
    content, message = hostile_files()[name]
    (tmp_path / name).write_bytes(content)
    before = psutil.Process().memory_info().rss
    start = time.monotonic()
    with pytest.raises(UnreadableShape, match=message) as error:
        reader.read(str(tmp_path / name), "y")
    assert time.monotonic() - start < reader.time_limit + 5
    assert str(tmp_path) not in str(error.value)  # where the server keeps it is nobody's business
    assert psutil.Process().memory_info().rss - before < 2**28


def test_nothing_outside_the_upload_is_read(reader, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (2, 2), (1, 200, 3)).save(secret)
    upload = tmp_path / "uploads" / "a"
    upload.mkdir(parents=True)
    secret_mtl = tmp_path / "secret.mtl"
    secret_mtl.write_text("newmtl a\nKd 0.004 0.784 0.012\nmap_Kd secret.png\n")
    obj = "mtllib {}\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n"
    (upload / "inner.mtl").write_text(f"newmtl a\nmap_Kd {secret}\n")
    files = {
        "up.gltf": textured_gltf("../../secret.png"),
        "absolute.gltf": textured_gltf(str(secret)),
        "url.gltf": textured_gltf(secret.as_uri()),
        "up.obj": obj.format("../../secret.mtl").encode(),
        "absolute.obj": obj.format(secret_mtl).encode(),
        "through.obj": obj.format("inner.mtl").encode(),
    }
    for name, content in files.items():
        (upload / name).write_bytes(content)
        shape = reader.read(str(upload / name), "y")
        assert any("may not be read" in note or "not found" in note for note in shape.notes), (name, shape.notes)
        if shape.points.shape[1] == 6:  # else nothing that was read says a colour
            assert not (np.abs(shape.points[:, 3:] * 255 - (1, 200, 3)) < 3).all(axis=1).any(), name
    # Were the secret inside, it would be seen: the test would not pass by blindness.
    (upload / "secret.png").write_bytes(secret.read_bytes())
    (upload / "beside.gltf").write_bytes(textured_gltf("secret.png"))
    seen = reader.read(str(upload / "beside.gltf"), "y").points[:, 3:] * 255
    np.testing.assert_allclose(seen, np.broadcast_to((1, 200, 3), seen.shape), atol=1e-6)


@contextmanager
def closing_reader(**limits):
    reader = ShapeReader(NUM_POINTS, **limits)
    yield reader
    reader.close()


def test_what_takes_too_long_is_ended(tmp_path):
    (tmp_path / "long.xyz").write_bytes(b"0.1 0.2 0.3\n" * 2_000_000)
    np.save(tmp_path / "short.npy", np.eye(3))
    with closing_reader() as reader:
        assert len(reader.read(str(tmp_path / "short.npy"), "y").points) == 3  # however busy the machine is
        reader.time_limit = 0.5
        for process in reader._free.queue:
            process.timeout = reader.time_limit
        start = time.monotonic()
        with pytest.raises(UnreadableShape, match="takes more than 0.5 seconds"):
            reader.read(str(tmp_path / "long.xyz"), "y")
        assert time.monotonic() - start < 5
        # The page asks twice, to show it and to classify it.
        start = time.monotonic()
        with pytest.raises(UnreadableShape, match="takes more than 0.5 seconds"):
            reader.read(str(tmp_path / "long.xyz"), "y")
        assert time.monotonic() - start < 0.4
        # A machine that was busy is not the file's fault: it is read when it is given again.
        reader.time_limit = 60
        for process in reader._free.queue:
            process.timeout = reader.time_limit
        assert len(reader.read(str(tmp_path / "long.xyz"), "y").points) > 0


def test_what_takes_too_much_memory_is_ended(tmp_path):
    np.save(tmp_path / "cloud.npy", np.zeros((8_000_000, 3)))
    np.save(tmp_path / "small.npy", np.eye(3))
    with closing_reader(memory_limit=2**25) as reader:
        with pytest.raises(UnreadableShape, match="more memory"):
            reader.read(str(tmp_path / "cloud.npy"), "y")
        assert len(reader.read(str(tmp_path / "small.npy"), "y").points) == 3


def test_other_files_are_refused_unread(reader):
    with pytest.raises(UnreadableShape, match=r"suffix '\.html' are not shapes known here; give one of \.3mf"):
        reader.read("/nowhere/page.html", "y")


def test_a_path_stays_out_of_messages(reader, tmp_path):
    with pytest.raises(UnreadableShape, match=r"^missing.glb: no such file\.$"):
        reader.read(str(tmp_path / "missing.glb"), "y")


# As a server keeps it, and as its sender knows it.
NAMES = [
    ("my_chair_v2_.glb", "my_chair_v2_.glb"),
    ("ab.obj", "a*b*.obj"),
    ("b.ply", r"<b>\1 & b.ply"),
    ("é_.npy", "é_?.npy"),
]


@pytest.mark.parametrize("kept_as, name", NAMES)
def test_messages_name_the_file_as_its_sender_does(reader, tmp_path, kept_as, name):
    (tmp_path / kept_as).write_bytes(b"no shape")
    with pytest.raises(UnreadableShape) as error:
        reader.read(str(tmp_path / kept_as), "y", name)
    said = str(error.value)
    assert said.startswith(f"{name}: ")
    assert name not in said.removeprefix(name) and kept_as not in said.removeprefix(name)
    assert str(tmp_path) not in said


def test_what_ends_the_reading_is_said_of_a_file_by_its_name(tmp_path):
    (tmp_path / "ab.npy").write_bytes(b"")
    with pytest.raises(UnreadableShape, match=r"^a\*b\.html: files with the suffix '\.html'"):
        ShapeReader(NUM_POINTS).read("/nowhere/ab.html", "y", "a*b.html")
    with pytest.raises(UnreadableShape, match=r"^a\*b\.npy: reading it takes more than 0 seconds"):
        ShapeReader(NUM_POINTS, time_limit=0).read(str(tmp_path / "ab.npy"), "y", "a*b.npy")
