"""PointBERT, the point cloud encoder of OpenShape (arXiv 2305.10764) and, with other fields of its configuration, that
of ULIP (arXiv 2212.05171) and ULIP-2 (arXiv 2305.08275); all after Point-BERT (arXiv 2111.14819).

What differs from the originals' code: the first patch centre is always point 0 (in OpenShape's it is random unless
asked otherwise), farthest point sampling sees every point (ULIP's on a GPU skips those next to the origin), neighbours
are found by distances computed from coordinate differences, 1x1 convolutions are linear layers, and q, k and v are
separate projections as elsewhere in transformers.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple, maybe_autocast, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_point_bert import PointBertConfig
from .encoder_layers import (
    EncoderLayer,
    MiniPointNet,
    PointNet,
    PositionEmbedding,
    SelfAttention,
    activate,
    check_point_values,
    drop_patches,
    floating_dtype,
    in_dtype_of,
)
from .point_sampling import ball_query, farthest_point_sampling, gather_groups, gather_points, knn_query


@dataclass
class PointBertOutput(ModelOutput):
    """
    Output of [`PointBertModel`].

    Args:
        last_hidden_state (`torch.Tensor` of shape `(batch, 1 + num_patches, hidden_size)`):
            The class token and the patch tokens after the last block, and after the final norm where there is one.
        pooler_output (`torch.Tensor` of shape `(batch, pooled_size)`):
            The class token; with `config.pooling="cls_max"` followed by the maximum over the patch tokens.
        point_embeds (`torch.Tensor` of shape `(batch, projection_dim)`, *optional*):
            The shape's embedding in the teacher's space, not normalised. None without a projection.
        hidden_states (`tuple(torch.Tensor)`, *optional*):
            Input of the first block, then each block's output; the last one after the final norm where there is one.
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


