"""Triton kernels for a GPU: farthest point sampling, ball query and nearest neighbours.

They pick the points that torch picks, index for index: squared distances are `(dx² + dy²) + dz²`, rounded after each
step, and every kernel is launched with `enable_fp_fusion=False`, which keeps the compiler from fusing a product and a
sum into one multiply-add. Promised for finite coordinates; where there are others, indices are any of the cloud's.

Without Triton this file can be imported, and nothing in it can be called; point_sampling.py decides.
"""

from __future__ import annotations  # the kernels' annotations name Triton's types

import functools
from typing import Any

import torch


def _as_it_is(function: Any) -> Any:
    return function


try:
    import triton
    import triton.language as tl

    # Another number of these is no reason to compile again.
    jit: Any = functools.partial(triton.jit, do_not_specialize=["num_samples", "num_centers"])
except ImportError:
    triton, jit = None, _as_it_is


ON_CHIP_POINTS = 2**14  # the distances of a larger cloud do not fit into a multiprocessor's registers
RESIDENT_POINTS = 2**13  # nor do coordinates beside distances, of a cloud larger than this
BLOCK_POINTS = 2**12  # so many points at a time of a cloud that does not fit
PART_POINTS = 2**10  # so many at a time are counted one by one
BALL_POINTS, BALL_WARPS = 256, 1  # so many at a time before a ball query looks whether the group is full


@jit
def _load_axes(rows, index, num_points):
    """Coordinates of the points of these indices; 0 for indices beyond the last."""
    real = index < num_points
    x = tl.load(rows + index, mask=real, other=0.0)
    y = tl.load(rows + num_points + index, mask=real, other=0.0)
    z = tl.load(rows + 2 * num_points + index, mask=real, other=0.0)
    return x, y, z


@jit
def _squared_distances(x, y, z, center_x, center_y, center_z):
    x -= center_x
    y -= center_y
    z -= center_z
    return (x * x + y * y) + z * z


@jit
def _sample_on_chip(rows, picked, num_points, num_samples, BLOCK: tl.constexpr, RESIDENT: tl.constexpr):
    """One program a cloud; `rows` (batch, 3, points), `picked` (batch, samples) of zeros."""
    cloud = tl.program_id(0).to(tl.int64)
    rows += cloud * 3 * num_points
    picked += cloud * num_samples
    index = tl.arange(0, BLOCK)
    nearest = tl.where(index < num_points, float("inf"), -1.0)  # what is no point is never the farthest
    if RESIDENT:
        x, y, z = _load_axes(rows, index, num_points)
    last = 0
    for i in range(1, num_samples):
        if not RESIDENT:
            x, y, z = _load_axes(rows, index, num_points)
        center_x, center_y, center_z = _load_axes(rows, last, num_points)
        nearest = tl.minimum(nearest, _squared_distances(x, y, z, center_x, center_y, center_z))
        last = tl.argmax(nearest, axis=0, tie_break_left=True)
        last = tl.minimum(last, num_points - 1)  # not a number is neither smaller nor larger than the padding
        tl.store(picked + i, last)


@jit
def _sample_in_blocks(rows, nearest, picked, num_points, num_samples, BLOCK: tl.constexpr):
    """The same for large clouds; `nearest` (batch, points) of infinities holds the distances."""
    cloud = tl.program_id(0).to(tl.int64)
    rows += cloud * 3 * num_points
    nearest += cloud * num_points
    picked += cloud * num_samples
    lanes = tl.arange(0, BLOCK)
    last = 0
    for i in range(1, num_samples):
        center_x, center_y, center_z = _load_axes(rows, last, num_points)
        farthest = tl.full([BLOCK], -1.0, tl.float32)  # of each lane's points, and which it is
        where = tl.zeros([BLOCK], tl.int32)
        for start in range(0, num_points, BLOCK):
            index = start + lanes
            real = index < num_points
            x, y, z = _load_axes(rows, index, num_points)
            distance = tl.load(nearest + index, mask=real, other=-1.0)
            distance = tl.minimum(distance, _squared_distances(x, y, z, center_x, center_y, center_z))
            tl.store(nearest + index, distance, mask=real)
            farther = distance > farthest  # not an equally far one: it comes later
            farthest = tl.where(farther, distance, farthest)
            where = tl.where(farther, index, where)
        last = tl.min(tl.where(farthest == tl.max(farthest, axis=0), where, num_points), axis=0)
        last = tl.minimum(last, num_points - 1)
        tl.store(picked + i, last)
        tl.debug_barrier()  # what one thread wrote to `nearest`, another may read


