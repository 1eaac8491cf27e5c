"""Sampling and grouping against brute-force loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mrd_hf.models.point_sampling import ball_query, farthest_point_sampling, gather_points, squared_distances


def cloud(kind: str, num_points: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "random":
        return rng.standard_normal((num_points, 3)).astype(np.float32)
    if kind == "duplicates":
        return rng.standard_normal((3, 3)).astype(np.float32)[rng.integers(0, 3, num_points)]
    if kind == "line":
        return np.outer(rng.permutation(num_points), [1, 0, 0]).astype(np.float32)
    return rng.integers(0, 3, (num_points, 3)).astype(np.float32)  # lattice: many equal distances


def loop_farthest(points: np.ndarray, num_samples: int, start: int) -> list[int]:
    picked = [start]
    while len(picked) < num_samples:
        differences = points[:, None] - points[picked]
        distances = (differences[..., 0] ** 2 + differences[..., 1] ** 2) + differences[..., 2] ** 2
        picked.append(int(distances.min(axis=1).argmax()))  # argmax: the first of equals
    return picked


def loop_ball(center: np.ndarray, points: np.ndarray, radius: float, num_samples: int) -> list[int]:
    inside = [i for i, p in enumerate(points) if ((p - center) ** 2).sum() <= radius**2][:num_samples]
    return inside + [inside[0]] * (num_samples - len(inside))


KINDS = st.sampled_from(["random", "duplicates", "line", "lattice"])


@settings(deadline=None, max_examples=40)
@given(KINDS, st.integers(1, 40), st.integers(1, 50), st.integers(0, 10**6), st.data())
def test_farthest_point_sampling_equals_a_loop(kind, num_points, num_samples, seed, data):
    start = data.draw(st.integers(0, num_points - 1))
    batch = np.stack([cloud(kind, num_points, seed), cloud(kind, num_points, seed + 1)])
    picked = farthest_point_sampling(torch.from_numpy(batch), num_samples, start)
    assert picked.tolist() == [loop_farthest(points, num_samples, start) for points in batch]


@settings(deadline=None, max_examples=40)
@given(KINDS, st.integers(1, 40), st.integers(1, 12), st.floats(0.1, 3), st.integers(0, 10**6))
def test_ball_query_equals_a_loop(kind, num_points, num_samples, radius, seed):
    batch = np.stack([cloud(kind, num_points, seed), cloud(kind, num_points, seed + 1)])
    centers = batch[:, ::3]
    groups = ball_query(torch.from_numpy(centers), torch.from_numpy(batch), radius, num_samples)
    for points, middles, found in zip(batch, centers, groups.tolist(), strict=True):
        assert found == [loop_ball(c, points, radius, num_samples) for c in middles]


def test_a_point_on_the_sphere_belongs_to_the_ball():
    points = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0], [1.0001, 0, 0]]])
    assert ball_query(points[:, :1], points, 1.0, 3).tolist() == [[[0, 1, 0]]]


def test_squared_distances_match_numpy_in_float64():
    rng = np.random.default_rng(0)
    queries, points = rng.standard_normal((2, 5, 3)), rng.standard_normal((2, 7, 3))
    expected = ((queries[:, :, None] - points[:, None]) ** 2).sum(-1)
    np.testing.assert_allclose(squared_distances(torch.from_numpy(queries), torch.from_numpy(points)), expected)


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 5)])
def test_gather_points(shape):
    values = torch.arange(2 * 6 * 3).view(2, 6, 3)
    index = torch.randint(0, 6, shape, generator=torch.Generator().manual_seed(0))
    gathered = gather_points(values, index)
    for position in np.ndindex(shape):
        assert torch.equal(gathered[position], values[position[0], index[position]])
