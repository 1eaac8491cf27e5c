"""STL into triangles: ASCII or binary, with the colours of Materialise Magics and of VisCAM.

Source: the format's description by 3D Systems, 1989; the two conventions for the two spare bytes of a binary facet.
"""

import re

import numpy as np

from .number_text import NOT_A_NUMBER, parse_numbers
from .polygons import triangulate
from .shape_limits import ShapeBudget
from .shapes import DEFAULT_COLOR, ColorSource, MeshPart, TexturedMesh


HEADER_SIZE = 84
FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("spare", "<u2")])
# What writers leave in place of a count that they do not know yet.
UNKNOWN_COUNTS = (0, 2**32 - 1)
NAME = re.compile(rb"solid\b[^\n]*?(?=facet[ \t]*normal|\n|\Z)")
KEYWORDS = (b"facet normal", b"outer loop", b"vertex", b"endloop", b"endfacet")
CORNER_OR_LOOP = re.compile(rb"\b(?:outer\s*loop\b|vertex\s+(\S+)\s+(\S+)\s+(\S+))")


def read_stl(data: bytes) -> TexturedMesh:
    """Read an STL file; trailing bytes after the last facet are left out.

    Raises:
        ValueError: It is damaged or cut off.
    """
    count = int.from_bytes(data[80:HEADER_SIZE], "little") if len(data) >= HEADER_SIZE else 0
    # Many binary files begin with "solid" too, so the facets decide: the count that an ASCII file's characters make
    # is of more of them than any file has.
    if 0 < count <= (len(data) - HEADER_SIZE) // FACET.itemsize:
        return _read_binary(data, count, [])
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", "replace").encode()
    start = data[:1000].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"solid", b"facet")) and (re.search(rb"(?i)vertex", data) or count not in UNKNOWN_COUNTS):
        return _read_ascii(data.removeprefix(b"\xef\xbb\xbf"))
    fitting, extra = divmod(len(data) - HEADER_SIZE, FACET.itemsize)
    if count in UNKNOWN_COUNTS and fitting > 0 and extra == 0:
        return _read_binary(data, fitting, [f"the header announces {count:,} facets; the file's {fitting:,} are read"])
    if start.startswith(b"solid") and count == 0:
        return _read_ascii(data)
    raise ValueError(f"{len(data):,} bytes, too few for the {count:,} facets that it announces")


def _read_binary(data: bytes, count: int, warnings: list[str]) -> TexturedMesh:
    ShapeBudget(len(data)).take("faces", count)
    facets = np.frombuffer(data, FACET, count, HEADER_SIZE)
    colors, is_colored = _colors(data[:80], facets["spare"])
    extra = len(data) - HEADER_SIZE - count * FACET.itemsize
    if extra:
        warnings.append(f"{extra} bytes after the last facet left out")
    if not is_colored and facets["spare"].any():
        warnings.append("the two spare bytes of facets are not understood: colours have their highest bit set")
    corner_colors = np.repeat(colors[:, None], 3, axis=1)
    triangles = facets["corners"].astype(np.float64)
    source: ColorSource | None = "face colours" if is_colored else None
    return TexturedMesh([MeshPart(triangles, corner_colors, color_source=source)], warnings)


def _read_ascii(data: bytes) -> TexturedMesh:
    text = data.lower()
    if b"\r" in text:
        text = text.replace(b"\r", b"\n")
    text = NAME.sub(b"", text)
    is_colored = b"colo" in text and re.search(rb"(?m)^[ \t]*colou?r\b", text) is not None
    warnings = ["colours in an ASCII file are no part of the format, and left out"] if is_colored else []
    if b"#" in text or b"(" in text:
        text = NOT_A_NUMBER.sub(b"nan", text)
    ShapeBudget(len(data)).take("faces", text.count(b"vertex") // 3)
    corners = _plain_facets(text)
    if corners is None:
        corners = _other_facets(text, warnings)
    grey = np.full(corners.shape, DEFAULT_COLOR, np.uint8)
    return TexturedMesh([MeshPart(corners, grey, color_source=None)], warnings)


def _plain_facets(text: bytes) -> np.ndarray | None:
    """Corners, `(num_facets, 3, 3)`, of a file as the format has it, all at once; None of another."""
    counts = []
    for word in (*KEYWORDS, b"end"):  # of a name that was taken away
        size = len(text)
        text = text.replace(word, b" ")
        counts.append((size - len(text)) // (len(word) - 1))
    if counts[:-1] != [counts[0], counts[0], 3 * counts[0], counts[0], counts[0]]:
        return None
    try:
        numbers = parse_numbers(text)
    except ValueError:
        return None
    return numbers.reshape(-1, 4, 3)[:, 1:] if len(numbers) == 12 * counts[0] else None


def _other_facets(text: bytes, warnings: list[str]) -> np.ndarray:
    """The same of a file that was written otherwise: words joined, normals missing, polygons, other lines between."""
    loops: list[int] = []
    found: list[tuple[bytes, ...]] = []
    for match in CORNER_OR_LOOP.finditer(text):
        if match[1] is None:
            loops.append(len(found))
        else:
            found.append(match.groups())
    try:
        corners = np.array([[float(word) for word in words] for words in found], dtype=np.float64).reshape(-1, 3)
    except ValueError:
        hint = "; decimals have a point, not a comma" if any(b"," in word for words in found for word in words) else ""
        raise ValueError(f"a vertex holds what is no number{hint}") from None
    sizes = np.diff([*loops, len(found)]) if loops and not loops[0] else np.full(-(-len(found) // 3), 3)
    if int(sizes.sum()) != len(found) or (sizes < 3).any():
        raise ValueError(f"{len(found)} vertices; expected three a facet")
    triangles, _ = triangulate(corners, np.arange(len(corners)), sizes, warnings)
    return corners[triangles]


def _colors(header: bytes, spare: np.ndarray) -> tuple[np.ndarray, bool]:
    """uint8 of shape `(num_facets, 3)`, and whether the file says any."""
    grey = np.full((len(spare), 3), DEFAULT_COLOR, dtype=np.uint8)
    first, last = spare & 31, spare >> 10 & 31
    middle = spare >> 5 & 31
    has_bit = spare >> 15 == 1
    place = header.find(b"COLOR=")
    if place >= 0 and len(header) >= place + 10:
        # Magics: red first, and a set highest bit means the whole object's colour, as does a file of zeros.
        whole = np.frombuffer(header, np.uint8, 3, place + 6)
        own = np.stack([first, middle, last], axis=1)
        colors = np.where((has_bit | (not spare.any()))[:, None], whole, np.round(own * (255 / 31)))
        return colors.astype(np.uint8), True
    # VisCAM: blue first, and a set highest bit means that the colour is valid. Where others are not zero, the bytes
    # hold something else.
    if not has_bit.any() or spare[~has_bit].any():
        return grey, False
    own = np.round(np.stack([last, middle, first], axis=1) * (255 / 31)).astype(np.uint8)
    return np.where(has_bit[:, None], own, grey), True
