"""OFF as the tools write it: each a few lines, with the shape and the colours that they mean."""

import numpy as np
import pytest
from support.small_shapes import BLUE, GREEN, RED, area, bounds, colors_at, faces, mean_color, positions, read

from mrd_hf.models.shapes import DEFAULT_COLOR, MeshError, PointCloud


SQUARE = ["0 0 0", "1 0 0", "1 1 0", "0 1 0"]
UNIT = ([0, 0, 0], [1, 1, 0])


def off(word: str = "OFF", more: str = "", face: str = "4 0 1 2 3", counts: str = "4 1 4") -> str:
    """The unit square; `more` follows each vertex."""
    return "\n".join([word, counts, *(f"{row} {more}" for row in SQUARE), face, ""])


@pytest.mark.parametrize(
    "text",
    [
        off(),
        off().replace("\n", "\r\n"),
        off().replace("\n", "\r"),
        off().replace(" ", "\t "),
        off().rstrip(),
        "\ufeff" + off(),
        off("OFF4 1 4", counts=""),  # ModelNet's
        off("OFF 4 1 4", counts=""),
        off("OFF 4 1", counts=""),
        off(counts="4 1"),
        off(counts="4\n1\n4"),
        off(counts="4 1 4")[4:],  # without the word
        off("off"),
        "# made by\n\n" + off().replace("\n", " # and on\n\n \n"),
        off("OFF # 8 6 12"),
        off(face="3 0 1 2\n3 0 2 3", counts="4 2 5"),
        off(face="3 0 1 2\n 3 0 2 3\n2 0 1\n", counts="4 3 0").replace("4 3 0", "4 2 0").replace("2 0 1\n", ""),
        off().replace("4 0 1 2 3", "4  0  1\n2 3"),  # over several lines, and several in one
        off().replace("1 1 0 \n0 1 0 \n", "1 1 0 0 1 0\n"),
        "OFF 4 1 4 0 0 0 1 0 0 1 1 0 0 1 0 4 0 1 2 3",
        off().replace("1 1 0", "1.0 1e0 0.0E+00").replace("0 1 0", "-0 +1. .0"),
        off("NOFF", "0 0 1"),
        off("NOFF", "0 0 -1"),
        off("4OFF", "1"),
        off("4OFF", "2").replace("1 1 0 ", "2 2 0 ").replace("1 0 0 ", "2 0 0 ").replace("0 1 0 ", "0 2 0 "),
        off("N4OFF", "1 0 0 1"),
        off() + "\x1a",
    ],
)
def test_a_square(tmp_path, text):
    shape = read(tmp_path, "a.off", text.encode())
    assert bounds(shape) == UNIT and area(shape) == 1 and faces(shape) == 2
    assert mean_color(shape) is None and shape.warnings == []


@pytest.mark.parametrize(
    "text",
    [
        off("COFF", "200 100 50 255"),
        off("COFF", "200 100 50"),
        off("COFF", "0.784314 0.392157 0.196078 1"),
        off("COFF", "200.0 100.0 50.0 255.0"),
        off("CNOFF", "0 0 1 200 100 50 255"),  # the manual's order: normal, colour
        off("NCOFF", "200 100 50 255 0 0 1"),  # MeshLab's
        off("NCOFF", "0.784314 0.392157 0.196078 1 0 0.6 -0.8"),
        off("CNOFF", "0 0.6 -0.8 0.784314 0.392157 0.196078"),
        off("C4OFF", "1 200 100 50 0"),
        off("OFF", "200 100 50"),  # without the prefix
        off("OFF", "200 100 50 255"),
        off(face="4 0 1 2 3 200 100 50"),
        off(face="4 0 1 2 3 200 100 50 128"),
        off(face="4 0 1 2 3  0.784314 0.392157 0.196078"),
        off(face="4 0 1 2 3  0.784314 0.392157 0.196078 0.5 # copper"),
        off(face="4 0 1 2 3 7.84314e-1 3.92157e-1 1.96078e-1"),
        off("NOFF", "0 0 1", face="4 0 1 2 3 200 100 50"),
        off("COFF", "0 0 255 255", face="4 0 1 2 3 200 100 50"),  # of a face before those of its vertices
    ],
)
def test_colors(tmp_path, text):
    shape = read(tmp_path, "a.off", text)
    assert area(shape) == 1 and mean_color(shape) == [200, 100, 50] and shape.warnings == []


@pytest.mark.parametrize(
    ("text", "color"),
    [
        (off(face="4 0 1 2 3 1 0 0"), RED),  # 1 where none is beyond it is the brightest
        (off(face="4 0 1 2 3 1 0.5 0"), (255, 128, 0)),
        (off("COFF", "0 1 0 1"), GREEN),
        (off("COFF", "0 0 0 0"), (0, 0, 0)),
    ],
)
def test_ones_in_colors(tmp_path, text, color):
    assert mean_color(read(tmp_path, "a.off", text)) == list(color)


