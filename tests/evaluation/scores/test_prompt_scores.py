"""Scores of shapes and prompts against numpy and a loop."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mrd_hf.evaluation.scores.prompt_scores import cosine_table, score_pairs


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@given(num_shapes=st.integers(1, 20), num_prompts=st.integers(1, 12), seed=st.integers(0, 999))
def test_scores_are_those_of_numpy_and_ranks_those_of_a_loop(num_shapes, num_prompts, seed):
    rng = np.random.default_rng(seed)
    # Few directions, so that prompts tie.
    shapes = rng.integers(-1, 2, (num_shapes, 4)).astype(np.float32) + np.float32(0.25)
    prompts = rng.integers(-1, 2, (num_prompts, 4)).astype(np.float32) + np.float32(0.25)
    prompt_of = rng.integers(0, num_prompts, num_shapes)
    found = score_pairs(torch.from_numpy(shapes), prompts, prompt_of)
    expected = unit(shapes.astype(np.float64)) @ unit(prompts.astype(np.float64)).T
    table = cosine_table(shapes, prompts)
    np.testing.assert_allclose(table, expected, atol=1e-7)
    np.testing.assert_allclose(found.cosines, expected[np.arange(num_shapes), prompt_of], atol=1e-7)
    assert found.mean == pytest.approx(expected[np.arange(num_shapes), prompt_of].mean(), abs=1e-7)
    for row, own in enumerate(prompt_of):
        # Of equal prompts the first ranks first.
        rank = 1 + sum(
            table[row, other] > table[row, own] or (table[row, other] == table[row, own] and other < own)
            for other in range(num_prompts)
        )
        assert found.ranks[row] == rank
    for k in (1, 5, 10):
        hits = []
        for row, own in enumerate(prompt_of):
            # Of equal prompts, its own is at each of their places as often as at any other.
            first = 1 + sum(table[row, other] > table[row, own] for other in range(num_prompts))
            places = range(first, first + sum(table[row, other] == table[row, own] for other in range(num_prompts)))
            hits.append(sum(place <= k for place in places) / len(places))
        assert found.r_precision[k] == pytest.approx(np.mean(hits))
        assert found.chance[k] == pytest.approx(min(1, k / num_prompts))
    assert found.num_prompts == num_prompts


def test_an_encoder_that_tells_nothing_apart_scores_as_chance_does():
    """Nine shapes of ten have the first of two prompts."""
    found = score_pairs(np.ones((10, 4), np.float32), np.ones((2, 4), np.float32), [0] * 9 + [1])
    assert found.r_precision == found.chance == {1: 0.5, 5: 1.0, 10: 1.0}


def test_a_thousand_shapes_against_a_thousand_prompts_take_less_than_two_seconds():
    rng = np.random.default_rng(0)
    shapes, prompts = (rng.standard_normal((1000, 1280)).astype(np.float32) for _ in range(2))
    began = time.process_time()
    table = cosine_table(shapes, prompts)
    found = score_pairs(shapes, prompts, range(1000))
    assert time.process_time() - began < 2
    np.testing.assert_allclose(table, unit(shapes.astype(np.float64)) @ unit(prompts.astype(np.float64)).T, atol=1e-7)
    np.testing.assert_array_equal(found.cosines, table.diagonal())


def test_what_does_not_fit_is_refused():
    rows = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match="width"):
        cosine_table(rows, np.ones((2, 4), np.float32))
    with pytest.raises(ValueError, match="need a key each"):
        score_pairs(rows, rows, [0])
    for places in ([0, 2], [-1, 0]):
        with pytest.raises(ValueError, match="there are 2"):
            score_pairs(rows, rows, places)
