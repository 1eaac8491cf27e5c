"""Pictures of spectra and classes before and after training, and of how the three forms of a relation would act."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from ...models.relation_distillation import Modality, RelationForm
from ..plots.figure_files import new_figure, save_figure
from .embedding_spectrum import effective_rank, variance_shares
from .form_behavior import TEMPERATURES, FormComparison
from .relation_analysis import RelationAnalysis
from .relation_plots import COLORS
from .relation_report import ComparisonRow


TEACHER_COLORS: dict[Modality, str] = {"image": "#009e73", "text": "#cc79a7"}
FORM_TITLES: dict[RelationForm, str] = {
    "normalized_similarity": "normalised similarity",
    "euclidean": "Euclidean distance",
    "partial_order": "partial order",
}
FORM_COLORS: dict[RelationForm, str] = {
    "normalized_similarity": "#0072b2",
    "euclidean": "#d55e00",
    "partial_order": "#009e73",
}
# What is drawn of a spectrum: smaller shares are rounding.
LEAST_SHARE = 1e-7
NUM_BINS = 24
LEAST_IN_BIN = 5


def write_geometry_plot(
    path: Path, before: RelationAnalysis, after: RelationAnalysis, rows: list[ComparisonRow], title: str
) -> None:
    """The spectra of all embeddings and, where shapes have classes, how compact and separable these are.

    Args:
        path (`Path`): PNG to write.
        before ([`RelationAnalysis`])
        after ([`RelationAnalysis`])
        rows (list of [`ComparisonRow`]): Of both.
        title (`str`): Of the picture.
    """
    of_classes = [row for row in rows if row.group == "classes_point"]
    figure = new_figure(13 if of_classes else 7.5, 4.8, title)
    panels = figure.subplots(1, 2 if of_classes else 1, squeeze=False)[0]
    lines = {
        f"shapes {moment}": (analysis.singular_values["point"], COLORS[moment])
        for moment, analysis in (("before", before), ("after", after))
    }
    lines |= {f"{modality}s": (after.singular_values[modality], color) for modality, color in TEACHER_COLORS.items()}
    for name, (values, color) in lines.items():
        shares = variance_shares(values).numpy()
        shares = shares[shares > LEAST_SHARE]
        label = f"{name} (effective rank {effective_rank(values):.1f})"
        panels[0].plot(np.arange(1, len(shares) + 1), shares, color=color, label=label)
    panels[0].set_xscale("log")
    panels[0].set_yscale("log")
    panels[0].set_title("Spectrum of the covariance")
    panels[0].set_xlabel("direction, the strongest first")
    panels[0].set_ylabel("share of the variance")
    panels[0].grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    if of_classes:
        _draw_classes(panels[1], of_classes, {row.measure: row for row in rows if row.group == "classes_image"})
    save_figure(figure, path)


def write_form_plot(path: Path, found: FormComparison, temperature: float, title: str) -> None:
    """Entropies of the forms over temperature, and where the gradients of each would fall.

    Args:
        path (`Path`): PNG to write.
        found ([`FormComparison`])
        temperature (`float`): Of the gradients.
        title (`str`): Of the picture.
    """
    figure = new_figure(13, 9, title)
    (entropies, gradients), (shares, pulls) = figure.subplots(2, 2)
    for name, form in found.forms.items():
        color, label = FORM_COLORS[name], FORM_TITLES[name]
        entropies.plot(TEMPERATURES, form.teacher_entropy, color=color, label=label)
        entropies.plot(TEMPERATURES, form.student_entropy, ":", color=color)
        for panel, values in ((gradients, form.gradient), (pulls, form.pull)):
            panel.plot(*binned_medians(found.distances, values), "o-", color=color, markersize=3, label=label)
        columns = np.arange(1, found.num_columns + 1) / found.num_columns
        shares.plot(columns, form.cumulative, color=color, label=f"{label} ({form.effective_columns:.0f} columns)")
    close = 1 - found.variance / (2 * np.square(TEMPERATURES) * np.log(found.num_columns))
    entropies.plot(TEMPERATURES, close, "--", color="black", linewidth=1, label="log n - var(s) / (2 tau²)")
    entropies.axvline(temperature, color="gray", linewidth=0.8)
    entropies.set_ylim(0, 1.02)
    entropies.set_xscale("log")
    entropies.set_title("Entropy of a row: images (dotted: shapes)", fontsize="medium")
    entropies.set_xlabel("temperature")
    entropies.set_ylabel("share of the largest")
    for panel, what in ((gradients, "gradient with respect to its similarity"), (pulls, "pull on the embedding")):
        panel.set_yscale("log")
        panel.set_title(f"Size of a pair's {what}", fontsize="medium")
        panel.set_xlabel("distance of the two shapes")
        panel.set_ylabel("median")
    shares.plot([0, 1], [0, 1], color="gray", linewidth=0.8)
    shares.set_title("Where a row's gradient falls", fontsize="medium")
    shares.set_xlabel("share of the columns, nearest for the teacher first")
    shares.set_ylabel("share of the gradient")
    for panel in figure.axes:
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small")
    save_figure(figure, path)


def binned_medians(x: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians of values over bins of x, of equal width; those with few values are left out.

    Args:
        x (`np.ndarray` of shape `(n,)`)
        values (`np.ndarray` of shape `(n,)`)

    Returns:
        Two `np.ndarray`s of one shape: the bins' mean x, and the medians.
    """
    edges = np.linspace(x.min(), x.max(), NUM_BINS + 1)
    of = np.clip(np.digitize(x, edges) - 1, 0, NUM_BINS - 1)
    full = [index for index in range(NUM_BINS) if (of == index).sum() >= LEAST_IN_BIN]
    return np.array([x[of == index].mean() for index in full]), np.array([np.median(values[of == i]) for i in full])


def _draw_classes(axes: Axes, rows: list[ComparisonRow], teacher: dict[str, ComparisonRow]) -> None:
    """Bars before and after, with a line where the teacher's images are."""
    width = 0.38
    places = np.arange(len(rows))
    for offset, moment in ((-width / 2, "before"), (width / 2, "after")):
        values = [row.before if moment == "before" else row.after for row in rows]
        bars = axes.bar(places + offset, values, width * 0.94, color=COLORS[moment], label=moment)
        axes.bar_label(bars, fmt="%.2f", fontsize="x-small", padding=2)
    heights = [teacher[row.measure].after for row in rows]
    axes.hlines(heights, places - width, places + width, "black", linestyles=":", label="their images")
    axes.set_xticks(places, [textwrap.fill(row.title, 16) for row in rows], fontsize="x-small")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.margins(y=0.15)
    axes.set_title("Classes of shapes")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(fontsize="small")
