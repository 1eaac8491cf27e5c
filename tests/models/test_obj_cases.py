"""OBJ and MTL as the tools write them: each a few lines, with the shape and the colours that they mean."""

import struct
import zlib

import numpy as np
import pytest
from support.small_shapes import (
    BLUE,
    FOUR,
    FOUR_QUARTERS,
    GREEN,
    RED,
    YELLOW,
    area,
    bounds,
    colors_at,
    faces,
    mean_color,
    picture,
    quarters,
    read,
)

from mrd_hf.models.shape_files import colored_points
from mrd_hf.models.shapes import DEFAULT_COLOR, MeshError, PointCloud, TexturedMesh


CORNERS = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
UVS = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
TEXTURED = f"mtllib a.mtl\n{CORNERS}{UVS}usemtl m\nf 1/1 2/2 3/3 4/4\n"
UNIT = ([0, 0, 0], [1, 1, 0])


@pytest.mark.parametrize(
    "text",
    [
        CORNERS + "f 1 2 3 4",  # no line end at the end of the file
        (CORNERS + "f 1 2 3 4\n").replace("\n", "\r\n"),
        (CORNERS + "f 1 2 3 4\n").replace("\n", "\r"),
        (CORNERS + "f 1 2 3 4\n").replace(" ", "\t"),
        (CORNERS + "f 1 2 3 4\n").replace(" ", " \t  ").replace("\n", " \t\n"),
        "  " + (CORNERS + "f 1 2 3 4").replace("\n", "\n\t "),
        "\n\n" + (CORNERS + "f 1 2 3 4\n").replace("\n", "\n\n \n"),
        "\ufeff" + CORNERS + "f 1 2 3 4\n",
        CORNERS + "f 1 2 3 4\n\x1a",
        CORNERS + "f 1 2 3 4\n\0\0\0",
        # Continued lines: within numbers' lines, within faces, with spaces after, of every kind of line end.
        "v 0 \\\n0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 \\\n3 \\\n4\n",
        ("v 0 \\ \n0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 \\\n\t3 4\n").replace("\n", "\r\n"),
        ("v 0 0 \\\n0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 \\\n2 3 4\n").replace("\n", "\r"),
        # A comment's backslash at the end does not swallow the vertex after it.
        "# C:\\models\\\n" + CORNERS + "f 1 2 3 4\n",
        # Comments at the ends of lines, with and without a space.
        "v 0 0 0 # one\nv 1 0 0# 2\nv 1 1 0 #\nv 0 1 0\t#four 4 4\nf 1 2 3 4 # 5 6 7\n",
        # Numbers as the languages print them.
        "v .0 -0 +0\nv 1. 0e0 0\nv 1.e+00 10E-01 0.e-3\nv 0 +1 1e-400\nf +1 2 3 4\n",
        # Indices: negative, with every form of a corner, also after more vertices.
        CORNERS + "f -4 -3 -2 -1\nv 9 9 9\n",
        CORNERS + "vn 0 0 1\nf -4//-1 -3//-1 -2//-1 -1//-1\n",
        CORNERS + UVS + "f -4/-4 -3/-3 -2/-2 -1/-1\n",
        CORNERS + UVS + "vn 0 0 1\nf -4/-4/-1 -3/-3/-1 -2/-2/-1 -1/-1/-1\n",
        CORNERS + UVS + "vn 0 0 1\nf 1/1/1 2//1 3/3 4\n",  # of four forms in one face
        CORNERS + UVS + "vn 0 0 1\nf 1 2 3\nf 1/1 3/3/1 4//1\n",
        CORNERS + "f 1// 2// 3// 4//\n",
        CORNERS + "f 1/ 2/ 3/ 4/\n",
        CORNERS + "f 1/0/0 2/0/0 3/0/0 4/0/0\n",
        "f 1 2 3 4\n" + CORNERS,  # faces before their vertices
        CORNERS + "fo 1 2 3 4\n",  # the old name
        "v 0 0 0 1\nv 1 0 0 1\nv 1 1 0 0.5\nv 0 1 0 1\nf 1 2 3 4\n",  # weights, of curves only
        CORNERS + "vn 0 0 1\nvp 1 2\ns off\ng\no\ng a b c\nlod 3\nmg 1 2\nf 1 2 3 4\ns 1\nend\n",
        "v 0 0 0\nv 1 0 0\nf 1 2 -3\n".replace("-3", "4\nf 1 4 3") + "v 0 1 0\nv 1 1 0\n",
    ],
)
def test_a_square(tmp_path, text):
    shape = read(tmp_path, "a.obj", text.encode())
    assert bounds(shape) == UNIT and area(shape) == 1 and faces(shape) == 2
    assert mean_color(shape) is None and shape.warnings == []


