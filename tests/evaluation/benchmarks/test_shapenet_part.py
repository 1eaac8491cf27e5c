"""ShapeNetPart as published, in a small set of composed objects, and own shapes laid out likewise."""

import json

import numpy as np
import pytest
from support.composed_objects import SYNSETS, write_composed_objects

from mrd_hf.errors import UserError
from mrd_hf.evaluation.benchmarks.shapenet_part import PARTS, SIZES, open_shapenet_part


@pytest.fixture
def folder(tmp_path):
    return write_composed_objects(tmp_path / "set", {"train": 2, "val": 1, "test": 2}, num_points=40)


def test_reads_points_and_parts_of_each_split(folder):
    for split, count in {"train": 6, "val": 3, "test": 6, "trainval": 9}.items():
        benchmark = open_shapenet_part(folder, split, allow_partial=True)
        assert len(benchmark) == count and benchmark.class_names == ["chair", "lamp", "table"]
        assert benchmark.name == "shapenetpart" and benchmark.split == split
    benchmark = open_shapenet_part(folder.parent / "set", "test", allow_partial=True)
    listed = json.loads((folder / "train_test_split" / "shuffled_test_file_list.json").read_text())
    assert benchmark.ids == [entry.removeprefix("shape_data/") for entry in listed]
    for row, shape_id in enumerate(benchmark.ids):
        lines = [line.split() for line in (folder / f"{shape_id}.txt").read_text().splitlines()]
        points = benchmark.read(row)
        np.testing.assert_array_equal(points.xyz, np.array([line[:3] for line in lines], dtype=np.float32))
        assert points.parts.tolist() == [int(float(line[6])) for line in lines]
        of_class = benchmark.class_names[benchmark.labels[row]]
        assert SYNSETS[of_class.capitalize()] == shape_id.partition("/")[0]
        assert set(points.parts.tolist()) <= set(benchmark.object_parts[of_class])
    assert benchmark.part_names[12] == "chair 1" and benchmark.part_names[49] == "table 3"


def test_the_published_parts_are_fifty_in_the_order_of_the_names():
    assert [part for parts in PARTS.values() for part in parts] == list(range(50))
    assert list(PARTS) == sorted(PARTS) and len(PARTS) == 16
    assert SIZES["train"] + SIZES["val"] == SIZES["trainval"] and SIZES["trainval"] + SIZES["test"] == 16_881


def test_a_part_of_it_is_taken_on_request_only(folder):
    with pytest.raises(
        UserError, match=r"lacks Airplane; take a part of it by --allow-partial \(allow_partial=True\)"
    ):
        open_shapenet_part(folder, "test")
    first = json.loads((folder / "train_test_split" / "shuffled_test_file_list.json").read_text())[0]
    (folder / f"{first.removeprefix('shape_data/')}.txt").unlink()
    part = open_shapenet_part(folder, "test", allow_partial=True)
    assert len(part) == 5 and part.is_part
    with pytest.raises(UserError, match="1 of the 6 shapes of the split 'test' are missing"):
        open_shapenet_part(folder, "test")


def test_own_classes_have_the_parts_of_their_training_shapes(folder):
    text = (folder / "synsetoffset2category.txt").read_text().replace("Chair", "Robot_arm")
    (folder / "synsetoffset2category.txt").write_text(text)
    benchmark = open_shapenet_part(folder, "test")
    assert benchmark.name == "set" and benchmark.class_names == ["lamp", "robot arm", "table"]
    seen = {part for number in range(2) for part in _parts(folder / "03001627" / f"train{number}.txt")}
    assert benchmark.object_parts["robot arm"] == sorted(seen)
    assert benchmark.part_names[12] == "robot arm 1"


def write_own_objects(folder, parts):
    """Some points of each part for classes in own folders; `parts` are those of each class."""
    (folder / "train_test_split").mkdir(parents=True)
    (folder / "synsetoffset2category.txt").write_text("".join(f"{name}\tmy_{name.lower()}s\n" for name in parts))
    for name, of_class in parts.items():
        (folder / f"my_{name.lower()}s").mkdir()
        lines = [f"{x} {part} 0 0 0 1 {part}" for x in range(3) for part in of_class]
        for split in ("train", "val", "test"):
            (folder / f"my_{name.lower()}s" / f"{split}.txt").write_text("\n".join(lines) + "\n")
    for split in ("train", "val", "test"):
        listed = [f"shape_data/my_{name.lower()}s/{split}" for name in parts]
        (folder / "train_test_split" / f"shuffled_{split}_file_list.json").write_text(json.dumps(listed))
    return folder


