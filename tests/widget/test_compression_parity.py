"""GLB files that Draco, meshopt or Basis Universal has packed: the page reads what the Python package reads."""

import DracoPy
import meshopt
import numpy as np
import trimesh
from support.compressed_gltf import ids_of, meshopt_file, packed, shown
from support.gltf_writer import FLOAT, SQUARE, SQUARE_INDICES, SQUARE_UV, UBYTE, USHORT, Gltf, four_quarters, png
from support.ktx2_writer import ktx2
from support.widget_parity import assert_same_answers, assert_same_points, input_settings, write_files


POINTS = np.array(SQUARE, dtype=np.float32)
FACES = np.array(SQUARE_INDICES, dtype=np.uint32).reshape(-1, 3)
POSITION = {"POSITION": (FLOAT, "VEC3", False)}


def draco(points: np.ndarray = POINTS, faces: np.ndarray | None = FACES, **options) -> bytes:
    return DracoPy.encode(points, faces, quantization_bits=14, **options)


def test_shapes_in_draco(widget, tmp_path):
    ball = trimesh.creation.icosphere(3)
    points, faces = ball.vertices.astype(np.float32), ball.faces.astype(np.uint32)
    whole = {f"level_{level}": draco(points, faces, compression_level=level) for level in (0, 5, 10)}
    whole["in_order"] = draco(points, faces, preserve_order=True)
    texts = {name: packed(data, {"POSITION": 0}, POSITION).glb() for name, data in whole.items()}
    square = {"POSITION": 0}
    texts["strip"] = packed(draco(), square, POSITION, mode=5).glb()
    texts["cloud"] = packed(draco(faces=None, preserve_order=True), square, POSITION, mode=0).glb()
    partly = packed(draco(), square, POSITION)
    partly.json["meshes"][0]["primitives"].append(partly.square())
    texts["partly"] = partly.glb()
    twice = packed(draco(), square, POSITION)
    twice.json["nodes"].append({"mesh": 0, "translation": [3, 0, 0]})
    twice.json["scenes"][0]["nodes"].append(1)
    texts["placed_twice"] = twice.glb()
    assert_same_points(widget, write_files(tmp_path, "glb", texts))


def test_attributes_in_draco(widget, tmp_path):
    paint = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 100, 50]], dtype=np.uint8)
    data = draco(colors=paint, tex_coord=np.array(SQUARE_UV, dtype=np.float64))
    kinds = POSITION | {"COLOR_0": (UBYTE, "VEC3", True), "TEXCOORD_0": (FLOAT, "VEC2", False)}
    colored = packed(data, ids_of(data), kinds)
    forgotten = packed(data, ids_of(data), kinds | {"COLOR_0": (UBYTE, "VEC3", False)})
    textured = packed(data, ids_of(data), kinds)
    base = {"baseColorTexture": {"index": textured.texture(png(four_quarters()))}}
    textured.json["meshes"][0]["primitives"][0]["material"] = textured.material(base)
    texts = {"colored": colored.glb(), "forgotten": forgotten.glb(), "textured": textured.glb()}
    beside = packed(draco(preserve_order=True), {"POSITION": 0}, POSITION)
    paint_beside = beside.accessor([(0, 0, 1)] * 4)
    beside.json["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"] = paint_beside
    texts["colors_beside"] = beside.glb()
    stored = np.array(SQUARE, dtype=np.uint16) * 65535
    data = draco(preserve_order=True, generic_attributes={5: stored})
    for normalized in (True, False):
        kinds = {"POSITION": (USHORT, "VEC3", normalized)}
        texts[f"shorts_{normalized}"] = packed(data, {"POSITION": 5}, kinds).glb()
    assert_same_points(widget, write_files(tmp_path, "glb", texts))


def test_damaged_draco_is_refused(widget, tmp_path):
    far = b"DRACO\2\2\1\1\0\0\0" + b"\xff\xff\xff\xff\x0f" * 2 + bytes(50)
    many = b"DRACO\2\3\0\0\0\0" + (10**9).to_bytes(4, "little") + bytes(50)
    texts = {"nothing": b"?", "name": b"DRACO", "cut": draco()[:-9], "zeros": b"DRACO\2\2" + bytes(50)}
    texts |= {"many_faces": far, "many_points": many}
    files = {name: packed(data, {"POSITION": 0}, POSITION).glb() for name, data in texts.items()}
    files["lost"] = packed(draco(), {"POSITION": 9}, POSITION).glb()
    files["no_number"] = packed(draco(), {"POSITION": "a"}, POSITION).glb()
    refused = assert_same_answers(widget, write_files(tmp_path, "glb", files))
    assert refused.keys() == files.keys()
    assert "points; this page reads at most" in refused["many_points"]
    assert "triangles; this page reads at most" in refused["many_faces"]
    assert "there is no attribute 9" in refused["lost"] and "cannot be decoded" in refused["cut"]


