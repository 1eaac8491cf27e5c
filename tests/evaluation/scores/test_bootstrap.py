"""Bootstrap intervals against scipy's, plain loops and exact distributions; the cases with nothing to resample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from mrd_hf.evaluation.scores import bootstrap
from mrd_hf.evaluation.scores.bootstrap import (
    class_mean_interval,
    mean_interval,
    median_interval,
    paired_difference,
    paired_median_difference,
)


def bounds(interval):
    return [interval.low, interval.high]


@pytest.mark.parametrize(("ours", "statistic"), [(mean_interval, np.mean), (median_interval, np.median)])
def test_agrees_with_scipy(ours, statistic):
    """Another generator's draws, so up to chance: with this many resamples within a fortieth of the width."""
    values = np.random.default_rng(0).gamma(2.0, 3.0, 151)
    expected = stats.bootstrap(
        (values,), statistic, n_resamples=40_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    interval = ours(values, num_resamples=40_000)
    assert interval.value == pytest.approx(statistic(values))
    np.testing.assert_allclose(bounds(interval), list(expected), atol=(expected.high - expected.low) / 40)


def test_a_share_of_hits_has_the_binomial_interval():
    interval = mean_interval([True] * 30 + [False] * 70, num_resamples=40_000)
    expected = stats.binom(100, 0.3).ppf([0.025, 0.975]) / 100
    assert interval.value == 0.3
    np.testing.assert_allclose(bounds(interval), expected, atol=0.0101)


def test_class_mean_agrees_with_a_loop_within_classes():
    generator = np.random.default_rng(2)
    classes = generator.choice([3, 7, 9], 90, p=[0.8, 0.15, 0.05])
    values = generator.random(90) < 0.2 + 0.08 * classes
    interval = class_mean_interval(values, classes, num_resamples=20_000)
    resampled = [
        np.mean([generator.choice(values[classes == label], (classes == label).sum()).mean() for label in (3, 7, 9)])
        for _ in range(8000)
    ]
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert interval.value == pytest.approx(
        balanced_accuracy_score(classes, np.where(values, classes, np.where(classes == 3, 7, 3)))
    )
    np.testing.assert_allclose(bounds(interval), [low, high], atol=(high - low) / 25)


def test_a_small_class_weighs_as_much_as_a_large_one():
    assert class_mean_interval([1, 1, 1, 0], [0, 0, 0, 5]).value == 0.5
    assert mean_interval([1, 1, 1, 0]).value == 0.75


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), num_items=st.integers(1, 60), chunk_size=st.integers(1, 500))
def test_chunks_do_not_change_a_bit(seed, num_items, chunk_size):
    generator = np.random.default_rng(seed)
    values, classes = generator.random(num_items), generator.integers(0, 4, num_items)

    def everything():
        return (
            mean_interval(values, seed, 50),
            median_interval(values, seed, 50),
            class_mean_interval(values, classes, seed, 50),
            paired_difference(values, values[::-1], None, seed, 50),
            paired_median_difference(values, values[::-1], seed, 50),
        )

    whole = everything()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "CHUNK_SIZE", chunk_size)
        assert everything() == whole
    assert all(interval.low <= interval.value <= interval.high or num_items < 5 for interval in whole[:2])


def test_another_seed_gives_another_interval():
    generator = np.random.default_rng(4)
    (values, others), classes = generator.random((2, 50)), generator.integers(0, 4, 50)
    for drawn in (
        lambda seed: mean_interval(values, seed),
        lambda seed: median_interval(values, seed),
        lambda seed: class_mean_interval(values, classes, seed),
        lambda seed: paired_difference(values, others, None, seed),
        lambda seed: paired_difference(values, others, classes, seed),
        lambda seed: paired_median_difference(values, others, seed),
    ):
        assert len({tuple(bounds(drawn(seed))) for seed in (0, 1, 2)}) > 1


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(5)
    covered = 0
    for seed in range(300):
        interval = mean_interval(generator.random(120) < 0.4, seed, 400)
        covered += interval.low <= 0.4 <= interval.high
    assert 0.91 < covered / 300 < 0.98


@pytest.mark.parametrize("values", [[0.25], [0.25] * 9])
def test_what_is_all_alike_has_an_interval_of_no_width(values):
    for interval in (mean_interval(values), median_interval(values), class_mean_interval(values, [1] * len(values))):
        assert (interval.value, interval.low, interval.high) == (0.25, 0.25, 0.25)


