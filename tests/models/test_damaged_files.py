"""Damaged and hostile shape files: one error that names the file and the cause, within 2 s of a core and 256 MiB.

They are read in a forked process whose memory is limited, by what scripts/benchmarks/mutated_shapes.py measures with.
"""

import io
import json
import re
import struct
import sys
import zipfile
from functools import cache

import numpy as np
import pytest
from PIL import Image
from support.model_files import dae, zipped
from support.paths import SCRIPTS
from support.tiny_gltf import TRIANGLE, as_glb, data_uri, gltf, textured_gltf

from mrd_hf.models import gltf_reading, shape_limits, textures
from mrd_hf.models.draco_header import take_draco_counts
from mrd_hf.models.gltf_compression import decode_draco
from mrd_hf.models.shape_files import read_shape
from mrd_hf.models.textures import texture_to_rgba


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and measured on Linux")
TRIANGLE_OBJ = b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"
POINTS = np.random.default_rng(0).random((40_000, 3)).astype("<f4").tobytes()


@pytest.fixture(scope="module")
def harness():
    sys.path.insert(0, str(SCRIPTS / "benchmarks"))
    import mutated_shapes

    return mutated_shapes


def test_500_mutated_files_of_all_formats(harness, tmp_path):
    outcomes = list(harness.read_mutated(range(500), tmp_path))
    assert [outcome.number for outcome in outcomes] == list(range(500))
    assert [outcome for outcome in outcomes if outcome.kind == "failed"] == []
    kinds = [outcome.kind for outcome in outcomes]
    assert kinds.count("read") > 50 and kinds.count("refused") > 200


def test_a_number_always_gives_the_same_file(harness):
    folders = harness.sound_folders()
    assert [harness.mutated(number, folders) for number in range(60)] == [
        harness.mutated(number, folders) for number in range(60)
    ]


@pytest.mark.parametrize(
    ("reading", "why"),
    [
        (lambda path: {}["no such key"], "KeyError"),
        (lambda path: bytearray(2**30), "MemoryError"),
        (lambda path: (path.parent.parent / "outside").read_bytes(), "opened .*outside"),
        (lambda path: np.full((1, 6), np.nan), "not finite"),
        (lambda path: sys.modules["os"]._exit(3), "the process ended with 3"),
        (lambda path: (_ for _ in ()).throw(ValueError("it is damaged")), "does not name the file"),
        (lambda path: (_ for _ in ()).throw(ValueError(f"{path}: {'x' * 5000}")), "a message of 5,00. characters"),
    ],
)
def test_the_harness_sees_each_kind_of_failure(harness, monkeypatch, tmp_path, reading, why):
    class Extractor:
        def __init__(self, num_points):
            pass

        def __call__(self, path, return_tensors):
            if path.parent.name == "sound":
                return None
            return {"point_values": reading(path)}

    monkeypatch.setattr("mrd_hf.PointCloudFeatureExtractor", Extractor)
    (first, second) = harness.read_made([7, 8], lambda number: ("any", {"shape.obj": TRIANGLE_OBJ}), tmp_path)
    assert (first.number, second.number) == (7, 8) and first.kind == second.kind == "failed"
    assert re.search(why, first.message)


def glb(body: bytes = TRIANGLE, **changes) -> bytes:
    return as_glb(gltf(**{"buffers": [{"byteLength": len(body)}], **changes}), body)


def cloud(count: int, **more) -> dict:
    """A glTF of 40,000 points, whose accessor says `count`."""
    accessor = {"componentType": 5126, "count": count, "type": "VEC3", **more}
    return {"accessors": [accessor], "bufferViews": [{"buffer": 0, "byteLength": len(POINTS)}]}


def primitives(count: int, **more) -> dict:
    return {"meshes": [{"primitives": [{"attributes": {"POSITION": 0}, **more}] * count}]}


