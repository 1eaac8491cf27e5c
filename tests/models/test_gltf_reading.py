"""glTF scenes of every kind, against a straightforward computation of what they show."""

import base64
import io
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.random_gltf import random_scene
from support.tiny_gltf import TRIANGLE, as_glb, data_uri, gltf

from mrd_hf.models.gltf_reading import read_gltf
from mrd_hf.models.shape_files import colored_points
from mrd_hf.models.shapes import PointCloud, TexturedMesh


def read(data: bytes, files: dict[str, bytes] | None = None) -> TexturedMesh | PointCloud:
    def get(name: str) -> bytes:
        if name not in (files or {}):
            raise FileNotFoundError(f"file not found: {name}")
        return files[name]

    return read_gltf(data, get)


def areas(triangles: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1) / 2


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 10**9), st.booleans())
def test_random_scenes(seed, binary):
    scene = random_scene(seed)
    data = scene.data
    if binary:
        header = json.loads(data)
        body = base64.b64decode(header["buffers"][0].pop("uri").partition(",")[2])
        data = as_glb(json.dumps(header).encode(), body)
    mesh = read(data)
    if not scene.triangles:
        assert isinstance(mesh, TexturedMesh) and not any(len(part.triangles) for part in mesh.parts)
        return
    found = np.concatenate([part.triangles for part in mesh.parts])
    expected = np.array(scene.triangles)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    weights = areas(expected)
    colors = np.concatenate([part.corner_colors.mean(axis=1) for part in mesh.parts])
    np.testing.assert_allclose(colors, scene.colors, atol=0.51)
    if weights.sum() > 1e-6 * np.abs(expected).max() ** 2:
        points = colored_points(mesh, 2000)
        rgb = points.rgb if points.rgb is not None else np.full((2000, 3), 255)
        mean = (np.array(scene.colors) * weights[:, None]).sum(axis=0) / weights.sum()
        np.testing.assert_allclose(rgb.mean(axis=0), mean, atol=18)


def skinned(weights: list[tuple[float, ...]]) -> bytes:
    """The triangle, which two joints move by (10, 0, 0) and (0, 20, 0), below a node that would move it by 99."""
    body = TRIANGLE + bytes([0, 1, 0, 0] * 3) + struct.pack("<12f", *(w for row in weights for w in row))
    return gltf(
        nodes=[
            {"mesh": 0, "skin": 0, "translation": [99, 99, 99]},
            {"translation": [10, 0, 0]},
            {"translation": [0, 20, 0]},
        ],
        scenes=[{"nodes": [0, 1, 2]}],
        skins=[{"joints": [1, 2]}],
        meshes=[{"primitives": [{"attributes": {"POSITION": 0, "JOINTS_0": 1, "WEIGHTS_0": 2}}]}],
        accessors=[
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5121, "count": 3, "type": "VEC4"},
            {"bufferView": 2, "componentType": 5126, "count": 3, "type": "VEC4"},
        ],
        bufferViews=[
            {"buffer": 0, "byteOffset": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": 12},
            {"buffer": 0, "byteOffset": 48, "byteLength": 48},
        ],
        buffers=[{"byteLength": len(body), "uri": data_uri(body)}],
    )


def test_joints_move_a_skinned_mesh_and_its_node_does_not():
    mesh = read(skinned([(1, 0, 0, 0), (0, 1, 0, 0), (0.5, 0.5, 0, 0)]))
    expected = np.eye(3) + [[10, 0, 0], [0, 20, 0], [5, 10, 0]]
    np.testing.assert_allclose(mesh.parts[0].triangles[0], expected)


def test_morph_targets_count_by_their_default_weights():
    changes = {
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0}, "targets": [{"POSITION": 0}] * 2}], "weights": [0.5, 0.25]}
        ]
    }
    np.testing.assert_allclose(read(gltf(**changes)).parts[0].triangles[0], 1.75 * np.eye(3))
    changes["nodes"] = [{"mesh": 0, "weights": [1, 0]}]
    np.testing.assert_allclose(read(gltf(**changes)).parts[0].triangles[0], 2 * np.eye(3))


def test_a_hidden_node_is_not_seen():
    nodes = [{"mesh": 0}, {"mesh": 0, "extensions": {"KHR_node_visibility": {"visible": False}}}]
    assert len(read(gltf(nodes=nodes, scenes=[{"nodes": [0, 1]}])).parts) == 1


def test_a_required_extension_that_is_not_known_is_an_error_with_its_name():
    with pytest.raises(ValueError, match="requires the extension EXT_future"):
        read(gltf(extensionsRequired=["EXT_future"], extensionsUsed=["EXT_future"]))


def test_a_used_extension_of_something_seen_is_a_warning_and_one_of_light_is_not():
    used = ["EXT_future", "KHR_materials_clearcoat", "EXT_of_the_file"]
    nodes = [{"mesh": 0, "extensions": {"EXT_future": {}, "KHR_materials_clearcoat": {}}}]
    assert read(gltf(extensionsUsed=used, nodes=nodes)).warnings == ["the extension EXT_future is not read"]


def test_lines_are_left_out_with_a_word():
    primitives = [{"attributes": {"POSITION": 0}}, {"attributes": {"POSITION": 0}, "mode": 3}]
    mesh = read(gltf(meshes=[{"primitives": primitives}]))
    assert mesh.warnings == ["1 sets of lines left out"] and len(mesh.parts) == 1


