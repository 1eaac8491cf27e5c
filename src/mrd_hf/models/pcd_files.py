"""Read points and colours of a .pcd file, the format of the Point Cloud Library (PCL).

A header of keywords (FIELDS, SIZE, TYPE, COUNT, WIDTH, HEIGHT, POINTS), one a line, ends with DATA, which is `ascii`,
`binary` (one record a point) or `binary_compressed` (one field after another, packed with LZF). Colours are a field
`rgb` or `rgba`, 0xAARRGGBB in four bytes, often declared to be a float, or three fields `r`, `g` and `b`.

Source: https://pointclouds.org/documentation/tutorials/pcd_file_format.html. Its one reader on PyPI, pypcd4, needs a
C compiler for its LZF module, which is why there is one here.
"""

from dataclasses import dataclass

import numpy as np

from .number_text import NOT_A_NUMBER, parse_numbers
from .shape_colors import names_like_colors, stored_colors_as_bytes
from .shape_limits import ShapeBudget, check_size
from .shapes import ColoredPoints, PointCloud


MAX_HEADER = 2**16
KINDS = {"F": "f", "U": "u", "I": "i"}
COLOR_NAMES = (("r", "g", "b"), ("red", "green", "blue"))


@dataclass(frozen=True)
class PcdHeader:
    """A .pcd file's header, as far as it is needed.

    Args:
        names (`list[str]`): Of the fields; padding is "_" and may occur several times.
        types (`list[np.dtype]`): Of a single element of each field.
        counts (`list[int]`): Elements of each field.
        num_points (`int`): Points in the file.
        data (`str`): "ascii", "binary" or "binary_compressed".
    """

    names: list[str]
    types: list[np.dtype]
    counts: list[int]
    num_points: int
    data: str


def read_pcd(content: bytes) -> PointCloud:
    """The points of a .pcd file.

    Points whose coordinates are all NaN are left out: that is how the format marks the pixels of an organised cloud
    which have no depth. VIEWPOINT, the sensor's place, is not applied, as PCL does not either.

    Args:
        content (`bytes`): The whole file.

    Returns:
        `PointCloud`: float64 positions and uint8 colours.

    Raises:
        ValueError: It is damaged, cut off, or has no x, y and z.
    """
    header, body = _split(content)
    ShapeBudget(len(content)).take("points", header.num_points)
    columns = _columns(header, body)
    missing = [name for name in "xyz" if name not in columns]
    if missing:
        raise ValueError(f"no field '{missing[0]}' (it has {', '.join(header.names)})")
    xyz = np.stack([columns[name].astype(np.float64) for name in "xyz"], axis=1)
    has_depth = ~np.isnan(xyz).all(axis=1)
    xyz = xyz[has_depth]
    packed = columns.get("rgb", columns.get("rgba"))
    separate = next((names for names in COLOR_NAMES if all(name in columns for name in names)), None)
    if packed is None and separate is None:
        unknown = names_like_colors(header.names)
        warnings = [f"colours not understood: fields {', '.join(unknown)}"] if unknown else []
        return PointCloud(ColoredPoints(xyz, None), None, warnings)
    if packed is None:
        values = [columns[name][has_depth] for name in separate or ()]
        rgb = stored_colors_as_bytes(
            np.stack([value.astype(value.dtype.newbyteorder("=")) for value in values], axis=1)
        )
        return PointCloud(ColoredPoints(xyz, rgb), "vertex colours")
    if packed.dtype.itemsize != 4:
        raise ValueError(f"its colours are of type {packed.dtype}; expected 4 bytes, 0xAARRGGBB")
    if header.data == "ascii" and packed.dtype.kind == "f" and np.isnan(packed[has_depth]).any():
        # Those of an opacity of 255 are no numbers as floats; written as nan they are lost.
        return PointCloud(ColoredPoints(xyz, None), None, ["colours left out: written as nan, so that they are lost"])
    bits = np.ascontiguousarray(packed).view("<u4")[has_depth]
    rgb = np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=1).astype(np.uint8)
    return PointCloud(ColoredPoints(xyz, rgb), "vertex colours")


def _split(content: bytes) -> tuple[PcdHeader, bytes]:
    """The header, and what comes after it."""
    fields: dict[str, list[str]] = {}
    end = 0
    ending = b"\n" if b"\n" in content[:MAX_HEADER] else b"\r"
    while "DATA" not in fields:
        start, end = end, content.find(ending, end) + 1
        if end == 0:
            raise ValueError("its header has no line DATA, so it is no .pcd file or is cut off")
        words = content[start:end].decode("latin-1").split()
        if words and not words[0].startswith("#"):
            fields[words[0].upper()] = words[1:]
    try:
        # Files of the first versions call them columns, all of four bytes.
        names = [name.lower() for name in (fields["COLUMNS"] if "COLUMNS" in fields else fields["FIELDS"])]
        counts = [int(count) for count in fields.get("COUNT", ["1"] * len(names))]
        kinds, sizes = fields.get("TYPE", ["F"] * len(names)), fields.get("SIZE", ["4"] * len(names))
        types = [np.dtype(f"<{KINDS[kind.upper()]}{int(size)}") for kind, size in zip(kinds, sizes, strict=True)]
        if "POINTS" in fields:
            num_points = int(fields["POINTS"][0])
        else:
            num_points = int(fields["WIDTH"][0]) * int(fields.get("HEIGHT", ["1"])[0])
        data = " ".join(fields["DATA"]).lower()
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise ValueError(f"its header is not that of a .pcd file ({type(error).__name__}: {error})") from error
    if not len(names) == len(types) == len(counts) or min(counts, default=-1) < 0 or num_points < 0:
        raise ValueError("FIELDS, SIZE, TYPE and COUNT of its header do not fit each other")
    if data not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(f"DATA {data} is not known; expected ascii, binary or binary_compressed")
    return PcdHeader(names, types, counts, num_points, data), content[end:]


