"""Mesh files that are damaged or made to harm: each is an error that names it, or a warning, and costs little."""

import io
from functools import partial

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.model_files import ico, run_length_bmp, usda
from support.tiny_gltf import TRIANGLE, data_uri, gltf, textured_gltf

from mrd_hf.models import shape_limits
from mrd_hf.models.mesh_loading import AssetResolver, read_mesh
from mrd_hf.models.shapes import MeshError
from mrd_hf.models.textures import Textures, texture_to_rgba


def read_gltf(**changes):
    file = io.BytesIO(textured_gltf(**changes))
    return read_mesh(file, "gltf", AssetResolver("", lambda name: None), "x.gltf")


def png(color=(1, 2, 3)):
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), color).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_sound_file_has_no_warnings():
    mesh = read_gltf(images=[{"uri": data_uri(png())}])
    assert mesh.warnings == [] and mesh.parts[0].texture[0, 0].tolist() == [1, 2, 3, 255]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": [{"mesh": 0, "children": [0]}]}, "nodes are nested in a circle"),
        ({"nodes": [{"mesh": 0, "children": [1]}, {"children": [0]}]}, "nodes are nested in a circle"),
        ({"nodes": [{"children": [i + 1]} for i in range(2000)] + [{"mesh": 0}]}, "more than 1000 deep"),
        ({"accessors": [{"componentType": 5126, "count": 10**9, "type": "VEC3"}] * 2}, "1,000,000,000 elements"),
        ({"nodes": [{"mesh": 7}]}, "x.gltf"),
    ],
)
def test_structures_without_end_are_errors(changes, message):
    with pytest.raises(MeshError, match=message):
        read_gltf(**changes)


def test_a_face_without_its_vertex_is_an_error():
    indices = np.array([0, 1, 9], dtype="<u4").tobytes()
    with pytest.raises(MeshError, match="a face names a vertex that does not exist"):
        read_gltf(
            meshes=[{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
            accessors=[
                {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
                {"bufferView": 1, "componentType": 5125, "count": 3, "type": "SCALAR"},
            ],
            bufferViews=[{"buffer": 0, "byteLength": 36}, {"buffer": 1, "byteLength": 12}],
            buffers=[{"byteLength": 36, "uri": data_uri(TRIANGLE)}, {"byteLength": 12, "uri": data_uri(indices)}],
        )


@pytest.mark.parametrize(
    ("images", "why"),
    [
        ([{"uri": data_uri(b"no image")}], "no picture that Pillow knows"),
        ([{"bufferView": 0, "mimeType": "image/png"}], "no picture that Pillow knows"),
        ([{"uri": data_uri(png()[:20])}], "Truncated File Read"),
    ],
)
def test_a_texture_inside_the_file_that_cannot_be_read_is_reported(images, why):
    mesh = read_gltf(images=images)
    assert mesh.warnings == [f"texture cannot be read: image 0 inside the file ({why})"]
    assert mesh.parts[0].texture is None


def test_a_texture_whose_image_is_not_there_is_reported():
    mesh = read_gltf(images=[])
    assert mesh.warnings == ["texture cannot be read: images 0 does not exist (there are 0)"]
    assert mesh.parts[0].texture is None


def test_a_geometry_placed_too_often_is_an_error(monkeypatch):
    monkeypatch.setitem(shape_limits.ALLOWANCES, "faces", shape_limits.Allowance(100, 0))
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box(), geom_name="box")
    for number in range(8):
        scene.graph.update(frame_to=str(number), geometry="box")
    file = io.BytesIO(scene.export(file_type="glb"))
    with pytest.raises(MeshError, match="many.glb: .*108 faces; at most 100"):
        read_mesh(file, "glb", AssetResolver("", lambda name: None), "many.glb")


@pytest.mark.parametrize(
    ("what", "size", "limit"),
    [
        # As SECURITY.md's table has them: what any file may hold, what a larger one may, and where that ends.
        ("faces", 100, 1_000_000),
        ("faces", 1_000_000, 2_000_000),
        ("faces", 2**31, 10_000_000),
        ("points", 1_500_000, 1_500_000),
        ("points", 2_000_000, 2_000_000),
        ("points", 2**31, 50_000_000),
        ("placed vertices", 0, 10_000_000),
        ("placed vertices", 5_000_000, 20_000_000),
        ("parts", 0, 10_000),
        ("parts", 1_000_000, 20_000),
        ("instances", 0, 200_000),
        ("instances", 10_000_000, 1_000_000),
        ("placed nodes", 0, 50_000),
        ("placed nodes", 2_000_000, 100_000),
        ("JSON values", 0, 1_500_000),
        ("JSON values", 16_000_000, 2_000_000),
        ("files", 0, 1_000),
        ("files", 100_000, 2_000),
        ("pixels of pictures", 0, 134_217_728),
        ("pixels of pictures", 4_000_000, 256_000_000),
        ("texels", 0, 33_554_432),
        ("texels", 2**31, 8_589_934_592),
    ],
)
def test_limits_grow_with_the_file_up_to_their_most(what, size, limit):
    budget = shape_limits.ShapeBudget(size)
    assert budget.limit(what) == limit
    budget.take(what, limit - 1)
    budget.take(what, 1)
    with pytest.raises(ValueError, match=rf"^{limit + 1:,} {what}; at most {limit:,} are read of a file of {size:,} "):
        budget.take(what, 1)
    assert budget.left(what) == 0


def test_files_that_a_file_names_raise_its_limits():
    budget = shape_limits.ShapeBudget(1_000_000)
    assert budget.counted(lambda name: bytes(500_000))("a.bin") == bytes(500_000)
    assert budget.limit("faces") == 3_000_000 and budget.left("files") == 29_999


def placed_three_times() -> tuple[str, bytes]:
    """The triangle of the points' own coordinates, at each of these."""
    instances = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 0}}}
    return "gltf", gltf(nodes=[{"mesh": 0, "extensions": instances}])