def textured(*pictures: bytes) -> bytes:
    """A triangle for each picture."""
    body, views = TRIANGLE, [{"buffer": 0, "byteLength": 36}]
    for picture in pictures:
        views.append({"buffer": 0, "byteOffset": len(body), "byteLength": len(picture)})
        body += picture
    numbers = range(len(pictures))
    return glb(
        body,
        bufferViews=views,
        accessors=[{"bufferView": 0, "componentType": 5126, "count": 3, "type": kind} for kind in ("VEC3", "VEC2")],
        images=[{"bufferView": number + 1} for number in numbers],
        textures=[{"source": number} for number in numbers],
        materials=[{"pbrMetallicRoughness": {"baseColorTexture": {"index": number}}} for number in numbers],
        meshes=[
            {
                "primitives": [
                    {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": number} for number in numbers
                ]
            }
        ],
    )


def placed_often(count: int, mesh: dict | None = None, **primitive) -> bytes:
    primitives = [{"attributes": {"POSITION": 0}, **primitive}]
    return gltf(
        meshes=[{**(mesh or {}), "primitives": primitives}],
        nodes=[{"mesh": 0}] * count,
        scenes=[{"nodes": list(range(count))}],
    )


def sparse(placed: int, accessors: int) -> bytes:
    """Accessors of 32 MiB each, all zeros but for three values; the first three are the corners of a triangle."""
    indices, corners = np.arange(3, dtype="<u4").tobytes(), TRIANGLE
    views = [{"buffer": 0, "byteLength": 36}, {"buffer": 1, "byteLength": 12}, {"buffer": 0, "byteLength": 36}]
    values = {"count": 3, "indices": {"bufferView": 1, "componentType": 5125}, "values": {"bufferView": 0}}
    of_zeros = {"componentType": 5130, "count": 1_400_000, "type": "VEC3"}
    listed = [{**of_zeros, "sparse": {**values, "values": {"bufferView": 3}}} for _ in range(accessors)]
    doubles = np.frombuffer(corners, "<f4").astype("<f8").tobytes()
    return gltf(
        accessors=[*listed, {"bufferView": 1, "componentType": 5125, "count": 3, "type": "SCALAR"}],
        bufferViews=[*views, {"buffer": 2, "byteLength": 72}],
        buffers=[{"byteLength": len(each), "uri": data_uri(each)} for each in (corners, indices, doubles)],
        meshes=[
            {"primitives": [{"attributes": {"POSITION": number}, "indices": accessors} for number in range(accessors)]}
        ],
        nodes=[{"mesh": 0}] * placed,
        scenes=[{"nodes": list(range(placed))}],
    )


def numbered(text: bytes) -> bytes:
    return b"".join(text % number for number in range(300))


def png(size: int, mode: str = "L", color: int = 7) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (size, size), color).save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()


def pcd(data: bytes, points: int = 1, form: str = "ascii", fields: str = "x y z") -> bytes:
    count = len(fields.split())
    lines = f"FIELDS {fields}\nSIZE{' 4' * count}\nTYPE{' F' * 3}{' U' * (count - 3)}\nCOUNT{' 1' * count}\n"
    return f"{lines}WIDTH {points}\nHEIGHT 1\nPOINTS {points}\nDATA {form}\n".encode() + data


