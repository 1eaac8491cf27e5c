"""Compactness and separability of classes: silhouettes and scatter against scikit-learn, the rest against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_samples, silhouette_score
from sklearn.neighbors import NearestCentroid

from mrd_hf.evaluation.relations import class_structure as module
from mrd_hf.evaluation.relations.class_structure import class_structure, silhouettes


def labelled(seed: int, count: int = 24, width: int = 5, spread: float = 0.7) -> tuple[np.ndarray, list[str | None]]:
    """Embeddings around the means of four classes; a few shapes without a class, and one alone in its class."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(4, width))
    of = np.arange(count) % 4
    rows = means[of] + spread * rng.normal(size=(count, width))
    classes: list[str | None] = ["abcd"[index] for index in of]
    classes[0] = classes[5] = None
    classes[1] = "alone"
    return rows, classes


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), count=st.integers(18, 40), spread=st.floats(0.05, 3))
def test_against_scikit_learn_and_loops(seed, count, spread):
    rows, classes = labelled(seed, count, spread=spread)
    found = class_structure(rows, classes)
    kept = [i for i, name in enumerate(classes) if name in list("abcd")]
    x, labels = unit(rows)[kept], np.array([classes[i] for i in kept])
    assert (found.num_shapes, found.num_classes) == (len(kept), 4)
    assert found.silhouette == pytest.approx(silhouette_score(x, labels), abs=1e-6)
    classifier = NearestCentroid().fit(x, labels)
    means = dict(zip(classifier.classes_, classifier.centroids_, strict=True))  # not of unit length
    within = sum(((x[labels == name] - means[name]) ** 2).sum() for name in means)
    assert found.between_share == pytest.approx(1 - within / ((x - x.mean(axis=0)) ** 2).sum(), abs=1e-9)
    own, other = [], []
    for i, name in enumerate(labels):
        others = [j for j in range(len(x)) if j != i and labels[j] == name]
        own.append(x[i] @ unit(x[others].mean(axis=0)))
        other.append(max(x[i] @ unit(mean) for of, mean in means.items() if of != name))
    assert found.own_centroid == pytest.approx(np.mean(own), abs=1e-9)
    assert found.other_centroid == pytest.approx(np.mean(other), abs=1e-9)
    assert found.nearest_is_own == pytest.approx(np.mean(np.array(own) > other), abs=1e-9)
    distances = [min(1 - unit(means[a]) @ unit(means[b]) for b in means if b != a) for a in means]
    assert found.centroid_distance == pytest.approx(np.mean(distances), abs=1e-9)


def test_chance_is_the_mean_over_classes_dealt_out_at_random():
    rows, classes = labelled(3)
    rng = np.random.default_rng(0)
    shares = [class_structure(rows, list(rng.permutation(np.array(classes, dtype=object)))) for _ in range(200)]
    expected = np.mean([found.between_share for found in shares])
    assert class_structure(rows, classes).between_share_chance == pytest.approx(expected, rel=0.03)
    # Left out of its own class's mean, a shape does not look near to it for nothing.
    assert np.mean([found.nearest_is_own for found in shares]) < 0.25


def test_classes_far_apart_and_tight_score_high_and_mixed_ones_low():
    rows, classes = labelled(1, spread=1e-3)
    tight = class_structure(rows, classes)
    assert tight.silhouette > 0.99 and tight.own_centroid > 0.999 and tight.between_share > 0.999
    assert tight.nearest_is_own == 1
    mixed = class_structure(*labelled(1, count=40, spread=30))
    assert mixed.silhouette < 0.1 and mixed.between_share < 0.4 and mixed.nearest_is_own < 0.6


def test_without_two_classes_of_two_there_is_nothing_to_measure():
    rows = np.random.default_rng(0).normal(size=(6, 3))
    assert class_structure(rows, [None] * 6) is None
    assert class_structure(rows, list("abcdef")) is None
    assert class_structure(rows, ["a", "a", "a", None, "b", "c"]) is None
    assert class_structure(rows, ["a", "a", "a", "b", "b", None]).num_shapes == 5
    with pytest.raises(ValueError, match="6 embeddings and 5 classes"):
        class_structure(rows, list("aabbb"))


def test_embeddings_that_are_all_alike_have_no_structure():
    found = class_structure(np.full((6, 3), 1 / 3, dtype=np.float32), list("aabbcc"))
    assert found.between_share == 0 and found.silhouette == 0 and found.nearest_is_own == 0


def test_blocks_give_the_same_silhouettes(monkeypatch):
    rows, _ = labelled(2)
    labels = torch.arange(24) % 4
    whole = silhouettes(torch.from_numpy(unit(rows)), labels)
    np.testing.assert_allclose(whole, silhouette_samples(unit(rows), labels), atol=1e-6)
    monkeypatch.setattr(module, "BLOCK_SIZE", 100)
    np.testing.assert_allclose(silhouettes(torch.from_numpy(unit(rows)), labels), whole, atol=1e-12)
