"""PLY as the tools write it: each a few rows, with the shape and the colours that they mean."""

import struct
import time

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
    positions,
    quarters,
    read,
)

from mrd_hf.models.ply_text import ListProperty, parse_ply
from mrd_hf.models.shape_files import colored_points
from mrd_hf.models.shapes import DEFAULT_COLOR, MeshError, PointCloud, TexturedMesh


SQUARE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]
UNIT = ([0, 0, 0], [1, 1, 0])
XYZ = ["float x", "float y", "float z"]
INDICES = "list uchar int vertex_indices"
FORMS = ("ascii", "binary_little_endian", "binary_big_endian")
CODES = {
    **{"char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "float": "f", "double": "d"},
    **{"int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "float32": "f"},
    **{"float64": "d", "int64": "q", "uint64": "Q"},
}


def ply(*elements: tuple[str, list[str], list], form: str = "ascii", comments: tuple[str, ...] = ()) -> bytes:
    """A file of elements: name, properties and rows, whose lists are lists."""
    lines = ["ply", f"format {form} 1.0", *comments]
    for name, properties, rows in elements:
        lines += [f"element {name} {len(rows)}", *(f"property {p}" for p in properties)]
    body = b""
    for _, properties, rows in elements:
        for row in rows:
            body += b"".join(value(p, of, form) for p, of in zip(properties, row, strict=True))
            body += b"\n" if form == "ascii" else b""
    return "\n".join([*lines, "end_header\n"]).encode() + body


def value(declared: str, given, form: str) -> bytes:
    words = declared.split()
    order = ">" if form == "binary_big_endian" else "<"
    if words[0] == "list":
        items = b"".join(value(words[2], item, form) for item in given)
        return value(words[1], len(given), form) + items
    if form == "ascii":
        return f"{given!r} ".encode()
    return struct.pack(order + CODES[words[0]], given)


def square(
    vertex: list[str] | None = None,
    of_vertex: tuple = (),
    face: list[str] | None = None,
    of_face: tuple = (),
    **options,
) -> bytes:
    """The unit square, its vertices and its face with further properties, alike for all."""
    return ply(
        ("vertex", XYZ + (vertex or []), [(*xyz, *of_vertex) for xyz in SQUARE]),
        ("face", [INDICES, *(face or [])], [([0, 1, 2, 3], *of_face)]),
        **options,
    )


def is_unit_square(shape) -> bool:
    return isinstance(shape, TexturedMesh) and bounds(shape) == UNIT and area(shape) == 1 and faces(shape) == 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("number", "count", "index"),
    [
        ("float", "uchar", "int"),
        ("double", "int", "uint"),
        ("short", "char", "uchar"),
        ("int8", "uint8", "int16"),
        ("uint16", "ushort", "short"),
        ("int32", "uint32", "int32"),
        ("float32", "int16", "uint16"),
        ("float64", "float", "float32"),  # counts and indices that are no integers, as some have them
        ("uint64", "int64", "int64"),
    ],
)
def test_types_and_their_other_names(tmp_path, form, number, count, index):
    real = number in ("float", "double", "float32", "float64")
    rows = [tuple(float(x) if real else x for x in xyz) for xyz in SQUARE]
    content = ply(
        ("vertex", [f"{number} x", f"{number} y", f"{number} z"], rows),
        ("face", [f"list {count} {index} vertex_index"], [([0, 1, 2, 3],)]),
        form=form,
    )
    assert is_unit_square(read(tmp_path, "a.ply", content))


@pytest.mark.parametrize("form", FORMS)
def test_elements_in_any_order_and_unknown_ones(tmp_path, form):
    content = ply(
        ("face", ["uchar flags", INDICES, "float quality"], [(7, [0, 1, 2], 0.5), (8, [0, 2, 3], 0.25)]),
        (
            "patch",
            ["list int float curve", "double weight", "list uchar uchar ids"],
            [([1.5, 2.5], 3.0, []), ([], 1.0, [9])],
        ),
        ("nothing", [], []),
        (
            "vertex",
            ["list uchar float extra", *XYZ, "uchar tag"],
            [([0.5] * n, *xyz, n) for n, xyz in enumerate(SQUARE)],
        ),
        ("camera", ["float f"], [(1.0,)]),
        form=form,
    )
    shape = read(tmp_path, "a.ply", content)
    assert is_unit_square(shape) and shape.warnings == ["element 'patch' of 2 rows left out"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 40])  # lengths that change often are read in another way