def test_utf_16_as_windows_editors_save_it(tmp_path):
    shape = read(tmp_path, "a.obj", TEXTURED.encode("utf-16"), a__mtl="newmtl m\nKd 0 0 1\n".encode("utf-16"))
    assert area(shape) == 1 and mean_color(shape) == [0, 0, 255] and shape.warnings == []


def test_negative_indices_count_back_from_where_they_stand(tmp_path):
    # Each block has a square of its own, and texture coordinates of which the last four are meant.
    blocks = [CORNERS.replace("v 0", f"v {x}").replace("v 1", f"v {x + 1}") for x in (0, 5)]
    halves = ["vt 0 0\nvt 0.5 0\nvt 0.5 0.5\nvt 0 0.5\n", "vt 0.5 0\nvt 1 0\nvt 1 0.5\nvt 0.5 0.5\n"]
    face = "f -4/-4 -3/-3 -2/-2 -1/-1\n"
    text = "mtllib a.mtl\nusemtl m\n" + "".join(b + uv + face for b, uv in zip(blocks, halves, strict=True))
    shape = read(tmp_path, "a.obj", text, a__mtl="newmtl m\nmap_Kd t.png\n", t__png=picture(FOUR))
    assert bounds(shape) == ([0, 0, 0], [6, 1, 0]) and area(shape) == 2
    assert colors_at(shape, (0.5, 0.5, 0)) == {BLUE} and colors_at(shape, (5.5, 0.5, 0)) == {YELLOW}


def polygon(points: list[tuple[float, ...]]) -> str:
    lines = "".join("v " + " ".join(str(float(x)) for x in point) + "\n" for point in points)
    return lines + "f " + " ".join(str(i + 1) for i in range(len(points))) + "\n"


COMB = [(0, 0), (9, 0), *[(x, 3 if x % 2 else 1) for x in range(9, -1, -1)]]  # 4.5 teeth of height 2


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)], 3),
        # Corners in line, and repeated: an ear clipper drops them.
        ([(0, 0), (1, 0), (2, 0), (2, 1), (1.5, 1), (1, 1), (1, 2), (0.5, 2), (0, 2), (0, 1)], 3),
        ([(1, 1), (1, 2), (1, 2), (0, 2), (0, 0), (0, 0), (2, 0), (2, 1)], 3),
        ([(1, 2), (0, 0), (2, 0), (2, 1), (1, 0.5), (1, 1)], 0.5 * 6 - 1.25),
        # A window, cut out by going to it and back.
        ([(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)], 12),
        (COMB, None),
        ([(0, 0), (3, 1), (0, 2), (1, 1)], 2),  # an arrowhead, seen from a notch or not
        ([(1, 1), (0, 0), (3, 1), (0, 2)], 2),
    ],
)
@pytest.mark.parametrize("plane", ["xy", "yz", "zx", "slanted", "reversed", "far away"])
def test_concave_polygons(tmp_path, points, expected, plane):
    flat = np.array(points, dtype=float)
    following = np.roll(flat, -1, axis=0)
    shoelace = abs((flat[:, 0] * following[:, 1] - flat[:, 1] * following[:, 0]).sum()) / 2
    if expected is not None:
        assert shoelace == pytest.approx(expected)
    first, second = {
        "yz": ((0, 1, 0), (0, 0, 1)),
        "zx": ((0, 0, 1), (1, 0, 0)),
        "slanted": ((0.6, 0.48, 0.64), (-0.8, 0.36, 0.48)),
    }.get(plane, ((1, 0, 0), (0, 1, 0)))
    placed = flat[:, :1] * np.array(first) + flat[:, 1:] * np.array(second)
    placed = placed[::-1] if plane == "reversed" else placed + (1000 if plane == "far away" else 0)
    shape = read(tmp_path, "a.obj", polygon([tuple(row) for row in placed.tolist()]))
    assert area(shape) == pytest.approx(shoelace, rel=1e-6) and shape.warnings == []


@pytest.mark.parametrize("corners", [5, 64, 400])
def test_polygons_of_many_corners(tmp_path, corners):
    angles = 2 * np.pi * np.arange(corners) / corners
    circle = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    shape = read(tmp_path, "a.obj", polygon(circle.tolist()))
    assert faces(shape) == corners - 2
    assert area(shape) == pytest.approx(corners / 2 * np.sin(2 * np.pi / corners), rel=1e-6)
    star = circle * np.where(np.arange(corners) % 2, 0.3, 1)[:, None]  # and one that a fan would cover twice
    if corners % 2 == 0:
        shape = read(tmp_path, "a.obj", polygon(star.tolist()))
        assert area(shape) == pytest.approx(0.3 * corners / 2 * np.sin(2 * np.pi / corners), rel=1e-6)


