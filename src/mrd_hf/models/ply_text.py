"""The elements of a PLY file as arrays, ASCII or binary, with lists of any length.

The one reader of the whole format on PyPI, plyfile, is under the GPL, which users of this package may not be able to
take on; this one is therefore ours.

Source: Greg Turk's description of the format, 1994.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .number_text import NOT_A_NUMBER, parse_numbers
from .shape_limits import MAX_FACES, MAX_HEADER


TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("int64", "longlong"), "i8"),
    **dict.fromkeys(("uint64", "ulonglong"), "u8"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
ORDERS = {"ascii": "<", "binary_little_endian": "<", "binary_big_endian": ">"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
FLOAT = np.dtype("<f8")
# Runs of rows with lists of the same lengths, after which rows are walked over one by one.
MAX_RUNS = 16
MAX_ROWS = 2**16


@dataclass(frozen=True)
class ListProperty:
    """A property of which each row has several values.

    Args:
        lengths (`np.ndarray` of shape `(num_rows,)`)
        values (`np.ndarray` of shape `(sum of lengths,)`): Row after row.
    """

    lengths: np.ndarray
    values: np.ndarray


Property = np.ndarray | ListProperty


@dataclass(frozen=True)
class _Column:
    name: str
    dtype: np.dtype
    length_dtype: np.dtype | None = None  # of a list


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    columns: list[_Column]


@dataclass(frozen=True)
class PlyText:
    """What a PLY file says.

    Args:
        elements (`dict[str, dict[str, Property]]`): Properties by the names of element and property, lower case.
        comments (`list[str]`): Of the header, without the word itself.
        warnings (`list[str]`): What of the file was left out.
    """

    elements: dict[str, dict[str, Property]]
    comments: list[str]
    warnings: list[str]


def parse_ply(data: bytes) -> PlyText:
    """Parse a PLY file.

    Raises:
        ValueError: It is damaged or cut off; the message says where.
    """
    form, declared, comments, start = _header(data)
    elements: dict[str, dict[str, Property]] = {}
    if form != "ascii":
        for element in declared:
            elements[element.name], start = _read_rows(element, data, start)
        return PlyText(elements, comments, [])
    # As a binary file of which every value is a float64.
    text = data[start:]
    if b"#" in text or b"(" in text:
        text = NOT_A_NUMBER.sub(b"nan", text)
    try:
        values = parse_numbers(text)
    except ValueError as error:
        raise ValueError(f"its rows: {error}") from None
    plain, place = values.tobytes(), 0
    for element in declared:
        columns = [
            replace(column, dtype=FLOAT, length_dtype=column.length_dtype and FLOAT) for column in element.columns
        ]
        found, place = _read_rows(replace(element, columns=columns), plain, place)
        elements[element.name] = {
            column.name: _as_declared(found[column.name], column, element.name) for column in element.columns
        }
    return PlyText(
        elements, comments, _rest(text, sum(element.count for element in declared), place // 8, len(values))
    )


def _rest(text: bytes, num_rows: int, num_used: int, num_values: int) -> list[str]:
    """A warning where there is more than the header announces.

    Raises:
        ValueError: The rows have more values than the header says, so that what was read is none of them.
    """
    if num_used == num_values:
        return []
    lines = [line for line in text.splitlines() if line.strip()]
    if len(b" ".join(lines[:num_rows]).split()) != num_used:
        raise ValueError(f"its rows have {num_values:,} values, where its header announces {num_used:,}")
    return [f"{len(lines) - num_rows} lines after the last element left out"]


def _as_declared(values: Property, column: _Column, name: str) -> Property:
    """Numbers of an ASCII file in the type that its header says.

    Raises:
        ValueError: They do not fit it.
    """
    if isinstance(values, ListProperty):
        cast = _as_declared(values.values, column, name)
        return ListProperty(values.lengths, np.asarray(cast))
    if column.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(column.dtype)
    limits = np.iinfo(column.dtype)
    low, high = limits.min, 255 if column.dtype == np.int8 else limits.max  # many write bytes as char
    fitting = (values >= low) & (values <= high) & (values == np.trunc(values))  # False for nan
    if not fitting.all():
        first = values[int(np.argmin(fitting))]
        raise ValueError(f"'{column.name}' of '{name}' is {first:g}, and declared as {column.dtype}")
    return values.astype(np.int64 if column.dtype != np.uint64 else np.uint64).astype(column.dtype)


def _header(data: bytes) -> tuple[str, list[_Element], list[str], int]:
    """The format, the elements, the comments, and where the header ends."""
    form, elements, comments = "", [], []
    place = len(BYTE_ORDER_MARK) if data.startswith(BYTE_ORDER_MARK) else 0
    found = re.match(rb"[^\r\n]*(\r\n?|\n)", data[place : place + 1000])
    ending = b"\r" if found and found[1] == b"\r" else b"\n"
    first = True
    while True:
        end = data.find(ending, place, MAX_HEADER)
        if end < 0:
            raise ValueError("its header has no line end_header" if not first else "it does not begin with 'ply'")
        line, place = data[place:end].strip().decode("utf-8", "replace"), end + 1
        words = line.split()
        if first:
            if [word.lower() for word in words] != ["ply"]:
                raise ValueError("it does not begin with 'ply'")
            first = False
        elif not words:
            continue
        elif words[0] == "end_header":
            break
        elif words[0] in ("comment", "obj_info"):
            comments.append(line[len(words[0]) :].strip())
        elif words[0] == "format" and len(words) >= 2:
            form = words[1].lower()
        elif words[0] == "element" and len(words) == 3 and words[2].isdigit():
            elements.append(_Element(words[1].lower(), int(words[2]), []))
        elif words[0] == "property" and elements:
            elements[-1].columns.append(_column(words, form, line))
        else:
            raise ValueError(f"the line {line[:60]!r} of its header is not understood")
    if form not in ORDERS:
        raise ValueError(f"format {form!r}; expected one of {', '.join(ORDERS)}")
    return form, elements, comments, place


def _column(words: list[str], form: str, line: str) -> _Column:
    order = ORDERS.get(form, "<")
    if len(words) > 4 and words[1] == "list" and words[2].lower() in TYPES and words[3].lower() in TYPES:
        length, item = (np.dtype(order + TYPES[word.lower()]) for word in words[2:4])
        return _Column(" ".join(words[4:]).lower(), item, length)
    if len(words) > 2 and words[1].lower() in TYPES:  # CloudCompare's names have spaces
        return _Column(" ".join(words[2:]).lower(), np.dtype(order + TYPES[words[1].lower()]))
    raise ValueError(f"the line {line[:60]!r} of its header is not understood")


def _record(element: _Element, lengths: Sequence[int]) -> np.dtype:
    """The layout of a row whose lists have these lengths."""
    layout: list[tuple] = []
    given = iter(lengths)
    for number, column in enumerate(element.columns):
        if column.length_dtype is not None:
            layout.append((f"length{number}", column.length_dtype))
            layout.append((f"{number}", column.dtype, (next(given),)))
        else:
            layout.append((f"{number}", column.dtype))
    return np.dtype(layout)


def _read_rows(element: _Element, data: bytes, start: int) -> tuple[dict[str, Property], int]:
    """An element's properties, and where the next element starts."""
    if not element.columns:
        return {}, start
    least = sum((column.length_dtype or column.dtype).itemsize for column in element.columns)
    if element.count * least > len(data) - start:
        raise ValueError(f"it ends within '{element.name}', of which it announces {element.count:,} rows")
    lists = [number for number, column in enumerate(element.columns) if column.length_dtype is not None]
    chunks: list[np.ndarray] = []
    row, place = 0, start
    while row < element.count and len(chunks) < MAX_RUNS:
        # Rows whose lists have other lengths start another run.
        lengths, _ = _lengths_at(element, data, place, row) if lists else ([], 0)
        record = _record(element, lengths)
        fitting = min(element.count - row, (len(data) - place) // record.itemsize)
        if fitting < 1:
            raise ValueError(f"it ends within row {row + 1:,} of {element.count:,} of '{element.name}'")
        rows = np.frombuffer(data, record, count=fitting, offset=place)
        same = np.ones(len(rows), dtype=bool)
        for number, length in zip(lists, lengths, strict=True):
            same &= rows[f"length{number}"] == length
        if not same.all():
            rows = rows[: int(np.argmin(same))]
        chunks.append(rows)
        row += len(rows)
        place += len(rows) * record.itemsize
    if row < element.count:
        return _read_mixed_rows(element, data, start)
    return _joined(element, chunks), place


def _read_mixed_rows(element: _Element, data: bytes, start: int) -> tuple[dict[str, Property], int]:
    """The same where lengths change often: a walk over all rows, then one property after the other."""
    if element.count > MAX_FACES:
        raise ValueError(
            f"{element.count:,} rows of '{element.name}' whose lists are of many lengths; at most {MAX_FACES:,} of "
            "such are read. Simplify the shape"
        )
    table, places = _walk(element, data, start)
    place = int(places[-1])
    if place > len(data):
        raise ValueError(f"it ends within row {element.count:,} of {element.count:,} of '{element.name}'")
    chunks: list[list[np.ndarray]] = [[] for _ in element.columns]
    for first in range(0, element.count, MAX_ROWS):
        here = slice(first, first + MAX_ROWS)
        for chunk, values in zip(chunks, _values_at(element, data, places[:-1][here], table[here]), strict=True):
            chunk.append(values)
    lists = iter(table.T)
    found: dict[str, Property] = {}
    for column, chunk in zip(element.columns, chunks, strict=True):
        values = np.concatenate(chunk).astype(column.dtype.newbyteorder("="))
        found[column.name] = values if column.length_dtype is None else ListProperty(next(lists), values)
    return found, place


def _walk(element: _Element, data: bytes, start: int) -> tuple[np.ndarray, np.ndarray]:
    """The lengths of each row's lists, `(num_rows, num_lists)`, and where rows start and the last one ends."""
    lists = [number for number, column in enumerate(element.columns) if column.length_dtype is not None]
    if len(lists) == 1 and element.columns[lists[0]].length_dtype == np.uint8:
        return _walk_short_lists(element, lists[0], data, start)
    table = np.empty((element.count, len(lists)), dtype=np.int64)
    places = np.empty(element.count + 1, dtype=np.int64)
    places[0] = place = start
    for row in range(element.count):
        table[row], place = _lengths_at(element, data, place, row)
        places[row + 1] = place
    return table, places


def _walk_short_lists(element: _Element, number: int, data: bytes, start: int) -> tuple[np.ndarray, np.ndarray]:
    """The same where the column of this number is the one list, with lengths of a byte, as of nearly all files."""
    before, after = (
        sum(column.dtype.itemsize for column in columns)
        for columns in (element.columns[:number], element.columns[number + 1 :])
    )
    size = element.columns[number].dtype.itemsize
    steps = [before + 1 + length * size + after for length in range(256)]
    lengths = bytearray(element.count)
    place = start + before
    for row in range(element.count):
        if place >= len(data):
            raise ValueError(f"it ends within row {row + 1:,} of {element.count:,} of '{element.name}'")
        lengths[row] = length = data[place]
        place += steps[length]
    counted = np.frombuffer(lengths, np.uint8)
    ends = start + np.cumsum(np.array(steps)[counted])
    return counted.astype(np.int64)[:, None], np.concatenate([[start], ends])


def _values_at(element: _Element, data: bytes, places: np.ndarray, table: np.ndarray) -> Iterator[np.ndarray]:
    """The values of each property of rows, which start at `places` and whose lists have the lengths of `table`."""
    characters = np.frombuffer(data, np.uint8)
    lists = iter(table.T)
    for column in element.columns:
        starts, size = places, column.dtype.itemsize
        if column.length_dtype is None:
            places = places + size
        else:
            lengths = next(lists)
            starts = places + column.length_dtype.itemsize
            places = starts + lengths * size
            before = np.cumsum(lengths) - lengths
            starts = np.repeat(starts - before * size, lengths) + np.arange(lengths.sum()) * size
        yield characters[starts[:, None] + np.arange(size)].view(column.dtype)[:, 0]


def _lengths_at(element: _Element, data: bytes, place: int, row: int) -> tuple[list[int], int]:
    """The lengths of a row's lists, and where the next row starts."""
    lengths: list[int] = []
    for column in element.columns:
        dtype = column.length_dtype
        if dtype is None:
            place += column.dtype.itemsize
            continue
        end = place + dtype.itemsize
        if end > len(data):
            raise ValueError(f"it ends within row {row + 1:,} of {element.count:,} of '{element.name}'")
        if dtype.kind == "f":
            number = float(np.frombuffer(data, dtype, 1, place)[0])
            length = int(number) if number.is_integer() else -1
        else:
            order: Literal["big", "little"] = "big" if dtype.byteorder == ">" else "little"
            length = (
                data[place] if dtype == np.uint8 else int.from_bytes(data[place:end], order, signed=dtype.kind == "i")
            )
        place = end + length * column.dtype.itemsize
        if length < 0 or place > len(data):
            raise ValueError(f"row {row + 1:,} of '{element.name}' has a list of {length:,}, beyond the file's end")
        lengths.append(length)
    return lengths, place


def _joined(element: _Element, chunks: list[np.ndarray]) -> dict[str, Property]:
    found: dict[str, Property] = {}
    for number, column in enumerate(element.columns):
        native = column.dtype.newbyteorder("=")
        if column.length_dtype is None:
            parts = [chunk[f"{number}"] for chunk in chunks]
            found[column.name] = np.concatenate(parts).astype(native) if parts else np.zeros(0, native)
            continue
        values = [chunk[f"{number}"].reshape(-1) for chunk in chunks]
        lengths = [chunk[f"length{number}"].astype(np.int64) for chunk in chunks]
        found[column.name] = ListProperty(
            np.concatenate(lengths) if lengths else np.zeros(0, np.int64),
            np.concatenate(values).astype(native) if values else np.zeros(0, native),
        )
    return found
