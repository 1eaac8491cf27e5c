"""Picking and grouping points: farthest point sampling, ball query and nearest neighbours.

Everything here runs in float32, outside autograd and outside autocast: distances in half precision would move
points in and out of a patch. Distances are `(dx² + dy²) + dz²`, rounded after each step and not fused into one
multiply-add, so that every implementation on every device picks the same points: numpy, torch, and on a GPU the Triton
kernels of sampling_kernels.py. In a model that torch.compile compiles they are called as they are (_operator), so it
picks the same points too; an exported or traced graph has torch's operations, which its runtime may fuse.
"""

import functools
import re
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch

from .cpu_grouping import fill_balls
from .grouping_kernels import copy_groups
from .sampling_kernels import query_balls, query_nearest, sample_farthest, triton


try:
    from torch.compiler import is_exporting
except ImportError:  # torch 2.6: compiled graphs have torch's operations, as exported ones
    from torch.compiler import is_compiling as is_exporting

CACHED_POINTS = 2**14  # clouds of so many points in all are sampled together: their rows stay in the cache
CACHED_PAIRS = 2**18  # so many distances at a time on a CPU, 1 MiB, stay in the cache
DEVICE_PAIRS = 2**24  # and on other devices: 64 MiB, whatever the batch


def _is_traced() -> bool:
    """Whether this becomes a graph that knows torch's operations alone."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def _is_compiled() -> bool:
    """Whether this becomes part of a graph that runs in this process."""
    return torch.compiler.is_compiling() and not is_exporting()


def _operator(
    function: Callable[..., torch.Tensor], shape: Callable[..., torch.Tensor]
) -> Callable[..., torch.Tensor]:
    """`function` as one operation of a compiled graph, which does not look into it; `shape` makes an empty result."""
    namespace = re.sub(r"\W", "_", __name__)  # a checkpoint's copy of this file has operators of its own
    operator = torch.library.custom_op(f"{namespace}::{function.__name__.lstrip('_')}", function, mutates_args=())
    operator.register_fake(shape)
    return operator


def _kernel_fault(device: torch.device) -> str | None:
    """Why the kernels cannot be used on a device: that they do not run, or do not pick the points that numpy picks.

    The points are on a sphere around the first, at distances that rounding alone tells apart: were a multiply-add
    fused, others would be picked.
    """
    points = np.random.default_rng(0).standard_normal((1, 200, 3), dtype=np.float32)
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    points[:, 0] = 0
    try:
        picked = sample_farthest(torch.from_numpy(points).to(device), 8).cpu().numpy()
    except Exception as error:  # of any class: no C compiler, a GPU that Triton does not know, ...
        return f"{type(error).__name__}: {error}"
    return None if np.array_equal(picked, _sample_with_numpy(points, 8)) else "they pick other points"


@functools.cache
def _kernels_work(device: torch.device) -> bool:
    if device.type != "cuda" or triton is None:
        return False
    fault = _kernel_fault(device)
    if fault is not None:
        warnings.warn(f"Points are sampled without Triton's kernels on {device}, slower: {fault}", stacklevel=2)
    return fault is None


def _check(points: torch.Tensor, num_samples: int) -> None:
    if points.ndim != 3 or points.shape[1] < 1 or points.shape[2] != 3:
        raise ValueError(
            f"points must be of shape (batch, num_points, 3) with at least one point, got {tuple(points.shape)}."
        )
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}.")


def squared_distances(queries: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distance of each query to each point.

    Computed from coordinate differences: the shorter `a² - 2ab + b²` loses digits that decide who is inside a ball.

    Args:
        queries (`torch.Tensor` of shape `(batch, num_queries, 3)`)
        points (`torch.Tensor` of shape `(batch, num_points, 3)`)

    Returns:
        `torch.Tensor` of shape `(batch, num_queries, num_points)`.
    """
    rows = points.transpose(1, 2).contiguous()
    # Axis by axis, so that no (batch, queries, points, 3) tensor is ever made; addcmul_ would fuse.
    total = (queries[..., 0, None] - rows[:, None, 0]).square_()
    for axis in (1, 2):
        total.add_((queries[..., axis, None] - rows[:, None, axis]).square_())
    return total


@torch.no_grad()
def farthest_point_sampling(points: torch.Tensor, num_samples: int) -> torch.Tensor:
    """Pick points one after the other, the first of the cloud, then each the farthest from those picked before it.

    Of equally far points the one with the lowest index is picked; once every distinct point is, point 0 is repeated.
    The result is the same on every device.

    Args:
        points (`torch.Tensor` of shape `(batch, num_points, 3)`)
        num_samples (`int`): How many points to pick.

    Returns:
        `torch.LongTensor` of shape `(batch, num_samples)`: indices into `points`.

    Raises:
        ValueError: For a cloud without points or no samples.
    """
    _check(points, num_samples)
    points = points.float()
    return _sample_operator(points, num_samples) if _is_compiled() else _sample(points, num_samples)