def test_a_polygon_that_is_not_quite_flat(tmp_path):
    points = [(0, 0, 0), (2, 0, 0.01), (2, 1, 0), (1, 1, 0.01), (1, 2, 0), (0, 2, 0.01)]
    shape = read(tmp_path, "a.obj", polygon(points))
    assert faces(shape) == 4 and area(shape) == pytest.approx(3, abs=0.01)


def test_faces_of_fewer_than_three_corners_are_said(tmp_path):
    shape = read(tmp_path, "a.obj", CORNERS + "f 1\nf 1 2\nf 1 2 3 4\nf 2\n")
    assert area(shape) == 1 and shape.warnings == ["3 faces of fewer than three corners left out"]


def test_elements_that_are_no_faces_are_counted(tmp_path):
    shape = read(tmp_path, "a.obj", CORNERS + "f 1 2 3 4\nl 1 2 3\nl 3 4\np 1\ncstype bezier\ncurv 0 1 1 2 3\nend\n")
    assert area(shape) == 1
    assert shape.warnings == ["1 elements 'curv' left out", "2 elements 'l' left out", "1 elements 'p' left out"]


def test_vertices_without_faces_are_a_cloud(tmp_path):
    shape = read(tmp_path, "a.obj", CORNERS + "p 1 2 3 4\n")
    assert isinstance(shape, PointCloud) and bounds(shape) == UNIT and shape.warnings == []
    shape = read(tmp_path, "a.obj", "v 0 0 0 1 0 0\nv 2 0 0 0 0 1\nl 1 2\n")
    assert shape.points.rgb.tolist() == [[255, 0, 0], [0, 0, 255]] and shape.warnings == ["1 elements 'l' left out"]


SURFACE = "cstype bspline\ndeg 1 1\nsurf 0 1 0 1 1 2 4 3\nparm u 0 0 1 1\nparm v 0 0 1 1\nend\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CORNERS + SURFACE, r"curves or curved surfaces \(NURBS\) and no face; export it as polygons"),
        (CORNERS + "cstype bezier\ndeg 3\ncurv 0 1 1 2 3 4\nend\n", r"\(NURBS\)"),
        (CORNERS + "f 0 1 2\n", "a face names a vertex 0; they are counted from 1"),
        (CORNERS + "f 1 2 5\n", r"a face names a vertex that does not exist \(there are 4\)"),
        (CORNERS + "f -5 2 3\n", r"a face names a vertex that does not exist \(there are 4\)"),
        (CORNERS + "f 1 2.5 3\n", "a face names a corner by what is no whole number"),
        (CORNERS + "f 1 a 3\n", "a face names a corner by what is no whole number: 'a' is no number"),
        (CORNERS + "f 1/1 2//1 x/1\n", "a face has the corner 'x/1'"),
        ("v 0 0 0\nv 1,5 0 0\nv 0 1 0\nf 1 2 3\n", "a 'v' line: '1,5' is no number; decimals have a point"),
        ("v 0 0 0\nv 1d3 0 0\nv 0 1 0\nf 1 2 3\n", "a 'v' line: '1d3' is no number"),
        ("v 0 0 0\n\nv 1 0\nv 0 1 0\nf 1 2 3\n", "line 3: 'v' with 2 numbers, expected at least 3"),
        ("v 0 0 0 nan nan 2.5\nv 1 0 0 1 1 300\nv 0 1 0 1 1 1\nf 1 2 3\n", "vertex colours from 1 to 300; expected"),
        ("v 0 0 0 0.5 0 200\nv 1 0 0 0 0 0\nv 0 1 0 0 0 0\nf 1 2 3\n", "vertex colours from 0 to 200; expected"),
        ("v 0 0 0 -1 0 1\nv 1 0 0 0 0 0\nv 0 1 0 0 0 0\nf 1 2 3\n", "vertex colours from -1 to 1; expected"),
        ("<!DOCTYPE html>\n<html>\n", "no faces and no points"),
    ],
)
def test_what_cannot_be_read(tmp_path, text, message):
    with pytest.raises(MeshError, match=rf"a\.obj: .*{message}"):
        read(tmp_path, "a.obj", text)


@pytest.mark.parametrize("number", ["nan", "-nan", "NaN", "-nan(ind)", "1.#QNAN", "-1.#IND", "1.#INF", "inf"])
@pytest.mark.parametrize("count", [1, 4000])  # a few numbers are parsed in another way than many
def test_a_vertex_that_is_not_finite_takes_its_faces_along(tmp_path, number, count):
    text = (CORNERS + f"v {number} 0 0 # far\nf -5 -4 -3 -2\nf -5 -4 -1\n") * count
    shape = read(tmp_path, "a.obj", text)
    assert area(shape) == count and shape.warnings == [
        f"{count} of {3 * count} faces dropped: vertices that are not finite"
    ]


