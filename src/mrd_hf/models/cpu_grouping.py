"""Ball query on a CPU, in numpy: points in index order, some at a time, for the balls that are not yet full."""

import numpy as np


CACHED_PAIRS = 2**17  # distances at a time, two tables of 512 KiB: the fastest of 2^15 to 2^18


def fill_balls(centers: np.ndarray, points: np.ndarray, radius: float, num_samples: int) -> np.ndarray:
    """`point_sampling.ball_query`, index for index.

    Args:
        centers (`np.ndarray` of shape `(batch, num_centers, 3)`): float32.
        points (`np.ndarray` of shape `(batch, num_points, 3)`): float32.
        radius (`float`)
        num_samples (`int`): Points in a group.

    Returns:
        `np.ndarray` of shape `(batch, num_centers, num_samples)`: int64.
    """
    (batch, num_centers, _), num_points = centers.shape, points.shape[1]
    members = np.full((batch, num_centers, num_samples), num_points - 1, dtype=np.int64)
    slots, limit = np.arange(num_samples), np.float32(radius**2)
    room = np.empty((2, max(CACHED_PAIRS, num_centers)), dtype=np.float32)
    for its_members, its_centers, rows in zip(members, centers, points.transpose(0, 2, 1), strict=True):
        rows = np.ascontiguousarray(rows)
        found = np.zeros(num_centers, dtype=np.int64)
        balls, begin = np.arange(num_centers), 0
        while begin < num_points and len(balls):
            width = min(max(1, CACHED_PAIRS // len(balls)), num_points - begin)
            # A flat list of the points inside, ball by ball, from which each ball takes as many as it has room for.
            total, square = room[:, : len(balls) * width].reshape(2, len(balls), width)
            inside = _squared_distances(its_centers[balls], rows[:, begin : begin + width], total, square) <= limit
            hits, counts = np.flatnonzero(inside), np.count_nonzero(inside, axis=1)
            place = slots - found[balls, None]
            ball, slot = np.nonzero((place >= 0) & (place < counts[:, None]))
            first = np.cumsum(counts) - counts
            its_members[balls[ball], slot] = hits[first[ball] + place[ball, slot]] - ball * width + begin
            found[balls] += counts
            balls, begin = balls[found[balls] < num_samples], begin + width
        np.copyto(its_members, its_members[:, :1], where=slots >= found[:, None])
    return members


def _squared_distances(centers: np.ndarray, rows: np.ndarray, total: np.ndarray, square: np.ndarray) -> np.ndarray:
    """`(dx² + dy²) + dz²`, rounded after each step, into `total`; `rows` are the axes of the points."""
    with np.errstate(invalid="ignore", over="ignore"):  # a point that is not finite is in no ball
        np.subtract(centers[:, 0, None], rows[0], out=total)
        np.multiply(total, total, out=total)
        for axis in (1, 2):
            np.subtract(centers[:, axis, None], rows[axis], out=square)
            np.multiply(square, square, out=square)
            np.add(total, square, out=total)
    return total