@jit
def _query_balls(
    rows, centers, members, squared_radius, num_centers, num_points, num_samples,
    BLOCK: tl.constexpr, SAMPLES: tl.constexpr,
):  # fmt: skip
    """One program a centre; `centers` (batch, centers, 3), `members` (batch, centers, samples)."""
    program = tl.program_id(0).to(tl.int64)
    rows += program // num_centers * 3 * num_points
    centers += program * 3
    members += program * num_samples
    center_x, center_y, center_z = tl.load(centers), tl.load(centers + 1), tl.load(centers + 2)
    lanes = tl.arange(0, BLOCK)
    first = tl.zeros([], tl.int32) + num_points - 1  # of an empty ball
    found = tl.zeros([], tl.int32)
    start = tl.zeros([], tl.int32)
    while (found < num_samples) & (start < num_points):
        index = start + lanes
        x, y, z = _load_axes(rows, index, num_points)
        near = _squared_distances(x, y, z, center_x, center_y, center_z) <= squared_radius
        inside = (near & (index < num_points)).to(tl.int32)
        place = found + tl.cumsum(inside, axis=0) - 1
        tl.store(members + place, index, mask=(inside > 0) & (place < num_samples))
        first = tl.minimum(first, tl.min(tl.where(inside > 0, index, num_points), axis=0))
        found += tl.sum(inside, axis=0)
        start += BLOCK
    place = tl.arange(0, SAMPLES)
    tl.store(members + place, tl.zeros([SAMPLES], tl.int32) + first, mask=(place >= found) & (place < num_samples))


@jit
def _ordered_distances(rows, index, num_points, center_x, center_y, center_z):
    """Squared distances as integers of the same order; beyond the last point, more than any."""
    x, y, z = _load_axes(rows, index, num_points)
    distance = _squared_distances(x, y, z, center_x, center_y, center_z)
    return tl.where(index < num_points, distance.to(tl.int32, bitcast=True), 0x7FFFFFFF)


