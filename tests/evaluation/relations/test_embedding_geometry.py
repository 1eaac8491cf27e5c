"""Alignment, uniformity and CKA against loops, scipy and the kernel form; their chance against shuffling."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from mrd_hf.evaluation.relations import embedding_geometry
from mrd_hf.evaluation.relations.embedding_geometry import linear_cka, pair_alignment, uniformity, unit_embeddings


def normal(seed, count=20, width=6, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (count, width))


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def kernel_cka(x, y):
    """As the paper defines it, by centred n x n Gram matrices: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))."""
    centre = np.eye(len(x)) - 1 / len(x)
    k, l = (centre @ (unit(rows) @ unit(rows).T) @ centre for rows in (x, y))  # noqa: E741
    return np.trace(k @ l) / np.sqrt(np.trace(k @ k) * np.trace(l @ l))


def shuffled_mean(measure, x, y, draws=1500):
    generator = np.random.default_rng(0)
    return np.mean([measure(x, y[generator.permutation(len(y))]).value for _ in range(draws)])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(3, 30), width=st.integers(2, 12), shift=st.sampled_from([0, 3]))
def test_against_independent_formulas(seed, count, width, shift):
    x, y = normal(seed, count, width, shift), normal(seed + 1, count, width + 3)
    assert linear_cka(x, y).value == pytest.approx(kernel_cka(x, y), abs=1e-9)
    assert uniformity(x) == pytest.approx(np.log(np.mean(np.exp(-2 * pdist(unit(x), "sqeuclidean")))), abs=1e-9)
    z = normal(seed + 2, count, width)
    squares = [((a - b) ** 2).sum() for a, b in zip(unit(x), unit(z), strict=True)]
    assert pair_alignment(x, z).value == pytest.approx(np.mean(squares), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_bounds_and_invariances(seed, scale):
    x, y = normal(seed), normal(seed + 1)
    rotation = np.linalg.qr(normal(seed + 2, 6, 6))[0]
    assert -1e-12 <= linear_cka(x, y).value <= 1 + 1e-12
    assert 0 <= pair_alignment(x, y).value <= 4
    assert uniformity(x) <= 0
    assert linear_cka(x, x).value == pytest.approx(1)
    assert pair_alignment(x, x).value == pytest.approx(0, abs=1e-12)
    assert linear_cka(scale * x @ rotation, y).value == pytest.approx(linear_cka(x, y).value, abs=1e-9)
    assert uniformity(scale * x @ rotation) == pytest.approx(uniformity(x), abs=1e-9)
    assert pair_alignment(x @ rotation, y @ rotation).value == pytest.approx(pair_alignment(x, y).value, abs=1e-9)


@pytest.mark.parametrize("measure", [pair_alignment, linear_cka])
def test_chance_is_the_mean_over_shufflings(measure):
    x, y = normal(0, 12, 5, shift=0.5), normal(1, 12, 5, shift=1)
    found = measure(x, y)
    assert found.chance == pytest.approx(shuffled_mean(measure, x, y), rel=0.03)
    assert abs(found.chance - found.value) > 1e-3


def test_uniformity_knows_its_extremes():
    assert uniformity(np.ones((5, 3))) == pytest.approx(0)
    assert uniformity(np.array([[1.0, 0], [-1, 0]])) == pytest.approx(-8)


@pytest.mark.parametrize("rows", [np.ones((5, 3)), np.full((7, 3), 1 / 3, dtype=np.float32)])
def test_embeddings_that_are_all_alike_have_no_cka(rows):
    """Their deviations are rounding, which would give any value."""
    assert linear_cka(rows, normal(0, len(rows), 4)) == linear_cka(normal(0, len(rows), 4), rows) == (0, 0)


def test_blocks_give_the_same_uniformity(monkeypatch):
    x = normal(0, 50, 6)
    whole = uniformity(x)
    monkeypatch.setattr(embedding_geometry, "BLOCK_SIZE", 333)
    assert uniformity(x) == pytest.approx(whole, abs=1e-12)


def test_unit_embeddings_take_tensors_and_arrays_of_any_float():
    x = normal(0, 4, 3)
    for given_ in (x, x.astype(np.float16), torch.tensor(x, requires_grad=True), torch.tensor(x).bfloat16()):
        found = unit_embeddings(given_, "x")
        assert found.dtype == torch.float64 and not found.requires_grad
        np.testing.assert_allclose(found.norm(dim=1), 1, atol=1e-15)
        np.testing.assert_allclose(found, unit(x), atol=1e-2)


def test_what_is_no_embedding_is_refused():
    broken = normal(0)
    broken[3, 1] = np.inf
    with pytest.raises(ValueError, match=r"shapes holds a NaN or an infinity \(first in row 3\)"):
        unit_embeddings(broken, "shapes")
    broken[3] = 0
    with pytest.raises(ValueError, match="row 3 of shapes is zero"):
        unit_embeddings(broken, "shapes")
    with pytest.raises(ValueError, match=r"shapes must have shape \(num_rows, embedding_dim\), got \(4,\)"):
        unit_embeddings(np.ones(4), "shapes")
    with pytest.raises(ValueError, match="as many of both, and of one width"):
        pair_alignment(np.ones((4, 2)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="as many of both"):
        linear_cka(np.ones((4, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="at least two"):
        uniformity(np.ones((1, 2)))
