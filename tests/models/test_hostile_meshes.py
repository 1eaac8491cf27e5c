"""Mesh files that are damaged or made to harm: each is an error that names it, or a warning, and costs little."""

import io

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.tiny_gltf import TRIANGLE, data_uri, textured_gltf

from mrd_hf.models import shape_limits
from mrd_hf.models.mesh_loading import AssetResolver, read_mesh
from mrd_hf.models.shapes import MeshError
from mrd_hf.models.textures import texture_to_rgba


def read_gltf(**changes):
    file = io.BytesIO(textured_gltf(**changes))
    return read_mesh(file, "gltf", AssetResolver("", lambda name: None), "x.gltf")


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), (1, 2, 3)).save(buffer, "PNG")
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
