"""Pictures of an ablation: the arms' differences to their baselines, and curves over a setting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from ..ablation.arm_scores import ArmScore
from ..ablation.arm_table import SHOWN
from .figure_files import new_figure, save_figure, shortened
from .interval_plot import COLORS


# Which figures of several arms are drawn, side by side.
DRAWN = ("zero_shot_top1", "shape_to_image_recall_at_10", "same_category_neighbor")
LABEL_LENGTH = 44
CLEAR, UNCLEAR = "#0072b2", "#888888"
LINE_STYLES = ("-", "--", "-.", ":")
# Wider steps than this, from the least to the greatest, are drawn on a logarithmic axis.
LOGARITHMIC_FROM = 20


@dataclass(frozen=True)
class CurvePoint:
    """An arm's place on a curve: the setting's value, and which line it is on."""

    arm: str
    at: float
    line: str


def write_forest(path: Path, scores: Sequence[ArmScore], title: str) -> bool:
    """Draw each arm's difference to its baseline with its interval, in colour if it is said to exclude 0.

    Of several arms, an arm a row and three figures side by side; of one, all figures of the table, a figure a row.

    Args:
        path (`Path`): PNG to write.
        scores (sequence of [`ArmScore`])
        title (`str`)

    Returns:
        `bool`: Whether there was a difference to draw.
    """
    compared = [score for score in scores if score.difference is not None]
    of_one_arm = len({score.arm for score in compared}) == 1
    panels = [[score for score in compared if score.key == key] for key in (SHOWN if of_one_arm else DRAWN)]
    panels = [rows for rows in panels if rows]
    if not panels:
        return False
    labels: dict[str, str] = {}
    if of_one_arm:
        panels = [[score for rows in panels for score in rows]]
        labels = {score.key: score.title for score in panels[0]}
    else:
        for score in (score for rows in panels for score in rows):
            labels.setdefault(score.arm, f"{score.arm} ({score.num_pairs} pairs)")
    places = {name: place for place, name in enumerate(labels)}
    figure = new_figure(4.2 * len(panels) + 2.6, 0.32 * len(labels) + 1.9, title)
    for axes, rows in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        axes.axvline(0, color="black", linewidth=0.9)
        for score in rows:
            found, y = score.difference, places[score.key if of_one_arm else score.arm]
            assert found is not None
            color = CLEAR if score.excludes_zero else UNCLEAR
            axes.hlines(y, 100 * found.low, 100 * found.high, color=color, linewidth=2)
            (point,) = axes.plot(100 * found.difference, y, "o", color=color, markersize=5)
            point.set_gid(f"{score.key}:{score.arm}")
        first = rows[0]
        heading = f"{first.arm} against {first.baseline}, {first.num_pairs} pairs" if of_one_arm else first.title
        axes.set_title(shortened(heading, LABEL_LENGTH), fontsize="medium").set_parse_math(False)
        axes.set_xlabel("difference in points, 95% interval", fontsize="small")
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    axes.set_yticks(range(len(labels)), [shortened(label, LABEL_LENGTH) for label in labels.values()])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    save_figure(figure, path)
    return True


def write_curves(path: Path, scores: Sequence[ArmScore], axis: str, points: Sequence[CurvePoint]) -> bool:
    """Draw scores over a setting: above each arm's mean with its spread, below the difference to its baseline.

    Args:
        path (`Path`): PNG to write.
        scores (sequence of [`ArmScore`])
        axis (`str`): What the setting is called.
        points (sequence of [`CurvePoint`]): Where the arms lie.

    Returns:
        `bool`: Whether there was anything to draw.
    """
    by_arm = {(score.key, score.arm): score for score in scores if score.mean is not None}
    keys = [key for key in DRAWN if any((key, point.arm) in by_arm for point in points)]
    if not keys:
        return False
    lines = list(dict.fromkeys(point.line for point in points))
    figure = new_figure(4.6 * len(keys) + 0.6, 7, f"Scores over {axis}")
    grid = figure.subplots(2, len(keys), sharex=True, squeeze=False)
    for column, key in enumerate(keys):
        for place, line in enumerate(lines):
            on_line = sorted((p for p in points if p.line == line and (key, p.arm) in by_arm), key=lambda p: p.at)
            of_line = [(p.at, by_arm[key, p.arm]) for p in on_line]
            style = {"color": COLORS[place % len(COLORS)], "linestyle": LINE_STYLES[place % len(LINE_STYLES)]}
            _draw_means(grid[0, column], of_line, line, style)
            _draw_differences(grid[1, column], of_line, style)
        some = next(score for (of_key, _), score in by_arm.items() if of_key == key)
        grid[0, column].set_title(some.title, fontsize="medium")
        grid[1, column].axhline(0, color="black", linewidth=0.9)
        grid[1, column].set_xlabel(axis)
    values = sorted({point.at for point in points})
    if values[0] > 0 and values[-1] / values[0] >= LOGARITHMIC_FROM:
        grid[0, 0].set_xscale("log")
    grid[0, 0].set_ylabel("mean and spread over seeds, %", fontsize="small")
    grid[1, 0].set_ylabel("difference, points, 95% interval", fontsize="small")
    for axes in grid.ravel():
        axes.grid(alpha=0.3)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    if any(lines):
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(lines)), frameon=False)
    save_figure(figure, path)
    return True


def _draw_means(axes: Axes, of_line: list[tuple[float, ArmScore]], line: str, style: Mapping[str, str]) -> None:
    x = [at for at, _ in of_line]
    means = [100 * (score.mean or 0.0) for _, score in of_line]
    spreads = [100 * (score.spread or 0.0) for _, score in of_line]
    axes.errorbar(x, means, spreads, label=line, marker="o", markersize=4, capsize=2, **style)  # type: ignore[arg-type]


def _draw_differences(axes: Axes, of_line: list[tuple[float, ArmScore]], style: Mapping[str, str]) -> None:
    shown = [(at, score.difference) for at, score in of_line if score.difference is not None]
    if not shown:
        return
    middle = [100 * found.difference for _, found in shown]
    # The interval may leave out the value, as that of a bootstrap with a bias.
    below = [100 * max(found.difference - found.low, 0) for _, found in shown]
    above = [100 * max(found.high - found.difference, 0) for _, found in shown]
    axes.errorbar([at for at, _ in shown], middle, [below, above], marker="o", markersize=4, capsize=2, **style)  # type: ignore[arg-type]