def npy(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + bytes(100)


def npz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def polygon(*corners: int) -> bytes:
    return b"f " + b" ".join(b"%d" % corner for corner in corners) + b"\n"


@cache
def hostile_files() -> dict[str, tuple[bytes, str]]:
    """By the name of the file: its content, and the cause in the message; "" for what can be read."""
    return {
        # What was found by mutation, in few bytes.
        "two-coordinates.obj": (b"v 1 2\n", "line 1: 'v' with 2 numbers"),
        "bytes-member.npz": (npz(**{"points.npy": b"not an array"}), "points' is damaged"),
        "too-large-for-its-type.pcd": (pcd(b"1 2 3 4294967296\n", fields="x y z rgb"), "no number of uint32"),
        "cut.ply": (
            b"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
            b"end_header\n0 0 0\n1 1",
            "vertex",
        ),
        "zeros.npz": (npz(**{"points.npy": npy((6 * 10**6, 3)) + bytes(72 * 10**6)}), "once unpacked"),
        # Counts that the bytes are not the reason of.
        "announced.npy": (npy((2 * 10**9, 3)), "announces an array"),
        "announced.npz": (npz(**{"points.npy": npy((2 * 10**9, 3))}), "announces an array"),
        "announced.pcd": (pcd(b"1 2 3", 10**9, "binary"), "1,000,000,000 points"),
        "announced.ply": (
            b"ply\nformat binary_little_endian 1.0\nelement none 4000000000\nelement vertex 1\nproperty float x\n"
            b"property float y\nproperty float z\nend_header\n" + bytes(12),
            "",
        ),
        "no-data.glb": (glb(accessors=[{"componentType": 5126, "count": 10**7, "type": "VEC3"}]), "no data"),
        # Much of little: the same bytes again and again.
        "faces.glb": (glb(POINTS, **cloud(40_000), **primitives(1000)), "faces; at most 1,0"),
        "points.glb": (glb(POINTS, **cloud(40_000), **primitives(1000, mode=0)), "points; at most 1,500,000"),
        "placed.glb": (
            glb(POINTS, **cloud(40_000), nodes=[{"mesh": 0}] * 700, scenes=[{"nodes": list(range(700))}]),
            "faces; at most",
        ),
        "morphs.glb": (
            glb(
                POINTS,
                **cloud(40_000),
                meshes=[
                    {
                        "weights": [0.5] * 5000,
                        "primitives": [{"attributes": {"POSITION": 0}, "targets": [{"POSITION": 0}] * 5000}],
                    }
                ],
            ),
            "placed vertices; at most",
        ),
        "parts.glb": (glb(**primitives(20_000)), "parts; at most"),
        "instances.glb": (
            glb(
                TRIANGLE + POINTS,
                accessors=[
                    {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
                    {"bufferView": 1, "componentType": 5126, "count": 40_000, "type": "VEC3"},
                ],
                bufferViews=[
                    {"buffer": 0, "byteLength": 36},
                    {"buffer": 0, "byteOffset": 36, "byteLength": len(POINTS)},
                ],
                nodes=[{"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 1}}}}],
            ),
            "",
        ),
        "children.gltf": (
            gltf(nodes=[{"children": [0] * 10_000}] + [{}] * 70, scenes=[{"nodes": [0]}]),
            "nested in a circle|placed nodes",
        ),
        # A mesh that names little, placed often: once each is enough of what is the same.
        "names.gltf": (placed_often(500, mesh={"name": "n" * 500_000}), ""),
        "targets.gltf": (placed_often(300, targets=[{}] * 200_000), "placed vertices; at most"),
        "attributes.gltf": (
            placed_often(300, attributes={"POSITION": 0, **{f"color{number}": 0 for number in range(30_000)}}),
            "",
        ),
        "sparse.gltf": (sparse(100, 1), ""),
        "sparses.gltf": (sparse(10, 10), "MiB once unpacked"),
        "nodes.glb": (
            glb(
                nodes=[{"children": [1]}] + [{"children": [number + 1] * 2} for number in range(1, 40)] + [{"mesh": 0}]
            ),
            "nested in a circle|placed nodes",
        ),
        "extensions.glb": (
            glb(extensionsUsed=[f"X_{number}" for number in range(20_000)], nodes=[{"mesh": 0}] + [{}] * 3000),
            "",
        ),
        "values.gltf": (b'{"asset":{"version":"2.0"},"extras":[' + b"{}," * 10**6 + b"{}]}", "JSON values; at most"),
        "deep.gltf": (b"[" * 10**6, "JSON cannot be read"),
        # Pictures: one of few bytes, many that are equal, many that are not.
        "picture.glb": (textured(png(8192)), ""),
        "pictures.glb": (textured(*[png(4096)] * 16), ""),
        # Texts that take long or much by how they are written.
        "materials.obj": (
            TRIANGLE_OBJ + b"".join(b"usemtl m%d\nf 1 2 3\n" % n for n in range(60_000)),
            "parts; at most",
        ),
        "groups.obj": (TRIANGLE_OBJ + b"".join(b"g m%d\nf 1 2 3\n" % n for n in range(60_000)), ""),
        "wide.obj": (b"v " + b"1 " * 300_000 + b"\n" + b"v 1 2 3\n" * 40_000, ""),
        "spaces.obj": (b"# a\n" + TRIANGLE_OBJ + b"f 1 2 3 " + b" " * 400_000 + b"x\n", "x"),
        "libraries.obj": (TRIANGLE_OBJ + polygon(1, 2, 3) + b"mtllib a.mtl\nmtllib ./a.mtl\n" * 20_000, ""),
        "elements.obj": (TRIANGLE_OBJ + polygon(1, 2, 3) + b"".join(b"w%d 1\n" % n for n in range(60_000)), ""),
        "corners.obj": (
            b"".join(b"v %d %d 0\n" % (n % 317, n * n % 331) for n in range(100_000)) + polygon(*range(1, 100_001)),
            "",
        ),
        "pentagons.obj": (
            b"v 0 0 0\nv 2 0 0\nv 2 2 0\nv 1 0.5 0\nv 0 2 0\n" + polygon(1, 2, 3, 4, 5) * 20_000,
            "",
        ),
        "word.pcd": (pcd(b"0 0 " + b"0" * 160_000 + b"\n" + b"0 0 1\n" * 30_000, 30_001), ""),
        "nan.pcd": (pcd(b"1 2 " + b"nan(" * 250_000), "is no number"),
        "word.stl": (b"solid x\nvertex 1 2 " + b"0" * 500_000 + b"\n" + b"vertex 0 0 1\n" * 60_000, "60001 vertices"),
        "lists.ply": (
            b"ply\nformat binary_little_endian 1.0\nelement vertex 4\nproperty float x\nproperty float y\n"
            b"property float z\nelement face 60000\nproperty list uchar int vertex_indices\nend_header\n"
            + struct.pack("<12f", 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0)
            + b"".join(struct.pack(f"<B{size}i", size, *range(size)) for size in (3, 4) * 30_000),
            "",
        ),
        "masks.zip": (
            zipped(
                {
                    "a.obj": b"mtllib a.mtl\n" + TRIANGLE_OBJ + b"vt 0 0\n" + numbered(b"usemtl m%d\nf 1/1 2/1 3/1\n"),
                    "a.mtl": numbered(b"newmtl m%d\nmap_Kd -s 2 2 2 a.png\nmap_d b.png\n"),
                    "a.png": png(4),
                    "b.png": png(1024),
                }
            ),
            "",
        ),
        "holes.dae": (
            dae(
                inputs="<ph><p>0 1</p><h>" + "1 " * 300_000 + "</h></ph>",
                node="<instance_geometry url='#box'/>" * 100,
            ),
            "",
        ),
        "members.npz": (npz(**{f"m{number}": b"" for number in range(3000)}), "no array points or xyz"),
    }


def test_hostile_files_take_little_and_say_why(harness, tmp_path):
    files = hostile_files()
    names = sorted(files)
    made = harness.read_made(range(len(names)), lambda n: (names[n], {names[n]: files[names[n]][0]}), tmp_path)
    outcomes = {outcome.name: outcome for outcome in made}
    assert [outcome for outcome in outcomes.values() if outcome.kind == "failed"] == []
    assert sorted(outcomes) == names
    for name, outcome in outcomes.items():
        cause = files[name][1]
        assert outcome.kind == ("refused" if cause else "read"), outcome
        assert re.search(cause, outcome.message), outcome


def test_parts_of_a_glb_are_counted_before_any_is_read(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(gltf_reading, "GltfPrimitive", lambda *_: read.append(1))
    (tmp_path / "parts.glb").write_bytes(glb(**primitives(20_000)))
    with pytest.raises(ValueError, match="meshes 0: 20,000 parts; at most"):
        read_shape(tmp_path / "parts.glb")
    assert not read


def test_a_mesh_of_many_materials_that_many_nodes_place(tmp_path):
    changes = primitives(10)
    nodes = [{"mesh": 0, "translation": [2 * number, 0, 0]} for number in range(600)]
    changes |= {"nodes": nodes, "scenes": [{"nodes": [*range(600)]}]}
    (tmp_path / "many.glb").write_bytes(glb(**changes))
    assert sum(len(part.triangles) for part in read_shape(tmp_path / "many.glb").parts) == 6_000


def test_a_picture_of_too_many_pixels_for_its_bytes_is_left_out(tmp_path):
    (tmp_path / "picture.glb").write_bytes(textured(png(8192)))
    shape = read_shape(tmp_path / "picture.glb")
    assert shape.parts[0].texture is None
    (warning,) = shape.warnings
    assert re.search(r"image 0 inside the file \(8192 x 8192 pixels of [0-9,]+ bytes, too many", warning)


def test_equal_pictures_are_decoded_once(tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(textures, "texture_to_rgba", lambda image: decoded.append(image) or texture_to_rgba(image))
    (tmp_path / "equal.glb").write_bytes(textured(*[png(4)] * 5, png(4, color=9)))
    shape = read_shape(tmp_path / "equal.glb")
    assert len(decoded) == 2
    assert [part.texture[0, 0, 0] for part in shape.parts] == [7] * 5 + [9]


def test_a_picture_that_many_images_name_is_looked_at_once(tmp_path, monkeypatch):
    looked_at = []
    decode = textures.Textures.decode
    monkeypatch.setattr(textures.Textures, "decode", lambda *names: looked_at.append(names) or decode(*names))
    content = json.loads(textured_gltf(data_uri(png(2))))
    content["images"] *= 3
    content["textures"] = [{"source": number} for number in range(3)]
    content["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": number}}} for number in range(3)]
    (primitive,) = content["meshes"][0]["primitives"]
    content["meshes"][0]["primitives"] = [{**primitive, "material": number} for number in range(3)]
    (tmp_path / "same.gltf").write_text(json.dumps(content))
    assert [part.texture is None for part in read_shape(tmp_path / "same.gltf").parts] == [False] * 3
    assert len(looked_at) == 1


@pytest.mark.parametrize("corners", [0, 2, 3])
def test_faces_of_a_crate_are_counted_before_they_are_copied(tmp_path, monkeypatch, corners):
    """Equal numbers take next to no bytes in one; faces of fewer than three corners are no triangles."""
    pxr = pytest.importorskip("pxr.Usd")
    from pxr import UsdGeom, Vt

    stage = pxr.Stage.CreateNew(str(tmp_path / "equal.usdc"))
    mesh = UsdGeom.Mesh.Define(stage, "/mesh")
    mesh.CreatePointsAttr([(0, 0, 0), (1, 0, 0), (0, 1, 0)])
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray([3] + [corners] * 5))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray([0, 1, 2] + [0, 1, 2][:corners] * 5))
    stage.Save()
    monkeypatch.setitem(shape_limits.ALLOWANCES, "faces", shape_limits.Allowance(6, 0))
    shape = read_shape(tmp_path / "equal.usdc")
    assert sum(len(part.triangles) for part in shape.parts) == (6 if corners == 3 else 1)
    assert any("5 faces of fewer than three corners" in warning for warning in shape.warnings) == (corners == 2)
    monkeypatch.setitem(shape_limits.ALLOWANCES, "faces", shape_limits.Allowance(5, 0))
    with pytest.raises(ValueError, match="6 faces; at most 5"):
        read_shape(tmp_path / "equal.usdc")


def test_a_large_picture_is_the_mean_of_its_pixels(monkeypatch):
    """In bands, however its height divides."""
    monkeypatch.setattr(textures, "MAX_TEXTURE_SIZE", 10)
    monkeypatch.setattr(textures, "BAND", 100)
    pixels = np.random.default_rng(0).integers(0, 256, (37, 40, 4), dtype=np.uint8)
    found = texture_to_rgba(Image.fromarray(pixels))
    expected = pixels[:36].reshape(9, 4, 10, 4, 4).astype(float).mean(axis=(1, 3))
    assert found.shape == (10, 10, 4)  # of a last row of one
    np.testing.assert_allclose(found[:9].astype(float), expected, atol=1)


def test_materials_that_make_many_of_one_texture_show_it_in_less_detail(tmp_path, monkeypatch):
    monkeypatch.setitem(shape_limits.ALLOWANCES, "texels", shape_limits.Allowance(3 * 128 * 128 + 64 * 64, 0))
    header = json.loads(textured_gltf(data_uri(png(128))))
    header["materials"] = [
        {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "baseColorFactor": [factor, 1, 1, 1]}}
        for factor in (0.25, 0.5, 0.75)
    ]
    (primitive,) = header["meshes"][0]["primitives"]
    header["meshes"][0]["primitives"] = [{**primitive, "material": number} for number in range(3)]
    (tmp_path / "many.gltf").write_text(json.dumps(header))
    assert [part.texture.shape[0] for part in read_shape(tmp_path / "many.gltf").parts] == [128, 128, 64]


