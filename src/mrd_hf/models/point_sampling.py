"""Picking and grouping points: farthest point sampling, ball query and nearest neighbours.

Everything here runs in float32, outside autograd and outside autocast: distances in half precision would move
points in and out of a patch.
"""

import torch


def squared_distances(queries: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distance of each query to each point.

    Computed from coordinate differences: the shorter `a² - 2ab + b²` loses digits that decide who is inside a ball.

    Args:
        queries (`torch.Tensor` of shape `(batch, num_queries, 3)`)
        points (`torch.Tensor` of shape `(batch, num_points, 3)`)

    Returns:
        `torch.Tensor` of shape `(batch, num_queries, num_points)`.
    """
    total = (queries[:, :, None, 0] - points[:, None, :, 0]).square_()
    for axis in (1, 2):  # axis by axis, so that no (batch, queries, points, 3) tensor is ever made
        difference = queries[:, :, None, axis] - points[:, None, :, axis]
        total.addcmul_(difference, difference)
    return total


@torch.no_grad()
def farthest_point_sampling(points: torch.Tensor, num_samples: int, start: int = 0) -> torch.Tensor:
    """Pick points one after the other, each the farthest from those picked before it.

    Ties go to the lowest index. When `num_samples` exceeds the number of distinct points, points repeat.

    Args:
        points (`torch.Tensor` of shape `(batch, num_points, 3)`)
        num_samples (`int`): How many points to pick.
        start (`int`, defaults to 0): Index of the first point picked.

    Returns:
        `torch.LongTensor` of shape `(batch, num_samples)`: indices into `points`.
    """
    # One contiguous row an axis: each of the passes below then streams through memory.
    x, y, z = points.float().transpose(1, 2).contiguous().unbind(1)
    batch = torch.arange(points.shape[0], device=points.device)
    picked = torch.empty(points.shape[0], num_samples, dtype=torch.long, device=points.device)
    last = torch.full_like(batch, start)
    nearest = torch.full_like(x, torch.inf)
    for i in range(num_samples):
        picked[:, i] = last
        distance = (x - x[batch, last, None]).square_()
        for axis in (y, z):
            difference = axis - axis[batch, last, None]
            distance.addcmul_(difference, difference)
        nearest = torch.minimum(nearest, distance, out=nearest)
        last = nearest.argmax(dim=1)
    return picked


@torch.no_grad()
def ball_query(centers: torch.Tensor, points: torch.Tensor, radius: float, num_samples: int) -> torch.Tensor:
    """The first `num_samples` points, in index order, within `radius` of each centre.

    As in OpenShape (and PointNet++): not the nearest ones; a ball with fewer points is padded with its first.

    Args:
        centers (`torch.Tensor` of shape `(batch, num_centers, 3)`): Each must be one of the points, so that no
            ball is empty.
        points (`torch.Tensor` of shape `(batch, num_points, 3)`)
        radius (`float`): A point belongs to the ball when its squared distance is at most `radius ** 2`.
        num_samples (`int`): Points in a group.

    Returns:
        `torch.LongTensor` of shape `(batch, num_centers, num_samples)`: indices into `points`.
    """
    num_points = points.shape[1]
    inside = squared_distances(centers.float(), points.float()) <= radius**2
    # Points outside get an index beyond the last, so the smallest indices are the first points inside.
    index = torch.where(inside, torch.arange(num_points, dtype=torch.int32, device=points.device), num_points)
    members = index.topk(min(num_samples, num_points), largest=False, sorted=True).values.long()
    members = torch.nn.functional.pad(members, (0, num_samples - members.shape[-1]), value=num_points)
    return torch.where(members == num_points, members[..., :1], members)


@torch.no_grad()
def nearest_neighbors(centers: torch.Tensor, points: torch.Tensor, num_samples: int) -> torch.Tensor:
    """The `num_samples` points nearest to each centre, nearest first; of equally near ones, the lowest index first.

    A cloud with fewer points is padded with the nearest.

    Args:
        centers (`torch.Tensor` of shape `(batch, num_centers, 3)`)
        points (`torch.Tensor` of shape `(batch, num_points, 3)`)
        num_samples (`int`): Points in a group.

    Returns:
        `torch.LongTensor` of shape `(batch, num_centers, num_samples)`: indices into `points`.
    """
    num_points = points.shape[1]
    distances = squared_distances(centers.float(), points.float())
    # topk leaves the order of equals open. The bits of floats that are not negative are ordered as the floats are, so
    # distance and index fit into one integer that no other point of the cloud has.
    keys = distances.view(torch.int32).long().bitwise_left_shift_(32)
    keys.bitwise_or_(torch.arange(num_points, device=points.device))
    nearest = keys.topk(min(num_samples, num_points), largest=False, sorted=True).values & (2**32 - 1)
    padding = nearest[..., :1].expand(-1, -1, num_samples - nearest.shape[-1])
    return torch.cat([nearest, padding], dim=-1)


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
