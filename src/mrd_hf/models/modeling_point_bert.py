"""PointBERT, the point cloud encoder of OpenShape (arXiv 2305.10764), after Point-BERT (arXiv 2111.14819).

What differs from the original code: the first patch centre is always point 0 (there it is random unless asked
otherwise), 1x1 convolutions are linear layers, and q, k and v are separate projections as elsewhere in transformers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple, maybe_autocast, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_point_bert import PointBertConfig
from .point_sampling import ball_query, farthest_point_sampling, gather_points


POINT_CHANNELS = 6  # xyz, rgb
GROUP_CHANNELS = 9  # xyz relative to the patch's centre, xyz, rgb


@dataclass
class PointBertOutput(ModelOutput):
    """
    Output of [`PointBertModel`].

    Args:
        last_hidden_state (`torch.Tensor` of shape `(batch, 1 + num_patches, hidden_size)`):
            The class token and the patch tokens after the last block.
        pooler_output (`torch.Tensor` of shape `(batch, hidden_size)`): The class token.
        point_embeds (`torch.Tensor` of shape `(batch, projection_dim)`, *optional*):
            The shape's embedding in the teacher's space, not normalised. None without a projection.
        hidden_states (`tuple(torch.Tensor)`, *optional*): Input of the first block, then each block's output.
        attentions (`tuple(torch.Tensor)`, *optional*): Attention probabilities of each block.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    point_embeds: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class PointBertPatchNetwork(nn.Module):
    """A small PointNet: three linear layers with batch norm on every point of a patch, then the maximum over them."""

    def __init__(self, config: PointBertConfig) -> None:
        super().__init__()
        widths = [GROUP_CHANNELS, config.patch_hidden_size, config.patch_hidden_size, config.patch_feature_size]
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in zip(widths[:-1], widths[1:], strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths[1:])

    def forward(self, groups: torch.Tensor) -> torch.Tensor:
        features = groups.flatten(0, 2)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            features = nn.functional.relu(norm(linear(features)), inplace=True)
        return features.view(*groups.shape[:3], -1).amax(dim=2)


