"""What point cloud encoders make tokens of: a patch's points through a small PointNet, and the position of its centre.

PointBERT and Uni3D share these parts; how they put them together is in their own files.
"""

import torch
from torch import nn

from .point_sampling import gather_points


class PointNet(nn.Module):
    """OpenShape's patch network: three linear layers with batch norm on every point of a patch, then the maximum over
    them.

    Args:
        in_channels (`int`): Channels of a point.
        hidden_size (`int`): Width of the first two layers.
        out_channels (`int`): Width of a patch's feature.
    """

    def __init__(self, in_channels: int, hidden_size: int, out_channels: int) -> None:
        super().__init__()
        widths = [in_channels, hidden_size, hidden_size, out_channels]
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in zip(widths[:-1], widths[1:], strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths[1:])

    def forward(self, groups: torch.Tensor) -> torch.Tensor:
        """`(batch, num_patches, patch_size, in_channels)` to `(batch, num_patches, out_channels)`."""
        features = groups.flatten(0, 2)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            features = nn.functional.relu(norm(linear(features)), inplace=True)
        return features.view(*groups.shape[:3], -1).amax(dim=2)


class MiniPointNet(nn.Module):
    """Point-BERT's patch network (arXiv 2111.14819), in two rounds as in PCN (arXiv 1808.00671): the second sees each
    point beside the patch's maximum of the first.

    The layer over both is two here, so that the maximum's share is computed once a patch.

    Args:
        in_channels (`int`): Channels of a point.
        hidden_size (`int`): Width of the first layer; the further ones have 2 and 4 times this.
        out_channels (`int`): Width of a patch's feature.
    """

    def __init__(self, in_channels: int, hidden_size: int, out_channels: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(in_channels, hidden_size)
        self.norm1 = nn.BatchNorm1d(hidden_size)
        self.linear2 = nn.Linear(hidden_size, 2 * hidden_size)
        self.patch_linear3 = nn.Linear(2 * hidden_size, 4 * hidden_size, bias=False)
        self.point_linear3 = nn.Linear(2 * hidden_size, 4 * hidden_size)
        self.norm3 = nn.BatchNorm1d(4 * hidden_size)
        self.linear4 = nn.Linear(4 * hidden_size, out_channels)

    def forward(self, groups: torch.Tensor) -> torch.Tensor:
        """`(batch, num_patches, patch_size, in_channels)` to `(batch, num_patches, out_channels)`."""
        batch, num_patches, patch_size = groups.shape[:3]
        features = nn.functional.relu(self.norm1(self.linear1(groups.flatten(0, 2))), inplace=True)
        features = self.linear2(features).view(batch * num_patches, patch_size, -1)
        features = self.point_linear3(features) + self.patch_linear3(features.amax(dim=1, keepdim=True))
        features = nn.functional.relu(self.norm3(features.flatten(0, 1)), inplace=True)
        return self.linear4(features).view(batch, num_patches, patch_size, -1).amax(dim=2)


class PositionEmbedding(nn.Module):
    """Position embeddings of the patches, by an MLP on their centres.

    Args:
        position_hidden_size (`int`): Width of the MLP's inner layer.
        hidden_size (`int`): Width of the embeddings.
    """

    def __init__(self, position_hidden_size: int, hidden_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, position_hidden_size)
        self.fc2 = nn.Linear(position_hidden_size, hidden_size)

    def forward(self, centers: torch.Tensor) -> torch.Tensor:
        """`(batch, num_patches, 3)` to `(batch, num_patches, hidden_size)`."""
        return self.fc2(nn.functional.gelu(self.fc1(centers)))


def drop_patches(
    centers: torch.Tensor, groups: torch.Tensor, patch_dropout: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keep a random subset of the patches, another one for every cloud.

    Args:
        centers (`torch.Tensor` of shape `(batch, num_patches, 3)`)
        groups (`torch.Tensor` of shape `(batch, num_patches, patch_size, channels)`)
        patch_dropout (`float`): Share of the patches left out; one always stays.

    Returns:
        `tuple(torch.Tensor, torch.Tensor)`: Centres and groups of those kept.
    """
    batch, num_patches = centers.shape[:2]
    num_kept = max(1, round(num_patches * (1 - patch_dropout)))
    kept = torch.rand(batch, num_patches, device=centers.device).argsort(dim=1)[:, :num_kept]
    kept_groups = gather_points(groups.flatten(2), kept).view(batch, num_kept, *groups.shape[2:])
    return gather_points(centers, kept), kept_groups
