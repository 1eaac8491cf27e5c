"""Objaverse-LVIS in OpenShape's files: a list, and a file a shape."""

import json

import numpy as np
import pytest
from support.published_layouts import Code, clouds, save_pickled, write_lvis

from mrd_hf.errors import UserError
from mrd_hf.evaluation.benchmarks import objaverse_lvis
from mrd_hf.evaluation.benchmarks.opening import open_benchmark


# Sorted as Python sorts text: capitals first.
CATEGORIES = {"a1": "tea_pot", "b2": "Band_Aid", "c3": "bow_(weapon)", "d4": "tea_pot", "e5": "apple"}
CLASSES = ["Band Aid", "apple", "bow (weapon)", "tea pot"]
BY_OPTION = r"take a part of it by --allow-partial \(allow_partial=True\)"


@pytest.fixture
def whole(tmp_path, monkeypatch):
    """A benchmark of five shapes and four classes that counts as whole, as all four are there, and its clouds."""
    monkeypatch.setattr(objaverse_lvis, "NUM_CLASSES", 4)
    rgb = np.random.default_rng(1).random((5, 4, 3)).astype(np.float32)
    shapes = {
        uid: {"dataset": "Objaverse", "group": "x", "id": uid, "xyz": xyz, "rgb": of_shape}
        for uid, xyz, of_shape in zip(CATEGORIES, clouds(5), rgb, strict=True)
    }
    write_lvis(tmp_path, shapes, CATEGORIES)
    return tmp_path, shapes


def test_as_published(whole):
    folder, shapes = whole
    benchmark = open_benchmark("objaverse-lvis", folder)
    assert benchmark.class_names == CLASSES and benchmark.up_axis == "y"
    assert benchmark.ids == list(CATEGORIES)
    assert [CLASSES[label] for label in benchmark.labels] == [name.replace("_", " ") for name in CATEGORIES.values()]
    for row, (xyz, rgb) in zip((4, 0), benchmark.shapes([4, 0]), strict=True):
        assert np.array_equal(xyz, shapes[benchmark.ids[row]]["xyz"])
        assert np.allclose(rgb, shapes[benchmark.ids[row]]["rgb"], atol=1e-7)
    np.save(folder / "meta_data/lvis_cat_name_pt_feat.npy", np.ones((4, 2)))
    assert open_benchmark("objaverse-lvis", folder).class_embeddings.name == "lvis_cat_name_pt_feat.npy"
    assert not benchmark.is_part


def test_files_are_found_below_the_folders_that_archives_keep(whole):
    folder, shapes = whole
    kept = folder / "objaverse-processed/merged_for_training_final"
    kept.mkdir(parents=True)
    (folder / "Objaverse").rename(kept / "Objaverse")
    benchmark = open_benchmark("objaverse-lvis", folder)
    assert np.array_equal(benchmark.shapes([2])[0][0], shapes["c3"]["xyz"])


def test_the_published_size(tmp_path):
    write_lvis(tmp_path, {}, CATEGORIES)
    with pytest.raises(UserError, match=r"lvis\.json: has 4 categories; objaverse-lvis has 1156\. .*" + BY_OPTION):
        open_benchmark("objaverse-lvis", tmp_path)


def test_of_too_many_categories_no_part_is_taken(tmp_path, monkeypatch):
    write_lvis(tmp_path, {}, CATEGORIES)
    monkeypatch.setattr(objaverse_lvis, "NUM_CLASSES", 3)
    with pytest.raises(UserError, match=r"has 4 categories; objaverse-lvis has 3\. Download it again\.$"):
        open_benchmark("objaverse-lvis", tmp_path, allow_partial=True)


def test_a_part_of_the_files(whole):
    folder, _ = whole
    (folder / "Objaverse/000-001/b2.npy").unlink()
    with pytest.raises(UserError, match=r"1 of the 5 shapes of .*lvis\.json are not there .*000-001/b2.*" + BY_OPTION):
        open_benchmark("objaverse-lvis", folder)
    benchmark = open_benchmark("objaverse-lvis", folder, allow_partial=True)
    assert benchmark.ids == ["a1", "c3", "d4", "e5"] and benchmark.is_part
    assert benchmark.class_names == CLASSES  # still all of the list's
    assert benchmark.labels.tolist() == [3, 2, 3, 1]


