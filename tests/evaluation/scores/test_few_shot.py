"""Few-shot tasks: what is drawn, what is scored, and the interval, against plain counting and scipy."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LogisticRegression

from mrd_hf.errors import UserError
from mrd_hf.evaluation.scores.few_shot import draw_task, few_shot


def clusters(seed, num_classes=12, per_class=25, width=16, spread=1.0):
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_classes), per_class)
    centers = generator.normal(size=(num_classes, width))
    return centers[labels] + spread * generator.normal(size=(len(labels), width)), labels


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), num_ways=st.integers(2, 5), num_shots=st.integers(1, 4), queries=st.integers(1, 6))
def test_a_task_has_the_asked_classes_examples_and_queries(seed, num_ways, num_shots, queries):
    labels = np.random.default_rng(seed).permutation(np.repeat([4, 9, 2, 30, 7, 8], [5, 6, 7, 8, 9, 2]))
    large = np.array([2, 4, 7, 9, 30])
    generator = np.random.default_rng(seed)
    support, query_rows = draw_task(labels, large, num_ways, num_shots, queries, generator)
    classes, counts = np.unique(labels[support], return_counts=True)
    assert len(classes) == num_ways and set(classes) <= set(large) and (counts == num_shots).all()
    both = np.concatenate([support, query_rows])
    assert len(np.unique(both)) == len(both)
    for label in classes:
        left = (labels == label).sum() - num_shots
        assert (labels[query_rows] == label).sum() == min(queries, left)


def test_every_class_and_shape_is_drawn_alike():
    labels = np.repeat(np.arange(6), 4)
    drawn = np.zeros(24)
    for draw in range(2000):
        support, _ = draw_task(labels, np.arange(6), 3, 1, 1, np.random.default_rng([0, draw]))
        drawn[support] += 1
    assert stats.chisquare(drawn).pvalue > 0.001


def test_agrees_with_scikit_learn_on_the_same_draws():
    embeds, labels = clusters(0, spread=2.0)
    result = few_shot(embeds, labels, num_ways=5, num_shots=5, num_queries=10, num_draws=4, seed=3)
    unit = embeds.astype(np.float32).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for draw, accuracy in enumerate(result.accuracies):
        support, queries = draw_task(labels, np.arange(12), 5, 5, 10, np.random.default_rng([3, draw]))
        probe = LogisticRegression(max_iter=1000).fit(unit[support], labels[support])
        assert accuracy == probe.score(unit[queries], labels[queries])
    assert result.num_queries.tolist() == [50] * 4
    assert 0.3 < result.mean < 1


def test_interval_is_students():
    embeds, labels = clusters(1, spread=2.0)
    result = few_shot(embeds, labels, num_ways=5, num_shots=1)
    assert len(result.accuracies) == 10
    expected = stats.t.interval(0.95, 9, result.accuracies.mean(), stats.sem(result.accuracies))
    assert result.mean == pytest.approx(result.accuracies.mean())
    assert [result.low, result.high] == pytest.approx(list(expected))


def test_what_can_be_told_apart_is_and_noise_is_not():
    perfect = few_shot(*clusters(2, spread=0.05), num_ways=10, num_shots=5)
    assert (perfect.mean, perfect.low, perfect.high) == (1, 1, 1)
    noise = few_shot(np.random.default_rng(0).normal(size=(300, 16)), np.arange(300) % 10, num_ways=10, num_shots=10)
    assert 0.05 < noise.mean < 0.15


def test_interval_is_cut_to_shares():
    """One draw in ten with an error: Student's interval would reach beyond 1."""
    embeds, labels = clusters(2, spread=0.7)
    result = few_shot(embeds, labels, num_ways=5, num_shots=5)
    assert 0.99 < result.mean < 1 and result.high == 1


def test_more_draws_go_on_and_another_seed_draws_anew():
    embeds, labels = clusters(3, spread=2.0)
    few = few_shot(embeds, labels, 5, 2, num_draws=3, seed=1)
    more = few_shot(embeds, labels, 5, 2, num_draws=6, seed=1)
    other = few_shot(embeds, labels, 5, 2, num_draws=6, seed=2)
    np.testing.assert_array_equal(more.accuracies[:3], few.accuracies)
    assert more.accuracies.tolist() != other.accuracies.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_ways": 1}, "num_ways must be at least 2, got 1"),
        ({"num_shots": 0}, "num_shots must be at least 1"),
        ({"num_queries": 0}, "num_queries must be at least 1"),
        ({"num_draws": 1}, "num_draws must be at least 2"),
        ({"labels": [0, 1]}, "12 embeddings and labels of shape .2,"),
        ({"num_shots": 4}, r"2-way 4-shot needs 2 classes of at least 5 shapes, got 0 \(of 3"),
        ({"num_ways": 4}, "4 classes of at least 3 shapes, got 3"),
    ],
)
def test_inputs_that_do_not_fit(change, message):
    arguments = {"embeds": np.eye(12), "labels": np.arange(12) % 3, "num_ways": 2, "num_shots": 2, **change}
    with pytest.raises(ValueError, match=message):
        few_shot(**arguments)


@pytest.mark.parametrize("missing", ["sklearn.linear_model", "scipy.stats"])
def test_without_a_library_it_says_what_to_install(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=r"pip install 'mrd-hf\[evaluation\]'"):
        few_shot(np.eye(12), np.arange(12) % 3, 2, 2)
