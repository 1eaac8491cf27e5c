"""Scores: of the shapes that count, with each one's part, as counting by hand finds them."""

import numpy as np
import pytest

from mrd_hf.evaluation import scoring
from mrd_hf.evaluation.scores.corruptions import CORRUPTIONS
from mrd_hf.evaluation.scoring import (
    few_shot_scores,
    few_shot_settings,
    linear_probe_is_possible,
    linear_probe_scores,
    neighbor_scores,
    retrieval_scores,
    under_corruption,
    zero_shot_scores,
)


def by_key(scores):
    return {score.key: score for score in scores}


def clusters(labels, seed=0):
    """Embeddings near a direction of the class's own; of -1, anywhere."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(10, 16))
    noise = generator.normal(size=(len(labels), 16))
    return np.where(labels[:, None] < 0, noise, centers[labels] + 0.05 * noise)


def test_shapes_without_a_label_do_not_count():
    labels = np.array([0, -1, 1, 1])
    embeds = np.array([[1, 0], [1, 0], [0, 1], [1, 0.1]])
    scores = by_key(zero_shot_scores(embeds, np.eye(2), labels))
    top1 = scores["zero_shot_top1"]
    assert (top1.value, top1.num_shapes, top1.majority) == (pytest.approx(2 / 3), 3, pytest.approx(2 / 3))
    np.testing.assert_array_equal(top1.outcomes, [1, np.nan, 1, 0])
    class_mean = scores["zero_shot_class_mean"]
    assert (class_mean.value, class_mean.majority, class_mean.statistic) == (0.75, 0.5, "class_mean")
    assert top1.teacher is None


def test_the_teachers_images_are_scored_on_the_same_shapes():
    labels = np.array([0, -1, 1, 1])
    images = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    scores = by_key(zero_shot_scores(np.ones((4, 2)), np.eye(2), labels, images))
    assert scores["zero_shot_top1"].teacher == 1
    assert scores["zero_shot_top1"].value == pytest.approx(1 / 3)  # all alike: the first class


def test_of_classes_that_are_not_all_there_the_guesses_are_of_those_that_are():
    """One class that is guessed for all is right for one of the two that occur, of five that may be said."""
    labels = np.array([0, 3, 3, -1])
    scores = by_key(zero_shot_scores(clusters(labels), np.eye(5, 16), labels))
    class_mean = scores["zero_shot_class_mean"]
    assert (class_mean.majority, class_mean.chance) == (1 / 2, 1 / 5)


def test_the_chance_of_a_median_rank_is_that_of_shuffled_galleries():
    """Of queries that find theirs at once."""
    generator, embeds = np.random.default_rng(0), np.eye(41)
    median = by_key(retrieval_scores("a_to_b", "a to b", embeds, embeds, range(41), range(41)))["a_to_b_median_rank"]
    shuffled = [np.median(1 + generator.permutation(41)) for _ in range(3)]  # each rank once
    assert median.value == 1 and median.chance == pytest.approx(np.mean(shuffled), abs=1)


def test_the_seed_reaches_every_interval_and_draw(monkeypatch):
    seeds = []
    for name in ("mean_interval", "class_mean_interval", "median_interval", "linear_probe", "few_shot"):
        called = getattr(scoring, name)
        monkeypatch.setattr(scoring, name, lambda *a, called=called, **k: seeds.append(k["seed"]) or called(*a, **k))
    labels = np.repeat([0, 1, 2, 3, 4], 12)
    embeds = clusters(labels)
    zero_shot_scores(embeds, np.eye(5, 16), labels, seed=7)
    retrieval_scores("a", "a", embeds, embeds, labels, labels, seed=7)
    neighbor_scores(embeds, labels.tolist(), seed=7)
    assert linear_probe_scores(embeds, labels, embeds, labels, seed=7) and few_shot_scores(embeds, labels, seed=7)
    assert len(seeds) > 15 and set(seeds) == {7}


def test_few_shot_is_of_the_labelled_shapes():
    labels = np.append(np.repeat([0, 1, 2, 3, 4], 12), [-1] * 9)
    assert {score.num_shapes for score in few_shot_scores(clusters(labels), labels)} == {60}


def test_a_query_without_a_match_is_missed_in_a_gallery_smaller_than_k():
    scores = by_key(retrieval_scores("a_to_b", "a to b", np.eye(2), np.eye(2), ["x", "z"], ["x", "y"]))
    assert scores["a_to_b_recall_at_1"].value == scores["a_to_b_recall_at_10"].value == 0.5
    assert scores["a_to_b_recall_at_10"].outcomes.tolist() == [1, 0]
    median = scores["a_to_b_median_rank"]
    assert (median.value, median.statistic, median.outcomes.tolist()) == (2, "median", [1, 3])


def test_neighbors_are_of_shapes_with_a_category():
    embeds = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9], [1, 0.05]])
    scores = by_key(neighbor_scores(embeds, ["seat", "seat", "light", "light", None]))
    assert scores["same_category_neighbor"].value == scores["shape_to_shape_map"].value == 1
    np.testing.assert_array_equal(scores["same_category_neighbor"].outcomes, [1, 1, 1, 1, np.nan])
    assert neighbor_scores(embeds, ["seat", None, None, None, None]) == []


def test_a_shape_alone_in_its_category_is_no_query_but_is_met_by_others():
    embeds = np.array([[1, 0], [0, 1], [0.9, 0.1], [0.1, 0.9]])
    scores = by_key(neighbor_scores(embeds, ["seat", "seat", "light", None], embeds))
    nearest, precision = scores["same_category_neighbor"], scores["shape_to_shape_map"]
    # The first seat meets the light before the other one, which meets the light first as well.
    np.testing.assert_array_equal(nearest.outcomes, [0, 0, np.nan, np.nan])
    np.testing.assert_array_equal(precision.outcomes, [1 / 2, 1 / 2, np.nan, np.nan])
    assert (nearest.num_shapes, nearest.chance, nearest.teacher) == (2, 1 / 2, 0)
    assert (precision.chance, precision.teacher) == (pytest.approx((1 + 1 / 2) / 2), 1 / 2)
    assert neighbor_scores(embeds, ["seat", "light", "bed", None]) == []


def test_a_probe_is_scored_on_classes_that_it_has_seen():
    train = np.repeat([0, 1, -1], 10)
    test = np.array([0, 0, 1, 2, -1])
    scores = by_key(linear_probe_scores(clusters(train), train, clusters(test, seed=1), test))
    assert (scores["linear_probe_top1"].value, scores["linear_probe_top1"].num_shapes) == (1, 3)
    np.testing.assert_array_equal(scores["linear_probe_top1"].outcomes, [1, 1, 1, np.nan, np.nan])
    unseen = np.array([2, 2])
    assert linear_probe_scores(clusters(train), train, clusters(unseen), unseen) == []


@pytest.mark.parametrize(
    ("train", "labels", "possible"),
    [
        ([0, 0, 1], [1], True),
        ([0, 0, 1], [2, -1], False),
        ([0, 1, 2], [1], False),
        ([1, 1, 1], [1], False),
        ([1, 1, -1, -1], [1, -1], False),
        ([0, 1, -1, -1], [1, -1], False),
        ([-1, -1], [-1], False),
    ],
)
def test_a_probe_needs_two_classes_two_shapes_of_one_and_something_to_score(train, labels, possible):
    train, labels = np.array(train), np.array(labels)
    assert linear_probe_is_possible(train, labels) is possible
    if possible:
        assert linear_probe_scores(clusters(train), train, clusters(labels), labels)


def test_the_probes_majority_is_that_of_the_training_shapes():
    train, test = np.repeat([0, 1], [15, 5]), np.array([0, 1, 1, 1])
    score = linear_probe_scores(clusters(train), train, clusters(test), test)[0]
    assert score.majority == 0.25


@pytest.mark.parametrize(
    ("counts", "settings"),
    [
        ([2] * 4, []),
        ([1] * 9, []),
        ([2] * 5, [(5, 1)]),
        ([5] * 5, [(5, 1)]),
        ([11] * 5 + [1] * 30, [(5, 1), (5, 5), (5, 10)]),
        ([21] * 10, [(5, 1), (5, 5), (5, 10), (5, 20), (10, 10), (10, 20)]),
    ],
)
def test_few_shot_settings_are_those_that_the_labels_allow(counts, settings):
    labels = np.concatenate([[-1] * 50, np.repeat(np.arange(len(counts)), counts)])
    assert few_shot_settings(labels) == settings


def test_few_shot_of_separate_classes_is_right():
    labels = np.concatenate([[-1] * 4, np.repeat(np.arange(6), 3)])
    (score,) = few_shot_scores(clusters(labels), labels)
    assert (score.key, score.value, score.chance, score.outcomes) == ("few_shot_5_way_1_shot", 1, 0.2, None)


def test_a_corruptions_score_has_its_name_and_no_teacher():
    score = zero_shot_scores(np.eye(2), np.eye(2), np.array([0, 1]), np.eye(2))[0]
    corrupted = under_corruption(score, CORRUPTIONS[0])
    assert corrupted.key == f"zero_shot_top1/{CORRUPTIONS[0].name}" and corrupted.teacher is None
    assert corrupted.title == f"{score.title}, {CORRUPTIONS[0].title}" and corrupted.value == score.value
