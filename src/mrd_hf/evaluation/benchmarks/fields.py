"""What the benchmarks' files have in common: JSON lists, text lists, label columns and clouds that are checked."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.class_texts import match_names
from ...data.sources.published_fields import check_items, what
from ...errors import UserError
from ...models.shapes import ColoredPoints


def read_items(file: Path, fields: Sequence[str]) -> list[dict[str, str]]:
    """The entries of a JSON list, each of which has text for the fields.

    Raises:
        UserError: The file is no such list; the message names entry and field.
    """
    try:
        items = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); download it again.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: is not JSON ({error}); download it again.") from None
    return check_items(items, fields, file)


def read_lines(file: Path) -> list[str]:
    """The lines of a text file that are not blank."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); download it again.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is no text ({error}); download it again.") from None
    return [line.strip() for line in lines if line.strip()]


def labels_of(categories: Iterable[str], class_names: Sequence[str], source: str) -> np.ndarray:
    """The label of each category's name, int64 (n,).

    Raises:
        UserError: One is no class; the message says which entry.
    """
    categories = list(categories)
    labels = match_names(categories, class_names)
    for number, label in enumerate(labels):
        if label is None:
            raise UserError(
                f"{source}: entry {number}: '{categories[number]}' is none of the {len(class_names)} classes "
                f"({', '.join(class_names[:3])}, ...)."
            )
    return np.array(labels, dtype=np.int64)


def check_names(file: Path, expected: Sequence[str], what_of: str) -> None:
    """Raise a [`UserError`] unless a text file has the names of the classes, one a line, in their order."""
    found = read_lines(file)
    if found != list(expected):
        wrong = [name for name in (*found, *expected) if (name in found) != (name in expected)]
        about = f"'{wrong[0]}' is in one alone" if wrong else "they are in another order"
        raise UserError(
            f"{file}: has {len(found)} names; expected the {len(expected)} of {what_of} in order ({about})."
        )


def integer_labels(values: Any, field: str) -> np.ndarray:
    """Labels as files have them, an array (n,) or (n, 1) or a list, of integers or whole floats, as int64 (n,).

    Raises:
        UserError: They are no whole numbers; the message begins with `field`.
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    is_whole = array.dtype.kind in "iu" or (array.dtype.kind == "f" and bool((array == np.round(array)).all()))
    if array.ndim != 1 or not is_whole:
        raise UserError(
            f"{field}: has shape {array.shape} of {array.dtype}; expected whole numbers of shape (n,) or (n, 1)."
        )
    return array.astype(np.int64)


def cloud_of(content: Any, where: str, color_range: float) -> ColoredPoints:
    """The cloud of a dictionary `xyz`, `rgb` as OpenShape saves it.

    Args:
        content: What was found.
        where (`str`): For messages.
        color_range (`float`): What full brightness is in the file, 1 or 255, whatever the type of its numbers.

    Returns:
        `tuple(np.ndarray, np.ndarray | None)`: points as they are, and colours as float32 in 0..1, None without.
    """
    if not isinstance(content, dict) or not isinstance(content.get("xyz"), np.ndarray):
        found = what(content.get("xyz")) if isinstance(content, dict) else f"is a {type(content).__name__}"
        raise UserError(f"{where}: xyz {found}; expected a dictionary with arrays 'xyz' and 'rgb'.")
    rgb = content.get("rgb")
    if rgb is None:
        return ColoredPoints(content["xyz"], None)
    if not isinstance(rgb, np.ndarray) or rgb.dtype.kind not in "fiu" or rgb.size == 0:
        raise UserError(f"{where}: rgb {what(rgb)}; expected numbers of shape (n, 3).")
    # Rounding leaves some colours a little beyond.
    if not (rgb.min() >= -1e-3 * color_range and rgb.max() <= 1.001 * color_range):  # False for nan as well
        raise UserError(f"{where}: rgb reaches from {rgb.min():g} to {rgb.max():g}; expected 0 to {color_range:g}.")
    return ColoredPoints(content["xyz"], (rgb / color_range).clip(0, 1).astype(np.float32))