def test_warnings_are_few_and_short(tmp_path):
    (tmp_path / "elements.obj").write_bytes(TRIANGLE_OBJ + b"f 1 2 3\n" + b"".join(b"w%d 1\n" % n for n in range(50)))
    warnings = read_shape(tmp_path / "elements.obj").warnings
    assert len(warnings) == shape_limits.MAX_WARNINGS + 1
    assert warnings[-1] == "30 more warnings of these kinds"
    assert shape_limits.cut_message("a\nb\0" + "x" * 1000) == "a b " + "x" * 393 + "..."


def test_memory_that_the_machine_lacks_is_no_fault_of_the_file(tmp_path, monkeypatch):
    def no_memory(*arguments):
        raise MemoryError

    monkeypatch.setattr("mrd_hf.models.mesh_loading.read_obj", no_memory)
    monkeypatch.setattr("mrd_hf.models.point_cloud_files.read_pcd", no_memory)
    for name in ("a.obj", "a.pcd"):
        (tmp_path / name).write_bytes(TRIANGLE_OBJ)
        with pytest.raises(MemoryError):
            read_shape(tmp_path / name)


def test_las_records_that_its_header_announces_and_that_are_not_there(tmp_path):
    """laspy reads on behind the end of a file, four billion times if the header says so."""
    header = bytearray(375)
    header[:4], header[100:104] = b"LASF", b"\xff" * 4
    (tmp_path / "a.las").write_bytes(bytes(header))
    with pytest.raises(ValueError, match=r"a\.las: damaged: 4,294,967,295 records"):
        read_shape(tmp_path / "a.las")