@pytest.mark.parametrize(
    ("colors", "expected"),
    [
        (("1 0 0", "1 0 0", "1 0 0", "1 0 0"), [255, 0, 0]),
        (("0.2 0.4 0.6", "0.2 0.4 0.6", "0.2 0.4 0.6", "0.2 0.4 0.6"), [51, 102, 153]),
        (("200 100 50",) * 4, [200, 100, 50]),  # whole numbers beyond 1
        (("200.0 100.0 50.0",) * 4, [200, 100, 50]),
        (("1 0 0 1",) * 4, [255, 0, 0]),  # with opacity
        (("0.2 0.4 0.6 0.5",) * 4, [51, 102, 153]),
        (("1 0.2 0.4 0.6",) * 4, [51, 102, 153]),  # after a weight
        (("1 0.2 0.4 0.6 1",) * 4, [51, 102, 153]),  # between a weight and opacity
        (("1.000001 -0.0000001 0",) * 4, [255, 0, 0]),
    ],
)
def test_vertex_colors(tmp_path, colors, expected):
    lines = [f"{line} {color}\n" for line, color in zip(CORNERS.splitlines(), colors, strict=True)]
    shape = read(tmp_path, "a.obj", "".join(lines) + "f 1 2 3 4\n")
    assert area(shape) == 1 and mean_color(shape) == expected and shape.parts[0].color_source == "vertex colours"


def test_colors_on_some_vertices_only(tmp_path):
    # The first square has colours, the second none, one of its vertices a weight; its material shows.
    text = "mtllib a.mtl\nusemtl m\n"
    text += "v 0 0 0 1 0 0\nv 1 0 0 1 0 0\nv 1 1 0 1 0 0\nv 0 1 0 1 0 0\nv 5 0 0\nv 6 0 0 1\nv 6 1 0\nv 5 1 0 \n"
    shape = read(tmp_path, "a.obj", text + "f 1 2 3 4\nf 5 6 7 8\n", a__mtl="newmtl m\nKd 0 0 1\n")
    assert colors_at(shape, (0.5, 0.5, 0)) == {RED} and colors_at(shape, (5.5, 0.5, 0)) == {BLUE}
    shape = read(tmp_path, "a.obj", text + "f 1 2 3 4\nf 5 6 7 8\n", a__mtl="")
    assert colors_at(shape, (5.5, 0.5, 0)) == {DEFAULT_COLOR}
    cloud = read(tmp_path, "a.obj", text)
    assert cloud.points.rgb.tolist() == [[255, 0, 0]] * 4 + [list(DEFAULT_COLOR)] * 4


def test_colors_in_zbrush_comments(tmp_path):
    # Mask, red, green and blue, two digits each; several lines go on with each other.
    comments = "#MRGB ffc86432ffc86432\n#MRGB FFC86432ffc86432\n"
    shape = read(tmp_path, "a.obj", CORNERS + comments + "f 1 2 3 4\n")
    assert mean_color(shape) == [200, 100, 50] and area(shape) == 1


@pytest.mark.parametrize(
    ("coordinates", "warning"),
    [
        (UVS, []),
        ("vt 0 0 0\nvt 1\nvt 1 1 0.5\nvt 0 1\n", []),  # one, two and three numbers
        ("vt 0 0 0\nvt 1 0 0\nvt 1 1 0\nvt 0 1 0\n", []),
        (UVS.replace("vt 0 1", "vt -1 2"), None),
    ],
)
def test_texture_coordinates(tmp_path, coordinates, warning):
    obj = TEXTURED.replace(UVS, coordinates)
    shape = read(tmp_path, "a.obj", obj, a__mtl="newmtl m\nmap_Kd t.png\n", t__png=picture(FOUR))
    if warning is not None:
        assert quarters(shape) == FOUR_QUARTERS and shape.warnings == warning
    else:
        assert shape.parts[0].uv.min() == -1


@pytest.mark.parametrize(
    ("coordinates", "color"), [("0 0", BLUE), ("1 0", YELLOW), ("0 1", RED), ("1 1", GREEN), ("-2 -3", BLUE)]
)
def test_a_face_that_has_its_color_from_one_place_of_the_texture(tmp_path, coordinates, color):
    obj = f"mtllib a.mtl\n{CORNERS}vt {coordinates}\nusemtl m\nf 1/1 2/1 3/1 4/1\n"
    shape = read(tmp_path, "a.obj", obj, a__mtl="newmtl m\nmap_Kd t.png\n", t__png=picture(FOUR))
    assert mean_color(shape) == list(color)


def test_faces_without_texture_coordinates_show_the_materials_color(tmp_path):
    text = TEXTURED + "v 5 0 0\nv 6 0 0\nv 6 1 0\nf 5 6 7\nf 5/1 6 7/2\n"
    shape = read(tmp_path, "a.obj", text, a__mtl="newmtl m\nKd 0 1 0\nmap_Kd t.png\n", t__png=picture([[RED]]))
    assert colors_at(shape, (0.5, 0.5, 0)) == {RED} and colors_at(shape, (5.5, 0.5, 0)) == {GREEN}
    assert shape.warnings == ["texture without coordinates: 2 triangles of material m"]