def placed_three_times_in_usd() -> tuple[str, bytes]:
    scene = """
def PointInstancer "crates"
{
    rel prototypes = </crate>
    int[] protoIndices = [0, 0, 0]
    point3f[] positions = [(0, 0, 0), (10, 0, 0), (20, 0, 0)]
}"""
    return "usda", usda(scene)


def of_three_libraries() -> tuple[str, bytes]:
    return "obj", b"mtllib a.mtl\nmtllib b.mtl\nmtllib c.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl a\nf 1 2 3\n"


@pytest.mark.parametrize(
    ("what", "made"),
    [("instances", placed_three_times), ("instances", placed_three_times_in_usd), ("files", of_three_libraries)],
)
def test_one_thing_more_than_a_file_may_hold_is_an_error(monkeypatch, what, made):
    kind, data = made()
    read = partial(read_mesh, file_type=kind, resolver=AssetResolver("", lambda name: b"newmtl a\n"), name="many")
    monkeypatch.setitem(shape_limits.ALLOWANCES, what, shape_limits.Allowance(3, 0))
    assert read(io.BytesIO(data)).parts
    monkeypatch.setitem(shape_limits.ALLOWANCES, what, shape_limits.Allowance(2, 0))
    with pytest.raises(MeshError, match=f"many: .*3 {what}; at most 2 are read"):
        read(io.BytesIO(data))


@pytest.mark.parametrize("what", ["pixels of pictures", "texels"])
def test_a_picture_more_than_a_file_may_hold_is_left_out(monkeypatch, what):
    """Another one: the same picture again costs nothing."""
    monkeypatch.setitem(shape_limits.ALLOWANCES, what, shape_limits.Allowance(4, 0))
    warnings = []
    pictures = Textures(shape_limits.ShapeBudget(10_000), warnings)
    first = pictures.decode(png(), "first")
    assert first is not None and pictures.decode(png(), "again") is first and warnings == []
    assert pictures.decode(png((3, 2, 1)), "second") is None
    (warning,) = warnings
    assert warning.startswith(
        f"texture cannot be read: second (8 {what}; at most 4 are read of a file of 10,000 bytes"
    )


def test_images_of_too_many_pixels_are_not_decoded(monkeypatch):
    monkeypatch.setattr(shape_limits, "MAX_TEXELS", 99)
    with pytest.raises(ValueError, match="10 x 10 pixels; at most 99"):
        texture_to_rgba(Image.new("RGB", (10, 10)))
    monkeypatch.setattr(shape_limits, "MAX_TEXELS", 3)
    mesh = read_gltf(images=[{"uri": data_uri(png())}])
    assert mesh.parts[0].texture is None and "2 x 2 pixels; at most 3" in mesh.warnings[0]