def _sample(points: torch.Tensor, num_samples: int) -> torch.Tensor:
    if _is_traced():
        return _sample_with_torch(points, num_samples)
    if points.device.type == "cpu":
        return torch.from_numpy(_sample_with_numpy(points.numpy(), num_samples))
    if _kernels_work(points.device):
        return sample_farthest(points, num_samples)
    return _sample_with_torch(points, num_samples)


_sample_operator = _operator(
    _sample,
    lambda points, num_samples: points.new_empty(len(points), num_samples, dtype=torch.long),
)


def _sample_with_torch(points: torch.Tensor, num_samples: int) -> torch.Tensor:
    rows = points.transpose(1, 2).contiguous()  # (batch, 3, points): each pass below streams through memory
    clouds = torch.arange(len(rows), device=rows.device)
    last = torch.zeros_like(clouds)
    picked = [last]
    nearest = torch.full_like(rows[:, 0], torch.inf)
    for _ in range(num_samples - 1):
        x, y, z = (rows - rows[clouds, :, last, None]).square_().unbind(1)
        nearest = torch.minimum(nearest, x.add_(y).add_(z))
        last = nearest.argmax(dim=1)
        picked.append(last)
    return torch.stack(picked, dim=1)


def _sample_with_numpy(points: np.ndarray, num_samples: int) -> np.ndarray:
    """The loop above in numpy, up to three times as fast on a CPU: torch's argmax is slow there."""
    picked = np.zeros((len(points), num_samples), dtype=np.int64)
    together = max(1, CACHED_POINTS // points.shape[1])
    for begin in range(0, len(points), together):
        rows = np.ascontiguousarray(points[begin : begin + together].transpose(2, 0, 1))  # (3, clouds, points)
        picks = picked[begin : begin + together]
        clouds = np.arange(len(picks))
        squares = np.empty_like(rows)
        distances = squares[0]
        nearest = np.full_like(distances, np.inf)
        for i in range(1, num_samples):
            np.subtract(rows, rows[:, clouds, picks[:, i - 1], None], out=squares)
            np.multiply(squares, squares, out=squares)
            np.add(distances, squares[1], out=distances)
            np.add(distances, squares[2], out=distances)
            np.minimum(nearest, distances, out=nearest)
            nearest.argmax(axis=1, out=picks[:, i])
    return picked


def _blocks(centers: torch.Tensor, points: torch.Tensor) -> Iterator[tuple[slice, slice]]:
    """Clouds and centres to group together, so that memory does not grow with the batch and distances stay cached."""
    if _is_traced():  # one block for all: a compiled graph has no use for the loop
        yield slice(None), slice(None)
        return
    batch, num_centers, _ = centers.shape
    pairs = CACHED_PAIRS if points.device.type == "cpu" else DEVICE_PAIRS
    rows = max(1, min(num_centers, pairs // points.shape[1]))
    clouds = max(1, pairs // (rows * points.shape[1]))
    for cloud in range(0, batch, clouds):
        for row in range(0, num_centers, rows):
            yield slice(cloud, cloud + clouds), slice(row, row + rows)


@torch.no_grad()
def ball_query(centers: torch.Tensor, points: torch.Tensor, radius: float, num_samples: int) -> torch.Tensor:
    """The first `num_samples` points, in index order, within `radius` of each centre.

    As in OpenShape (and PointNet++): not the nearest ones; a ball with fewer points is padded with its first. One
    without any, as there is around a centre that is not finite, has the cloud's last point.

    Args:
        centers (`torch.Tensor` of shape `(batch, num_centers, 3)`): Points of the cloud, so that no ball is empty.
        points (`torch.Tensor` of shape `(batch, num_points, 3)`)
        radius (`float`): A point belongs to the ball when its squared distance is at most `radius ** 2`.
        num_samples (`int`): Points in a group.

    Returns:
        `torch.LongTensor` of shape `(batch, num_centers, num_samples)`: indices into `points`.

    Raises:
        ValueError: For a cloud without points or no samples.
    """
    _check(points, num_samples)
    query = _ball_operator if _is_compiled() else _ball_query
    return query(centers.float(), points.float(), radius, num_samples)


def _ball_query(centers: torch.Tensor, points: torch.Tensor, radius: float, num_samples: int) -> torch.Tensor:
    if not _is_traced() and _kernels_work(points.device):
        return query_balls(centers, points, radius, num_samples)
    if points.device.type == "cpu" and not _is_traced():
        return torch.from_numpy(fill_balls(centers.numpy(), points.numpy(), radius, num_samples))
    return _balls_with_torch(centers, points, radius, num_samples)


def _balls_with_torch(centers: torch.Tensor, points: torch.Tensor, radius: float, num_samples: int) -> torch.Tensor:
    num_points = points.shape[1]
    order = torch.arange(num_points, dtype=torch.int32, device=points.device)
    members = torch.empty(*centers.shape[:2], num_samples, dtype=torch.long, device=points.device)
    for clouds, rows in _blocks(centers, points):
        inside = squared_distances(centers[clouds, rows], points[clouds]) <= radius**2
        # Points outside get an index beyond the last, so the smallest indices are the first points inside.
        index = torch.where(inside, order, num_points)
        found = index.topk(min(num_samples, num_points), largest=False, sorted=True).values
        first = found[..., :1].clamp(max=num_points - 1)
        members[clouds, rows, : found.shape[-1]] = torch.where(found == num_points, first, found).long()
    members[..., num_points:] = members[..., :1]
    return members


_ball_operator = _operator(
    _ball_query,
    lambda centers, points, radius, num_samples: centers.new_empty(*centers.shape[:2], num_samples, dtype=torch.long),
)


@torch.no_grad()
def knn_query(centers: torch.Tensor, points: torch.Tensor, num_samples: int) -> torch.Tensor:
    """The `num_samples` points nearest to each centre, nearest first; of equally near ones, the lowest index first.

    A cloud with fewer points is padded with the nearest.

    Args:
        centers (`torch.Tensor` of shape `(batch, num_centers, 3)`)
        points (`torch.Tensor` of shape `(batch, num_points, 3)`)
        num_samples (`int`): Points in a group.

    Returns:
        `torch.LongTensor` of shape `(batch, num_centers, num_samples)`: indices into `points`.

    Raises:
        ValueError: For a cloud without points or no samples.
    """
    _check(points, num_samples)
    query = _nearest_operator if _is_compiled() else _knn_query
    return query(centers.float(), points.float(), num_samples)


def _knn_query(centers: torch.Tensor, points: torch.Tensor, num_samples: int) -> torch.Tensor:
    num_points = points.shape[1]
    if not _is_traced() and _kernels_work(points.device):
        found = query_nearest(centers, points, min(num_samples, num_points))
        return torch.cat([found, found[..., :1].expand(-1, -1, num_samples - found.shape[-1])], dim=-1)
    order = torch.arange(num_points, device=points.device)
    neighbors = torch.empty(*centers.shape[:2], num_samples, dtype=torch.long, device=points.device)
    for clouds, rows in _blocks(centers, points):
        distances = squared_distances(centers[clouds, rows], points[clouds])
        # topk leaves the order of equals open. The bits of floats that are not negative are ordered as the floats are,
        # so distance and index fit into one integer that no other point of the cloud has.
        keys = distances.view(torch.int32).long().bitwise_left_shift_(32).bitwise_or_(order)
        found = keys.topk(min(num_samples, num_points), largest=False, sorted=True).values & (2**32 - 1)
        neighbors[clouds, rows, : found.shape[-1]] = found
    neighbors[..., num_points:] = neighbors[..., :1]
    return neighbors


_nearest_operator = _operator(
    _knn_query,
    lambda centers, points, num_samples: centers.new_empty(*centers.shape[:2], num_samples, dtype=torch.long),
)


def gather_points(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Pick rows of `values` by `index`, cloud by cloud.

    Args:
        values (`torch.Tensor` of shape `(batch, num_points, channels)`)
        index (`torch.LongTensor` of shape `(batch, ...)`)

    Returns:
        `torch.Tensor` of shape `(batch, ..., channels)`.
    """
    batch = torch.arange(values.shape[0], device=values.device).view(-1, *[1] * (index.ndim - 1))
    return values[batch, index]


def gather_groups(
    values: torch.Tensor, centers: torch.Tensor, members: torch.Tensor, positions: bool = True, colors: bool = True
) -> torch.Tensor:
    """The channels of the points of each group: xyz relative to the group's centre, then xyz and rgb if asked for.

    Args:
        values (`torch.Tensor` of shape `(batch, num_points, 6)`): xyz and rgb, float32.
        centers (`torch.Tensor` of shape `(batch, num_groups, 3)`): float32.
        members (`torch.LongTensor` of shape `(batch, num_groups, group_size)`): Indices into `values`.
        positions (`bool`, defaults to `True`): Whether xyz as it is is among the channels.
        colors (`bool`, defaults to `True`): Whether rgb is.

    Returns:
        `torch.Tensor` of shape `(batch, num_groups, group_size, 3, 6 or 9)`.
    """
    # A compiler makes one kernel of what follows. Ours adds up gradients in any order.
    if not _is_traced() and not torch.are_deterministic_algorithms_enabled() and _kernels_work(values.device):
        return copy_groups(values, centers, members, positions, colors)
    chosen = gather_points(values, members)
    channels = [chosen[..., :3] - centers[:, :, None]]
    if positions:
        channels.append(chosen[..., :3])
    if colors:
        channels.append(chosen[..., 3:])
    return torch.cat(channels, dim=-1)
