"""A picture of a confusion matrix, of all classes or of those that are mixed up most often."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from .figure_files import new_figure, save_figure, shortened


# More classes than these cannot be told apart on a screen's height.
MAX_CLASSES = 40
NAME_LENGTH = 28  # characters
RIGHT_COLORS, WRONG_COLORS = "Blues", "Oranges"
OTHERS = "(all others)"
# Shares from which white numbers read better than black ones.
DARK = 0.6
EMPTY_COLOR = "#eceef1"


def write_confusion_matrix(path: str | Path, confusion: np.ndarray, class_names: list[str]) -> None:
    """Draw which classes are predicted as which: a row a true class, shaded by the share of the class's shapes.

    What is right is blue, what is wrong orange; the numbers are counts of shapes. Of more than 40 classes, 40 are
    shown, those of the most frequent mix-ups, and a last column has the shapes that were predicted as any other class;
    the title says so. The same input gives the same bytes.

    Args:
        path (`str` or `Path`):
            PNG to write.
        confusion (`np.ndarray` of shape `(num_classes, num_classes)`):
            Counts of shapes: row true class, column the class it was predicted as.
        class_names (`list[str]`):
            In the order of rows and columns.

    Raises:
        ValueError: If the matrix is not square, holds something else than counts, none at all, or does not fit the
            names.
    """
    confusion = np.asarray(confusion)
    num_classes = len(class_names)
    if confusion.shape != (num_classes, num_classes):
        raise ValueError(
            f"confusion has shape {confusion.shape}, there are {num_classes} class names; need a row and "
            "a column for each"
        )
    if not np.issubdtype(confusion.dtype, np.integer) or confusion.min(initial=0) < 0:
        raise ValueError(f"confusion must hold counts, integers from 0, got {confusion.dtype} from {confusion.min()}")
    if confusion.sum() == 0:
        raise ValueError("confusion holds no shape, so there is nothing to draw")

    chosen = most_confused(confusion, MAX_CLASSES)
    counts = confusion[np.ix_(chosen, chosen)]
    columns = [class_names[index] for index in chosen]
    if len(chosen) < num_classes:
        counts = np.column_stack([counts, confusion[chosen].sum(axis=1) - counts.sum(axis=1)])
        columns.append(OTHERS)

    few = len(chosen) <= 12
    cell = 0.62 if few else 0.3  # inches
    width, height = counts.shape[1] * cell, counts.shape[0] * cell
    figure = new_figure(width, height)  # cropped to what lies around the cells when it is saved
    panel = figure.add_axes((0, 0, 1, 1))
    _draw_cells(panel, counts, font_size=10 if few else 6.5)
    totals = confusion[chosen].sum(axis=1)
    names = [shortened(class_names[index], NAME_LENGTH) for index in chosen]
    rows = [f"{name} ({total:,})" for name, total in zip(names, totals, strict=True)]
    _label(panel, columns, rows, font_size=10 if few else 7.5)
    panel.set_title(_title(confusion, chosen), fontsize=11 if few else 12, pad=10)
    key_height = max(0.6, 1.6 / height)
    _draw_key(figure.add_axes((1 + 0.35 / width, 0.9 - key_height, 0.3 / width, key_height)))
    save_figure(figure, path, crop=True)


def most_confused(confusion: np.ndarray, count: int) -> np.ndarray:
    """Classes that take part in the most frequent mix-ups, in their own order.

    Pairs of classes are gone through from the most shapes mixed up, in either direction, to the fewest, and both
    classes are taken until there are `count`; of equally frequent ones the first in the class list. If the mix-ups end
    before, the classes with the most shapes fill the places.

    Args:
        confusion (`np.ndarray` of shape `(num_classes, num_classes)`): Counts.
        count (`int`): How many classes to choose, if there are as many.

    Returns:
        `np.ndarray` of shape `(min(count, num_classes),)`: Sorted class indices.
    """
    if len(confusion) <= count:
        return np.arange(len(confusion))
    mixed = np.triu(confusion + confusion.T, k=1)
    first, second = np.nonzero(mixed)
    chosen: dict[int, None] = {}
    for pair in np.argsort(-mixed[first, second], kind="stable"):
        for index in (first[pair], second[pair]):
            if len(chosen) < count:
                chosen[int(index)] = None
        if len(chosen) == count:
            break
    for index in np.argsort(-confusion.sum(axis=1), kind="stable"):
        if len(chosen) < count:
            chosen[int(index)] = None
    return np.array(sorted(chosen), dtype=np.int64)


def _title(confusion: np.ndarray, chosen: np.ndarray) -> str:
    total, right, classes = int(confusion.sum()), int(np.trace(confusion)), len(confusion)
    title = f"Confusion of {classes:,} classes over {total:,} shapes, {100 * right / total:.1f}% right"
    if len(chosen) < classes:
        part = confusion[np.ix_(chosen, chosen)]
        mistakes = int(part.sum() - np.trace(part))
        title += (
            f"\nShown: the {len(chosen)} classes of the most frequent mix-ups, with {mistakes:,} of all "
            f"{total - right:,} mistakes among them"
        )
    return title


def _draw_cells(panel: Axes, counts: np.ndarray, font_size: float) -> None:
    """Shade every cell by its share of the row, and write its count unless it is 0."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    is_right = np.eye(*counts.shape) == 1
    maps = matplotlib.colormaps
    pixels = np.where(is_right[..., None], maps[RIGHT_COLORS](shares), maps[WRONG_COLORS](shares))
    pixels[counts == 0] = 1
    pixels[np.broadcast_to(totals == 0, counts.shape)] = to_rgba(EMPTY_COLOR)
    panel.imshow(pixels, interpolation="nearest", aspect="equal")
    for row, column in zip(*np.nonzero(counts), strict=True):
        count = int(counts[row, column])
        panel.text(
            column,
            row,
            f"{count}" if count < 10_000 else f"{count / 1000:.0f}k",
            ha="center",
            va="center_baseline",
            fontsize=font_size,
            color="white" if shares[row, column] > DARK else "black",
        )


def _draw_key(panel: Axes) -> None:
    """Which shade is which share, of right and of wrong ones."""
    shares = np.linspace(0, 1, 101)
    maps = matplotlib.colormaps
    panel.imshow(
        np.stack([maps[WRONG_COLORS](shares), maps[RIGHT_COLORS](shares)], axis=1),
        extent=(0, 2, 0, 100),
        origin="lower",
        aspect="auto",
    )
    panel.set_xticks([0.5, 1.5], ["wrong", "right"], fontsize=8, rotation=55, ha="right", rotation_mode="anchor")
    panel.tick_params(axis="x", length=0)
    panel.yaxis.set_label_position("right")
    panel.yaxis.tick_right()
    panel.tick_params(axis="y", labelsize=8)
    panel.set_ylabel("% of the true class's shapes", fontsize=8)


def _label(panel: Axes, columns: list[str], rows: list[str], font_size: float) -> None:
    panel.set_xticks(range(len(columns)), [shortened(name, NAME_LENGTH) for name in columns], fontsize=font_size)
    panel.set_yticks(range(len(rows)), rows, fontsize=font_size)
    for tick in panel.get_xticklabels():
        tick.set(rotation=55, ha="right", rotation_mode="anchor")
    for tick in (*panel.get_xticklabels(), *panel.get_yticklabels()):
        tick.set_parse_math(False)
    panel.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    panel.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    panel.grid(which="minor", color="#d9dde3", linewidth=0.5)
    panel.tick_params(which="both", length=0)
    panel.set_xlabel("predicted as")
    panel.set_ylabel("true class (shapes)")