BOX = trimesh.creation.box()
SOUND = {kind: BOX.export(file_type=kind) for kind in ("glb", "ply", "stl", "off", "obj")}
SOUND = {kind: data if isinstance(data, bytes) else data.encode() for kind, data in SOUND.items()}


@given(st.sampled_from(sorted(SOUND)), st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 8))))
def test_a_damaged_file_is_read_or_an_error_that_names_it(kind, damages):
    data = SOUND[kind]
    for place, inserted, removed in damages:
        start = int(place * len(data))
        data = data[:start] + inserted + data[start + removed :]
    try:
        mesh = read_mesh(io.BytesIO(data), kind, AssetResolver("", lambda name: None), "some.mesh")
    except MeshError as error:
        assert "some.mesh" in str(error)
    else:
        assert sum(len(part.triangles) for part in mesh.parts) > 0


def eps() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), (1, 2, 3)).save(buffer, "EPS")
    return buffer.getvalue()


def test_a_texture_that_another_program_would_decode_is_not_decoded(monkeypatch):
    """Pillow gives EPS, whatever the file is called, to Ghostscript."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *arguments, **options: pytest.fail("was run"))
    mesh = read_gltf(images=[{"uri": data_uri(eps()), "mimeType": "image/png"}])
    assert mesh.parts[0].texture is None
    assert any("EPS are not read; convert it to PNG" in warning for warning in mesh.warnings)
    with pytest.raises(ValueError, match="EPS are not read"):
        texture_to_rgba(Image.open(io.BytesIO(eps())))


def uncompressed_dds(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (1, 2, 3)).save(buffer, "DDS")
    return buffer.getvalue()


SLOW = {
    "dds": uncompressed_dds(2, 2),
    "levels": b"P6 2 2 254\n" + bytes(12),
    "plain": b"P3 2 2 255\n" + b"0 " * 12,
    "qoi": b"qoif" + bytes([0, 0, 0, 2, 0, 0, 0, 2, 3, 0]) + b"\xc3" + bytes(7) + b"\1",
}


@pytest.mark.parametrize("data", SLOW.values(), ids=SLOW.keys())
def test_pictures_that_are_decoded_by_python_count_for_many(monkeypatch, data):
    picture = Image.open(io.BytesIO(data))
    assert picture.tile[0][0] in Image.DECODERS and shape_limits.is_slow(picture)
    assert not shape_limits.is_slow(Image.open(io.BytesIO(png())))
    warnings = []
    pictures = Textures(shape_limits.ShapeBudget(len(data)), warnings)
    assert pictures.decode(data, "slow") is not None and warnings == []
    assert pictures.budget.taken["pixels of pictures"] == 4 * 128
    monkeypatch.setattr(shape_limits, "MAX_SLOW_PIXELS", 3)
    assert Textures(shape_limits.ShapeBudget(len(data)), warnings).decode(data, "slow") is None
    assert "2 x 2 pixels; of a " in warnings[0] and "at most 3 are read; convert it to PNG" in warnings[0]


def test_all_decoders_in_python_are_known():
    """Those of formats that are read; the others cannot occur."""
    Image.init()
    of_other_formats = {"BLP1", "BLP2", "MSP", "fits_gzip", "xpm"}
    assert Image.DECODERS.keys() - of_other_formats == shape_limits.SLOW_DECODERS | {"bmp_rle"}


@pytest.mark.parametrize(
    ("data", "message"),
    [(ico(), "format ICO are not read; convert"), (run_length_bmp(), "run-length encoded are not")],
)
def test_a_texture_whose_decoding_has_no_bounds_is_not_decoded(data, message, monkeypatch):
    """Pillow decodes an icon as it opens it, and run lengths by Python, to any size."""
    for decodes in ("IcoImagePlugin.IcoImageFile.load", "BmpImagePlugin.BmpRleDecoder.decode"):
        monkeypatch.setattr(f"PIL.{decodes}", lambda *_: pytest.fail("was decoded"))
    mesh = read_gltf(images=[{"uri": data_uri(data)}])
    assert mesh.parts[0].texture is None
    assert any(message in warning for warning in mesh.warnings)
