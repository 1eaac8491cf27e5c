"""STL as the tools write it: two triangles, in ASCII or binary, with the colours that they mean."""

import struct

import numpy as np
import pytest
from support.small_shapes import BLUE, RED, area, bounds, colors_at, faces, mean_color, positions, read

from mrd_hf.models.shapes import DEFAULT_COLOR, MeshError


LOW, HIGH = ((0, 0, 0), (1, 0, 0), (1, 1, 0)), ((0, 0, 0), (1, 1, 0), (0, 1, 0))
UNIT = ([0, 0, 0], [1, 1, 0])


def ascii_facet(corners=LOW, normal="0 0 1") -> str:
    vertices = "".join("   vertex " + " ".join(map(str, corner)) + "\n" for corner in corners)
    return f" facet normal {normal}\n  outer loop\n{vertices}  endloop\n endfacet\n"


def solid(name: str = "part", end: str | None = None) -> str:
    return f"solid {name}\n{ascii_facet()}{ascii_facet(HIGH)}{f'endsolid {name}' if end is None else end}\n"


def binary(header: bytes = b"", spare: tuple[int, int] = (0, 0), count: int = 2) -> bytes:
    content = header.ljust(80, b"\0") + struct.pack("<I", count)
    for corners, attribute in zip((LOW, HIGH), spare, strict=True):
        content += struct.pack("<12fH", 0, 0, 1, *np.ravel(corners), attribute)
    return content


def is_unit_square(shape) -> bool:
    return bounds(shape) == UNIT and area(shape) == 1 and faces(shape) == 2


@pytest.mark.parametrize(
    "text",
    [
        solid(),
        solid(""),
        solid("my vertex of 1 2 3 parts"),
        solid("vertex 9 9 9"),
        solid("facet vertex 9 9 9 loop"),
        solid("outer loop of vertex 1 2 3"),
        solid("T\u00fcr \u7ea2"),
        solid("color"),
        solid("x" * 5000),  # a name that is longer than what is looked at first
        solid(end=""),
        solid(end="end solid part"),
        solid(end="endsolid"),
        solid(end="endsolid vertex 1 2 3"),
        solid().rstrip(),
        solid().replace("\n", "\r\n"),
        solid().replace("\n", "\r"),
        solid().replace(" ", "\t"),
        solid().upper(),
        solid().title(),
        "\n  \n" + solid(),
        "\ufeff" + solid(),
        solid().replace("facet normal", "facetnormal"),
        solid().replace("outer loop", "outerloop"),
        solid().replace("facet normal 0 0 1", "facet   normal  0  0  1"),
        solid().replace("facet normal 0 0 1", "facet"),
        solid().replace("normal 0 0 1", "normal nan nan nan"),
        solid().replace("normal 0 0 1", "normal -nan(ind) 1.#QNAN -1.#IND"),
        solid().replace("1 0 0", "1.000000e+00 0.E-3 -.0").replace("vertex 1 1 0", "vertex +1 10e-1 0"),
        solid().replace("endloop\n", "endloop \n\n"),
        solid().replace("\n", " "),  # all in one line
        f"solid a\n{ascii_facet()}endsolid a\nsolid b\n{ascii_facet(HIGH)}endsolid b\n",  # several
        f"solid a\n{ascii_facet()}solid b\n{ascii_facet(HIGH)}",
        solid().replace("solid part\n", "", 1),  # without the first line
        solid().replace("outer loop", "outer loop # first"),
        f"solid a\n{ascii_facet(((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)))}endsolid\n",  # a facet of four corners
        solid() + "\0\0\x1a",
    ],
)
def test_ascii(tmp_path, text):
    shape = read(tmp_path, "a.stl", text.encode())
    assert is_unit_square(shape) and mean_color(shape) is None and shape.warnings == []


def test_utf_16(tmp_path):
    assert is_unit_square(read(tmp_path, "a.stl", solid().encode("utf-16")))


@pytest.mark.parametrize(
    ("header", "tail", "warning"),
    [
        (b"", b"", None),
        (b"solid part exported by a CAD program", b"", None),
        (b"solid vertex facet normal outer loop", b"", None),
        (b"SOLID\nfacet normal 0 0 1\nvertex 1 2 3", b"", None),
        (b"\xef\xbb\xbfsolid", b"", None),
        (b" " * 80, b"", None),
        (b"STLB ATF 9.6 COLOR", b"", None),
        (b"solid", b"\0\0", "2 bytes after the last facet left out"),
        (b"", b"endsolid", "8 bytes after the last facet left out"),
        (b"", bytes(50), "50 bytes after the last facet left out"),
    ],
)
def test_binary(tmp_path, header, tail, warning):
    shape = read(tmp_path, "a.stl", binary(header) + tail)
    assert is_unit_square(shape) and mean_color(shape) is None
    assert shape.warnings == ([] if warning is None else [warning])


