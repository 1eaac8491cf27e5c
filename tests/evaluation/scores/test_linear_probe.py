"""The linear probe against scikit-learn's own pipeline, on what can be told apart and on noise."""

import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from mrd_hf.errors import UserError
from mrd_hf.evaluation.scores import linear_probe as module
from mrd_hf.evaluation.scores.linear_probe import (
    REGULARIZATIONS,
    classify,
    linear_probe,
    standardized,
    validation_split,
)


def clusters(seed, count, num_classes=4, width=12, spread=1.0):
    """Around one center a class, as far from the origin as CLIP's cone."""
    centers = np.random.default_rng(0).normal(size=(num_classes, width))
    generator = np.random.default_rng([1, seed])
    labels = generator.integers(0, num_classes, count)
    return (3 + centers[labels] + spread * generator.normal(size=(count, width))).astype(np.float32), labels


def by_pipeline(train, labels, test, regularization):
    steps = Normalizer(), StandardScaler(), LogisticRegression(C=regularization, max_iter=1000)
    return make_pipeline(*steps).fit(train.astype(np.float64), labels).predict(test.astype(np.float64))


@pytest.mark.parametrize(("count", "spread", "seed"), [(160, 1.0, 0), (40, 2.0, 1)])
def test_agrees_with_scikit_learns_pipeline(count, spread, seed):
    (train, labels), (test, test_labels) = clusters(10 + seed, count, spread=spread), clusters(1, 200, spread=spread)
    result = linear_probe(train, labels, test, test_labels, seed)
    held = validation_split(labels, seed)
    for regularization in REGULARIZATIONS:
        guesses = by_pipeline(train[~held], labels[~held], train[held], regularization)
        assert result.validation_accuracies[regularization] == np.mean(guesses == labels[held])
    best = max(result.validation_accuracies.values())
    assert result.regularization == min(c for c, value in result.validation_accuracies.items() if value == best)
    expected = by_pipeline(train, labels, test, result.regularization)
    np.testing.assert_array_equal(result.predictions, expected)
    np.testing.assert_array_equal(result.correct, expected == test_labels)
    assert result.accuracy == pytest.approx(np.mean(expected == test_labels))
    assert result.class_mean == pytest.approx(balanced_accuracy_score(test_labels, expected))
    assert result.accuracy < 1


def test_shapes_set_aside_have_no_part_in_the_standardisation(monkeypatch):
    """Every fit is to coordinates of mean 0 and deviation 1, the choosing ones, to fewer shapes, as well."""
    fitted = []

    def recorded(rows, *arguments):
        fitted.append(rows)
        return classify(rows, *arguments)

    monkeypatch.setattr(module, "classify", recorded)
    (train, labels), (test, test_labels) = clusters(10, 40), clusters(1, 20)
    linear_probe(train, labels, test, test_labels)
    held = validation_split(labels, 0).sum()
    assert [len(rows) for rows in fitted] == [40 - held] * len(REGULARIZATIONS) + [40]
    for rows in fitted:
        np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-9)
        np.testing.assert_allclose(rows.std(axis=0), 1)


def test_what_can_be_told_apart_is_and_noise_is_not():
    (train, labels), (test, test_labels) = clusters(2, 200, spread=0.05), clusters(3, 100, spread=0.05)
    assert linear_probe(train, labels, test, test_labels).accuracy == 1
    noise = np.random.default_rng(4).normal(size=(500, 8))
    noise_labels = np.random.default_rng(5).integers(0, 4, 500)
    guessed = linear_probe(noise[:200], noise_labels[:200], noise[200:], noise_labels[200:])
    assert 0.15 < guessed.accuracy < 0.35
    assert guessed.regularization < 1  # of no use, so held down


def test_repeats_itself_takes_tensors_and_any_length_and_depends_on_the_seed():
    (train, labels), (test, test_labels) = clusters(6, 120), clusters(7, 60)
    first = linear_probe(train, labels, test, test_labels, seed=3)
    tensor = torch.tensor(train) * torch.tensor([0.25, 2.0, 1.0]).repeat(40)[:, None]
    again = linear_probe(tensor, labels.tolist(), torch.tensor(test), test_labels.tolist(), seed=3)
    np.testing.assert_array_equal(again.predictions, first.predictions)
    assert again.validation_accuracies == first.validation_accuracies
    assert (validation_split(labels, 3) != validation_split(labels, 4)).any()


def test_validation_split_is_stratified_and_leaves_every_class_a_training_shape():
    labels = np.repeat([0, 1, 2, 3, -1], [1, 2, 3, 50, 14])
    for seed in range(5):
        held = validation_split(labels, seed)
        assert [int(held[labels == label].sum()) for label in (0, 1, 2, 3, -1)] == [0, 1, 1, 10, 3]
    # What is drawn from a class does not depend on the others.
    alone = labels[labels > 0]
    np.testing.assert_array_equal(validation_split(alone, 1), validation_split(labels, 1)[labels > 0])


def test_constant_coordinates_are_not_blown_up():
    reference = np.column_stack([np.full(9, 0.1), np.arange(9.0)])
    (rows,) = standardized(reference, reference + [[0.001, 0]])
    np.testing.assert_allclose(rows[:, 0], 0.001)
    np.testing.assert_allclose([rows[:, 1].mean(), rows[:, 1].std()], [0, 1], atol=1e-12)


def test_labels_need_not_count_from_zero():
    train, labels = clusters(8, 80, spread=0.05)
    names = np.array([-7, 400, 3, 12])
    result = linear_probe(train, names[labels], train, names[labels])
    np.testing.assert_array_equal(result.predictions, names[labels])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": [0, 1]}, "6 training embeddings and labels of shape .2,"),
        ({"test_labels": [0, 5, 9]}, r"class 5 has test shapes but no training shape \(2 such classes\)"),
        ({"train_labels": [0] * 6, "test_labels": [0] * 3}, "1 classes.*two classes"),
        ({"train_labels": [0, 1, 2, 3, 4, 5]}, "6 classes, at most 1 of one"),
        ({"test_embeds": np.ones((3, 3))}, "width 2, test embeddings 3"),
        ({"train_embeds": np.full((6, 2), np.nan)}, "train_embeds holds a NaN"),
    ],
)
def test_inputs_that_do_not_fit(change, message):
    arguments = {
        "train_embeds": np.eye(6, 2) + 1,
        "train_labels": [0, 0, 1, 1, 2, 2],
        "test_embeds": np.eye(3, 2) + 1,
        "test_labels": [0, 1, 2],
        **change,
    }
    with pytest.raises(ValueError, match=message):
        linear_probe(**arguments)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(UserError, match=r"pip install 'mrd-hf\[evaluation\]'"):
        module.classify(np.eye(2), np.arange(2), np.eye(2), 1.0)
