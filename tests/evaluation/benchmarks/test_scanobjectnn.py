"""ScanObjectNN: the official files of three difficulties and OpenShape's, whole and broken."""

import numpy as np
import pytest
from support.published_layouts import (
    SCANOBJECTNN,
    Code,
    clouds,
    object_array,
    save_pickled,
    write_h5,
    write_openshape_scanobjectnn,
    write_scanobjectnn,
)

from mrd_hf.errors import UserError
from mrd_hf.evaluation.benchmarks.opening import open_benchmark


FILES = {
    "obj_only": ("main_split_nobg/test_objectdataset.h5", 581),
    "obj_bg": ("main_split/test_objectdataset.h5", 581),
    "pb_t50_rs": ("main_split/test_objectdataset_augmentedrot_scale75.h5", 2882),
}


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """The official test files, each with labels of its own, and what is in them."""
    folder = tmp_path_factory.mktemp("official") / "h5_files"
    written = {}
    for shift, (variant, (name, count)) in enumerate(FILES.items()):
        written[variant] = write_scanobjectnn(folder / name, count, (np.arange(count) + shift) % 15)
    return folder, written


@pytest.mark.parametrize("variant", FILES)
def test_each_difficulty(official, variant):
    folder, written = official
    points, labels = written[variant]
    for path in (folder, folder.parent, folder / FILES[variant][0]):
        # The file's own name and folder say which it is.
        benchmark = open_benchmark("scanobjectnn", path, variant=None if path.is_file() else variant)
        assert benchmark.name == f"scanobjectnn-{variant}" and benchmark.up_axis == "y"
        assert len(benchmark) == FILES[variant][1]
        assert benchmark.class_names == SCANOBJECTNN
        assert np.array_equal(benchmark.labels, labels) and benchmark.labels.dtype == np.int64
        rows = [580, 2, 2, 77]
        for row, (xyz, rgb) in zip(rows, benchmark.shapes(rows), strict=True):
            assert np.array_equal(xyz, points[row]) and rgb is None


def test_the_folder_of_one_difficulty_needs_no_variant(official):
    assert open_benchmark("scanobjectnn", official[0] / "main_split_nobg").name == "scanobjectnn-obj_only"


def test_links_are_known_by_their_own_names(official, tmp_path):
    (tmp_path / "main_split").mkdir()
    (tmp_path / "blob").symlink_to(official[0] / FILES["obj_bg"][0])
    link = tmp_path / FILES["obj_bg"][0]
    link.symlink_to(tmp_path / "blob")
    assert open_benchmark("scanobjectnn", link).name == "scanobjectnn-obj_bg"


def test_training_splits(tmp_path):
    for name, count in (("obj_only", 2309), ("pb_t50_rs", 11416)):
        file = tmp_path / FILES[name][0].replace("test_", "training_")
        write_scanobjectnn(file, count)
        benchmark = open_benchmark("scanobjectnn", tmp_path, split="train", variant=name)
        assert (len(benchmark), benchmark.split) == (count, "train")
        with pytest.raises(UserError, match="is of the split 'train', not 'test'"):
            open_benchmark("scanobjectnn", file)


def test_which_of_several_must_be_said(official):
    with pytest.raises(UserError, match="has several variants, obj_only, obj_bg, pb_t50_rs; say which"):
        open_benchmark("scanobjectnn", official[0])
    with pytest.raises(UserError, match="no variant 'hardest'; it has obj_only, obj_bg, pb_t50_rs, openshape"):
        open_benchmark("scanobjectnn", official[0], variant="hardest")
    with pytest.raises(UserError, match="has no variant 'openshape' of the split 'test'; it has obj_only"):
        open_benchmark("scanobjectnn", official[0], variant="openshape")


@pytest.mark.parametrize("kind", ["array", "objects", "list"])
def test_openshapes_file(tmp_path, kind):
    points = clouds(2890)
    xyz = {"array": points, "objects": object_array(list(points)), "list": list(points)}[kind]
    labels = np.arange(2890) % 15
    labels = labels.astype(float) if kind == "objects" else labels
    file = tmp_path / "meta_data/scanobjectnn/xyz_label.npy"
    save_pickled(file, {"xyz": xyz, "label": list(labels) if kind == "list" else labels})
    for path in (tmp_path, file):
        benchmark = open_benchmark("scanobjectnn", path)
        assert (benchmark.name, len(benchmark), benchmark.up_axis) == ("scanobjectnn-openshape", 2890, "y")
        assert np.array_equal(benchmark.labels, labels)
        assert np.array_equal(benchmark.shapes([2889])[0][0], points[2889])
    with pytest.raises(UserError, match="has no file of scanobjectnn's split 'train'"):
        open_benchmark("scanobjectnn", tmp_path, split="train")


