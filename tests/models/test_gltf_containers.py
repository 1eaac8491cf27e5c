"""Where glTF keeps its JSON, its buffers and its pictures, in files that are right, unusual or wrong."""

import base64
import json
import re
import struct

import numpy as np
import pytest
from PIL import Image
from support.gltf_seen import bounds, color, quarters, read
from support.gltf_writer import BLUE, GREEN, RED, SQUARE_UV, YELLOW, Gltf, four_quarters, png

from mrd_hf.models.mesh_loading import load_mesh
from mrd_hf.models.shape_files import colored_points
from mrd_hf.models.shapes import MeshError


UNIT = [[0, 0, 0], [1, 1, 0]]
QUARTERS = [RED, GREEN, BLUE, YELLOW]


def square() -> Gltf:
    file = Gltf()
    return file.show_mesh(file.square())


def chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("<I4s", len(data) if length is None else length, kind) + data


def glb(*chunks: bytes, length: int | None = None, version: int = 2) -> bytes:
    body = b"".join(chunks)
    return struct.pack("<4sII", b"glTF", version, 12 + len(body) if length is None else length) + body


def header_and_body(file: Gltf, padding: bytes = b" ") -> tuple[bytes, bytes]:
    """The JSON, padded, and the bytes of the buffer."""
    text = json.dumps({**file.json, "buffers": [{"byteLength": len(file.buffer)}]}).encode()
    return text + padding * (-len(text) % 4), bytes(file.buffer)


def test_both_forms_show_the_same():
    assert bounds(square().gltf()) == bounds(square().glb()) == UNIT


@pytest.mark.parametrize("padding", [b" ", b"\0", b"\n"])
def test_the_header_of_a_glb_is_padded_with_anything(padding):
    text, body = header_and_body(square(), padding)
    assert bounds(glb(chunk(b"JSON", text + padding * 4), chunk(b"BIN\0", body))) == UNIT


def test_unknown_chunks_between_and_after_are_passed_over():
    text, body = header_and_body(square())
    extra = chunk(b"XTRA", b"12345678")
    assert bounds(glb(chunk(b"JSON", text), extra, chunk(b"BIN\0", body), extra)) == UNIT


def test_a_glb_with_bytes_after_its_chunks():
    text, body = header_and_body(square())
    assert bounds(glb(chunk(b"JSON", text), chunk(b"BIN\0", body)) + b"\xff" * 9) == UNIT
    assert bounds(glb(chunk(b"JSON", text), chunk(b"BIN\0", body)) + bytes(10_000)) == UNIT


@pytest.mark.parametrize("length", [0, 12, 2**32 - 1])
def test_the_length_in_the_header_is_not_believed(length):
    text, body = header_and_body(square())
    assert bounds(glb(chunk(b"JSON", text), chunk(b"BIN\0", body), length=length)) == UNIT


@pytest.mark.parametrize("counted", [True, False])
def test_a_header_whose_length_is_no_multiple_of_four(counted):
    text, body = header_and_body(square(), b"")
    text += b" " * (-(len(text) + 1) % 4)  # one byte short of a multiple
    padding = b" " if counted else b""
    assert bounds(glb(chunk(b"JSON", text) + padding, chunk(b"BIN\0", body))) == UNIT


def test_a_glb_may_be_longer_or_shorter_than_its_buffer_says():
    file = square()
    text, body = header_and_body(file)
    assert bounds(glb(chunk(b"JSON", text), chunk(b"BIN\0", body + bytes(3)))) == UNIT
    # Only the part that is used has to be there: 3D Builder leaves padding out.
    file.json["buffers"] = [{"byteLength": len(body) + 3}]
    text = json.dumps(file.json).encode()
    text += b" " * (-len(text) % 4)
    assert bounds(glb(chunk(b"JSON", text), chunk(b"BIN\0", body, len(body) + 3))) == UNIT


def test_a_glb_that_is_cut_off_names_what_is_missing():
    text, body = header_and_body(square())
    data = glb(chunk(b"JSON", text), chunk(b"BIN\0", body))
    with pytest.raises(ValueError, match="bufferViews 1: ends at byte 60 of a buffer of 58"):
        read(data[:-2])
    with pytest.raises(ValueError, match="within a chunk of"):
        read(data[:50])
    with pytest.raises(ValueError, match="ends within its header"):
        read(data[:8])


