"""Uni3D (arXiv 2310.06773), a point cloud encoder whose trunk is a vision transformer, EVA02 (arXiv 2303.11331).

The trunk has no rotary embedding, nor has it in the original. What differs from the original code: neighbours are
found by distances computed from coordinate differences, and farthest point sampling sees every point (there the one
on a GPU skips those next to the origin); patch dropout acts before the patch network, to save its work, and in
training only; 1x1 convolutions are linear layers, and the one over a patch's maximum and its points' features is two,
so that the maximum's share is computed once a patch; q, k and v are separate projections as elsewhere in transformers,
and so are an MLP's gate and the features it multiplies.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import maybe_autocast, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_uni3d import Uni3DConfig
from .encoder_layers import (
    POINT_CHANNELS,
    EncoderLayer,
    MiniPointNet,
    PositionEmbedding,
    SelfAttention,
    activate,
    check_point_values,
    drop_patches,
    floating_dtype,
    in_dtype_of,
)
from .point_sampling import farthest_point_sampling, gather_groups, gather_points, knn_query


@dataclass
class Uni3DOutput(ModelOutput):
    """
    Output of [`Uni3DModel`].

    Args:
        last_hidden_state (`torch.Tensor` of shape `(batch, 1 + num_patches, hidden_size)`):
            The class token and the patch tokens after the last block, not normalised.
        pooler_output (`torch.Tensor` of shape `(batch, hidden_size)`): The class token after the final layer norm.
        point_embeds (`torch.Tensor` of shape `(batch, projection_dim)`, *optional*):
            The shape's embedding in the teacher's space, not normalised. None without a projection.
        hidden_states (`tuple(torch.Tensor)`, *optional*): Input of the first block, then each block's output.
        attentions (`tuple(torch.Tensor)`, *optional*): Attention probabilities of each block.
        patch_centers (`torch.Tensor` of shape `(batch, num_patches, 3)`, *optional*):
            With `output_patches=True`, the patches' centres, in the order of their tokens. float32.
        patch_members (`torch.LongTensor` of shape `(batch, num_patches, patch_size)`, *optional*):
            With `output_patches=True`, which points each patch holds, as indices into the cloud; a patch of fewer
            points repeats one.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    point_embeds: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    patch_centers: torch.Tensor | None = None
    patch_members: torch.Tensor | None = None


