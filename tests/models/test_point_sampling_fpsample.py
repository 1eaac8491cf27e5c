"""fpsample, the optional sampler: as an oracle, and where it takes over."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_point_sampling import KINDS, cloud, loop_distances

from mrd_hf.models import point_sampling
from mrd_hf.models.point_sampling import farthest_point_sampling


fpsample = pytest.importorskip("fpsample")
SMALLEST = 2**point_sampling.BUCKET_TREE_HEIGHT


def assert_farthest(points: np.ndarray, picked: list[int]) -> None:
    """Each choice is as far from those before it as any point is, but for the rounding of a fused multiply-add."""
    nearest = loop_distances(points[picked[0]], points)
    for pick in picked[1:]:
        assert nearest[pick] >= nearest.max() * (1 - 1e-6)
        nearest = np.minimum(nearest, loop_distances(points[pick], points))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), st.integers(SMALLEST, 300), st.integers(0, 10**6), st.data())
def test_each_choice_of_fpsample_is_a_farthest_point(kind, num_points, seed, data):
    num_samples = data.draw(st.integers(1, num_points))
    first = data.draw(st.lists(st.integers(0, num_points - 1), min_size=2, max_size=2))
    batch = np.stack([cloud(kind, num_points, seed), cloud(kind, num_points, seed + 1)])
    picked = point_sampling._sample_with_fpsample(batch, num_samples, np.array(first))
    assert picked.shape == (2, num_samples)
    for points, indices in zip(batch, picked.tolist(), strict=True):
        assert_farthest(points, indices)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), st.integers(1, 100), st.integers(0, 10**6), st.data())
def test_the_exact_sampler_equals_fpsamples_plain_loop(kind, num_points, seed, data):
    """The plain loop takes the last of equals, so it is shown the cloud from its end."""
    num_samples, start = data.draw(st.integers(1, num_points)), data.draw(st.integers(0, num_points - 1))
    points = np.round(cloud(kind, num_points, seed) * 64) / 64  # squares without rounding, fused or not
    reverse = fpsample.fps_sampling(points[::-1], num_samples, start_idx=num_points - 1 - start)
    picked = farthest_point_sampling(torch.from_numpy(points)[None], num_samples, start)
    assert picked[0].tolist() == (num_points - 1 - reverse.astype(int)).tolist()


@pytest.fixture
def calls(monkeypatch):
    calls = []
    original = point_sampling._sample_with_fpsample
    monkeypatch.setattr(
        point_sampling, "_sample_with_fpsample", lambda *arguments: calls.append(1) or original(*arguments)
    )
    return calls


def test_takes_over_large_clouds_with_a_random_start(calls):
    batch = torch.from_numpy(np.stack([cloud("random", 3000, seed) for seed in range(3)]))
    picked = farthest_point_sampling(batch, 400, torch.Generator().manual_seed(0))
    assert calls and picked.dtype == torch.long
    for points, indices in zip(batch.numpy(), picked.tolist(), strict=True):
        assert_farthest(points, indices)
    assert torch.equal(picked, farthest_point_sampling(batch, 400, torch.Generator().manual_seed(0)))
    assert not torch.equal(picked[:, 0], farthest_point_sampling(batch, 400, torch.Generator().manual_seed(1))[:, 0])


@pytest.mark.parametrize("num_points", [1, 1000])
def test_leaves_fewer_points_than_samples_to_the_exact_sampler(calls, num_points):
    points = torch.from_numpy(cloud("random", num_points, 0))[None]
    picked = farthest_point_sampling(points, 1100, torch.Generator().manual_seed(0))
    assert not calls
    assert sorted(picked[0, :num_points].tolist()) == list(range(num_points))
    assert picked[0, num_points:].eq(0).all()


def test_a_given_start_never_depends_on_it(calls):
    points = torch.from_numpy(cloud("random", 3000, 0))[None]
    picked = farthest_point_sampling(points, 400, start=7)
    assert not calls and picked[0, 0] == 7


def test_random_starts_work_without_it(monkeypatch):
    monkeypatch.setattr(point_sampling, "fpsample", None)
    points = torch.from_numpy(cloud("random", 3000, 0))[None]
    picked = farthest_point_sampling(points, 400, torch.Generator().manual_seed(0))
    assert torch.equal(picked, farthest_point_sampling(points, 400, start=int(picked[0, 0])))
