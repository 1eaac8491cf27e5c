"""Folders with a sub-folder a class, of files of any format."""

import shutil

import numpy as np
import pytest
import trimesh

from mrd_hf.errors import UserError
from mrd_hf.evaluation.benchmarks import shape_folder
from mrd_hf.evaluation.benchmarks.opening import open_benchmark
from mrd_hf.models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from mrd_hf.models.left_out_parts import PartChoice


def save_box(file, color=None, extents=(1, 2, 3)):
    file.parent.mkdir(parents=True, exist_ok=True)
    box = trimesh.creation.box(extents=extents)
    if color:
        box.visual.vertex_colors = [*color, 255]
    box.export(file)


def save_cloud(file, width=3, count=50):
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, np.random.default_rng(0).random((count, width)))


def test_files_are_read_as_the_extractor_reads_them(tmp_path):
    save_box(tmp_path / "box_like/one.glb", (255, 0, 0))
    save_box(tmp_path / "box_like/two.off")
    save_box(tmp_path / "box_like/three.PLY", (0, 9, 0))
    save_cloud(tmp_path / "Cloud/a.npy")
    save_cloud(tmp_path / "Cloud/b.npy", width=6)
    (tmp_path / "Cloud/c.xyz").write_text("0 0 0 255 0 0\n1 2 3 0 255 0\n")
    trimesh.PointCloud(np.eye(3), colors=np.full((3, 4), 200, dtype=np.uint8)).export(tmp_path / "Cloud/d.ply")
    (tmp_path / "Cloud/notes.txt").write_text("not a shape")
    benchmark = open_benchmark("shape-folder", tmp_path)
    assert benchmark.class_names == ["Cloud", "box like"]
    assert benchmark.ids == [
        *(f"Cloud/{name}" for name in ("a.npy", "b.npy", "c.xyz", "d.ply")),
        *(f"box_like/{name}" for name in ("one.glb", "three.PLY", "two.off")),
    ]
    assert benchmark.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    extractor = PointCloudFeatureExtractor(num_points=10_000)
    for shape_id, (points, colors) in zip(benchmark.ids, benchmark.shapes(range(7)), strict=True):
        ours = extractor([points], [colors], return_tensors="np")["point_values"]
        theirs = extractor(str(tmp_path / shape_id), return_tensors="np")["point_values"]
        assert np.array_equal(ours, theirs), shape_id
    again = benchmark.shapes(range(7))
    assert all(np.array_equal(one[0], two[0]) for one, two in zip(benchmark.shapes(range(7)), again, strict=True))


def test_which_parts_are_read_is_the_extractors_to_say(tmp_path):
    (tmp_path / "a").mkdir()
    parts = {"chair": trimesh.creation.box(), "stand": trimesh.creation.box((9, 1, 1))}
    parts["UCX_chair"] = trimesh.creation.box((1, 8, 1))
    trimesh.Scene(parts).export(tmp_path / "a/one.glb")
    for keep_collision, skip_parts, size in ((False, "stand", [1, 1, 1]), (True, "stand", [1, 8, 1])):
        benchmark = open_benchmark("shape-folder", tmp_path, choice=PartChoice(keep_collision, skip_parts))
        ((points, _),) = benchmark.shapes([0])
        np.testing.assert_allclose(np.ptp(points, axis=0), size, atol=0.01)


@pytest.mark.parametrize("pattern", ["{name}/{split}/{file}", "{split}/{name}/{file}"])
def test_splits(tmp_path, pattern):
    for split, name, file in [
        ("train", "mug", "a"),
        ("test", "cup", "b"),
        ("test", "mug", "deeper/c"),
        ("val", "jar", "d"),
    ]:
        save_cloud(tmp_path / pattern.format(split=split, name=name, file=f"{file}.npy"))
    test, train = (open_benchmark("shape-folder", tmp_path, split=split) for split in ("test", "train"))
    assert test.class_names == train.class_names == ["cup", "jar", "mug"]  # one list for all splits
    assert test.labels.tolist() == [0, 2] and train.labels.tolist() == [2]
    with pytest.raises(UserError, match="has no split 'validation'; it has test, train, val"):
        open_benchmark("shape-folder", tmp_path, split="validation")


def test_a_class_may_be_called_as_a_split_is(tmp_path):
    for name in ("bus/a.npy", "chair/b.npy", "Train/c.npy"):
        save_cloud(tmp_path / "plain" / name)
    benchmark = open_benchmark("shape-folder", tmp_path / "plain")
    assert benchmark.class_names == ["Train", "bus", "chair"] and benchmark.labels.tolist() == [0, 1, 2]
    with pytest.raises(UserError, match="has no split 'train', as all its shapes are one, test"):
        open_benchmark("shape-folder", tmp_path / "plain", split="train")
    for layout, pattern in (("name", "{name}/{split}"), ("split", "{split}/{name}")):
        for name, split, file in [
            ("bus", "train", "a"),
            ("train", "train", "b"),
            ("bus", "test", "c"),
            ("train", "test", "d"),
        ]:
            save_cloud(tmp_path / layout / pattern.format(name=name, split=split) / f"{file}.npy")
        for split, files in (("train", "ab"), ("test", "cd")):
            benchmark = open_benchmark("shape-folder", tmp_path / layout, split=split)
            assert benchmark.class_names == ["bus", "train"]
            assert sorted((benchmark.labels[row], id[-5]) for row, id in enumerate(benchmark.ids)) == [
                (0, files[0]),
                (1, files[1]),
            ]


