"""Features of points from those of the patches around them."""

import torch

from .point_sampling import gather_points, knn_query


# Of squared distances, below which a point has its nearest centre's feature alone.
EPSILON = 1e-8


def point_features(
    patch_features: torch.Tensor, patch_centers: torch.Tensor, points: torch.Tensor, num_neighbors: int = 3
) -> torch.Tensor:
    """Carry the features of patches to each point: the mean of the nearest patches', weighted by inverse distances.

    The weight of a patch is `1 / (d² + 1e-8)`, where `d` is the distance of the point to the patch's centre. A point
    that is a centre has that patch's feature.

    Source: PointNet++ (arXiv 1706.02413), feature propagation, with its three neighbours and its squared distances.

    Args:
        patch_features (`torch.Tensor` of shape `(batch, num_patches, channels)`):
            An encoder's patch tokens, for example: `last_hidden_state[:, 1:]`.
        patch_centers (`torch.Tensor` of shape `(batch, num_patches, 3)`):
            Their centres, which the encoder returns with `output_patches=True`.
        points (`torch.Tensor` of shape `(batch, num_points, 3 or more)`):
            xyz, and possibly more, as `point_values` have it. They need not be the points that the encoder saw.
        num_neighbors (`int`, defaults to 3): How many patches a point has its feature from.

    Returns:
        `torch.Tensor` of shape `(batch, num_points, channels)`, in the dtype of `patch_features`.

    Raises:
        ValueError: when there is not one centre to each feature, or less than one neighbour is asked for.

    Example:

    ```python
    >>> outputs = model(point_values, output_patches=True)
    >>> features = point_features(outputs.last_hidden_state[:, 1:], outputs.patch_centers, point_values)
    ```
    """
    if patch_features.shape[:2] != patch_centers.shape[:2]:
        raise ValueError(
            f"got features of {tuple(patch_features.shape[:2])} clouds and patches, and centres of "
            f"{tuple(patch_centers.shape[:2])}; leave the class token out of the features."
        )
    nearest, weights = _neighbors(patch_centers, points[..., :3], min(num_neighbors, patch_centers.shape[1]))
    # One neighbour after the other, so that no tensor has a feature of every neighbour of every point.
    features = torch.zeros((), dtype=patch_features.dtype, device=patch_features.device)
    for number in range(nearest.shape[-1]):
        weight = weights[..., number, None].to(patch_features.dtype)
        features = features + weight * gather_points(patch_features, nearest[..., number])
    return features


@torch.no_grad()
def _neighbors(centers: torch.Tensor, points: torch.Tensor, num_neighbors: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest centres of each point and their weights, which add up to 1, both `(batch, num_points, n)`."""
    with torch.autocast(points.device.type, enabled=False):
        points, centers = points.float().contiguous(), centers.float()
        nearest = knn_query(points, centers, num_neighbors)
        offsets = gather_points(centers, nearest) - points[:, :, None]
        weights = 1 / (offsets.square().sum(dim=-1) + EPSILON)
        return nearest, weights / weights.sum(dim=-1, keepdim=True)


__all__ = ["point_features"]
