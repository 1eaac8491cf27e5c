"""The table of an ablation, as Markdown and JSON."""

import json
from collections.abc import Sequence
from typing import Any

from ..scores.bootstrap import PairedDifference
from .arm_scores import ArmScore


# What is shown; the JSON has all that are means over shapes.
SHOWN = (
    "zero_shot_top1",
    "zero_shot_top5",
    "shape_to_image_recall_at_1",
    "shape_to_image_recall_at_10",
    "shape_to_text_recall_at_10",
    "same_category_neighbor",
    "shape_to_shape_map",
    "linear_probe_top1",
)
MINUS = "\N{MINUS SIGN}"
HEADER = ("arm", "runs", "mean", "spread over seeds", "against", "difference", "95% interval", "pairs", "excludes 0")
LEGEND = (
    "Figures are percent. The mean is over runs; the spread is the standard deviation over seeds within a split.\n"
    "The difference is to the arm under `against`, run by run of the same split and seed, with a 95% interval over\n"
    "splits, seeds and shapes together. The intervals are wide: one that excludes 0 is evidence of a difference, one\n"
    "that does not is hardly evidence of none. With few splits they are less wide than they should be, and one of a\n"
    "single split says nothing of other splits, so it is not said to exclude 0. Where pairs are missing, the column\n"
    "`pairs` has of how many splits the others are."
)


def as_json(scores: Sequence[ArmScore], facts: dict[str, Any]) -> str:
    return json.dumps({"version": 1, **facts, "scores": [score.as_dict() for score in scores]}, indent=2) + "\n"


def as_markdown(scores: Sequence[ArmScore], title: str, lines: Sequence[str]) -> str:
    """All differences in one table, then a table a figure, under a heading and what is to be said of all of them.

    Args:
        scores (sequence of [`ArmScore`])
        title (`str`)
        lines (sequence of `str`): Paragraphs under the title.
    """
    parts = [f"# {title}", *lines, LEGEND]
    if any(score.difference is not None for score in scores):
        parts += ["## All differences", _overview(scores)]
    for key in SHOWN:
        rows = [score for score in scores if score.key == key]
        if rows:
            parts += [f"## {rows[0].title}", _table(rows)]
    return "\n\n".join(parts) + "\n"


def _overview(scores: Sequence[ArmScore]) -> str:
    """An arm a row and a figure a column; in bold what excludes 0, over two splits or more."""
    found = {(score.arm, score.key): score for score in scores}
    titles = {score.key: score.title for score in scores}
    keys = [key for key in SHOWN if key in titles]
    lines = [("arm", "against", "pairs", *(titles[key] for key in keys)), tuple("---" for _ in range(3 + len(keys)))]
    for arm, baseline in dict.fromkeys((score.arm, score.baseline) for score in scores if score.baseline is not None):
        of_arm = [found[arm, key] for key in keys if (arm, key) in found]
        pairs = _pairs(max(of_arm, key=lambda score: score.num_pairs)) if of_arm else "0"
        lines.append((arm, baseline, pairs, *(_difference(found.get((arm, key))) for key in keys)))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _difference(score: ArmScore | None) -> str:
    if score is None or score.difference is None:
        return "-"
    estimate = score.difference
    text = f"{percent(estimate.difference, sign=True)} ({_interval(estimate)})"
    return f"**{text}**" if score.excludes_zero else text


def _pairs(score: ArmScore) -> str:
    if score.num_pairs in (0, score.num_planned):
        return str(score.num_pairs)
    return f"{score.num_pairs} ({score.num_splits} split{'' if score.num_splits == 1 else 's'})"


def _interval(estimate: PairedDifference) -> str:
    return f"{percent(estimate.low, sign=True)} to {percent(estimate.high, sign=True)}"


def percent(share: float, sign: bool = False) -> str:
    """A share as percent with one digit behind the point."""
    return f"{100 * share:{'+' if sign else ''}.1f}".replace("-", MINUS)


def _table(rows: Sequence[ArmScore]) -> str:
    lines = [HEADER, tuple("---" for _ in HEADER), *(_cells(score) for score in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cells(score: ArmScore) -> tuple[str, ...]:
    runs = str(score.num_runs) if score.num_runs == score.num_planned else f"{score.num_runs} of {score.num_planned}"
    own = (
        score.arm,
        runs,
        "-" if score.mean is None else percent(score.mean),
        "-" if score.spread is None else percent(score.spread),
    )
    found = score.difference
    if found is None:
        return (*own, score.baseline or "-", "-", "-", str(score.num_pairs) if score.baseline else "-", "-")
    verdict = "one split" if score.num_splits == 1 else "yes" if score.excludes_zero else "no"
    shown = (percent(found.difference, sign=True), _interval(found))
    return (*own, score.baseline or "-", *shown, _pairs(score), verdict)
