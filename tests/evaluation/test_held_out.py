"""The held-out report: the demo data's known figures, rows left out for want of categories, errors."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import concatenate_datasets, load_dataset
from support.paths import DEMO_DATA

from mrd_hf.errors import UserError
from mrd_hf.evaluation.benchmarks.benchmark import Benchmark
from mrd_hf.evaluation.held_out import HeldOutSet, evaluate_held_out


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
        categories=["mug", "mug", "lamp", None, "bed", "bed"][:count],
        labels=np.array([0, 0, 1, -1, 2, 2])[:count],
        image_embeds=generator.normal(size=(count, width)).astype(np.float32),
        name_embeds=generator.normal(size=(count, width)).astype(np.float32),
        class_names=["mug", "lamp", "bed"],
        class_embeds=generator.normal(size=(3, width)).astype(np.float32),
    )


def test_an_id_twice_is_refused(dataset):
    """Either's image would count as the other's own."""
    with pytest.raises(UserError, match=r"demo: has .* more than once"):
        HeldOutSet.from_dataset(dataset.select([0, 1, 2, 1]), name="demo")


def test_the_demo_teachers_figures(held_out):
    """Those of texts as its makers measured them, with code of their own; the others as a few lines of numpy do."""
    assert len(held_out) == 236 and len(held_out.labeled) == 119 and len(held_out.class_names) == 34
    noise = np.random.default_rng(0).normal(size=held_out.image_embeds.shape)
    report = {row.key: row for row in evaluate_held_out(noise, held_out)}
    teacher = {key: round(row.teacher, 3) for key, row in report.items() if row.teacher is not None}
    known = {
        "zero_shot_top1": 0.714,
        "zero_shot_top5": 0.950,
        "shape_to_text_recall_at_1": 0.309,
        "shape_to_text_recall_at_5": 0.559,
        "shape_to_text_recall_at_10": 0.682,
        "same_category_neighbor": 0.750,
    }
    assert {key: teacher[key] for key in known} == known
    assert report["zero_shot_top1"].majority == pytest.approx(12 / 119)
    assert report["zero_shot_top1"].chance == pytest.approx(1 / 34)
    assert report["shape_to_image_recall_at_10"].chance == pytest.approx(10 / 236)
    for row in report.values():  # noise scores near chance
        if "median_rank" not in row.key:
            assert abs(row.value - row.chance) < 5 * np.sqrt(row.chance / row.num_shapes)
            assert row.interval.low <= row.value <= row.interval.high


def test_the_teachers_own_embeddings_score_as_the_teacher(held_out):
    for row in evaluate_held_out(torch.tensor(held_out.image_embeds) * 3, held_out):
        assert row.value == (1.0 if "image" in row.key else row.teacher)


def test_set_holds_the_first_image_and_the_name(dataset, held_out):
    row = dataset.with_format("numpy")[17]
    np.testing.assert_array_equal(held_out.image_embeds[17], row["image_embeds"][0])
    np.testing.assert_array_equal(held_out.name_embeds[17], row["text_embeds"][0])
    assert held_out.names[17] == row["name"]
    assert [None if label < 0 else held_out.class_names[label] for label in held_out.labels] == dataset["category"][:]
    assert held_out.categories == dataset["category"][:]


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


def test_of_a_split_to_learn_from_the_labels_are_read_alone(dataset, held_out):
    """Of shapes of which some have no text or no image, and the others do."""

    def empty(row, index):
        lacking = {1: {"texts": [], "text_embeds": []}, 2: {"image_embeds": []}}
        return row | lacking.get(index, {})

    rows = dataset.select(range(5)).map(empty, with_indices=True, features=dataset.features)
    with pytest.raises(UserError, match="has no text"):
        HeldOutSet.from_dataset(rows, CLASS_TEXTS, "demo")
    learned = HeldOutSet.from_dataset(rows, CLASS_TEXTS, "demo", labels_only=True)
    np.testing.assert_array_equal(learned.labels, held_out.labels[:5])
    assert learned.ids == held_out.ids[:5] and learned.categories == held_out.categories[:5]
    assert learned.image_embeds is None and learned.name_embeds is None


def test_same_category_counts_only_shapes_that_share_their_category():
    """Against a loop over the pairs: the sofa has no category and the lamp no other lamp."""
    held_out = make_set()
    for seed in range(5):
        embeds = np.random.default_rng(seed).normal(size=(6, 4))
        unit = embeds / np.linalg.norm(embeds, axis=1, keepdims=True)
        hits = []
        for query in (0, 1, 4, 5):
            found = max((item for item in (0, 1, 2, 4, 5) if item != query), key=lambda item: unit[query] @ unit[item])
            hits.append(held_out.categories[found] == held_out.categories[query])
        row = evaluate_held_out(embeds, held_out)[-2]
        assert row.key == "same_category_neighbor" and row.num_shapes == 4
        assert row.value == np.mean(hits) and row.chance == pytest.approx(1 / 4)
        np.testing.assert_array_equal(np.isnan(row.outcomes), [False, False, True, True, False, False])


def test_rows_without_categories_are_left_out():
    held_out = make_set()
    keys = [row.key for row in evaluate_held_out(held_out.image_embeds, held_out)]
    ways = ("shape_to_image", "image_to_shape", "shape_to_text", "text_to_shape")
    measures = ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank")
    retrieval = [f"{way}_{measure}" for way in ways for measure in measures]
    zero_shot = [f"zero_shot_{measure}" for measure in ("top1", "top3", "top5", "class_mean")]
    neighbors = ["same_category_neighbor", "shape_to_shape_map"]
    assert keys == [*zero_shot, *retrieval, *neighbors]
    without_texts = replace(held_out, labels=np.full(6, -1), class_names=[], class_embeds=np.zeros((0, 4)))
    assert [row.key for row in evaluate_held_out(held_out.image_embeds, without_texts)] == [*retrieval, *neighbors]
    bare = replace(held_out, labels=np.full(6, -1), categories=[None] * 6)
    assert [row.key for row in evaluate_held_out(held_out.image_embeds, bare)] == retrieval


@pytest.mark.parametrize("column", ["missing", "null"])
def test_a_dataset_without_categories(dataset, column):
    dataset = dataset.remove_columns("category")
    if column == "null":
        dataset = dataset.add_column("category", [None] * len(dataset))
    held_out = HeldOutSet.from_dataset(dataset)
    assert held_out.class_names == [] and set(held_out.categories) == {None} and len(held_out.labeled) == 0
    assert len(evaluate_held_out(held_out.image_embeds, held_out)) == 16
    lacking = "no column" if column == "missing" else "no shape has a"
    with pytest.raises(UserError, match=rf"demo: {lacking} 'category'.*class_texts\.parquet.*leave out class_texts"):
        HeldOutSet.from_dataset(dataset, CLASS_TEXTS, "demo")


def test_a_benchmarks_set_has_categories_alone():
    benchmark = Benchmark(
        "toy", "test", "toy", ["mug", "lamp"], np.array([1, 0, 1]), list("abc"), "y", lambda rows: []
    )
    held_out = HeldOutSet.from_benchmark(benchmark, np.eye(2, dtype=np.float32))
    assert held_out.embedding_dim == 2 and held_out.names == ["lamp", "mug", "lamp"]
    scores = {score.key: score for score in evaluate_held_out(np.array([[0, 1], [1, 0], [1, 0.1]]), held_out)}
    assert list(scores)[:4] == [f"zero_shot_{measure}" for measure in ("top1", "top3", "top5", "class_mean")]
    assert list(scores)[4:] == ["same_category_neighbor", "shape_to_shape_map"]
    assert scores["zero_shot_top1"].value == pytest.approx(2 / 3)
    assert scores["zero_shot_class_mean"].value == pytest.approx((1 + 1 / 2) / 2)
    assert scores["zero_shot_top1"].outcomes.tolist() == [1, 1, 0]


def test_wrong_number_of_embeddings():
    with pytest.raises(ValueError, match="5 shape embeddings for 6"):
        evaluate_held_out(np.ones((5, 4)), make_set())


def test_embeddings_that_diverged():
    with pytest.raises(ValueError, match="NaN"):
        evaluate_held_out(np.full((6, 4), np.nan), make_set())


def test_dataset_without_embeddings(dataset):
    with pytest.raises(UserError, match=r"demo: no column 'image_embeds'.*mrd-hf embed-teacher"):
        HeldOutSet.from_dataset(dataset.remove_columns("image_embeds"), name="demo")


def test_a_shape_without_a_name_goes_by_its_first_text(dataset):
    """As one's own meshes without metadata, whose texts are the words in their file names."""

    def rename(row):
        return {"texts": [{**text, "source": "file_name"} for text in row["texts"]]}

    rows = dataset.select([3, 4]).map(rename)
    held_out = HeldOutSet.from_dataset(rows, name="demo")
    assert held_out.names == [row["texts"][0]["text"] for row in rows]
    assert np.array_equal(held_out.name_embeds[1], np.float32(rows.with_format("numpy")[1]["text_embeds"][0]))
    bare = rows.map(lambda row: {"texts": []}, features=dataset.features)
    with pytest.raises(UserError, match=r"demo: shape '.+' has no text"):
        HeldOutSet.from_dataset(bare, name="demo")


