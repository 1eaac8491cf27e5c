"""Pictures of the terms' gradients: norms and cosines over the steps, and all cosines at the last checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..plots.figure_files import new_figure, save_figure, shortened
from .gradient_measures import VARIABLES
from .gradient_table import PAIRS, Checkpoints, cosine
from .term_gradients import ALIGNMENT, SUMS


# Of Okabe and Ito: told apart by every kind of color vision.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
COLOR_OF_SUM = {
    "alignment": "#0072b2",
    "intra": "#d55e00",
    "cross": "#009e73",
    "relations": "#e69f00",
    "loss": "black",
}
VARIABLE_TITLES = {"encoder": "the encoder's parameters", "embeddings": "the shapes' embeddings"}
LABEL_LENGTH = 40


def write_norm_plot(path: Path, runs: Mapping[str, Checkpoints]) -> None:
    """Norms over the steps, mean and spread over batches: a column a run.

    The upper row has each term without its weight, the second the sums with the weights, both with respect to the
    encoder; the last the sums with respect to the embeddings.

    Args:
        path (`Path`): PNG to write.
        runs (`Mapping` of a run's checkpoints by its name)
    """
    figure = new_figure(max(7.0, 5.2 * len(runs) + 1), 11, "Norms of gradients, mean and spread over batches")
    grid = figure.subplots(3, len(runs), sharex="col", sharey="row", squeeze=False)
    for column, (run, checkpoints) in enumerate(runs.items()):
        rows = checkpoints[-1]["encoder"]["cosines"]["rows"]
        terms = [name for name in rows if name not in SUMS]
        sums = [name for name in rows if name in SUMS]
        _draw_norms(grid[0, column], checkpoints, "encoder", terms, dict(zip(terms, COLORS, strict=False)))
        _draw_norms(grid[1, column], checkpoints, "encoder", sums, COLOR_OF_SUM)
        _draw_norms(grid[2, column], checkpoints, "embeddings", sums, COLOR_OF_SUM)
        grid[0, column].set_title(f"{shortened(run, LABEL_LENGTH)}\neach term, without its weight", fontsize="medium")
        grid[1, column].set_title("sums of weighted terms", fontsize="medium")
        grid[2, column].set_title("the same, with respect to the embeddings", fontsize="medium")
        grid[2, column].set_xlabel("step")
    for row, which in enumerate(("encoder", "encoder", "embeddings")):
        grid[row, 0].set_ylabel(f"norm, with respect to\n{VARIABLE_TITLES[which]}", fontsize="small")
    save_figure(figure, path)


def write_cosine_plot(path: Path, runs: Mapping[str, Checkpoints]) -> None:
    """Cosines of `PAIRS` and of the two alignment terms over the steps, a line a run with its spread over batches.

    Dashed lines, of the encoder, are of the mean gradient over the batches.

    Args:
        path (`Path`): PNG to write.
        runs (`Mapping` of a run's checkpoints by its name)
    """
    pairs = {**PAIRS, ALIGNMENT: "alignment with images and with texts"}
    shown = {
        pair: title
        for pair, title in pairs.items()
        if any(cosine(c, "encoder", pair) is not None for checkpoints in runs.values() for c in checkpoints)
    }
    title = "Cosines between gradients; below 0 they conflict. Dashed: of the mean gradient over the batches"
    figure = new_figure(max(7.0, 5.0 * len(shown)), 7.5, title)
    grid = figure.subplots(2, len(shown), sharex=True, sharey=True, squeeze=False)
    for column, (pair, name) in enumerate(shown.items()):
        for row, which in enumerate(VARIABLES):
            axes = grid[row, column]
            axes.axhline(0, color="black", linewidth=0.9)
            for place, (run, checkpoints) in enumerate(runs.items()):
                _draw_cosines(axes, checkpoints, which, pair, run, place)
            axes.set_title(name, fontsize="medium")
            axes.grid(alpha=0.3)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        grid[1, column].set_xlabel("step")
    for row, which in enumerate(VARIABLES):
        grid[row, 0].set_ylabel(f"cosine, with respect to\n{VARIABLE_TITLES[which]}", fontsize="small")
    handles, labels = grid[0, -1].get_legend_handles_labels()  # of the alignment, which all runs have
    if len(runs) > 1:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(runs)), frameon=False)
    save_figure(figure, path)


def write_matrix_plot(path: Path, runs: Mapping[str, Checkpoints]) -> None:
    """Cosines of all terms and sums with each other at the last checkpoint, mean over batches: a column a run.

    Args:
        path (`Path`): PNG to write.
        runs (`Mapping` of a run's checkpoints by its name)
    """
    figure = new_figure(max(8.0, 6.4 * len(runs)), 12, "Cosines between gradients at the last checkpoint")
    grid = figure.subplots(2, len(runs), squeeze=False)
    checkpoints_before: Checkpoints = []
    for column, (run, checkpoints) in enumerate(runs.items()):
        last = checkpoints[-1]
        for row, which in enumerate(VARIABLES):
            axes, names = grid[row, column], last[which]["cosines"]["rows"]
            values = np.array(last[which]["cosines"]["mean"], dtype=float)  # None becomes NaN
            image = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
            for i, j in np.argwhere(np.isfinite(values)):
                color = "white" if abs(values[i, j]) > 0.6 else "black"
                axes.text(
                    j, i, f"{round(values[i, j], 2) + 0.0:.2f}", ha="center", va="center", color=color, fontsize=7
                )
            labels = [name.replace("_", " ") for name in names]
            axes.set_xticks(range(len(names)), labels, rotation=45, ha="right", fontsize="small")
            beside_the_same = column > 0 and names == checkpoints_before[-1][which]["cosines"]["rows"]
            axes.set_yticks(range(len(names)), [""] * len(names) if beside_the_same else labels, fontsize="small")
            first_sum = sum(name not in SUMS for name in names) - 0.5
            axes.axhline(first_sum, color="black", linewidth=0.9)
            axes.axvline(first_sum, color="black", linewidth=0.9)
            heading = f"{shortened(run, LABEL_LENGTH)}, step {last['step']}\n" if row == 0 else ""
            axes.set_title(f"{heading}with respect to {VARIABLE_TITLES[which]}", fontsize="medium")
        checkpoints_before = checkpoints
    figure.colorbar(image, ax=grid, shrink=0.5, aspect=40, pad=0.01)
    save_figure(figure, path)


def _draw_norms(axes: Axes, checkpoints: Checkpoints, which: str, names: list[str], colors: Mapping[str, str]) -> None:
    for name in names:
        norms = [c[which]["norms"][name] for c in checkpoints]
        points = [(c["step"], norm["mean"], norm["spread"]) for c, norm in zip(checkpoints, norms, strict=True)]
        _draw_line(axes, points, name, colors.get(name, "#888888"))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize="x-small")


def _draw_cosines(
    axes: Axes, checkpoints: Checkpoints, which: str, pair: tuple[str, str], run: str, place: int
) -> None:
    color = COLORS[place % len(COLORS)]
    line = [(c["step"], cosine(c, which, pair), cosine(c, which, pair, "spread")) for c in checkpoints]
    _draw_line(axes, line, shortened(run, LABEL_LENGTH), color)
    if which == "encoder":
        of_mean = [(c["step"], value) for c in checkpoints if (value := cosine(c, which, pair, "of_mean")) is not None]
        axes.plot([step for step, _ in of_mean], [value for _, value in of_mean], "--", color=color, linewidth=1.2)


def _draw_line(axes: Axes, points: list[tuple[int, Any, Any]], label: str, color: str) -> None:
    """Means as a line, with a band of one spread to each side."""
    known = [(step, mean, spread or 0.0) for step, mean, spread in points if mean is not None]
    if not known:
        return
    steps, means, spreads = (np.array(column, dtype=float) for column in zip(*known, strict=True))
    axes.plot(steps, means, "o-", color=color, markersize=4, label=label)
    axes.fill_between(steps, means - spreads, means + spreads, color=color, alpha=0.15, linewidth=0)
