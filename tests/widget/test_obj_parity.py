"""OBJ files that are written in unusual ways, or damaged: the page reads what the Python package reads."""

import numpy as np
from PIL import Image
from support.gltf_writer import four_quarters, png
from support.widget_parity import assert_same_answers, assert_same_points, input_settings, write_files


VERTICES = "v 0 0 0\nv 2 0 0\nv 0 1 0\nv 0 0 1\n"
FACES = "f 1 2 3\nf 1 3 4\n"
PLAIN = VERTICES + FACES
UVS = "vt 0 0\nvt 1 0\nvt 0 1\nvt 1 1\n"
TEXTURED = "mtllib picture.mtl\nusemtl skin\n"


def test_lines_that_end_or_go_on_otherwise(widget, tmp_path):
    texts = {
        "returns": PLAIN.replace("\n", "\r"),
        "comment_of_a_path": PLAIN.replace("v 2 0 0", "# C:\\shapes\\\nv 2 0 0"),
        "comment_after_a_face": PLAIN.replace("f 1 2 3", "f 1 2 3 # the first"),
        "goes_on": PLAIN.replace("f 1 2 3", "f 1 2 \\\r\n 3"),
        "zeros_after_the_end": PLAIN + "\0\0\x1a",
        "utf_16": PLAIN.encode("utf-16"),
        "old_faces": PLAIN.replace("f ", "fo "),
        "tabs": PLAIN.replace(" ", "\t"),
    }
    assert_same_points(widget, write_files(tmp_path, "obj", texts))


def test_faces_in_any_order(widget, tmp_path):
    (tmp_path / "picture.png").write_bytes(png(four_quarters()))
    (tmp_path / "picture.mtl").write_text("newmtl skin\nmap_Kd picture.png\n")
    faces = "f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n"
    texts = {
        "before_their_vertices": FACES + VERTICES,
        "before_their_texture_coordinates": TEXTURED + VERTICES + faces + UVS,
        "before_all": TEXTURED + faces + VERTICES + UVS,
        "negative": TEXTURED + VERTICES + UVS + "f -4/-4 -3/-3 -2/-2\nv 5 5 5\nf -5/-4 -3/-2 -2/-1\n",
        "of_lost_texture_coordinates": TEXTURED + VERTICES + UVS + "f 1/1 2/2 3/9\nf 1/-9 3/3 4/4\nf 2/2 3/3 4/4\n",
        "of_zero_texture_coordinates": TEXTURED + VERTICES + UVS + "f 1/0 2/2 3/3\nf 1/1 3/3 4/4\n",
        "without_some": TEXTURED + VERTICES + UVS + "f 1 2//1 3/3\nf 1/1/1 3/3/1 4/4/1\n",
    }
    assert_same_points(widget, write_files(tmp_path, "obj", texts))


def test_colors_of_vertices(widget, tmp_path):
    def colored(*more: str) -> str:
        lines = zip(VERTICES.splitlines(), more, strict=True)
        return "".join(f"{line} {color}\n" for line, color in lines) + FACES

    painted = "#MRGB ffc86432ff0a6432\n#MRGB FF0AFF32ffc86432\n"
    texts = {
        "floats": colored("1 0 0", "0 1 0", "0 0 1", "1 1 1"),
        "bytes": colored("255 0 0", "0 255 0", "0 0 255", "9 9 9"),
        "on_some": colored("1 0 0", "", "0 0 1", "0.5"),
        "opacity": colored("1 0 0 1", "0 1 0 1", "0 0 1 1", "1 1 1 1"),
        "opacity_of_less": colored("1 0 0 0.5", "1 1 0 0.5", "1 0 1 0.2", "1 1 1 0.5"),
        "after_a_weight": colored("1 0 0 0.5", "1 1 0 0", "1 0 1 0", "1 1 0 0.25"),
        "after_a_weight_with_opacity": colored("1 0 0 0.5 1", "1 1 0 0 1", "1 0 1 0 1", "1 1 0 0.25 1"),
        "ragged": colored("1 0 0 0.5 1", "0 1 0", "1 0 1 0 1", "1 1 0 0.25 1"),
        "zbrush": VERTICES + painted + FACES,
        "zbrush_of_some": VERTICES + painted.splitlines()[0] + "\n" + FACES,
        "zbrush_indented": VERTICES + "\t" + painted.splitlines()[0] + "\n" + FACES,
        "zbrush_cloud": VERTICES + painted,
        "zbrush_of_none": VERTICES.replace("\n", " 1 0 0\n") + "#MRGB\n" + FACES,
    }
    assert_same_points(widget, write_files(tmp_path, "obj", texts))