def test_polygons_of_all_sizes(tmp_path, form, count):
    # A triangle, a square, an L of six corners, a pentagon with a corner in line, and what is none.
    corners = [(0, 0), (1, 0), (0, 1), *[(x + 2, y) for x, y, _ in SQUARE]]
    corners += [(5, 0), (7, 0), (7, 1), (6, 1), (6, 2), (5, 2), (9, 0), (10, 0), (11, 0), (11, 1), (9, 1)]
    polygons = [([0, 1, 2], 1), ([3, 4, 5, 6], 2), ([7, 8, 9, 10, 11, 12], 3), ([13, 14, 15, 16, 17], 4), ([0, 1], 5)]
    content = ply(
        ("vertex", XYZ, [(*xy, 0.5) for xy in corners]),
        (
            "face",
            [INDICES, "uchar red", "uchar green", "uchar blue"],
            [(f, 10 * c, 0, 255) for f, c in polygons] * count,
        ),
        form=form,
    )
    shape = read(tmp_path, "a.ply", content)
    assert area(shape) == count * (0.5 + 1 + 3 + 2) and faces(shape) == count * (1 + 2 + 4 + 2)
    assert shape.warnings == [f"{count} faces of fewer than three corners left out"]
    seen = [colors_at(shape, (*place, 0.5)) for place in ((0.4, 0.4), (2.5, 0.5), (5.5, 1.5), (10, 0.5))]
    assert seen == [{(10, 0, 255)}, {(20, 0, 255)}, {(30, 0, 255)}, {(40, 0, 255)}]
    assert not ((positions(shape) == (7, 2, 0.5)).all(axis=1)).any()


@pytest.mark.parametrize("name", ["vertex_index", "vertex_indices", "Vertex_Indices", "vertex_list", "vertices"])
def test_names_of_the_list_of_corners(tmp_path, name):
    content = square().replace(b"vertex_indices", name.encode())
    assert is_unit_square(read(tmp_path, "a.ply", content))