def test_a_glb_without_json_is_an_error():
    with pytest.raises(ValueError, match="no JSON chunk"):
        read(glb(chunk(b"BIN\0", bytes(48))))


def test_a_glb_may_name_buffers_and_pictures_beside_it():
    file = Gltf()
    material = file.material({"baseColorTexture": {"index": file.add("textures", source=0)}})
    file.add("images", uri="a.png")
    file.show_mesh(file.square(attributes={"TEXCOORD_0": file.accessor(SQUARE_UV)}, material=material))
    body = bytes(file.buffer)
    file.json["buffers"] = [{"byteLength": len(body), "uri": "a.bin"}]
    text = json.dumps(file.json).encode()
    data = glb(chunk(b"JSON", text + b" " * (-len(text) % 4)))
    assert quarters(data, {"a.bin": body, "a.png": png(four_quarters())}) == QUARTERS


@pytest.mark.parametrize("version", [1, 3])
def test_a_glb_of_another_version_is_refused_with_it(version):
    text, body = header_and_body(square())
    with pytest.raises(ValueError, match=f"glTF version {version}; only 2.0 is read"):
        read(glb(chunk(b"JSON", text), chunk(b"BIN\0", body), version=version))


@pytest.mark.parametrize(
    ("asset", "message"),
    [
        ({"version": "1.0"}, "glTF version 1.0; only 2.0"),
        ({"version": "3.0"}, "glTF version 3.0; only 2.0"),
        ({"version": "2.1", "minVersion": "2.1"}, "glTF version 2.1, which needs a reader of 2.1; only 2.0"),
    ],
)
def test_another_version_is_refused_with_it(asset, message):
    file = square()
    file.json["asset"] = asset
    with pytest.raises(ValueError, match=message):
        read(file)


@pytest.mark.parametrize("asset", [{"version": "2.1"}, {"version": "2.0", "minVersion": "2.0"}, {"version": 2.0}, {}])
def test_versions_that_a_reader_of_2_0_may_read(asset):
    file = square()
    file.json["asset"] = asset
    assert bounds(file) == UNIT


def test_gltf_1_without_its_version_is_known_by_its_names():
    with pytest.raises(ValueError, match="glTF version 1.0"):
        read(json.dumps({"meshes": {"mesh_1": {"primitives": []}}}).encode())


def test_json_with_a_byte_order_mark_and_one_in_other_encodings():
    data = square().gltf()
    assert bounds(b"\xef\xbb\xbf" + data) == UNIT
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        with pytest.raises(ValueError, match="UTF-16 or UTF-32"):
            read(data.decode().encode(encoding))


def test_names_that_are_not_in_utf_8_do_not_matter():
    file = square()
    file.json["nodes"][0]["name"] = "NAME"
    assert bounds(file.gltf().replace(b"NAME", "Stühle".encode("latin-1"))) == UNIT


def test_whole_numbers_with_a_point_or_an_exponent():
    file = Gltf()
    texture = file.texture(png(four_quarters()), wrapS=33071)
    material = file.material({"baseColorTexture": {"index": texture, "texCoord": 0}}, alphaMode="MASK", alphaCutoff=1)
    uv = {"TEXCOORD_0": file.accessor(SQUARE_UV)}
    mesh = file.mesh(file.square(attributes=uv, material=material, mode=4))
    file.show({"children": [file.add("nodes", mesh=mesh, translation=[1, -2, 0], scale=[1, 1, 1])]})
    text = file.gltf().decode()
    pointed = re.sub(r"(?<=[\[:, ])(-?\d+)(?=[,}\]])", r"\1.0", text)
    exponents = re.sub(r"(?<=[\[:, ])(-?\d+)(?=[,}\]])", r"\1E+0", text)
    assert '"mesh": 0.0' in pointed and '"mode": 4E+0' in exponents
    expected = read(text.encode()).parts[0]
    for other in (pointed, exponents):
        found = read(other.encode()).parts[0]
        assert (found.triangles == expected.triangles).all() and (found.texture == expected.texture).all()
        assert found.wrap == expected.wrap == ("clamp", "repeat")