@pytest.mark.parametrize("face", ["f 1/1 2/2 3/3 4/9", "f 1/1 2/2 3/3 4/-9"])
def test_texture_coordinates_that_do_not_exist_are_said(tmp_path, face):
    shape = read(tmp_path, "a.obj", CORNERS + UVS + face)
    assert area(shape) == 1 and shape.warnings == ["texture coordinates that do not exist: 1 corners"]


@pytest.mark.parametrize(
    ("before", "mtl"),
    [
        ("mtllib a.mtl\nusemtl my red", "newmtl my red\nKd 1 0 0\n"),
        ("mtllib a.mtl\nusemtl my  red", "newmtl my red \nKd 1 0 0\n"),
        ("mtllib a.mtl\nusemtl Material #25", "newmtl Material #25\nKd 1 0 0\nnewmtl Material #26\nKd 0 1 0\n"),
        ("mtllib a.mtl\nusemtl red # the colour", "newmtl red\nKd 1 0 0\n"),
        ("mtllib a.mtl\nusemtl red", "newmtl red # the colour\nKd 1 0 0\n"),
        ("usemtl red\nmtllib a.mtl", "newmtl red\nKd 1 0 0\n"),
        ("mtllib a.mtl\nusemtl r\u00f6t", "newmtl r\u00f6t\nKd 1 0 0\n"),
        ("mtllib a.mtl\nusemtl \u7ea2\u8272", "newmtl \u7ea2\u8272\nKd 1 0 0\n"),
        ("mtllib\ta.mtl\nusemtl\tred", "newmtl\tred\n\tKd\t1\t0\t0\n"),
        ("mtllib a.mtl  \nusemtl red  ", "\ufeffnewmtl red\r\nKd 1 0 0\r\n"),
        ("mtllib a.mtl\nusemtl red", "newmtl red\rKd 1 0 0\r"),
        ('mtllib "a.mtl"\nusemtl red', "newmtl red\nKd 1 0 0\n"),
        ("mtllib ./a.mtl\nusemtl red", "newmtl red\nKd 1 0 0\n"),
        ("mtllib C:\\My Models\\a.mtl\nusemtl red", "newmtl red\nKd 1 0 0\n"),
        ("mtllib \\\na.mtl\nusemtl red", "newmtl red\nKd 1 0 0\n"),
        ("mtllib A.MTL\nusemtl red", "newmtl red\nKd 1 0 0\n"),
        ("mtllib a.mtl\nusemtl red", "newmtl red\nKd 1 0 0 # red\n"),
        ("mtllib a.mtl\nusemtl red", "newmtl red\nkd 1.0E+00 0.e0 .0\n"),
        ("mtllib a.mtl\nusemtl red", "Kd 0 1 0\nnewmtl red\nKd 1 0 0\nd 0.5\nTr 0.5\nillum 2\nNs 10\nKa 0 0 1\n"),
        ("mtllib a.mtl a.mtl\nusemtl red", "newmtl red\nKd 1 0 0\n"),
    ],
)
def test_a_red_material(tmp_path, before, mtl):
    shape = read(tmp_path, "a.obj", f"{before}\n{CORNERS}f 1 2 3 4\n", a__mtl=mtl)
    assert mean_color(shape) == [255, 0, 0] and shape.warnings == []


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("椅子", "shift_jis"), ("의자", "euc_kr"), ("椅", "big5"), ("红色", "gbk"), ("Größe", "latin1")],
)
def test_a_mesh_and_its_library_may_be_of_two_encodings(tmp_path, name, encoding):
    for of_mesh, of_library in ((encoding, "utf-8"), ("utf-8", encoding), (encoding, encoding)):
        obj = f"mtllib a.mtl\nusemtl {name}\n{CORNERS}f 1 2 3 4\n".encode(of_mesh)
        mtl = f"newmtl other\nKd 0 0 1\nnewmtl {name} # a comment\nKd 1 0 0\n".encode(of_library)
        assert mean_color(read(tmp_path, "a.obj", obj, a__mtl=mtl)) == [255, 0, 0]


def test_materials_of_other_encodings(tmp_path):
    mtl = "newmtl \u7ea2\nKd 1 0 0\n"
    for written, library in (("utf-8", "gb18030"), ("gb18030", "utf-8"), ("gb18030", "gb18030")):
        obj = f"mtllib a.mtl\nusemtl \u7ea2\n{CORNERS}f 1 2 3 4\n".encode(written)
        assert mean_color(read(tmp_path, "a.obj", obj, a__mtl=mtl.encode(library))) == [255, 0, 0]


