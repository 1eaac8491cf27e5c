"""Point clouds as text, a point a line: .xyz files, of which there is no description but many habits.

Three numbers are x y z, six are x y z r g b. Of others, a first line of names says what is what. Without one, four are
x y z and an intensity; seven have it before the colour, as .pts files do, or after it; nine have a normal before or
after the colour. What can be a colour, or a normal of length 1, decides.
"""

import re

import numpy as np

from .number_text import NOT_A_NUMBER, parse_numbers, word_places
from .shape_limits import ShapeBudget
from .shapes import COLOR_ROUNDING, ColoredPoints


NEWLINE = ord("\n")
COLOR_NAMES = (("r", "g", "b"), ("red", "green", "blue"), ("rf", "gf", "bf"))
NORMAL_NAMES = {"nx", "ny", "nz", "normal_x", "normal_y", "normal_z"}
# Where the colours may begin, of lines of as many numbers: first as .pts files have it.
COLOR_PLACES = {7: (4, 3), 9: (3, 6)}
EXPECTED = "3 (x y z), 6 (x y z r g b), 4, 7 or 9, or those that a first line names"
NORMAL_ROUNDING = 0.1
# Lines before the points: their number, and names of columns.
MAX_OPENING = 2


def read_text_cloud(data: bytes, warnings: list[str]) -> ColoredPoints:
    """Read points, and colours where there are any.

    Numbers are separated by blanks, commas or semicolons. Colours that are all written as integers are in 0..255,
    those with a decimal point in 0..1. Lines that start with # or // are comments; the first line may be the number
    of points, and the one before the points may name the columns.

    Args:
        data (`bytes`): The file.
        warnings (list of `str`): Gets a line for what is left out.

    Raises:
        ValueError: Something in it is no point.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\0\x1a")
    names: list[str] = []
    lines: list[tuple[int, bytes]] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        stripped = line.strip()
        if stripped.startswith((b"#", b"//")):
            names = names if lines else _words(stripped.lstrip(b"#/"))
        elif stripped:
            lines.append((number, stripped))
    announced, names = _opening(lines, names)
    if not lines:
        raise ValueError("has no points")
    _refuse_decimal_commas(lines)
    ShapeBudget(len(data)).take("points", len(lines))
    table, text = _table(lines)
    if announced is not None and announced != len(table):
        warnings.append(f"the first line announces {announced:,} points; the file's {len(table):,} are read")
    return _split(table, text, names, announced is not None, warnings)


def _words(line: bytes) -> list[str]:
    return re.sub(rb"[,;]", b" ", line).decode("utf-8", "replace").lower().split()


def _opening(lines: list[tuple[int, bytes]], names: list[str]) -> tuple[int | None, list[str]]:
    """How many points there are and what the columns are called, from first lines, which are taken away."""
    announced = None
    for _ in range(min(MAX_OPENING, len(lines))):
        words = _words(lines[0][1])
        if announced is None and len(words) == 1 and words[0].isdecimal() and len(lines) > 1:
            announced = int(words[0])
        elif not any(_is_number(word) for word in words):
            names = words
        else:
            break
        del lines[0]
    return announced, names


def _refuse_decimal_commas(lines: list[tuple[int, bytes]]) -> None:
    for number, line in lines[:10]:
        words = [word for word in re.split(rb"[\s;]+", line) if word]
        if len(words) > 2 and any(re.fullmatch(rb"[-+]?\d*,\d+", word) for word in words):
            raise ValueError(f"line {number} has {words[0].decode('ascii', 'replace')!r}; decimals have a point")


def _table(lines: list[tuple[int, bytes]]) -> tuple[np.ndarray, bytes]:
    """The numbers, `(num_points, num_columns)`, and the text that they are written in, separated by blanks."""
    text = b"\n".join(line for _, line in lines).replace(b",", b" ").replace(b";", b" ")
    characters = np.frombuffer(text + b"\n", dtype=np.uint8)
    starts, _ = word_places(characters)
    widths = np.diff(np.searchsorted(starts, np.flatnonzero(characters == NEWLINE)), prepend=0)
    if (widths != widths[0]).any():
        wrong = int(np.argmax(widths != widths[0]))
        raise ValueError(
            f"line {lines[wrong][0]} has {widths[wrong]} columns, those before {widths[0]}; expected {EXPECTED}"
        )
    try:
        values = parse_numbers(NOT_A_NUMBER.sub(b"nan", text) if b"#" in text or b"(" in text else text)
    except ValueError:
        words = text.split()
        place = next(place for place, word in enumerate(words) if not _is_number(word.decode("utf-8", "replace")))
        word = words[place].decode("utf-8", "replace")
        raise ValueError(f"line {lines[place // int(widths[0])][0]} has '{word}'; expected a number") from None
    if widths[0] < 3:
        raise ValueError(f"line {lines[0][0]} has {widths[0]} columns; expected {EXPECTED}")
    return values.reshape(len(lines), -1), text


def _split(table: np.ndarray, text: bytes, names: list[str], is_announced: bool, warnings: list[str]) -> ColoredPoints:
    width = table.shape[1]
    if len(names) == width and {"x", "y", "z"} <= set(names):
        place = [names.index(name) for name in "xyz"]
        colors = next(([names.index(name) for name in each] for each in COLOR_NAMES if set(each) <= set(names)), None)
        used = {*place, *(colors or ())}
        rest = [name for number, name in enumerate(names) if number not in used and name not in NORMAL_NAMES]
        if rest:
            warnings.append(f"columns left out: {', '.join(rest)}")
        return ColoredPoints(table[:, place], None if colors is None else _colors(table, text, colors))
    if width == 3:
        return ColoredPoints(table, None)
    if width == 6 and (table[:, 3:] < -COLOR_ROUNDING).any():
        raise ValueError(
            f"columns 4 to 6 from {table[:, 3:].min():g} are no colours (or are these normals? Then name the columns "
            "in a first line: x y z nx ny nz)"
        )
    if width == 6:
        return ColoredPoints(table[:, :3], _colors(table, text, [3, 4, 5]))
    if width == 4:
        warnings.append("column 4 left out: an intensity is no colour")
        return ColoredPoints(table[:, :3], None)
    fitting = [
        first for first in COLOR_PLACES.get(width, ()) if _may_be_colors(table, first) and _fits(table, first, width)
    ]
    if len(fitting) == 2 and is_announced and width == 7:
        fitting = fitting[:1]
    if len(fitting) != 1:
        raise ValueError(
            f"its lines have {width} columns, of which it is not clear which are colours; expected {EXPECTED}"
        )
    if width == 7:
        warnings.append(f"column {4 if fitting[0] == 4 else 7} left out: an intensity is no colour")
    return ColoredPoints(table[:, :3], _colors(table, text, [fitting[0], fitting[0] + 1, fitting[0] + 2]))


def _may_be_colors(table: np.ndarray, first: int) -> bool:
    values = table[:, first : first + 3]
    in_one = (values >= -COLOR_ROUNDING) & (values <= 1 + COLOR_ROUNDING)
    return bool(in_one.all() or ((values >= 0) & (values <= 255) & (values % 1 == 0)).all())


def _fits(table: np.ndarray, first: int, width: int) -> bool:
    """Whether the three numbers that are no colours are of normals."""
    if width != 9:
        return True
    others = table[:, 6:9] if first == 3 else table[:, 3:6]
    return bool((np.abs(np.linalg.norm(others, axis=1) - 1) < NORMAL_ROUNDING).all())


def _colors(table: np.ndarray, text: bytes, columns: list[int]) -> np.ndarray:
    values = table[:, columns]
    width = table.shape[1]
    # How they are written is looked at only where it matters.
    if (values % 1 == 0).all():
        words = text.split()
        if all(word.lstrip(b"+-").isdigit() for column in columns for word in words[column::width]):
            return values.astype(np.int64)
    return values


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return bool(NOT_A_NUMBER.fullmatch(word.encode()))
    return True
