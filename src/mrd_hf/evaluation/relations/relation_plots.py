"""Pictures of how relations are kept before and after training: similarities, divergences, and all measures."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from ...models.relation_distillation import RELATION_TERMS, Modality
from ..plots.figure_files import new_figure, save_figure
from .embedding_geometry import unit_embeddings
from .relation_analysis import MODALITIES, RELATIONS, ModalityEmbeddings, RelationAnalysis, similarity_rows
from .relation_report import ComparisonRow


# Of Okabe and Ito: told apart by every kind of color vision.
COLORS = {"before": "#e69f00", "after": "#0072b2"}
SHORT_NAMES = {
    "intra_image": "image-image",
    "intra_text": "text-text",
    "cross_image_text": "image-text",
    "cross_text_image": "text-image",
    "image": "images",
    "text": "texts",
    "uniformity_point": "shapes",
    "uniformity_image": "images",
    "uniformity_text": "texts",
}
SIDES = {"point": "shape", "image": "image", "text": "text"}
# All pairs of so many shapes are drawn: 262,144 at most.
MAX_SHAPES = 512
NUM_BINS = 90


def write_similarity_plot(path: Path, before: ModalityEmbeddings, after: ModalityEmbeddings, title: str) -> None:
    """Density of pairs over the teacher's similarity and that in 3D, a column a relation: before above, after below.

    Of more than 512 shapes, 512 drawn with a fixed seed are shown.

    Args:
        path (`Path`): PNG to write.
        before (`dict` of embeddings `(num_shapes, embedding_dim)`): Of `point`, `image` and `text`, before training.
        after (`dict` of embeddings `(num_shapes, embedding_dim)`): The same after training.
        title (`str`): Of the picture.
    """
    figure = new_figure(16, 8, title)
    axes = figure.subplots(2, len(RELATIONS), sharex="col", sharey="col")
    pairs = {
        (moment, name): drawn_pairs(embeds, name)
        for moment, embeds in (("before", before), ("after", after))
        for name in RELATIONS
    }
    histograms = {}
    for name in RELATIONS:
        teacher, students = pairs["before", name][0], [pairs[moment, name][1] for moment in COLORS]
        edges = [_edges(teacher), _edges(np.concatenate(students))]
        for moment, student in zip(COLORS, students, strict=True):
            histograms[moment, name] = np.histogram2d(teacher, student, bins=edges)
    norm = LogNorm(vmin=1, vmax=max(2, *(counts.max() for counts, _, _ in histograms.values())))
    for row, moment in enumerate(COLORS):
        for column, name in enumerate(RELATIONS):
            panel, (counts, x, y) = axes[row, column], histograms[moment, name]
            mesh = panel.pcolormesh(x, y, np.ma.masked_equal(counts.T, 0), norm=norm, cmap="viridis", zorder=1)
            panel.axline((0, 0), slope=1, color="#d55e00", linestyle="--", linewidth=1.2, label="equal")
            panel.set_xlim(x[0], x[-1])
            panel.set_ylim(y[0], y[-1])
            panel.set_title(f"{SHORT_NAMES[name]}, {moment}")
            panel.grid(alpha=0.25)
            term = RELATION_TERMS[name]
            if row == 1:
                panel.set_xlabel(f"teacher's cosine, {_pair_name(term.teacher)}")
            panel.set_ylabel(f"cosine in 3D, {_pair_name(term.student)}")
    axes[0, 0].legend(loc="lower right", fontsize="small")
    figure.colorbar(mesh, ax=axes, label="pairs", shrink=0.8, aspect=40, pad=0.01)
    save_figure(figure, path)


def write_divergence_plot(path: Path, before: RelationAnalysis, after: RelationAnalysis, title: str) -> None:
    """How the rows' divergences from the teacher's are distributed over shapes, before and after training.

    Args:
        path (`Path`): PNG to write.
        before ([`RelationAnalysis`])
        after ([`RelationAnalysis`])
        title (`str`): Of the picture.
    """
    figure = new_figure(16, 4.4, title)
    for panel, name in zip(figure.subplots(1, len(RELATIONS)), RELATIONS, strict=True):
        values = {"before": before.relations[name].divergence, "after": after.relations[name].divergence}
        edges = np.linspace(0, max(rows.max() for rows in values.values()) + 1e-6, 41)
        for moment, rows in values.items():
            median = float(np.median(rows))
            label = f"{moment} (median {median:.2f})"
            panel.hist(rows, bins=edges, color=COLORS[moment], alpha=0.55, label=label)
            panel.axvline(median, color=COLORS[moment], linewidth=1.5)
        flat = float(np.median(after.relations[name].flat_divergence))
        panel.axvline(flat, color="black", linestyle=":", label=f"all equally similar (median {flat:.2f})")
        panel.set_title(SHORT_NAMES[name])
        panel.set_xlabel("Jeffrey divergence of a shape's row")
        panel.set_ylabel("shapes")
        panel.yaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_xlim(left=0)
        # Below, where no bar is.
        panel.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), frameon=False)
    save_figure(figure, path)


def write_measures_plot(path: Path, rows: list[ComparisonRow], title: str) -> None:
    """Bars of all measures before and after training, with a line where chance is.

    Args:
        path (`Path`): PNG to write.
        rows (list of [`ComparisonRow`])
        title (`str`): Of the picture.
    """
    panels = {"divergence_mean": "Divergence, mean (0 is best)", "spearman": "Rank correlation (1 is best)"}
    panels |= {row.measure: f"{row.title} (1 is best)" for row in rows if row.measure.startswith("overlap_at_")}
    panels |= {"alignment": "Alignment of shapes with (0 is best)", "cka": "Linear CKA of shapes with (1 is best)"}
    panels |= {"uniformity": "Uniformity of (0: all in one place)"}
    columns = 3
    lines = -(-len(panels) // columns)
    figure = new_figure(14, 0.8 + 3.4 * lines, title)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, (measure, heading) in zip(grid, panels.items(), strict=False):
        shown = [row for row in rows if row.measure == measure or row.measure.startswith(f"{measure}_")]
        _draw_bars(panel, shown)
        panel.set_title(heading)
    for panel in grid[len(panels) :]:
        panel.set_axis_off()
    handles = dict(zip(*reversed(grid[0].get_legend_handles_labels()), strict=True))
    shown_labels = [*COLORS, "chance"]
    figure.legend(
        [handles[label] for label in shown_labels], shown_labels, loc="outside lower center", ncols=3, frameon=False
    )
    save_figure(figure, path)


def drawn_pairs(embeds: ModalityEmbeddings, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Teacher's and 3D's similarities of all pairs of at most 512 shapes, in one order.

    Args:
        embeds (`Mapping` of embeddings `(num_shapes, embedding_dim)`): Of `point`, `image` and `text`.
        name (`str`): The relation's.

    Returns:
        Two `np.ndarray`s of shape `(num_pairs,)`.
    """
    unit = {modality: unit_embeddings(embeds[modality], modality) for modality in MODALITIES}
    count = len(unit["point"])
    if count > MAX_SHAPES:
        chosen = np.sort(np.random.default_rng(0).choice(count, MAX_SHAPES, replace=False))
        unit = {modality: rows[chosen] for modality, rows in unit.items()}
    term = RELATION_TERMS[name]
    rows = slice(0, len(unit["point"]))
    teacher, student = (similarity_rows(unit, pair, rows).flatten().numpy() for pair in (term.teacher, term.student))
    return teacher, student