def varint(number: int) -> bytes:
    return (bytes([number & 127 | 128]) + varint(number >> 7)) if number > 127 else bytes([number])


@pytest.mark.parametrize(
    "counts",
    [
        bytes([2, 2, 1, 1, 0, 0, 0]) + varint(100_000) + varint(150_000_000),  # a mesh, by edgebreaker: 3.4 GB
        bytes([2, 2, 1, 1, 0, 128, 0, 1, 1, 97, 1, 0, 0, 0]) + varint(100_000) + varint(150_000_000),  # with metadata
        bytes([2, 1, 1, 1, 0, 0, 0]) + varint(7) + varint(100_000) + varint(150_000_000),
        bytes([2, 2, 1, 0, 0, 0]) + varint(150_000_000),
        bytes([2, 2, 1, 0, 0, 0]) + varint(1) + varint(500_000_000),  # a mesh in its own order: of one face
        bytes([2, 1, 1, 0, 0, 0]) + struct.pack("<II", 1, 500_000_000),
        bytes([2, 3, 0, 1, 0, 0]) + struct.pack("<i", 500_000_000) + bytes([1, 1, 0, 9, 3]),  # a cloud: 5.7 GB
    ],
)
def test_counts_of_draco_are_looked_at_before_its_decoder_takes_memory_for_them(counts, monkeypatch):
    DracoPy = pytest.importorskip("DracoPy")
    monkeypatch.setattr(DracoPy, "decode", lambda data: pytest.fail("was called"))
    with pytest.raises(ValueError, match="(faces|points); at most"):
        decode_draco(memoryview(b"DRACO" + counts + bytes(400)), {}, shape_limits.ShapeBudget(10**9))


@pytest.mark.parametrize("metadata", [False, True])
@pytest.mark.parametrize("level", [0, 7])
@pytest.mark.parametrize("faces", [None, [[0, 1, 2]]])
def test_sound_draco_passes_with_and_without_metadata(metadata, level, faces):
    DracoPy = pytest.importorskip("DracoPy")
    points = np.eye(3, dtype=np.float32)
    data = DracoPy.encode(points, faces, compression_level=level, create_metadata=metadata)
    budget = shape_limits.ShapeBudget(len(data))
    take_draco_counts(data, budget)
    expected = {"decoded faces": 1, "decoded points": 3}
    if faces is None:
        del expected["decoded faces"]
    elif level == 7:  # edgebreaker, whose points follow from its faces
        del expected["decoded points"]
    assert budget.taken == expected