HEADERS = {
    "comments everywhere": lambda h: h.replace("\n", "\ncomment of mine, element face 9\nobj_info num_cols 2\n"),
    "CRLF": lambda h: h.replace("\n", "\r\n"),
    "CR": lambda h: h.replace("\n", "\r"),
    "tabs": lambda h: h.replace(" ", "\t"),
    "spaces": lambda h: h.replace("\n", "  \n").replace(" ", "   "),
    "indented and empty lines": lambda h: h.replace("\n", "\n\n  "),
    "capitals": lambda h: h.replace("float", "Float").replace(" x", " X").replace("element vertex", "element Vertex"),
    "further names": lambda h: h.replace("float z\n", "float z\nproperty float scalar_Scalar field\n"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("change", HEADERS)
def test_headers(tmp_path, form, change):
    further = (["float q"], (0.5,)) if change == "further names" else (None, ())
    header, _, body = square(*further, form=form).partition(b"end_header\n")
    text = header.decode() + "end_header\n"
    text = text.replace("property float q\n", "") if change == "further names" else text
    text = HEADERS[change](text)
    text = text[: text.index("end_header") + 10] + {"CRLF": "\r\n", "CR": "\r", "spaces": "  \n"}.get(change, "\n")
    shape = read(tmp_path, "a.ply", text.encode() + body)
    assert is_unit_square(shape) and shape.warnings == []


@pytest.mark.parametrize(
    "body",
    [
        "0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3",
        "\n\n0 0 0\r\n\r\n1 0 0\r\n1 1 0\r\n0 1 0\r\n\r\n4 0 1 2 3\r\n\r\n",
        "0 0\n0\n1 0 0 1 1 0\n0 1 0 4\n0 1\n2 3",  # over several lines, and several in one
        "\t0.0  -0.0\t+0 \n1. 0e0 .0\n1e0 10.0E-1 0\n0 1.0000000000000000001 0\n4 0 1 2 3  \n",
        "0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0.0 1.0 2 3\n",
    ],
)
def test_ascii_rows(tmp_path, body):
    header = square().partition(b"end_header\n")[0] + b"end_header\n"
    shape = read(tmp_path, "a.ply", header + body.encode())
    assert is_unit_square(shape) and shape.warnings == []
    with_cr = (header + body.encode()).replace(b"\r\n", b"\n").replace(b"\n", b"\r")
    assert is_unit_square(read(tmp_path, "a.ply", b"\xef\xbb\xbf" + with_cr))


def test_lines_and_bytes_after_the_last_element(tmp_path):
    shape = read(tmp_path, "a.ply", square() + b"4 0 1 2 3\n9 9\n")
    assert is_unit_square(shape) and shape.warnings == ["2 lines after the last element left out"]
    assert is_unit_square(read(tmp_path, "a.ply", square(form="binary_little_endian") + bytes(7)))


@pytest.mark.parametrize("number", ["nan", "-nan", "NaN", "-nan(ind)", "1.#QNAN", "inf"])
def test_vertices_that_are_not_finite(tmp_path, number):
    content = square().replace(b"0 1 0 \n", f"0 {number} 0\n".encode())
    shape = read(tmp_path, "a.ply", content)
    assert faces(shape) == 1 and shape.warnings == ["1 of 2 faces dropped: vertices that are not finite"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"plywood\n", "does not begin with 'ply'"),
        (square().replace(b"end_header", b"end"), "'end' of its header is not understood"),
        (square()[:100], "its header has no line end_header"),
        (square().replace(b"ascii", b"text"), "format 'text'; expected one of ascii"),
        (square().replace(b"float y", b"half y"), "'property half y' of its header is not understood"),
        (square().replace(b"float y", b"float v"), "has no x, y and z"),
        (square().replace(b"vertex_indices", b"corners"), "its element 'face' has none of the lists"),
        (square().replace(b"vertex 4", b"vertex 5"), "has a list|it ends within"),
        (square().replace(b"face 1", b"face 2"), "ends within 'face'|ends within row 2"),
        (square().replace(b"vertex 4", b"vertex 999999999999"), "announces 999,999,999,999 rows"),
        (square(form="binary_little_endian").replace(b"face 1", b"face 3"), "announces 3 rows|ends within row 2"),
        (square(form="binary_little_endian")[:-1], "list of 4, beyond the file's end|ends within row 1"),
        (square(form="binary_big_endian").replace(b"uchar int", b"int int"), "ends within|beyond the file's end"),
        (square().replace(b"4 0 1 2 3", b"-4 0 1 2 3"), "list of -1|list of -4"),
        (square().replace(b"4 0 1 2 3", b"4 0 1 2 4"), r"a face names a vertex that does not exist \(there are 4\)"),
        (square().replace(b"4 0 1 2 3", b"4 0 1 2 -1"), "a face names a vertex that does not exist"),
        (square().replace(b"1 0 0", b"1 zero 0"), "'zero' is no number"),
        (square().replace(b"1 0 0", b"1,5 0 0"), "'1,5' is no number"),
        # Rows that have more than the header says would be read as others.
        (square().replace(b" 0 \n", b" 0 255 \n"), "its rows have 21 values, where its header announces 1"),
        (square(["uchar red"], (0.5,)), "'red' of 'vertex' is 0.5, and declared as uint8"),
        (square(["uchar red"], (256,)), "'red' of 'vertex' is 256, and declared as uint8"),
    ],
)
def test_what_cannot_be_read(tmp_path, content, message):
    with pytest.raises(MeshError, match=rf"a\.ply: .*({message})"):
        read(tmp_path, "a.ply", content)