def test_a_wrong_count_and_a_missing_class(tmp_path):
    write_openshape_scanobjectnn(tmp_path / "xyz_label.npy", 2889)
    with pytest.raises(
        UserError, match=r"xyz_label\.npy: has 2889 shapes; the test split of scanobjectnn-openshape has 2890"
    ):
        open_benchmark("scanobjectnn", tmp_path)
    part = open_benchmark("scanobjectnn", tmp_path, allow_partial=True)
    assert len(part) == 2889 and part.is_part
    file = tmp_path / "b" / FILES["obj_bg"][0]
    write_scanobjectnn(file, 581, np.arange(581) % 14)
    with pytest.raises(UserError, match=r"test_objectdataset\.h5: has no shape of 'toilet'; .* has 15 classes"):
        open_benchmark("scanobjectnn", file)


@pytest.mark.parametrize("label", [15, 200])
def test_a_label_out_of_range(tmp_path, label):
    labels = np.arange(581) % 15
    labels[7] = label
    file = tmp_path / FILES["obj_bg"][0]
    write_scanobjectnn(file, 581, labels)
    with pytest.raises(UserError, match=rf"dataset\.h5: shape '00007' has the label {label}; expected 0 to 14"):
        open_benchmark("scanobjectnn", file)


def test_a_file_of_another_name(tmp_path):
    write_scanobjectnn(tmp_path / "main_split/test_objectdataset_augmented25rot.h5", 3)
    with pytest.raises(UserError, match="its name is that of no known variant; expected xyz_label.npy, or main_split"):
        open_benchmark("scanobjectnn", tmp_path / "main_split/test_objectdataset_augmented25rot.h5")
    with pytest.raises(UserError, match="has no file of scanobjectnn's split 'test'; expected OpenShape's"):
        open_benchmark("scanobjectnn", tmp_path)


def test_hdf5_files_of_another_content(tmp_path):
    file = tmp_path / FILES["obj_bg"][0]
    write_h5(file, clouds(2).reshape(2, 12), np.zeros(2, dtype=np.uint8))
    with pytest.raises(UserError, match=r"'data' has shape \(2, 12\) of float32; expected floats \(n, m, 3\)"):
        open_benchmark("scanobjectnn", file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"test_objectdataset\.h5: cannot be read as HDF5"):
        open_benchmark("scanobjectnn", file)


def test_a_damaged_chunk_names_the_file(tmp_path):
    file = tmp_path / FILES["obj_bg"][0]
    write_scanobjectnn(file, 581)
    content = bytearray(file.read_bytes())
    start = content.find(b"\x78\x5e")  # of compressed data
    start = start if start > 0 else content.find(b"\x78")
    content[start + 8 : start + 400] = bytes(392)
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"test_objectdataset\.h5: cannot (read 'data'|be read as HDF5)"):
        benchmark = open_benchmark("scanobjectnn", file)
        benchmark.shapes(range(581))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.arange(3), "holds a ndarray; expected a dictionary of 'xyz' and 'label'"),
        ({"label": np.zeros(3, dtype=int)}, "xyz is missing; expected arrays"),
        ({"xyz": [1.0, 2.0], "label": [0, 1]}, "xyz is a list; expected arrays"),
        ({"xyz": clouds(3)}, "label is missing; expected whole numbers"),
        ({"xyz": clouds(3), "label": [0.5, 1.0, 2.0]}, r"label: has shape \(3,\) of float64; expected whole numbers"),
        ({"xyz": clouds(3), "label": [0, 1]}, "has 3 shapes and 2 labels; expected as many"),
    ],
)
def test_other_content_of_openshapes_file(tmp_path, content, message):
    save_pickled(tmp_path / "xyz_label.npy", content)
    with pytest.raises(UserError, match=rf"xyz_label\.npy: {message}"):
        open_benchmark("scanobjectnn", tmp_path, allow_partial=True)


def test_a_pickle_with_code_in_it(tmp_path):
    save_pickled(tmp_path / "xyz_label.npy", {"xyz": Code(tmp_path / "ran"), "label": [0]})
    with pytest.raises(UserError, match=r"xyz_label\.npy: asks for posix\.system, which could run code"):
        open_benchmark("scanobjectnn", tmp_path)
    assert not (tmp_path / "ran").exists()


def test_without_h5py_it_says_what_to_install(tmp_path, monkeypatch):
    file = tmp_path / FILES["obj_bg"][0]
    write_scanobjectnn(file, 3)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UserError, match=r"needs h5py: pip install 'mrd-hf\[benchmarks\]'"):
        open_benchmark("scanobjectnn", file)
