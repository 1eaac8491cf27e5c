"""The Triton kernels beside loops: by Triton's interpreter (see conftest.py) where there is no GPU."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clouds_to_sample import KINDS, cloud
from support.sampling_loops import loop_ball, loop_farthest, loop_nearest
from support.tiny_encoders import clouds, tiny_encoder

from mrd_hf.models import point_sampling, sampling_kernels
from mrd_hf.models.grouping_kernels import copy_groups
from mrd_hf.models.sampling_kernels import query_balls, query_nearest, sample_farthest


pytestmark = pytest.mark.device
needs_triton = pytest.mark.skipif(sampling_kernels.triton is None, reason="Triton is not installed")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FEW = settings(max_examples=6)
BLOCKS = [None, 16]
in_blocks = pytest.mark.parametrize("block", BLOCKS, ids=["one block", "many blocks"])


@contextmanager
def blocks_of(num_points: int | None) -> Iterator[None]:
    """Clouds of a test's size fit into one block; small blocks show that the seams are right."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ON_CHIP", "RESIDENT", "BLOCK", "PART", "BALL") if num_points else ():
            patch.setattr(sampling_kernels, f"{name}_POINTS", num_points)
        yield


def pair(kind: str, num_points: int, seed: int) -> tuple[np.ndarray, torch.Tensor]:
    batch = np.stack([cloud(kind, num_points, seed), cloud(kind, num_points, seed + 1)])
    return batch, torch.from_numpy(batch).to(DEVICE)


@needs_triton
@in_blocks
@FEW
@given(st.sampled_from(KINDS), st.integers(1, 40), st.integers(1, 20), st.integers(0, 10**6))
def test_farthest_points_equal_a_loop(block, kind, num_points, num_samples, seed):
    batch, points = pair(kind, num_points, seed)
    with blocks_of(block):
        picked = sample_farthest(points, num_samples).tolist()
    assert picked == [loop_farthest(cloud, num_samples) for cloud in batch]


@needs_triton
@in_blocks
def test_farthest_points_equal_a_loop_to_the_last_bit(block):
    """Half of these points have a twin at nearly the same distance: a fused multiply-add picks the other one."""
    points = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    points = np.concatenate([points, -points[:, [1, 2, 0]]])
    points[0] = 0
    with blocks_of(block):
        assert sample_farthest(torch.from_numpy(points)[None].to(DEVICE), 12).tolist() == [loop_farthest(points, 12)]


@needs_triton
@in_blocks
@FEW
@given(st.sampled_from(KINDS), st.integers(1, 40), st.integers(1, 20), st.floats(0.1, 3), st.integers(0, 10**6))
def test_balls_equal_a_loop(block, kind, num_points, num_samples, radius, seed):
    batch, points = pair(kind, num_points, seed)
    with blocks_of(block):
        found = query_balls(points[:, ::25], points, radius, num_samples).tolist()
    for points, centers, groups in zip(batch, batch[:, ::25], found, strict=True):
        assert groups == [loop_ball(center, points, radius, num_samples) for center in centers]


@needs_triton
@in_blocks
@FEW
@given(st.sampled_from(KINDS), st.integers(1, 40), st.integers(1, 20), st.integers(0, 10**6))
def test_nearest_points_equal_a_loop(block, kind, num_points, num_samples, seed):
    batch, points = pair(kind, num_points, seed)
    offset = np.float32(0.25 * (seed % 2))  # on the points or beside them
    num_samples = min(num_samples, num_points)
    with blocks_of(block):
        found = query_nearest(points[:, ::25] + float(offset), points, num_samples).tolist()
    for points, centers, groups in zip(batch, batch[:, ::25] + offset, found, strict=True):
        assert groups == [loop_nearest(center, points, num_samples) for center in centers]


@needs_triton
def test_a_point_on_the_sphere_belongs_to_the_ball():
    points = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0], [1.0001, 0, 0]]], device=DEVICE)
    assert query_balls(points[:, :1], points, 1.0, 3).tolist() == [[[0, 1, 0]]]


@needs_triton
def test_a_ball_without_points_has_the_last_one():
    far = torch.full((1, 2, 3), 9.0, device=DEVICE)
    assert query_balls(far, torch.zeros(1, 16, 3, device=DEVICE), 1.0, 20).unique().tolist() == [15]


@needs_triton
@in_blocks
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_coordinates_that_are_not_finite_give_indices_of_the_cloud(block):
    points = torch.tensor([[[torch.nan] * 3] * 5, [[torch.inf, 0, 0]] * 5], device=DEVICE)
    with blocks_of(block):
        centers = points[:, :2]
        for found in (
            sample_farthest(points, 4),
            query_balls(centers, points, 1.0, 4),
            query_nearest(centers, points, 4),
        ):
            assert found.min() >= 0 and found.max() < 5


@needs_triton
def test_an_empty_batch_has_no_indices():
    points = torch.zeros(0, 5, 3, device=DEVICE)
    for found in (sample_farthest(points, 4), query_balls(points, points, 1.0, 4), query_nearest(points, points, 4)):
        assert found.numel() == 0 and found.dtype == torch.long


