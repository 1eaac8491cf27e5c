"""Figures as PNG files: no window, no state shared with other figures, the same bytes for the same figure."""

import textwrap
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...files.atomic_file import atomic_file


DPI = 130
TITLE_SIZE = 12  # points
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def new_figure(width: float, height: float, title: str | None = None) -> Figure:
    """A figure with room shared out among what it shows; with a title that is broken to its width, if any.

    Args:
        width (`float`): Inches.
        height (`float`): Inches.
        title (`str`, *optional*): Its own line breaks are kept. Without it, the caller places its axes.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, layout=None if title is None else "constrained")
    FigureCanvasAgg(figure)
    if title is None:
        return figure
    lines = [textwrap.fill(line, max(20, int(10.5 * width))) for line in title.splitlines()]
    # parse_math off: a path or a name may hold dollar signs.
    figure.suptitle("\n".join(lines), fontsize=TITLE_SIZE).set_parse_math(False)
    return figure


def save_figure(figure: Figure, path: str | Path, crop: bool = False) -> None:
    """Write a PNG; it takes its name once it is complete.

    Args:
        figure (`Figure`)
        path (`str` or `Path`)
        crop (`bool`, defaults to `False`): Whether to leave away empty margins, or add those that the figure lacks.

    Raises:
        UserError: If it cannot be written.
    """
    with atomic_file(Path(path)) as file:
        # A version number would make equal figures differ.
        about = {"Software": None}
        if crop:
            figure.savefig(file, format="png", metadata=about, bbox_inches="tight", pad_inches=0.12)
        else:
            # As savefig does, which draws all of it twice where room is shared out, though the first time shares it.
            FigureCanvasAgg(figure).print_png(file, metadata=about)


def shortened(text: str, length: int) -> str:
    """The text in at most `length` characters, on one line, with an ellipsis where it is cut."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1].rstrip() + ELLIPSIS
