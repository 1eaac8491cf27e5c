"""The MRD objective: contrastive alignment and relation distillation over the global batch, and its few parameters."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_mrd import MRDConfig
from .float32_products import exact_float32_products
from .relation_distillation import (
    MIN_STUDENT_TEMPERATURE,
    RELATION_TERMS,
    Modality,
    comparison_strides,
    contrastive_losses,
    duplicate_pairs,
    is_intra,
    relation_losses,
    self_pairs,
)
from .relation_weighting import RelationWeights


ALIGNMENT_TERMS: tuple[tuple[Modality, Modality], ...] = (
    ("point", "image"),
    ("image", "point"),
    ("point", "text"),
    ("text", "point"),
)
MAX_LOGIT_SCALE = 100.0  # as in CLIP
# Where the learned logarithms are held; nearer by a rounding than the limits, beyond which there is no gradient.
MAX_LOG_LOGIT_SCALE = math.log(MAX_LOGIT_SCALE) - 1e-6
MIN_LOG_STUDENT_TEMPERATURE = math.log(MIN_STUDENT_TEMPERATURE) + 1e-6
# Pairs of samples that are worked on at a time: 32 MiB a matrix in float32, of which a part needs a few dozen. Smaller
# ones glibc before 2.38 takes from a heap that it does not fill again, so memory would grow with the number of parts.
PAIRS_AT_ONCE = 2**23


class Gather(Protocol):
    """Joins the rows of tensors over all processes, in order of rank, with gradients."""

    world_size: int

    def __call__(self, *tensors: torch.Tensor) -> tuple[list[torch.Tensor], int]:
        """The joined tensors, and the position of this process's first row in them."""
        ...


