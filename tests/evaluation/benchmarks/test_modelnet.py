"""ModelNet40 and ModelNet10 in their four layouts, whole and broken."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.published_layouts import (
    MODELNET10_COUNTS,
    MODELNET40,
    Code,
    clouds,
    modelnet_categories,
    object_array,
    save_pickled,
    write_h5,
    write_hdf5_modelnet,
    write_off_modelnet,
    write_openshape_modelnet,
    write_resampled_modelnet,
)

from mrd_hf.errors import UserError
from mrd_hf.evaluation.benchmarks.opening import open_benchmark
from mrd_hf.models.feature_extraction_point_cloud import PointCloudFeatureExtractor


WRITERS = {
    "openshape": write_openshape_modelnet,
    "hdf5": write_hdf5_modelnet,
    "resampled": write_resampled_modelnet,
    "off": write_off_modelnet,
}
BY_OPTION = r"take a part of it by --allow-partial \(allow_partial=True\)"


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """A whole test split in each layout, and what the writer gave."""
    folders = {name: tmp_path_factory.mktemp(name) for name in WRITERS}
    return {name: (folder, WRITERS[name](folder)) for name, folder in folders.items()}


@pytest.mark.parametrize("layout", WRITERS)
def test_the_whole_of_modelnet40(layouts, layout):
    benchmark = open_benchmark("modelnet40", layouts[layout][0])
    assert len(benchmark) == len(benchmark.ids) == len(benchmark.labels) == 2468
    assert benchmark.labels.dtype == np.int64
    assert benchmark.class_names == [name.replace("_", " ") for name in MODELNET40]
    counts = [MODELNET10_COUNTS.get(name, 52) for name in MODELNET40]
    assert np.bincount(benchmark.labels).tolist() == counts
    assert benchmark.up_axis == ("z" if layout == "off" else "y")
    assert (benchmark.name, benchmark.split, benchmark.is_part) == ("modelnet40", "test", False)


@pytest.mark.parametrize("layout", WRITERS)
def test_the_whole_of_modelnet10(layouts, layout):
    whole = open_benchmark("modelnet40", layouts[layout][0])
    benchmark = open_benchmark("modelnet10", layouts[layout][0])
    assert len(benchmark) == 908
    assert benchmark.class_names == [name.replace("_", " ") for name in MODELNET10_COUNTS]
    assert np.bincount(benchmark.labels).tolist() == list(MODELNET10_COUNTS.values())
    # Each shape is the one that it is in ModelNet40, in label and in points.
    name_in_40 = {shape_id: whole.class_names[label] for shape_id, label in zip(whole.ids, whole.labels, strict=True)}
    for row in (0, 333, 907):
        assert benchmark.class_names[benchmark.labels[row]] == name_in_40[benchmark.ids[row]]
        points, _ = benchmark.shapes([row])[0]
        assert np.array_equal(points, whole.shapes([whole.ids.index(benchmark.ids[row])])[0][0])


def test_openshapes_clouds(layouts):
    folder, points = layouts["openshape"]
    benchmark = open_benchmark("modelnet40", folder)
    categories = modelnet_categories()
    rows = [2467, 3, 3, 1200]
    for row, (xyz, rgb) in zip(rows, benchmark.shapes(rows), strict=True):
        assert np.array_equal(xyz, points[row])
        assert MODELNET40[benchmark.labels[row]] == categories[row]
        assert np.allclose(rgb, 100 / 255) and rgb.dtype == np.float32
    assert benchmark.ids[3] == "airplane_0003"


@settings(max_examples=25)
@given(rows=st.lists(st.integers(0, 2467), max_size=12))
def test_any_rows_of_the_hdf5_files_in_any_order(layouts, rows):
    folder, (points, labels) = layouts["hdf5"]
    benchmark = open_benchmark("modelnet40", folder)
    shapes = benchmark.shapes(rows)
    assert len(shapes) == len(rows)
    for row, (xyz, rgb) in zip(rows, shapes, strict=True):
        assert np.array_equal(xyz, points[row]) and rgb is None
        assert benchmark.labels[row] == labels[row]


def test_resampled_clouds(layouts):
    folder, points = layouts["resampled"]
    benchmark = open_benchmark("modelnet40", folder)
    for row, (xyz, rgb) in zip((0, 2000), benchmark.shapes([0, 2000]), strict=True):
        assert np.allclose(xyz, points[row], atol=1e-6) and rgb is None


def test_meshes_are_sampled_as_the_extractor_does_it_and_stand_upright(layouts):
    folder, _ = layouts["off"]
    benchmark = open_benchmark("modelnet40", folder)
    rows = [0, 1]  # one with the counts on the header's line, one without
    for row, (xyz, rgb) in zip(rows, benchmark.shapes(rows), strict=True):
        assert rgb is None and xyz.shape == (10_000, 3)
        extractor = PointCloudFeatureExtractor(num_points=10_000)
        file = next(folder.rglob(f"{benchmark.ids[row].rpartition('/')[2]}.off"))
        expected = extractor(str(file), up_axis="z", return_tensors="np")["point_values"][0]
        values = extractor(xyz, up_axis=benchmark.up_axis, return_tensors="np")["point_values"][0]
        assert np.array_equal(values, expected)
        # Upright for an encoder with y up: the pyramid's height is along y, its foot, where most points are, below.
        assert np.ptp(values[:, 1]) > 2 * np.ptp(values[:, 0])
        assert abs(values[:, 1].max()) > abs(values[:, 1].min())


def test_found_below_the_folders_that_archives_unpack_to(tmp_path):
    few = ["chair", "table"]
    write_openshape_modelnet(tmp_path / "a/meta_data/modelnet40", few)
    write_hdf5_modelnet(tmp_path / "b/modelnet40_ply_hdf5_2048", np.array([1, 2]))
    write_resampled_modelnet(tmp_path / "c/modelnet40_normal_resampled", few)
    write_off_modelnet(tmp_path / "d/ModelNet40", few)
    for folder in "abcd":
        assert len(open_benchmark("modelnet40", tmp_path / folder, allow_partial=True)) == 2


def test_the_ten_class_list_of_its_own(tmp_path):
    write_resampled_modelnet(tmp_path, ["chair", "airplane", "sofa", "chair"])
    (tmp_path / "modelnet10_test.txt").write_text("chair_0000\nsofa_0002\n")
    assert open_benchmark("modelnet10", tmp_path, allow_partial=True).ids == ["chair_0000", "sofa_0002"]


def test_training_splits_have_their_own_sizes(tmp_path):
    write_off_modelnet(tmp_path / "off", ["chair", "sofa"], split="train")
    with pytest.raises(UserError, match="has no shape of 'airplane'.*the train split of modelnet40 has 40 classes"):
        open_benchmark("modelnet40", tmp_path / "off", split="train")
    labels = np.arange(9840) % 40
    write_hdf5_modelnet(tmp_path / "h5", labels, split="train", files=5)
    benchmark = open_benchmark("modelnet40", tmp_path / "h5", split="train")
    assert len(benchmark) == 9840 and np.array_equal(benchmark.labels, labels)
    with pytest.raises(UserError, match="lacks three shapes of the split 'train', so modelnet10's is not read"):
        open_benchmark("modelnet10", tmp_path / "h5", split="train")
    write_openshape_modelnet(tmp_path / "openshape", ["chair"])
    with pytest.raises(UserError, match="OpenShape's files have no split 'train'"):
        open_benchmark("modelnet40", tmp_path / "openshape", split="train")


@pytest.mark.parametrize("layout", WRITERS)
def test_a_class_that_is_missing(tmp_path, layout):
    names = [name for name in modelnet_categories() if name != "sofa"]
    if layout == "hdf5":
        write_hdf5_modelnet(tmp_path, np.array([MODELNET40.index(name) for name in names]))
    else:
        WRITERS[layout](tmp_path, names)
    with pytest.raises(UserError, match=f"{tmp_path}.*has no shape of 'sofa'; .* 40 .*{BY_OPTION}"):
        open_benchmark("modelnet40", tmp_path)
    partial = open_benchmark("modelnet40", tmp_path, allow_partial=True)
    assert len(partial) == 2368 and len(partial.class_names) == 40 and partial.is_part


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("names", [modelnet_categories()[1:], [*modelnet_categories(), "xbox"]])
def test_a_wrong_count(tmp_path, layout, names):
    if layout == "hdf5":
        write_hdf5_modelnet(tmp_path, np.array([MODELNET40.index(name) for name in names]))
    else:
        WRITERS[layout](tmp_path, names)
    with pytest.raises(UserError, match=f"{tmp_path}.*has {len(names)} shapes; the test split of modelnet40 has 2468"):
        open_benchmark("modelnet40", tmp_path)
    if len(names) > 2468:  # more is no part
        with pytest.raises(UserError, match="has 2469 shapes"):
            open_benchmark("modelnet40", tmp_path, allow_partial=True)


def test_a_label_out_of_range(tmp_path):
    write_hdf5_modelnet(tmp_path, np.array([3, 40, 2]), files=1)
    with pytest.raises(UserError, match=r"ply_data_test0\.h5: 'label' reaches from 2 to 40; expected 0 to 39"):
        open_benchmark("modelnet40", tmp_path)


def test_a_class_that_is_none(tmp_path):
    write_openshape_modelnet(tmp_path / "a", ["chair", "sofas"])
    with pytest.raises(UserError, match=r"test_split\.json: entry 1: 'sofas' is none of the 40 classes \(airplane"):
        open_benchmark("modelnet40", tmp_path / "a")
    write_resampled_modelnet(tmp_path / "b", ["chair"])
    (tmp_path / "b/modelnet40_test.txt").write_text("chair_0000\nspoon_0001\n")
    with pytest.raises(UserError, match=r"modelnet40_test\.txt: entry 1: 'spoon' is none"):
        open_benchmark("modelnet40", tmp_path / "b")
    write_off_modelnet(tmp_path / "c", ["chair", "spoon"])
    with pytest.raises(UserError, match="c: has the class 'spoon'; modelnet40 has no such"):
        open_benchmark("modelnet40", tmp_path / "c")
    write_hdf5_modelnet(tmp_path / "d", names=["spoon", *MODELNET40[1:]])
    with pytest.raises(UserError, match=r"shape_names\.txt: has 40 names; expected the 40 .* in order \('spoon' is"):
        open_benchmark("modelnet40", tmp_path / "d")
    write_resampled_modelnet(tmp_path / "f", ["chair"])
    (tmp_path / "f/modelnet40_shape_names.txt").write_text("\n".join(MODELNET40[:39]))
    with pytest.raises(
        UserError, match=r"modelnet40_shape_names\.txt: has 39 names; expected the 40 .* \('xbox' is in"
    ):
        open_benchmark("modelnet40", tmp_path / "f")
    write_hdf5_modelnet(tmp_path / "e", names=MODELNET40[::-1])
    with pytest.raises(UserError, match=r"shape_names\.txt: .* in order \(they are in another order"):
        open_benchmark("modelnet40", tmp_path / "e")


def test_missing_files(tmp_path):
    write_resampled_modelnet(tmp_path / "a", ["chair", "chair", "sofa"])
    (tmp_path / "a/chair/chair_0001.txt").unlink()
    with pytest.raises(UserError, match=r"modelnet40_test\.txt: 1 of its 3 .* \('chair/chair_0001.*" + BY_OPTION):
        open_benchmark("modelnet40", tmp_path / "a")
    partial = open_benchmark("modelnet40", tmp_path / "a", allow_partial=True)
    assert partial.ids == ["chair_0000", "sofa_0002"] and partial.labels.tolist() == [8, 30]
    write_hdf5_modelnet(tmp_path / "b")
    (tmp_path / "b/ply_data_test1.h5").unlink()
    with pytest.raises(UserError, match=r"ply_data_test1\.h5: no such file"):
        open_benchmark("modelnet40", tmp_path / "b")
    assert len(open_benchmark("modelnet40", tmp_path / "b", allow_partial=True)) == 1234
    (tmp_path / "b/test_files.txt").unlink()
    with pytest.raises(UserError, match=r"test_files\.txt: cannot be read \(No such file"):
        open_benchmark("modelnet40", tmp_path / "b")
    write_openshape_modelnet(tmp_path / "c", ["chair"])
    (tmp_path / "c/test_split.json").unlink()
    with pytest.raises(UserError, match=r"test_split\.json: cannot be read"):
        open_benchmark("modelnet40", tmp_path / "c")


@pytest.mark.parametrize("content", ["{}", '[{"name": "x"}]', "[1", '[{"name": "x", "category": 1}]'])
def test_a_damaged_list(tmp_path, content):
    write_openshape_modelnet(tmp_path, ["chair"])
    (tmp_path / "test_split.json").write_text(content)
    with pytest.raises(
        UserError, match=r"test_split\.json: (holds a dict|entry 0: has no text as its 'cat|is not JSON)"
    ):
        open_benchmark("modelnet40", tmp_path)


def test_a_list_of_another_length_than_the_clouds(tmp_path):
    write_openshape_modelnet(tmp_path, ["chair", "sofa"])
    save_pickled(tmp_path / "test_pc.npy", object_array([{"xyz": clouds(1)[0]}]))
    with pytest.raises(UserError, match=r"test_pc\.npy: holds 1 clouds; .*test_split\.json lists 2"):
        open_benchmark("modelnet40", tmp_path)
    save_pickled(tmp_path / "test_pc.npy", {"xyz": clouds(2)})
    with pytest.raises(UserError, match=r"test_pc\.npy: holds a dict; .*lists 2"):
        open_benchmark("modelnet40", tmp_path)


def test_one_shape_twice(tmp_path):
    write_openshape_modelnet(tmp_path, ["chair", "chair"])
    items = json.loads((tmp_path / "test_split.json").read_text())
    (tmp_path / "test_split.json").write_text(json.dumps([items[0], items[0]]))
    with pytest.raises(UserError, match="has 'chair_0000' more than once"):
        open_benchmark("modelnet40", tmp_path, allow_partial=True)


def test_a_pickle_with_code_in_it(tmp_path):
    write_openshape_modelnet(tmp_path, ["chair"])
    save_pickled(tmp_path / "test_pc.npy", object_array([{"xyz": Code(tmp_path / "ran")}]))
    with pytest.raises(UserError, match=r"test_pc\.npy: asks for posix\.system"):
        open_benchmark("modelnet40", tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"xyz": clouds(1)[0][:, :2]}, r"shape 'chair_0000' must have shape .* got \(4, 2\) of float32"),
        ({"xyz": np.full((4, 3), np.nan)}, "shape 'chair_0000' has 12 values that are not finite"),
        ({"xyz": clouds(1)[0].tolist()}, r"test_pc\.npy: entry 0: xyz is a list; expected a dictionary with arrays"),
        (
            {"rgb": np.full((3, 3), 100)},
            r"colours of .*'chair_0000' must have shape \(4, 3\) .* got \(3, 3\)",
        ),
        ({"rgb": np.full((4, 3), 300)}, r"test_pc\.npy: entry 0: rgb reaches from 300 to 300; expected 0 to 255"),
        ({"rgb": "red"}, r"test_pc\.npy: entry 0: rgb is a str"),
    ],
)
def test_clouds_of_a_wrong_shape(tmp_path, change, message):
    write_openshape_modelnet(tmp_path, ["chair"])
    cloud = {"xyz": clouds(1)[0], "rgb": np.full((4, 3), 100), **change}
    save_pickled(tmp_path / "test_pc.npy", object_array([cloud]))
    benchmark = open_benchmark("modelnet40", tmp_path, allow_partial=True)
    with pytest.raises(UserError, match=message):
        benchmark.shapes([0])


@pytest.mark.parametrize("content", ["", "1,2,3\n", "1,2,3,0,0,1\n1,2,3,0,0\n", "1,2,3,0,0,x\n"])
def test_a_damaged_text_file(tmp_path, content):
    write_resampled_modelnet(tmp_path, ["chair"])
    (tmp_path / "chair/chair_0000.txt").write_text(content)
    benchmark = open_benchmark("modelnet40", tmp_path, allow_partial=True)
    with pytest.raises(UserError, match=r"chair_0000\.txt: .*expected lines of x,y,z,nx,ny,nz"):
        benchmark.shapes([0])


def test_a_damaged_mesh(tmp_path):
    write_off_modelnet(tmp_path, ["chair"])
    (tmp_path / "chair/test/chair_0000.off").write_text("OFF\n5 6 0\n0 0 0\n")
    benchmark = open_benchmark("modelnet40", tmp_path, allow_partial=True)
    with pytest.raises(UserError, match=r"chair_0000\.off: cannot be read as 'off'"):
        benchmark.shapes([0])


@pytest.mark.parametrize("kept", [0.0, 0.4])
def test_a_truncated_hdf5_file(tmp_path, kept):
    write_hdf5_modelnet(tmp_path, files=1)
    content = (tmp_path / "ply_data_test0.h5").read_bytes()
    (tmp_path / "ply_data_test0.h5").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match=r"ply_data_test0\.h5: cannot be read as HDF5 .*; download it again"):
        open_benchmark("modelnet40", tmp_path)


@pytest.mark.parametrize(
    ("data", "label", "message"),
    [
        (clouds(4)[:, :, :2], np.zeros((4, 1), dtype=np.uint8), r"'data' has shape \(4, 4, 2\) of float32; expected"),
        (clouds(4), np.zeros((3, 1), dtype=np.uint8), "has 4 clouds in 'data' and 3 in 'label'"),
        (clouds(4), np.zeros((4, 2), dtype=np.uint8), r"'label': has shape \(4, 2\) of uint8; expected whole numbers"),
        (clouds(4), np.full((4, 1), 0.5), r"'label': has shape \(4,\) of float64; expected whole numbers"),
        (
            np.zeros((4, 4, 3), dtype=np.int64),
            np.zeros(4, dtype=np.uint8),
            "'data' has shape .* of int64; expected fl",
        ),
    ],
)
def test_hdf5_arrays_of_a_wrong_shape(tmp_path, data, label, message):
    write_hdf5_modelnet(tmp_path, files=1)
    write_h5(tmp_path / "ply_data_test0.h5", data, label)
    with pytest.raises(UserError, match=rf"ply_data_test0\.h5: {message}"):
        open_benchmark("modelnet40", tmp_path)


def test_embeddings_beside_the_clouds_are_offered(tmp_path):
    write_openshape_modelnet(tmp_path, ["chair"])
    assert open_benchmark("modelnet40", tmp_path, allow_partial=True).class_embeddings is None
    save_pickled(tmp_path / "cat_name_pt_feat.npy", {"chair": np.ones(3)})
    benchmark = open_benchmark("modelnet40", tmp_path, allow_partial=True)
    assert benchmark.class_embeddings == tmp_path / "cat_name_pt_feat.npy"
    assert benchmark.class_teacher == "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"
