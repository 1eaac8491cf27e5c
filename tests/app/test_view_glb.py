"""The GLB that is shown, read back by trimesh: not by what wrote it."""

import io
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from support.tiny_meshes import QUARTERS, plain_mesh, quad

from mrd_hf.app import view_glb
from mrd_hf.app.view_glb import ball_radius, cloud_view, mesh_view
from mrd_hf.models.shapes import TexturedMesh


def parts(glb):
    """Meshes of a GLB, each in its place."""
    scene = trimesh.load_scene(io.BytesIO(glb), file_type="glb", process=False)
    return scene.dump()


def corner_colors(glb):
    """Linear, in 0..1, of shape (corners, 4): read by hand, since trimesh drops them where there is a material."""
    head = header(glb)
    accessor = head["accessors"][head["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    assert (accessor["componentType"], accessor["type"], accessor["normalized"]) == (5123, "VEC4", True)
    view = head["bufferViews"][accessor["bufferView"]]
    start = 20 + struct.unpack_from("<I", glb, 12)[0] + 8 + view["byteOffset"]
    return np.frombuffer(glb, "<u2", 4 * accessor["count"], start).reshape(-1, 4) / 65535


def header(glb):
    length = struct.unpack_from("<I", glb, 12)[0]
    return json.loads(glb[20 : 20 + length])


def test_a_mesh_keeps_its_form_and_colors():
    box = trimesh.creation.box(extents=(1, 2, 3))
    box.apply_translation((100, 0, 0))
    glb, is_surface = mesh_view(plain_mesh(box, color=(200, 100, 50)), "y")
    (shown,) = parts(glb)
    assert is_surface and shown.faces.shape == (12, 3)
    # Centred, and the box's half diagonal is the half extent.
    scale = view_glb.HALF_EXTENT / np.linalg.norm((0.5, 1, 1.5))
    np.testing.assert_allclose(shown.bounds, scale * np.array([[-0.5, -1, -1.5], [0.5, 1, 1.5]]), atol=1e-6)
    linear = ((np.array([200, 100, 50]) / 255 + 0.055) / 1.055) ** 2.4  # glTF's colours of corners are linear
    np.testing.assert_allclose(corner_colors(glb)[0], [*linear, 1], atol=0.005)


def test_what_is_z_up_stands_upright():
    tall = trimesh.creation.box(extents=(1, 2, 6))
    for glb in (mesh_view(plain_mesh(tall), "z")[0], cloud_view(tall.vertices, None, "z")):
        width, height, depth = np.ptp(np.concatenate([part.vertices for part in parts(glb)]), axis=0)
        assert height > 2 * depth > 2 * width or height > depth > width


def test_what_is_z_up_does_not_stand_on_its_head():
    """A cone, whose tip is up in the file, and on the screen where the file's up is known."""
    for up_axis, axis in (("z", 1), ("y", 2)):
        glb, _ = mesh_view(plain_mesh(trimesh.creation.cone(1, 3)), up_axis)
        vertices = np.concatenate([part.vertices for part in parts(glb)]).round(5)
        heights = vertices[:, axis]
        tip, foot = (np.unique(vertices[heights == end], axis=0) for end in (heights.max(), heights.min()))
        assert len(tip) == 1 and len(foot) > 8


def test_a_texture_is_shown_where_it_was():
    glb, _ = mesh_view(TexturedMesh([quad(QUARTERS.repeat(64, axis=0).repeat(64, axis=1))]), "y")
    (shown,) = parts(glb)
    assert shown.visual.material.baseColorTexture.size == (128, 128)
    colors = shown.visual.to_color().vertex_colors[:, :3].astype(int)
    for corner, expected in (((-1, 1), QUARTERS[0, 0]), ((1, -1), QUARTERS[1, 1])):
        found = colors[(np.sign(shown.vertices[:, :2]) == corner).all(axis=1)]
        assert len(found) > 0 and np.abs(found - expected).max() < 25  # JPEG


def test_holes_of_a_texture_stay_holes():
    texture = np.full((4, 4, 4), 255, dtype=np.uint8)
    texture[:2, :, 3] = 0
    glb, _ = mesh_view(TexturedMesh([quad(texture)]), "y")
    assert header(glb)["materials"][0]["alphaMode"] == "MASK"
    assert header(glb)["images"][0]["mimeType"] == "image/png"


def test_a_texture_that_two_parts_share_is_written_once():
    texture = np.full((4, 4, 4), 255, dtype=np.uint8)
    glb, _ = mesh_view(TexturedMesh([quad(texture), quad(texture, z=1)]), "y")
    assert len(header(glb)["images"]) == 1 and len(parts(glb)) == 2


@pytest.mark.parametrize("with_texture", [False, True])
def test_a_tint_is_its_corners_color_and_may_have_holes(with_texture):
    texture = np.full((4, 4, 4), 255, dtype=np.uint8) if with_texture else None
    tint = np.full((2, 3, 4), 1.0, dtype=np.float32)
    tint[..., :3] = 0.25, 0.5, 1.5  # linear already; beyond 1 there is nothing brighter
    glb, _ = mesh_view(TexturedMesh([replace(quad(texture, color=(9, 9, 9)), tint=tint)]), "y")
    np.testing.assert_allclose(corner_colors(glb)[:, :3], np.tile([0.25, 0.5, 1], (6, 1)), atol=1e-4)
    assert "alphaMode" not in header(glb)["materials"][0]
    tint[1, 2, 3] = 0.25
    glb, _ = mesh_view(TexturedMesh([replace(quad(texture), tint=tint)]), "y")
    assert corner_colors(glb)[:, 3].tolist() == pytest.approx([1, 1, 1, 1, 1, 0.25], abs=1e-4)
    assert header(glb)["materials"][0]["alphaMode"] == "MASK"


def test_a_texture_continues_beyond_its_edge_as_its_file_says():
    """The numbers are those of glTF 2.0, section 5.26; parts that differ in them alone share the picture."""
    texture = np.full((4, 4, 4), 255, dtype=np.uint8)
    wraps = [("repeat", "repeat"), ("mirror", "clamp"), ("clamp", "mirror")]
    parts_of_mesh = [replace(quad(texture, z=z), wrap=wrap) for z, wrap in enumerate(wraps)]
    head = header(mesh_view(TexturedMesh(parts_of_mesh), "y")[0])
    materials = [head["materials"][part["material"]] for part in head["meshes"][0]["primitives"]]
    textures = [head["textures"][look["pbrMetallicRoughness"]["baseColorTexture"]["index"]] for look in materials]
    samplers = [head["samplers"][texture["sampler"]] for texture in textures]
    assert [(one["wrapS"], one["wrapT"]) for one in samplers] == [(10497, 10497), (33648, 33071), (33071, 33648)]
    assert {texture["source"] for texture in textures} == {0} and len(head["images"]) == 1


def test_a_large_mesh_is_shown_by_points_of_its_surface(monkeypatch):
    monkeypatch.setattr(view_glb, "MAX_FACES", 11)
    glb, is_surface = mesh_view(plain_mesh(trimesh.creation.box()), "y")
    assert not is_surface and len(glb) < 1.4e6
    monkeypatch.setattr(view_glb, "MAX_FACES", 12)
    assert mesh_view(plain_mesh(trimesh.creation.box()), "y")[1]
    monkeypatch.setattr(view_glb, "MAX_TEXELS", 15)
    assert not mesh_view(TexturedMesh([quad(np.full((4, 4, 4), 255, dtype=np.uint8))]), "y")[1]


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_point_becomes_a_ball_of_its_color(dtype):
    points = np.array([[0, 0, 0], [4, 0, 0], [0, 0, 8]], dtype=np.float64)
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    glb = cloud_view(points, colors.astype(dtype) if dtype == np.uint8 else colors / 255, "y")
    (shown,) = parts(glb)
    balls = shown.split(only_watertight=False)
    assert len(balls) == 3 and all(ball.is_watertight and ball.volume > 0 for ball in balls)
    scale = view_glb.HALF_EXTENT / np.linalg.norm((2, 4))
    vertices, corners = shown.vertices.reshape(3, 12, 3), corner_colors(glb)[:, :3].reshape(3, 12, 3)
    for point, color in zip((points - (2, 0, 4)) * scale, colors / 255, strict=True):
        nearest = np.linalg.norm(vertices.mean(axis=1) - point, axis=1).argmin()
        np.testing.assert_allclose(vertices[nearest].mean(axis=0), point, atol=1e-6)
        assert (corners[nearest] == color).all()


def test_the_balls_of_a_surface_nearly_touch():
    grid = np.stack(np.meshgrid(np.arange(20), np.arange(20), [0]), axis=-1).reshape(-1, 3) / 20
    assert 0.025 <= ball_radius(grid.astype(np.float32)) <= 0.03


@pytest.mark.parametrize("points", [np.zeros((1, 3)), np.ones((5000, 3)), np.eye(3) * 1e30])
def test_clouds_of_one_place_or_of_any_size_are_shown(points):
    (shown,) = parts(cloud_view(points, None, "y"))
    assert np.isfinite(shown.vertices).all() and np.abs(shown.vertices).max() < 1


def test_it_turns_once_around_what_is_up():
    glb = cloud_view(np.eye(3), None, "z")
    animation = header(glb)["animations"][0]
    assert animation["channels"] == [{"sampler": 0, "target": {"node": 0, "path": "rotation"}}]
    accessor = header(glb)["accessors"][animation["samplers"][0]["output"]]
    offset = header(glb)["bufferViews"][accessor["bufferView"]]["byteOffset"]
    start = 20 + struct.unpack_from("<I", glb, 12)[0] + 8 + offset
    quaternions = np.frombuffer(glb, "<f4", count=20, offset=start).reshape(5, 4)
    assert (quaternions[:, [0, 2]] == 0).all() and np.allclose(quaternions[-1], [0, 0, 0, -1], atol=1e-6)
    steps = (quaternions[1:] * quaternions[:-1]).sum(axis=1)
    np.testing.assert_allclose(steps, np.cos(np.pi / 4), atol=1e-6)  # a quarter turn each, the same way round


def test_pictures_in_it_are_its_own():
    glb, _ = mesh_view(TexturedMesh([quad(np.zeros((2, 2, 4), np.uint8))]), "y")
    assert ["bufferView" in image and "uri" not in image for image in header(glb)["images"]] == [True]
