"""mIoU of parts against a loop over its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrd_hf.errors import UserError
from mrd_hf.evaluation.fine_tuned_scores import classification_scores, part_scores
from mrd_hf.evaluation.scores.part_iou import most_frequent_parts, part_iou


CLASS_PARTS = [[0, 1, 2], [3, 4], [5, 6, 7, 8]]


def by_a_loop(predicted, true, classes):
    """Instance mIoU, class mIoU and each class's, point by point."""
    of_shapes, of_classes = [], {}
    for found, wanted, of_class in zip(predicted, true, classes, strict=True):
        ious = []
        for part in CLASS_PARTS[of_class]:
            both = sum(1 for f, w in zip(found, wanted, strict=True) if f == part and w == part)
            either = sum(1 for f, w in zip(found, wanted, strict=True) if f == part or w == part)
            ious.append(1.0 if either == 0 else both / either)
        of_shapes.append(sum(ious) / len(ious))
        of_classes.setdefault(of_class, []).append(of_shapes[-1])
    means = {of_class: sum(ious) / len(ious) for of_class, ious in of_classes.items()}
    return sum(of_shapes) / len(of_shapes), sum(means.values()) / len(means), means


def some_shapes(seed, count=9, others=False):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, count)
    sizes = rng.integers(1, 30, count)
    true = [rng.choice(CLASS_PARTS[c], size) for c, size in zip(classes, sizes, strict=True)]
    allowed = [list(range(9)) if others else CLASS_PARTS[c] for c in classes]
    return [rng.choice(parts, size) for parts, size in zip(allowed, sizes, strict=True)], true, classes


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.booleans())
def test_is_the_definition(seed, count, others):
    predicted, true, classes = some_shapes(seed, count, others)
    found = part_iou(predicted, true, classes, CLASS_PARTS)
    instance, of_classes, means = by_a_loop(predicted, true, classes)
    assert found.instance_miou == pytest.approx(instance) and found.class_miou == pytest.approx(of_classes)
    assert found.class_ious == pytest.approx({int(c): mean for c, mean in means.items()})
    right = sum(int(f == w) for p, t in zip(predicted, true, strict=True) for f, w in zip(p, t, strict=True))
    assert found.accuracy == pytest.approx(right / sum(map(len, true)))


def test_by_hand():
    # Part 0: one of two points; part 1: one of two; part 2 is in neither, so it counts as 1.
    found = part_iou([np.array([0, 0, 1])], [np.array([0, 1, 1])], [0], CLASS_PARTS)
    assert found.instance_miou == pytest.approx((0.5 + 0.5 + 1) / 3)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        part_iou([], [], [], CLASS_PARTS)
    with pytest.raises(ValueError, match="shape 0 has predictions"):
        part_iou([np.zeros(2, int)], [np.zeros(3, int)], [0], CLASS_PARTS)


def test_scores_have_the_figures_and_the_guess_they_are_compared_with():
    predicted, true, classes = some_shapes(3, 20)
    frequent = most_frequent_parts(true, classes)
    for label, part in frequent.items():
        points = np.concatenate([parts for parts, c in zip(true, classes, strict=True) if c == label]).tolist()
        assert points.count(part) == max(points.count(p) for p in CLASS_PARTS[label])
    scores = {s.key: s for s in part_scores(predicted, true, classes, CLASS_PARTS, ["a", "b", "c"], frequent)}
    instance, of_classes, means = by_a_loop(predicted, true, classes)
    assert scores["part_instance_miou"].value == pytest.approx(instance)
    assert scores["part_class_miou"].value == pytest.approx(of_classes)
    assert scores["part_miou/b"].value == pytest.approx(means[1])
    guess = by_a_loop([[frequent[int(c)]] * len(t) for t, c in zip(true, classes, strict=True)], true, classes)
    assert scores["part_instance_miou"].majority == pytest.approx(guess[0])
    assert scores["part_class_miou"].majority == pytest.approx(guess[1])
    voted = part_scores(predicted, true, classes, CLASS_PARTS, ["a", "b", "c"], frequent, votes=10)
    assert [s.key for s in voted] == ["part_10_votes_instance_miou", "part_10_votes_class_miou"]


def test_probabilities_that_are_not_finite_are_refused():
    """They would rank the first class first."""
    with pytest.raises(UserError, match="not finite"):
        classification_scores(np.full((3, 2), np.nan), np.zeros(3, dtype=int), np.zeros(3, dtype=int))


def test_accuracies_of_a_classifier_are_counts():
    rng = np.random.default_rng(0)
    probabilities, labels, trained = rng.random((50, 5)), rng.integers(0, 5, 50), rng.integers(1, 5, 99)
    scores = {s.key: s for s in classification_scores(probabilities, labels, trained)}
    for k in (1, 3):
        hits = [
            label in sorted(range(5), key=lambda c: -row[c])[:k]
            for row, label in zip(probabilities, labels, strict=True)
        ]
        assert scores[f"fine_tuned_top{k}"].value == pytest.approx(sum(hits) / 50)
    best = probabilities.argmax(axis=1)
    of_classes = [np.mean(best[labels == c] == c) for c in range(5)]
    assert scores["fine_tuned_class_mean"].value == pytest.approx(np.mean(of_classes))
    guess = max(range(5), key=trained.tolist().count)
    assert scores["fine_tuned_top1"].majority == pytest.approx(np.mean(labels == guess))
    assert scores["fine_tuned_top1"].chance == 0.2