def test_a_letter_whose_last_byte_is_a_backslash(tmp_path):
    obj = f"mtllib a.mtl\nusemtl \u8868\n{CORNERS}f 1 2 3 4\n".encode("shift_jis")
    assert b"\\\n" in obj
    mtl = "newmtl \u8868\nKd 1 0 0\n".encode("shift_jis")
    assert mean_color(read(tmp_path, "a.obj", obj, a__mtl=mtl)) == [255, 0, 0]


@pytest.mark.parametrize(
    ("line", "color", "warning"),
    [
        ("Kd 0.5", [128, 128, 128], None),
        ("Kd 1.5 0.5 0", [255, 128, 0], "colour beyond 1 cut to it: Kd 1.5 0.5 0 of material m"),
        (
            "Kd 0,8 0,4 0",
            None,
            "colour not understood: Kd 0,8 0,4 0 of material m; decimals have a point, not a comma",
        ),
        ("Kd spectral ident.rfl 1", None, "colour not understood: Kd spectral ident.rfl 1 of material m"),
        ("Kd xyz 0.4 0.2 0.02", None, "colour not understood: Kd xyz 0.4 0.2 0.02 of material m"),
        ("Kd", None, None),
        ("map_Ka t.png", None, "texture left out: map_Ka without map_Kd, of material m"),
        ("map_Ka t.png\nmap_Ke t.png", None, "texture left out: map_Ka and map_Ke without map_Kd, of material m"),
        ("map_Kd", None, None),
        ("Kd 0 0 1\nmap_Kd gone.png", [0, 0, 255], "file not found: gone.png"),
        ("Kd 0 0 1\nmap_Kd bad.png", [0, 0, 255], "texture cannot be read: bad.png (no picture that Pillow knows)"),
        ("Kd 1 0 0\nKd 0 1 0", [0, 255, 0], None),
        ("Kd 1 0 0\nnewmtl other\nKd 0 1 0\nnewmtl m\nKd 0 0 1", [0, 0, 255], None),
    ],
)
def test_lines_of_a_material(tmp_path, line, color, warning):
    others = {"a__mtl": f"newmtl m\n{line}\n", "t__png": picture([[RED]]), "bad__png": "no picture"}
    shape = read(tmp_path, "a.obj", TEXTURED, **others)
    assert mean_color(shape) == color and shape.warnings == ([] if warning is None else [warning])


def test_a_material_that_no_library_has_is_said(tmp_path):
    shape = read(tmp_path, "a.obj", TEXTURED.replace("usemtl m", "usemtl other"), a__mtl="newmtl m\nKd 1 0 0\n")
    assert mean_color(shape) is None and shape.warnings == ["material not found: other"]
    shape = read(tmp_path, "a.obj", TEXTURED.replace("usemtl m", "usemtl"), a__mtl="newmtl m\nKd 1 0 0\n")
    assert mean_color(shape) is None and shape.warnings == []


def test_several_libraries(tmp_path):
    text = "mtllib a.mtl b.mtl\nmtllib c.mtl\n" + CORNERS
    text += "v 5 0 0\nv 6 0 0\nv 6 1 0\nv 8 0 0\nv 9 0 0\nv 9 1 0\n"
    text += "usemtl a\nf 1 2 3 4\nusemtl b\nf 5 6 7\nusemtl c\nf 8 9 10\n"
    others = {"a__mtl": "newmtl a\nKd 1 0 0\n", "c__mtl": "newmtl c\nKd 0 0 1\nnewmtl a\nKd 0 1 0\n"}
    shape = read(tmp_path, "a.obj", text, **others, b__mtl="newmtl b\nKd 0 1 0\n")
    assert shape.warnings == []
    assert [colors_at(shape, (x, 0.5, 0)) for x in (0.5, 5.5, 8.5)] == [{RED}, {GREEN}, {BLUE}]
    (tmp_path / "my colors.mtl").write_text("newmtl m\nKd 0 1 0\n")
    shape = read(tmp_path, "a.obj", TEXTURED.replace("a.mtl", "my colors.mtl"))
    assert mean_color(shape) == [0, 255, 0] and shape.warnings == []


NAMES = ["wood.png", "my wood.png", "wood", "Wood #1.png", "1 wood.png", "-wood.png", "h\u00f6lzern.png", "a%20b.png"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    [
        "",
        "-s 1 1 1 -o 0 0 0 -t 0 0 0",
        "-clamp off -s 1 1",
        "-blendu on -blendv on -cc off -boost 0 -mm 0 1 -bm 1",
        "-mm 0 1",
        "-imfchan r -texres 512",
        "-type sphere -colorspace sRGB",
    ],
)
def test_options_and_names_of_textures(tmp_path, options, name):
    if options.endswith("-s 1 1") and name[0] == "1":
        return  # would be the third number
    (tmp_path / name).write_bytes(picture(FOUR))
    mtl = f"newmtl m\nKd 0 0 0\nmap_Kd {options} {name}\n"
    shape = read(tmp_path, "a.obj", TEXTURED, a__mtl=mtl.encode())
    assert quarters(shape) == FOUR_QUARTERS and shape.warnings == []


