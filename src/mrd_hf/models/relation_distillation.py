"""The pure functions of the MRD objective (arXiv 2407.14007): masks, contrastive terms, relations and divergences.

A relation is what one sample's embedding says about all others: a row of similarities turned into a distribution.
The student, 3D, takes over the teacher's relations. Rows are the *local* samples of a process, columns the *global*
ones of all processes in order of rank, so that no process holds more than (local x global) of them; with one process
both are the batch. Functions return values a row, never means over rows, so that rows can be taken in parts.

The paper names three forms of relation (normalised similarity, Euclidean distance, partial order), the Jeffrey
divergence, and relations within each modality and across pairs of them. Its formulas are read here as the docstrings
say; where its text leaves a choice open, the choice is a field of `MRDConfig`.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import nn


Modality = Literal["point", "image", "text"]
RelationForm = Literal["normalized_similarity", "euclidean", "partial_order"]
Divergence = Literal["jeffrey", "kl", "reverse_kl", "js"]

# The logarithm of a probability of zero: its exponential is exactly zero, and unlike minus infinity it can be
# subtracted from itself.
LOG_ZERO = -1e4
# A learned one does not get lower: as sharp as the logits of the alignment can get.
MIN_STUDENT_TEMPERATURE = 0.01
# Squared distance that is added to all, so that the distance of two equal embeddings has a gradient.
SQUARED_DISTANCE_FLOOR = 1e-6


class RelationTerm(NamedTuple):
    """One relation to distill: which modalities' rows and columns the teacher's has, and which the student's.

    Args:
        teacher (tuple of two modalities): Row and column of the teacher's relation.
        student (tuple of two modalities): The same with shapes in the place of the one, the other or both.
    """

    teacher: tuple[Modality, Modality]
    student: tuple[Modality, Modality]


# R^vv -> R^pp, R^tt -> R^pp; R^vt -> R^pt, R^tv -> R^pv, where the shape takes the row's place; then the column's.
RELATION_TERMS: dict[str, RelationTerm] = {
    "intra_image": RelationTerm(("image", "image"), ("point", "point")),
    "intra_text": RelationTerm(("text", "text"), ("point", "point")),
    "cross_image_text": RelationTerm(("image", "text"), ("point", "text")),
    "cross_text_image": RelationTerm(("text", "image"), ("point", "image")),
    "cross_image_text_transposed": RelationTerm(("image", "text"), ("image", "point")),
    "cross_text_image_transposed": RelationTerm(("text", "image"), ("text", "point")),
}


def is_intra(term: str) -> bool:
    """Whether a term's teacher is a relation within one modality."""
    row, column = RELATION_TERMS[term].teacher
    return row == column


def self_pairs(num_rows: int, num_columns: int, first_row: int, device: torch.device) -> torch.Tensor:
    """Where row i and column j are the same sample: `(num_rows, num_columns)`, bool.

    Args:
        num_rows (`int`): Rows at hand.
        num_columns (`int`): Size of the global batch.
        first_row (`int`): Position of the first row in the global batch.
        device (`torch.device`)
    """
    row = torch.arange(first_row, first_row + num_rows, device=device)
    return row[:, None] == torch.arange(num_columns, device=device)


