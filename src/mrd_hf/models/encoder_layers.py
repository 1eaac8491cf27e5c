"""What PointBERT and Uni3D are made of: patch networks, positions of patches, attention, stochastic depth.

How they put these parts together is in their own files.
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.activations import GELUActivation
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .point_sampling import gather_points
from .pointnet_blocks import layer_of, mini_pointnet_in_blocks, works_in_blocks
from .pointnet_gradients import pointnet_in_blocks


POINT_CHANNELS = 6  # xyz, rgb


def check_point_values(point_values: torch.Tensor) -> None:
    """Raise a `ValueError` for a model's input of another shape than `(batch, num_points, 6)`."""
    if point_values.ndim != 3 or point_values.shape[-1] != POINT_CHANNELS or point_values.shape[1] == 0:
        raise ValueError(
            f"point_values must have shape (batch, num_points, {POINT_CHANNELS}): xyz and rgb of at least one "
            f"point, got {tuple(point_values.shape)}."
        )


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
        linears, norms = list(self.linears), list(self.norms)
        if works_in_blocks(linears, norms, groups):
            return pointnet_in_blocks(linears, norms, groups.flatten(0, 1)).unflatten(0, groups.shape[:2])
        features = groups.flatten(0, 2)
        for linear, norm in zip(linears, norms, strict=True):
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
        linears = [self.linear1, self.linear2, self.patch_linear3, self.point_linear3, self.linear4]
        evaluates = not (self.norm1.training or torch.is_grad_enabled())
        if evaluates and works_in_blocks(linears, [self.norm1, self.norm3], groups):
            first, third = layer_of(self.linear1, self.norm1), layer_of(self.point_linear3, self.norm3)
            return mini_pointnet_in_blocks(
                first, self.linear2, self.patch_linear3, third, self.linear4, groups.flatten(0, 1)
            ).unflatten(0, groups.shape[:2])
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
    centers: torch.Tensor, groups: torch.Tensor, patch_dropout: float, members: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Keep a random subset of the patches, another one for every cloud.

    Args:
        centers (`torch.Tensor` of shape `(batch, num_patches, 3)`)
        groups (`torch.Tensor` of shape `(batch, num_patches, patch_size, channels)`)
        patch_dropout (`float`): Share of the patches left out; one always stays.
        members (`torch.LongTensor` of shape `(batch, num_patches, patch_size)`, *optional*)

    Returns:
        `tuple(torch.Tensor, torch.Tensor, torch.LongTensor)`: Centres, groups and members of those kept; None for
        members that are not given.
    """
    batch, num_patches = centers.shape[:2]
    num_kept = max(1, round(num_patches * (1 - patch_dropout)))
    kept = torch.rand(batch, num_patches, device=centers.device).argsort(dim=1)[:, :num_kept]
    kept_groups = gather_points(groups.flatten(2), kept).view(batch, num_kept, *groups.shape[2:])
    return gather_points(centers, kept), kept_groups, None if members is None else gather_points(members, kept)


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Unpack[TransformersKwargs],
) -> tuple[torch.Tensor, torch.Tensor]:
    weights = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        weights = weights + attention_mask
    weights = nn.functional.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class SelfAttention(nn.Module):
    """Multi-head self-attention; keys have no bias, the output projection has one.

    Args:
        config (`PointBertConfig` or `Uni3DConfig`)
        query_value_bias (`bool`, defaults to `False`): Whether queries and values have a bias.
    """

    def __init__(self, config: PreTrainedConfig, query_value_bias: bool = False) -> None:
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=query_value_bias)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=query_value_bias)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, hidden_states: torch.Tensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        heads = (*hidden_states.shape[:2], -1, self.head_dim)
        query = self.q_proj(hidden_states).view(heads).transpose(1, 2)
        key = self.k_proj(hidden_states).view(heads).transpose(1, 2)
        value = self.v_proj(hidden_states).view(heads).transpose(1, 2)
        attention: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        context, weights = attention(
            self,
            query,
            key,
            value,
            None,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return self.out_proj(context.reshape(hidden_states.shape)), weights


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): in training, a residual branch is left out for some of the samples."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: torch.Tensor) -> torch.Tensor:
        if self.rate == 0.0 or not self.training:
            return branch
        keep = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= self.rate
        return branch * keep.to(branch.dtype) / (1 - self.rate)


def in_dtype_of(module: nn.Linear | nn.LayerNorm, features: torch.Tensor) -> torch.Tensor:
    """`features` in the dtype of the module's weight, which it is the input of.

    Of a weight that was quantized, whose integers are no precision to compute in, they stay as they are.
    """
    dtype = module.weight.dtype
    return features.to(dtype) if dtype.is_floating_point else features


def floating_dtype(module: nn.Module) -> torch.dtype:
    """The precision of a module's input: that of its first weight that was not quantized."""
    return next((p.dtype for p in module.parameters() if p.dtype.is_floating_point), torch.float32)


def activate(activation: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """`activation(features)`, where nothing else holds `features`: without gradients GELU overwrites them.

    An MLP's inner features are the largest tensors of a block. Memory for a second one is given back to the system
    after every block, which has to clear it for the next: a tenth of the time of a large encoder on a CPU.
    """
    if isinstance(activation, GELUActivation) and not torch.is_grad_enabled():
        return torch.ops.aten.gelu_(features)
    return activation(features)


class EncoderLayer(GradientCheckpointingLayer):
    """Pre-norm transformer block.

    What runs through the blocks is float32 whatever the weights are: a sum that half precision rounds again in every
    block loses more than all products within them.
    """

    def __init__(
        self, config: PreTrainedConfig, attention: SelfAttention, mlp: nn.Module, drop_path_rate: float
    ) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = attention
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = mlp
        self.drop_path = DropPath(drop_path_rate)

    def forward(
        self,
        hidden_states: torch.Tensor,
        positions: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        if positions is not None:
            hidden_states = hidden_states + positions
        normed = self.layer_norm1(in_dtype_of(self.layer_norm1, hidden_states))
        attended, _ = self.self_attn(in_dtype_of(self.self_attn.q_proj, normed), **kwargs)
        hidden_states = hidden_states + self.drop_path(attended)
        normed = self.layer_norm2(in_dtype_of(self.layer_norm2, hidden_states))
        branch = self.drop_path(self.mlp(in_dtype_of(self.self_attn.q_proj, normed)))
        # The sum above is this block's own: without gradients nothing else needs it.
        return hidden_states + branch if torch.is_grad_enabled() else hidden_states.add_(branch)
