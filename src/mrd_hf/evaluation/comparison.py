"""Compare two evaluations of the same shapes, figure by figure, by a paired bootstrap."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import UserError
from .report import Statistic, in_columns, read_report
from .scores.bootstrap import PairedDifference, paired_difference, paired_median_difference
from .scores.corruptions import CORRUPTIONS


# How keys of figures begin that are of a choice among the classes.
AMONG_CLASSES = ("zero_shot", "fine_tuned")


@dataclass(frozen=True)
class Comparison:
    """One figure of two models on the same shapes.

    Args:
        key, title (`str`): The figure's.
        statistic (`"mean"`, `"class_mean"` or `"median"`): What it is of the single shapes; a median is one of ranks,
            of which the lower is the better one.
        first, second (`float`): What either model scores.
        paired (`PairedDifference`): The first minus the second.
    """

    key: str
    title: str
    statistic: Statistic
    first: float
    second: float
    paired: PairedDifference


def compare_evaluations(first: Path, second: Path, seed: int = 0) -> list[Comparison]:
    """Compare what `mrd-hf evaluate` wrote of two models.

    Compared are the means, class means and medians that both have; few-shot accuracies, which are not of single
    shapes, are left out.

    Args:
        first, second (`Path`): Folders with `report.json` and `outcomes.parquet`.
        seed (`int`, defaults to 0): Of the bootstrap.

    Raises:
        UserError: A folder holds no evaluation, or the two are not of the same shapes and classes, or of shapes that
            were corrupted alike.
    """
    (report, outcomes), (other_report, other_outcomes) = read_report(first), read_report(second)
    _check_same_variant(first, report, second, other_report)
    _check_same_shapes(first, outcomes, second, other_outcomes)
    labels = outcomes["label"].to_numpy()
    others = {metric["key"]: metric for metric in other_report["metrics"]}
    comparisons = []
    for metric in report["metrics"]:
        key = metric["key"]
        if not (key in others and key in outcomes.column_names and key in other_outcomes.column_names):
            continue
        _check_same_meaning(key, first, report, second, other_report)
        values, other_values = (_numbers(table, key) for table in (outcomes, other_outcomes))
        counted = ~np.isnan(values)
        if not np.array_equal(counted, ~np.isnan(other_values)):
            raise UserError(f"{first} and {second}: '{key}' is of other shapes in one than in the other.")
        pair = values[counted], other_values[counted]
        if metric["statistic"] == "median":
            paired = paired_median_difference(*pair, seed=seed)
        else:
            classes = labels[counted] if metric["statistic"] == "class_mean" else None
            paired = paired_difference(*pair, classes, seed)
        comparisons.append(
            Comparison(key, metric["title"], metric["statistic"], metric["value"], others[key]["value"], paired)
        )
    if not comparisons:
        raise UserError(f"{first} and {second}: have no figure in common that is of single shapes.")
    return comparisons


def comparisons_as_dict(comparisons: list[Comparison]) -> list[dict[str, Any]]:
    """For JSON."""
    return [
        {
            "key": comparison.key,
            "title": comparison.title,
            "statistic": comparison.statistic,
            "first": comparison.first,
            "second": comparison.second,
            **asdict(comparison.paired),
        }
        for comparison in comparisons
    ]


def format_comparison(comparisons: list[Comparison]) -> str:
    """An aligned plain-text table, shares in percent."""
    header = ("metric", "first", "second", "difference", "95% interval", "p")
    body = []
    for comparison in comparisons:
        scale, paired = 1 if comparison.statistic == "median" else 100, comparison.paired
        body.append(
            (
                comparison.title,
                f"{scale * comparison.first:.1f}",
                f"{scale * comparison.second:.1f}",
                f"{scale * paired.difference:+.1f}",
                f"{scale * paired.low:+.1f} to {scale * paired.high:+.1f}",
                f"{paired.p_value:.3f}",
            )
        )
    return in_columns([header, *body])


def _numbers(table: pa.Table, key: str) -> np.ndarray:
    return np.array(table[key].to_pylist(), dtype=np.float64)  # null becomes NaN


def _check_same_shapes(first: Path, outcomes: pa.Table, second: Path, other_outcomes: pa.Table) -> None:
    ids, other_ids = outcomes["id"].to_pylist(), other_outcomes["id"].to_pylist()
    if ids != other_ids:
        if len(ids) != len(other_ids):
            found = f"{len(ids)} and {len(other_ids)} shapes"
        else:
            row = _first_difference(ids, other_ids)
            found = f"'{ids[row]}' and '{other_ids[row]}' as id of row {row}"
        raise UserError(
            f"{first} and {second}: are not of the same shapes ({found}); evaluate both models on one split."
        )
    labels, other_labels = outcomes["label"].to_pylist(), other_outcomes["label"].to_pylist()
    if labels != other_labels:
        row = _first_difference(labels, other_labels)
        raise UserError(
            f"{first} and {second}: have other class lists, or shapes of other classes ('{ids[row]}' has the label "
            f"{labels[row]} in one and {other_labels[row]} in the other); evaluate both models with the same classes."
        )


def _check_same_variant(first: Path, report: dict[str, Any], second: Path, other_report: dict[str, Any]) -> None:
    """Variants of ScanObjectNN have other clouds under the same ids, which are places in a file."""
    names = [str(each["benchmark"]["name"]) for each in (report, other_report)]
    if names[0] != names[1] and all(name.startswith("scanobjectnn-") for name in names):
        raise UserError(
            f"{first} and {second}: are of {names[0]} and {names[1]}; evaluate both models on one of them."
        )


def _first_difference(ours: list[Any], theirs: list[Any]) -> int:
    return next(row for row, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)


def _check_same_meaning(
    key: str, first: Path, report: dict[str, Any], second: Path, other_report: dict[str, Any]
) -> None:
    """Labels may be alike among other classes, and one shape corrupted in two ways."""
    num_classes, other_classes = report["benchmark"]["num_classes"], other_report["benchmark"]["num_classes"]
    if key.startswith(AMONG_CLASSES) and num_classes != other_classes:
        raise UserError(
            f"{first} and {second}: '{key}' is among {num_classes} classes in one and {other_classes} in the other; "
            "evaluate both models with the same classes."
        )
    is_corrupted = key.rpartition("/")[2] in {corruption.name for corruption in CORRUPTIONS}
    if is_corrupted and report["seed"] != other_report["seed"]:
        raise UserError(
            f"{first} and {second}: '{key}' is of shapes corrupted by --seed {report['seed']} in one and "
            f"{other_report['seed']} in the other; evaluate both models with one --seed."
        )