def duplicate_pairs(similarities: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """Where another sample has the same teacher embedding (the same text, the same image): a false negative.

    Two embeddings count as one when their cosine is 1 up to the rounding of float16 storage.

    Args:
        similarities (`torch.Tensor` of shape `(num_rows, num_columns)`): Cosines within one of the teacher's
            modalities.
        same (`torch.BoolTensor` of shape `(num_rows, num_columns)`): From [`self_pairs`]; these do not count.
    """
    return (similarities > 1 - 1e-5) & ~same


def contrastive_losses(
    similarities: torch.Tensor, scale: torch.Tensor | float, first_row: int, masked: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """InfoNCE (arXiv 1807.03748): `-log softmax_j(scale * s_ij)` at the row's own column.

    Args:
        similarities (`torch.Tensor` of shape `(num_rows, num_columns)`)
        scale (`torch.Tensor` or `float`): Inverse temperature.
        first_row (`int`): Column of the first row's partner.
        masked (`torch.BoolTensor` of shape `(num_rows, num_columns)`, *optional*): Pairs that are no negatives.

    Returns:
        Two `torch.Tensor`s of shape `(num_rows,)`: the losses, and whether the partner is the most similar column (a
        retrieval within the batch; among equals the first counts).
    """
    logits = similarities * scale
    if masked is not None:
        logits = logits.masked_fill(masked, -torch.inf)
    targets = torch.arange(first_row, first_row + logits.shape[0], device=logits.device)
    losses = nn.functional.cross_entropy(logits, targets, reduction="none")
    return losses, logits.detach().argmax(dim=1) == targets


def masked_log_softmax(logits: torch.Tensor, masked: torch.Tensor | None) -> torch.Tensor:
    """`log softmax` over the columns that are not `masked`; `LOG_ZERO` at those that are, even all of a row."""
    if masked is None:
        return logits.log_softmax(dim=-1)
    # A softmax of nothing is no number, nor is its gradient: the fillings replace both.
    return logits.masked_fill(masked, -torch.inf).log_softmax(dim=-1).masked_fill(masked, LOG_ZERO)


def normalized_similarity(
    similarities: torch.Tensor, temperature: torch.Tensor | float, masked: torch.Tensor | None = None
) -> torch.Tensor:
    """The relation `R_ij = softmax_j(s_ij / temperature)`, as logarithms.

    Args:
        similarities (`torch.Tensor` of shape `(num_rows, num_columns)`): Cosines `s_ij = <a_i, b_j>`.
        temperature (`torch.Tensor` or `float`)
        masked (`torch.BoolTensor` of shape `(num_rows, num_columns)`, *optional*): Pairs without a relation.

    Source: the paper's normalised similarity.
    """
    return masked_log_softmax(similarities / temperature, masked)


def euclidean(
    similarities: torch.Tensor, temperature: torch.Tensor | float, masked: torch.Tensor | None = None
) -> torch.Tensor:
    """The relation `R_ij = softmax_j(-d_ij / temperature)` of distances, as logarithms.

    Of L2-normalised embeddings, so `d_ij = sqrt(2 - 2 s_ij + 1e-6)`. The distance itself, not its square, which would
    be the normalised similarity at half the temperature.

    Arguments as for [`normalized_similarity`]. Source: the paper's Euclidean distance; that it becomes a distribution
    in the same way is our reading.
    """
    distances = ((2 - 2 * similarities).clamp(min=0) + SQUARED_DISTANCE_FLOOR).sqrt()
    return masked_log_softmax(-distances / temperature, masked)


def partial_order(similarities: torch.Tensor, temperature: torch.Tensor | float) -> torch.Tensor:
    """For each row i, which of two columns is the more similar: `R_ij = sigmoid((s_ij - s_i,j+stride) / temperature)`
    and `1 - R_ij`, as logarithms, for all [`comparison_strides`]; columns are counted round the end.

    Args:
        similarities (`torch.Tensor` of shape `(num_rows, num_columns)`)
        temperature (`torch.Tensor` or `float`)

    Returns:
        `torch.Tensor` of shape `(num_rows, num_strides, num_columns, 2)`.

    Source: the paper's partial order. It compares samples by pairs; all pairs of columns would be cubic in the batch,
    so, in our reading, each is compared with those a power of two away: an order that is partial.
    """
    strides = comparison_strides(similarities.shape[1])
    others = torch.stack([similarities.roll(-stride, dims=1) for stride in strides], dim=1)
    margins = (similarities[:, None] - others) / temperature
    return nn.functional.logsigmoid(torch.stack([margins, -margins], dim=-1))


def comparison_strides(num_columns: int) -> list[int]:
    """How far apart columns are that [`partial_order`] compares: 1, 2, 4, ... below `num_columns`."""
    return [2**k for k in range(max(0, (num_columns - 1).bit_length()))]


def divergence(kind: Divergence, teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """How far the student's distribution Q is from the teacher's P, over the last dimension.

    - `jeffrey`: `KL(P||Q) + KL(Q||P) = sum (P - Q)(log P - log Q)`, the paper's;
    - `kl`: `KL(P||Q) = sum P (log P - log Q)`, of knowledge distillation (arXiv 1503.02531);
    - `reverse_kl`: `KL(Q||P)`;
    - `js`: Jensen-Shannon, `(KL(P||M) + KL(Q||M)) / 2` with `M = (P + Q) / 2`.

    Args:
        kind (`str`)
        teacher (`torch.Tensor` of shape `(..., n)`): log P.
        student (`torch.Tensor` of shape `(..., n)`): log Q.

    Returns:
        `torch.Tensor` of shape `(...)`.
    """
    if kind == "jeffrey":
        return ((teacher.exp() - student.exp()) * (teacher - student)).sum(dim=-1)
    if kind == "kl":
        return (teacher.exp() * (teacher - student)).sum(dim=-1)
    if kind == "reverse_kl":
        return (student.exp() * (student - teacher)).sum(dim=-1)
    middle = torch.logaddexp(teacher, student) - math.log(2)
    return (teacher.exp() * (teacher - middle) + student.exp() * (student - middle)).sum(dim=-1) / 2


def relation_losses(
    form: RelationForm,
    kind: Divergence,
    teachers: list[torch.Tensor],
    student: torch.Tensor,
    teacher_temperature: float,
    student_temperature: torch.Tensor | float,
    log_shares: torch.Tensor | None = None,
    masked: torch.Tensor | None = None,
) -> torch.Tensor:
    """Divergence of the student's relation from the teacher's, for each row.

    Args:
        form (`str`): The relation's.
        kind (`str`): The divergence.
        teachers (list of `torch.Tensor` of shape `(num_rows, num_columns)`):
            Similarities of the teacher; of several, the target is their relations' mixture.
        student (`torch.Tensor` of shape `(num_rows, num_columns)`): Similarities of the student.
        teacher_temperature (`float`)
        student_temperature (`torch.Tensor` or `float`)
        log_shares (`torch.Tensor` of shape `(len(teachers),)`, *optional*):
            Logarithms of the teachers' shares of the mixture, which sum to 1. None for a single teacher.
        masked (`torch.BoolTensor` of shape `(num_rows, num_columns)`, *optional*): Pairs without a relation.

    Returns:
        `torch.Tensor` of shape `(num_rows,)`. Zero for a row that has no pairs left. For partial orders, the mean over
        the row's comparisons.
    """
    if form != "partial_order":
        relation = normalized_similarity if form == "normalized_similarity" else euclidean
        targets = [relation(teacher, teacher_temperature, masked) for teacher in teachers]
        return divergence(kind, _mixture(targets, log_shares), relation(student, student_temperature, masked))
    if student.shape[1] == 1:
        return student.sum(dim=1) * 0.0  # nothing to compare
    targets = [partial_order(teacher, teacher_temperature) for teacher in teachers]
    found = divergence(kind, _mixture(targets, log_shares), partial_order(student, student_temperature))
    if masked is None:
        return found.mean(dim=(1, 2))
    strides = comparison_strides(student.shape[1])
    compared = ~torch.stack([masked | masked.roll(-stride, dims=1) for stride in strides], dim=1)
    return (found * compared).sum(dim=(1, 2)) / compared.sum(dim=(1, 2)).clamp(min=1)


def _mixture(log_probs: list[torch.Tensor], log_shares: torch.Tensor | None) -> torch.Tensor:
    if log_shares is None:
        return log_probs[0]
    parts = [share + relation for share, relation in zip(log_shares, log_probs, strict=True)]
    return torch.logsumexp(torch.stack(parts), dim=0)


__all__ = [
    "MIN_STUDENT_TEMPERATURE",
    "RELATION_TERMS",
    "Divergence",
    "Modality",
    "RelationForm",
    "RelationTerm",
    "comparison_strides",
    "contrastive_losses",
    "divergence",
    "duplicate_pairs",
    "euclidean",
    "is_intra",
    "masked_log_softmax",
    "normalized_similarity",
    "partial_order",
    "relation_losses",
    "self_pairs",
]
