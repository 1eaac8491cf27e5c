"""Corruptions do what they say, move colors along with their points, and depend on nothing but seed and index."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import ConvexHull, Delaunay
from scipy.spatial.distance import pdist

from mrd_hf.evaluation.scores.corruptions import CORRUPTIONS, THINNED_SIZES, corrupt


NAMES = [corruption.name for corruption in CORRUPTIONS]
SAME_PLACES = [name for name in NAMES if name.startswith(("no_color", "thin", "cut", "hole"))]
SAME_POINTS = ["no_color", "jitter", "turn", "rotate"]


def cloud(seed, count, center=0.0):
    """Not centered, of no particular size, each color telling which point it belongs to."""
    generator = np.random.default_rng(seed)
    points = (center + generator.normal(size=(count, 3)) * [3, 1, 2]).astype(np.float32)
    index = np.arange(count)
    return points, np.stack([index // 65536, index // 256 % 256, index % 256], axis=1).astype(np.uint8)


def rows_of(colors):
    return colors.astype(int) @ [65536, 256, 1]


@pytest.mark.parametrize("name", NAMES)
def test_same_for_the_same_seed_and_index_alone(name):
    points, colors = cloud(0, 700)
    first = corrupt(name, points, colors, "y", 5, 3)
    for index in (0, 4, 3):  # whatever came in between
        corrupt(name, *cloud(index, 50), "y", 5, index)
    again = corrupt(name, points, colors, "y", 5, 3)
    for one, other in zip(first, again, strict=True):
        assert one is other is None or (one == other).all()
    assert first[0].dtype == points.dtype
    np.testing.assert_array_equal(points, cloud(0, 700)[0])  # left as it was
    if name not in ("no_color", *(f"thin_{size}" for size in THINNED_SIZES if size >= 700)):
        for seed, index in ((5, 4), (6, 3)):
            other = corrupt(name, points, colors, "y", seed, index)[0]
            assert other.shape != first[0].shape or (other != first[0]).any()


def test_same_in_another_process():
    """Python's own hashes of strings differ between processes."""
    code = (
        "from mrd_hf_cli.without_models import import_without_models; import_without_models()\n"
        "import numpy as np; from mrd_hf.evaluation.scores.corruptions import CORRUPTIONS, corrupt\n"
        "points = np.arange(90.0).reshape(30, 3) % 7\n"
        "for c in CORRUPTIONS: print(float(corrupt(c.name, points, None, 'z', 1, 2)[0].sum()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    points = np.arange(90.0).reshape(30, 3) % 7
    expected = [float(corrupt(name, points, None, "z", 1, 2)[0].sum()) for name in NAMES]
    assert [float(line) for line in done.stdout.split()] == expected


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(SAME_PLACES), count=st.integers(1, 900), seed=st.integers(0, 1000))
def test_points_that_stay_keep_place_color_and_order(name, count, seed):
    points, colors = cloud(seed, count)
    new_points, new_colors = corrupt(name, points, colors, "y", seed, 0)
    expected = {"no_color": count, "cut_25": 0.75, "cut_50": 0.5, "hole_25": 0.75}
    share = expected.get(name)
    left = min(count, int(name[5:])) if share is None else share if share >= 1 else count - round((1 - share) * count)
    assert len(new_points) == max(left, 1)
    if name == "no_color":
        assert new_colors is None
        np.testing.assert_array_equal(new_points, points)
        return
    rows = rows_of(new_colors)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(new_points, points[rows])


@pytest.mark.parametrize("name", NAMES)
def test_clouds_without_colors_stay_without_and_single_points_remain(name):
    assert corrupt(name, cloud(1, 40)[0], None, "z", 0, 0)[1] is None
    points, colors = corrupt(name, *cloud(2, 1), "z", 0, 0)
    np.testing.assert_allclose(points, cloud(2, 1)[0], rtol=1e-6)
    assert colors is None if name == "no_color" else colors.shape == (1, 3)


@pytest.mark.parametrize("name", ["turn", "rotate"])
@pytest.mark.parametrize("up_axis", ["y", "z"])
def test_rotations_keep_distances_and_handedness(name, up_axis):
    points, colors = cloud(3, 60, center=100.0)
    points = points.astype(np.float64)
    for index in range(5):
        moved, moved_colors = corrupt(name, points, colors, up_axis, 0, index)
        np.testing.assert_allclose(pdist(moved), pdist(points), atol=1e-9)
        np.testing.assert_allclose(moved.mean(axis=0), points.mean(axis=0))
        np.testing.assert_array_equal(moved_colors, colors)
        corners = [np.linalg.det(cloud_[1:4] - cloud_[0]) for cloud_ in (points, moved)]
        assert corners[1] == pytest.approx(corners[0])  # a mirror image has the other sign
        up, flat = (1, [0, 2]) if up_axis == "y" else (2, [0, 1])
        assert (name == "turn") == np.allclose(moved[:, up], points[:, up])
        assert not np.allclose(moved[:, flat], points[:, flat], atol=1e-3)


