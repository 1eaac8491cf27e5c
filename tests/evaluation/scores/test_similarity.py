"""Similarities are exact sums of rounded coordinates: against whole numbers of any size, and the true cosine."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mrd_hf.evaluation.scores import similarity
from mrd_hf.evaluation.scores.similarity import similarity_blocks, unit_rows


def similarities(queries, gallery):
    return np.concatenate([block.copy() for _, block in similarity_blocks(queries, gallery)])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), width=st.sampled_from([1, 3, 64, 777, 1280]))
def test_sums_are_exact(seed, width):
    """Python adds whole numbers without rounding; the product's sums must be those to the last bit."""
    generator = np.random.default_rng(seed)
    queries, gallery = (generator.normal(size=(n, width)).astype(np.float32) for n in (3, 5))
    gallery[0] = queries[0]  # its sum is the largest there is
    steps = [(unit_rows(rows, "rows") * 2**26).astype(int).astype(object) for rows in (queries, gallery)]
    exact = (steps[0] @ steps[1].T) / 2**52  # whole numbers of at most 53 bits, so exact in float64 as well
    assert (similarities(queries, gallery) == exact.astype(np.float64)).all()
    assert (unit_rows(queries, "rows") * 2**26 % 1 == 0).all()


def test_close_to_the_true_cosine():
    generator = np.random.default_rng(0)
    queries, gallery = (generator.normal(size=(n, 1280)).astype(np.float32) for n in (30, 40))
    queries[:10] = gallery[:10] + 1e-3 * queries[:10]
    unit = [rows.astype(np.longdouble) for rows in (queries, gallery)]
    unit = [rows / np.sqrt((rows**2).sum(axis=1, keepdims=True)) for rows in unit]
    error = np.abs(similarities(queries, gallery) - unit[0] @ unit[1].T)
    assert error.max() < 4e-8  # the bound is 5e-7
    in_float32 = (unit[0].astype(np.float32) @ unit[1].T.astype(np.float32)).astype(np.longdouble)
    assert error.max() < np.abs(in_float32 - unit[0] @ unit[1].T).max()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), block_size=st.integers(1, 3000), tile_size=st.integers(1, 3000))
def test_bits_do_not_depend_on_blocks_or_on_where_a_row_stands(seed, block_size, tile_size):
    generator = np.random.default_rng(seed)
    queries, gallery = (generator.normal(size=(n, 131)).astype(np.float32) for n in (17, 29))
    whole = similarities(queries, gallery)
    order = generator.permutation(29)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "BLOCK_SIZE", block_size)
        patch.setattr(similarity, "TILE_SIZE", tile_size)
        np.testing.assert_array_equal(similarities(queries, gallery), whole)
        np.testing.assert_array_equal(similarities(queries, gallery[order]), whole[:, order])
        np.testing.assert_array_equal(similarities(np.asfortranarray(queries), torch.from_numpy(gallery)), whole)


def test_extreme_lengths_and_rows_of_zeros():
    rows = np.array([[3e38, 3e38], [1e-45, 0], [0, 0], [0, -1]], dtype=np.float32)
    assert similarities(rows, rows).tolist() == [
        [pytest.approx(1), pytest.approx(0.5**0.5), 0, pytest.approx(-(0.5**0.5))],
        [pytest.approx(0.5**0.5), 1, 0, 0],
        [0, 0, 0, 0],
        [pytest.approx(-(0.5**0.5)), 0, 0, 1],
    ]


def test_blocks_are_no_larger_than_stated(monkeypatch):
    monkeypatch.setattr(similarity, "BLOCK_SIZE", 20)
    shapes = [(rows, block.shape) for rows, block in similarity_blocks(np.ones((7, 2)), np.ones((6, 2)))]
    assert shapes == [(slice(0, 3), (3, 6)), (slice(3, 6), (3, 6)), (slice(6, 7), (1, 6))]


def test_a_value_that_is_not_finite_is_found_in_any_part(monkeypatch):
    monkeypatch.setattr(similarity, "TILE_SIZE", 4)
    rows = np.ones((9, 2))
    rows[7, 1] = np.inf
    with pytest.raises(ValueError, match="gallery holds a NaN or an infinity .first in row 7."):
        next(similarity_blocks(np.ones((1, 2)), rows))
