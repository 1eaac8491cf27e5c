"""Scores of the arms of an ablation, and their differences to a baseline, from the runs' reports."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ..report import read_report
from ..scores.bootstrap import PairedDifference
from ..scores.crossed_bootstrap import crossed_difference


# A split's seed and a training's.
Place = tuple[int, int]


@dataclass(frozen=True)
class RunOutcomes:
    """What one run's evaluation found.

    Args:
        ids (tuple of `str`): The shapes.
        values (`dict` of `float`): Each figure that is a mean over shapes, by its key.
        outcomes (`dict` of `np.ndarray` of shape `(num_shapes,)`): Of each shape; NaN where it does not count.
        titles (`dict` of `str`): For a reader.
        processor (`str`, *optional*): The kind of CPU that it was trained on, where that is known.
    """

    ids: tuple[str, ...]
    values: dict[str, float]
    outcomes: dict[str, np.ndarray]
    titles: dict[str, str]
    processor: str | None = None

    def of_shapes(self, chosen: Collection[str]) -> "RunOutcomes":
        """The same of some of the shapes alone, which are ranked among all of them as before."""
        kept = np.array([shape in chosen for shape in self.ids], dtype=bool)
        outcomes = {key: found[kept] for key, found in self.outcomes.items() if not np.isnan(found[kept]).all()}
        ids = tuple(shape for shape, keep in zip(self.ids, kept, strict=True) if keep)
        values = {key: float(np.nanmean(of)) for key, of in outcomes.items()}
        return RunOutcomes(ids, values, outcomes, self.titles, self.processor)


@dataclass(frozen=True)
class ArmScore:
    """One figure of one arm.

    Args:
        arm (`str`), key (`str`), title (`str`)
        num_runs (`int`), num_planned (`int`): How many runs there are, and were to be.
        mean (`float`, *optional*): Over runs; None where there is none.
        spread (`float`, *optional*):
            Standard deviation over seeds, within splits (of the variances the mean over splits); None where no split
            has two seeds.
        baseline (`str`, *optional*): The arm that it is compared with.
        difference ([`PairedDifference`], *optional*): To the baseline, over the pairs of one split and seed.
        num_pairs (`int`), num_splits (`int`): How many pairs there are, and of how many splits.
    """

    arm: str
    key: str
    title: str
    num_runs: int
    num_planned: int
    mean: float | None = None
    spread: float | None = None
    baseline: str | None = None
    difference: PairedDifference | None = None
    num_pairs: int = 0
    num_splits: int = 0

    @property
    def excludes_zero(self) -> bool:
        """Not of one split alone, whose interval knows nothing of how splits differ."""
        return (
            self.difference is not None
            and self.num_splits > 1
            and not self.difference.low <= 0 <= self.difference.high
        )

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "excludes_zero": self.excludes_zero}


def read_outcomes(folder: Path) -> RunOutcomes:
    """Read the evaluation in a folder; see [`read_report`]."""
    report, table = read_report(folder)
    metrics = [m for m in report["metrics"] if m["statistic"] == "mean" and m["key"] in table.column_names]
    return RunOutcomes(
        tuple(table["id"].to_pylist()),
        {metric["key"]: float(metric["value"]) for metric in metrics},
        {metric["key"]: np.array(table[metric["key"]].to_pylist(), dtype=np.float64) for metric in metrics},
        {metric["key"]: str(metric["title"]) for metric in metrics},
    )


def arm_scores(
    results: Mapping[str, Mapping[Place, RunOutcomes]],
    baselines: Mapping[str, str | None],
    num_planned: int,
    seed: int = 0,
    group_of: Callable[[str], str] | None = None,
) -> list[ArmScore]:
    """All figures of all arms: keys in the order of the reports, and in each the arms in the order of `baselines`.

    Args:
        results (mapping): Of each arm, by split and seed, the runs that are there.
        baselines (mapping): Of every arm that was planned, the one that it is compared with.
        num_planned (`int`): Runs of an arm that were planned.
        seed (`int`, defaults to 0): Of the bootstrap.
        group_of (callable, *optional*): Of a shape's id, with which others it is resampled; default: by itself.

    Raises:
        UserError: Two runs of one split are not of the same shapes.
    """
    titles: dict[str, str] = {}
    for runs in results.values():
        for outcomes in runs.values():
            titles |= {key: title for key, title in outcomes.titles.items() if key not in titles}
    scores = []
    for key, title in titles.items():
        for arm, baseline in baselines.items():
            runs = {place: found for place, found in results.get(arm, {}).items() if key in found.values}
            values = {place: found.values[key] for place, found in runs.items()}
            others = {} if baseline is None else results.get(baseline, {})
            pairs = [
                place
                for place in sorted(runs)
                if place in others and key in others[place].values and _is_pair(runs[place], others[place])
            ]
            scores.append(
                ArmScore(
                    arm,
                    key,
                    title,
                    len(values),
                    num_planned,
                    float(np.mean(list(values.values()))) if values else None,
                    spread_over_seeds(values),
                    baseline,
                    _difference(key, [(place, runs[place], others[place]) for place in pairs], seed, group_of),
                    len(pairs),
                    len({split for split, _ in pairs}),
                )
            )
    return scores


def mixed_pairs(
    results: Mapping[str, Mapping[Place, RunOutcomes]], baselines: Mapping[str, str | None]
) -> list[tuple[str, str, Place]]:
    """Arm, baseline and place of the pairs that [`arm_scores`] leaves out: of runs on CPUs of different kinds."""
    return [
        (arm, baseline, place)
        for arm, baseline in baselines.items()
        if baseline is not None
        for place, found in results.get(arm, {}).items()
        if (other := results.get(baseline, {}).get(place)) is not None and not _is_pair(found, other)
    ]


def _is_pair(found: RunOutcomes, other: RunOutcomes) -> bool:
    """CPUs of different kinds round differently, which changes scores as much as another seed does."""
    return None in (found.processor, other.processor) or found.processor == other.processor


def spread_over_seeds(values: Mapping[Place, float]) -> float | None:
    """Standard deviation over seeds within splits, see [`ArmScore`]."""
    by_split: dict[int, list[float]] = {}
    for (split, _), value in values.items():
        by_split.setdefault(split, []).append(value)
    variances = [np.var(of_split, ddof=1) for of_split in by_split.values() if len(of_split) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else None


def _difference(
    key: str,
    pairs: Sequence[tuple[Place, RunOutcomes, RunOutcomes]],
    seed: int,
    group_of: Callable[[str], str] | None,
) -> PairedDifference | None:
    if not pairs:
        return None
    columns: dict[str, int] = {}
    for _, found, _ in pairs:
        for shape_id in found.ids:
            columns.setdefault(shape_id, len(columns))
    gains = np.full((len(pairs), len(columns)), np.nan)
    for row, ((split, of_seed), found, other) in enumerate(pairs):
        if found.ids != other.ids or not np.array_equal(np.isnan(found.outcomes[key]), np.isnan(other.outcomes[key])):
            raise UserError(
                f"split {split}, seed {of_seed}: two arms were not scored on the same shapes by '{key}'; delete the "
                "runs' folders of that split and run again."
            )
        gains[row, [columns[shape_id] for shape_id in found.ids]] = found.outcomes[key] - other.outcomes[key]
    groups = None if group_of is None else np.array([group_of(shape_id) for shape_id in columns])
    return crossed_difference(gains, np.array([split for (split, _), _, _ in pairs]), seed, groups=groups)
