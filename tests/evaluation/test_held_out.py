"""The held-out report: the demo data's known figures, rows left out for want of labels or categories, errors."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import load_dataset

from mrd_hf.errors import UserError
from mrd_hf.evaluation.held_out import HeldOutSet, as_dict, as_metrics, evaluate_held_out, format_table


DEMO_DATA = Path(__file__).parents[2] / "scripts" / "demo_data"
CLASS_TEXTS = DEMO_DATA / "class_texts.parquet"


@pytest.fixture(scope="module")
def dataset():
    return load_dataset(str(DEMO_DATA), split="test")


@pytest.fixture(scope="module")
def held_out(dataset):
    return HeldOutSet.from_dataset(dataset, CLASS_TEXTS, "demo")


def make_set(count=6, width=4, seed=0):
    generator = np.random.default_rng(seed)
    return HeldOutSet(
        ids=[f"shape-{index}" for index in range(count)],
        names=["mug", "mug", "lamp", "sofa", "bed", "desk"][:count],
        categories=["cup", "cup", "light", None, "seat", "seat"][:count],
        labels=np.array([0, 0, 1, -1, 2, -1])[:count],
        image_embeds=generator.normal(size=(count, width)).astype(np.float32),
        name_embeds=generator.normal(size=(count, width)).astype(np.float32),
        class_names=["mug", "lamp", "bed"],
        class_embeds=generator.normal(size=(3, width)).astype(np.float32),
    )


def test_the_demo_teachers_figures(held_out):
    """As its makers measured them, with code of their own."""
    assert len(held_out) == 236 and len(held_out.labeled) == 113 and len(held_out.class_names) == 34
    noise = np.random.default_rng(0).normal(size=held_out.image_embeds.shape)
    report = {row.key: row for row in evaluate_held_out(noise, held_out).rows}
    teacher = {key: round(row.teacher, 3) for key, row in report.items() if row.teacher is not None}
    assert teacher == {
        "zero_shot_top1": 0.628,
        "zero_shot_top5": 0.885,
        "shape_to_text_recall_at_1": 0.309,
        "shape_to_text_recall_at_5": 0.559,
        "shape_to_text_recall_at_10": 0.682,
        "same_category_neighbor": 0.640,
    }
    assert report["zero_shot_top1"].majority == pytest.approx(13 / 113)
    assert report["zero_shot_top1"].chance == pytest.approx(1 / 34)
    assert report["shape_to_image_recall_at_10"].chance == pytest.approx(10 / 236)
    for row in report.values():  # noise scores near chance
        assert abs(row.value - row.chance) < 5 * np.sqrt(row.chance / row.num_shapes)


def test_the_teachers_own_embeddings_score_as_the_teacher(held_out):
    for row in evaluate_held_out(torch.tensor(held_out.image_embeds) * 3, held_out).rows:
        assert row.value == (1.0 if row.key.startswith("shape_to_image") else row.teacher)


def test_set_holds_the_first_image_and_the_name(dataset, held_out):
    row = dataset.with_format("numpy")[17]
    np.testing.assert_array_equal(held_out.image_embeds[17], row["image_embeds"][0])
    np.testing.assert_array_equal(held_out.name_embeds[17], row["text_embeds"][0])
    assert held_out.names[17] == row["name"]
    assert [None if label < 0 else held_out.class_names[label] for label in held_out.labels] == dataset["label"][:]


def test_of_several_images_the_first_counts(dataset, held_out):
    def add_image(row):
        return {"image_embeds": [row["image_embeds"][0], [0.0] * 384]}

    several = HeldOutSet.from_dataset(dataset.select(range(3)).map(add_image, features=dataset.features))
    np.testing.assert_array_equal(several.image_embeds, held_out.image_embeds[:3])


def test_name_is_found_by_its_source_not_its_place(dataset, held_out):
    def swap(row):
        return {"texts": row["texts"][::-1], "text_embeds": row["text_embeds"][::-1]}

    swapped = HeldOutSet.from_dataset(dataset.select(range(5)).map(swap, features=dataset.features))
    np.testing.assert_array_equal(swapped.name_embeds, held_out.name_embeds[:5])


def test_same_category_counts_only_shapes_with_a_category():
    held_out = make_set()
    embeds = np.eye(6, 4) + 0.01
    embeds[1], embeds[5] = embeds[0], embeds[3]  # the sofa has no category: its twin must look elsewhere
    row = evaluate_held_out(embeds, held_out).rows[-1]
    assert row.key == "same_category_neighbor" and row.num_shapes == 5
    assert row.chance == pytest.approx(4 * 0.25 / 5)


def test_rows_without_labels_or_categories_are_left_out():
    held_out = make_set()
    keys = [row.key for row in evaluate_held_out(held_out.image_embeds, held_out).rows]
    retrieval = [f"shape_to_{what}_recall_at_{k}" for what in ("image", "text") for k in (1, 5, 10)]
    assert keys == ["zero_shot_top1", "zero_shot_top5", *retrieval, "same_category_neighbor"]
    bare = replace(held_out, labels=np.full(6, -1), categories=[None] * 6)
    assert [row.key for row in evaluate_held_out(held_out.image_embeds, bare).rows] == retrieval


def test_a_dataset_without_labels_or_categories(dataset):
    held_out = HeldOutSet.from_dataset(dataset.remove_columns(["label", "category"]), CLASS_TEXTS)
    assert held_out.class_names == [] and set(held_out.categories) == {None} and len(held_out.labeled) == 0
    assert len(evaluate_held_out(held_out.image_embeds, held_out).rows) == 6


def test_metrics_and_json():
    held_out = make_set()
    report = evaluate_held_out(held_out.image_embeds, held_out)
    metrics = as_metrics(report)
    assert metrics["shape_to_image_recall_at_1"] == 1
    assert all(type(value) is float for value in metrics.values())
    loaded = json.loads(json.dumps(as_dict(report)))
    assert loaded["zero_shot_top1"]["value"] == metrics["zero_shot_top1"]
    assert loaded["shape_to_image_recall_at_1"]["teacher"] is None
    assert list(loaded) == list(metrics)


def test_table_is_aligned():
    held_out = make_set()
    report = evaluate_held_out(held_out.image_embeds, held_out)
    lines = format_table(report).split("\n")
    assert lines[0].split() == ["metric", "shapes", "model", "chance", "majority", "teacher"]
    assert len(lines) == 2 + len(report.rows)
    assert len({len(line) for line in lines}) == 1
    image_row = next(line for line in lines if line.startswith("shape to image, recall at 1 "))
    assert image_row.split()[-5:] == ["6", "100.0", "16.7", "-", "-"]


def test_wrong_number_of_embeddings():
    with pytest.raises(ValueError, match="5 shape embeddings for 6"):
        evaluate_held_out(np.ones((5, 4)), make_set())


def test_embeddings_that_diverged():
    with pytest.raises(ValueError, match="NaN"):
        evaluate_held_out(np.full((6, 4), np.nan), make_set())


def test_dataset_without_embeddings(dataset):
    with pytest.raises(UserError, match=r"demo: no column 'image_embeds'.*embed_teacher\.py"):
        HeldOutSet.from_dataset(dataset.remove_columns("image_embeds"), name="demo")


def test_shape_without_a_name(dataset):
    def rename(row):
        return {"texts": [{**text, "source": "caption"} for text in row["texts"]]}

    with pytest.raises(UserError, match=r"demo: shape '.+' has no text of source 'name'"):
        HeldOutSet.from_dataset(dataset.select([3]).map(rename), name="demo")


def test_shape_without_an_image(dataset):
    empty = dataset.select([3]).map(lambda row: {"image_embeds": np.zeros((0, 384))}, features=dataset.features)
    with pytest.raises(UserError, match=r"demo: shape '.+' has no image"):
        HeldOutSet.from_dataset(empty, name="demo")


def test_class_texts_that_do_not_fit(dataset, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        HeldOutSet.from_dataset(dataset, tmp_path / "class_texts.parquet")
    cases = {
        "no column 'text_embed'": {"label": ["chair"]},
        "width 384": {"label": ["chair"], "text_embed": [[1.0, 0.0]]},
        "has the label '.*', not in": {"label": ["spaceship"], "text_embed": [[0.1] * 384]},
    }
    for message, columns in cases.items():
        pq.write_table(pa.table(columns), tmp_path / "class_texts.parquet")
        with pytest.raises(UserError, match=message):
            HeldOutSet.from_dataset(dataset, tmp_path / "class_texts.parquet")
