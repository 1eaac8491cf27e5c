"""A picture of held-out shapes with the classes that the model predicts."""

import os
from pathlib import Path

import numpy as np
from datasets import Dataset
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from ..held_out import HeldOutSet, classify_labeled
from ..scores.similarity import Embeddings
from .point_drawing import draw_points


NUM_GUESSES = 3
NUM_COLUMNS = 6
WIDTH = 1680  # pixels
DPI = 140
MARGIN = 20  # of the whole sheet, in pixels, as all lengths below
GAP = 14
TITLE_HEIGHT = 30
LINE_HEIGHT = 23
PADDING = 10

# Okabe and Ito's bluish green, darkened to a contrast of 4.5 on white; told apart from grey by every kind of color
# vision, and by the check mark.
RIGHT_COLOR = "#00795a"
WRONG_COLOR = "#6b6f76"
TITLE_COLOR = "#1f2328"
CARD_COLOR, CARD_EDGE = "#ffffff", "#d9dde3"
SHEET_COLOR = "#f5f6f8"
RIGHT_BAR, WRONG_BAR = "#bfe3d6", "#e6e8ec"


def write_contact_sheet(
    path: str | Path, dataset: Dataset, point_embeds: Embeddings, held_out: HeldOutSet, count: int = 24
) -> None:
    """Write a PNG of held-out shapes that have a category, each with its name and the three nearest classes.

    Beside each class stands its cosine, also as a bar; the right class is green and has a check mark. Where it is not
    among the three, a fourth line says at which place it came. The same input gives the same bytes.

    Args:
        path (`str` or `Path`):
            The file to write; it appears only when complete.
        dataset (`datasets.Dataset`):
            The split that `held_out` was made from, with the columns `points` and `colors`.
        point_embeds (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`):
            In the order of the dataset.
        held_out ([`HeldOutSet`]):
            Names, categories and classes.
        count (`int`, defaults to 24):
            How many shapes to show, if there are as many with a category.

    Raises:
        ValueError: If no shape has a category.
    """
    rows = choose_shapes(held_out.labels, count)
    if len(rows) == 0:
        raise ValueError("no held-out shape has a category, so there is nothing to show on a contact sheet")
    result = classify_labeled(point_embeds, held_out)
    row_in_result = {row: index for index, row in enumerate(held_out.labeled)}
    clouds = dataset.select_columns(["points", "colors"]).with_format("numpy")

    num_columns = min(NUM_COLUMNS, len(rows))
    panel_width = (WIDTH - 2 * MARGIN - (NUM_COLUMNS - 1) * GAP) / NUM_COLUMNS
    panel_height = TITLE_HEIGHT + panel_width + (NUM_GUESSES + 1) * LINE_HEIGHT + PADDING
    num_lines = -(-len(rows) // num_columns)
    width = 2 * MARGIN + num_columns * (panel_width + GAP) - GAP
    height = 2 * MARGIN + num_lines * (panel_height + GAP) - GAP
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=SHEET_COLOR)
    canvas = FigureCanvasAgg(figure)
    for position, row in enumerate(rows):
        left = MARGIN + position % num_columns * (panel_width + GAP)
        top = MARGIN + position // num_columns * (panel_height + GAP)
        panel = _Panel(figure, left, top, panel_width, panel_height)
        panel.show_shape(held_out.names[row], clouds[int(row)])
        index = row_in_result[row]
        panel.show_guesses(
            result.ranking[index], result.similarity[index], int(held_out.labels[row]), held_out.class_names
        )

    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.print_png(partial, metadata={"Software": None})  # a version number would make equal pictures differ
    os.replace(partial, path)


def choose_shapes(labels: np.ndarray, count: int) -> np.ndarray:
    """Rows of labelled shapes spread over the classes: the first of every class, then the second, and so on.

    Args:
        labels (`np.ndarray` of shape `(num_shapes,)`): Class of each shape; -1 where it has none.
        count (`int`): How many to choose.

    Returns:
        `np.ndarray` of shape `(min(count, number of labelled shapes),)`: Row indices, by class and within a class by
        row.
    """
    seen: dict[int, int] = {}
    turns = []  # (how many of its class came before, class, row)
    for row, label in enumerate(labels.tolist()):
        if label >= 0:
            turns.append((seen.get(label, 0), label, row))
            seen[label] = seen.get(label, 0) + 1
    # Classes too many for one round: every n-th of them, rather than the first in the alphabet.
    first_round = sorted(turn for turn in turns if turn[0] == 0)
    if len(first_round) > count:
        picks = np.arange(count) * len(first_round) // max(count, 1)
        chosen = [first_round[pick] for pick in picks]
    else:
        chosen = sorted(turns)[:count]
    return np.array([row for _, _, row in sorted(chosen, key=lambda turn: turn[1:])], dtype=np.int64)


