"""A run's log: one JSON object a line, and its curves as a picture."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter


MAX_LINES = 8
NUM_COLUMNS = 3
# Okabe and Ito's, told apart by every kind of color vision, with grey for their yellow, which is faint on white.
COLORS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#888888")
LOSSES = {"loss": "total", "alignment_loss": "alignment", "relation_loss": "relations, weighted"}
# Of each score the strictest and the loosest form.
SHARES = {
    "eval/zero_shot_top1": "zero-shot top-1",
    "eval/zero_shot_top5": "zero-shot top-5",
    "eval/shape_to_image_recall_at_1": "shape to image, recall at 1",
    "eval/shape_to_image_recall_at_10": "shape to image, recall at 10",
    "eval/shape_to_text_recall_at_1": "shape to text, recall at 1",
    "eval/shape_to_text_recall_at_10": "shape to text, recall at 10",
    "eval/same_category_neighbor": "nearest of same category",
    "eval/shape_to_shape_map": "same category, mAP",
}
RANKS = {
    "eval/shape_to_image_median_rank": "shape to image",
    "eval/image_to_shape_median_rank": "image to shape",
    "eval/shape_to_text_median_rank": "shape to text",
    "eval/text_to_shape_median_rank": "text to shape",
}


class TrainingLog:
    """Appends metrics to a file, so that a kill loses at most the line being written.

    Args:
        path (`Path`): The log file.
        start (`int`): Step that training starts or resumes at; lines of later steps, which are about to be repeated,
            are removed.

    Attributes:
        scored (`set[int]`): Steps of which it has scores of an evaluation.
    """

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        self.scored: set[int] = set()
        kept = [line for line in read_log(path) if line["step"] <= start] if start > 0 and path.exists() else []
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        temporary.replace(path)
        for line in kept:
            self._note(int(line["step"]), line)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._note(step, metrics)

    def _note(self, step: int, metrics: dict[str, float]) -> None:
        if has_scores(metrics):
            self.scored.add(step)


def has_scores(metrics: dict[str, Any]) -> bool:
    """Whether metrics are an evaluation's."""
    return any(key.startswith("eval/") for key in metrics)


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of a log, without a last one that was cut off."""
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


@dataclass(frozen=True)
class _Panel:
    """Curves of one kind and unit: `lines` has the label of each key of the log."""

    title: str
    unit: str
    lines: dict[str, str]


def plot_log(log: list[dict[str, float]], path: Path) -> None:
    """Write a log's curves, see [`draw_log`], as a PNG."""
    # Not savefig, which draws all of it twice.
    FigureCanvasAgg(draw_log(log)).print_png(path)


def draw_log(log: list[dict[str, float]]) -> Figure:
    """Draw a log's curves over the steps: a panel for each kind, of what was logged of it.

    Losses, relation losses, relation weights, the learning rate, and of the held-out shapes shares (0 to 1) and median
    ranks. A panel has eight lines at most. Not drawn, and for the log file to tell, are: alignment losses and
    retrieval accuracies a pair of modalities in the batch, the weighting's loss, the logit scale and temperatures; of
    the evaluation zero-shot top-3 and class mean, recall at 5, and recalls from images and texts to shapes; and
    relations beyond the first eight.

    Args:
        log (`list[dict[str, float]]`): Its lines, each with `step`; at least one of them.
    """
    panels = [
        _Panel("Losses", "loss", LOSSES),
        _Panel("Relation losses", "divergence", _of_terms(log, "relation_losses/")),
        _Panel("Relation weights", "weight", _of_terms(log, "relation_weights/")),
        _Panel("Learning rate", "learning rate", {"learning_rate": "encoder"}),
        _Panel("Held-out shapes: shares", "share", SHARES),
        _Panel("Held-out shapes: median ranks", "median rank (1 is best)", RANKS),
    ]
    logged = {key for line in log for key in line}
    panels = [panel for panel in panels if not logged.isdisjoint(panel.lines)]
    num_rows = -(-len(panels) // NUM_COLUMNS)
    num_columns = -(-len(panels) // num_rows)
    figure = Figure(figsize=(5.4 * num_columns, 5.2 * num_rows), dpi=120, layout="constrained")
    places = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axes, panel in zip(places, panels, strict=False):
        _draw(axes, panel, log)
    for axes in places[len(panels) :]:
        axes.remove()
    return figure


def _draw(axes: Axes, panel: _Panel, log: list[dict[str, float]]) -> None:
    logged = [key for key in panel.lines if any(key in line for line in log)]
    for place, key in enumerate(logged):
        steps, values = zip(*((line["step"], line[key]) for line in log if key in line), strict=True)
        axes.plot(
            steps,
            values,
            label=panel.lines[key],
            color=COLORS[place],
            linestyle="--" if place % 2 else "-",
            linewidth=1.5,
            marker="." if len(steps) <= 50 else None,
        )
    axes.set_title(panel.title)
    axes.set_xlabel("step")
    axes.set_ylabel(panel.unit)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if panel.unit == "share":
        axes.set_ylim(0, 1)
    elif panel.lines is RANKS:
        axes.set_yscale("log")
        axes.set_ylim(bottom=1)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    elif panel.unit in ("weight", "learning rate"):
        axes.set_ylim(0, 1.1 * max(line[key] for line in log for key in logged if key in line))
    axes.grid(alpha=0.3)
    if len(logged) > 1:
        # Below, where no curve is.
        axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)


def _of_terms(log: list[dict[str, float]], prefix: str) -> dict[str, str]:
    """Keys with a prefix, in the order of their first appearance, and what follows it as words."""
    keys = dict.fromkeys(key for line in log for key in line if key.startswith(prefix))
    return {key: key.removeprefix(prefix).replace("_", " ") for key in list(keys)[:MAX_LINES]}