@pytest.mark.parametrize("index", ["0.5", "1e300", "1e999", "-1.0"])
def test_an_index_that_is_no_whole_number_or_beyond_the_end(index):
    text = Gltf().show_mesh(Gltf().square()).gltf().decode().replace('"mesh": 0', f'"mesh": {index}')
    with pytest.raises(ValueError, match="meshes .* does not exist"):
        read(text.encode())


def test_json_with_numbers_that_are_none_where_they_do_not_count():
    file = square()
    file.json["accessors"][0]["max"] = [float("nan"), float("inf"), -float("inf")]
    assert b"NaN, Infinity, -Infinity" in file.gltf()
    assert bounds(file) == UNIT


@pytest.mark.parametrize(
    "data", [b'{"asset": {"version": "2.0"},}', b"{'asset': 1}", b"", b"hello", b"{", b"\x1f\x8b\x08"]
)
def test_what_is_no_json_is_an_error(data):
    with pytest.raises(ValueError, match="its JSON cannot be read"):
        read(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "it is a pointer of Git LFS"),
        (b"\n<!DOCTYPE html><html>404</html>", "it is a page or XML"),
        (b"\x1f\x8b\x08\x01", "it is packed by gzip"),
        (b"PK\x03\x04\x01", "it is a ZIP archive"),
    ],
)
def test_what_is_often_found_in_the_place_of_a_file_is_named(data, message):
    with pytest.raises(ValueError, match=f"its JSON cannot be read: {message}"):
        read(data)


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b'"x"'])
def test_json_that_is_no_object_is_an_error(data):
    with pytest.raises(ValueError, match="its JSON is no object"):
        read(data)


def with_uri(uri: str) -> bytes:
    """The square, whose buffer has this URI."""
    file = square()
    file.json["buffers"] = [{"byteLength": len(file.buffer), "uri": uri}]
    return json.dumps(file.json).encode()


def test_data_uris_as_browsers_read_them():
    # The bytes after the square make all the letters that URLs write in another way.
    body = bytes(square().buffer) + b"\xff\xff\xff\xfb\xef\xbe"
    text = base64.b64encode(body).decode()
    assert text.endswith("////++++")
    for uri in (
        f"data:application/octet-stream;base64,{text}",
        f"data:application/gltf-buffer;base64,{text}",
        f"data:;base64,{text}",
        f"data:;BASE64,{text}",
        f"DATA:;base64,{text}",
        f"data:;base64,{text[:10]} {text[10:20]}\n{text[20:]}",
        f"data:;base64,{text.replace('/', '%2F').replace('+', '%2B')}",
        f"data:;base64,{text.replace('/', '_').replace('+', '-')}",
        f"data:;base64,{base64.b64encode(body + b'x').decode().rstrip('=')}",
        "data:application/octet-stream," + "".join(f"%{byte:02x}" for byte in body),
    ):
        assert bounds(with_uri(uri)) == UNIT, uri[:60]


def test_a_data_uri_that_is_no_base64_is_an_error():
    with pytest.raises(ValueError, match="a data URI, data:;base64,.*, is no base64"):
        read(with_uri("data:;base64,AAAA!!!!"))


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("my%20file.bin", "my file.bin"),
        ("my file.bin", "my file.bin"),
        ("100%25.bin", "100%.bin"),
        ("st%C3%BChle.bin", "stühle.bin"),
        ("a%20b.bin", "a%20b.bin"),  # a file that is called so
        ("a.bin?v=2", "a.bin"),
        ("a.bin#part", "a.bin"),
        ("what?.bin", "what?.bin"),
    ],
)
def test_names_of_files_in_uris(uri, name):
    shape = read(with_uri(uri), {name: bytes(square().buffer)})
    assert len(shape.parts[0].triangles) == 2


def test_a_missing_buffer_is_an_error_with_its_name():
    with pytest.raises(FileNotFoundError, match="here/a.bin"):
        read(with_uri("here/a.bin"))
    file = square()
    file.json["buffers"] = [{"byteLength": 60}]
    with pytest.raises(ValueError, match="buffers 0: has neither a uri nor a binary chunk"):
        read(json.dumps(file.json).encode())