@dataclass
class MRDForPretrainingOutput(ModelOutput):
    """
    Output of [`MRDForPretraining`]. A loss is this process's share of the global one: its mean over processes is the
    mean over the global batch.

    Args:
        loss (`torch.Tensor`, scalar): `alignment_loss + relation_weight * (relation_loss + weighting_loss)`.
        alignment_loss (`torch.Tensor`, scalar): Mean of the four `alignment_losses`.
        alignment_losses (`torch.Tensor` of shape `(4,)`): Cross-entropies, in the order of `ALIGNMENT_TERMS`.
        retrieval_accuracies (`torch.Tensor` of shape `(4,)`):
            How often the partner is the most similar one of the batch, in the same order.
        logit_scale (`torch.Tensor`, scalar): Scale of the alignment's logits.
        relation_loss (`torch.Tensor`, scalar, *optional*):
            Weighted mean of the `relation_losses`. None, as all that follows but the last three, with
            `loss="contrastive"`.
        weighting_loss (`torch.Tensor`, scalar, *optional*): What the weights cost, see [`RelationWeights`].
        relation_losses (`torch.Tensor` of shape `(num_losses,)`, *optional*):
            Divergence of each relation, in the order of [`MRDObjective.loss_names`].
        relation_weights (`torch.Tensor` of shape `(num_terms,)`, *optional*):
            In the order of `config.relation_terms`.
        teacher_temperature (`torch.Tensor`, scalar, *optional*): Of the teacher's relations.
        student_temperature (`torch.Tensor`, scalar, *optional*): Of the 3D relations.
        point_embeds (`torch.Tensor` of shape `(batch, projection_dim)`): The shapes' embeddings, not normalised.
        hidden_states (`tuple(torch.Tensor)`, *optional*): The encoder's, as in [`PointBertOutput`].
        attentions (`tuple(torch.Tensor)`, *optional*): The encoder's, as in [`PointBertOutput`].
    """

    loss: torch.Tensor | None = None
    alignment_loss: torch.Tensor | None = None
    alignment_losses: torch.Tensor | None = None
    retrieval_accuracies: torch.Tensor | None = None
    logit_scale: torch.Tensor | None = None
    relation_loss: torch.Tensor | None = None
    weighting_loss: torch.Tensor | None = None
    relation_losses: torch.Tensor | None = None
    relation_weights: torch.Tensor | None = None
    teacher_temperature: torch.Tensor | None = None
    student_temperature: torch.Tensor | None = None
    point_embeds: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class MRDObjective(nn.Module):
    """
    The loss and its learnable parameters: the alignment's scale, the weights of the relations and, if it is to be
    learned, the student's temperature.

    It is evaluated in float32 at least, whatever the autocast, its values without TF32, and in parts of rows, so that
    of a large batch no more than `PAIRS_AT_ONCE` pairs are in memory at a time: a part's similarities are computed
    again in the backward pass.

    Args:
        config ([`MRDConfig`])
    """

    def __init__(self, config: MRDConfig) -> None:
        super().__init__()
        self.config = config
        self.log_logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        # Parameters that no loss reads would never get a gradient, which distributed training does not forgive.
        distills = config.loss == "mrd"
        learns_temperature = distills and config.learn_student_temperature
        self.log_student_temperature = nn.Parameter(torch.zeros(())) if learns_temperature else None
        self.terms = list(config.relation_terms) if distills else []
        self.groups = _groups(self.terms, joined=config.relation_weighting == "target")
        self.relation_weights = (
            RelationWeights(
                config.relation_weighting,
                self.groups,
                config.weight_entropy,
                list(config.fixed_relation_weights or [1.0] * len(self.terms)),
                _families(self.terms) if config.relation_weighting == "intra_cross" else None,
            )
            if distills
            else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Give the learnable numbers the values that the configuration says they begin with."""
        init.constant_(self.log_logit_scale, self.config.logit_scale_init_value)
        if self.log_student_temperature is not None:
            init.constant_(self.log_student_temperature, math.log(self.config.student_temperature))
        if self.relation_weights is not None and self.relation_weights.logits is not None:
            init.zeros_(self.relation_weights.logits)

    @property
    def loss_names(self) -> list[str]:
        """Of the `relation_losses`: the term's, or of several that are one loss, `intra_image+intra_text`."""
        return ["+".join(self.terms[term] for term in group) for group in self.groups]

    def forward(
        self,
        point_embeds: torch.Tensor,
        image_embeds: torch.Tensor,
        text_embeds: torch.Tensor,
        gather: Gather | None = None,
    ) -> MRDForPretrainingOutput:
        """
        Args:
            point_embeds, image_embeds, text_embeds (`torch.Tensor` of shape `(num_rows, embedding_dim)`):
                Embeddings of this process's part of the batch, in any floating point type, normalised or not.
            gather (`Gather`, *optional*): Joins the parts of several processes.
        """
        embeds = (point_embeds, image_embeds, text_embeds)
        with torch.autocast(point_embeds.device.type, enabled=False):  # similarities in bfloat16 are too coarse
            return self.compute([e if e.dtype == torch.float64 else e.float() for e in embeds], gather)

    def compute(self, embeds: list[torch.Tensor], gather: Gather | None) -> MRDForPretrainingOutput:
        if self.training:
            self.hold_in_range()
        rows = [nn.functional.normalize(e, dim=-1) for e in embeds]
        rows[1:] = [e.detach() for e in rows[1:]]  # nothing flows to the teacher
        columns, first_row = (rows, 0) if gather is None else gather(*rows)
        num_rows, num_columns = rows[0].shape[0], columns[0].shape[0]
        scale = self.log_logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
        temperature = self.student_temperature()

        part_size = math.ceil(self.pairs_at_once(num_columns) / num_columns)
        sums = []
        for begin in range(0, num_rows, part_size):
            part = [e[begin : begin + part_size] for e in rows]
            arguments = (part, columns, first_row + begin, scale, temperature)
            if num_rows <= part_size:
                sums.append(self.row_sums(*arguments))
            else:
                sums.append(checkpoint(self.row_sums, *arguments, use_reentrant=False, preserve_rng_state=False))
        # Processes may have unequal parts, so a mean over rows here would not be one over the batch.
        world_size = 1 if gather is None else gather.world_size
        means = torch.stack(sums).sum(dim=0) * (world_size / num_columns)
        alignment_losses, accuracies, distillation_losses = means.split([4, 4, len(self.groups)])
        alignment_loss = alignment_losses.mean()
        output = MRDForPretrainingOutput(
            loss=alignment_loss,
            alignment_loss=alignment_loss,
            alignment_losses=alignment_losses,
            retrieval_accuracies=accuracies.detach(),
            logit_scale=scale.detach(),
        )
        if self.relation_weights is not None:
            relation_loss, weighting_loss, weights = self.relation_weights(distillation_losses)
            output.loss = alignment_loss + self.config.relation_weight * (relation_loss + weighting_loss)
            output.relation_loss, output.weighting_loss = relation_loss, weighting_loss
            output.relation_losses, output.relation_weights = distillation_losses, weights
            output.teacher_temperature = scale.new_full((), self.config.effective_teacher_temperature)
            output.student_temperature = temperature.detach()
        return output

    @torch.no_grad()
    def hold_in_range(self) -> None:
        """Bring back what the optimizer has moved out of its range, from where no gradient would."""
        self.log_logit_scale.clamp_(max=MAX_LOG_LOGIT_SCALE)
        if self.log_student_temperature is not None:
            self.log_student_temperature.clamp_(min=MIN_LOG_STUDENT_TEMPERATURE)

    def student_temperature(self) -> torch.Tensor:
        if self.log_student_temperature is None:
            return self.log_logit_scale.new_full((), self.config.student_temperature)
        return self.log_student_temperature.exp().clamp(min=MIN_STUDENT_TEMPERATURE)

    def pairs_at_once(self, num_columns: int) -> int:
        """How many pairs a part may have. A partial order makes several comparisons of each."""
        if self.config.loss == "mrd" and self.config.relation_form == "partial_order":
            return math.ceil(PAIRS_AT_ONCE / max(1, len(comparison_strides(num_columns))))
        return PAIRS_AT_ONCE

    @exact_float32_products()  # or equal embeddings would not be found; here, so when the backward pass repeats it
    def row_sums(
        self,
        rows: list[torch.Tensor],
        columns: list[torch.Tensor],
        first_row: int,
        scale: torch.Tensor,
        student_temperature: torch.Tensor,
    ) -> torch.Tensor:
        """Sums over rows of the alignment's losses, its retrievals and the relations' losses, one after the other."""
        similarities = Similarities(rows, columns)
        same = self_pairs(rows[0].shape[0], columns[0].shape[0], first_row, rows[0].device)
        duplicates = {m: duplicate_pairs(similarities[m, m], same) for m in self.modalities_with_duplicates()}
        losses, hits = [], []
        for row, column in ALIGNMENT_TERMS:
            masked = duplicates[row if column == "point" else column] if self.config.mask_duplicates else None
            loss, hit = contrastive_losses(similarities[row, column], scale, first_row, masked)
            losses.append(loss.sum())
            hits.append(hit.sum())
        coinciding = duplicates["image"] | duplicates["text"] if self.masks_duplicate_relations else None
        for index, group in enumerate(self.groups):
            terms = [RELATION_TERMS[self.terms[term]] for term in group]
            masked = coinciding
            if self.config.mask_self_pairs and terms[0].student[0] == terms[0].student[1]:
                masked = same if masked is None else masked | same
            losses.append(
                relation_losses(
                    self.config.relation_form,
                    self.config.relation_divergence,
                    [similarities[term.teacher] for term in terms],
                    similarities[terms[0].student],
                    self.config.effective_teacher_temperature,
                    student_temperature,
                    self.relation_weights.log_shares(index) if self.relation_weights is not None else None,
                    masked,
                ).sum()
            )
        return torch.stack([*losses[:4], *(hit.to(losses[0].dtype) for hit in hits), *losses[4:]])

    @property
    def masks_duplicate_relations(self) -> bool:
        return self.config.loss == "mrd" and self.config.mask_duplicate_relations

    def modalities_with_duplicates(self) -> tuple[Modality, ...]:
        return ("image", "text") if self.config.mask_duplicates or self.masks_duplicate_relations else ()


class Similarities:
    """Cosines of rows and columns of each pair of modalities, computed when they are first asked for.

    Args:
        rows (list of `torch.Tensor` of shape `(num_rows, embedding_dim)`): Shapes, images, texts; L2-normalised.
        columns (list of `torch.Tensor` of shape `(num_columns, embedding_dim)`): The same of the global batch.
    """

    def __init__(self, rows: list[torch.Tensor], columns: list[torch.Tensor]) -> None:
        names: tuple[Modality, ...] = ("point", "image", "text")
        self.rows = dict(zip(names, rows, strict=True))
        self.columns = dict(zip(names, columns, strict=True))
        self.known: dict[tuple[Modality, Modality], torch.Tensor] = {}

    def __getitem__(self, pair: tuple[Modality, Modality]) -> torch.Tensor:
        if pair not in self.known:
            self.known[pair] = self.rows[pair[0]] @ self.columns[pair[1]].T
        return self.known[pair]


def _groups(terms: list[str], joined: bool) -> list[list[int]]:
    """Which terms make up each loss: one each, or if `joined` all that share the student's relation."""
    if not joined:
        return [[index] for index in range(len(terms))]
    groups: dict[tuple[Modality, Modality], list[int]] = {}
    for index, term in enumerate(terms):
        groups.setdefault(RELATION_TERMS[term].student, []).append(index)
    return list(groups.values())


def _families(terms: list[str]) -> list[list[int]]:
    """The terms within one modality, and those across two."""
    intra = [index for index, term in enumerate(terms) if is_intra(term)]
    return [intra, [index for index in range(len(terms)) if index not in intra]]


__all__ = ["ALIGNMENT_TERMS", "Gather", "MRDForPretrainingOutput", "MRDObjective"]