def test_paired_difference_has_the_interval_of_the_differences():
    generator = np.random.default_rng(6)
    second = generator.random(200)
    first = second + generator.normal(0.01, 0.05, 200)
    compared = paired_difference(first, second)
    expected = mean_interval(first - second)
    assert (compared.difference, compared.low, compared.high) == (expected.value, expected.low, expected.high)
    # Far narrower than of two samples that have nothing to do with one another.
    unpaired = bounds(mean_interval(first))
    assert compared.high - compared.low < (unpaired[1] - unpaired[0]) / 3


def test_paired_p_value_agrees_with_a_t_test():
    generator = np.random.default_rng(7)
    for shift in (0.0, 0.05, 0.1, 0.2):
        second = generator.normal(size=400)
        first = second + generator.normal(shift, 1.0, 400)
        expected = stats.ttest_rel(first, second).pvalue
        compared = paired_difference(first, second, num_resamples=20_000)
        assert compared.p_value == pytest.approx(expected, abs=0.02)
        swapped = paired_difference(second, first, num_resamples=20_000)
        assert swapped.p_value == compared.p_value and swapped.difference == -compared.difference


def test_paired_difference_of_class_means():
    """The first model is better in the large class, the second in the small one."""
    classes = np.repeat([0, 1], [90, 10])
    first, second = np.repeat([1.0, 0.0], [90, 10]), np.repeat([0.5, 1.0], [90, 10])
    assert paired_difference(first, second).difference == pytest.approx(0.35)
    compared = paired_difference(first, second, classes)
    assert compared.difference == pytest.approx(-0.25)
    assert [compared.low, compared.high] == pytest.approx([-0.25, -0.25])


def test_difference_of_medians_agrees_with_scipy():
    generator = np.random.default_rng(8)
    second = generator.gamma(2.0, 3.0, 151)
    first = second + generator.normal(0.3, 0.5, 151)
    compared = paired_median_difference(first, second, num_resamples=40_000)
    expected = stats.bootstrap(
        (first, second),
        lambda a, b, axis: np.median(a, axis=axis) - np.median(b, axis=axis),
        paired=True,
        n_resamples=40_000,
        method="percentile",
        rng=np.random.default_rng(1),
    )
    assert compared.difference == np.median(first) - np.median(second) != np.median(first - second)
    low, high = expected.confidence_interval
    np.testing.assert_allclose([compared.low, compared.high], [low, high], atol=(high - low) / 40)
    share = min((expected.bootstrap_distribution <= 0).mean(), (expected.bootstrap_distribution >= 0).mean())
    assert compared.p_value == pytest.approx(2 * share, abs=0.02)


def test_medians_that_do_not_move_differ_by_nothing():
    ranks = [1] * 20 + [5]
    compared = paired_median_difference(ranks, [1] * 20 + [9])
    assert (compared.difference, compared.low, compared.high, compared.p_value) == (0, 0, 0, 1)


def test_equal_models_and_single_items_prove_nothing():
    values = [0.1, 0.7, 0.4]
    same = paired_difference(values, values)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    single = paired_difference([1], [0])
    assert (single.difference, single.low, single.high, single.p_value) == (1, 1, 1, 1)


def test_p_value_is_never_zero():
    assert paired_difference([1.0] * 50, [0.0] * 50, num_resamples=999).p_value == pytest.approx(0.002)


def test_gains_and_losses_that_cancel_out_but_for_rounding_count_on_both_sides():
    gains = np.array([0.1, 0.2, -0.3] * 1)
    assert gains.sum() != 0
    assert paired_difference(gains, np.zeros(3)).p_value == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), "at least one item"),
        (lambda: mean_interval([[1, 2]]), r"got \(1, 2\)"),
        (lambda: median_interval([1, 2, np.nan]), "value 2 is not finite"),
        (lambda: mean_interval([1, 2], num_resamples=0), "at least 1, got 0"),
        (lambda: class_mean_interval([1, 2], [1]), "one an item"),
        (lambda: paired_difference([1, 2], [1]), "the same items"),
        (lambda: paired_median_difference([1, 2], [1]), "the same items"),
    ],
)
def test_inputs_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
