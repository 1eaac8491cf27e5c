"""MRD pretraining: PointBERT with the objective of Multi-modal Relation Distillation (arXiv 2407.14007)."""

from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_mrd import MRDConfig
from .configuration_point_bert import PointBertConfig
from .modeling_point_bert import PointBertModel, PointBertPreTrainedModel
from .relation_distillation import (
    RelationWeights,
    contrastive_loss,
    duplicate_pairs,
    jeffrey_divergence,
    pair_logits,
    relation_log_probs,
    self_pairs,
)


MAX_LOGIT_SCALE = 100.0  # as in CLIP
RELATION_TERMS = ("intra_image", "intra_text", "cross_image_text", "cross_text_image")


class Gather(Protocol):
    """Joins a tensor's rows over all processes, in order of rank, with gradients."""

    rank: int

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor: ...


@dataclass
class MRDForPretrainingOutput(ModelOutput):
    """
    Output of [`MRDForPretraining`]. Losses are means over this process's rows.

    Args:
        loss (`torch.Tensor`, scalar): `alignment_loss + relation_weight * relation_loss`.
        alignment_loss (`torch.Tensor`, scalar): Mean of the four cross-entropies between shapes, images and texts.
        relation_loss (`torch.Tensor`, scalar, *optional*): The weighted mean of the relation losses and the
            weights' entropy term. None where `relation_weight` is 0.
        relation_losses (`torch.Tensor` of shape `(4,)`, *optional*): Jeffrey divergence of each relation, in the
            order of `RELATION_TERMS`.
        relation_weights (`torch.Tensor` of shape `(4,)`, *optional*): Their weights; they sum to 4.
        point_embeds (`torch.Tensor` of shape `(batch, projection_dim)`): The shapes' embeddings, not normalised.
        logit_scale (`torch.Tensor`, scalar): Scale of the alignment's logits.
        hidden_states (`tuple(torch.Tensor)`, *optional*): The encoder's, as in [`PointBertOutput`].
        attentions (`tuple(torch.Tensor)`, *optional*): The encoder's, as in [`PointBertOutput`].
    """

    loss: torch.Tensor | None = None
    alignment_loss: torch.Tensor | None = None
    relation_loss: torch.Tensor | None = None
    relation_losses: torch.Tensor | None = None
    relation_weights: torch.Tensor | None = None
    point_embeds: torch.Tensor | None = None
    logit_scale: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class MRDObjective(nn.Module):
    """The loss and its learnable parameters: the alignment's scale and the weights of the relations."""

    def __init__(self, config: MRDConfig) -> None:
        super().__init__()
        self.config = config
        self.log_logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        # Without the relation loss its weights would be parameters that never get a gradient.
        self.relation_weights = (
            RelationWeights(len(RELATION_TERMS), config.weight_entropy) if config.relation_weight > 0 else None
        )

    def forward(
        self,
        point_embeds: torch.Tensor,
        image_embeds: torch.Tensor,
        text_embeds: torch.Tensor,
        gather: Gather | None = None,
    ) -> MRDForPretrainingOutput:
        with torch.autocast(point_embeds.device.type, enabled=False):  # similarities in bfloat16 are too coarse
            return self.compute(point_embeds.float(), image_embeds.float(), text_embeds.float(), gather)

    def compute(
        self,
        point_embeds: torch.Tensor,
        image_embeds: torch.Tensor,
        text_embeds: torch.Tensor,
        gather: Gather | None,
    ) -> MRDForPretrainingOutput:
        local = [nn.functional.normalize(e, dim=-1) for e in (point_embeds, image_embeds, text_embeds)]
        local[1:] = [e.detach() for e in local[1:]]  # nothing flows to the teacher
        joined = local if gather is None else [gather(e) for e in local]
        first_row = 0 if gather is None else gather.rank * local[0].shape[0]
        same = self_pairs(local[0].shape[0], joined[0].shape[0], first_row, local[0].device)

        scale = self.log_logit_scale.float().exp().clamp(max=MAX_LOGIT_SCALE)
        alignment_loss = self.alignment(local, joined, same, first_row, scale)
        if self.relation_weights is None:
            return MRDForPretrainingOutput(
                loss=alignment_loss,
                alignment_loss=alignment_loss,
                point_embeds=point_embeds,
                logit_scale=scale.detach(),
            )
        relation_losses = self.relations(local, joined, same)
        relation_loss, weights = self.relation_weights(relation_losses)
        return MRDForPretrainingOutput(
            loss=alignment_loss + self.config.relation_weight * relation_loss,
            alignment_loss=alignment_loss,
            relation_loss=relation_loss,
            relation_losses=relation_losses,
            relation_weights=weights,
            point_embeds=point_embeds,
            logit_scale=scale.detach(),
        )

    def alignment(
        self,
        local: list[torch.Tensor],
        joined: list[torch.Tensor],
        same: torch.Tensor,
        first_row: int,
        scale: torch.Tensor,
    ) -> torch.Tensor:
        """Symmetric InfoNCE of the shapes with their images and with their texts: the mean of four cross-entropies."""
        losses = []
        for teacher in (1, 2):
            excluded = duplicate_pairs(local[teacher], joined[teacher], same) if self.config.mask_duplicates else None
            for row, column in ((0, teacher), (teacher, 0)):
                logits = pair_logits(local[row], joined[column], scale, excluded)
                losses.append(contrastive_loss(logits, first_row))
        return torch.stack(losses).mean()

    def relations(self, local: list[torch.Tensor], joined: list[torch.Tensor], same: torch.Tensor) -> torch.Tensor:
        """The Jeffrey divergence of each of `RELATION_TERMS`: the teacher's relation against the one in which the
        shape takes the place of the row's modality (and, within one modality, of the column's too)."""
        point, image, text = range(3)
        # A sample alone has no other to relate to: with itself left out, too, every softmax would be empty.
        masked = self.config.mask_self_pairs and joined[point].shape[0] > 1
        losses = []
        for (row, column), (student_row, student_column) in (
            ((image, image), (point, point)),
            ((text, text), (point, point)),
            ((image, text), (point, text)),
            ((text, image), (point, image)),
        ):
            excluded = same if masked and row == column else None
            with torch.no_grad():
                target = relation_log_probs(local[row], joined[column], self.config.teacher_temperature, excluded)
            relation = relation_log_probs(
                local[student_row], joined[student_column], self.config.student_temperature, excluded
            )
            losses.append(jeffrey_divergence(target, relation, excluded))
        return torch.stack(losses)


