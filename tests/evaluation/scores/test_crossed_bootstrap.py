"""Intervals over splits, seeds and shapes: against a loop that draws one by one, and on data whose truth is known."""

import math

import numpy as np
import pytest

from mrd_hf.evaluation.scores.bootstrap import mean_interval
from mrd_hf.evaluation.scores.crossed_bootstrap import crossed_difference


def simulated(rng, gain=0.05, splits=5, seeds=5, shapes=120, share=0.3, split_sd=0.02, seed_sd=0.03, shape_sd=0.2):
    """Gains of pairs, with effects of the split, of the seed in it, of the shape and of chance."""
    effect = rng.normal(0, shape_sd, shapes)
    rows, of_split = [], []
    for split in range(splits):
        tested = rng.permutation(shapes)[: round(share * shapes)]
        of_this = gain + rng.normal(0, split_sd)
        for _ in range(seeds):
            row = np.full(shapes, np.nan)
            row[tested] = of_this + rng.normal(0, seed_sd) + effect[tested] + rng.normal(0, 0.3, len(tested))
            rows.append(row)
            of_split.append(split)
    return np.array(rows), np.array(of_split)


def brute_force(gains, splits, num_resamples, rng, groups=None):
    """The same resamples, one shape or group of shapes, one pair at a time."""
    found = []
    num_shapes = gains.shape[1]
    for _ in range(num_resamples):
        if groups is None:
            shapes = [rng.integers(num_shapes) for _ in range(num_shapes)]
        else:
            names = sorted(set(groups))
            drawn = [rng.choice(names) for _ in names]
            shapes = [shape for name in drawn for shape in range(num_shapes) if groups[shape] == name]
        means = []
        for _ in np.unique(splits):
            split = rng.choice(np.unique(splits))
            pairs = [pair for pair in range(len(gains)) if splits[pair] == split]
            for _ in pairs:
                row = gains[rng.choice(pairs)]
                values = [row[shape] for shape in shapes if not math.isnan(row[shape])]
                if values:
                    means.append(sum(values) / len(values))
        if means:
            found.append(sum(means) / len(means))
    return np.quantile(found, [0.025, 0.975]), np.std(found)


@pytest.mark.parametrize("shape", [(2, 3, 12), (3, 1, 10), (1, 4, 15), (4, 2, 8)], ids=str)
def test_as_a_loop_draws(shape):
    splits, seeds, shapes = shape
    gains, of_split = simulated(np.random.default_rng(0), splits=splits, seeds=seeds, shapes=shapes, share=0.5)
    found = crossed_difference(gains, of_split, num_resamples=4000)
    (low, high), spread = brute_force(gains, of_split, 1500, np.random.default_rng(1))
    assert found.difference == pytest.approx(np.mean([row[~np.isnan(row)].mean() for row in gains]))
    assert [found.low, found.high] == pytest.approx([low, high], abs=0.3 * spread)


def test_groups_of_shapes_are_drawn_together_as_a_loop_draws():
    gains, of_split = simulated(np.random.default_rng(3), splits=3, seeds=2, shapes=24, share=0.7, shape_sd=1.0)
    groups = np.array([f"class {shape % 6}" for shape in range(24)])
    gains = gains + np.random.default_rng(4).normal(0, 1, 6)[np.arange(24) % 6]  # shapes of a group are alike
    found = crossed_difference(gains, of_split, num_resamples=4000, groups=groups)
    (low, high), spread = brute_force(gains, of_split, 1500, np.random.default_rng(1), groups)
    assert [found.low, found.high] == pytest.approx([low, high], abs=0.3 * spread)
    alone = crossed_difference(gains, of_split, num_resamples=4000)
    assert found.difference == alone.difference
    assert found.high - found.low > 1.2 * (alone.high - alone.low)
    assert crossed_difference(gains, of_split, groups=np.arange(24)) == crossed_difference(gains, of_split)


def test_one_pair_is_the_bootstrap_over_shapes():
    gains = np.random.default_rng(0).normal(0.1, 1, 60)
    found, expected = crossed_difference(gains[None], np.zeros(1)), mean_interval(gains)
    assert found.difference == expected.value
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high], abs=0.05)


def test_it_holds_the_truth_about_as_often_as_it_says():
    """95% or more where five splits differ as much as seeds do, by 0.03; less at ten times that: five are few."""
    for split_sd, least, most in ((0.03, 0.93, 1.0), (0.3, 0.78, 0.94)):
        held, zero_is_out = 0, 0
        for trial in range(150):
            gains, splits = simulated(np.random.default_rng([7, trial]), split_sd=split_sd)
            found = crossed_difference(gains, splits, num_resamples=300)
            held += found.low <= 0.05 <= found.high
            zero_is_out += not found.low <= 0 <= found.high
        assert least <= held / 150 <= most
        assert zero_is_out > 10  # or it would be so wide as to say nothing


def test_no_gain_at_all_and_the_same_to_the_last_bit():
    gains, splits = simulated(np.random.default_rng(3))
    assert crossed_difference(gains, splits, seed=5) == crossed_difference(gains, splits, seed=5)
    none = crossed_difference(np.where(np.isnan(gains), np.nan, 0.0), splits)
    assert (none.difference, none.low, none.high, none.p_value) == (0, 0, 0, 1)


def test_a_pair_of_few_shapes_counts_only_where_one_of_them_is_drawn():
    """Every outcome is a gain of 1, so that every resample's mean is 1."""
    gains = np.full((2, 31), np.nan)
    gains[0, 0], gains[1, 1:] = 1, 1
    found = crossed_difference(gains, np.arange(2))
    assert (found.difference, found.low, found.high) == (1, 1, 1)


def test_p_values_are_of_the_shapes_that_were_compared():
    """A gain of all of 60 shapes is hardly chance; that of a single one, in two pairs, tells nothing."""
    assert crossed_difference(np.random.default_rng(0).normal(0.5, 0.5, (1, 60)), np.zeros(1)).p_value < 0.05
    assert crossed_difference(np.ones((2, 1)), np.arange(2)).p_value == 1


def test_another_seed_draws_another_interval():
    gains, splits = simulated(np.random.default_rng(3))
    bounds = {(found.low, found.high) for found in (crossed_difference(gains, splits, seed) for seed in (0, 1, 2))}
    assert len(bounds) == 3


def test_shapes_that_no_pair_scores_change_nothing():
    gains, splits = simulated(np.random.default_rng(3))
    wider = np.concatenate([gains, np.full((len(gains), 30), np.nan)], axis=1)
    assert crossed_difference(wider, splits) == crossed_difference(gains, splits)


@pytest.mark.parametrize(
    ("gains", "splits", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0), "a row a pair"),
        (np.zeros((2, 3)), np.zeros(3), "a row a pair"),
        (np.array([[0.0, 1.0], [np.nan, np.nan]]), np.zeros(2), "pair 1 scores no shape"),
    ],
)
def test_what_is_no_comparison_is_refused(gains, splits, message):
    with pytest.raises(ValueError, match=message):
        crossed_difference(gains, splits)
