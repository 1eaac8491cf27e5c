"""Sampling and grouping against brute-force loops."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clouds_to_sample import KINDS, cloud
from support.sampling_loops import loop_ball, loop_distances, loop_farthest, loop_nearest

from mrd_hf.models import cpu_grouping, point_sampling
from mrd_hf.models.point_sampling import (
    ball_query,
    farthest_point_sampling,
    gather_points,
    knn_query,
    squared_distances,
)


SAMPLERS = {  # numpy samples on a CPU, torch on every other device and in compiled models
    "numpy": lambda points, n: torch.from_numpy(point_sampling._sample_with_numpy(points.numpy(), n)),
    "torch": point_sampling._sample_with_torch,
}


@pytest.fixture(params=[None, 64], ids=["one block", "many blocks"])
def blocks(request, monkeypatch):
    """Clouds of a test's size fit into one block; small blocks show that the seams are right."""
    if request.param:
        monkeypatch.setattr(point_sampling, "CACHED_PAIRS", request.param)
        monkeypatch.setattr(cpu_grouping, "CACHED_PAIRS", request.param)
        monkeypatch.setattr(point_sampling, "CACHED_POINTS", request.param)


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), st.integers(1, 40), st.integers(1, 50), st.integers(0, 10**6))
def test_exact_samplers_equal_a_loop(sampler: Callable, kind, num_points, num_samples, seed):
    batch = np.stack([cloud(kind, num_points, seed), cloud(kind, num_points, seed + 1)])
    expected = [loop_farthest(points, num_samples) for points in batch]
    assert sampler(torch.from_numpy(batch), num_samples).tolist() == expected
    assert farthest_point_sampling(torch.from_numpy(batch[:1]), num_samples).tolist() == expected[:1]


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_exact_samplers_equal_a_loop_to_the_last_bit(sampler: Callable):
    """Half of these points have a twin at nearly the same distance: a fused multiply-add picks the other one."""
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((40, 100, 3)).astype(np.float32)
    batch = np.concatenate([batch, -batch[..., [1, 2, 0]]], axis=1)
    batch[:, 0] = 0
    picked = sampler(torch.from_numpy(batch), 50)
    assert picked.tolist() == [loop_farthest(points, 50) for points in batch]


def test_clouds_are_sampled_alike_alone_and_in_a_batch(blocks):
    batch = torch.from_numpy(np.stack([cloud(kind, 30, 0) for kind in KINDS]))
    picked = farthest_point_sampling(batch, 12)
    assert picked.tolist() == [loop_farthest(points, 12) for points in batch.numpy()]


CALLS = {
    "farthest_point_sampling": lambda points, n: farthest_point_sampling(points, n),
    "ball_query": lambda points, n: ball_query(points, points, 1.0, n),
    "knn_query": lambda points, n: knn_query(points, points, n),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_refuses_clouds_without_points_and_groups_of_none(call):
    for shape in [(2, 0, 3), (2, 3), (2, 5, 6)]:
        with pytest.raises(ValueError, match=r"points must be of shape \(batch, num_points, 3\).*got \(2, "):
            call(torch.zeros(shape), 1)
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        call(torch.zeros(2, 5, 3), 0)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_single_point_is_repeated(call):
    assert call(torch.ones(2, 1, 3), 4).flatten(1).tolist() == [[0, 0, 0, 0]] * 2


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_empty_batch_has_no_indices(call):
    assert call(torch.zeros(0, 5, 3), 4).numel() == 0


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_half_precision_and_autocast_change_nothing(call):
    points = torch.from_numpy(cloud("random", 200, 0))[None].bfloat16()
    expected = call(points.float(), 40)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(call(points, 40), expected)
        assert torch.equal(call(points.float().requires_grad_(), 40), expected)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_compiled_graphs_follow_their_input(call):
    class Module(torch.nn.Module):
        def forward(self, points: torch.Tensor) -> torch.Tensor:
            return call(points, 6)

    example, other = (torch.from_numpy(cloud("random", 30, seed))[None] for seed in (0, 1))
    expected = call(other, 6)
    assert not torch.equal(call(example, 6), expected)
    for strict in (True, False):
        assert torch.equal(torch.export.export(Module(), (example,), strict=strict).module()(other), expected)
    assert torch.equal(torch.compile(Module(), backend="eager", fullgraph=True)(other), expected)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_traced_samples_follow_their_input():
    example, other = (torch.from_numpy(cloud("random", 30, seed))[None] for seed in (0, 1))
    traced = torch.jit.trace(lambda points: farthest_point_sampling(points, 6), example)
    assert torch.equal(traced(other), farthest_point_sampling(other, 6))


BALL_QUERIES = {  # numpy groups on a CPU, torch on every other device and in traced graphs
    "numpy": lambda centers, points, *what: torch.from_numpy(
        cpu_grouping.fill_balls(centers.numpy(), points.numpy(), *what)
    ),
    "torch": point_sampling._balls_with_torch,
}


@pytest.mark.parametrize("query", BALL_QUERIES.values(), ids=BALL_QUERIES)
@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), st.integers(1, 40), st.integers(1, 50), st.floats(0.1, 3), st.integers(0, 10**6))
def test_ball_queries_equal_a_loop(query, kind, num_points, num_samples, radius, seed):
    """In blocks as large as they are, and in small ones, of which a ball needs several."""
    batch = np.stack([cloud(kind, num_points, seed), cloud(kind, num_points, seed + 1)])
    centers = batch[:, ::3]
    with pytest.MonkeyPatch.context() as patch:
        if seed % 2:
            patch.setattr(cpu_grouping, "CACHED_PAIRS", 1 + seed % 30)
            patch.setattr(point_sampling, "CACHED_PAIRS", 1 + seed % 30)
        groups = query(torch.from_numpy(centers), torch.from_numpy(batch), radius, num_samples)
    for points, middles, found in zip(batch, centers, groups.tolist(), strict=True):
        assert found == [loop_ball(c, points, radius, num_samples) for c in middles]