@pytest.mark.parametrize("count", [0, 2**32 - 1])
@pytest.mark.parametrize("header", [b"", b"solid"])
def test_a_count_that_was_never_filled_in(tmp_path, count, header):
    shape = read(tmp_path, "a.stl", binary(header, count=count))
    assert is_unit_square(shape)
    assert shape.warnings == [f"the header announces {count:,} facets; the file's 2 are read"]


def test_a_count_that_is_too_small_is_kept_to(tmp_path):
    shape = read(tmp_path, "a.stl", binary(count=1))
    assert faces(shape) == 1 and shape.warnings == ["50 bytes after the last facet left out"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"not a mesh", "10 bytes, too few for the 0 facets"),
        (binary(count=3), "184 bytes, too few for the 3 facets that it announces"),
        (binary()[:-1], "183 bytes, too few for the 2 facets"),
        (binary(b"solid")[:-10], "174 bytes, too few for the 2 facets|0 vertices|no faces"),
        (binary()[:50], "50 bytes, too few"),
        (binary(count=0)[:-7], "177 bytes, too few"),
        (solid()[: solid().rindex("vertex")].encode(), "5 vertices; expected three a facet"),
        (solid().replace("   vertex 1 0 0\n", "").encode(), "5 vertices; expected three a facet"),
        (solid().replace("1 0 0", "1,0 0,0 0,0").encode(), "no number; decimals have a point, not a comma"),
        (solid().replace("1 0 0", "one 0 0").encode(), "a vertex holds what is no number"),
        (b"solid empty\nendsolid empty\n", "no faces and no points"),
        (b"solid " + b"x" * 100, "no faces and no points|too few"),
    ],
)
def test_what_cannot_be_read(tmp_path, content, message):
    with pytest.raises(MeshError, match=rf"a\.stl: .*({message})"):
        read(tmp_path, "a.stl", content)


@pytest.mark.parametrize("is_binary", [False, True])
def test_a_corner_that_is_not_finite_takes_its_facet_along(tmp_path, is_binary):
    nan = struct.pack("<3fH", 0, np.nan, 0, 0)
    content = binary()[: -len(nan)] + nan if is_binary else solid().replace("0 1 0", "0 nan 0")
    shape = read(tmp_path, "a.stl", content)
    assert faces(shape) == 1 and np.isfinite(positions(shape)).all()
    assert shape.warnings == ["1 of 2 faces dropped: vertices that are not finite"]


def five_bits(high: int, first: int, second: int, third: int) -> int:
    """The spare bytes, from their highest bit on."""
    return high << 15 | first << 10 | second << 5 | third


# 31 is 255; 24 of 31 is 197, 12 is 99, 6 is 49.
VISCAM = five_bits(1, 24, 12, 6)  # red, green, blue
MAGICS = five_bits(0, 6, 12, 24)  # blue, green, red
WHOLE = b"COLOR=" + bytes([10, 20, 30, 255]) + b",MATERIAL=" + bytes(range(12))


@pytest.mark.parametrize(
    ("header", "spare", "low", "high"),
    [
        (b"", (VISCAM, VISCAM), (197, 99, 49), (197, 99, 49)),
        (b"solid", (five_bits(1, 31, 0, 0), five_bits(1, 0, 0, 31)), RED, BLUE),
        (b"", (five_bits(1, 31, 0, 0), 0), RED, DEFAULT_COLOR),
        (WHOLE, (MAGICS, MAGICS), (197, 99, 49), (197, 99, 49)),
        (WHOLE, (five_bits(0, 0, 0, 31), five_bits(1, 0, 0, 31)), RED, (10, 20, 30)),
        (WHOLE, (0x8000, 0xFFFF), (10, 20, 30), (10, 20, 30)),
        (WHOLE, (0, 0), (10, 20, 30), (10, 20, 30)),  # no facet has its own
        (WHOLE, (0, 0x8000), (0, 0, 0), (10, 20, 30)),
        (b"made by a program, " + WHOLE[:10], (0, 0), (10, 20, 30), (10, 20, 30)),
    ],
)
def test_colors_of_facets(tmp_path, header, spare, low, high):
    shape = read(tmp_path, "a.stl", binary(header, spare))
    assert is_unit_square(shape) and shape.warnings == []
    assert low in colors_at(shape, (1.2, -0.2, 0)) and high in colors_at(shape, (-0.2, 1.2, 0))
    assert colors_at(shape, (0.5, 0.5, 0)) == {low, high}


@pytest.mark.parametrize("spare", [(1, 2), (0x7FFF, 0x7FFF), (0x8001, 0x0001), (0xBEEF, 0x1234)])
def test_spare_bytes_that_are_no_colors(tmp_path, spare):
    shape = read(tmp_path, "a.stl", binary(b"", spare))
    assert is_unit_square(shape) and mean_color(shape) is None
    assert shape.warnings == ["the two spare bytes of facets are not understood: colours have their highest bit set"]


def test_colors_in_ascii_are_said(tmp_path):
    shape = read(tmp_path, "a.stl", solid().replace("  outer loop", "color 0.5 0.5 0.5\n  outer loop"))
    assert is_unit_square(shape)
    assert shape.warnings == ["colours in an ASCII file are no part of the format, and left out"]