COLORS = [
    (["uchar red", "uchar green", "uchar blue"], (200, 100, 50)),
    (["uchar red", "uchar green", "uchar blue", "uchar alpha"], (200, 100, 50, 0)),
    (["uchar alpha", "uchar blue", "uchar green", "uchar red"], (9, 50, 100, 200)),
    (["uint8 Red", "uint8 Green", "uint8 Blue"], (200, 100, 50)),
    (["uchar r", "uchar g", "uchar b"], (200, 100, 50)),
    (["uchar diffuse_red", "uchar diffuse_green", "uchar diffuse_blue"], (200, 100, 50)),
    (["float red", "float green", "float blue"], (200 / 255, 100 / 255, 50 / 255)),
    (["double r", "double g", "double b", "double a"], (200 / 255, 100 / 255, 50 / 255, 1.0)),
    (["float red", "float green", "float blue"], (200.0, 100.0, 50.0)),  # whole, beyond 1
    (["ushort red", "ushort green", "ushort blue"], (200 * 257, 100 * 257, 50 * 257)),
    (["ushort red", "ushort green", "ushort blue"], (200, 100, 50)),  # none beyond 255
    (["int red", "int green", "int blue"], (200, 100, 50)),
    (["uint rgb"], (200 << 16 | 100 << 8 | 50,)),
    (["int rgba"], ((200 << 16 | 100 << 8 | 50) - (1 << 24),)),  # an opacity of 255 in the sign
    (["float scalar_x", "uchar red", "uchar green", "uchar blue", "float intensity"], (2.5, 200, 100, 50, 7.5)),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("properties", "values"), COLORS)
def test_colors_of_vertices_and_of_points(tmp_path, form, properties, values):
    shape = read(tmp_path, "a.ply", square(properties, values, form=form))
    assert is_unit_square(shape) and mean_color(shape) == [200, 100, 50] and shape.warnings == []
    cloud = read(tmp_path, "a.ply", ply(("vertex", XYZ + properties, [(*xyz, *values) for xyz in SQUARE]), form=form))
    assert isinstance(cloud, PointCloud) and bounds(cloud) == UNIT and mean_color(cloud) == [200, 100, 50]


@pytest.mark.parametrize(("properties", "values"), [pair for pair in COLORS if "scalar" not in pair[0][0]])
def test_colors_of_faces(tmp_path, properties, values):
    shape = read(tmp_path, "a.ply", square(face=properties, of_face=values, form="binary_big_endian"))
    assert mean_color(shape) == [200, 100, 50] and shape.parts[0].color_source == "face colours"


def test_bytes_that_are_declared_as_char(tmp_path):
    names = ["char red", "char green", "char blue"]
    shape = read(tmp_path, "a.ply", square(names, (200, 100, 50)))
    assert mean_color(shape) == [200, 100, 50]
    shape = read(tmp_path, "a.ply", square(names, (200 - 256, 100, 50), form="binary_little_endian"))
    assert mean_color(shape) == [200, 100, 50]


def test_a_packed_color_in_a_float(tmp_path):
    packed = struct.unpack("<f", bytes([50, 100, 200, 0]))[0]
    content = ply(("vertex", [*XYZ, "float rgb"], [(*xyz, packed) for xyz in SQUARE]), form="binary_little_endian")
    assert mean_color(read(tmp_path, "a.ply", content)) == [200, 100, 50]


@pytest.mark.parametrize("names", [["float intensity"], ["float scalar_Intensity"], ["float nx"], ["float curvature"]])
def test_what_is_no_color(tmp_path, names):
    shape = read(tmp_path, "a.ply", square(names, (0.5,)))
    assert mean_color(shape) is None and shape.warnings == []


def test_a_corner_takes_the_color_of_its_vertex(tmp_path):
    # Red at the left, blue at the right; faces' own colours are hidden.
    rows = [(*xyz, *(RED if xyz[0] == 0 else BLUE)) for xyz in SQUARE]
    rgb = ["uchar red", "uchar green", "uchar blue"]
    content = ply(("vertex", XYZ + rgb, rows), ("face", [INDICES, *rgb], [([0, 1, 2, 3], *GREEN)]))
    shape = read(tmp_path, "a.ply", content)
    (part,) = shape.parts
    reds = part.corner_colors[part.triangles[..., 0] == 0]
    assert (reds == RED).all() and (part.corner_colors[part.triangles[..., 0] == 1] == BLUE).all()
    assert mean_color(shape) == pytest.approx([127, 0, 127], abs=6)
    assert shape.warnings == ["face colours under vertex colours left out"]


@pytest.mark.parametrize(
    "names", [("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"), ("S", "T")]
)
@pytest.mark.parametrize("form", FORMS)
def test_a_texture_by_vertices(tmp_path, names, form):
    rows = [(*xyz, float(xyz[0]), float(xyz[1])) for xyz in SQUARE]
    content = ply(
        ("vertex", XYZ + [f"float {name}" for name in names], rows),
        ("face", [INDICES], [([0, 1, 2, 3],)]),
        form=form,
        comments=("comment TextureFile my wood.png",),
    )
    (tmp_path / "my wood.png").write_bytes(picture(FOUR))
    shape = read(tmp_path, "a.ply", content)
    assert quarters(shape) == FOUR_QUARTERS and shape.warnings == []


