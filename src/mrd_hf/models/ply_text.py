"""The elements of a PLY file as arrays, ASCII or binary, with lists of any length.

The one reader of the whole format on PyPI, plyfile, is under the GPL, which users of this package may not be able to
take on; this one is therefore ours.

Source: Greg Turk's description of the format, 1994.
"""

from dataclasses import dataclass

import numpy as np

from .shape_limits import MAX_FACES


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
MAX_HEADER = 2**20


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
    """

    elements: dict[str, dict[str, Property]]
    comments: list[str]


def parse_ply(data: bytes) -> PlyText:
    """Parse a PLY file.

    Raises:
        ValueError: It is damaged or cut off; the message says where.
    """
    form, declared, comments, start = _header(data)
    elements: dict[str, dict[str, Property]] = {}
    if form == "ascii":
        words = data[start:].split()
        place = 0
        for element in declared:
            elements[element.name], place = _read_words(element, words, place)
        return PlyText(elements, comments)
    for element in declared:
        elements[element.name], start = _read_bytes(element, data, start)
    return PlyText(elements, comments)


def _header(data: bytes) -> tuple[str, list[_Element], list[str], int]:
    """The format, the elements, the comments, and where the header ends."""
    form, elements, comments = "", [], []
    place = 0
    ending = b"\n" if b"\n" in data[:MAX_HEADER] else b"\r"
    first = True
    while True:
        end = data.find(ending, place, MAX_HEADER)
        if end < 0:
            raise ValueError("its header has no line end_header")
        line, place = data[place:end].strip().decode("utf-8", "replace"), end + 1
        words = line.split()
        if first:
            if words != ["ply"]:
                raise ValueError("it does not begin with 'ply'")
            first = False
        elif not words:
            continue
        elif words[0] == "end_header":
            break
        elif words[0] in ("comment", "obj_info"):
            comments.append(line.partition(" ")[2].strip())
        elif words[0] == "format" and len(words) >= 2:
            form = words[1]
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
    if len(words) == 5 and words[1] == "list" and words[2] in TYPES and words[3] in TYPES:
        length = np.dtype(order + TYPES[words[2]])
        if length.kind in "iu":
            return _Column(words[4].lower(), np.dtype(order + TYPES[words[3]]), length)
    if len(words) == 3 and words[1] in TYPES:
        return _Column(words[2].lower(), np.dtype(order + TYPES[words[1]]))
    raise ValueError(f"the line {line[:60]!r} of its header is not understood")


def _record(element: _Element, lengths: list[int]) -> np.dtype:
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


def _read_bytes(element: _Element, data: bytes, start: int) -> tuple[dict[str, Property], int]:
    """An element's properties, and where the next element starts."""
    lists = [number for number, column in enumerate(element.columns) if column.length_dtype is not None]
    chunks: list[np.ndarray] = []
    row, place = 0, start
    while row < element.count:
        lengths = _lengths_at(element, data, place, row) if lists else []
        record = _record(element, lengths)
        fitting = element.count - row
        if record.itemsize:
            fitting = min(fitting, (len(data) - place) // record.itemsize)
        if fitting < 1:
            raise ValueError(f"it ends within row {row + 1:,} of {element.count:,} of '{element.name}'")
        # Rows whose lists have other lengths start another run; runs are tried ever longer, so that a file of
        # alternating triangles and quads is not looked through again and again.
        block = 1 if chunks and len(chunks[-1]) < 4 else fitting
        while True:
            rows = np.frombuffer(data, record, count=min(block, fitting), offset=place)
            same = np.ones(len(rows), dtype=bool)
            for number, length in zip(lists, lengths, strict=True):
                same &= rows[f"length{number}"] == length
            if not same.all():
                rows = rows[: int(np.argmin(same))]
                break
            if len(rows) == fitting:
                break
            block *= 4
        chunks.append(rows)
        row += len(rows)
        place += len(rows) * record.itemsize
    return _joined(element, chunks), place


def _lengths_at(element: _Element, data: bytes, place: int, row: int) -> list[int]:
    """The lengths of a row's lists."""
    lengths = []
    for column in element.columns:
        if column.length_dtype is None:
            place += column.dtype.itemsize
            continue
        if place + column.length_dtype.itemsize > len(data):
            raise ValueError(f"it ends within row {row + 1:,} of {element.count:,} of '{element.name}'")
        length = int(np.frombuffer(data, column.length_dtype, 1, place)[0])
        place += column.length_dtype.itemsize + length * column.dtype.itemsize
        if length < 0 or place > len(data):
            raise ValueError(f"row {row + 1:,} of '{element.name}' has a list of {length:,}, beyond the file's end")
        lengths.append(length)
    return lengths


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


def _read_words(element: _Element, words: list[bytes], place: int) -> tuple[dict[str, Property], int]:
    """The same of an ASCII file."""
    if element.count > 3 * MAX_FACES:
        raise ValueError(f"{element.count:,} rows of '{element.name}'; at most {3 * MAX_FACES:,} are read")
    if all(column.length_dtype is None for column in element.columns):
        width = len(element.columns)
        end = place + element.count * width
        if end > len(words):
            raise ValueError(f"it ends within '{element.name}', of which it announces {element.count:,} rows")
        table = _as_numbers(words[place:end], element.name).reshape(element.count, width)
        return {column.name: table[:, i].astype(_native(column)) for i, column in enumerate(element.columns)}, end
    columns: list[list[bytes]] = [[] for _ in element.columns]
    lengths: list[list[int]] = [[] for _ in element.columns]
    try:
        for _ in range(element.count):
            for number, column in enumerate(element.columns):
                length = 1
                if column.length_dtype is not None:
                    length = int(words[place])
                    lengths[number].append(length)
                    place += 1
                if length < 0 or place + length > len(words):
                    raise IndexError
                columns[number] += words[place : place + length]
                place += length
    except (IndexError, ValueError):
        raise ValueError(f"it ends, or has no number, within '{element.name}' of {element.count:,} rows") from None
    found: dict[str, Property] = {}
    for number, column in enumerate(element.columns):
        values = _as_numbers(columns[number], element.name).astype(_native(column))
        if column.length_dtype is None:
            found[column.name] = values
        else:
            found[column.name] = ListProperty(np.array(lengths[number], dtype=np.int64), values)
    return found, place


def _native(column: _Column) -> np.dtype:
    return column.dtype.newbyteorder("=")


def _as_numbers(words: list[bytes], name: str) -> np.ndarray:
    try:
        return np.array(words, dtype="S32").astype(np.float64) if words else np.zeros(0)
    except ValueError:
        raise ValueError(f"'{name}' holds what is no number") from None