@pytest.mark.parametrize("split", ["train", "test"])
def test_what_is_in_no_class_of_a_split_is_named(tmp_path, split):
    for name in ("train/bus/a.npy", "test/bus/b.npy", "train/c.npy"):
        save_cloud(tmp_path / name)
    with pytest.raises(UserError, match=r"/train/c\.npy: is in no class's folder, as train/CLASS/c\.npy is; move it"):
        open_benchmark("shape-folder", tmp_path, split=split)


def test_a_class_of_sub_folders_that_is_called_as_a_split_is_told_from_one(tmp_path):
    for name in ("bus/a.npy", "chair/b.npy", "train/steam/c.npy"):
        save_cloud(tmp_path / name)
    message = r"/bus/a\.npy: is in none of the folders train, where others are; move it, or rename a class's folder"
    for split in ("test", "train"):
        with pytest.raises(UserError, match=message):
            open_benchmark("shape-folder", tmp_path, split=split)


def test_up_axis_is_the_callers_to_say(tmp_path):
    save_cloud(tmp_path / "mug/a.npy")
    assert open_benchmark("shape-folder", tmp_path).up_axis == "y"
    assert open_benchmark("shape-folder", tmp_path, up_axis="z").up_axis == "z"


def test_hidden_files_and_those_in_no_class_are_left_out(tmp_path, monkeypatch):
    for name in ("mug/a.npy", "mug/._a.npy", "__MACOSX/mug/a.npy", ".cache/a.npy", "stray.npy", "x.npy"):
        save_cloud(tmp_path / name)
    told = []
    monkeypatch.setattr(shape_folder.logger, "warning_once", told.append)
    assert open_benchmark("shape-folder", tmp_path).ids == ["mug/a.npy"]
    assert told == [f"{tmp_path}/stray.npy: is in no class's folder, so it is left out, with 1 more."]


def test_a_class_folder_may_be_a_link(tmp_path):
    save_cloud(tmp_path / "shapes/mug/a.npy")
    save_cloud(tmp_path / "elsewhere/b.npy")
    (tmp_path / "shapes/chair").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    benchmark = open_benchmark("shape-folder", tmp_path / "shapes")
    assert benchmark.ids == ["chair/b.npy", "mug/a.npy"] and benchmark.class_names == ["chair", "mug"]


def test_folders_without_shapes(tmp_path):
    with pytest.raises(UserError, match="has no shapes in folders of classes; expected files of .*\\.glb"):
        open_benchmark("shape-folder", tmp_path)
    for name in ("train/a.npy", "test/b.npy"):  # splits, and no classes in them
        save_cloud(tmp_path / "splits" / name)
    with pytest.raises(UserError, match=r"/test/b\.npy: is in no class's folder, as test/CLASS/b\.npy is"):
        open_benchmark("shape-folder", tmp_path / "splits")
    shutil.rmtree(tmp_path / "splits")
    save_cloud(tmp_path / "mug/a.npy")
    with pytest.raises(UserError, match="has no split 'train', .* put shapes into train/CLASS/ and test/CLASS/"):
        open_benchmark("shape-folder", tmp_path, split="train")
    save_cloud(tmp_path / "cup/test/a.npy")
    with pytest.raises(UserError, match=r"mug/a\.npy: is in none of the folders test, where others are"):
        open_benchmark("shape-folder", tmp_path)


def test_folders_that_are_one_class(tmp_path):
    save_cloud(tmp_path / "tea_pot/a.npy")
    save_cloud(tmp_path / "tea pot/b.npy")
    with pytest.raises(UserError, match=r"folders that differ in spelling alone \(tea pot, tea_pot\)"):
        open_benchmark("shape-folder", tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    save_cloud(tmp_path / "mug/a.npy", width=4)
    (tmp_path / "mug/b.glb").write_bytes(b"glTF")
    np.save(tmp_path / "mug/c.npy", np.array({"x": 1}), allow_pickle=True)
    benchmark = open_benchmark("shape-folder", tmp_path)
    with pytest.raises(UserError, match=r"mug/a\.npy must have shape \(num_points, 3\).*got \(50, 4\)"):
        benchmark.shapes([0])
    with pytest.raises(UserError, match=r"b\.glb: cannot be read"):
        benchmark.shapes([1])
    with pytest.raises(UserError, match=r"c\.npy: .*pickled objects are not loaded"):
        benchmark.shapes([2])
