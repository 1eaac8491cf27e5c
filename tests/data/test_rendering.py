import io

import numpy as np
import pytest
import trimesh
from PIL import Image
from support.tiny_meshes import QUARTERS, plain_mesh, quad

from mrd_hf.data import rendering
from mrd_hf.data.rendering import RenderSettings, encode_image, render_views
from mrd_hf.errors import UserError
from mrd_hf.models.shapes import MeshPart, TexturedMesh


needs_embree = pytest.mark.skipif(rendering.EmbreeScene is None, reason="needs embreex")
FLAT = {"ambient": 1.0, "elevations": (0.0,)}  # no shading: pictures show the colours as they are


def camera(azimuth: float, elevation: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right, up and back of a camera, by rotation matrices: first tilted about x, then turned about y."""
    a, e = np.radians([azimuth, elevation])
    tilt = np.array([[1, 0, 0], [0, np.cos(e), np.sin(e)], [0, -np.sin(e), np.cos(e)]])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    return tuple((turn @ tilt).T)


def silhouette(points: np.ndarray, azimuth: float, elevation: float, distance: float, size: int) -> np.ndarray:
    """Pictures, in pixels, of the points' outline: columns and rows."""
    right, up, back = camera(azimuth, elevation)
    scale = size / 2 / np.tan(np.radians(20)) / (distance - points @ back)
    return np.stack([size / 2 + points @ right * scale, size / 2 - points @ up * scale], axis=1)


def ink(picture: np.ndarray) -> np.ndarray:
    """How much of each pixel is covered by a black shape on white; only edges are in between."""
    return 1 - picture.astype(float).mean(axis=-1) / 255


@needs_embree
def test_a_sphere_is_the_disk_that_geometry_says():
    sphere = plain_mesh(trimesh.creation.icosphere(subdivisions=5, radius=7))
    (picture,) = render_views(sphere, RenderSettings(num_views=1, resolution=200, **FLAT))
    covered = ink(picture) > 0.5
    rows, columns = np.nonzero(covered)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(99.5, abs=0.6)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(99.5, abs=0.6)
    # Of the nearest distance at which |x| / (d - z) nowhere exceeds 0.95 of the half width, the disk's radius follows:
    # 95 of 100 pixels.
    assert covered.sum() == pytest.approx(np.pi * 95**2, rel=0.01)


@needs_embree
@pytest.mark.parametrize("elevation", [0.0, 20.0, -35.0, 90.0])
def test_a_boxs_outline_is_its_projection(elevation):
    box = trimesh.creation.box(extents=(2, 1, 3))
    box.apply_translation([100, -50, 20])  # pictures do not depend on where the mesh is
    settings = RenderSettings(num_views=6, resolution=160, elevations=(elevation,), ambient=1)
    pictures = render_views(plain_mesh(box), settings)
    corners = box.vertices - [100, -50, 20]
    half_width = np.tan(np.radians(20)) * 0.95
    distance = 0.0
    for view in range(6):
        right, up, back = camera(60 * view, elevation)
        sideways = np.maximum(np.abs(corners @ right), np.abs(corners @ up))
        distance = max(distance, (sideways / half_width + corners @ back).max())
    for view, picture in enumerate(pictures):
        outline = silhouette(corners, 60 * view, elevation, distance, 160)
        rows, columns = np.nonzero(ink(picture) > 0.5)
        found = [columns.min(), columns.max() + 1, rows.min(), rows.max() + 1]
        expected = [*(outline[:, 0].min(), outline[:, 0].max()), *(outline[:, 1].min(), outline[:, 1].max())]
        assert found == pytest.approx(expected, abs=1.01)


@needs_embree
def test_a_texture_is_upright_and_keeps_its_colors():
    mesh = TexturedMesh([quad(QUARTERS)])
    front, _, back, _ = render_views(mesh, RenderSettings(num_views=4, resolution=64, **FLAT))
    places = np.ix_([16, 48], [16, 48])
    assert front[places].tolist() == QUARTERS.tolist()
    assert back[places].tolist() == QUARTERS[:, ::-1].tolist()  # both sides are there, this one mirrored
    assert front[0, 0].tolist() == [255, 255, 255]


@needs_embree
def test_views_go_around_counter_clockwise_from_the_front():
    colors = {(0, 0, 1): (255, 0, 0), (1, 0, 0): (0, 255, 0), (0, 0, -1): (0, 0, 255), (-1, 0, 0): (255, 255, 0)}
    box = trimesh.creation.box()
    corner_colors = np.zeros((12, 3, 3), dtype=np.uint8)
    for normal, color in colors.items():
        corner_colors[box.face_normals @ normal > 0.9] = color
    mesh = TexturedMesh([MeshPart(np.array(box.triangles), corner_colors)])
    pictures = render_views(mesh, RenderSettings(num_views=4, resolution=32, **FLAT))
    assert [tuple(picture[16, 16]) for picture in pictures] == list(colors.values())


@needs_embree
def test_view_i_is_view_0_of_the_mesh_turned_back():
    ball = trimesh.creation.icosphere(radius=0.6).apply_translation([0.5, 0.2, 0.4])
    mesh = TexturedMesh([quad(QUARTERS), *plain_mesh(ball, (200, 90, 30)).parts])
    settings = RenderSettings(num_views=4, resolution=96, elevations=(30.0,))
    pictures = render_views(mesh, settings)
    assert len({picture.tobytes() for picture in pictures}) == 4
    quarter = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])  # what faced +x faces +z
    turned = render_views(mesh.rotated(quarter), settings)
    for view in range(4):
        difference = np.abs(turned[view].astype(int) - pictures[(view + 1) % 4]).max(axis=-1)
        assert (difference > 2).mean() < 0.002  # rounding on edges