def test_own_classes_that_are_called_as_published_ones_have_their_own_parts(tmp_path):
    folder = write_own_objects(tmp_path / "mine", {"Chair": [0, 1, 2], "Mug": [3, 4]})
    benchmark = open_shapenet_part(folder, "test")
    assert benchmark.name == "mine" and benchmark.object_parts == {"chair": [0, 1, 2], "mug": [3, 4]}
    assert benchmark.part_names == ["chair 1", "chair 2", "chair 3", "mug 1", "mug 2"]
    assert benchmark.read(benchmark.ids.index("my_chairs/test")).parts.tolist() == [0, 1, 2] * 3


def test_a_part_of_two_classes_is_refused(tmp_path):
    folder = write_own_objects(tmp_path / "mine", {"Robot": [0, 1], "Drone": [1, 2]})
    with pytest.raises(UserError, match="both drone and robot have the part 1; number the parts through all classes"):
        open_shapenet_part(folder, "test")


def test_a_shape_that_is_listed_twice_is_refused(tmp_path):
    folder = write_own_objects(tmp_path / "mine", {"Robot": [0, 1]})
    lists = folder / "train_test_split"
    (lists / "shuffled_val_file_list.json").write_text(json.dumps(["shape_data/my_robots/train"]))
    assert len(open_shapenet_part(folder, "train")) == len(open_shapenet_part(folder, "val")) == 1
    with pytest.raises(UserError, match="has 'my_robots/train' more than once"):
        open_shapenet_part(folder, "trainval")
    (lists / "shuffled_test_file_list.json").write_text(json.dumps(["shape_data/my_robots/test"] * 2))
    with pytest.raises(UserError, match="has 'my_robots/test' more than once"):
        open_shapenet_part(folder, "test")


@pytest.mark.parametrize(
    ("lines", "message"),
    [("Robot\ta\nrobot\tb\n", "has the class 'robot' more than once"), ("A\tx\nB\tx\n", "has the folder 'x' more")],
)
def test_classes_of_one_name_or_folder_are_refused(lines, message, tmp_path):
    folder = write_own_objects(tmp_path / "mine", {"Robot": [0, 1]})
    (folder / "synsetoffset2category.txt").write_text(lines)
    with pytest.raises(UserError, match=message):
        open_shapenet_part(folder, "test")


def _parts(file):
    return {int(float(line.split()[6])) for line in file.read_text().splitlines()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0 0 0 0 1\n", "has 6 columns; expected lines of x y z nx ny nz part"),
        ("0 0 zero 0 0 1 12\n", "cannot be read"),
        ("0 0 0 0 0 1 12.5\n", "parts that are no whole numbers"),
        ("nan 0 0 0 0 1 12\n", "not finite"),
        ("0 0 0 0 0 1 12\n0 0 0 0 0 1 255\n", "has the part 255; parts have numbers below 255"),
        ("0 0 0 0 0 1 300\n", "has the part 300; parts have numbers below 255"),
        ("0 0 0 0 0 1 47\n", "has the part 47; Chair has 12, 13, 14, 15"),
    ],
)
def test_damaged_files_are_named(folder, text, message):
    (folder / "03001627" / "test0.txt").write_text(text)
    benchmark = open_shapenet_part(folder, "test", allow_partial=True)
    with pytest.raises(UserError, match=message) as raised:
        benchmark.read(benchmark.ids.index("03001627/test0"))
    assert "03001627/test0.txt" in str(raised.value)


@pytest.mark.parametrize("entry", ["shape_data/03001627/..", "shape_data/03001627/../../secret", 3, "03001627/test0"])
def test_entries_that_are_no_shapes_are_refused(folder, entry):
    (folder / "train_test_split" / "shuffled_test_file_list.json").write_text(json.dumps([entry]))
    with pytest.raises(UserError, match="expected shape_data/FOLDER/SHAPE"):
        open_shapenet_part(folder, "test", allow_partial=True)


def test_other_folders_and_splits_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="is not laid out as shapenetpart"):
        open_shapenet_part(tmp_path, "test")
    with pytest.raises(UserError, match="no split 'dev'; it has train, val, test, trainval"):
        open_shapenet_part(folder, "dev")
    (folder / "synsetoffset2category.txt").write_text("Chair\n")
    with pytest.raises(UserError, match="has the line 'Chair'"):
        open_shapenet_part(folder, "test")