def test_materials(widget, tmp_path):
    (tmp_path / "my picture.png").write_bytes(png(four_quarters()))
    Image.new("RGB", (4, 4), (10, 200, 30)).save(tmp_path / "green.png")
    libraries = {
        "named_again": "newmtl a\nKd 1 0 0\nnewmtl b\nKd 0 0 1\nnewmtl a\nKd 0 1 0\n",
        "comments": "newmtl a # the first\nKd 1 0 0 # red\nnewmtl b\nKd 0 0 1\n",
        "nonsense": "newmtl a\nKd spectral a.rfl\nnewmtl b\nKd 0 0,5 1\n",
        "options": "newmtl a\nmap_Kd -s 2 3 -o 0.25 0.1 my picture.png\n"
        "newmtl b\nmap_Kd -clamp on -bm 1 my picture.png\n",
        "utf_16": "newmtl a\nKd 1 0 0\nnewmtl b\nKd 0 0 1\n",
        "quoted": 'newmtl a\nmap_Kd "my picture.png"\nnewmtl b\nmap_Kd green.png # green\n',
        "cyan": "newmtl a\nKd 0 1 1\n",
        "a_line_separator": "# wood\u2028oak\nnewmtl a\nKd 0 1 1\n",
    }
    for name in ("Two.png", "TWO.png", "Wood.PNG", "ho\u0308lzern.png"):  # an accent as macOS has it
        (tmp_path / name).write_bytes(png(four_quarters()))
    libraries["other_letters"] = "newmtl a\nmap_Kd tex\\wood.png\nnewmtl b\nmap_Kd h\u00f6lzern.png\n"
    libraries["unclear_letters"] = "newmtl a\nmap_Kd two.png\nnewmtl b\nmap_Kd TWO.png\n"
    for name, text in libraries.items():
        (tmp_path / f"{name}.mtl").write_text(text, encoding="utf-16" if name == "utf_16" else "utf-8")
    body = VERTICES + UVS.replace("vt 1 0", "vt 1.3 0") + "usemtl a\nf 1/1 2/2 3/3\nusemtl b\nf 1/1 3/3 4/4\n"
    texts = {name: f"mtllib {name}.mtl\n{body}" for name in libraries}
    texts["comment_after_a_library"] = "mtllib cyan.mtl # of this\n" + body
    texts["comment_after_a_name"] = "mtllib cyan.mtl\n" + body.replace("usemtl a", "usemtl a # first")
    texts["no_name"] = "mtllib cyan.mtl\n" + body.replace("usemtl a", "usemtl")
    texts["two"] = "mtllib cyan.mtl\nmtllib named_again.mtl\n" + body
    texts["two_in_a_line"] = "mtllib cyan.mtl named_again.mtl\n" + body
    assert_same_points(widget, write_files(tmp_path, "obj", texts))


def test_masks(widget, tmp_path):
    (tmp_path / "t.png").write_bytes(png(four_quarters()))
    (tmp_path / "large.png").write_bytes(png(four_quarters(20)))
    gray = Image.new("RGB", (8, 8), (255, 255, 255))
    gray.paste((0, 0, 0), (0, 0, 4, 8))
    gray.paste((127, 128, 129), (4, 4, 8, 8))  # a shade below the middle, by the luma
    gray.save(tmp_path / "mask.png")
    holed = four_quarters().convert("RGBA")
    holed.putalpha(gray.convert("L"))
    holed.save(tmp_path / "holed.png")
    libraries = {
        "mask": "map_Kd t.png\nmap_d mask.png",
        "opacity": "map_Kd t.png\nmap_opacity -imfchan m holed.png",
        "of_itself": "map_Kd holed.png\nmap_d holed.png",
        "opaque_of_itself": "map_Kd t.png\nmap_d t.png",
        "of_another_size": "map_Kd large.png\nmap_d mask.png",
        "larger_mask": "map_Kd mask.png\nmap_d large.png",
        "of_a_color": "Kd 1 0 0.2\nmap_d mask.png",
        "of_no_color": "map_d holed.png",
        "placed_alike": "map_Kd -s 2 1 t.png\nmap_d -s 2 1 mask.png",
        "placed_otherwise": "map_Kd t.png\nmap_d -s 2 2 mask.png",
        "gone": "map_Kd t.png\nmap_d gone.png",
    }
    body = f"{VERTICES}{UVS}usemtl a\nf 1/1 2/2 3/3\nf 1/1 3/3 4/4\nf 1 2 4\n"
    for name, text in libraries.items():
        (tmp_path / f"{name}.mtl").write_text(f"newmtl a\n{text}\n")
    texts = {name: f"mtllib {name}.mtl\n{body}" for name in libraries}
    assert_same_points(widget, write_files(tmp_path, "obj", texts))