@needs_embree
def test_elevations_take_turns():
    mesh = plain_mesh(trimesh.creation.cylinder(radius=1, height=0.1, transform=np.eye(4)[[0, 2, 1, 3]]))
    covered = [ink(view).sum() for view in render_views(mesh, RenderSettings(4, 64, (0.0, 80.0), ambient=1))]
    assert covered[0] == pytest.approx(covered[2], rel=0.1) and covered[1] == pytest.approx(covered[3], rel=0.1)
    assert covered[1] > 5 * covered[0]


@needs_embree
def test_holes_show_what_is_behind_them():
    texture = np.zeros((2, 2, 4), dtype=np.uint8)
    texture[:, 0] = (255, 0, 0, 255)  # the left half is red, the right a hole
    mesh = TexturedMesh([quad(texture, z=0.1), quad(texture[:, ::-1], z=0.0), quad(color=(0, 0, 255), z=-0.1)])
    (picture,) = render_views(mesh, RenderSettings(1, 64, background=(9, 9, 9), **FLAT))
    assert picture[32, 16].tolist() == [255, 0, 0] and picture[32, 48].tolist() == [255, 0, 0]
    (picture,) = render_views(TexturedMesh([mesh.parts[0], mesh.parts[2]]), RenderSettings(1, 64, **FLAT))
    assert picture[32, 48].tolist() == [0, 0, 255]
    (picture,) = render_views(TexturedMesh([mesh.parts[0]]), RenderSettings(1, 64, background=(9, 9, 9), **FLAT))
    assert picture[32, 48].tolist() == [9, 9, 9]


@needs_embree
def test_a_fine_texture_is_averaged_not_picked_from():
    checks = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    (picture,) = render_views(TexturedMesh([quad(checks)]), RenderSettings(1, 64, background=(128,) * 3, **FLAT))
    assert np.abs(picture[8:-8, 8:-8].astype(int) - 128).max() <= 3


@needs_embree
def test_edges_are_smooth_and_mixed_as_light():
    white = TexturedMesh([quad(color=(255, 255, 255))])
    (picture,) = render_views(white, RenderSettings(1, 64, background=(0, 0, 0), **FLAT))
    # Of a pixel that is a quarter, half or three quarters white, sRGB has these values for the mean of the light.
    values = set(np.unique(picture).tolist())
    assert values <= {0, 137, 188, 225, 255} and values & {137, 188, 225}


@needs_embree
def test_shading_is_brightest_towards_the_light_above():
    sphere = plain_mesh(trimesh.creation.icosphere(subdivisions=4), (200, 200, 200))
    (picture,) = render_views(sphere, RenderSettings(1, 64, (0.0,), background=(0, 0, 0)))
    assert picture.max() == pytest.approx(200, abs=2)
    row, column = np.unravel_index(picture[..., 0].argmax(), (64, 64))
    assert row < 28 and column < 30
    assert 0 < picture[58, 40, 0] < picture[32, 32, 0] < 200


@needs_embree
@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e6, 1e200])
def test_any_unit_gives_the_same_picture(scale):
    mesh = trimesh.creation.cone(radius=1, height=2)
    settings = RenderSettings(2, 48)
    expected = render_views(plain_mesh(mesh, (10, 100, 200)), settings)
    scaled = TexturedMesh([MeshPart(part.triangles * scale, part.corner_colors) for part in plain_mesh(mesh).parts])
    scaled.parts[0].corner_colors[:] = (10, 100, 200)
    found = render_views(scaled, settings)
    assert (np.abs(found.astype(int) - expected) > 2).mean() < 0.002


def test_encoded_pictures_lose_little():
    rows, columns = np.mgrid[:64, :64]
    picture = np.stack([rows * 4, columns * 4, 255 - rows * 2], axis=-1).astype(np.uint8)
    data = encode_image(picture)
    decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)
    assert len(data) < 4000 and np.sqrt(((decoded - picture) ** 2).mean()) < 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_views": 0}, "num_views is 0"),
        ({"resolution": 8}, "resolution is 8"),
        ({"elevations": ()}, "elevations are"),
        ({"elevations": (0.0, 91.0)}, "elevations are"),
        ({"elevations": (float("nan"),)}, "elevations are"),
        ({"background": (0, 0, 256)}, "background is"),
        ({"ambient": -0.1}, "ambient is -0.1"),
    ],
)
def test_settings_out_of_range_are_named(setting, message):
    with pytest.raises(UserError, match=message):
        RenderSettings(**setting)


def test_without_embreex_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(rendering, "EmbreeScene", None)
    with pytest.raises(UserError, match=r"pip install 'mrd-hf\[render\]'"):
        render_views(TexturedMesh([quad()]), RenderSettings(1, 32))