def test_a_shorter_list_is_none_of_the_published_embeddings(whole, monkeypatch):
    """They are of all classes, in their order, and could not be told apart."""
    folder, _ = whole
    np.save(folder / "meta_data/lvis_cat_name_pt_feat.npy", np.ones((6, 2)))
    monkeypatch.setattr(objaverse_lvis, "NUM_CLASSES", 6)
    with pytest.raises(UserError, match=r"has 4 categories; objaverse-lvis has 6\. .*" + BY_OPTION):
        open_benchmark("objaverse-lvis", folder)
    benchmark = open_benchmark("objaverse-lvis", folder, allow_partial=True)
    assert benchmark.class_embeddings is None and benchmark.class_teacher is None
    assert benchmark.class_names == CLASSES and benchmark.is_part


@pytest.mark.parametrize("more", [1, 3])
def test_however_many_shapes_are_listed_they_are_the_benchmark(tmp_path, monkeypatch, more):
    """Papers and downloads differ in how many there are."""
    monkeypatch.setattr(objaverse_lvis, "NUM_CLASSES", 4)
    categories = CATEGORIES | {f"f{number}": "apple" for number in range(more)}
    contents = {uid: {"xyz": xyz, "rgb": np.zeros((4, 3))} for uid, xyz in zip(categories, clouds(8), strict=False)}
    write_lvis(tmp_path, contents, categories)
    benchmark = open_benchmark("objaverse-lvis", tmp_path)
    assert benchmark.ids == list(categories) and not benchmark.is_part


def test_an_id_twice_is_refused(whole):
    file = whole[0] / "meta_data/split/lvis.json"
    items = json.loads(file.read_text())
    file.write_text(json.dumps([*items, items[0]]))
    with pytest.raises(UserError, match=r"lvis\.json: has 'a1' more than once"):
        open_benchmark("objaverse-lvis", whole[0])


def test_no_list(tmp_path):
    with pytest.raises(UserError, match=r"has no lvis\.json; expected the unpacked download"):
        open_benchmark("objaverse-lvis", tmp_path)
    (tmp_path / "meta_data.zip").write_bytes(b"")
    with pytest.raises(UserError, match=r"Unpack meta_data\.zip\."):
        open_benchmark("objaverse-lvis", tmp_path)
    with pytest.raises(UserError, match="has no split 'train', only test"):
        open_benchmark("objaverse-lvis", tmp_path, split="train")


@pytest.mark.parametrize("path", ["x.npy", "/a/../b/x.npy", "/a/b/x.txt", ""])
def test_a_path_that_leads_elsewhere(whole, path):
    folder, _ = whole
    file = folder / "meta_data/split/lvis.json"
    items = json.loads(file.read_text())
    items[2]["data_path"] = path
    file.write_text(json.dumps(items))
    with pytest.raises(UserError, match=r"lvis\.json: entry 2: 'data_path' is .*expected a path that ends in"):
        open_benchmark("objaverse-lvis", folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"xyz": clouds(1)[0][:, :1], "rgb": np.zeros((4, 1))}, r"shape 'a1' must have shape .* got \(4, 1\)"),
        ({"rgb": np.zeros((4, 3))}, r"a1\.npy: xyz is missing; expected a dictionary"),
        ({"xyz": clouds(1)[0], "rgb": np.full((4, 3), 7.0)}, r"a1\.npy: rgb reaches from 7 to 7; expected 0 to 1"),
        (np.ones((4, 3)), r"a1\.npy: xyz is a ndarray; expected a dictionary"),
    ],
)
def test_other_content(whole, content, message):
    folder, _ = whole
    save_pickled(folder / "Objaverse/000-000/a1.npy", content)
    with pytest.raises(UserError, match=message):
        open_benchmark("objaverse-lvis", folder).shapes([0])


def test_a_pickle_with_code_in_it(whole):
    folder, _ = whole
    save_pickled(folder / "Objaverse/000-000/a1.npy", {"xyz": Code(folder / "ran")})
    benchmark = open_benchmark("objaverse-lvis", folder)
    with pytest.raises(UserError, match=r"a1\.npy: asks for posix\.system, which could run code"):
        benchmark.shapes([1, 0])
    assert not (folder / "ran").exists()
    assert len(benchmark.shapes([1])) == 1  # the others can be read all the same
