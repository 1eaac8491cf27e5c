"""Files of the Point Cloud Library, written by hand to the published layout and by another reader's writer."""

import base64

import numpy as np
import pytest

from mrd_hf.models.pcd_files import decompress_lzf, read_pcd


# The sample of https://pointclouds.org/documentation/tutorials/pcd_file_format.html, shortened to three points.
PUBLISHED = b"""# .PCD v.7 - Point Cloud Data file format
VERSION .7
FIELDS x y z rgb
SIZE 4 4 4 4
TYPE F F F F
COUNT 1 1 1 1
WIDTH 3
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS 3
DATA ascii
0.93773 0.33763 0 4.2108e+06
0.90805 0.35641 0 4.2108e+06
0.81915 0.32 0 4.2108e+06
"""
# The data part of a file that pypcd4 1.5.1 wrote with python-lzf 0.2.6, of the grid below.
COMPRESSED = base64.b64decode(
    "dwEAAAAEAAABAABAAAGAPyAFAEAgAiADQADg5w/gAwBA++ADA0EX4AMDQSPgAwPgBwDgAztAC+ADO0AL4AM7QAvgBwBAM+ADA0Az4AMDQDPgAwPg"
    "BwDgAztAC+ADO0AL4AM7QAvgNwBAY+AzA0CT4DMDQMPgMQMfB/8AAAf7BAAH9wgAB/MMAAfvEAAH6xQAB+cYAAfjHAAfB98gAAfbJAAH1ygAB9Ms"
    "AAfPMAAHyzQAB8c4AAfDPAAfB79AAAe7RAAHt0gAB7NMAAevUAAHq1QAB6dYAAejXAAfB59gAAebZAAHl2gAB5NsAAePcAAHi3QAB4d4AAeDfAAf"
    "B3+AAAd7hAAHd4gAB3OMAAdvkAAHa5QAB2eYAAdjnAAfB1+gAAdbpAAHV6gAB1OsAAdPsAAHS7QAB0e4AAdDvAAfBz/AAAc7xAAHN8gABzPMAAcv"
    "0AAHK9QAByfYAAcj3AAfBx/gAAcb5AAHF+gABxPsAAcP8AAHC/QABwf4AAcD/AA="
)
INDEX = np.arange(64)
GRID = np.stack([INDEX % 4, INDEX // 4 % 4, INDEX // 16], axis=1)
GRID_COLORS = np.stack([4 * INDEX, 255 - 4 * INDEX, np.full(64, 7)], axis=1)


def header(fields: str, sizes: str, types: str, counts: str, num_points: int, data: str) -> bytes:
    return (
        f"VERSION 0.7\nFIELDS {fields}\nSIZE {sizes}\nTYPE {types}\nCOUNT {counts}\nWIDTH {num_points}\nHEIGHT 1\n"
        f"VIEWPOINT 9 9 9 1 0 0 0\nPOINTS {num_points}\nDATA {data}\n"
    ).encode()


def packed(colors: np.ndarray, opacity: int = 0) -> np.ndarray:
    """0xAARRGGBB, byte by byte."""
    return np.array([int.from_bytes(bytes([opacity, *color])) for color in colors.tolist()], dtype="<u4")


def test_published_sample():
    xyz, rgb = read_pcd(PUBLISHED).points
    np.testing.assert_allclose(xyz, [[0.93773, 0.33763, 0], [0.90805, 0.35641, 0], [0.81915, 0.32, 0]], atol=1e-7)
    blue, green, red, _ = np.float32(4.2108e6).tobytes()
    assert rgb.tolist() == [[red, green, blue]] * 3


@pytest.mark.parametrize("kind", ["F", "U", "I"])
def test_ascii_colors_of_each_type(kind):
    colors = np.array([[255, 0, 1], [2, 128, 3]])
    text = [repr(float(value)) for value in packed(colors).view("<f4")] if kind == "F" else packed(colors).tolist()
    body = "\n".join(f"{i} {i + 0.5} -1e-3 7 8 {value}" for i, value in enumerate(text))
    content = header("x y z _ rgb", "4 8 4 1 4", f"F F F U {kind}", "1 1 1 2 1", 2, "ascii") + body.encode()
    xyz, rgb = read_pcd(content).points
    np.testing.assert_allclose(xyz, [[0, 0.5, -1e-3], [1, 1.5, -1e-3]], atol=1e-9)
    assert rgb.tolist() == colors.tolist() and rgb.dtype == np.uint8


@pytest.mark.parametrize("field", ["rgb", "rgba"])
def test_binary_with_padding_and_other_fields(field):
    # As PCL lays out a PointXYZRGBNormal: 16 bytes a position, 16 a normal, then the colour.
    record = np.dtype([("z", "<f8"), ("x", "<f4"), ("pad", "u1", 4), ("n", "<i2", 3), ("y", "<u2"), ("c", "<u4")])
    points = np.zeros(5, record)
    points["x"], points["y"], points["z"] = -np.arange(5), np.arange(5) * 3, 1e6 + np.arange(5) / 1024
    points["pad"], points["n"] = 250, 251
    colors = np.arange(15).reshape(5, 3) * 17
    points["c"] = packed(colors, opacity=255 if field == "rgba" else 0)
    fields = header(f"z x _ normal y {field}", "8 4 1 2 2 4", "F F U I U U", "1 1 4 3 1 1", 5, "binary")
    xyz, rgb = read_pcd(fields + points.tobytes() + b"whatever follows").points
    assert (xyz == np.stack([points["x"], points["y"], points["z"]], axis=1)).all()
    assert (rgb == colors).all()


def test_compressed_by_another_writer():
    content = header("x y z rgb", "4 4 4 4", "F F F F", "1 1 1 1", 64, "binary_compressed") + COMPRESSED
    xyz, rgb = read_pcd(content).points
    assert (xyz == GRID).all() and (rgb == GRID_COLORS).all()


def test_compressed_with_padding_and_fields_of_several_elements():
    # Field after field, the padding left out, each in literal runs of up to 32 bytes.
    x, other, y, z = (np.arange(n, dtype="<f4") for n in (3, 6, 3, 3))
    plain = b"".join(array.tobytes() for array in (x, other, y + 10, z + 20))
    runs = [plain[start : start + 32] for start in range(0, len(plain), 32)]
    body = b"".join(bytes([len(run) - 1]) + run for run in runs)
    sizes = np.array([len(body), len(plain)], dtype="<u4").tobytes()
    fields = header("x _ other y z", "4 1 4 4 4", "F U F F F", "1 4 2 1 1", 3, "binary_compressed")
    xyz, rgb = read_pcd(fields + sizes + body).points
    assert xyz.tolist() == [[0, 10, 20], [1, 11, 21], [2, 12, 22]] and rgb is None


def test_pixels_without_depth_are_no_points():
    body = b"1 2 3 255 0\nnan nan nan 16711680 nan\n4 5 nan 65280 0\n"
    xyz, rgb = read_pcd(header("x y z rgb label", "4 4 4 4 4", "F F F U U", "1 1 1 1 1", 3, "ascii") + body).points
    assert xyz[0].tolist() == [1, 2, 3] and len(xyz) == 2 and np.isnan(xyz[1, 2])  # half a point is an error, later
    assert rgb.tolist() == [[0, 0, 255], [0, 255, 0]]


def test_older_headers_leave_out_what_has_a_default():
    content = b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 2\nHEIGHT 1\nDATA ascii\n1 2 3\n4 5 6\n"
    assert read_pcd(content).points.xyz.tolist() == [[1, 2, 3], [4, 5, 6]]


XYZ = ("4 4 4", "F F F", "1 1 1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no line DATA"),
        (PUBLISHED[:100], "no line DATA"),
        (b"DATA ascii\n1 2 3\n", "not that of a .pcd file .KeyError: 'FIELDS'"),
        (header("x y z", "4 four 4", "F F F", "1 1 1", 1, "ascii"), "not that of a .pcd file"),
        (header("x y z", "4 3 4", "F F F", "1 1 1", 1, "ascii"), "not that of a .pcd file"),
        (header("x y z", "4 4 4", "F Q F", "1 1 1", 1, "ascii"), "not that of a .pcd file"),
        (header("x y z rgb", *XYZ, 1, "ascii"), "do not fit each other"),
        (header("x y z", "4 4 4", "F F F", "1 1 -1", 1, "ascii"), "do not fit each other"),
        (header("x y z", "4 4 4", "F F F", "1 1 0", 1, "ascii") + b"1 2", "no field 'z'"),
        (header("x y z", *XYZ, -1, "binary"), "do not fit each other"),
        (header("x y z", *XYZ, 1, "zipped"), "DATA zipped is not known"),
        (header("x y intensity", *XYZ, 1, "ascii") + b"1 2 3", r"no field 'z' \(it has x, y, intensity\)"),
        (header("x y z", *XYZ, 2, "ascii") + b"1 2 3\n4 5\n", "5 values; expected 2 points of 3"),
        (header("x y z", *XYZ, 2, "binary") + bytes(23), "23 bytes of data; expected 2 points of 12"),
        (header("x y z", *XYZ, 10**15, "binary") + bytes(24), "1,000,000,000,000,000 points; at most"),
        (header("x y z", *XYZ, 2, "binary_compressed") + bytes(7), "cut off"),
        (header("x y z rgb", "4 4 4 4", "F F F F", "1 1 1 1", 64, "binary_compressed") + COMPRESSED[:-1], "cut off"),
        (header("x y z rgb", "4 4 4 4", "F F F F", "1 1 1 1", 63, "binary_compressed") + COMPRESSED, "1024 bytes"),
        (header("x y z rgb", "4 4 4 8", "F F F F", "1 1 1 1", 1, "ascii") + b"1 2 3 4", "expected 4 bytes"),
        (header("x y z", *XYZ, 1, "ascii") + b"1 two 3", "two"),
    ],
)
def test_damaged_files(content, message):
    with pytest.raises(ValueError, match=message):
        read_pcd(content)


