"""Point clouds as the tools write them: PCD, NumPy's arrays and text, with points and colours worked out by hand."""

import struct

import numpy as np
import pytest
from support.small_shapes import bounds, mean_color, positions, read

from mrd_hf.models.shapes import PointCloud


CORNERS = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]
UNIT = ([0, 0, 0], [1, 1, 0])
COLOR = (200, 100, 50)
PACKED = 200 << 16 | 100 << 8 | 50
AS_FLOAT = struct.unpack("<f", struct.pack("<I", PACKED))[0]


def pcd(fields: list[str], values: tuple = (), data: str = "ascii", **header: str) -> bytes:
    """Four points; `fields` are names with a type, `rgb U4`, and perhaps a count, `_ U1 3`; `values` follow x y z."""
    words = [[*field.split(), "1"][:3] for field in ["x F4", "y F4", "z F4", *fields]]
    lines = {
        "VERSION": ".7",
        "FIELDS": " ".join(name for name, _, _ in words),
        "SIZE": " ".join(kind[1:] for _, kind, _ in words),
        "TYPE": " ".join(kind[0] for _, kind, _ in words),
        "COUNT": " ".join(count for _, _, count in words),
        "WIDTH": "4",
        "HEIGHT": "1",
        "VIEWPOINT": "9 9 9 1 0 0 0",
        "POINTS": "4",
        "DATA": data,
        **header,
    }
    rows = [(*corner, *values) for corner in CORNERS]
    if data.lower() == "ascii":
        body = "".join(" ".join(map(str, row)) + "\n" for row in rows).encode()
    else:
        codes = {"F4": "f", "F8": "d", "U1": "B", "U2": "H", "U4": "I", "I4": "i", "I1": "b"}
        formats = [code for _, kind, count in words for code in [codes[kind]] * int(count)]
        columns = [[struct.pack("<" + code, row[i]) for row in rows] for i, code in enumerate(formats)]
        body = b"".join(b"".join(cells) for cells in zip(*columns, strict=True))
        if data == "binary_compressed":
            plain, place = b"", 0
            for name, _, count in words:
                several = columns[place : place + int(count)]
                place += int(count)
                plain += b"" if name == "_" else b"".join(b"".join(cells) for cells in zip(*several, strict=True))
            runs = [plain[i : i + 32] for i in range(0, len(plain), 32)]
            packed = b"".join(bytes([len(run) - 1]) + run for run in runs)
            body = struct.pack("<II", len(packed), len(plain)) + packed
    return "".join(f"{key} {value}\n" for key, value in lines.items() if value != "-").encode() + body


DATA = ("ascii", "binary", "binary_compressed")


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(
    ("fields", "values"),
    [
        (["rgb U4"], (PACKED,)),
        (["rgb I4"], (PACKED,)),
        (["rgb F4"], (AS_FLOAT,)),
        (["rgba U4"], (255 << 24 | PACKED,)),
        (["rgba I4"], (PACKED - (1 << 24),)),  # an opacity of 255 in the sign
        (["RGB U4"], (PACKED,)),
        (["r U1", "g U1", "b U1"], COLOR),
        (["R U1", "G U1", "B U1"], COLOR),
        (["red U2", "green U2", "blue U2"], tuple(257 * c for c in COLOR)),
        (["Red U2", "Green U2", "Blue U2"], COLOR),  # none beyond 255
        (["r F4", "g F4", "b F4"], tuple(c / 255 for c in COLOR)),
        (["r F4", "g F4", "b F4"], tuple(float(c) for c in COLOR)),
        (["r F8", "g F8", "b F8"], tuple(c / 255 for c in COLOR)),
        (
            ["_ U1 3", "intensity F4", "normal F4 3", "_ U1 5", "rgb U4", "ring U2"],
            (1, 2, 3, 0.5, 0, 0, 1, *range(5), PACKED, 7),
        ),
    ],
)
def test_colors_of_pcd(tmp_path, data, fields, values):
    shape = read(tmp_path, "a.pcd", pcd(fields, values, data))
    assert bounds(shape) == UNIT and mean_color(shape) == list(COLOR) and shape.warnings == []


