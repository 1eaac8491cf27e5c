"""PLY files of all kinds of headers and rows: the page reads what the Python package reads, or both refuse."""

import struct

import numpy as np
from PIL import Image
from support.gltf_writer import four_quarters, png
from support.widget_parity import assert_same_answers, assert_same_points, write_files


CODES = {"char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "int64": "q", "float": "f"}
POINTS = [(0, 0, 0), (2, 0, 0), (0, 1, 0), (0, 0, 1)]
XYZ = ("float x", "float y", "float z")
TRIANGLES = [(0, 1, 2), (0, 2, 3)]
LIST = "list uchar int vertex_indices"


def header(properties: tuple, count: int = 4, faces: str = "", form: str = "ascii") -> str:
    lines = "".join(f"property {property}\n" for property in properties)
    return f"ply\nformat {form} 1.0\nelement vertex {count}\n{lines}{faces}end_header\n"


def faces(corners: str = LIST) -> str:
    return f"element face 2\nproperty {corners}\n"


def text_mesh(properties: tuple = XYZ, more: list | None = None, corners: str = LIST) -> str:
    """The four points, with more values each, and two triangles."""
    rows = [(*point, *extra) for point, extra in zip(POINTS, more or [()] * 4, strict=True)]
    rows += [(3, *triangle) for triangle in TRIANGLES]
    return header(properties, faces=faces(corners)) + "".join(" ".join(map(str, row)) + "\n" for row in rows)


def binary_cloud(kind: str, name: str, values: list, form: str = "little") -> bytes:
    code = ("<" if form == "little" else ">") + "3f" + CODES[kind]
    rows = b"".join(struct.pack(code, *point, value) for point, value in zip(POINTS, values, strict=True))
    return header((*XYZ, f"{kind} {name}"), form=f"binary_{form}_endian").encode() + rows


def test_headers_and_rows(widget, tmp_path):
    plain = text_mesh()
    top, rows = plain.split("end_header\n")
    texts = {
        "capitals": plain.replace("float x", "FLOAT X").replace("face", "FACE").replace("ascii", "ASCII"),
        "names_with_spaces": text_mesh((*XYZ, "float scalar field"), [(0.5,)] * 4),
        "long_integers": text_mesh(corners="list uchar int64 vertex_indices").replace("float x", "longlong x"),
        "returns": plain.replace("\n", "\r"),
        "returns_and_feeds": plain.replace("\n", "\r\n"),
        "a_mark": b"\xef\xbb\xbf" + plain.encode(),
        "the_end_in_a_comment": plain.replace("element vertex", "comment no end_header\nelement vertex"),
        "empty_lines": plain.replace("\nelement", "\n\nelement"),
        "lines_after_the_end": plain + "7 7 7\n8\n",
        "rows_in_one_line": "end_header\n".join((top, rows.replace("\n", " "))),
        "floats_that_need_rounding": plain.replace("2 0 0", "2.123456789 0 0"),
        "nan": plain.replace("2 0 0", "-nan(ind) 0 0"),
        "indices_as_floats": text_mesh(corners="list float float vertex_indices"),
    }
    assert_same_points(widget, write_files(tmp_path, "ply", texts))


def test_textures(widget, tmp_path):
    (tmp_path / "my wood.png").write_bytes(png(four_quarters()))
    Image.new("RGB", (4, 4), (10, 200, 30)).save(tmp_path / "green.png")
    comments = "comment TextureFile my wood.png\ncomment texturefile: 'green.png'\n"
    uv = [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)]
    of_faces = "list uchar int vertex_indices\nproperty list uchar float texcoord\nproperty int texnumber"
    colored = (*XYZ, "uchar red", "uchar green", "uchar blue")
    paint = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]

    def by_corners(
        numbers: tuple[int, int], second: tuple[int, ...], properties: tuple = XYZ, more: list | None = None
    ) -> str:
        rows = text_mesh(properties, more, of_faces).splitlines()
        for row, number, corners in zip((-2, -1), numbers, ((0, 1, 2), second), strict=True):
            values = [value for corner in corners for value in uv[corner]]
            rows[row] += f" {len(values)} {' '.join(map(str, values))} {number}"
        return "\n".join(rows) + "\n"

    texts = {
        f"vertices_{first}": text_mesh((*XYZ, f"float {first}", f"float {second}"), uv)
        for first, second in (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texcoord_u", "texcoord_v"))
    }
    texts |= {
        "corners": by_corners((0, 1), (0, 2, 3)),
        "one_without": by_corners((1, -1), (0, 2, 3)),
        "one_beyond": by_corners((7, 0), (0, 2, 3), colored, paint),
        "too_few_coordinates": by_corners((0, 0), (0, 2), colored, paint),
        "none_by_corners": by_corners((0, 0), ()).replace(" 6 0.1 0.1 0.9 0.1 0.9 0.9 0", " 0 0"),
        "nan": text_mesh((*XYZ, "float s", "float t"), [("nan", 0.2), *uv[1:]]),
        "without_coordinates": text_mesh(colored, paint),
    }
    texts = {name: text.replace("element vertex", f"{comments}element vertex") for name, text in texts.items()}
    (tmp_path / "gem\u00e4lde.png").write_bytes(png(four_quarters()))
    texts["accent"] = texts["corners"].replace("my wood.png", "gem\u00e4lde.png")
    texts["gone"] = texts["corners"].replace("green.png", "gone.png")
    texts["unnamed"] = by_corners((0, 1), (0, 2, 3))
    assert_same_points(widget, write_files(tmp_path, "ply", texts))


def test_colors_of_every_type(widget, tmp_path):
    names = ("red", "green", "blue")

    def colored(kind: str, rows: list) -> str:
        return text_mesh((*XYZ, *(f"{kind} {name}" for name in names)), rows)

    whole = [(255, 0, 9), (0, 255, 8), (3, 4, 255), (200, 100, 50)]
    bits = [r << 16 | g << 8 | b for r, g, b in whole]
    texts = {
        "bytes": colored("uchar", whole),
        "chars": colored("char", whole),
        "capitals": colored("uchar", whole).replace("red", "Red").replace("blue", "BLUE"),
        "two_bytes": colored("ushort", [tuple(257 * v for v in row) for row in whole]),
        "two_bytes_of_few": colored("ushort", whole),
        "floats": colored("float", [tuple(v / 255 for v in row) for row in whole]),
        "mixed": colored("uchar", whole).replace("uchar red", "ushort red"),
        "unknown": text_mesh((*XYZ, "uchar my_color"), [(7,)] * 4),
        "packed_text": text_mesh((*XYZ, "uint rgb"), [(value,) for value in bits]),
        "packed_uint": binary_cloud("uint", "rgba", [value | 200 << 24 for value in bits]),
        "packed_int": binary_cloud("int", "rgb", bits, "big"),
        "packed_short": binary_cloud("ushort", "rgb", [1, 2, 3, 4]),
    }
    # Of the highest bits all set, the float is nan.
    as_floats = binary_cloud("uint", "rgb", [value | 255 << 24 for value in bits])
    texts["packed_float"] = as_floats.replace(b"uint rgb", b"float rgb")
    assert_same_points(widget, write_files(tmp_path, "ply", texts))


def test_floats_of_four_bytes_are_rounded_as_numpys(widget, tmp_path):
    """Whose product with 255 is exactly between two bytes as float32, and beside it as a number of JavaScript's."""
    shares = np.arange(2**22, dtype=np.float32) / 2**22
    between = shares[np.round(shares * 255) != np.round(shares.astype(float) * 255)]
    assert len(between) > 20
    shares = np.tile(between, 3 * len(POINTS))[: 3 * len(POINTS)].reshape(-1, 3)
    rows = [(*point, *row) for point, row in zip(POINTS, shares.tolist(), strict=True)]
    for kind in ("float", "double"):
        properties = (*XYZ, *(f"{kind} {name}" for name in ("red", "green", "blue")))
        text = header(properties) + "".join(" ".join(map(repr, row)) + "\n" for row in rows)
        assert_same_points(widget, write_files(tmp_path, "ply", {kind: text}))


def test_splats_that_are_packed(widget, tmp_path):
    rng = np.random.default_rng(0)
    packed = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
    axes = [f"{end}_{axis}" for end in ("min", "max") for axis in "xyz"]
    colors = [f"{end}_{color}" for end in ("min", "max") for color in "rgb"]

    def splats(ranges: list[str], chunks: int = 2, name: str = "packed_color") -> bytes:
        lines = "".join(f"property float {name}\n" for name in ranges)
        top = f"ply\nformat binary_little_endian 1.0\nelement chunk {chunks}\n{lines}element vertex 300\n"
        top += "".join(f"property uint {known}\n" for known in packed).replace("packed_color", name) + "end_header\n"
        table = np.sort(rng.uniform(0, 1, (2, chunks, len(ranges) // 2)), axis=0)
        table = np.concatenate([table[0, :, :3], table[1, :, :3], table[0, :, 3:], table[1, :, 3:]], axis=1)
        values = rng.integers(0, 2**32, (300, 4), dtype=np.uint32)
        return top.encode() + table.astype("<f4").tobytes() + values.astype("<u4").tobytes()

    files = {"without_ranges": splats(axes), "with_ranges": splats([*axes, *colors])}
    assert_same_points(widget, write_files(tmp_path, "ply", files))
    damaged = {"few_chunks": splats(axes, 1), "other": splats(axes, name="packed_other")}
    refused = assert_same_answers(widget, write_files(tmp_path, "ply", damaged))
    assert "more chunks" in refused["few_chunks"] and "compressed in a way" in refused["other"]


def test_what_is_refused(widget, tmp_path):
    plain = text_mesh()
    rows = "".join(f"{x} {y} {z} {n} {n} {n}\n" for n, (x, y, z) in enumerate(POINTS))
    texts = {
        "longer_rows": header(XYZ) + rows,
        "longer_rows_of_a_mesh": plain.replace("2 0 0", "2 0 0 9"),
        "letters": plain.replace("2 0 0", "2 two 0"),
        "commas": plain.replace("2 0 0", "2 0,5 0"),
        "letters_after_the_end": plain + "the end\n",
        "cut_off": plain[:-2],
        "another_name": text_mesh(corners="list uchar int corners"),
        "another_type": plain.replace("float x", "half x"),
        "another_line": plain.replace("element face", "elements face"),
        "a_byte_beyond": text_mesh((*XYZ, "uchar red"), [(300,)] * 4),
        "a_fraction": text_mesh((*XYZ, "int red"), [(0.5,)] * 4),
        "half_a_list": plain.replace("3 0 1 2", "2.5 0 1 2"),
        "vertex_beyond": plain.replace("3 0 1 2", "3 0 1 4"),
        "dark_shorts": text_mesh((*XYZ, "short red", "short green", "short blue"), [(300, 2, 3)] * 4),
        "no_end": plain.replace("end_header", "end"),
    }
    refused = assert_same_answers(widget, write_files(tmp_path, "ply", texts))
    assert refused.keys() == texts.keys()
    assert "its rows have 24 values, where its header announces 12" in refused["longer_rows"]
    assert "none of the lists" in refused["another_name"] and "'two' is no number" in refused["letters"]