def test_shapes_in_meshopt(widget, tmp_path):
    ball = trimesh.creation.icosphere(2)
    points, faces = ball.vertices.astype(np.float32), ball.faces.astype(np.uint32)
    texts = {}
    for name in ("EXT_meshopt_compression", "KHR_meshopt_compression"):
        for version in (0, 1):
            for mode, width, kind in (("TRIANGLES", 2, USHORT), ("TRIANGLES", 4, 5125), ("INDICES", 2, USHORT)):
                vertices = meshopt.encode_gltf_buffer(points, "ATTRIBUTES", version)
                views = [
                    (vertices, {"count": len(points), "byteStride": 12, "mode": "ATTRIBUTES"}),
                    (
                        meshopt.encode_gltf_buffer(faces, mode),
                        {"count": faces.size, "byteStride": width, "mode": mode},
                    ),
                ]
                file = meshopt_file(name, views)
                count = {"componentType": FLOAT, "count": len(points), "type": "VEC3"}
                position = file.add("accessors", bufferView=0, **count)
                indices = file.add("accessors", bufferView=1, componentType=kind, count=faces.size, type="SCALAR")
                file.show_mesh({"attributes": {"POSITION": position}, "indices": indices})
                texts[f"{name}_{version}_{mode}_{width}"] = shown(file)
    assert_same_points(widget, write_files(tmp_path, "glb", texts))


def filtered(**changes) -> bytes:
    """A fan of which positions are exponents and colours YCoCg; `changes` are of what is said of the positions."""
    paint = np.array([[1, 0.5, 0.25, 1], [0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 0, 1]], dtype=np.float32)
    positions = meshopt.encode_vertex_buffer(meshopt.encode_filter_exp(POINTS * 5, 15))
    colors = meshopt.encode_vertex_buffer(meshopt.encode_filter_color(paint, 4, 8))
    said = {"count": 4, "byteStride": 12, "mode": "ATTRIBUTES", "filter": "EXPONENTIAL"}
    painted = {"count": 4, "byteStride": 4, "mode": "ATTRIBUTES", "filter": "COLOR"}
    file = meshopt_file("KHR_meshopt_compression", [(positions, said), (colors, painted)])
    file.json["bufferViews"][0]["extensions"]["KHR_meshopt_compression"] |= changes
    attributes = {
        "POSITION": file.add("accessors", bufferView=0, componentType=FLOAT, count=4, type="VEC3"),
        "COLOR_0": file.add("accessors", bufferView=1, componentType=UBYTE, count=4, type="VEC4", normalized=True),
    }
    return shown(file.show_mesh({"attributes": attributes, "mode": 6}))


def test_filters_of_meshopt(widget, tmp_path):
    assert_same_points(widget, write_files(tmp_path, "glb", {"filtered": filtered()}))


def test_what_does_not_fit_is_refused(widget, tmp_path):
    texts = {
        "negative": filtered(count=-1),
        "a_part": filtered(count=3.5),
        "many": filtered(count=10**12),
        "stride": filtered(byteStride=6),
        "no_mode": filtered(mode=None),
        "of_objects": filtered(mode="constructor"),
        "other_filter": filtered(filter="OTHER"),
        "of_another_stride": filtered(filter="QUATERNION"),
        "filter_of_indices": filtered(mode="INDICES", byteStride=4),
        "cut": filtered(byteLength=20),
    }
    refused = assert_same_answers(widget, write_files(tmp_path, "glb", texts))
    assert refused.keys() == texts.keys()
    assert all("meshopt" in message for message in refused.values()), refused


BLOCKS = [[(255, 0, 0, 255), (0, 255, 0, 90)], [(0, 0, 255, 255), (250, 200, 9, 255)]]


def basis(data: bytes, fallback: bytes | None = None, **material) -> bytes:
    """A square with a KTX2 texture, and with another that is taken where there is one."""
    file = Gltf()
    source = file.add("images", bufferView=file.view(data), mimeType="image/ktx2")
    texture = {"extensions": {"KHR_texture_basisu": {"source": source}}}
    if fallback is not None:
        texture["source"] = file.add("images", bufferView=file.view(fallback), mimeType="image/png")
    painted = file.material({"baseColorTexture": {"index": file.add("textures", **texture)}}, **material)
    attributes = {"TEXCOORD_0": file.accessor(SQUARE_UV)}
    return file.show_mesh(file.square(attributes=attributes, material=painted)).glb()


def test_textures_of_basis_universal(widget, tmp_path):
    wide = [[(n % 256, n // 2, 7, 255) for n in range(512)]] * 2
    texts = {
        "plain": basis(ktx2(BLOCKS)),
        "holes": basis(ktx2(BLOCKS), alphaMode="MASK"),
        "beside_another": basis(ktx2(BLOCKS), png(four_quarters())),
        "made_smaller": basis(ktx2(wide)),
        "cut": basis(ktx2(BLOCKS)[:-8]),
        "header_alone": basis(ktx2(BLOCKS)[:60]),
        "zeros": basis(ktx2(BLOCKS)[:12] + bytes(90)),
        "too_large": basis(ktx2(BLOCKS)[:20] + (2**20).to_bytes(4, "little") * 2 + ktx2(BLOCKS)[28:]),
    }
    files = write_files(tmp_path, "glb", texts)
    assert_same_points(widget, files)
    shown = [np.unique(values[:, 3:], axis=0) for values in widget.prepare(files[:4], input_settings())]
    assert [len(colors) for colors in shown[:3]] == [4, 3, 4] and len(shown[3]) > 100