@pytest.mark.parametrize(
    "name", ['"wood.png"', "WOOD.PNG", "Wood.Png # bark", ".\\wood.png", "D:\\My Files\\Wood.png", "tex/../wood.png"]
)
def test_names_of_textures_as_other_computers_have_them(tmp_path, name):
    shape = read(tmp_path, "a.obj", TEXTURED, a__mtl=f"newmtl m\nmap_Kd {name}\n", wood__png=picture(FOUR))
    assert quarters(shape) == FOUR_QUARTERS and shape.warnings == []


@pytest.mark.parametrize("library", ["mats/a.mtl", "mats\\a.mtl", "./Mats/A.mtl", '"mats/a.mtl"'])
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("wood.png", "mats/wood.png"),
        ("wood.png", "wood.png"),
        ("tex/wood.png", "mats/tex/wood.png"),
        ("tex/wood.png", "tex/wood.png"),
        ("../tex/wood.png", "tex/wood.png"),
        ("D:\\work\\wood.png", "mats/wood.png"),
    ],
)
def test_a_library_in_a_folder_and_its_textures(tmp_path, library, name, place):
    for folder in ("mats/tex", "tex"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "mats/a.mtl").write_text(f"newmtl m\nmap_Kd {name}\n")
    (tmp_path / place).write_bytes(picture(FOUR))
    shape = read(tmp_path, "a.obj", TEXTURED.replace("a.mtl", library))
    assert quarters(shape) == FOUR_QUARTERS and shape.warnings == []