class MRDPreTrainedModel(PreTrainedModel):
    config: MRDConfig
    base_model_prefix = "mrd"
    main_input_name = "point_values"
    input_modalities = ("point_cloud",)
    supports_gradient_checkpointing = True
    _no_split_modules = PointBertPreTrainedModel._no_split_modules
    _keep_in_fp32_modules_strict = ["objective"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MRDObjective):
            init.constant_(module.log_logit_scale, self.config.logit_scale_init_value)
        elif isinstance(module, RelationWeights):
            init.zeros_(module.logits)


class MRDForPretraining(MRDPreTrainedModel):
    """PointBERT trained towards a frozen image-text teacher, by alignment and by relation distillation.

    The teacher is not part of the model: its embeddings are inputs.
    """

    def __init__(self, config: MRDConfig) -> None:
        super().__init__(config)
        # The configuration has made it one. No isinstance: code loaded from the Hub has this class once for the
        # configuration's file and once more for this one.
        self.point_bert = PointBertModel(cast(PointBertConfig, config.point_config))
        self.objective = MRDObjective(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.point_bert.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.point_bert.set_input_embeddings(value)

    def get_point_features(self, point_values: torch.Tensor) -> torch.Tensor:
        """As [`PointBertModel.get_point_features`]."""
        return self.point_bert.get_point_features(point_values)

    @can_return_tuple
    def forward(
        self,
        point_values: torch.Tensor,
        image_embeds: torch.Tensor,
        text_embeds: torch.Tensor,
        gather: Gather | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MRDForPretrainingOutput | tuple[torch.Tensor, ...]:
        r"""
        Args:
            point_values (`torch.Tensor` of shape `(batch, num_points, 6)`): As for [`PointBertModel.forward`].
            image_embeds (`torch.Tensor` of shape `(batch, projection_dim)`):
                The teacher's embedding of an image of each shape.
            text_embeds (`torch.Tensor` of shape `(batch, projection_dim)`):
                The teacher's embedding of a text about each shape.
            gather (`Gather`, *optional*):
                Joins embeddings over processes, so that the loss sees the global batch.
                [`mrd_hf.training.distributed.DistributedGather`] is one.

        Returns:
            [`MRDForPretrainingOutput`], or a tuple with `return_dict=False`.

        Raises:
            ValueError: when the embeddings' shape is not that of the shapes' embeddings.

        Example:

        ```python
        >>> import torch
        >>> from mrd_hf import MRDConfig, MRDForPretraining

        >>> model = MRDForPretraining(MRDConfig(point_config={"projection_dim": 32, "num_hidden_layers": 2}))
        >>> output = model(torch.rand(4, 1024, 6), torch.randn(4, 32), torch.randn(4, 32))
        >>> output.loss.backward()
        ```
        """
        encoded = self.point_bert(point_values, return_dict=True, **kwargs)
        point_embeds = encoded.pooler_output if encoded.point_embeds is None else encoded.point_embeds
        for name, embeds in (("image_embeds", image_embeds), ("text_embeds", text_embeds)):
            if embeds.shape != point_embeds.shape:
                raise ValueError(
                    f"{name} must have shape {tuple(point_embeds.shape)}, as the shapes' embeddings have "
                    f"(point_config.projection_dim = {self.point_bert.config.projection_dim}), "
                    f"got {tuple(embeds.shape)}."
                )
        output = self.objective(point_embeds, image_embeds, text_embeds, gather)
        output.hidden_states, output.attentions = encoded.hidden_states, encoded.attentions
        return output


__all__ = ["RELATION_TERMS", "MRDForPretraining", "MRDForPretrainingOutput", "MRDPreTrainedModel"]