@pytest.mark.parametrize("query", BALL_QUERIES.values(), ids=BALL_QUERIES)
def test_a_ball_without_points_has_the_last_one(blocks, query):
    """However it is computed, as kernels do: an index that can be gathered."""
    for center in (9.0, torch.nan, torch.inf):
        members = query(torch.full((1, 8, 3), center), torch.zeros(1, 16, 3), 1.0, 20)
        assert members.shape == (1, 8, 20) and members.unique().tolist() == [15]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), st.integers(1, 40), st.integers(1, 50), st.integers(0, 10**6))
def test_nearest_points_equal_a_loop(kind, num_points, num_samples, seed):
    batch = np.stack([cloud(kind, num_points, seed), cloud(kind, num_points, seed + 1)])
    centers = batch[:, ::3] if seed % 2 else batch[:, ::3] + np.float32(0.25)  # on the points or beside them
    groups = knn_query(torch.from_numpy(centers), torch.from_numpy(batch), num_samples)
    for points, middles, found in zip(batch, centers, groups.tolist(), strict=True):
        assert found == [loop_nearest(c, points, num_samples) for c in middles]


@pytest.mark.parametrize("num_points", [5, 20, 100])  # twelve, three and less than one centre's distances a block
def test_groups_are_the_same_in_blocks(blocks, num_points):
    batch = np.stack([cloud(kind, num_points, 0) for kind in KINDS])
    centers = batch[:, :7]
    balls = ball_query(torch.from_numpy(centers), torch.from_numpy(batch), 1.0, 8)
    neighbors = knn_query(torch.from_numpy(centers), torch.from_numpy(batch), 8)
    for points, middles, ball, near in zip(batch, centers, balls.tolist(), neighbors.tolist(), strict=True):
        assert ball == [loop_ball(c, points, 1.0, 8) for c in middles]
        assert near == [loop_nearest(c, points, 8) for c in middles]


@pytest.mark.parametrize("shape", [(3, 10, 7), (3, 10, 30), (50, 4, 2), (2, 3, 100)])
def test_blocks_are_as_large_as_memory_allows(monkeypatch, shape):
    monkeypatch.setattr(point_sampling, "CACHED_PAIRS", 64)
    batch, num_centers, num_points = shape
    blocks = point_sampling._blocks(torch.zeros(batch, num_centers, 3), torch.zeros(batch, num_points, 3))
    sizes = [(len(range(batch)[clouds]), len(range(num_centers)[rows])) for clouds, rows in blocks]
    pairs = [clouds * rows * num_points for clouds, rows in sizes]
    assert max(pairs) <= max(64, num_points) and sum(pairs) == batch * num_centers * num_points
    assert max(pairs) > min(64 // 2, sum(pairs) - 1)


def test_nearest_points_of_many_equal_points_are_the_first():
    points = torch.zeros(1, 5000, 3)
    points[0, 2000] = 1.0
    found = knn_query(points[:, [0, 2000]], points, 4)
    assert found.tolist() == [[[0, 1, 2, 3], [2000, 0, 1, 2]]]


def test_a_point_on_the_sphere_belongs_to_the_ball():
    points = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0], [1.0001, 0, 0]]])
    assert ball_query(points[:, :1], points, 1.0, 3).tolist() == [[[0, 1, 0]]]


def test_squared_distances_match_numpy_to_the_last_bit():
    rng = np.random.default_rng(0)
    queries, points = rng.standard_normal((2, 5, 3)), rng.standard_normal((2, 700, 3))
    for dtype in (np.float32, np.float64):
        found = squared_distances(torch.from_numpy(queries.astype(dtype)), torch.from_numpy(points.astype(dtype)))
        for batch, query in np.ndindex(2, 5):
            expected = loop_distances(queries[batch, query].astype(dtype), points[batch].astype(dtype))
            np.testing.assert_array_equal(found[batch, query], expected)


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 5)])
def test_gather_points(shape):
    values = torch.arange(2 * 6 * 3).view(2, 6, 3)
    index = torch.randint(0, 6, shape, generator=torch.Generator().manual_seed(0))
    gathered = gather_points(values, index)
    for position in np.ndindex(shape):
        assert torch.equal(gathered[position], values[position[0], index[position]])