@pytest.mark.parametrize("data", DATA)
def test_pcd_without_colors(tmp_path, data):
    shape = read(tmp_path, "a.pcd", pcd(["intensity F4", "normal_x F4"], (0.5, 0.5), data))
    assert positions(shape).tolist() == [list(corner) for corner in CORNERS] and shape.points.rgb is None


def header(change) -> bytes:
    head, _, body = pcd(["rgb U4"], (PACKED,), "binary").partition(b"DATA binary\n")
    return change(head.decode() + "DATA binary\n").encode() + body


@pytest.mark.parametrize(
    "content",
    [
        header(lambda h: h.replace("\n", "\r\n")),
        header(lambda h: h.replace(" ", "\t")),
        header(lambda h: h.replace(" ", "   ").replace("\n", "  \n")),
        header(lambda h: "# .PCD v0.7 - Point Cloud Data file format\n\n" + h.replace(".7", "0.7")),
        header(lambda h: h.replace("FIELDS", "fields").replace("DATA binary", "data BINARY")),
        header(lambda h: h.replace("WIDTH 4\nHEIGHT 1", "WIDTH 2\nHEIGHT 2").replace("POINTS 4\n", "")),
        header(lambda h: h.replace("WIDTH 4\nHEIGHT 1\n", "")),
        header(lambda h: h.replace("COUNT 1 1 1 1\n", "").replace("VIEWPOINT 9 9 9 1 0 0 0\n", "")),
        header(lambda h: h.replace("TYPE F F F U", "TYPE f f f u")),
        header(lambda h: "DATA binary\n".join(["\n".join(reversed(h.splitlines()[:-1])) + "\n", ""])),
        pcd(["rgb U4"], (PACKED,), "ASCII"),
        pcd(["rgb U4"], (PACKED,)).rstrip(),
        pcd(["rgb U4"], (PACKED,)).replace(b"\n", b"\r\n"),
        pcd(["rgb U4"], (PACKED,)).replace(b"\n", b"\r"),
        pcd(["rgb F4"], (AS_FLOAT,), SIZE="-", TYPE="-", COUNT="-").replace(b"FIELDS", b"COLUMNS"),
    ],
)
def test_headers_of_pcd(tmp_path, content):
    shape = read(tmp_path, "a.pcd", content)
    assert bounds(shape) == UNIT and mean_color(shape) == list(COLOR) and len(positions(shape)) == 4


def test_compressed_pcd_with_its_padding(tmp_path):
    # Some writers keep what PCL leaves out.
    fields = ["pad U1 4", "rgb U4"]
    content = pcd(fields, (1, 2, 3, 4, PACKED), "binary_compressed").replace(b" pad ", b" _ ")
    assert mean_color(read(tmp_path, "a.pcd", content)) == list(COLOR)


@pytest.mark.parametrize("nan", ["nan", "-nan", "NaN", "-nan(ind)", "1.#QNAN", "-1.#IND"])
def test_pixels_without_depth(tmp_path, nan):
    content = pcd(["rgb U4"], (PACKED,)).replace(b"1 1 0", f"{nan} {nan} {nan}".encode())
    xyz, rgb = read(tmp_path, "a.pcd", content).points
    assert xyz.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]] and rgb.tolist() == [list(COLOR)] * 3


def test_colors_that_were_lost_as_nan_are_said(tmp_path):
    shape = read(tmp_path, "a.pcd", pcd(["rgb F4"], ("nan",)))
    assert bounds(shape) == UNIT and shape.points.rgb is None
    assert shape.warnings == ["colours left out: written as nan, so that they are lost"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pcd(["rgb F8"], (1.5,)), "of type float64; expected 4 bytes"),
        (pcd(["r F4", "g F4", "b F4"], (0.5, 2.5, 0)), "colours from 0 to 2.5, stored as float32"),
        (pcd(["r U1", "g U1", "b U1"], (0, 256, 0)), "its field 'g' holds 256, which is no number of uint8"),
        (pcd(["r U1", "g U1", "b U1"], (0, 0.5, 0)), "its field 'g' holds 0.5, which is no number of uint8"),
        (pcd(["rgb U4"], (PACKED,)).replace(b"1 0 0 ", b"1 one 0 "), "'one' is no number"),
        (pcd(["rgb U4"], (PACKED,), POINTS="5"), "16 values; expected 5 points of 4"),
        (pcd(["rgb U4"], (PACKED,), WIDTH="-", POINTS="-"), "not that of a .pcd file .KeyError: 'WIDTH'"),
        (pcd([], ()).replace(b"nan", b"").replace(b"0 0 0\n", b"nan nan nan\n")[:-30], "9 values|values; expected"),
    ],
)
def test_pcd_that_cannot_be_read(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"a\.pcd: .*({message})"):
        read(tmp_path, "a.pcd", content)


