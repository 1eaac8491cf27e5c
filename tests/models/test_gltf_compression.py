"""Draco and meshopt in glTF, against the arrays that were packed."""

import sys

import numpy as np
import pytest
from support.compressed_gltf import DRACO, ids_of, meshopt_file, packed, shown
from support.gltf_seen import area, bounds, color, corners, quarters, read
from support.gltf_writer import (
    BLUE,
    FLOAT,
    GREEN,
    RED,
    SQUARE,
    SQUARE_INDICES,
    SQUARE_UV,
    UBYTE,
    USHORT,
    YELLOW,
    Gltf,
    four_quarters,
    png,
)

from mrd_hf.models import shape_limits
from mrd_hf.models.gltf_document import GltfDocument
from mrd_hf.models.shapes import PointCloud


DracoPy = pytest.importorskip("DracoPy")
QUARTERS = [RED, GREEN, BLUE, YELLOW]
POINTS = np.array(SQUARE, dtype=np.float32)
FACES = np.array(SQUARE_INDICES, dtype=np.uint32).reshape(-1, 3)


POSITION = {"POSITION": (FLOAT, "VEC3", False)}


@pytest.mark.parametrize("bits", [8, 14])
@pytest.mark.parametrize("level", [0, 7, 10])
def test_positions_in_draco(bits, level):
    data = DracoPy.encode(POINTS, FACES, quantization_bits=bits, compression_level=level)
    file = packed(data, {"POSITION": 0}, POSITION)
    np.testing.assert_allclose(bounds(file), [[0, 0, 0], [1, 1, 0]], atol=2.0**-bits)
    assert abs(area(file) - 1) < 2.0 ** (1 - bits)


def test_colours_and_texture_coordinates_in_draco():
    paint = np.array([[255, 255, 0]] * 4, dtype=np.uint8)
    uv = np.array(SQUARE_UV, dtype=np.float64)
    data = DracoPy.encode(POINTS, FACES, quantization_bits=14, colors=paint, tex_coord=uv)
    kinds = POSITION | {"COLOR_0": (UBYTE, "VEC3", True), "TEXCOORD_0": (FLOAT, "VEC2", False)}
    file = packed(data, ids_of(data), kinds)
    assert color(file) == list(YELLOW)
    material = file.material({"baseColorTexture": {"index": file.texture(png(four_quarters()))}})
    file.json["meshes"][0]["primitives"][0]["material"] = material
    # Times yellow: no blue is left.
    assert quarters(file) == [RED, GREEN, (0, 0, 0), YELLOW]


def test_normalised_integers_in_draco():
    """Positions of shorts as a generic attribute, which KHR_mesh_quantization allows."""
    stored = np.array(SQUARE, dtype=np.uint16) * 65535
    data = DracoPy.encode(POINTS, FACES, preserve_order=True, generic_attributes={5: stored})
    file = packed(data, {"POSITION": 5}, {"POSITION": (USHORT, "VEC3", True)})
    assert bounds(file) == [[0, 0, 0], [1, 1, 0]]
    file.json["accessors"][0]["normalized"] = False
    assert bounds(file) == [[0, 0, 0], [65535, 65535, 0]]


def test_a_strip_in_draco_is_triangles():
    data = DracoPy.encode(POINTS, FACES, quantization_bits=14)
    file = packed(data, {"POSITION": 0}, POSITION, mode=5)
    assert len(corners(file)) == 2 and abs(area(file) - 1) < 1e-3


def test_joints_and_weights_in_draco():
    joints = np.array([[0, 1, 0, 0]] * 4, dtype=np.uint8)
    weights = np.array([[0.5, 0.5, 0, 0]] * 4, dtype=np.float32)
    data = DracoPy.encode(POINTS, FACES, preserve_order=True, generic_attributes={7: joints, 8: weights})
    kinds = POSITION | {"JOINTS_0": (UBYTE, "VEC4", False), "WEIGHTS_0": (FLOAT, "VEC4", False)}
    file = packed(data, {**ids_of(data), "JOINTS_0": 7, "WEIGHTS_0": 8}, kinds)
    file.add("skins", joints=[1, 2])
    file.json["nodes"] = [{"mesh": 0, "skin": 0}, {"translation": [4, 0, 0]}, {"translation": [0, 2, 0]}]
    np.testing.assert_allclose(bounds(file), [[2, 1, 0], [3, 2, 0]], atol=1e-3)