@pytest.mark.parametrize("form", FORMS)
def test_textures_by_corners_and_their_numbers(tmp_path, form):
    # Of four squares side by side the first has the first picture, the second the lower left of the second, the third
    # none, the fourth coordinates of too few corners.
    corners = [(x + n, y, 0) for n in (0, 2, 4, 6) for x, y, _ in SQUARE]
    uvs = [[0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.5, 0.0, 0.5, 0.5, 0.0, 0.5], [0.0] * 8, [0.0] * 6]
    rows = [([4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3], uv, (0, 1, -1, 0)[n], *RED) for n, uv in enumerate(uvs)]
    properties = [INDICES, "list uchar float texcoord", "int texnumber", "uchar red", "uchar green", "uchar blue"]
    content = ply(
        ("vertex", XYZ, corners),
        ("face", properties, rows),
        form=form,
        comments=("comment TextureFile a.png", "comment texturefile b.png"),
    )
    shape = read(tmp_path, "a.ply", content, a__png=picture([[GREEN]]), b__png=picture(FOUR))
    assert [colors_at(shape, (x, 0.5, 0)) for x in (0.5, 2.5, 4.5, 6.5)] == [{GREEN}, {BLUE}, {RED}, {RED}]
    assert area(shape) == 4


@pytest.mark.parametrize("corners", [[0, 1, 2, 3], [2, 3, 0, 1]])
def test_a_texture_lies_as_its_corners_have_it(tmp_path, corners):
    # As two faces, of which the second's coordinates begin with another corner than the first's.
    faces_of = [corners[:3], [corners[2], corners[3], corners[0]]]
    rows = [(face, [float(x) for corner in face for x in SQUARE[corner][:2]]) for face in faces_of]
    properties = [INDICES, "list uchar float texcoord"]
    for shown in (rows, [(corners, [float(x) for corner in corners for x in SQUARE[corner][:2]])]):
        content = ply(("vertex", XYZ, SQUARE), ("face", properties, shown), comments=("comment TextureFile a.png",))
        shape = read(tmp_path, "a.ply", content, a__png=picture(FOUR))
        assert quarters(shape) == FOUR_QUARTERS and shape.warnings == []


def test_textures_that_are_not_there(tmp_path):
    comments = ("comment TextureFile gone.png",)
    uv = (["float s", "float t"], (0.5, 0.5))
    shape = read(tmp_path, "a.ply", square(*uv, comments=comments))
    assert mean_color(shape) is None and shape.warnings == ["file not found: gone.png"]
    shape = read(tmp_path, "a.ply", square(comments=comments))
    assert mean_color(shape) is None and shape.warnings == ["texture without coordinates: gone.png"]
    shape = read(tmp_path, "a.ply", square(*uv))
    assert mean_color(shape) is None and shape.warnings == ["texture coordinates without a texture left out"]
    shape = read(tmp_path, "a.ply", square([*uv[0], "uchar r", "uchar g", "uchar b"], (*uv[1], *RED)))
    assert mean_color(shape) == [255, 0, 0] and shape.warnings == []


@pytest.mark.parametrize("form", FORMS)
def test_triangle_strips(tmp_path, form):
    # Two in one list, with -1 between them, and one in a list of its own; a strip of two is no triangle.
    corners = [(x + n, y, 0) for n in (0, 5, 9) for x, y in ((0, 0), (0, 1), (1, 0), (1, 1))]
    strips = [([0, 1, 2, 3, -1, 4, 5, 6, 7, -1],), ([8, 9],), ([8, 9, 10, 11],)]
    content = ply(("vertex", XYZ, corners), ("tristrips", ["list int int vertex_indices"], strips), form=form)
    shape = read(tmp_path, "a.ply", content)
    assert area(shape) == 3 and faces(shape) == 6 and bounds(shape) == ([0, 0, 0], [10, 1, 0])
    xyz = colored_points(shape, 3000).xyz
    assert [round(((xyz[:, 0] >= x) & (xyz[:, 0] <= x + 1)).mean(), 1) for x in (0, 5, 9)] == [0.3, 0.3, 0.3]