XYZ = np.array(CORNERS, dtype=float)


def save(folder, array) -> PointCloud:
    np.save(folder / "a.npy", array)
    return read(folder, "b.npy", (folder / "a.npy").read_bytes())


@pytest.mark.parametrize("dtype", ["f2", "<f4", ">f4", "f8", ">f8", "u1", "i2", ">i4", "i8", "u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_all_types(tmp_path, dtype, order):
    shape = save(tmp_path, np.asarray(XYZ.astype(dtype), order=order))
    assert bounds(shape) == UNIT and shape.points.rgb is None
    colored = np.hstack([XYZ, np.tile(COLOR, (4, 1))]).astype("i2" if dtype == "u1" else dtype)
    assert mean_color(save(tmp_path, np.asarray(colored, order=order))) == list(COLOR)  # floats that are whole, too


@pytest.mark.parametrize("names", [("red", "green", "blue"), ("r", "g", "b"), ("Red", "Green", "Blue")])
@pytest.mark.parametrize(("kind", "scale"), [("u1", 1), ("<u2", 257), ("f4", 1 / 255), ("f8", 1)])
def test_structured_arrays(tmp_path, names, kind, scale):
    array = np.zeros(4, [("z", ">f8"), ("y", "f4"), ("x", "f4"), *((name, kind) for name in names), ("nx", "f4")])
    array["x"], array["y"] = XYZ[:, 0], XYZ[:, 1]
    for name, value in zip(names, COLOR, strict=True):
        array[name] = value * scale
    shape = save(tmp_path, array)
    assert bounds(shape) == UNIT and mean_color(shape) == list(COLOR) and shape.warnings == []


def test_structured_arrays_that_are_no_points(tmp_path):
    with pytest.raises(ValueError, match=r"b\.npy: has the fields a, b; expected x, y and z"):
        save(tmp_path, np.zeros(4, [("a", "f4"), ("b", "f4")]))
    with pytest.raises(ValueError, match=r"b\.npy: has fields that are no numbers"):
        save(tmp_path, np.zeros(4, [("x", "f4"), ("y", "f4"), ("z", "f4", 2)]))
    shape = save(tmp_path, np.zeros(4, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4")]))
    assert shape.points.rgb is None and shape.warnings == ["fields left out: intensity"]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (XYZ.T, r"has shape \(3, 4\), with a point in each column; transpose it"),
        (np.zeros((6, 100)), r"has shape \(6, 100\), with a point in each column"),
        (np.zeros((4, 5)), r"must have shape \(num_points, 3\)"),
        (np.zeros((2, 4, 3)), r"must have shape \(num_points, 3\)"),
        (np.zeros((0, 3)), "at least one point"),
        (np.zeros((4, 3), dtype=complex), "of complex128"),
        (np.array([["a", "b", "c"]]), "must have shape"),
        (np.hstack([XYZ, XYZ - 1]), "or are these normals"),
        (np.hstack([XYZ, XYZ * 1.5]), "divide by 255"),
        (np.full((4, 3), np.nan), "12 values that are not finite"),
    ],
)
def test_arrays_that_are_no_points(tmp_path, array, message):
    with pytest.raises(ValueError, match=message):
        save(tmp_path, array)


def test_archives_with_opacity_beside_the_colors(tmp_path):
    for colors in (np.tile([*COLOR, 255], (4, 1)).astype(np.uint8), np.tile([*COLOR, 255], (4, 1)) / 255):
        np.savez(tmp_path / "a.npz", points=XYZ, colors=colors)
        assert mean_color(read(tmp_path, "b.npz", (tmp_path / "a.npz").read_bytes())) == list(COLOR)


def lines(more: str = "", first: str = "", between: str = " ") -> str:
    rows = [between.join([*map(str, corner), *more.split()]) for corner in CORNERS]
    return "\n".join([first, *rows] if first else rows) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        lines(),
        lines().replace("\n", "\r\n"),
        lines().replace("\n", "\r"),
        lines().rstrip(),
        lines(between="\t"),
        lines(between=","),
        lines(between=", "),
        lines(between=";"),
        lines(first="4"),
        lines(first="x y z"),
        lines(first="4\nx,y,z"),
        lines(first="# made by\n//X Y Z\n"),
        "\ufeff" + lines(),
        lines().replace("0 ", ".0 ").replace("1", "1.0e0"),
        lines("0 0 1", "x y z nx ny nz"),
        lines("0 0 -1", "//X Y Z Nx Ny Nz"),
    ],
)
def test_text_without_colors(tmp_path, text):
    shape = read(tmp_path, "a.xyz", text.encode())
    assert bounds(shape) == UNIT and len(positions(shape)) == 4 and shape.points.rgb is None and shape.warnings == []


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (lines("200 100 50"), []),
        (lines("200 100 50", "4"), []),
        (lines("200 100 50", between=","), []),
        (lines("200.0 100.0 50.0"), []),
        (lines("0.784314 0.392157 0.196078"), []),
        (lines("200 100 50", "//X Y Z R G B"), []),
        (lines("50 100 200", "x y z blue green red"), []),
        (lines("0.784314 0.392157 0.196078", "//X Y Z Rf Gf Bf"), []),
        (lines("200 100 50 7", "//X Y Z R G B Intensity"), ["columns left out: intensity"]),
        (lines("-1500 200 100 50", "4"), ["column 4 left out: an intensity is no colour"]),
        (lines("0.5 200 100 50"), ["column 4 left out: an intensity is no colour"]),
        (lines("12 200 100 50", "4"), ["column 4 left out: an intensity is no colour"]),
        (lines("200 100 50 0.5"), ["column 7 left out: an intensity is no colour"]),
        (lines("200 100 50 0 0.6 -0.8"), []),
        (lines("0 0.6 -0.8 200 100 50"), []),
    ],
)
def test_colors_in_text(tmp_path, text, warnings):
    shape = read(tmp_path, "a.xyz", text)
    assert bounds(shape) == UNIT and mean_color(shape) == list(COLOR) and shape.warnings == warnings