def test_a_missing_picture_is_a_warning_with_its_name():
    file = Gltf()
    material = file.material({"baseColorTexture": {"index": file.add("textures", source=0)}})
    file.add("images", uri="brick%20wall.png")
    file.show_mesh(file.square(attributes={"TEXCOORD_0": file.accessor(SQUARE_UV)}, material=material))
    shape = read(file)
    assert shape.warnings == ["file not found: brick wall.png"]
    assert len(shape.parts[0].triangles) == 2


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("Textures\\Wall.png", "Textures/Wall.png"),
        ("textures/wall.PNG", "Textures/Wall.png"),
        ("C:\\\\models\\\\Wall.png", "Wall.png"),
        ("./Wall.png", "Wall.png"),
        ("a/../Wall.png", "Wall.png"),
        ("re\u0301sume\u0301.png", "r\u00e9sum\u00e9.png"),  # accents in two parts, as macOS has them
    ],
)
def test_names_of_other_systems(uri, place, tmp_path):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_bytes(png(Image.new("RGB", (2, 2), GREEN)))
    path = tmp_path / "x.gltf"
    path.write_bytes(painted(uri))
    rgb = colored_points(load_mesh(path), 10).rgb
    assert (rgb == GREEN).all()


def painted(uri: str) -> bytes:
    file = Gltf()
    material = file.material({"baseColorTexture": {"index": file.add("textures", source=0)}})
    file.add("images", uri=uri)
    file.show_mesh(file.square(attributes={"TEXCOORD_0": file.accessor(SQUARE_UV)}, material=material))
    return file.gltf()


def test_two_files_that_differ_in_case_only_are_not_guessed_between(tmp_path):
    for name in ("wall.png", "WALL.png"):
        (tmp_path / name).write_bytes(png(Image.new("RGB", (2, 2), GREEN)))
    path = tmp_path / "x.gltf"
    path.write_bytes(painted("Wall.png"))
    assert load_mesh(path).warnings == ["file not found: Wall.png"]
    path.write_bytes(painted("WALL.png"))
    assert not load_mesh(path).warnings


@pytest.mark.parametrize(
    "uri", ["../secret.png", "..%2Fsecret.png", "%2e%2e/secret.png", "..\\secret.png", "a/../../secret.png"]
)
def test_nothing_is_opened_outside_the_folder(uri, tmp_path):
    (tmp_path / "secret.png").write_bytes(png(Image.new("RGB", (2, 2), RED)))
    folder = tmp_path / "here"
    folder.mkdir()
    path = folder / "x.gltf"
    path.write_bytes(painted(uri))
    (warning,) = load_mesh(path).warnings
    assert warning.startswith("file may not be read: ")
    path.write_bytes(with_uri(uri.replace("png", "bin")))
    with pytest.raises(MeshError, match=r"x.gltf: .*file may not be read: "):
        load_mesh(path)


def test_a_picture_in_a_view_needs_no_type_and_may_have_a_wrong_one():
    for image in ({}, {"mimeType": "image/jpeg"}, {"mimeType": "image/png", "name": "wall.jpg"}):
        file = Gltf()
        texture = file.texture(png(four_quarters()))
        file.json["images"][0].pop("mimeType")
        file.json["images"][0] |= image
        material = file.material({"baseColorTexture": {"index": texture}})
        file.show_mesh(file.square(attributes={"TEXCOORD_0": file.accessor(SQUARE_UV)}, material=material))
        assert quarters(file) == QUARTERS


def test_a_file_of_the_other_form_is_known_by_its_content(tmp_path):
    for name, data in (("a.glb", square().gltf()), ("b.gltf", square().glb())):
        path = tmp_path / name
        path.write_bytes(data)
        points = np.concatenate([part.triangles for part in load_mesh(path).parts])
        assert points.min() == 0 and points.max() == 1


def test_an_empty_uri_and_an_empty_buffer():
    with pytest.raises(FileNotFoundError):
        read(with_uri(""))
    with pytest.raises(ValueError, match="bufferViews 1: ends at byte 60 of a buffer of 0"):
        read(with_uri("data:,"))


def test_color_of_an_untextured_file_is_that_of_its_material():
    file = Gltf()
    file.show_mesh(file.square(material=file.material({"baseColorFactor": [1, 0, 0, 1]})))
    assert color(file.glb()) == [255, 0, 0]