def test_textures_of_one_name_are_each_librarys_own(tmp_path):
    for folder, color in (("one", RED), ("two", GREEN)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mtl").write_text(f"newmtl {folder}\nmap_Kd wood.png\n")
        (tmp_path / folder / "wood.png").write_bytes(picture([[color]]))
    (tmp_path / "wood.png").write_bytes(picture([[BLUE]]))
    text = f"mtllib one/a.mtl two/a.mtl\n{CORNERS}v 5 0 0\nv 6 0 0\nv 6 1 0\nvt 0.5 0.5\n"
    shape = read(tmp_path, "a.obj", text + "usemtl one\nf 1/1 2/1 3/1 4/1\nusemtl two\nf 5/1 6/1 7/1\n")
    assert colors_at(shape, (0.5, 0.5, 0)) == {RED} and colors_at(shape, (5.5, 0.5, 0)) == {GREEN}


@pytest.mark.parametrize("library", ["../mats/a.mtl", "/mats/a.mtl"])
def test_a_library_named_outside_the_folder_opens_nothing_there(tmp_path, library):
    for folder in ("mats", "meshes"):
        (tmp_path / folder).mkdir()
    (tmp_path / "mats/wood.png").write_bytes(picture(FOUR))
    text = TEXTURED.replace("a.mtl", library)
    shape = read(tmp_path / "meshes", "a.obj", text, a__mtl="newmtl m\nKd 0 1 0\nmap_Kd wood.png\n")
    assert mean_color(shape) == list(GREEN) and shape.warnings == ["file not found: wood.png"]


def test_letter_case_of_folders_and_names_that_are_not_clear(tmp_path):
    (tmp_path / "Textures").mkdir()
    (tmp_path / "Textures" / "Wood.PNG").write_bytes(picture(FOUR))
    shape = read(tmp_path, "a.obj", TEXTURED, a__mtl="newmtl m\nmap_Kd textures\\wood.png\n")
    assert quarters(shape) == FOUR_QUARTERS
    # An accent in two characters, as macOS has it.
    (tmp_path / "Ho\u0308lzern.png").write_bytes(picture(FOUR))
    shape = read(tmp_path, "a.obj", TEXTURED, a__mtl="newmtl m\nmap_Kd h\u00f6lzern.png\n".encode())
    assert quarters(shape) == FOUR_QUARTERS
    for name in ("Two.png", "TWO.png"):
        (tmp_path / name).write_bytes(picture([[RED]]))
    shape = read(tmp_path, "a.obj", TEXTURED, a__mtl="newmtl m\nmap_Kd two.png\n")
    assert shape.warnings == ["file not found: two.png"]


def test_scale_offset_and_clamping_of_a_texture(tmp_path):
    def shown(options: str) -> dict[str, tuple[int, ...]]:
        others = {"a__mtl": f"newmtl m\nmap_Kd {options} t.png\n", "t__png": picture(FOUR)}
        return quarters(read(tmp_path, "a.obj", TEXTURED, **others))

    low_left = dict.fromkeys(FOUR_QUARTERS, BLUE)
    assert shown("-s 0.5 0.5") == low_left and shown("-s 0.5 0.5 1") == low_left
    assert shown("-o 0.5 0.5 0 -s 0.5 0.5 1") == dict.fromkeys(FOUR_QUARTERS, GREEN)
    assert shown("-s 0.5") == {**FOUR_QUARTERS, "low right": BLUE, "high right": RED}  # v keeps its scale of 1
    assert shown("-o 0.5") == {"low left": YELLOW, "low right": BLUE, "high left": GREEN, "high right": RED}
    assert shown("-clamp on -o 1 1") == dict.fromkeys(FOUR_QUARTERS, GREEN)
    assert shown("-CLAMP ON -O 1 1 -S 1 1") == dict.fromkeys(FOUR_QUARTERS, GREEN)


@pytest.mark.parametrize(
    ("file_format", "mode"), [("TGA", None), ("BMP", None), ("TIFF", None), ("DDS", None), ("PNG", "P"), ("GIF", "P")]
)
def test_formats_of_textures(tmp_path, file_format, mode):
    (tmp_path / "t.tex").write_bytes(picture(FOUR, file_format, mode))
    shape = read(tmp_path, "a.obj", TEXTURED, a__mtl="newmtl m\nmap_Kd t.tex\n")
    assert quarters(shape) == FOUR_QUARTERS and shape.warnings == []


def png_of_16_bits(color: tuple[int, ...]) -> bytes:
    """One pixel: grey of one number, or red, green and blue of three."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 1, 1, 16, 0 if len(color) == 1 else 2, 0, 0, 0)
    pixel = zlib.compress(b"\0" + struct.pack(f">{len(color)}H", *color))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("color", "expected"), [((128 * 257,), [128, 128, 128]), ((200 * 257, 100 * 257, 50 * 257), [200, 100, 50])]
)
def test_textures_of_16_bits(tmp_path, color, expected):
    shape = read(tmp_path, "a.obj", TEXTURED, a__mtl="newmtl m\nmap_Kd t.png\n", t__png=png_of_16_bits(color))
    assert mean_color(shape) == expected


def holes(shape: TexturedMesh) -> set[str]:
    """Quarters of the unit square that no point is in."""
    xyz = colored_points(shape, 500).xyz
    seen = {f"{'high' if y > 0.5 else 'low'} {'right' if x > 0.5 else 'left'}" for x, y, _ in xyz.tolist()}
    return set(FOUR_QUARTERS) - seen


MASK = picture([[0, 255], [255, 255]])  # the upper left is cut out
HOLED = picture([[(*RED, 0), (*GREEN, 255)], [(*BLUE, 255), (*YELLOW, 255)]])


@pytest.mark.parametrize(
    ("mtl", "expected"),
    [
        ("map_Kd t.png\nmap_d mask.png", {"high left"}),
        ("map_Kd t.png\nmap_d -imfchan m holed.png", {"high left"}),
        ("map_Kd holed.png", {"high left"}),
        ("map_Kd holed.png\nmap_d holed.png", {"high left"}),
        ("map_Kd t.png\nmap_d t.png", set()),  # a picture without opacity is no mask of itself
        ("Kd 1 0 0\nmap_d mask.png", {"high left"}),
        ("map_Kd -s 1 1 t.png\nmap_d -s 1 1 mask.png", {"high left"}),
        ("map_Kd t.png\nd 0", set()),
        ("map_Kd t.png\nTr 1", set()),
        ("map_Kd t.png\nmap_d gone.png", set()),
    ],
)
def test_holes_are_cut_by_a_mask_or_the_textures_opacity(tmp_path, mtl, expected):
    others = {"a__mtl": f"newmtl m\n{mtl}\n", "t__png": picture(FOUR), "mask__png": MASK, "holed__png": HOLED}
    shape = read(tmp_path, "a.obj", TEXTURED, **others)
    assert holes(shape) == expected
    assert shape.warnings == (["file not found: gone.png"] if "gone" in mtl else [])
    if "map_d mask.png" in mtl and "t.png" in mtl:
        assert colors_at(shape, (0.9, 0.9, 0)) >= {GREEN} and RED not in colors_at(shape, (0.5, 0.5, 0))


def test_a_mask_that_lies_otherwise_is_said(tmp_path):
    others = {"a__mtl": "newmtl m\nmap_Kd t.png\nmap_d -s 2 2 mask.png\n", "t__png": picture(FOUR), "mask__png": MASK}
    shape = read(tmp_path, "a.obj", TEXTURED, **others)
    assert holes(shape) == set() and shape.warnings == ["map_d left out, as it lies otherwise than map_Kd: mask.png"]


def test_many_groups_take_no_time(tmp_path):
    text = CORNERS + "".join(f"g part{i}\ns {i}\nf 1 2 3 4\n" for i in range(20_000))
    assert faces(read(tmp_path, "a.obj", text)) == 40_000
