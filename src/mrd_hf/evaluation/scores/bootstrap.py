"""Bootstrap intervals of figures over a test set's items, and of the difference of two models on the same items.

Percentile intervals of 95%, from resamples of the items with replacement (Efron and Tibshirani, An Introduction to
the Bootstrap, 1993, chapters 13 and 16). They say how much a figure owes to which shapes happen to be in the test set;
they say nothing of another training seed. The same values and seed give the same interval to the last bit. Of few
items intervals are too narrow, and a share of exactly 0 or 1, or a single item, has an interval of no width: its
resamples are all alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


Values = Sequence[float] | np.ndarray

NUM_RESAMPLES = 2000
LEVEL = 0.95
# At most this many drawn items are held at a time: 32 MB of indices and as much of values.
CHUNK_SIZE = 2**22


@dataclass(frozen=True)
class Interval:
    """A figure and the interval around it.

    Args:
        value (`float`): Of the items as they are.
        low, high (`float`): The 2.5% and the 97.5% quantile of the resamples' values.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """How much more the first model scores than the second.

    Args:
        difference (`float`): Of the items as they are, first minus second.
        low, high (`float`): The 2.5% and the 97.5% quantile of the resamples' differences.
        p_value (`float`): Two-sided: twice the share of resamples on the rarer side of 0, which itself counts on both
            sides; at least 2 / (number of resamples + 1) and at most 1. It is below 0.05 about where the interval
            leaves out 0. 1 for a single item, which proves nothing.
    """

    difference: float
    low: float
    high: float
    p_value: float


def mean_interval(values: Values, seed: int = 0, num_resamples: int = NUM_RESAMPLES) -> Interval:
    """Interval of the mean of one value an item: a share of hits, a mean average precision.

    Args:
        values (array of shape `(num_items,)`): Numbers or booleans.
        seed (`int`, defaults to 0)
        num_resamples (`int`, defaults to 2000)

    Raises:
        ValueError: If there is no item, or a value is not finite.
    """
    items = _checked(values)
    means = np.concatenate([drawn.mean(axis=1) for drawn in _resamples(items, seed, num_resamples)])
    return _interval(float(items.mean()), means)


def median_interval(values: Values, seed: int = 0, num_resamples: int = NUM_RESAMPLES) -> Interval:
    """Interval of the median of one value an item, as of ranks; arguments and errors as for [`mean_interval`]."""
    items = _checked(values)
    medians = np.concatenate([np.median(drawn, axis=1) for drawn in _resamples(items, seed, num_resamples)])
    return _interval(float(np.median(items)), medians)


def class_mean_interval(
    values: Values, classes: Sequence[int] | np.ndarray, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """Interval of the mean over classes of the mean within the class, as class-mean accuracy is.

    Items are drawn within their class, as many as it has, so that a rare class is in every resample. A class of one
    item is then always the same; where most are, the interval is too narrow.

    Args:
        values (array of shape `(num_items,)`): Numbers or booleans: whether a shape was classified rightly.
        classes (array of `int` of shape `(num_items,)`): The true class of each.
        seed (`int`, defaults to 0)
        num_resamples (`int`, defaults to 2000)

    Raises:
        ValueError: If there is no item, a value is not finite, or there is not one class an item.
    """
    class_means = _ClassMeans(_checked(values), classes)
    return _interval(class_means.value, class_means.resampled(seed, num_resamples))


def paired_difference(
    first: Values,
    second: Values,
    classes: Sequence[int] | np.ndarray | None = None,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> PairedDifference:
    """Difference of two models' means on the same items, each item being drawn for both at once.

    Args:
        first, second (arrays of shape `(num_items,)`): One value an item, in the same order.
        classes (array of `int` of shape `(num_items,)`, *optional*):
            The true class of each: then it is the difference of class means, see [`class_mean_interval`].
        seed (`int`, defaults to 0)
        num_resamples (`int`, defaults to 2000)

    Raises:
        ValueError: If the two have not as many items, and as for [`mean_interval`] and [`class_mean_interval`].
    """
    firsts, seconds = _checked_pair(first, second)
    # Both statistics are linear, so the difference of two means is the mean of the differences.
    gains = firsts - seconds
    if classes is None:
        value = float(gains.mean())
        resampled = np.concatenate([drawn.mean(axis=1) for drawn in _resamples(gains, seed, num_resamples)])
    else:
        class_means = _ClassMeans(gains, classes)
        value, resampled = class_means.value, class_means.resampled(seed, num_resamples)
    # What is 0 but for rounding is 0: a sum of gains and losses that cancel out need not be exactly so.
    return paired_from_resamples(value, resampled, len(gains), tolerance=1e-12 * np.abs(gains).max())


def paired_median_difference(
    first: Values, second: Values, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> PairedDifference:
    """Difference of two models' medians on the same items, as of ranks; see [`paired_difference`].

    It is the difference of the medians, not the median of the differences. Medians of ranks move in steps, so many
    resamples may show no difference, which counts on both sides: the p-value errs towards 1.
    """
    firsts, seconds = _checked_pair(first, second)
    differences = []
    generator = np.random.default_rng(seed)
    for count in _chunks(len(firsts), num_resamples):
        drawn = generator.integers(0, len(firsts), (count, len(firsts)))
        differences.append(np.median(firsts[drawn], axis=1) - np.median(seconds[drawn], axis=1))
    value = float(np.median(firsts) - np.median(seconds))
    return paired_from_resamples(value, np.concatenate(differences), len(firsts))


class _ClassMeans:
    """The mean over classes of the mean within the class, of items sorted by class."""

    def __init__(self, items: np.ndarray, classes: Sequence[int] | np.ndarray) -> None:
        labels = np.asarray(classes)
        if labels.shape != items.shape:
            raise ValueError(f"got {len(items)} values and classes of shape {labels.shape}; need one an item")
        order = np.argsort(labels, kind="stable")
        self.items = items[order]
        _, self.starts, self.sizes = np.unique(labels[order], return_index=True, return_counts=True)
        self.value = float(self._of(self.items[None])[0])

    def _of(self, rows: np.ndarray) -> np.ndarray:
        return (np.add.reduceat(rows, self.starts, axis=1) / self.sizes).mean(axis=1)

    def resampled(self, seed: int, num_resamples: int) -> np.ndarray:
        generator = np.random.default_rng(seed)
        starts, sizes = (np.repeat(values, self.sizes) for values in (self.starts, self.sizes))
        results = []
        for count in _chunks(len(self.items), num_resamples):
            draws = generator.random((count, len(self.items)))
            results.append(self._of(self.items[starts + (draws * sizes).astype(np.int64)]))
        return np.concatenate(results)


def _checked(values: Values) -> np.ndarray:
    items = np.asarray(values, dtype=np.float64)
    if items.ndim != 1 or len(items) == 0:
        raise ValueError(f"values must have shape (num_items,) with at least one item, got {items.shape}")
    if not np.isfinite(items).all():
        raise ValueError(f"value {int(np.flatnonzero(~np.isfinite(items))[0])} is not finite; leave such items out")
    return items


def _checked_pair(first: Values, second: Values) -> tuple[np.ndarray, np.ndarray]:
    firsts, seconds = _checked(first), _checked(second)
    if len(firsts) != len(seconds):
        raise ValueError(f"got {len(firsts)} and {len(seconds)} values; a paired comparison needs the same items")
    return firsts, seconds


def paired_from_resamples(
    value: float, resampled: np.ndarray, num_items: int, tolerance: float = 0.0
) -> PairedDifference:
    """With the p-value that [`PairedDifference`] tells; differences within `tolerance` are none."""
    interval = _interval(value, resampled)
    rarer = min(np.count_nonzero(resampled <= tolerance), np.count_nonzero(resampled >= -tolerance))
    p_value = 1.0 if num_items == 1 else min(1.0, 2 * (1 + rarer) / (len(resampled) + 1))
    return PairedDifference(difference=value, low=interval.low, high=interval.high, p_value=p_value)


def _chunks(num_items: int, num_resamples: int) -> Iterator[int]:
    """How many resamples to draw at a time."""
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be at least 1, got {num_resamples}")
    step = max(1, CHUNK_SIZE // num_items)
    for start in range(0, num_resamples, step):
        yield min(step, num_resamples - start)


def _resamples(items: np.ndarray, seed: int, num_resamples: int) -> Iterator[np.ndarray]:
    """Yields `(count, num_items)` arrays of items drawn with replacement."""
    generator = np.random.default_rng(seed)
    for count in _chunks(len(items), num_resamples):
        yield items[generator.integers(0, len(items), (count, len(items)))]


def _interval(value: float, resampled: np.ndarray) -> Interval:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=value, low=float(low), high=float(high))
