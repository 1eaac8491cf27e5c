import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mrd_hf.models.shapes import MeshPart, TexturedMesh
from mrd_hf.models.surface_sampling import normalize_points, sample_surface
from mrd_hf.models.textures import texture_to_rgba


RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
# By position on the quad: lower left, lower right, upper left, upper right.
QUADRANTS = {(0, 0): RED, (1, 0): GREEN, (0, 1): BLUE, (1, 1): WHITE}


def plain_triangle(corners, color):
    return MeshPart(np.array([corners], dtype=float), np.full((1, 3, 3), color, dtype=np.uint8))


def quad(texture: np.ndarray, uv_scale=1.0, uv_shift=0.0) -> TexturedMesh:
    """The unit square in x and y, its texture coordinates equal to the position, scaled and shifted."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=float)[[[0, 1, 2], [0, 2, 3]]]
    uv = corners[..., :2] * uv_scale + uv_shift
    return TexturedMesh([MeshPart(corners, np.zeros((2, 3, 3), dtype=np.uint8), texture, uv)])


def quadrant_image(mode: str) -> Image.Image:
    image = Image.new("RGB", (8, 8))
    for (right, upper), color in QUADRANTS.items():
        image.paste(color, (4 * right, 4 - 4 * upper, 4 * right + 4, 8 - 4 * upper))
    if mode in ("RGB", "RGBA", "CMYK"):
        return image.convert(mode)
    if mode == "P":
        return image.quantize(8)
    # Grey-scale modes: only the lower left quadrant is black.
    grey = Image.fromarray(np.where((np.asarray(image) == RED).all(-1), 0, 255).astype(np.uint8))
    if mode == "I;16":
        return Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    return grey.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "P", "L", "LA", "1", "I;16"])
def test_points_show_the_texture_where_they_lie(mode):
    points, colors = sample_surface(quad(texture_to_rgba(quadrant_image(mode))), 500, np.random.default_rng(0))
    for point, color in zip(points, colors, strict=True):
        expected = QUADRANTS[(int(point[0] >= 0.5), int(point[1] >= 0.5))]
        if mode in ("L", "LA", "1", "I;16"):
            expected = (0, 0, 0) if expected == RED else WHITE
        assert np.abs(color.astype(int) - expected).max() <= 1


@settings(max_examples=25, deadline=None)
@given(shift=st.tuples(st.integers(-5, 5), st.integers(-5, 5)))
def test_texture_repeats_beyond_its_edges(shift):
    texture = texture_to_rgba(quadrant_image("RGB"))
    # The shift is exact in binary, so that points on a texel's edge do not move across it.
    _, expected = sample_surface(quad(texture, uv_scale=0.875), 200, np.random.default_rng(0))
    _, colors = sample_surface(quad(texture, uv_scale=0.875, uv_shift=np.array(shift)), 200, np.random.default_rng(0))
    assert (colors == expected).mean() > 0.99


def test_texture_is_tiled_when_coordinates_exceed_one():
    points, colors = sample_surface(
        quad(texture_to_rgba(quadrant_image("RGB")), uv_scale=2.0), 500, np.random.default_rng(0)
    )
    right, upper = (points[:, 0] * 2 % 1 >= 0.5).astype(int), (points[:, 1] * 2 % 1 >= 0.5).astype(int)
    expected = np.array([QUADRANTS[key] for key in zip(right, upper, strict=True)])
    assert (colors == expected).all()


@pytest.mark.parametrize("edge", [0.0, 1.0, -1.0, np.nextafter(1, 0), -1e-20])
def test_coordinates_on_the_edge_stay_in_the_texture(edge):
    texture = texture_to_rgba(quadrant_image("RGB"))
    _, colors = sample_surface(quad(texture, uv_scale=0.0, uv_shift=edge), 10, np.random.default_rng(0))
    assert colors.shape == (10, 3)


@pytest.mark.parametrize("u", [0.0, 0.01, 0.99, 1.0])
@pytest.mark.parametrize("v", [0.0, 0.01, 0.99, 1.0])
def test_a_face_that_lies_on_an_edge_of_the_texture_has_its_color(u, v):
    image = quadrant_image("RGB")
    expected = trimesh.visual.color.uv_to_color(np.array([[u, v]]), image)[0, :3]
    mesh = quad(texture_to_rgba(image), uv_scale=0.0, uv_shift=(u, v))
    _, colors = sample_surface(mesh, 200, np.random.default_rng(0))
    assert (colors == expected).all()


@pytest.mark.parametrize("whole", [-3.0, -1.0, 2.0, 7.0])
def test_whole_numbers_beyond_the_edges_are_where_the_texture_begins_again(whole):
    mesh = quad(texture_to_rgba(quadrant_image("RGB")), uv_scale=0.0, uv_shift=whole)
    _, colors = sample_surface(mesh, 200, np.random.default_rng(0))
    assert (colors == RED).all()


def test_points_are_drawn_by_area_and_in_random_order():
    small = plain_triangle([[0, 0, 0], [1, 0, 0], [0, 1, 0]], RED)  # area 1/2
    large = plain_triangle([[0, 0, 1], [3, 0, 1], [0, 1, 1]], BLUE)  # area 3/2
    flat = plain_triangle([[0, 0, 2], [1, 0, 2], [2, 0, 2]], GREEN)  # no area
    points, colors = sample_surface(TexturedMesh([small, large, flat]), 20_000, np.random.default_rng(0))
    is_small = (colors == RED).all(axis=1)
    assert not (colors == GREEN).all(axis=1).any()
    assert is_small.mean() == pytest.approx(0.25, abs=0.015)  # five standard deviations
    assert is_small[:2000].mean() == pytest.approx(0.25, abs=0.05)  # any prefix is a sample of the whole
    assert (is_small == (points[:, 2] == 0)).all()


def test_points_are_uniform_within_a_triangle():
    points, _ = sample_surface(
        TexturedMesh([plain_triangle([[0, 0, 0], [1, 0, 0], [0, 1, 0]], RED)]), 20_000, np.random.default_rng(0)
    )
    assert (points[:, 0] + points[:, 1] <= 1 + 1e-6).all()
    assert points.mean(axis=0) == pytest.approx([1 / 3, 1 / 3, 0], abs=0.01)
    # A quarter lies beyond the line that cuts the edges at the corner in half, whichever the corner.
    assert (points[:, 0] > 0.5).mean() == pytest.approx(0.25, abs=0.016)
    assert (points[:, 0] + points[:, 1] < 0.5).mean() == pytest.approx(0.25, abs=0.016)


def test_corner_colors_blend():
    part = MeshPart(
        np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]]], dtype=float), np.array([[RED, GREEN, BLUE]], dtype=np.uint8)
    )
    points, colors = sample_surface(TexturedMesh([part]), 100, np.random.default_rng(0))
    expected = np.stack([1 - points[:, 0] - points[:, 1], points[:, 0], points[:, 1]], axis=1) * 255
    assert np.abs(colors - expected).max() <= 1


def test_holes_of_a_cut_out_texture_get_no_points():
    texture = np.zeros((8, 8, 4), dtype=np.uint8)
    texture[:, :1] = (0, 255, 0, 255)  # only the left eighth is there
    points, colors = sample_surface(quad(texture), 1000, np.random.default_rng(0))
    assert points.shape == (1000, 3)
    left = points[:, 0] < 0.125
    assert left.mean() > 0.98  # all but (7/8)^31 of the points find the part that is there
    assert (colors[left] == GREEN).all()


def test_wholly_transparent_texture_still_yields_points():
    points, colors = sample_surface(quad(np.zeros((2, 2, 4), dtype=np.uint8)), 50, np.random.default_rng(0))
    assert points.shape == colors.shape == (50, 3)


def test_same_generator_same_points():
    mesh = quad(texture_to_rgba(quadrant_image("RGB")))
    first, again = (sample_surface(mesh, 64, np.random.default_rng(3)) for _ in range(2))
    other = sample_surface(mesh, 64, np.random.default_rng(4))
    assert (first[0] == again[0]).all() and (first[1] == again[1]).all()
    assert (first[0] != other[0]).any()
    assert first[0].dtype == np.float64 and first[1].dtype == np.uint8


@settings(max_examples=50, deadline=None)
@given(
    scale=st.floats(1e-3, 1e4), shift=st.floats(-1e4, 1e4), num_points=st.integers(2, 50), seed=st.integers(0, 2**32)
)
def test_normalized_points_fill_the_unit_sphere(scale, shift, num_points, seed):
    points = np.random.default_rng(seed).normal(size=(num_points, 3)) * scale + shift
    normalized = normalize_points(points)
    assert normalized.dtype == np.float32
    assert np.abs(normalized.mean(axis=0)).max() < 1e-4
    assert np.linalg.norm(normalized, axis=1).max() == pytest.approx(1, abs=1e-5)