def test_a_scans_grid_is_its_points(tmp_path):
    grid = [([0],), ([],), ([1],), ([2],), ([3],), ([],)]
    comments = ("obj_info num_cols 3", "obj_info num_rows 2")
    content = ply(("vertex", XYZ, SQUARE), ("range_grid", ["list uchar int vertex_indices"], grid), comments=comments)
    shape = read(tmp_path, "a.ply", content)
    assert isinstance(shape, PointCloud) and positions(shape).tolist() == [list(xyz) for xyz in SQUARE]
    assert shape.warnings == ["element 'range_grid', the order of a scan's points, left out: the points are read"]


def test_without_faces_it_is_a_cloud_and_without_anything_an_error(tmp_path):
    for elements in ((), (("face", [INDICES], []),)):
        cloud = read(tmp_path, "a.ply", ply(("vertex", XYZ, SQUARE), *elements))
        assert isinstance(cloud, PointCloud) and len(positions(cloud)) == 4 and cloud.warnings == []
    with pytest.raises(MeshError, match="no faces and no points"):
        read(tmp_path, "a.ply", ply(("vertex", XYZ, []), ("face", [INDICES], [])))


SPLAT = [*XYZ, "float f_dc_0", "float f_dc_1", "float f_dc_2"]
C = 0.28209479177387814


def test_gaussian_splats(tmp_path):
    # 0.5 + C f: (1, 0.5, 0); the last is all but transparent, sigmoid(-5) = 0.007.
    color = (0.5 / C, 0.0, -0.5 / C)
    opaque = ply(("vertex", SPLAT, [(*xyz, *color) for xyz in SQUARE]), form="binary_little_endian")
    assert mean_color(read(tmp_path, "a.ply", opaque)) == [255, 128, 0]
    rows = [(*xyz, *color, 5.0) for xyz in SQUARE] + [(9, 9, 9, 0.0, 0.0, 0.0, -5.0)]
    shape = read(tmp_path, "a.ply", ply(("vertex", [*SPLAT, "float opacity"], rows), form="binary_little_endian"))
    assert bounds(shape) == UNIT and mean_color(shape) == [255, 128, 0]
    rows = [(*xyz, *color, -9.0) for xyz in SQUARE]
    assert bounds(read(tmp_path, "a.ply", ply(("vertex", [*SPLAT, "float opacity"], rows)))) == UNIT


def packed_splats(with_color_range: bool, chunks: int = 2) -> bytes:
    """300 splats in two chunks; the second lies 10 further and, where colours have ranges, is half as bright."""
    names = ["min_x", "min_y", "min_z", "max_x", "max_y", "max_z", "min_scale_x", "max_scale_x"]
    names += ["min_r", "min_g", "min_b", "max_r", "max_g", "max_b"] if with_color_range else []
    rows = []
    for n in range(2):
        row = [10.0 * n, -1.0, 0.0, 10.0 * n + 1, 1.0, 4.0, 0.0, 1.0]
        rows.append(row + ([0.0, 0.0, 0.0, *[1.0 - n / 2] * 3] if with_color_range else []))
    position = 2047 << 21 | 0 << 11 | 1024  # x at the end, y at the start, z in the middle
    color = 255 << 24 | 102 << 16 | 0 << 8 | 255
    hidden = 255 << 24 | 255 << 16 | 255 << 8 | 3
    packed = [(position, 0, 0, hidden if n == 7 else color) for n in range(300)]
    return ply(
        ("chunk", [f"float {name}" for name in names], rows[:chunks]),
        ("vertex", ["uint packed_position", "uint packed_rotation", "uint packed_scale", "uint packed_color"], packed),
        ("sh", ["uchar f_rest_0"], [(0,)] * 300),
        form="binary_little_endian",
    )


