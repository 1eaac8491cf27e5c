"""Bar charts of evaluation reports: figures with their 95% intervals, and how they hold up under corruptions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from .figure_files import new_figure, save_figure, shortened


Report = dict[str, Any]

# Of Okabe and Ito: told apart by every kind of color vision. Further models repeat them, hatched.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
HATCHES = ("", "////", "....")
CHANCE: dict[str, Any] = {"color": "black", "linestyle": ":", "linewidth": 1.6}
MAJORITY: dict[str, Any] = {"color": "black", "linestyle": (0, (5, 1.6)), "linewidth": 1.2}
TEACHER: dict[str, Any] = {
    "color": "black",
    "marker": "D",
    "markerfacecolor": "white",
    "markersize": 5,
    "linestyle": "none",
}
TITLE_LENGTH = 60  # characters
UNCHANGED = "as they are"
SHARE_LABEL = "%, higher is better"
COLUMN_HEADING = "value [95% interval]"
BESIDE = ("axes fraction", "data")
MINUS = "\N{MINUS SIGN}"
RANK_LABEL = "rank of the first match, 1 is best"


@dataclass(frozen=True)
class _Panel:
    """Rows of bars on one axis: `lines` holds a row's label, and each model's metric or None where it has none."""

    heading: str
    is_rank: bool
    lines: list[tuple[str, list[dict[str, Any] | None]]]
    is_robustness: bool = False

    @property
    def models(self) -> list[int]:
        """The models that have any metric here."""
        return [model for model, of_it in enumerate(zip(*(row for _, row in self.lines), strict=True)) if any(of_it)]


def write_interval_bars(path: str | Path, reports: Sequence[Report]) -> None:
    """Draw a bar a metric and model, with its 95% interval, and marks where chance, majority and the teacher are.

    Models that were scored on one benchmark share a panel; each has its color. Metrics under corruptions are left to
    [`write_robustness_bars`]. Median ranks, which are no shares, have a logarithmic axis of their own. The same input
    gives the same bytes.

    Args:
        path (`str` or `Path`):
            PNG to write.
        reports (sequence of `dict`):
            Evaluation reports as in `report.json`, one or more.

    Raises:
        ValueError: If there is no metric to draw.
    """
    models = _models(reports)
    panels = []
    for benchmark in _benchmarks(reports):
        metrics = _metrics_by_key(reports, models, benchmark)
        plain = [(key, row) for key, row in metrics.items() if "/" not in key]
        for is_rank in (False, True):
            lines = [(_title(row), row) for key, row in plain if _is_rank(key) == is_rank]
            if lines:
                heading = _heading(reports, benchmark) + (": ranks" if is_rank else "")
                panels.append(_Panel(heading, is_rank, lines))
    if not panels:
        raise ValueError("the reports have no metric, so there is nothing to draw")
    _write(path, panels, models, "Scores with 95% intervals")


def write_robustness_bars(path: str | Path, reports: Sequence[Report]) -> None:
    """Draw how metrics hold up under corruptions of the shapes: a panel a metric, a row a corruption.

    The first row is of the shapes as they are, and a line leads from each model's score there down the panel; behind
    the other scores stands how far they are from it. The same input gives the same bytes.

    Args:
        path (`str` or `Path`):
            PNG to write.
        reports (sequence of `dict`):
            Evaluation reports as in `report.json`; those metrics are drawn whose key has a slash and behind it the
            corruption's name, such as `zero_shot_top1/without_color`.

    Raises:
        ValueError: If there is no such metric.
    """
    models = _models(reports)
    panels = []
    for benchmark in _benchmarks(reports):
        metrics = _metrics_by_key(reports, models, benchmark)
        for base in dict.fromkeys(key.partition("/")[0] for key in metrics if "/" in key):
            lines = [(UNCHANGED, metrics[base])] if base in metrics else []
            lines += [
                (key.partition("/")[2].replace("_", " "), row)
                for key, row in metrics.items()
                if key.startswith(f"{base}/")
            ]
            title = _title(metrics[base]) if base in metrics else base.replace("_", " ")
            panels.append(_Panel(f"{_heading(reports, benchmark)}: {title}", _is_rank(base), lines, True))
    if not panels:
        raise ValueError("the reports have no metric under a corruption (a key such as zero_shot_top1/without_color)")
    _write(path, panels, models, "Robustness: scores on corrupted shapes, with 95% intervals")


def _write(path: str | Path, panels: list[_Panel], models: list[str], title: str) -> None:
    heights = [len(panel.lines) * (0.16 + 0.2 * len(panel.models)) + 0.75 for panel in panels]
    figure = new_figure(11, sum(heights) + 0.9 + 0.22 * len(models), title)
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    marks: set[str] = set()
    for axes, panel in zip(grid, panels, strict=True):
        marks |= _draw_panel(axes, panel)
    handles: list[Patch | Line2D] = [
        Patch(facecolor=_color(index), hatch=_hatch(index), edgecolor="white", label=shortened(name, TITLE_LENGTH))
        for index, name in enumerate(models)
    ]
    kinds = {"chance": CHANCE, "majority class": MAJORITY, "the teacher's images": TEACHER}
    handles += [Line2D([], [], label=name, **style) for name, style in kinds.items() if name in marks]
    columns = 4 if sum(len(str(handle.get_label())) + 8 for handle in handles) < 120 else 2
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize="small")
    for text in legend.get_texts():
        text.set_parse_math(False)
    save_figure(figure, path)


def _draw_panel(axes: Axes, panel: _Panel) -> set[str]:
    """Draw the bars, intervals, marks and labels of a panel; returns which kinds of marks it has."""
    scale = 1 if panel.is_rank else 100
    height = 0.8 / len(panel.models)
    marks: set[str] = set()
    for line, (_, row) in enumerate(panel.lines):
        for place, model in enumerate(panel.models):
            metric = row[model]
            if metric is None:
                continue
            y = line - 0.4 + (place + 0.5) * height
            value, low, high = (scale * metric[field] for field in ("value", "low", "high"))
            (bar,) = axes.barh(
                y, value, height * 0.92, color=_color(model), hatch=_hatch(model), edgecolor="white", linewidth=0
            )
            bar.set_gid(f"{metric['key']}:{model}")
            # The interval may leave out the value, as that of a bootstrap with a bias.
            reach = [[max(value - low, 0)], [max(high - value, 0)]]
            axes.errorbar(value, y, xerr=reach, color="#1f2328", elinewidth=1.1, capsize=2.2)
            for name, field, style in (("chance", "chance", CHANCE), ("majority class", "majority", MAJORITY)):
                if metric.get(field) is not None:
                    axes.vlines(scale * metric[field], y - height / 2, y + height / 2, **_as_lines(style))
                    marks.add(name)
            if metric.get("teacher") is not None:
                axes.plot(scale * metric["teacher"], y, zorder=4, **TEACHER)
                marks.add("the teacher's images")
            figures = _figures(metric, panel.is_rank) + _difference(panel, line, model)
            axes.annotate(figures, (1.01, y), xycoords=BESIDE, va="center_baseline", fontsize="small")
    if panel.is_robustness and panel.lines[0][0] == UNCHANGED:
        for model, metric in enumerate(panel.lines[0][1]):
            if metric is not None:
                axes.axvline(scale * metric["value"], color=_color(model), linewidth=1, alpha=0.6, zorder=0.5)
    _frame(axes, panel)
    heading = COLUMN_HEADING + (", difference" if panel.is_robustness else "")
    axes.annotate(heading, (1.01, 1), xycoords="axes fraction", va="bottom", fontsize="small", color="#5b6066")
    return marks


def _frame(axes: Axes, panel: _Panel) -> None:
    """Scale, ticks and headings."""
    if panel.is_rank:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlim(1, max(axes.get_xlim()[1], 10))
    else:
        axes.set_xlim(0, 100)
        axes.set_xticks(range(0, 101, 10))
    axes.set_xlabel(RANK_LABEL if panel.is_rank else SHARE_LABEL, fontsize="small")
    axes.set_title(panel.heading, fontsize=10.5, loc="left").set_parse_math(False)
    axes.set_yticks(range(len(panel.lines)), [shortened(label, TITLE_LENGTH) for label, _ in panel.lines])
    for tick in axes.get_yticklabels():
        tick.set_parse_math(False)
    axes.set_ylim(len(panel.lines) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _difference(panel: _Panel, line: int, model: int) -> str:
    """How far a score under a corruption is from that of the shapes as they are."""
    clean, metric = panel.lines[0][1][model], panel.lines[line][1][model]
    if not panel.is_robustness or line == 0 or panel.lines[0][0] != UNCHANGED or clean is None or metric is None:
        return ""
    difference = metric["value"] - clean["value"]
    text = f"{difference:+.1f}" if panel.is_rank else f"{100 * difference:+.1f}"
    return f"  {text.replace('-', MINUS) if float(text) else '±0.0'}"


def _figures(metric: dict[str, Any], is_rank: bool) -> str:
    value, low, high = (
        f"{metric[field]:.4g}" if is_rank else f"{100 * metric[field]:.1f}" for field in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def _models(reports: Sequence[Report]) -> list[str]:
    """One name a model; models of one name are told apart by the beginning of their hash."""
    found = list(dict.fromkeys((report["model"]["name"], report["model"]["sha256"]) for report in reports))
    names = [name for name, _ in found]
    return [name if names.count(name) == 1 else f"{name} ({sha256[:8]})" for name, sha256 in found]


def _benchmarks(reports: Sequence[Report]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((report["benchmark"]["name"], report["benchmark"]["split"]) for report in reports))


def _metrics_by_key(
    reports: Sequence[Report], models: list[str], benchmark: tuple[str, str]
) -> dict[str, list[dict[str, Any] | None]]:
    """Each model's metric on one benchmark, or None, by key in the order of the reports."""
    found: dict[str, list[dict[str, Any] | None]] = {}
    identities = list(dict.fromkeys((report["model"]["name"], report["model"]["sha256"]) for report in reports))
    for report in reports:
        if (report["benchmark"]["name"], report["benchmark"]["split"]) == benchmark:
            model = identities.index((report["model"]["name"], report["model"]["sha256"]))
            for metric in report["metrics"]:
                found.setdefault(metric["key"], [None] * len(models))[model] = metric
    return found


