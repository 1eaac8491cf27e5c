"""Triplet datasets with a class as benchmarks."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Value, load_dataset
from support.tiny_triplets import NAMES, save_tiny_triplets, tiny_rows

from mrd_hf.data.embedding.teacher_embedding import categories_of
from mrd_hf.data.loading import load_triplets
from mrd_hf.errors import UserError
from mrd_hf.evaluation.benchmarks.opening import open_benchmark
from mrd_hf.evaluation.held_out import HeldOutSet


def test_classes_are_those_of_held_out_evaluation(tmp_path):
    folder = save_tiny_triplets(tmp_path / "tiny")
    benchmark = open_benchmark("triplets", folder)
    held_out = HeldOutSet.from_dataset(load_triplets(folder, "test"), folder / "class_texts.parquet")
    assert benchmark.class_names == held_out.class_names == list(NAMES)
    assert np.array_equal(benchmark.labels, held_out.labels)
    assert benchmark.ids == held_out.ids and benchmark.up_axis == "y" and benchmark.name == "tiny"
    assert benchmark.class_embeddings == folder / "class_texts.parquet"
    rows = tiny_rows(12, seed=1)
    for row, (points, colors) in zip((11, 0), benchmark.shapes([11, 0]), strict=True):
        assert np.array_equal(points, rows[row]["points"]) and points.dtype == np.float32
        assert np.array_equal(colors, rows[row]["colors"]) and colors.dtype == np.uint8


def test_shapes_without_a_category_are_left_out(tmp_path):
    save_tiny_triplets(tmp_path)
    file = next(tmp_path.glob("data/test-*"))
    data = load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    categories = [None if row % 3 else "lamp" for row in range(12)]
    data = data.remove_columns("category").add_column("category", categories)
    expected = [data["id"][row] for row in range(0, 12, 3)]
    points = np.asarray(data[9]["points"], dtype=np.float32)
    data.to_parquet(file)
    benchmark = open_benchmark("triplets", tmp_path)
    assert benchmark.ids == expected and set(benchmark.labels) == {NAMES.index("lamp")}
    assert np.array_equal(benchmark.shapes([3])[0][0], points)


def test_without_class_texts_the_classes_are_those_of_all_splits(tmp_path):
    save_tiny_triplets(tmp_path, test=3)
    (tmp_path / "class_texts.parquet").unlink()
    train, test = (open_benchmark("triplets", tmp_path, split=split) for split in ("train", "test"))
    assert train.class_names == test.class_names == ["chair", "lamp", "mug", "table"]
    assert test.labels.tolist() == [0, 2, 1] and len(train) == 40
    assert test.class_embeddings is None


def test_class_texts_may_be_labels_alone(tmp_path):
    save_tiny_triplets(tmp_path)
    Dataset.from_dict({"label": list(NAMES)[::-1]}).to_parquet(tmp_path / "class_texts.parquet")
    benchmark = open_benchmark("triplets", tmp_path)
    assert benchmark.class_names == list(NAMES)[::-1] and benchmark.class_embeddings is None


def with_categories_as(feature, folder):
    """The tiny dataset, whose column `category` has a number for each of NAMES, of this type."""
    for file in (save_tiny_triplets(folder) / "data").glob("*.parquet"):
        data = Dataset.from_parquet(str(file), cache_dir=str(folder.parent / "cache"))
        places = [NAMES.index(category) for category in data["category"]]
        data.remove_columns("category").add_column("category", places).cast_column("category", feature).to_parquet(
            file
        )
    return folder


def test_categories_may_be_class_labels(tmp_path):
    """Benchmarks, held-out evaluation and the teacher's class texts say the same of them."""
    folder = with_categories_as(ClassLabel(names=list(NAMES)), tmp_path / "tiny")
    held_out = HeldOutSet.from_dataset(load_triplets(folder, "test"), folder / "class_texts.parquet")
    expected = [NAMES[row % len(NAMES)] for row in range(12)]
    assert held_out.categories == expected == [NAMES[label] for label in held_out.labels]
    assert np.array_equal(open_benchmark("triplets", folder).labels, held_out.labels)
    (folder / "class_texts.parquet").unlink()
    assert open_benchmark("triplets", folder).class_names == categories_of(folder) == sorted(NAMES)


def test_categories_that_are_no_names_are_refused(tmp_path):
    folder = with_categories_as(Value("int32"), tmp_path / "tiny")
    message = "column 'category' is .*int32.*, expected the name of each shape's class as text"
    with pytest.raises(UserError, match=f"tiny: {message}"):
        open_benchmark("triplets", folder)
    with pytest.raises(UserError, match=f"demo: {message}"):
        HeldOutSet.from_dataset(load_triplets(folder, "test"), folder / "class_texts.parquet", "demo")
    (folder / "class_texts.parquet").unlink()
    with pytest.raises(UserError, match=rf"tiny/data/test-.*\.parquet: {message}"):
        categories_of(folder)


def test_what_cannot_be_a_benchmark(tmp_path):
    save_tiny_triplets(tmp_path / "a", without=("category",))
    with pytest.raises(UserError, match="a: the split 'test' has no column 'category' with values"):
        open_benchmark("triplets", tmp_path / "a")
    with pytest.raises(UserError, match="no split 'val'; it has train, test"):
        open_benchmark("triplets", tmp_path / "a", split="val")
    with pytest.raises(UserError, match="no such folder"):
        open_benchmark("triplets", tmp_path / "none")
    save_tiny_triplets(tmp_path / "b")
    Dataset.from_dict({"label": list(NAMES[1:]), "text_embed": [[1.0]] * 3}).to_parquet(
        tmp_path / "b/class_texts.parquet"
    )
    with pytest.raises(UserError, match=r"'tiny/chair-0' has the category 'chair', not in .*class_texts\.parquet"):
        open_benchmark("triplets", tmp_path / "b")
    Dataset.from_dict({"label": ["chair", "chair"]}).to_parquet(tmp_path / "b/class_texts.parquet")
    with pytest.raises(UserError, match=r"class_texts\.parquet: column 'label' .* each class once"):
        open_benchmark("triplets", tmp_path / "b")
    (tmp_path / "b/class_texts.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"class_texts\.parquet: cannot be read"):
        open_benchmark("triplets", tmp_path / "b")
