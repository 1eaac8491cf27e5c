"""An encoder as a program of torch.export: from points to embeddings, sampling and grouping as a loop in it.

The loop is the one of sampling_graph.py, by torch's operator `scan`.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch._higher_order_ops import scan
from transformers import PreTrainedModel

from ..models.point_sampling import gather_groups, gather_points
from .network_graph import groups_made_by
from .sampling_graph import Sampling


# Larger than any key below.
BEYOND = torch.iinfo(torch.int64).max


class EmbeddingOfPoints(nn.Module):
    """An encoder whose sampling is a loop for torch.export.

    Args:
        model (`PreTrainedModel`): A `PointBertModel` or `Uni3DModel`, in evaluation mode.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.group = group_function(Sampling.of(model.config))
        self.train(model.training)

    def forward(self, point_values: torch.Tensor) -> torch.Tensor:
        """`(batch, num_points, 6)` to `(batch, embedding_dim)`."""
        with groups_made_by(self.model, self.group):
            return self.model.get_point_features(point_values)


@torch.no_grad()
def program_of(model: PreTrainedModel) -> torch.export.ExportedProgram:
    """The program; batch and number of points are dynamic.

    Args:
        model (`PreTrainedModel`): A `PointBertModel` or `Uni3DModel` on the CPU, in evaluation mode.
    """
    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    program = torch.export.export(
        EmbeddingOfPoints(model), (torch.rand(2, 64, 6),), dynamic_shapes=(sizes,), strict=False
    )
    for graph in program.graph_module.modules():
        for node in graph.graph.nodes if isinstance(graph, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # the paths of this machine's files
    return program


def group_function(sampling: Sampling) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """What makes centres and groups of `point_values`, as an encoder's `embeddings.group` does."""
    radius_squared = None if sampling.patch_radius is None else sampling.patch_radius**2
    size = sampling.patch_size

    def group(point_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        point_values = point_values.float()
        xyz = point_values[..., :3]
        rows = xyz.transpose(1, 2).clone(memory_format=torch.contiguous_format)  # (batch, 3, num_points)
        # What a step reads are tensors, none a view of another, as `scan` wants it; numbers of points as well.
        order = torch.arange(xyz.shape[1])
        num_points = torch.full((1, 1), xyz.shape[1])
        beyond = torch.full((xyz.shape[0], size), BEYOND)

        def one_patch(
            carried: tuple[torch.Tensor, torch.Tensor], _: torch.Tensor
        ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
            nearest, last = carried
            squares = (rows - rows.gather(2, last[:, None].expand(-1, 3, -1))).square()
            distances = (squares[:, 0] + squares[:, 1]) + squares[:, 2]
            nearest = torch.minimum(nearest, distances)
            if radius_squared is None:  # by distance, then by index: see knn_query in models/point_sampling.py
                keys = distances.view(torch.int32).long().bitwise_left_shift(32).bitwise_or(order)
                outside = beyond[:1, :1]
            else:
                keys = torch.where(distances <= radius_squared, order, num_points)
                outside = num_points
            found = torch.cat([keys, beyond], dim=1).topk(size, largest=False, sorted=True).values
            found = torch.where(found >= outside, found[:, :1], found)
            members = found.bitwise_and(2**32 - 1)
            return (nearest, nearest.argmax(dim=1, keepdim=True)), (last.clone(), members)

        first = (torch.full_like(rows[:, 0], torch.inf), torch.zeros(xyz.shape[0], 1, dtype=torch.long))
        _, (picked, members) = scan(one_patch, first, torch.arange(sampling.num_patches), dim=0)
        centers = gather_points(xyz, picked[..., 0].transpose(0, 1))
        groups = gather_groups(point_values, centers, members.permute(1, 0, 2), sampling.positions, sampling.colors)
        return centers, groups

    return group