@jit
def _query_nearest(
    rows, centers, found, num_centers, num_points, num_samples,
    BLOCK: tl.constexpr, WHOLE: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """One program a centre; `found` (batch, centers, samples, 2): indices and distances as integers, in any order.

    Bisection finds the distance within which there are so many points; of those at just this distance, the first are
    taken. `WHOLE`: the cloud fits into a block, and its distances stay on chip.
    """
    program = tl.program_id(0).to(tl.int64)
    rows += program // num_centers * 3 * num_points
    centers += program * 3
    found += program * num_samples * 2
    center_x, center_y, center_z = tl.load(centers), tl.load(centers + 1), tl.load(centers + 2)
    lanes = tl.arange(0, BLOCK)
    distances = _ordered_distances(rows, lanes, num_points, center_x, center_y, center_z)
    low = tl.zeros([], tl.int32)
    high = tl.full([], 0x7F800000, tl.int32)  # infinity
    nearer = tl.zeros([], tl.int32)  # points nearer than `low`
    while low < high:
        middle = low + (high - low) // 2
        if WHOLE:
            count = tl.sum((distances <= middle).to(tl.int32), axis=0)
        else:
            count = tl.zeros([], tl.int32)
            for start in range(0, num_points, BLOCK):
                part = _ordered_distances(rows, start + lanes, num_points, center_x, center_y, center_z)
                count += tl.sum((part <= middle).to(tl.int32), axis=0)
        nearer = tl.where(count <= num_samples, count, nearer)
        low = tl.where(count <= num_samples, middle + 1, low)
        high = tl.where(count >= num_samples, middle, high)  # when just enough are found, `low` is beyond it
    before, equal_before = tl.zeros([], tl.int32), nearer
    for start in range(0, num_points, PART):
        index = start + tl.arange(0, PART)
        part = _ordered_distances(rows, index, num_points, center_x, center_y, center_z)
        near, equal = (part < low).to(tl.int32), (part == low).to(tl.int32)
        place = tl.where(near > 0, before + tl.cumsum(near, axis=0), equal_before + tl.cumsum(equal, axis=0)) - 1
        taken = (near + equal > 0) & (place < num_samples)
        tl.store(found + 2 * place, index, mask=taken)
        tl.store(found + 2 * place + 1, part, mask=taken)
        before += tl.sum(near, axis=0)
        equal_before += tl.sum(equal, axis=0)


def _power_of_two(number: int, at_least: int = 16) -> int:
    return max(at_least, 1 << (number - 1).bit_length())


@functools.cache
def _most_warps(device: torch.device) -> int:
    """Of a program, which has 1,024 threads at most: 32 warps of 32, or 16 of 64, as on AMD's data centre GPUs."""
    return 1024 // (torch.cuda.get_device_properties(device).warp_size if device.type == "cuda" else 32)


def sample_farthest(points: torch.Tensor, num_samples: int) -> torch.Tensor:
    """`point_sampling.farthest_point_sampling`; `points` in float32."""
    batch, num_points, _ = points.shape
    rows = points.transpose(1, 2).contiguous()
    picked = torch.zeros(batch, num_samples, dtype=torch.long, device=points.device)
    if batch == 0:
        return picked
    with torch.cuda.device_of(points):
        if num_points <= ON_CHIP_POINTS:
            block = _power_of_two(num_points)
            _sample_on_chip[(batch,)](
                rows, picked, num_points, num_samples, BLOCK=block, RESIDENT=block <= RESIDENT_POINTS,
                num_warps=min(_most_warps(points.device), max(4, block // 512)), enable_fp_fusion=False,
            )  # fmt: skip
        else:
            nearest = torch.full_like(rows[:, 0], torch.inf)
            _sample_in_blocks[(batch,)](
                rows, nearest, picked, num_points, num_samples, BLOCK=BLOCK_POINTS, num_warps=16,
                enable_fp_fusion=False,
            )  # fmt: skip
    return picked


def query_balls(centers: torch.Tensor, points: torch.Tensor, radius: float, num_samples: int) -> torch.Tensor:
    """`point_sampling.ball_query`; `centers` and `points` in float32."""
    batch, num_centers, _ = centers.shape
    rows = points.transpose(1, 2).contiguous()
    members = torch.empty(batch, num_centers, num_samples, dtype=torch.long, device=points.device)
    if members.numel() == 0:
        return members
    with torch.cuda.device_of(points):
        _query_balls[(batch * num_centers,)](
            rows, centers.contiguous(), members, radius**2, num_centers, points.shape[1], num_samples,
            BLOCK=BALL_POINTS, SAMPLES=_power_of_two(num_samples), num_warps=BALL_WARPS, enable_fp_fusion=False,
        )  # fmt: skip
    return members


def query_nearest(centers: torch.Tensor, points: torch.Tensor, num_samples: int) -> torch.Tensor:
    """`point_sampling.knn_query`; `centers` and `points` in float32, no more samples than points."""
    batch, num_centers, _ = centers.shape
    rows = points.transpose(1, 2).contiguous()
    # Zeros: where coordinates are not finite, fewer may be found, and what is left is an index all the same.
    found = torch.zeros(batch, num_centers, num_samples, 2, dtype=torch.int32, device=points.device)
    if found.numel() == 0:
        return found[..., 0].long()
    whole = points.shape[1] <= ON_CHIP_POINTS
    block = _power_of_two(points.shape[1]) if whole else BLOCK_POINTS
    with torch.cuda.device_of(points):
        _query_nearest[(batch * num_centers,)](
            rows, centers.contiguous(), found, num_centers, points.shape[1], num_samples,
            BLOCK=block, WHOLE=whole, PART=min(block, PART_POINTS), num_warps=min(8, max(1, block // 1024)),
            enable_fp_fusion=False,
        )  # fmt: skip
    # Read as one integer, an index and the distance behind it are ordered by distance, then by index.
    return found.view(torch.int64)[..., 0].sort(dim=-1).values & (2**32 - 1)