def plain_groups(values, centers, members, positions, colors) -> np.ndarray:
    def channels(point: np.ndarray, center: np.ndarray) -> list[np.float32]:
        return [*(point[:3] - center), *(point[:3] if positions else ()), *(point[3:] if colors else ())]

    groups = [
        [[channels(points[member], center) for member in group] for center, group in zip(*patches, strict=True)]
        for points, *patches in zip(values, centers, members, strict=True)
    ]
    return np.array(groups)


CHANNELS = [(True, True), (False, True), (True, False), (False, False)]


@needs_triton
@pytest.mark.parametrize(("positions", "colors"), CHANNELS)
def test_groups_equal_a_loop_and_have_its_gradients(positions, colors):
    rng = np.random.default_rng(0)
    values, centers = rng.random((2, 7, 6), dtype=np.float32), rng.random((2, 3, 3), dtype=np.float32)
    members = rng.integers(0, 7, (2, 3, 5))
    arrays = [torch.from_numpy(array).to(DEVICE) for array in (values, centers, members)]
    found = copy_groups(*arrays, positions, colors).cpu().numpy()
    np.testing.assert_array_equal(found, plain_groups(values, centers, members, positions, colors))
    exact = [array.double().requires_grad_() for array in arrays[:2]]

    def function(values: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
        return copy_groups(values, centers, arrays[2], positions, colors)

    assert torch.autograd.gradcheck(function, exact, nondet_tol=1e-12, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, exact, nondet_tol=1e-12, fast_mode=True)


@needs_triton
@pytest.mark.parametrize("kind", ["openshape", "uni3d"])
def test_encoders_are_the_same_with_kernels(monkeypatch, kind):
    model, points = tiny_encoder(kind).to(DEVICE), clouds(batch=2, num_points=60).to(DEVICE).requires_grad_()
    called = []
    results = []
    for with_kernels in (False, True):
        monkeypatch.setattr(
            point_sampling, "_kernels_work", lambda device, answer=with_kernels: called.append(answer) or answer
        )
        features = model.get_point_features(points)
        (gradient,) = torch.autograd.grad(features.square().sum(), points)
        results.append((features, gradient))
    (plain, plain_gradient), (features, gradient) = results
    assert torch.equal(features, plain) and True in called
    torch.testing.assert_close(gradient, plain_gradient)


def fused(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a * a + b`, rounded once."""
    return (a.astype(np.float64) ** 2 + b).astype(np.float32)


FUSIONS = {
    "the last": lambda x, y, z: fused(z, x * x + y * y),
    "the first": lambda x, y, z: fused(x, y * y) + z * z,
    "both": lambda x, y, z: fused(z, fused(y, x * x)),
}


@pytest.mark.parametrize("squared_distance", FUSIONS.values(), ids=FUSIONS)
def test_kernels_that_fuse_are_found_out(monkeypatch, squared_distance):
    def sample(points: torch.Tensor, num_samples: int) -> torch.Tensor:
        (cloud,) = points.cpu().numpy()
        picked, nearest = [0], np.full(len(cloud), np.inf, dtype=np.float32)
        while len(picked) < num_samples:
            nearest = np.minimum(nearest, squared_distance(*(cloud - cloud[picked[-1]]).T))
            picked.append(int(nearest.argmax()))
        return torch.tensor([picked])

    monkeypatch.setattr(point_sampling, "sample_farthest", sample)
    assert point_sampling._kernel_fault(torch.device("cpu")) == "they pick other points"


@needs_triton
def test_our_kernels_have_no_fault():
    assert point_sampling._kernel_fault(torch.device(DEVICE)) is None


@needs_triton
@pytest.mark.skipif(torch.cuda.is_available(), reason="kernels run here")
def test_kernels_that_do_not_run_are_a_warning():
    with pytest.warns(UserWarning, match="without Triton's kernels on cuda:7, slower: .*CUDA"):
        assert point_sampling._kernels_work(torch.device("cuda", 7)) is False


def test_without_triton_torch_samples(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    for name in ("sampling_kernels", "grouping_kernels"):
        file = Path(sampling_kernels.__file__).with_name(f"{name}.py")
        spec = importlib.util.spec_from_file_location("without_triton", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.triton is None
    monkeypatch.setattr(point_sampling, "triton", None)
    assert point_sampling._kernels_work(torch.device("cuda", 8)) is False


@needs_triton
def test_the_compiled_kernels_have_no_fused_multiply_add(tmp_path):
    """They are compiled for a GPU that need not be there, in a process where they are not interpreted."""
    pytest.importorskip("triton.backends.nvidia")
    script = Path(__file__).with_name("compile_kernels.py")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    folder = Path(sampling_kernels.__file__).parent
    done = subprocess.run([sys.executable, script, folder], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines())
    assert counts.pop("with fusion") != "0"  # so the count sees them
    assert len(counts) == 7 and set(counts.values()) == {"0"}


@pytest.mark.parametrize(("lanes", "warps"), [(32, 32), (64, 16)])
def test_no_more_warps_are_started_than_a_program_may_have(monkeypatch, lanes, warps):
    """1,024 threads; AMD's data centre GPUs have warps of 64."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(warp_size=lanes))
    assert sampling_kernels._most_warps.__wrapped__(torch.device("cuda")) == warps