def test_names_in_the_encodings_of_many_countries(widget, tmp_path):
    words = {
        "gb18030": "\u7ea2\u8272",
        "shift_jis": "\u8d64\u3044\u8868",  # the last one ends with a backslash's byte
        "cp949": "\ube68\uac15",
        "big5": "\u7d05\u8272",
        "cp1251": "\u0442\u0430\u0431\u0443\u0440\u0435\u0442",
        "latin-1": "r\u00f4\u00e0",
        "utf-8": "\u8d64\u00e0",
    }
    body = f"{VERTICES}{UVS}f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n"
    files = []
    for encoding, word in words.items():
        (tmp_path / f"{word}.png").write_bytes(png(four_quarters()))
        (tmp_path / f"{encoding}.mtl").write_bytes(f"newmtl {word}\nmap_Kd textures\\{word}.png\n".encode(encoding))
        files.append(tmp_path / f"{encoding}.obj")
        files[-1].write_bytes(f"mtllib {encoding}.mtl\nusemtl {word}\n{body}".encode(encoding))
    (tmp_path / "mixed.obj").write_text(f"mtllib gb18030.mtl\nusemtl {words['gb18030']}\n{body}", encoding="utf-8")
    files.append(tmp_path / "mixed.obj")
    assert_same_points(widget, files)
    # Each has the picture's colours, and not that of a shape without any.
    for values in widget.prepare(files, input_settings()):
        assert not isinstance(values, str) and len(np.unique(values[:, 3:], axis=0)) > 3


def test_faces_on_the_edges_of_the_texture(widget, tmp_path):
    (tmp_path / "picture.png").write_bytes(png(four_quarters()))
    clamped = "newmtl skin\nmap_Kd -clamp on picture.png\n"
    (tmp_path / "picture.mtl").write_text("newmtl skin\nmap_Kd picture.png\n")
    (tmp_path / "clamped.mtl").write_text(clamped)
    texts = {
        f"{name}_{u}_{v}": f"mtllib {name}.mtl\nusemtl skin\n{VERTICES}vt {u} {v}\nf 1/1 2/1 3/1\nf 1/1 3/1 4/1\n"
        for name in ("picture", "clamped")
        for u in (-1, 0, 1, 2)
        for v in (-1, 0, 1, 2)
    }
    assert_same_points(widget, write_files(tmp_path, "obj", texts))


def test_what_is_refused(widget, tmp_path):
    texts = {
        "vertex_zero": PLAIN + "f 0 1 2\n",
        "vertex_beyond": PLAIN + "f 1 2 9\n",
        "vertex_before": "f -1 -2 -3\n" + PLAIN,
        "two_numbers": PLAIN.replace("v 2 0 0", "v 2 0"),
        "commas": PLAIN.replace("v 2 0 0", "v 2 0,5 0"),
        "hexadecimal": PLAIN.replace("v 2 0 0", "v 0x2 0 0"),
        "letters": PLAIN.replace("v 2 0 0", "v two 0 0"),
        "texture_coordinates": PLAIN + "vt a 0\n",
        "corners": PLAIN + "f 1 2 x\n",
        "half_a_corner": PLAIN + "f 1 2 2.5\n",
        "curves": VERTICES + "cstype bezier\ncurv 0 1 1 2 3 4\n",
        "colors": PLAIN.replace("v 2 0 0", "v 2 0 0 -3 0 0.5"),
        "not_finite_cloud": "v 1.#QNAN 0 0\nv 0 inf 0\n",
    }
    refused = assert_same_answers(widget, write_files(tmp_path, "obj", texts))
    assert refused.keys() == texts.keys()
    assert "counted from 1" in refused["vertex_zero"] and "there are 4" in refused["vertex_beyond"]
    assert "decimals have a point" in refused["commas"] and "'0x2' is no number" in refused["hexadecimal"]
    assert "curved surfaces" in refused["curves"]


def test_spellings_of_numbers(widget, tmp_path):
    far = "f 1 2 5\n"
    texts = {
        "nan_of_compilers": PLAIN + "v 1.#QNAN 0 0\n" + far,
        "nan_in_brackets": PLAIN + "v -nan(ind) 0 0\n" + far,
        "infinite": PLAIN + "v -1.#INF00 inf 0\n" + far,
        "nan_of_texture_coordinates": PLAIN + "vt nan 1.#INF\n",
        "points_that_are_none": VERTICES + "v 1.#QNAN 0 0\nv 0 -inf 0\n" + VERTICES.replace("0 1 0", "3 1 2"),
        "exponents": PLAIN.replace("v 2 0 0", "v +20.e-1 -.0 0E5"),
    }
    assert_same_points(widget, write_files(tmp_path, "obj", texts))
