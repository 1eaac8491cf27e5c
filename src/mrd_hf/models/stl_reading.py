"""STL into triangles: ASCII or binary, with the colours of Materialise Magics and of VisCAM.

Source: the format's description by 3D Systems, 1989; the two conventions for the two spare bytes of a binary facet.
"""

import re

import numpy as np

from .shape_limits import ShapeBudget
from .shapes import DEFAULT_COLOR, ColorSource, MeshPart, TexturedMesh


HEADER_SIZE = 84
FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("spare", "<u2")])


def read_stl(data: bytes) -> TexturedMesh:
    """Read an STL file; trailing bytes after the last facet are left out.

    Raises:
        ValueError: It is damaged or cut off.
    """
    count = int.from_bytes(data[80:HEADER_SIZE], "little") if len(data) >= HEADER_SIZE else 0
    complete = len(data) >= HEADER_SIZE and HEADER_SIZE + count * FACET.itemsize <= len(data)
    # Many binary files begin with "solid" too, so the facets decide; those of an ASCII file do not add up.
    looks_ascii = data.lstrip()[:5].lower() == b"solid" and b"vertex" in data[:4096].lower()
    if looks_ascii or not complete:
        if not looks_ascii and data.lstrip()[:5].lower() != b"solid":
            raise ValueError(f"{len(data):,} bytes, too few for the {count:,} facets that it announces")
        return _read_ascii(data)
    ShapeBudget(len(data)).take("faces", count)
    facets = np.frombuffer(data, FACET, count, HEADER_SIZE)
    colors, is_colored = _colors(data[:80], facets["spare"])
    extra = len(data) - HEADER_SIZE - count * FACET.itemsize
    warnings = [f"{extra} bytes after the last facet left out"] if extra else []
    if not is_colored and facets["spare"].any():
        warnings.append("the two spare bytes of facets are not understood: colours have their highest bit set")
    corner_colors = np.repeat(colors[:, None], 3, axis=1)
    triangles = facets["corners"].astype(np.float64)
    source: ColorSource | None = "face colours" if is_colored else None
    return TexturedMesh([MeshPart(triangles, corner_colors, color_source=source)], warnings)


def _read_ascii(data: bytes) -> TexturedMesh:
    words = re.findall(rb"(?i)\bvertex\s+(\S+)\s+(\S+)\s+(\S+)", data)
    ShapeBudget(len(data)).take("faces", len(words) // 3)
    if len(words) % 3:
        raise ValueError(f"{len(words)} vertices; expected three a facet")
    try:
        corners = np.array(words, dtype="S32").astype(np.float64).reshape(-1, 3, 3) if words else np.zeros((0, 3, 3))
    except ValueError:
        raise ValueError("a vertex holds what is no number") from None
    is_colored = re.search(rb"(?im)^\s*colou?r\b", data) is not None
    warnings = ["colours in an ASCII file are no part of the format, and left out"] if is_colored else []
    grey = np.full(corners.shape, DEFAULT_COLOR, np.uint8)
    return TexturedMesh([MeshPart(corners, grey, color_source=None)], warnings)


def _colors(header: bytes, spare: np.ndarray) -> tuple[np.ndarray, bool]:
    """uint8 of shape `(num_facets, 3)`, and whether the file says any."""
    grey = np.full((len(spare), 3), DEFAULT_COLOR, dtype=np.uint8)
    first, last = spare & 31, spare >> 10 & 31
    middle = spare >> 5 & 31
    place = header.find(b"COLOR=")
    if place >= 0 and len(header) >= place + 10:
        # Magics: red first, and a set highest bit means the whole object's colour.
        whole = np.frombuffer(header, np.uint8, 3, place + 6)
        own = np.stack([first, middle, last], axis=1)
        colors = np.where((spare >> 15 == 1)[:, None], whole, np.round(own * (255 / 31)))
        return colors.astype(np.uint8), True
    # VisCAM: blue first, and a set highest bit means that the colour is valid.
    valid = spare >> 15 == 1
    if not valid.any():
        return grey, False
    own = np.round(np.stack([last, middle, first], axis=1) * (255 / 31)).astype(np.uint8)
    return np.where(valid[:, None], own, grey), True
