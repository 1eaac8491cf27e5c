"""Spectra against numpy's singular values, and their two summaries against scipy and plain sums."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from mrd_hf.evaluation.relations.embedding_spectrum import (
    effective_rank,
    participation_ratio,
    singular_values,
    variance_shares,
)


def normal(seed: int, count: int, width: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, width)) * np.linspace(1, 0.1, width)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 30), width=st.integers(2, 12), shift=st.sampled_from([0, 2]))
def test_against_numpy_and_scipy(seed, count, width, shift):
    rows = normal(seed, count, width, shift)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = np.zeros(width)
    found = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False)
    expected[: len(found)] = found
    values = singular_values(rows)
    np.testing.assert_allclose(values, expected, atol=1e-7)
    shares = expected**2 / (expected**2).sum()
    np.testing.assert_allclose(variance_shares(values), shares, atol=1e-12)
    assert effective_rank(values) == pytest.approx(np.exp(entropy(shares)), abs=1e-6)
    eigenvalues = np.linalg.eigvalsh(np.cov(unit.T))
    ratio = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert participation_ratio(values) == pytest.approx(ratio, abs=1e-6)
    limit = min(width, count - 1) + 1e-6
    assert 1 - 1e-6 <= participation_ratio(values) <= effective_rank(values) + 1e-9 <= limit


def test_directions_that_share_alike_are_counted_and_length_and_rotation_do_not_count():
    rows = np.vstack([np.eye(5), -np.eye(5)])
    assert effective_rank(singular_values(rows)) == pytest.approx(5)
    assert participation_ratio(singular_values(rows)) == pytest.approx(5)
    line = np.array([[1.0, 0, 1], [-1, 0, 1], [1, 0, 1]])
    assert effective_rank(singular_values(line)) == pytest.approx(1)
    rotation = np.linalg.qr(normal(1, 3, 3))[0]
    rows = normal(2, 20, 3)
    lengths = np.random.default_rng(0).uniform(0.1, 9, (20, 1))
    np.testing.assert_allclose(singular_values(lengths * rows @ rotation), singular_values(rows), atol=1e-9)


@pytest.mark.parametrize("rows", [np.ones((5, 3)), np.full((7, 3), 1 / 3, dtype=np.float32)])
def test_embeddings_that_are_all_alike_use_no_direction(rows):
    values = singular_values(torch.as_tensor(rows))
    assert not values.any() and not variance_shares(values).any()
    assert effective_rank(values) == participation_ratio(values) == 0


def test_one_embedding_has_no_spectrum():
    with pytest.raises(ValueError, match="at least two"):
        singular_values(np.ones((1, 3)))