def test_a_cloud_in_draco():
    data = DracoPy.encode(POINTS, quantization_bits=14, preserve_order=True)
    file = packed(data, {"POSITION": 0}, POSITION, mode=0)
    cloud = read(file)
    assert isinstance(cloud, PointCloud)
    found = cloud.points.xyz[np.lexsort(cloud.points.xyz.T.round(2))]
    np.testing.assert_allclose(found, POINTS[np.lexsort(POINTS.T)], atol=1e-3)


def test_one_part_in_draco_and_one_that_is_not():
    file = packed(DracoPy.encode(POINTS, FACES, quantization_bits=14), {"POSITION": 0}, POSITION)
    file.json["meshes"][0]["primitives"].append(file.square())
    assert abs(area(file) - 2) < 1e-3


def test_what_is_not_in_the_draco_data_is_beside_it():
    data = DracoPy.encode(POINTS, FACES, quantization_bits=14, preserve_order=True)
    file = packed(data, {"POSITION": 0}, POSITION)
    paint = file.accessor([(0, 0, 1)] * 4)
    file.json["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"] = paint
    assert color(file) == list(BLUE)


def test_draco_buffers_are_decoded_once_and_counted_together(monkeypatch):
    decoded = []
    decode = DracoPy.decode
    monkeypatch.setattr(DracoPy, "decode", lambda data: decoded.append(data) or decode(data))
    monkeypatch.setitem(shape_limits.ALLOWANCES, "decoded faces", shape_limits.Allowance(4, 0))
    data = DracoPy.encode(POINTS, FACES, quantization_bits=14)
    file = packed(data, {"POSITION": 0}, POSITION)
    primitives = file.json["meshes"][0]["primitives"]
    unseen = {"attributes": {}, "extensions": {DRACO: {"bufferView": file.view(data), "attributes": {}}}}
    primitives += [primitives[0], unseen]
    assert abs(area(file) - 2) < 1e-3 and len(decoded) == 1
    for _ in range(2):
        other = {DRACO: {"bufferView": file.view(data), "attributes": {"POSITION": 0}}}
        primitives.append({**primitives[0], "extensions": other})
    with pytest.raises(ValueError, match="6 decoded faces; at most 4"):
        read(file)


@pytest.mark.parametrize("data", [b"?", b"DRACO", DracoPy.encode(POINTS, FACES)[:-9], b"DRACO\2\2" + bytes(50)])
def test_damaged_draco_is_an_error(data):
    with pytest.raises(ValueError, match="its Draco data cannot be decoded"):
        read(packed(data, {"POSITION": 0}, POSITION))


def test_an_id_that_the_draco_data_lacks_is_an_error():
    with pytest.raises(ValueError, match="its Draco data cannot be decoded .*POSITION: there is no attribute 9"):
        read(packed(DracoPy.encode(POINTS, FACES), {"POSITION": 9}, POSITION))


def test_without_the_extra_what_is_beside_the_compressed_data_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    file = Gltf()
    primitive = file.square()
    primitive["extensions"] = {DRACO: {"bufferView": file.view(b"draco"), "attributes": {"POSITION": 0}}}
    file.json["extensionsUsed"] = [DRACO]
    assert bounds(file.show_mesh(primitive)) == [[0, 0, 0], [1, 1, 0]]
    del file.json["accessors"][0]["bufferView"]
    with pytest.raises(ValueError, match=r"KHR_draco_mesh_compression \(Draco\); pip install 'mrd-hf\[formats\]'"):
        read(file)


@pytest.mark.parametrize("name", ["EXT_meshopt_compression", "KHR_meshopt_compression"])
@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(("mode", "width"), [("TRIANGLES", 2), ("TRIANGLES", 4), ("INDICES", 2), ("INDICES", 4)])
def test_positions_and_indices_in_meshopt(name, version, mode, width):
    meshopt = pytest.importorskip("meshopt")
    views = [
        (
            meshopt.encode_gltf_buffer(POINTS, "ATTRIBUTES", version),
            {"count": 4, "byteStride": 12, "mode": "ATTRIBUTES"},
        ),
        (meshopt.encode_gltf_buffer(FACES, mode), {"count": 6, "byteStride": width, "mode": mode}),
    ]
    file = meshopt_file(name, views)
    position = file.add("accessors", bufferView=0, componentType=FLOAT, count=4, type="VEC3")
    kind = {2: USHORT, 4: 5125}[width]
    indices = file.add("accessors", bufferView=1, componentType=kind, count=6, type="SCALAR")
    file.show_mesh({"attributes": {"POSITION": position}, "indices": indices})
    assert bounds(shown(file)) == [[0, 0, 0], [1, 1, 0]] and area(shown(file)) == 1


