"""The interval of a difference of two ways to train, over splits, training seeds and shapes together.

Each pair of runs has one split of the data and one seed; it scores the shapes that its split tests, and a shape may be
tested in several splits. So shapes are crossed with pairs, and seeds are nested in splits. A resample draws both sides
(Owen, The pigeonhole bootstrap, Annals of Applied Statistics 2007): splits with replacement, in each drawn one its
seeds with replacement, and shapes with replacement, one draw of shapes for all pairs. It errs towards wide intervals
where single outcomes are noisy, and towards narrow ones where few splits differ much: of k splits it sees (k - 1) / k
of the variance between them, and of one split nothing, so that its interval is over seeds and shapes alone.
"""

import numpy as np

from .bootstrap import NUM_RESAMPLES, PairedDifference, paired_from_resamples


def crossed_difference(
    gains: np.ndarray,
    splits: np.ndarray,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
    groups: np.ndarray | None = None,
) -> PairedDifference:
    """Mean over pairs of the mean over their shapes, with a 95% percentile interval.

    Args:
        gains (`np.ndarray` of shape `(num_pairs, num_shapes)`):
            Outcome of each shape in one run minus that in the other; NaN where a pair does not score a shape.
        splits (`np.ndarray` of shape `(num_pairs,)`): Which split of the data each pair has.
        seed (`int`, defaults to 0)
        num_resamples (`int`, defaults to 2000)
        groups (`np.ndarray` of shape `(num_shapes,)`, *optional*):
            Of each shape, which ones come into a resample together, such as those of a class. Default: each by itself.

    Raises:
        ValueError: There is no pair, or one scores no shape.
    """
    gains, splits = np.asarray(gains, dtype=np.float64), np.asarray(splits)
    if gains.ndim != 2 or len(gains) == 0 or splits.shape != gains.shape[:1]:
        raise ValueError(f"gains must have a row a pair and splits one a row, got {gains.shape} and {splits.shape}")
    scored = ~np.isnan(gains)
    if not scored.any(axis=1).all():
        raise ValueError(f"pair {int(np.flatnonzero(~scored.any(axis=1))[0])} scores no shape")
    used = scored.any(axis=0)
    gains, scored = np.nan_to_num(gains[:, used]), scored[:, used].astype(np.float64)
    rng = np.random.default_rng(seed)
    pair_counts = _draw_pairs(splits, num_resamples, rng)
    together = np.arange(len(used)) if groups is None else np.asarray(groups)
    _, group_of = np.unique(together[used], return_inverse=True)
    shape_counts = _draw_shapes(int(group_of.max()) + 1, num_resamples, rng)[:, group_of]
    sums, sizes = shape_counts @ gains.T, shape_counts @ scored.T  # (num_resamples, num_pairs)
    # A pair of few shapes may have none of them in a resample; it then does not count there.
    weights = pair_counts * (sizes > 0)
    means = sums / np.where(sizes > 0, sizes, 1)
    totals = weights.sum(axis=1)
    resampled = ((weights * means).sum(axis=1) / np.where(totals > 0, totals, 1))[totals > 0]
    value = float((gains.sum(axis=1) / scored.sum(axis=1)).mean())
    return paired_from_resamples(value, resampled, int(used.sum()), tolerance=1e-12 * np.abs(gains).max())


def _draw_pairs(splits: np.ndarray, num_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each pair is in each resample, `(num_resamples, num_pairs)`."""
    members = [np.flatnonzero(splits == split) for split in np.unique(splits)]
    counts = np.zeros((num_resamples, len(splits)))
    drawn = rng.integers(0, len(members), (num_resamples, len(members)))
    for slot in range(len(members)):
        for index, pairs in enumerate(members):
            rows = np.flatnonzero(drawn[:, slot] == index)
            chosen = pairs[rng.integers(0, len(pairs), (len(rows), len(pairs)))]
            np.add.at(counts, (rows[:, None], chosen), 1)
    return counts


def _draw_shapes(num_shapes: int, num_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each shape is in each resample, `(num_resamples, num_shapes)`."""
    counts = np.zeros((num_resamples, num_shapes))
    drawn = rng.integers(0, num_shapes, (num_resamples, num_shapes))
    np.add.at(counts, (np.arange(num_resamples)[:, None], drawn), 1)
    return counts