class _Panel:
    """One shape's card; places what it shows in pixels from the sheet's top left."""

    def __init__(self, figure: Figure, left: float, top: float, width: float, height: float) -> None:
        self.figure = figure
        self.left, self.top, self.width, self.height = left, top, width, height
        self.sheet_width, self.sheet_height = figure.get_size_inches() * DPI
        self.axes = figure.add_axes(self._box(0, 0, width, height))
        self.axes.set_axis_off()
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(height, 0)
        self.axes.add_patch(
            FancyBboxPatch(
                (1, 1),
                width - 2,
                height - 2,
                boxstyle="round,pad=0,rounding_size=8",
                facecolor=CARD_COLOR,
                edgecolor=CARD_EDGE,
                linewidth=0.8,
            )
        )

    def show_shape(self, name: str, cloud: dict[str, np.ndarray]) -> None:
        self._write(PADDING, TITLE_HEIGHT / 2 + 4, name, TITLE_COLOR, weight="bold", room=self.width - 2 * PADDING)
        picture = self.figure.add_axes(
            self._box(PADDING, TITLE_HEIGHT + PADDING, self.width - 2 * PADDING, self.width - 2 * PADDING)
        )
        draw_points(picture, cloud["points"], cloud["colors"])

    def show_guesses(
        self, ranking: np.ndarray, similarity: np.ndarray, true_class: int, class_names: list[str]
    ) -> None:
        place = int(np.flatnonzero(ranking == true_class)[0])
        top = TITLE_HEIGHT + self.width + LINE_HEIGHT / 2
        for line, (guess, cosine) in enumerate(zip(ranking[:NUM_GUESSES], similarity[:NUM_GUESSES], strict=False)):
            is_right = guess == true_class
            color = RIGHT_COLOR if is_right else WRONG_COLOR
            y = top + line * LINE_HEIGHT
            full = self.width - 2 * PADDING
            self.axes.add_patch(
                Rectangle(
                    (PADDING, y - LINE_HEIGHT / 2 + 1.5),
                    full * float(np.clip(cosine, 0, 1)),
                    LINE_HEIGHT - 3,
                    facecolor=RIGHT_BAR if is_right else WRONG_BAR,
                    linewidth=0,
                )
            )
            weight = "bold" if is_right else "normal"
            mark = "\N{CHECK MARK} " if is_right else ""
            self._write(PADDING + 6, y, mark + class_names[guess], color, weight, room=full - 60)
            self._write(self.width - PADDING - 6, y, f"{cosine:.2f}", color, weight, align="right")
        if place >= NUM_GUESSES:
            y = top + NUM_GUESSES * LINE_HEIGHT
            text = f"is: {class_names[true_class]} (place {place + 1})"
            self._write(PADDING + 6, y, text, TITLE_COLOR, style="italic", room=self.width - 2 * PADDING - 6)

    def _box(self, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Pixels from the card's top left to figure coordinates."""
        return (
            (self.left + x) / self.sheet_width,
            1 - (self.top + y + height) / self.sheet_height,
            width / self.sheet_width,
            height / self.sheet_height,
        )

    def _write(
        self,
        x: float,
        y: float,
        text: str,
        color: str,
        weight: str = "normal",
        style: str = "normal",
        align: str = "left",
        room: float | None = None,
    ) -> None:
        """Write at pixel (x, y) of the card; a text longer than `room` is cut, with an ellipsis."""
        # parse_math off: a name may hold dollar signs.
        artist = self.axes.text(
            x, y, text, color=color, weight=weight, style=style, ha=align, va="center_baseline", fontsize=8.5
        )
        artist.set_parse_math(False)
        while room is not None and text and artist.get_window_extent().width > room:
            text = text[:-1].rstrip()
            artist.set_text(f"{text}\N{HORIZONTAL ELLIPSIS}")
