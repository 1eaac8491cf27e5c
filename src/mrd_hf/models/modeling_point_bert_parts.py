"""Part segmentation: which part of its object each point belongs to, by PointBERT and a head on its patch tokens.

After Point-BERT (arXiv 2111.14819): tokens of three depths are carried to the points by inverse distances, beside a
feature of the whole cloud and the object's class. What differs: each depth has a norm of its own, the layer over all
of these is computed once a patch or cloud where it can be, its norms are layer norms, and a point's own coordinates
and colours go through a small MLP, so that parts can end within a patch.
"""

import torch
from torch import nn
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import maybe_install_capturing_hooks

from .configuration_point_bert import PointBertConfig
from .encoder_layers import POINT_CHANNELS
from .modeling_point_bert import PointBertModel, PointBertOutput, PointBertPreTrainedModel
from .point_features import point_features


POINT_HIDDEN_SIZE = 64


class PartSegmentationHead(nn.Module):
    """Logits of each point from tokens of the patches, the pooled cloud, the object's class and the point itself.

    Args:
        config (`PointBertConfig`)
        num_depths (`int`): Of how many of the encoder's depths there are tokens.
    """

    def __init__(self, config: PointBertConfig, num_depths: int) -> None:
        super().__init__()
        width = config.part_hidden_size
        norms = (nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) for _ in range(num_depths))
        self.depth_norms = nn.ModuleList(norms)
        # One linear layer over everything that a point knows, in four pieces.
        self.patch_linear = nn.Linear(num_depths * config.hidden_size, width)
        self.cloud_norm = nn.LayerNorm(2 * config.hidden_size, eps=config.layer_norm_eps)
        self.cloud_linear = nn.Linear(2 * config.hidden_size, width, bias=False)
        self.object_embedding = nn.Embedding(len(config.object_parts), width) if config.object_parts else None
        self.point_linear1 = nn.Linear(POINT_CHANNELS, POINT_HIDDEN_SIZE)
        self.point_linear2 = nn.Linear(POINT_HIDDEN_SIZE, width, bias=False)
        self.norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.linear = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(width, config.num_labels)

    def forward(
        self,
        depths: list[torch.Tensor],
        centers: torch.Tensor,
        point_values: torch.Tensor,
        object_classes: torch.Tensor | None,
    ) -> torch.Tensor:
        """Tokens `(batch, 1 + num_patches, hidden_size)` of each depth, centres `(batch, num_patches, 3)`, points
        `(batch, num_points, 6)` and classes `(batch,)` to logits `(batch, num_points, num_labels)`."""
        dtype = self.classifier.weight.dtype
        # The encoder keeps its own norms in float32; these are in the head's precision.
        tokens = [norm(depth.to(dtype)) for norm, depth in zip(self.depth_norms, depths, strict=True)]
        # Before it is carried to the points, which are many more than the patches.
        patches = self.patch_linear(torch.cat([token[:, 1:] for token in tokens], dim=-1))
        features = point_features(patches, centers, point_values)
        pooled = torch.cat([tokens[-1][:, 0], tokens[-1][:, 1:].amax(dim=1)], dim=-1)
        cloud = self.cloud_linear(self.cloud_norm(pooled))
        if self.object_embedding is not None and object_classes is not None:
            known = (object_classes >= 0).to(dtype)[:, None]
            cloud = cloud + known * self.object_embedding(object_classes.clamp(min=0))
        own = self.point_linear2(nn.functional.gelu(self.point_linear1(point_values.to(dtype))))
        features = nn.functional.gelu(self.norm1(features + cloud[:, None] + own))
        features = nn.functional.gelu(self.norm2(self.linear(features)))
        return self.classifier(self.dropout(features))


def selected_states(
    states: tuple[torch.Tensor, ...], selection: bool | int | list[int] | None
) -> tuple[torch.Tensor | None, ...] | None:
    """What a caller asked for by `output_hidden_states`, as transformers' models give it, of all hidden states."""
    if isinstance(selection, bool) or selection is None:
        return states if selection else None
    kept = {index % len(states) for index in ([selection] if isinstance(selection, int) else selection)}
    return tuple(state if index in kept else None for index, state in enumerate(states))