def test_an_intensity_is_left_out_and_said(tmp_path):
    shape = read(tmp_path, "a.xyz", lines("0.25"))
    assert bounds(shape) == UNIT and shape.points.rgb is None
    assert shape.warnings == ["column 4 left out: an intensity is no colour"]


def test_another_count_than_there_are_points_is_said(tmp_path):
    shape = read(tmp_path, "a.xyz", lines(first="5"))
    assert len(positions(shape)) == 4
    assert shape.warnings == ["the first line announces 5 points; the file's 4 are read"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lines("0 0 -1"), "or are these normals"),
        (lines("1 2"), "its lines have 5 columns, of which it is not clear which are colours"),
        (lines("1 200 100 50"), "its lines have 7 columns, of which it is not clear"),
        (lines("1 2 3 200 100 50"), "its lines have 9 columns, of which it is not clear"),
        (lines(between=";").replace("1;", "1,5;"), "line [12] has '[01],?5?'; decimals have a point"),
        ("0,5 1,0 2,5\n", "line 1 has '0,5'; decimals have a point"),
        (lines("200 100 C8"), "line 1 has 'C8'; expected a number"),
        (lines() + "1 2\n", "line 5 has 2 columns, those before 3"),
        ("4\n", "line 1 has 1 columns"),
        ("1 nan 0\n0 0 inf\n", "2 values that are not finite"),
    ],
)
def test_text_that_is_no_cloud(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "a.xyz", text)


def test_lines_of_words_are_looked_at_once(tmp_path):
    # Each had been taken away from the front of all.
    with pytest.raises(ValueError, match="line 3 has 'x'; expected a number"):
        read(tmp_path, "a.xyz", "x\n" * 100_000)
