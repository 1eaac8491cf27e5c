"""What published data sets have in common: files, lists, arrays and texts that are checked before they are used."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...models.surface_sampling import normalize_points


class UnusableField(Exception):
    """A field that cannot be used: its name, what was found and what was expected."""


def read_file(file: Path, max_bytes: int) -> bytes:
    """What is in a file.

    Raises:
        UserError: It is not there, cannot be read, or is larger.
    """
    # A pipe would wait for ever.
    if not file.is_file():
        raise UserError(f"{file}: no such file; download it again.")
    try:
        with file.open("rb") as opened:
            content = opened.read(max_bytes + 1)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}).") from None
    if len(content) > max_bytes:
        raise UserError(f"{file}: has {file.stat().st_size} bytes; expected at most {max_bytes}.")
    return content


def check_items(items: Any, fields: Sequence[str], file: Path) -> list[dict[str, str]]:
    """The entries of a file's list, each of which has text for the fields.

    Raises:
        UserError: It is no such list; the message names entry and field.
    """
    if not isinstance(items, list):
        raise UserError(f"{file}: holds a {type(items).__name__}; expected a list of {', '.join(fields)}.")
    for number, item in enumerate(items):
        for field in fields:
            if not (isinstance(item, dict) and isinstance(item.get(field), str)):
                raise UserError(f"{file}: entry {number}: has no text as its '{field}'.")
    return items


def float_rows(value: Any, field: str, width: int) -> np.ndarray:
    """An array of floats as float64 (n, width), n at least 1, all finite.

    Raises:
        UnusableField: It is another thing.
    """
    if not isinstance(value, np.ndarray):
        raise UnusableField(f"{field}: {what(value)}; expected an array")
    if value.dtype.kind != "f":
        raise UnusableField(f"{field}: is of {value.dtype}; expected floats")
    if value.ndim != 2 or value.shape[1] != width or not len(value):
        raise UnusableField(f"{field}: has shape {value.shape}; expected (n, {width})")
    if not np.isfinite(value).all():
        raise UnusableField(f"{field}: has numbers that are not finite")
    return value.astype(np.float64)


def drawn_points(xyz: np.ndarray, field: str, num_points: int, generator: np.random.Generator) -> np.ndarray:
    """Places of the points to keep: all, in their order, or `num_points` drawn of more.

    Raises:
        UnusableField: There are fewer.
    """
    if len(xyz) < num_points:
        raise UnusableField(f"{field}: has {len(xyz)} points; --num-points is {num_points}")
    if len(xyz) == num_points:
        return np.arange(num_points)
    return generator.choice(len(xyz), num_points, replace=False)


def unit_sphere(xyz: np.ndarray, field: str) -> np.ndarray:
    """Points, float64 (n, 3), centred and scaled to the unit sphere: float16.

    Raises:
        UnusableField: They cannot be scaled.
    """
    if (xyz == xyz[0]).all():
        raise UnusableField(f"{field}: all points coincide")
    with np.errstate(all="ignore"):
        points = normalize_points(xyz)
    if not np.isfinite(points).all() or np.linalg.norm(points, axis=1).max() < 0.5:
        raise UnusableField(f"{field}: is too large, or too small, to be scaled to the unit sphere")
    return points.astype(np.float16)


def what(value: Any) -> str:
    """What a value that was not expected is."""
    return "is missing" if value is None else f"is a {type(value).__name__}"