class PointBertForPartSegmentation(PointBertPreTrainedModel):
    """PointBERT with a head that says which part each point belongs to, to be fine-tuned on shapes with known parts.

    `from_pretrained` of a folder of [`PointBertModel`] loads the encoder and starts with a new head; its projection
    into the teacher's space is left out. `config.id2label` has the parts' names, and `config.object_parts` says which
    of them an object of each class can have.
    """

    # The encoder's projection is dropped on purpose: do not report it.
    _keys_to_ignore_on_load_unexpected = [r"^(point_bert\.)?projection\."]
    # The loss is a mean over the points that count; `Trainer` then divides accumulated gradients itself.
    accepts_loss_kwargs = False

    def __init__(self, config: PointBertConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.point_bert = PointBertModel(config, add_projection=False)
        # After each third of the blocks, as far as they are different ones.
        layers = config.num_hidden_layers
        self.depths = sorted({max(1, round(layers * third / 3)) for third in (1, 2, 3)})
        self.head = PartSegmentationHead(config, len(self.depths))
        self.post_init()
        # As the forward pass does, but once and here: replicas of DataParallel would each hang their own into what
        # they share, and hidden states would be captured several times.
        maybe_install_capturing_hooks(self.point_bert)

    @can_return_tuple
    def forward(
        self,
        point_values: torch.Tensor,
        object_classes: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SemanticSegmenterOutput | tuple[torch.Tensor, ...]:
        r"""
        Args:
            point_values (`torch.Tensor` of shape `(batch, num_points, 6)`): As for [`PointBertModel.forward`].
            object_classes (`torch.LongTensor` of shape `(batch,)`, *optional*):
                The class of each object, as an index into `config.object_class_names`; -1 where it is not known.
                Without any the head says parts of what it sees.
            labels (`torch.LongTensor` of shape `(batch, num_points)`, *optional*):
                The part of each point; `config.semantic_loss_ignore_index` where it is not known.
            output_hidden_states (`bool`, `int` or `list[int]`, *optional*):
                Whether to return the encoder's hidden states; of numbers those alone, and None for the others.

        Returns:
            [`~transformers.modeling_outputs.SemanticSegmenterOutput`] with `logits` of shape
            `(batch, num_labels, num_points)`, or a tuple with `return_dict=False`. The loss is the mean cross-entropy
            over the points that have a label.

        Raises:
            ValueError: when `point_values` or `labels` have another shape, or classes are given and the configuration
                has none.

        Example:

        ```python
        >>> import torch
        >>> from mrd_hf import PointBertConfig, PointBertForPartSegmentation

        >>> parts = {"chair": [0, 1, 2], "lamp": [3, 4]}
        >>> config = PointBertConfig(num_hidden_layers=3, num_labels=5, object_parts=parts)
        >>> model = PointBertForPartSegmentation(config)
        >>> output = model(torch.rand(2, 1024, 6), object_classes=torch.tensor([0, 1]))
        >>> output.logits.shape
        torch.Size([2, 5, 1024])
        ```
        """
        if object_classes is not None and self.config.object_parts is None:
            raise ValueError(
                "object_classes are given, and config.object_parts does not say which classes there are; set it, or "
                "leave object_classes out."
            )
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        outputs: PointBertOutput = self.point_bert(
            point_values, output_patches=True, output_hidden_states=True, return_dict=True, **kwargs
        )
        hidden_states = outputs.hidden_states or ()
        depths = [hidden_states[depth] for depth in self.depths]
        logits = self.head(depths, outputs.patch_centers, point_values, object_classes).transpose(1, 2).contiguous()
        loss = None
        if labels is not None:
            if labels.shape != point_values.shape[:2]:
                raise ValueError(
                    f"labels must have shape {tuple(point_values.shape[:2])}, one a point, got {tuple(labels.shape)}."
                )
            ignored = self.config.semantic_loss_ignore_index
            loss = nn.functional.cross_entropy(logits.float(), labels, ignore_index=ignored)
        return SemanticSegmenterOutput(
            loss=loss,
            logits=logits,
            hidden_states=selected_states(hidden_states, output_hidden_states),
            attentions=outputs.attentions,
        )

    def most_likely_parts(self, logits: torch.Tensor, object_classes: torch.Tensor | None = None) -> torch.Tensor:
        """The part of each point that has the largest logit.

        Args:
            logits (`torch.Tensor` of shape `(batch, num_labels, num_points)`)
            object_classes (`torch.LongTensor` of shape `(batch,)`, *optional*):
                The class of each object: then only the parts that `config.object_parts` has for it are chosen from, as
                the field's benchmarks do. Of -1 all are.

        Returns:
            `torch.LongTensor` of shape `(batch, num_points)`.
        """
        object_parts = self.config.object_parts
        if object_classes is not None and object_parts is not None:
            # The last row is that of -1.
            allowed = torch.zeros(len(object_parts) + 1, self.num_labels, dtype=torch.bool)
            allowed[-1] = True
            for row, name in enumerate(self.config.object_class_names):
                allowed[row, object_parts[name]] = True
            mask = allowed.to(logits.device)[object_classes.to(logits.device)]
            logits = logits.masked_fill(~mask[:, :, None], -torch.inf)
        return logits.argmax(dim=1)


__all__ = ["PointBertForPartSegmentation"]
