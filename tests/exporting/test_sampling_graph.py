"""The graph of sampling and grouping beside loops over the points, as onnxruntime runs it."""

import functools

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clouds_to_sample import KINDS, cloud
from support.sampling_loops import loop_ball, loop_farthest, loop_nearest

from mrd_hf.exporting.sampling_graph import LOWEST_OPSET, Sampling, sampling_model


# On a lattice, points lie on the ball's sphere, and belong to it.
BALL = Sampling(num_patches=6, grouping="ball", patch_radius=1.0, patch_size=5, positions=True, colors=True)
NEAREST = Sampling(num_patches=6, grouping="nearest", patch_radius=None, patch_size=5, positions=False, colors=False)


@functools.cache
def session(sampling: Sampling, opset: int = LOWEST_OPSET) -> onnxruntime.InferenceSession:
    graph = sampling_model(sampling, opset).SerializeToString()
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def run(sampling: Sampling, values: np.ndarray, opset: int = LOWEST_OPSET) -> list[np.ndarray]:
    return session(sampling, opset).run(None, {"point_values": values})


def values_of(*points: np.ndarray) -> np.ndarray:
    """A batch of clouds with random colours."""
    colors = np.random.default_rng(1).random((len(points), len(points[0]), 3))
    return np.concatenate([np.stack(points), colors], axis=-1).astype(np.float32)


def members_around(sampling: Sampling, center: np.ndarray, points: np.ndarray) -> list[int]:
    if sampling.patch_radius is None:
        return loop_nearest(center, points, sampling.patch_size)
    return loop_ball(center, points, sampling.patch_radius, sampling.patch_size)


@given(
    st.sampled_from([BALL, NEAREST]),
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_indices_are_those_of_loops_over_the_points(sampling, kinds, num_points, seed):
    points = [cloud(kind, num_points, seed + i) for i, kind in enumerate(kinds)]
    _, _, picked, members = run(sampling, values_of(*points))
    for i, xyz in enumerate(points):
        assert picked[i].tolist() == loop_farthest(xyz, sampling.num_patches)
        expected = [members_around(sampling, xyz[place], xyz) for place in picked[i]]
        assert members[i].tolist() == expected


@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize("colors", [True, False])
def test_groups_have_the_channels_that_are_named(positions, colors):
    sampling = Sampling(4, "ball", 0.9, 3, positions, colors)
    values = values_of(cloud("random", 20, 0), cloud("lattice", 20, 1))
    centers, groups, picked, members = run(sampling, values)
    rows = np.arange(2)
    assert np.array_equal(centers, values[rows[:, None], picked, :3])
    chosen = values[rows[:, None, None], members]
    channels = {"dx": chosen[..., 0] - centers[..., None, 0], "z": chosen[..., 2], "b": chosen[..., 5]}
    assert groups.shape[-1] == len(sampling.group_channels) == 3 + 3 * positions + 3 * colors
    for name, expected in channels.items():
        if name in sampling.group_channels:
            assert np.array_equal(groups[..., sampling.group_channels.index(name)], expected), name


def test_distances_are_rounded_step_by_step_in_the_order_of_the_axes():
    """On a sphere around the first point, rounding alone says which one is the farthest."""
    for seed in range(5):
        points = cloud("random", 200, seed)
        points /= np.linalg.norm(points, axis=-1, keepdims=True)
        points[0] = 0
        for sampling in (BALL, NEAREST):
            picked, members = run(sampling, values_of(points))[2:]
            assert picked[0].tolist() == loop_farthest(points, sampling.num_patches)
            assert members[0, 0].tolist() == members_around(sampling, points[0], points)


def test_infinite_distances_are_farther_than_all_others():
    far = cloud("random", 30, 3) * np.float32(1e30)  # whose squares are beyond float32
    with np.errstate(over="ignore"):
        assert run(NEAREST, values_of(far))[2][0].tolist() == loop_farthest(far, NEAREST.num_patches)


def test_later_operators_do_the_same():
    values = values_of(cloud("lattice", 50, 0))
    for sampling in (BALL, NEAREST):
        for earlier, later in zip(run(sampling, values), run(sampling, values, opset=23), strict=True):
            assert np.array_equal(earlier, later)


def test_no_tensor_has_points_times_patches():
    """Else twenty thousand points would take 41 MB for every one of them, in every cloud of a batch."""
    model = onnx.shape_inference.infer_shapes(sampling_model(NEAREST))
    loops = [node for node in model.graph.node if node.op_type == "Loop"]
    (body,) = [attribute.g for attribute in loops[0].attribute if attribute.name == "body"]
    shapes = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in body.output]
    # What each step adds: the centre's index, and its group's.
    assert len(loops) == 1 and len(body.output) == 5
    assert [len(shape) for shape in shapes[3:]] == [2, 2] and shapes[3][1] == 1
