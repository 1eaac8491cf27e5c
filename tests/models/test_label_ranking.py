"""Labels by their cosines to a shape."""

import numpy as np
import pytest

from mrd_hf.models.label_ranking import rank_labels


@pytest.mark.parametrize("scores", ["probability", "cosine"])
def test_equal_labels_keep_their_order(scores):
    """Among labels of their own, at any width and wherever their rows stand."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        width, equal, others = (int(rng.integers(low, high)) for low, high in ((5, 1300), (2, 30), (0, 5)))
        embeds = rng.standard_normal((1 + others, width)).astype(np.float32)
        embeds /= np.linalg.norm(embeds, axis=1, keepdims=True)
        rows = rng.permutation(np.r_[np.zeros(equal, dtype=int), np.arange(1, 1 + others)])
        labels = [f"{row}/{place}" for place, row in enumerate(rows)]
        ranked = rank_labels(rng.standard_normal(width).astype(np.float32), labels, embeds[rows], 100.0, scores=scores)
        found = [entry["label"] for entry in ranked if entry["label"].startswith("0/")]
        assert found == [label for label in labels if label.startswith("0/")]
        assert len({entry["score"] for entry in ranked if entry["label"] in found}) == 1


def test_cosines_are_those_of_exact_sums():
    rng = np.random.default_rng(1)
    embeds, point = rng.standard_normal((50, 1280)).astype(np.float32), rng.standard_normal(1280).astype(np.float32)
    embeds /= np.linalg.norm(embeds, axis=1, keepdims=True)
    ranked = rank_labels(point, [str(row) for row in range(50)], embeds, None, scores="cosine")
    exact = embeds.astype(np.float64) @ (point / np.linalg.norm(point.astype(np.float64)))
    assert [int(entry["label"]) for entry in ranked] == np.argsort(-exact).tolist()
    np.testing.assert_allclose([entry["score"] for entry in ranked], np.sort(exact)[::-1], atol=1e-6)