def test_texture_coordinates_are_left_out(tmp_path):
    for word, more in (("STOFF", "0.5 0.25"), ("STCNOFF", "0 0 1 200 100 50 255 0.5 0.25")):
        shape = read(tmp_path, "a.off", off(word, more))
        assert area(shape) == 1 and shape.warnings == ["texture coordinates without a texture left out"]
        assert mean_color(shape) == ([200, 100, 50] if "C" in word else None)


def test_polygons_and_colors_of_some_faces(tmp_path):
    # A triangle by number, a square in red, an L without a colour, another square in blue, and a line.
    rows = ["0 0 0", "1 0 0", "0 1 0", "2 0 0", "3 0 0", "3 1 0", "2 1 0", "5 0 0", "7 0 0", "7 1 0", "6 1 0"]
    rows += ["6 2 0", "5 2 0", "9 0 0", "10 0 0", "10 1 0", "9 1 0"]
    polygons = ["3 0 1 2 7", "4 3 4 5 6 255 0 0", "6 7 8 9 10 11 12", "4 13 14 15 16 0 0 255 255", "2 0 1"]
    shape = read(tmp_path, "a.off", "\n".join(["OFF", "17 5 0", *rows, *polygons]))
    assert area(shape) == 0.5 + 1 + 3 + 1 and faces(shape) == 1 + 2 + 4 + 2
    seen = [colors_at(shape, place) for place in ((0.2, 0.2, 0), (2.5, 0.5, 0), (5.5, 1.5, 0), (9.5, 0.5, 0))]
    assert seen == [{DEFAULT_COLOR}, {RED}, {DEFAULT_COLOR}, {BLUE}]
    assert shape.warnings == [
        "colours of 1 faces left out: numbers of a colour map",
        "1 faces of fewer than three corners left out",
    ]


def test_vertices_without_faces_are_a_cloud(tmp_path):
    for text in (off(face="", counts="4 0 0"), off(face="", counts="4"), off("COFF", "9 8 7 255", "", "4 0 0")):
        shape = read(tmp_path, "a.off", text)
        assert isinstance(shape, PointCloud) and bounds(shape) == UNIT and len(positions(shape)) == 4
        assert mean_color(shape) == ([9, 8, 7] if "C" in text else None)


def test_normals_without_their_prefix_are_no_colors(tmp_path):
    shape = read(tmp_path, "a.off", off("OFF", "0 0 -1"))
    assert mean_color(shape) is None
    assert shape.warnings == ["up to 3 numbers after vertices left out: colours are 3 or 4 of every vertex"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("solid\n", "it does not begin with OFF"),
        ("OFFICE\n4 1 4\n", "it does not begin with OFF"),
        ("OFF\n", "it ends after its first word"),
        (off("OFF BINARY"), "binary OFF is not read; convert it to ASCII or PLY"),
        (off("nOFF"), "nOFF, of any number of coordinates, is not read"),
        (off("4nOFF"), "nOFF, of any number of coordinates, is not read"),
        (off(counts="four 1 4"), "'four' is no number"),
        (off(counts="-4 1 4"), "the counts of vertices and faces are no numbers"),
        (off(counts="4.5 1 4"), "the counts of vertices and faces are no numbers"),
        (off(counts="5 1 4"), "announces 5 vertices and 1 faces, and has 5 lines"),
        (off(counts="4 2 4"), "announces 4 vertices and 2 faces, and has 5 lines"),
        (off(counts="4000000000000 2 4"), "4,000,000,000,000 points; at most"),
        (off(face="4 0 1 2"), "announces 4 vertices and 1 faces, and has 5 lines"),
        (off(face="4 0 1 2 4"), r"a face names a vertex that does not exist \(there are 4\)"),
        (off(face="4 0 1 2 -1"), "a face names a vertex that does not exist"),
        (off(face="4 0 1 2 2.5"), "a face names a corner by what is no whole number"),
        (off(face="2.5 0 1 2 3"), "the number of a face's corners is no whole number"),
        (off(face="4 0 1 2 x"), "'x' is no number"),
        (off("COFF", "255 0"), "a vertex has 5 numbers, expected 6|announces 4 vertices"),
        (off("NOFF", "0 1"), "a vertex has 5 numbers, expected 6|announces 4 vertices"),
        (off("COFF", "300 0 0 255"), "colours from 0 to 300; expected numbers in 0..1, or whole ones in 0..255"),
        (off("COFF", "-1 0 1 1"), "colours from -1 to 1; expected"),
        (off(face="4 0 1 2 3 12.5 0 0"), "colours from 0 to 12.5; expected"),
    ],
)
def test_what_cannot_be_read(tmp_path, text, message):
    with pytest.raises(MeshError, match=rf"a\.off: .*({message})"):
        read(tmp_path, "a.off", text)


def test_a_vertex_that_is_not_finite_takes_its_faces_along(tmp_path):
    for text in (off().replace("0 1 0", "0 -nan(ind) 0"), off("4OFF", "1").replace("0 1 0 1", "0 1 0 0")):
        shape = read(tmp_path, "a.off", text)
        assert faces(shape) == 1 and np.isfinite(positions(shape)).all()
        assert shape.warnings == ["1 of 2 faces dropped: vertices that are not finite"]