def test_filters_of_meshopt():
    """Positions as exponents, a rotation of an instance as a quaternion, and colours as YCoCg, each as it was."""
    meshopt = pytest.importorskip("meshopt")
    half = np.sqrt(0.5)
    rotations = np.array([[half, 0, 0, half], [0, 0, half, half]], dtype=np.float32)
    paint = np.array([[1, 0.5, 0.25, 1]] * 4, dtype=np.float32)
    name = "KHR_meshopt_compression"
    views = [
        (
            meshopt.encode_vertex_buffer(meshopt.encode_filter_exp(POINTS * 5, 15)),
            {"count": 4, "byteStride": 12, "mode": "ATTRIBUTES", "filter": "EXPONENTIAL"},
        ),
        (
            meshopt.encode_vertex_buffer(meshopt.encode_filter_quat(rotations, 8, 14)),
            {"count": 2, "byteStride": 8, "mode": "ATTRIBUTES", "filter": "QUATERNION"},
        ),
        (
            meshopt.encode_vertex_buffer(meshopt.encode_filter_color(paint, 4, 8)),
            {"count": 4, "byteStride": 4, "mode": "ATTRIBUTES", "filter": "COLOR"},
        ),
        (
            meshopt.encode_vertex_buffer(meshopt.encode_filter_oct(np.array([[0, 0, 1, 0]] * 4), 4, 8)),
            {"count": 4, "byteStride": 4, "mode": "ATTRIBUTES", "filter": "OCTAHEDRAL"},
        ),
    ]
    file = meshopt_file(name, views)
    accessor = {"componentType": FLOAT, "count": 4, "type": "VEC3"}
    attributes = {
        "POSITION": file.add("accessors", bufferView=0, **accessor),
        "COLOR_0": file.add("accessors", bufferView=2, componentType=UBYTE, count=4, type="VEC4", normalized=True),
    }
    rotation = file.add("accessors", bufferView=1, componentType=5122, count=2, type="VEC4", normalized=True)
    mesh = file.mesh({"attributes": attributes, "mode": 6})
    instances = {"EXT_mesh_gpu_instancing": {"attributes": {"ROTATION": rotation}}}
    file.show({"mesh": mesh, "extensions": instances})
    (part,) = read(shown(file)).parts  # of both instances
    first, second = part.triangles.reshape(2, -1, 3)
    np.testing.assert_allclose([first.min(axis=0), first.max(axis=0)], [[0, 0, 0], [5, 0, 5]], atol=5e-3)
    np.testing.assert_allclose([second.min(axis=0), second.max(axis=0)], [[-5, 0, 0], [0, 5, 0]], atol=5e-3)
    assert np.abs(np.array(color(shown(file))) - [255, 188, 137]).max() <= 2
    # Normals are not used; their values are those of the library: (0, 0, 127).
    normals = GltfDocument(shown(file), lambda uri: b"").buffer_view(3)
    assert np.frombuffer(normals, np.int8).reshape(4, 4)[:, :3].tolist() == [[0, 0, 127]] * 4


def test_views_of_meshopt_that_unpack_to_too_much_together_are_not_all_unpacked():
    """The same few bytes as many views of 1.2 MB each, of which 55 make 64 MiB."""
    meshopt = pytest.importorskip("meshopt")
    data = meshopt.encode_gltf_buffer(np.zeros((100_000, 3), dtype=np.float32), "ATTRIBUTES", 1)
    file = meshopt_file(
        "KHR_meshopt_compression", [(data, {"count": 100_000, "byteStride": 12, "mode": "ATTRIBUTES"})]
    )
    file.json["bufferViews"] *= 60
    document = GltfDocument(shown(file), lambda uri: b"")
    assert 50 * len(shown(file)) < 2**26
    for number in range(55):
        assert len(document.buffer_view(number)) == 1_200_000
    with pytest.raises(ValueError, match="64 MiB once unpacked"):
        document.buffer_view(55)


def test_without_the_extra_the_fallback_of_meshopt_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "meshopt", None)
    file = Gltf()
    file.show_mesh(file.square())
    start = len(file.buffer)
    file.buffer += b"compressed.."
    inner = {"buffer": 0, "byteOffset": start, "byteLength": 12, "byteStride": 12, "count": 4, "mode": "ATTRIBUTES"}
    file.json["bufferViews"][0]["extensions"] = {"EXT_meshopt_compression": inner}
    file.json["extensionsUsed"] = ["EXT_meshopt_compression"]
    assert bounds(file) == [[0, 0, 0], [1, 1, 0]]
    file.json["extensionsRequired"] = ["EXT_meshopt_compression"]
    with pytest.raises(ValueError, match=r"EXT_meshopt_compression \(meshopt\); pip install 'mrd-hf\[formats\]'"):
        read(file)