def test_turns_and_rotations_are_uniform():
    corner = np.array([[1.0, 0, 0], [-1, 0, 0]])  # its mean is the origin
    ends = np.array([corrupt("turn", corner, None, "y", 0, index)[0][0] for index in range(2000)])
    angles = np.arctan2(ends[:, 2], ends[:, 0]) % (2 * np.pi)
    assert stats.kstest(angles / (2 * np.pi), "uniform").pvalue > 0.001
    for axis in range(3):  # of a uniform direction each coordinate is uniform (Archimedes)
        corner = np.array([np.eye(3)[axis], -np.eye(3)[axis]])
        ends = np.array([corrupt("rotate", corner, None, "y", 0, index)[0][0] for index in range(1000)])
        for coordinate in range(3):
            assert stats.kstest((ends[:, coordinate] + 1) / 2, "uniform").pvalue > 0.001
    # The angle of a uniform rotation has the density (1 - cos a) / pi, so its cosine the mean -1/2.
    frame = np.concatenate([np.eye(3), -np.eye(3)])
    traces = [np.trace(corrupt("rotate", frame, None, "y", 0, index)[0][:3]) for index in range(4000)]
    assert np.mean(traces) == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_jitter_is_relative_to_the_radius_and_cut_off(scale):
    points, colors = cloud(4, 20_000, center=2.0)
    points = points.astype(np.float64) * scale
    moved, moved_colors = corrupt("jitter", points, colors, "y", 0, 0)
    radius = np.linalg.norm(points - points.mean(axis=0), axis=1).max()
    noise = (moved - points) / radius
    assert noise.std() == pytest.approx(0.01, rel=0.02) and noise.mean() == pytest.approx(0, abs=3e-4)
    assert np.abs(noise).max() <= 0.05 + 1e-9
    np.testing.assert_array_equal(moved_colors, colors)


def test_thinned_clouds_are_nested_random_choices():
    points, colors = cloud(5, 12_000)
    rows = {size: set(rows_of(corrupt(f"thin_{size}", points, colors, "y", 0, 0)[1])) for size in THINNED_SIZES}
    sizes = sorted(THINNED_SIZES)
    assert all(rows[small] < rows[large] for small, large in zip(sizes, sizes[1:], strict=False))
    kept = np.bincount(
        np.concatenate([rows_of(corrupt("thin_512", *cloud(0, 1024), "y", 0, index)[1]) for index in range(400)])
    )
    assert abs(kept / 400 - 0.5).max() < 0.12


def test_cuts_are_by_a_plane_and_nested():
    points, colors = cloud(6, 800)
    for index in range(4):
        left = {name: rows_of(corrupt(name, points, colors, "y", 0, index)[1]) for name in ("cut_25", "cut_50")}
        assert set(left["cut_50"]) < set(left["cut_25"])
        removed = np.delete(np.arange(800), left["cut_50"])
        # What two halves a plane parts have hulls without a common point: no point lies in the other's.
        assert (Delaunay(points[removed]).find_simplex(points[left["cut_50"]]) < 0).all()
        assert (Delaunay(points[left["cut_50"]]).find_simplex(points[removed]) < 0).all()


def test_a_hole_is_round_and_around_one_of_the_points():
    points, colors = cloud(7, 400)
    for index in range(4):
        left = rows_of(corrupt("hole_25", points, colors, "y", 0, index)[1])
        removed = np.delete(np.arange(400), left)
        distances = np.linalg.norm(points[:, None].astype(np.float64) - points, axis=2)
        assert any(distances[removed, center].max() <= distances[left, center].min() for center in removed)


def test_cuts_change_what_the_cloud_encloses():
    points, colors = cloud(8, 500)
    volume = ConvexHull(points).volume
    assert ConvexHull(corrupt("cut_50", points, colors, "y", 0, 0)[0]).volume < 0.75 * volume


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "melt"}, "no corruption 'melt'; there are no_color, thin_10000"),
        ({"up_axis": "x"}, "up_axis must be 'y' or 'z', got 'x'"),
        ({"points": np.ones((0, 3))}, "at least one point"),
        ({"points": np.ones((4, 3), dtype=int)}, "floats of shape"),
        ({"points": np.ones((4, 2))}, r"got \(4, 2\)"),
        ({"colors": np.ones((3, 3))}, r"colors must have shape \(4, 3\) as the points, got \(3, 3\)"),
    ],
)
def test_inputs_that_do_not_fit(change, message):
    arguments = {"name": "cut_25", "points": np.ones((4, 3)), "colors": None, "up_axis": "y", "seed": 0, "index": 0}
    with pytest.raises(ValueError, match=message):
        corrupt(**{**arguments, **change})