class Uni3DEmbeddings(nn.Module):
    """Tokens of a point cloud: one for each patch, and the class token before them."""

    def __init__(self, config: Uni3DConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_network = MiniPointNet(POINT_CHANNELS, config.patch_hidden_size, config.patch_feature_size)
        self.patch_projection = nn.Linear(config.patch_feature_size, config.hidden_size)
        self.position_embedding = PositionEmbedding(config.position_hidden_size, config.hidden_size)
        self.cls_token = nn.Parameter(torch.zeros(config.hidden_size))
        self.cls_position = nn.Parameter(torch.zeros(config.hidden_size))

    def group(self, point_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Patch centres `(batch, num_patches, 3)` and groups `(batch, num_patches, patch_size, 6)`, in float32."""
        centers, members = self.find_patches(point_values)
        return centers, gather_groups(point_values.float(), centers, members, positions=False)

    def find_patches(self, point_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Patch centres `(batch, num_patches, 3)` in float32, and members `(batch, num_patches, patch_size)`, the
        indices of the patches' points."""
        xyz = point_values[..., :3].float().contiguous()
        centers = gather_points(xyz, farthest_point_sampling(xyz, self.config.num_patches))
        return centers, knn_query(centers, xyz, self.config.patch_size)

    def forward(
        self, point_values: torch.Tensor, output_patches: bool = False
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor | None]]:
        """Tokens, float32 of shape `(batch, 1 + num_patches, hidden_size)`; the patches' centres and, with
        `output_patches`, their members."""
        members = None
        with maybe_autocast(point_values.device.type, enabled=False):
            if output_patches:
                centers, members = self.find_patches(point_values)
                groups = gather_groups(point_values.float(), centers, members, positions=False)
            else:
                centers, groups = self.group(point_values)
        if self.training and self.config.patch_dropout > 0:
            centers, groups, members = drop_patches(centers, groups, self.config.patch_dropout, members)
        weight = self.patch_projection.weight
        dtype = weight.dtype if weight.dtype.is_floating_point else floating_dtype(self.patch_network)
        features = self.patch_network(groups.to(dtype)).to(dtype)
        with maybe_autocast(point_values.device.type, enabled=False):
            patches = self.patch_projection(features) + self.position_embedding(centers.to(dtype))
            cls_token = (self.cls_token + self.cls_position).expand(patches.shape[0], 1, -1)
            return torch.cat([cls_token, patches], dim=1).float(), (centers, members)


class Uni3DMLP(nn.Module):
    """An MLP, gated (SwiGLU, arXiv 2002.05202) or plain, with or without a norm before its last layer."""

    def __init__(self, config: Uni3DConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size) if config.gated_mlp else None
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation_fn = ACT2FN[config.hidden_act]
        self.layer_norm = (
            nn.LayerNorm(config.intermediate_size, eps=config.layer_norm_eps) if config.mlp_norm else None
        )
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        features = self.up_proj(hidden_states)
        if self.gate_proj is None:
            features = activate(self.activation_fn, features)
        else:  # in float32: rounding every step would add up
            features = self.activation_fn(self.gate_proj(hidden_states).float()) * features.float()
        if self.layer_norm is not None:
            features = self.layer_norm(in_dtype_of(self.layer_norm, features))
        return self.down_proj(in_dtype_of(self.down_proj, features))


class Uni3DLayer(EncoderLayer):
    def __init__(self, config: Uni3DConfig, drop_path_rate: float) -> None:
        super().__init__(config, SelfAttention(config, query_value_bias=True), Uni3DMLP(config), drop_path_rate)


class Uni3DPreTrainedModel(PreTrainedModel):
    config: Uni3DConfig
    base_model_prefix = "uni3d"
    main_input_name = "point_values"
    input_modalities = ("point_cloud",)
    supports_gradient_checkpointing = True
    _input_embed_layer = "patch_projection"
    _no_split_modules = ["Uni3DEmbeddings", "Uni3DLayer"]
    _keep_in_fp32_modules_strict = ["embeddings", "layer_norm", "layer_norm1", "layer_norm2"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": Uni3DLayer, "attentions": SelfAttention}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, Uni3DEmbeddings):
            init.zeros_(module.cls_token)
            init.normal_(module.cls_position)


class Uni3DModel(Uni3DPreTrainedModel):
    """The point cloud encoder: points with colours in, an embedding in the teacher's space out."""

    def __init__(self, config: Uni3DConfig) -> None:
        super().__init__(config)
        self.embeddings = Uni3DEmbeddings(config)
        depth = config.num_hidden_layers
        self.layers = nn.ModuleList(
            Uni3DLayer(config, drop_path_rate=config.drop_path_rate * i / max(1, depth - 1)) for i in range(depth)
        )
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.projection = (
            nn.Linear(config.hidden_size, config.projection_dim) if config.projection_dim is not None else None
        )
        if self.projection is not None:
            self._keep_in_fp32_modules_strict = [*Uni3DPreTrainedModel._keep_in_fp32_modules_strict, "projection"]
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self, point_values: torch.Tensor, output_patches: bool = False, **kwargs: Unpack[TransformersKwargs]
    ) -> Uni3DOutput | tuple[torch.Tensor, ...]:
        r"""
        Args:
            point_values (`torch.Tensor` of shape `(batch, num_points, 6)`):
                xyz, centred and inside the unit sphere, up as in what the model was trained on (y, for ours), and rgb
                in 0..1 (0.4 where a cloud has no colour);
                [`PointCloudFeatureExtractor`] makes them. The first point is the first patch's centre.
            output_patches (`bool`, defaults to `False`):
                Whether to return the patches' centres and members; see [`point_features`].

        Returns:
            [`Uni3DOutput`], or a tuple with `return_dict=False`.

        Raises:
            ValueError: when `point_values` has another shape.
        """
        check_point_values(point_values)
        hidden_states, patches = self.embeddings(point_values, output_patches)
        for layer in self.layers:
            hidden_states = layer(hidden_states, **kwargs)
        with maybe_autocast(point_values.device.type, enabled=False):
            pooled = self.layer_norm(in_dtype_of(self.layer_norm, hidden_states[:, 0]))
            embeds = None if self.projection is None else self.projection(in_dtype_of(self.projection, pooled))
        # Not self.dtype, which asks for parameters: DataParallel's replicas have none.
        dtype = self.embeddings.cls_token.dtype
        return Uni3DOutput(
            last_hidden_state=hidden_states.to(dtype),
            pooler_output=pooled.to(dtype),
            point_embeds=embeds,
            patch_centers=patches[0] if output_patches else None,
            patch_members=patches[1] if output_patches else None,
        )

    def get_point_features(self, point_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        """The embedding of each cloud, not normalised: `(batch, projection_dim)`, or without projection the class
        token `(batch, hidden_size)`. Arguments as for [`Uni3DModel.forward`]."""
        outputs = self(point_values, return_dict=True, **kwargs)
        return outputs.pooler_output if self.projection is None else outputs.point_embeds


__all__ = ["Uni3DModel", "Uni3DOutput", "Uni3DPreTrainedModel"]