def _draw_bars(panel: Axes, rows: list[ComparisonRow]) -> None:
    """Two bars a row with their values, and what chance is for each."""
    width = 0.38
    names = [SHORT_NAMES[row.measure if row.group == "spread" else row.group] for row in rows]
    for moment, offset in (("before", -width / 2), ("after", width / 2)):
        values = [row.before if moment == "before" else row.after for row in rows]
        places = np.arange(len(rows)) + offset
        bars = panel.bar(places, values, width * 0.94, color=COLORS[moment], label=moment)
        for text in panel.bar_label(bars, fmt="%.2f", fontsize="small", padding=2):
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6})  # over chance
        chances = [row.chance_before if moment == "before" else row.chance_after for row in rows]
        marked = [(place, chance) for place, chance in zip(places, chances, strict=True) if chance is not None]
        if marked:
            x, y = zip(*marked, strict=True)
            label = "chance" if moment == "after" else "_"  # one entry of the legend for both
            panel.hlines(y, np.array(x) - width / 2, np.array(x) + width / 2, "black", linestyles=":", label=label)
    panel.set_xticks(range(len(rows)), names)
    panel.margins(y=0.15)
    if sum(row.before + row.after for row in rows) < 0:
        panel.set_ylim(top=-0.1 * panel.get_ylim()[0])  # room for the label of a bar without height
    panel.axhline(0, color="black", linewidth=0.8)
    panel.grid(axis="y", alpha=0.3)
    panel.set_axisbelow(True)


def _edges(values: np.ndarray) -> np.ndarray:
    """Edges of bins over all values, of some width even where all are alike."""
    return np.linspace(values.min() - 0.005, values.max() + 0.005, NUM_BINS + 1)


def _pair_name(pair: tuple[Modality, Modality]) -> str:
    return f"{SIDES[pair[0]]} to {SIDES[pair[1]]}"