def textured(material: dict, image: Image.Image, colors: tuple[float, ...] | None = None) -> bytes:
    """The triangle, with one texture coordinate for all of it, in the middle of the texture's upper left quarter."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    body = TRIANGLE + struct.pack("<6f", *[0.25, 0.25] * 3) + struct.pack("<12f", *(colors or (1, 1, 1, 1)) * 3)
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
        {"bufferView": 1, "componentType": 5126, "count": 3, "type": "VEC2"},
        {"bufferView": 2, "componentType": 5126, "count": 3, "type": "VEC4"},
    ]
    attributes = {"POSITION": 0, "TEXCOORD_0": 1} | ({} if colors is None else {"COLOR_0": 2})
    return gltf(
        meshes=[{"primitives": [{"attributes": attributes, "material": 0}]}],
        materials=[material],
        textures=[{"source": 0}],
        images=[{"uri": data_uri(buffer.getvalue())}],
        accessors=accessors,
        bufferViews=[
            {"buffer": 0, "byteOffset": start, "byteLength": size} for start, size in ((0, 36), (36, 24), (60, 48))
        ],
        buffers=[{"byteLength": len(body), "uri": data_uri(body)}],
    )


def seen(data: bytes, count: int = 50) -> np.ndarray:
    return colored_points(read(data), count).rgb


def srgb(linear: float) -> int:
    return round(255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055))


def test_factor_texture_and_vertex_colors_multiply_in_linear_light():
    image = Image.new("RGB", (4, 4), (188, 188, 188))  # about 0.5 of the light
    material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "baseColorFactor": [1, 0.5, 0.25, 1]}}
    light = ((188 / 255 + 0.055) / 1.055) ** 2.4
    rgb = seen(textured(material, image, (0.5, 1, 0.5, 1)))
    expected = [srgb(light * 0.5), srgb(light * 0.5), srgb(light * 0.125)]
    assert np.abs(rgb.astype(int) - expected).max() <= 1


def test_specular_glossiness_counts_by_its_diffuse_color():
    gloss = {"diffuseFactor": [0.5, 0, 0, 1], "diffuseTexture": {"index": 0}}
    material = {
        "extensions": {"KHR_materials_pbrSpecularGlossiness": gloss},
        "pbrMetallicRoughness": {"baseColorFactor": [0, 1, 0, 1]},
    }
    assert np.abs(seen(textured(material, Image.new("RGB", (2, 2), "white"))).astype(int) - [188, 0, 0]).max() <= 1


def half_hole(alpha: int) -> Image.Image:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, alpha))
    image.paste((0, 255, 0, 255), (2, 0, 4, 4))
    return image


@pytest.mark.parametrize(
    ("mode", "alpha", "cutoff", "is_hole"),
    [
        ("OPAQUE", 0, 0.5, False),
        ("MASK", 100, 0.5, True),
        ("MASK", 100, 0.3, False),
        ("MASK", 140, 0.5, False),
        ("MASK", 140, 0.9, True),
        ("BLEND", 1, 0.5, False),
        ("BLEND", 0, 0.5, True),
    ],
)
def test_cut_outs_are_holes_by_their_cutoff_and_glass_is_not(mode, alpha, cutoff, is_hole):
    material = {
        "alphaMode": mode,
        "alphaCutoff": cutoff,
        "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}},
    }
    data = json.loads(textured(material, half_hole(alpha)))
    # A second triangle over the opaque half, so that there is something left to draw.
    body = TRIANGLE + struct.pack("<6f", *[0.25, 0.25] * 3) + TRIANGLE + struct.pack("<6f", *[0.75, 0.25] * 3)
    data["buffers"] = [{"byteLength": len(body), "uri": data_uri(body)}]
    places = ((0, 36), (36, 24), (60, 36), (96, 24))
    data["bufferViews"] = [{"buffer": 0, "byteOffset": start, "byteLength": size} for start, size in places]
    vectors = [(0, "VEC3"), (1, "VEC2"), (2, "VEC3"), (3, "VEC2")]
    data["accessors"] = [{"bufferView": v, "componentType": 5126, "count": 3, "type": kind} for v, kind in vectors]
    data["meshes"] = [
        {
            "primitives": [
                {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0},
                {"attributes": {"POSITION": 2, "TEXCOORD_0": 3}, "material": 0},
            ]
        }
    ]
    rgb = seen(json.dumps(data).encode(), 200)
    red = (rgb == [255, 0, 0]).all(axis=1).mean()
    assert red == 0 if is_hole else 0.3 < red < 0.7


@pytest.mark.parametrize(("wrap", "columns"), [(10497, [0, 1, 0, 1]), (33071, [0, 0, 1, 1]), (33648, [1, 0, 1, 0])])
def test_a_texture_goes_on_beyond_its_edges_as_its_sampler_says(wrap, columns):
    """A texture of two columns, at u of -0.75, -0.25 (left of it), 1.25 and 1.75 (right of it)."""
    image = Image.new("RGB", (2, 1), "black")
    image.putpixel((1, 0), (255, 255, 255))
    for u, column in zip((-0.75, -0.25, 1.25, 1.75), columns, strict=True):
        data = json.loads(textured({"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}, image))
        body = TRIANGLE + struct.pack("<6f", *[u, 0.5] * 3)
        data["buffers"] = [{"byteLength": len(body), "uri": data_uri(body)}]
        data["bufferViews"] = data["bufferViews"][:2]
        data["accessors"] = data["accessors"][:2]
        data["samplers"] = [{"wrapS": wrap}]
        data["textures"] = [{"source": 0, "sampler": 0}]
        assert seen(json.dumps(data).encode(), 3).tolist() == [[255 * column] * 3] * 3, u