@pytest.mark.parametrize("with_color_range", [False, True])
def test_compressed_gaussian_splats(tmp_path, with_color_range):
    xyz, rgb = read(tmp_path, "a.ply", packed_splats(with_color_range)).points
    assert len(xyz) == 299
    np.testing.assert_allclose(
        xyz[[0, 254, 255, 298]], [[1, -1, 4 * 1024 / 2047]] * 2 + [[11, -1, 4 * 1024 / 2047]] * 2
    )
    far = [128, 51, 0] if with_color_range else [255, 102, 0]
    assert rgb[[0, 254, 255, 298]].tolist() == [[255, 102, 0]] * 2 + [far] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (packed_splats(True).replace(b"packed_color", b"packed_other"), "compressed in a way that is not read"),
        (packed_splats(True, chunks=1), "300 splats need more chunks than it has"),
    ],
)
def test_splats_that_are_compressed_otherwise(tmp_path, content, message):
    with pytest.raises(MeshError, match=message):
        read(tmp_path, "a.ply", content)


def test_faces_of_mixed_sizes_take_no_time(tmp_path):
    # 4,000 triangles and quads by turns: a second when each run of the same size was read by itself.
    rows = [([0, 1, 2],), ([0, 1, 2, 3],)] * 4000
    body = struct.pack("<B3iB4i", 3, 0, 1, 2, 4, 0, 1, 2, 3) * 4000
    header = ply(("vertex", XYZ, SQUARE), ("face", [INDICES], rows[:1]), form="binary_little_endian")
    content = header[:-13].replace(b"face 1", b"face 8000") + body
    shape = read(tmp_path, "a.ply", content)
    assert faces(shape) == 12_000 and area(shape) == 6000


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["uchar", "char", "uint"])
def test_numbers_before_and_after_a_list_of_changing_lengths(form, kind):
    rows = [(row, list(range(row % 3)), -row) for row in range(100)]
    declared = ["short before", f"list {kind} int list", "double after"]
    content = ply(("odd", declared, rows), ("last", ["float x"], [(7.0,)]), form=form)
    elements = parse_ply(content).elements
    assert elements["odd"]["before"].tolist() == [row[0] for row in rows]
    assert elements["odd"]["list"].lengths.tolist() == [len(row[1]) for row in rows]
    assert elements["odd"]["list"].values.tolist() == [item for row in rows for item in row[1]]
    assert elements["odd"]["after"].tolist() == [row[2] for row in rows]
    assert elements["last"]["x"].tolist() == [7.0]
    if form != "ascii":
        for cut in (content[:-13], content[: len(content) // 2]):
            with pytest.raises(ValueError, match="it ends within row|beyond the file's end|it ends within 'odd'"):
                parse_ply(cut)


@pytest.mark.parametrize("form", FORMS)
def test_many_lists_of_changing_lengths_take_no_time_and_keep_their_values(form):
    """Embeddings of points may be hundreds of properties: these are of 1,000 lists and 1,000 numbers."""
    generator = np.random.default_rng(0)
    properties = [p for n in range(1000) for p in (f"list uchar short l{n}", f"int n{n}")]
    rows = [
        [
            generator.integers(-99, 99, generator.integers(0, 3)).tolist() if p.startswith("list") else row
            for p in properties
        ]
        for row in range(100)
    ]
    content = ply(("odd", properties, rows), ("last", ["float x"], [(7.0,)]), form=form)
    start = time.process_time()
    elements = parse_ply(content).elements
    assert time.process_time() - start < 2
    assert elements["last"]["x"].tolist() == [7.0]
    for number, declared in enumerate(properties):
        found, expected = elements["odd"][declared.split()[-1]], [row[number] for row in rows]
        if isinstance(found, ListProperty):
            assert found.lengths.tolist() == [len(each) for each in expected]
            found, expected = found.values, [item for each in expected for item in each]
        assert found.tolist() == expected


def test_the_default_color_beside_a_texture(tmp_path):
    content = ply(
        ("vertex", XYZ, [*SQUARE, (5, 0, 0), (6, 0, 0), (6, 1, 0)]),
        ("face", [INDICES, "list uchar float texcoord"], [([0, 1, 2, 3], [0.0] * 8), ([4, 5, 6], [])]),
        comments=("comment TextureFile a.png",),
    )
    shape = read(tmp_path, "a.ply", content, a__png=picture([[YELLOW]]))
    assert colors_at(shape, (0.5, 0.5, 0)) == {YELLOW} and colors_at(shape, (5.7, 0.3, 0)) == {DEFAULT_COLOR}
