"""The table of an ablation, as Markdown and JSON."""

import json
from collections.abc import Sequence
from typing import Any

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
    "splits, seeds and shapes together. Of 20 intervals of arms that do not differ, about one excludes 0."
)


def as_json(scores: Sequence[ArmScore], facts: dict[str, Any]) -> str:
    return json.dumps({"version": 1, **facts, "scores": [score.as_dict() for score in scores]}, indent=2) + "\n"


def as_markdown(scores: Sequence[ArmScore], title: str, lines: Sequence[str]) -> str:
    """A table a figure, under a heading and what is to be said of all of them.

    Args:
        scores (sequence of [`ArmScore`])
        title (`str`)
        lines (sequence of `str`): Paragraphs under the title.
    """
    parts = [f"# {title}", *lines, LEGEND]
    for key in SHOWN:
        rows = [score for score in scores if score.key == key]
        if rows:
            parts += [f"## {rows[0].title}", _table(rows)]
    return "\n\n".join(parts) + "\n"


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
    interval = f"{percent(found.low, sign=True)} to {percent(found.high, sign=True)}"
    verdict = "yes" if score.excludes_zero else "no"
    return (*own, score.baseline or "-", percent(found.difference, sign=True), interval, str(score.num_pairs), verdict)