def test_shapes_without_images_have_the_other_scores(dataset):
    """As of meshes that were prepared without pictures; where some have images, those without are named."""

    def strip(row):
        return {"image_embeds": np.zeros((0, 384))}

    few = dataset.select(range(8))
    bare = few.map(strip, features=dataset.features)
    held_out = HeldOutSet.from_dataset(bare, CLASS_TEXTS, name="demo")
    assert held_out.image_embeds is None and held_out.embedding_dim == 384
    scores = {score.key for score in evaluate_held_out(held_out.name_embeds, held_out)}
    assert {"zero_shot_top1", "shape_to_text_recall_at_1"} <= scores
    assert not any("image" in key for key in scores)
    mixed = concatenate_datasets([few.select([0]), bare.select([3])])
    with pytest.raises(UserError, match=rf"demo: shape '{few[3]['id']}' has no image"):
        HeldOutSet.from_dataset(mixed, name="demo")


def test_class_texts_that_do_not_fit(dataset, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        HeldOutSet.from_dataset(dataset, tmp_path / "class_texts.parquet")
    cases = {
        "no column 'text_embed'": {"label": ["chair"]},
        "have width 2, those of the dataset 384": {"label": ["chair"], "text_embed": [[1.0, 0.0]]},
        "has the category '.*', not in": {"label": ["spaceship"], "text_embed": [[0.1] * 384]},
    }
    for message, columns in cases.items():
        pq.write_table(pa.table(columns), tmp_path / "class_texts.parquet")
        with pytest.raises(UserError, match=message):
            HeldOutSet.from_dataset(dataset, tmp_path / "class_texts.parquet")