def _heading(reports: Sequence[Report], benchmark: tuple[str, str]) -> str:
    """The benchmark's name, split and size, or sizes where reports differ."""
    of_it = [r["benchmark"] for r in reports if (r["benchmark"]["name"], r["benchmark"]["split"]) == benchmark]
    sizes = " or ".join(f"{count:,}" for count in sorted({report["num_shapes"] for report in of_it}))
    part = "a part, " if any(report.get("is_part") for report in of_it) else ""
    return f"{benchmark[0]} ({benchmark[1]}, {part}{sizes} shapes)"


def _title(row: list[dict[str, Any] | None]) -> str:
    return next(str(metric["title"]) for metric in row if metric is not None)


def _is_rank(key: str) -> bool:
    return "median_rank" in key


def _as_lines(style: dict[str, Any]) -> dict[str, Any]:
    """A style of a line's for `Axes.vlines`, which has other names for its fields."""
    return {
        "colors": style["color"],
        "linestyles": style["linestyle"],
        "linewidth": style["linewidth"],
        "zorder": 3,
        "path_effects": [withStroke(linewidth=style["linewidth"] + 1.4, foreground="white")],
    }


def _color(model: int) -> str:
    return COLORS[model % len(COLORS)]


def _hatch(model: int) -> str:
    return HATCHES[model // len(COLORS) % len(HATCHES)]
