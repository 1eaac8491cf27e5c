"""The page's words, as HTML: whatever comes from a file, its name or a label is text in it, never HTML."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from .engine import Engine
from .shape_reading import UnreadableShape


TITLE = "Shapes, words and pictures"
INTRODUCTION = (
    f"<h1>{TITLE}</h1><p>A 3D encoder that was taught, by Multi-modal Relation Distillation, to place shapes where an "
    "image-text model places words and pictures: name what a shape may be, or search shapes by a text, a picture or "
    "another shape.</p>"
)
NUM_BARS = 12
EMPTY = "<p class='quiet'>Nothing is shown.</p>"


def alert(problem: Exception | str) -> str:
    message = str(problem)
    if not isinstance(problem, UnreadableShape):  # which begins with the name of a file
        message = message[:1].upper() + message[1:]
    # Whatever of a message comes from a file, a file's name or a label is text, not a page.
    return f"<div class='problem' role='alert'>{escape(message)}</div>"


def captioned(title: str, notes: Sequence[str]) -> str:
    lines = "".join(f"<p class='quiet'>{escape(note)}</p>" for note in notes if note)
    return f"<h2 class='title'>{escape(title)}</h2>{lines}"


def what_to_expect(engine: Engine) -> str:
    what = (
        "This encoder is a demonstration: it was trained for minutes, on two CPU cores, on 584 shapes of furniture "
        "and household things. It often errs, and knows next to nothing beyond them."
        if engine.is_demo
        else f"The encoder is <code>{escape(_short(engine.model_name))}</code>, which knows what it was trained on; "
        "its model card says what that is, and how well it does."
    )
    return (
        f"<h2 class='heading'>What to expect</h2><p>{what}</p><p>Scores compare the labels with each other and sum to "
        "100%, so some label comes first even where none fits. Uploads are read in a process of their own, kept for "
        f"an hour at most and sent nowhere. The collection has {len(engine.collection):,} shapes of "
        f"<code>{escape(_short(engine.collection.name))}</code>; creator, licence and source stand below each.</p>"
    )


def _short(name: str) -> str:
    """An id on the Hub as it is; of a folder its name alone, as its place is nobody's business."""
    return Path(name).name if Path(name).is_dir() else name


def why_own(engine: Engine) -> str:
    """Why pictures cannot be uploaded, if they cannot."""
    if engine.teacher is not None:
        return ""
    why = (
        "the image side of this demo's small teacher is not distributed"
        if engine.is_demo
        else "its text tower has no image side"
    )
    return f"Other pictures cannot be uploaded here: {why}."


def titled(title: str, hint: str = "") -> str:
    return f"<h2 class='heading'>{escape(title)}</h2>" + (f"<p class='quiet'>{escape(hint)}</p>" if hint else "")


def scores_heading(count: int) -> str:
    return titled(f"Scores of {count} labels" if count <= NUM_BARS else f"The {NUM_BARS} highest of {count} scores")


def results_heading(count: int, total: int) -> str:
    return titled(
        f"The {count} nearest of {total:,} shapes, with their cosine to the query", "Click one to see it turn."
    )


# No pictures, no rows, and a heading that counts none.
NO_RESULTS: tuple[Any, ...] = ([], [], titled("Nearest shapes", "Here come the shapes that a search finds."))