class PointBertEmbeddings(nn.Module):
    """Tokens of a point cloud: one for each patch, and the class token before them."""

    def __init__(self, config: PointBertConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_network = PointBertPatchNetwork(config)
        self.patch_projection = nn.Linear(3 + config.patch_feature_size, config.hidden_size)
        self.patch_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.cls_token = nn.Parameter(torch.zeros(config.hidden_size))

    def group(self, point_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Patch centres `(batch, num_patches, 3)` and groups `(batch, num_patches, patch_size, 9)`, in float32."""
        point_values = point_values.float()
        xyz = point_values[..., :3].contiguous()
        centers = gather_points(xyz, farthest_point_sampling(xyz, self.config.num_patches))
        members = ball_query(centers, xyz, self.config.patch_radius, self.config.patch_size)
        members = gather_points(point_values, members)
        relative = members[..., :3] - centers[:, :, None]
        return centers, torch.cat([relative, members], dim=-1)

    def drop_patches(self, centers: torch.Tensor, groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep a random subset of the patches, another one for every cloud."""
        batch, num_patches = centers.shape[:2]
        num_kept = max(1, round(num_patches * (1 - self.config.patch_dropout)))
        kept = torch.rand(batch, num_patches, device=centers.device).argsort(dim=1)[:, :num_kept]
        return gather_points(centers, kept), gather_points(groups.flatten(2), kept).view(
            batch, num_kept, *groups.shape[2:]
        )

    def forward(self, point_values: torch.Tensor) -> torch.Tensor:
        with maybe_autocast(point_values.device.type, enabled=False):
            centers, groups = self.group(point_values)
        if self.training and self.config.patch_dropout > 0:
            centers, groups = self.drop_patches(centers, groups)
        dtype = self.patch_projection.weight.dtype
        centers, groups = centers.to(dtype), groups.to(dtype)
        features = self.patch_network(groups)
        patches = self.patch_norm(self.patch_projection(torch.cat([centers, features], dim=-1)))
        cls_token = self.cls_token.to(patches.dtype).expand(patches.shape[0], 1, -1)
        return torch.cat([cls_token, patches], dim=1)


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


class PointBertAttention(nn.Module):
    """Multi-head self-attention; queries, keys and values have no bias, the output projection has one."""

    def __init__(self, config: PointBertConfig) -> None:
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
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


class PointBertMLP(nn.Module):
    def __init__(self, config: PointBertConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation_fn = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation_fn(self.fc1(hidden_states)))


class PointBertDropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): in training, a residual branch is left out for some of the samples."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: torch.Tensor) -> torch.Tensor:
        if self.rate == 0.0 or not self.training:
            return branch
        keep = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= self.rate
        return branch * keep.to(branch.dtype) / (1 - self.rate)


class PointBertLayer(GradientCheckpointingLayer):
    """Pre-norm transformer block."""

    def __init__(self, config: PointBertConfig, drop_path_rate: float) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = PointBertAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = PointBertMLP(config)
        self.drop_path = PointBertDropPath(drop_path_rate)

    def forward(self, hidden_states: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        attended, _ = self.self_attn(self.layer_norm1(hidden_states), **kwargs)
        hidden_states = hidden_states + self.drop_path(attended)
        return hidden_states + self.drop_path(self.mlp(self.layer_norm2(hidden_states)))


class PointBertPreTrainedModel(PreTrainedModel):
    config: PointBertConfig
    base_model_prefix = "point_bert"
    main_input_name = "point_values"
    input_modalities = ("point_cloud",)
    supports_gradient_checkpointing = True
    _input_embed_layer = "patch_projection"
    _no_split_modules = ["PointBertEmbeddings", "PointBertLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": PointBertLayer, "attentions": PointBertAttention}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, PointBertEmbeddings):
            init.trunc_normal_(module.cls_token, std=self.config.initializer_range)


class PointBertModel(PointBertPreTrainedModel):
    """The point cloud encoder: points with colours in, an embedding in the teacher's space out.

    Args:
        config (`PointBertConfig`)
        add_projection (`bool`, defaults to `True`):
            False leaves the projection out although `config.projection_dim` has a width, for a head that reads the
            class token.
    """

    def __init__(self, config: PointBertConfig, add_projection: bool = True) -> None:
        super().__init__(config)
        self.embeddings = PointBertEmbeddings(config)
        depth = config.num_hidden_layers
        self.layers = nn.ModuleList(
            PointBertLayer(config, drop_path_rate=config.drop_path_rate * i / max(1, depth - 1)) for i in range(depth)
        )
        self.projection = (
            nn.Linear(config.hidden_size, config.projection_dim)
            if add_projection and config.projection_dim is not None
            else None
        )
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self, point_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]
    ) -> PointBertOutput | tuple[torch.Tensor, ...]:
        r"""
        Args:
            point_values (`torch.Tensor` of shape `(batch, num_points, 6)`):
                xyz, centred and inside the unit sphere with y up, and rgb in 0..1 (0.4 where a cloud has no colour);
                [`PointCloudFeatureExtractor`] makes them. The order of the points decides which ones a crowded patch
                takes.

        Returns:
            [`PointBertOutput`], or a tuple with `return_dict=False`.

        Raises:
            ValueError: when `point_values` has another shape.
        """
        if point_values.ndim != 3 or point_values.shape[-1] != POINT_CHANNELS or point_values.shape[1] == 0:
            raise ValueError(
                f"point_values must have shape (batch, num_points, {POINT_CHANNELS}): xyz and rgb of at least one "
                f"point, got {tuple(point_values.shape)}."
            )
        hidden_states = self.embeddings(point_values)
        for layer in self.layers:
            hidden_states = layer(hidden_states, **kwargs)
        pooled = hidden_states[:, 0]
        return PointBertOutput(
            last_hidden_state=hidden_states,
            pooler_output=pooled,
            point_embeds=self.projection(pooled) if self.projection is not None else None,
        )

    def get_point_features(self, point_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        """The embedding of each cloud, not normalised: `(batch, projection_dim)`, or without projection the class
        token `(batch, hidden_size)`. Arguments as for [`PointBertModel.forward`]."""
        outputs = self(point_values, return_dict=True, **kwargs)
        return outputs.pooler_output if self.projection is None else outputs.point_embeds


class PointBertForShapeClassification(PointBertPreTrainedModel):
    """PointBERT with a linear head on the class token, to be fine-tuned on labelled shapes.

    `from_pretrained` of a folder of [`PointBertModel`] loads the encoder and starts with a new head; its projection
    into the teacher's space is left out, since the head does not read it.
    """

    # The encoder's projection is dropped on purpose: do not report it.
    _keys_to_ignore_on_load_unexpected = [r"^(point_bert\.)?projection\."]

    def __init__(self, config: PointBertConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.point_bert = PointBertModel(config, add_projection=False)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.loss_type = "ForSequenceClassification"  # transformers would infer it from a class name it knows
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        point_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ImageClassifierOutput | tuple[torch.Tensor, ...]:
        r"""
        Args:
            point_values (`torch.Tensor` of shape `(batch, num_points, 6)`): As for [`PointBertModel.forward`].
            labels (`torch.Tensor`, *optional*):
                What `config.problem_type` asks for: `"single_label_classification"`, class indices of shape
                `(batch,)`; `"multi_label_classification"`, zeros and ones in floats of shape `(batch, num_labels)`;
                `"regression"`, floats of shape `(batch, num_labels)`, or `(batch,)` with one label. Without a problem
                type the first labels decide: one label is regression, integers are single-label, floats multi-label.

        Returns:
            [`~transformers.modeling_outputs.ImageClassifierOutput`] with `logits` of shape `(batch, num_labels)`, or a
            tuple with `return_dict=False`.

        Raises:
            ValueError: when `point_values` has another shape.

        Example:

        ```python
        >>> import torch
        >>> from mrd_hf import PointBertConfig, PointBertForShapeClassification

        >>> model = PointBertForShapeClassification(PointBertConfig(num_hidden_layers=2, num_labels=5))
        >>> output = model(torch.rand(4, 1024, 6), labels=torch.tensor([0, 3, 1, 4]))
        >>> output.loss.backward()
        ```
        """
        outputs: PointBertOutput = self.point_bert(point_values, return_dict=True, **kwargs)
        logits = self.classifier(self.dropout(outputs.pooler_output))
        return ImageClassifierOutput(
            loss=None if labels is None else self.loss_function(labels, logits, self.config, **kwargs),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


__all__ = ["PointBertForShapeClassification", "PointBertModel", "PointBertOutput", "PointBertPreTrainedModel"]