@pytest.mark.parametrize(
    ("packed", "plain"),
    [
        (b"", b""),
        (b"\x02abc", b"abc"),
        (b"\x00a\x20\x00", b"aaaa"),  # 3 bytes, from 1 back: a reference into what it makes
        (b"\x01ab\xe0\x04\x01", b"ab" + b"ab" * 6 + b"a"),  # the longer form, 7 + 4 + 2 bytes from 2 back
        (b"\x03abcd\x40\x03\x00!", b"abcdabcd!"),
        (bytes([31, *range(32)]) * 9 + b"\x21\x1f", bytes(range(32)) * 9 + bytes(range(3))),  # from 288 back
    ],
)
def test_lzf(packed, plain):
    assert decompress_lzf(packed, len(plain)) == plain


@pytest.mark.parametrize(
    ("packed", "size", "message"),
    [
        (b"\x00a\x20\x01", 4, "before their start"),
        (b"\x00a\x20", 4, "cut off"),
        (b"\x00a\xe0", 4, "cut off"),
        (b"\x02abc", 4, "unpack to 3 bytes"),
        (b"\x00a" + b"\xe0\xff\x00" * 1000, 300, "header says 300"),
    ],
)
def test_damaged_lzf(packed, size, message):
    with pytest.raises(ValueError, match=message):
        decompress_lzf(packed, size)