def _columns(header: PcdHeader, body: bytes) -> dict[str, np.ndarray]:
    """First elements of the fields, of shape `(num_points,)`, by name: at least those of positions and colours."""
    if header.data == "ascii":
        width = sum(header.counts)
        text = body.rstrip(b"\0\x1a")
        if b"#" in text or b"(" in text:
            text = NOT_A_NUMBER.sub(b"nan", text)
        values = parse_numbers(text)
        if len(values) != header.num_points * width:
            raise ValueError(f"{len(values)} values; expected {header.num_points} points of {width}")
        table = values.reshape(header.num_points, width)
        columns = {}
        firsts = np.cumsum([0, *header.counts[:-1]])
        wanted = {*"xyz", "rgb", "rgba", *COLOR_NAMES[0], *COLOR_NAMES[1]}
        for name, dtype, first, count in zip(header.names, header.types, firsts, header.counts, strict=True):
            if count and name in wanted:
                columns[name] = _as_declared(table[:, first], dtype, name)
        return columns
    if header.data == "binary":
        layout: list[tuple] = [
            (str(i), dtype, (count,)) for i, (dtype, count) in enumerate(zip(header.types, header.counts, strict=True))
        ]
        record = np.dtype(layout)
        if len(body) < header.num_points * record.itemsize:
            raise ValueError(f"{len(body)} bytes of data; expected {header.num_points} points of {record.itemsize}")
        records = np.frombuffer(body, record, count=header.num_points)
        # Of a field of no element, as a lidar's padding may be, there is nothing.
        return {name: records[str(i)][:, 0] for i, name in enumerate(header.names) if header.counts[i]}
    packed_size, size = (int.from_bytes(body[start : start + 4], "little") for start in (0, 4))
    if len(body) < 8 + packed_size:
        raise ValueError("its compressed data are cut off")
    check_size(len(body), size)
    if sum(count * dtype.itemsize for count, dtype in zip(header.counts, header.types, strict=True)) == 0:
        raise ValueError("its points have no fields")
    packed = body[8 : 8 + packed_size]
    # What cannot be made smaller is stored as it is.
    unpacked = packed if packed_size == size else decompress_lzf(packed, size)
    columns = {}
    start = 0
    whole = sum(count * dtype.itemsize for dtype, count in zip(header.types, header.counts, strict=True))
    has_padding = len(unpacked) == header.num_points * whole
    for name, dtype, count in zip(header.names, header.types, header.counts, strict=True):
        if name == "_" and not has_padding:
            continue  # PCL leaves padding out of compressed data
        end = start + header.num_points * count * dtype.itemsize
        if count:
            columns[name] = np.frombuffer(unpacked[start:end], dtype).reshape(-1, count)[:, 0]
        start = end
    if len(unpacked) != start:
        raise ValueError(f"{len(unpacked)} bytes of uncompressed data; expected {start}")
    return columns


def _as_declared(values: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """Numbers of an ASCII file in the type that its header says.

    Raises:
        ValueError: They do not fit it.
    """
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    limits = np.iinfo(dtype)
    # Packed colours may be written with a sign where the type has none, and the other way round.
    low, high = min(limits.min, np.iinfo(f"i{dtype.itemsize}").min), max(limits.max, 2 ** (8 * dtype.itemsize) - 1)
    fitting = (values >= low) & (values <= high) & (values == np.trunc(values))  # False for nan
    if name in ("rgb", "rgba"):
        fitting |= np.isnan(values)  # of pixels without depth
    if not fitting.all():
        raise ValueError(
            f"its field '{name}' holds {values[int(np.argmin(fitting))]:g}, which is no number of {dtype}"
        )
    return np.nan_to_num(values).astype(np.int64).astype(dtype)


def decompress_lzf(packed: bytes, size: int) -> bytes:
    """Undo LZF compression: runs of literal bytes, and references to what came up to 8 KiB earlier.

    Source: the layout in Marc Lehmann's liblzf.

    Raises:
        ValueError: The data are damaged, or do not have `size` bytes.
    """
    unpacked = bytearray()
    position = 0
    try:
        while position < len(packed):
            control = packed[position]
            position += 1
            if control < 32:
                unpacked += packed[position : position + control + 1]
                position += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += packed[position]
                position += 1
            start = len(unpacked) - ((control & 31) << 8) - packed[position] - 1
            position += 1
            if start < 0:
                raise ValueError("its compressed data are damaged: a reference to before their start")
            source = unpacked[start : start + length + 2]
            # A reference may reach into what it makes: then it repeats.
            unpacked += (source * (-(-(length + 2) // len(source))))[: length + 2]
            if len(unpacked) > size:
                break
    except IndexError:
        raise ValueError("its compressed data are cut off") from None
    if len(unpacked) != size:
        raise ValueError(f"its compressed data unpack to {len(unpacked)} bytes or more; its header says {size}")
    return bytes(unpacked)
