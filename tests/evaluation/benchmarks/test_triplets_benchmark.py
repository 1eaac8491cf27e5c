"""Triplet datasets with a class as benchmarks."""

import numpy as np
import pytest
from datasets import Dataset, load_dataset
from tiny_triplets import NAMES, save_tiny_triplets, tiny_rows

from mrd_hf.data.loading import load_triplets
from mrd_hf.errors import UserError
from mrd_hf.evaluation.benchmarks.opening import open_benchmark
from mrd_hf.evaluation.held_out import HeldOutSet


def test_labels_are_those_of_held_out_evaluation(tmp_path):
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


def test_shapes_without_a_class_are_left_out(tmp_path):
    save_tiny_triplets(tmp_path)
    file = next(tmp_path.glob("data/test-*"))
    data = load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    labels = [None if row % 3 else "lamp" for row in range(12)]
    data = data.remove_columns("label").add_column("label", labels)
    expected = [data["id"][row] for row in range(0, 12, 3)]
    points = np.asarray(data[9]["points"], dtype=np.float32)
    data.to_parquet(file)
    benchmark = open_benchmark("triplets", tmp_path)
    assert benchmark.ids == expected and set(benchmark.labels) == {NAMES.index("lamp")}
    assert np.array_equal(benchmark.shapes([3])[0][0], points)


def test_categories_serve_where_there_are_no_labels(tmp_path):
    # Class texts of labels, which are there, say nothing of categories.
    save_tiny_triplets(tmp_path, without=("label",))
    train, test = (open_benchmark("triplets", tmp_path, split=split) for split in ("train", "test"))
    assert train.class_names == test.class_names == ["stuff", "things"]
    assert test.labels.tolist() == [0, 1] * 6 and len(train) == 40
    assert test.class_embeddings is None


def test_what_cannot_be_a_benchmark(tmp_path):
    save_tiny_triplets(tmp_path / "a", without=("label", "category"))
    with pytest.raises(UserError, match="a: the split 'test' has neither a column 'label' nor 'category'"):
        open_benchmark("triplets", tmp_path / "a")
    with pytest.raises(UserError, match="no split 'val'; it has train, test"):
        open_benchmark("triplets", tmp_path / "a", split="val")
    with pytest.raises(UserError, match="no such folder"):
        open_benchmark("triplets", tmp_path / "none")
    save_tiny_triplets(tmp_path / "b")
    Dataset.from_dict({"label": list(NAMES[1:]), "text_embed": [[1.0]] * 3}).to_parquet(
        tmp_path / "b/class_texts.parquet"
    )
    with pytest.raises(UserError, match=r"shape 'tiny/chair-0' has the label 'chair', not in .*class_texts\.parquet"):
        open_benchmark("triplets", tmp_path / "b")
    Dataset.from_dict({"label": ["chair", "chair"]}).to_parquet(tmp_path / "b/class_texts.parquet")
    with pytest.raises(UserError, match=r"class_texts\.parquet: expected text in the column 'label', each class once"):
        open_benchmark("triplets", tmp_path / "b")
    (tmp_path / "b/class_texts.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"class_texts\.parquet: cannot be read"):
        open_benchmark("triplets", tmp_path / "b")