class PointBertEmbeddings(nn.Module):
    """Tokens of a point cloud: one for each patch, and the class token before them."""

    def __init__(self, config: PointBertConfig) -> None:
        super().__init__()
        self.config = config
        group_channels = 3 + 3 * config.patch_positions + 3 * config.patch_colors
        network = PointNet if config.patch_network == "pointnet" else MiniPointNet
        self.patch_network = network(group_channels, config.patch_hidden_size, config.patch_feature_size)
        self.cls_token = nn.Parameter(torch.zeros(config.hidden_size))
        if config.position_embedding == "concatenated":
            self.patch_projection = nn.Linear(3 + config.patch_feature_size, config.hidden_size)
            self.patch_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        else:
            self.patch_projection = nn.Linear(config.patch_feature_size, config.hidden_size)
            self.cls_position = nn.Parameter(torch.zeros(config.hidden_size))
            self.position_embedding = PositionEmbedding(config.position_hidden_size, config.hidden_size)

    def group(self, point_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Patch centres `(batch, num_patches, 3)` and groups `(batch, num_patches, patch_size, channels)`, in float32.

        A group's channels are xyz relative to the patch's centre, then xyz and rgb as far as the configuration has
        them.
        """
        centers, members = self.find_patches(point_values)
        return centers, self.contents(point_values, centers, members)

    def find_patches(self, point_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Patch centres `(batch, num_patches, 3)` in float32, and members `(batch, num_patches, patch_size)`, the
        indices of the patches' points."""
        config = self.config
        xyz = point_values[..., :3].float().contiguous()
        centers = gather_points(xyz, farthest_point_sampling(xyz, config.num_patches))
        if config.grouping == "ball":
            return centers, ball_query(centers, xyz, config.patch_radius, config.patch_size)
        return centers, knn_query(centers, xyz, config.patch_size)

    def contents(self, point_values: torch.Tensor, centers: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
        """The groups of [`group`] of patches that are found already."""
        positions, colors = self.config.patch_positions, self.config.patch_colors
        return gather_groups(point_values.float(), centers, members, positions, colors)

    def forward(
        self, point_values: torch.Tensor, output_patches: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None, tuple[torch.Tensor, torch.Tensor | None]]:
        """Tokens and the positions that every block adds to its input, both float32 of shape
        `(batch, 1 + num_patches, hidden_size)`; positions are None where the tokens contain them. Then the patches'
        centres and, with `output_patches`, their members."""
        members = None
        with maybe_autocast(point_values.device.type, enabled=False):
            if output_patches:
                centers, members = self.find_patches(point_values)
                groups = self.contents(point_values, centers, members)
            else:
                centers, groups = self.group(point_values)
        if self.training and self.config.patch_dropout > 0:
            centers, groups, members = drop_patches(centers, groups, self.config.patch_dropout, members)
        weight = self.patch_projection.weight
        dtype = weight.dtype if weight.dtype.is_floating_point else floating_dtype(self.patch_network)
        features = self.patch_network(groups.to(dtype)).to(dtype)
        with maybe_autocast(point_values.device.type, enabled=False):
            if self.config.position_embedding == "concatenated":
                patches = self.patch_projection(torch.cat([centers.to(dtype), features], dim=-1))
                return _prepend(self.cls_token, self.patch_norm(patches)), None, (centers, members)
            positions = _prepend(self.cls_position, self.position_embedding(centers.to(dtype)))
            return _prepend(self.cls_token, self.patch_projection(features)), positions, (centers, members)


def _prepend(token: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return torch.cat([token.expand(tokens.shape[0], 1, -1), tokens], dim=1).float()


class PointBertMLP(nn.Module):
    def __init__(self, config: PointBertConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation_fn = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(activate(self.activation_fn, self.fc1(hidden_states)))


class PointBertLayer(EncoderLayer):
    def __init__(self, config: PointBertConfig, drop_path_rate: float) -> None:
        super().__init__(config, SelfAttention(config), PointBertMLP(config), drop_path_rate)


class PointBertPreTrainedModel(PreTrainedModel):
    config: PointBertConfig
    base_model_prefix = "point_bert"
    main_input_name = "point_values"
    input_modalities = ("point_cloud",)
    supports_gradient_checkpointing = True
    _input_embed_layer = "patch_projection"
    _no_split_modules = ["PointBertEmbeddings", "PointBertLayer"]
    # Little work, and where half precision loses most: loaded in half precision, the blocks' products take it alone.
    _keep_in_fp32_modules_strict = ["embeddings", "layer_norm1", "layer_norm2"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": PointBertLayer, "attentions": SelfAttention}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, PointBertEmbeddings):
            init.trunc_normal_(module.cls_token, std=self.config.initializer_range)
            if self.config.position_embedding == "every_block":
                init.trunc_normal_(module.cls_position, std=self.config.initializer_range)


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
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if config.final_norm else None
        self.projection = (
            nn.Linear(config.pooled_size, config.projection_dim, bias=config.projection_bias)
            if add_projection and config.projection_dim is not None
            else None
        )
        ends = {"layer_norm": self.layer_norm, "projection": self.projection}
        self._keep_in_fp32_modules_strict = [
            *PointBertPreTrainedModel._keep_in_fp32_modules_strict,
            *(name for name, module in ends.items() if module is not None),  # transformers takes what exists only
        ]
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self, point_values: torch.Tensor, output_patches: bool = False, **kwargs: Unpack[TransformersKwargs]
    ) -> PointBertOutput | tuple[torch.Tensor, ...]:
        r"""
        Args:
            point_values (`torch.Tensor` of shape `(batch, num_points, 6)`):
                xyz, centred and inside the unit sphere, up as in what the model was trained on (y, for ours), and rgb
                in 0..1 (0.4 where a cloud has no colour);
                [`PointCloudFeatureExtractor`] makes them. The order of the points decides which ones a crowded patch
                takes.
            output_patches (`bool`, defaults to `False`):
                Whether to return the patches' centres and members; see [`point_features`].

        Returns:
            [`PointBertOutput`], or a tuple with `return_dict=False`.

        Raises:
            ValueError: when `point_values` has another shape.
        """
        check_point_values(point_values)
        hidden_states, positions, patches = self.embeddings(point_values, output_patches)
        for layer in self.layers:
            hidden_states = layer(hidden_states, positions, **kwargs)
        with maybe_autocast(point_values.device.type, enabled=False):
            if self.layer_norm is not None:
                hidden_states = self.layer_norm(in_dtype_of(self.layer_norm, hidden_states))
            pooled = hidden_states[:, 0]
            if self.config.pooling == "cls_max":
                pooled = torch.cat([pooled, hidden_states[:, 1:].amax(dim=1)], dim=-1)
            embeds = None if self.projection is None else self.projection(in_dtype_of(self.projection, pooled))
        # Not self.dtype, which asks for parameters: DataParallel's replicas have none.
        dtype = self.embeddings.cls_token.dtype
        return PointBertOutput(
            last_hidden_state=hidden_states.to(dtype),
            pooler_output=pooled.to(dtype),
            point_embeds=embeds,
            patch_centers=patches[0] if output_patches else None,
            patch_members=patches[1] if output_patches else None,
        )

    def get_point_features(self, point_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        """The embedding of each cloud, not normalised: `(batch, projection_dim)`, or without projection the
        `pooler_output` `(batch, pooled_size)`. Arguments as for [`PointBertModel.forward`]."""
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
        self.classifier = nn.Linear(config.pooled_size, config.num_labels)
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
        logits = self.classifier(in_dtype_of(self.classifier, self.dropout(outputs.pooler_output)))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels, logits, self.config, **kwargs)
            num_items = kwargs.get("num_items_in_batch")
            if num_items is not None and self.config.problem_type != "single_label_classification":
                # Of these transformers' loss is a mean whatever it is told, and its Trainer would add means up.
                loss = loss * labels.numel() / num_items
        return ImageClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


__all__ = ["PointBertForShapeClassification", "PointBertModel", "PointBertOutput", "PointBertPreTrainedModel"]
