"""The parts of the MRD objective (arXiv 2407.14007): alignment, relations, their divergence and their weights.

Every function takes the *local* rows of a process and the *global* columns of all processes, in order of rank; with
one process both are the batch. All of them compute in float32 at least, whatever the autocast.

Notation: p, v, t are L2-normalised embeddings of shapes, images and texts.
"""

import math

import torch
from torch import nn


def pair_logits(
    rows: torch.Tensor, columns: torch.Tensor, scale: torch.Tensor | float, excluded: torch.Tensor | None = None
) -> torch.Tensor:
    """Scaled similarities `scale * <rows_i, columns_j>`, minus infinity where `excluded`.

    Args:
        rows (`torch.Tensor` of shape `(num_rows, width)`)
        columns (`torch.Tensor` of shape `(num_columns, width)`)
        scale (`torch.Tensor` or `float`): Inverse temperature.
        excluded (`torch.BoolTensor` of shape `(num_rows, num_columns)`, *optional*)
    """
    logits = (rows @ columns.T) * scale
    return logits if excluded is None else logits.masked_fill(excluded, -torch.inf)


def self_pairs(num_rows: int, num_columns: int, first_row: int, device: torch.device) -> torch.Tensor:
    """Where row i and column j are the same sample: `(num_rows, num_columns)`, bool.

    Args:
        num_rows (`int`): Size of this process's batch.
        num_columns (`int`): Size of the global batch.
        first_row (`int`): Position of this process's first row in the global batch.
        device (`torch.device`)
    """
    row = torch.arange(first_row, first_row + num_rows, device=device)
    return row[:, None] == torch.arange(num_columns, device=device)


def duplicate_pairs(rows: torch.Tensor, columns: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """Where another sample has the same teacher embedding (the same text, the same image): a false negative.

    Two embeddings count as one when their cosine is 1 up to the rounding of float16 storage.

    Args:
        rows, columns (`torch.Tensor` of shape `(n, width)`): Normalised embeddings of one modality.
        same (`torch.BoolTensor` of shape `(num_rows, num_columns)`): From [`self_pairs`]; these stay.
    """
    return (rows @ columns.T > 1 - 1e-5) & ~same


def contrastive_loss(logits: torch.Tensor, first_row: int) -> torch.Tensor:
    """InfoNCE: cross-entropy of each row against its own column, the mean over rows.

    Args:
        logits (`torch.Tensor` of shape `(num_rows, num_columns)`): From [`pair_logits`].
        first_row (`int`): Column of the first row's partner.
    """
    targets = torch.arange(first_row, first_row + logits.shape[0], device=logits.device)
    return nn.functional.cross_entropy(logits, targets)


def relation_log_probs(
    rows: torch.Tensor, columns: torch.Tensor, temperature: float, excluded: torch.Tensor | None = None
) -> torch.Tensor:
    """Logarithm of the normalised-similarity relation, `log softmax_j(<rows_i, columns_j> / temperature)`.

    Args:
        rows (`torch.Tensor` of shape `(num_rows, width)`)
        columns (`torch.Tensor` of shape `(num_columns, width)`)
        temperature (`float`)
        excluded (`torch.BoolTensor` of shape `(num_rows, num_columns)`, *optional*): Pairs without a relation; minus
            infinity in the result.
    """
    return pair_logits(rows, columns, 1 / temperature, excluded).log_softmax(dim=-1)


def jeffrey_divergence(
    teacher: torch.Tensor, student: torch.Tensor, excluded: torch.Tensor | None = None
) -> torch.Tensor:
    """Jeffrey divergence of two relations, `KL(P||Q) + KL(Q||P) = sum_j (P_j - Q_j)(log P_j - log Q_j)`, averaged
    over rows.

    Args:
        teacher (`torch.Tensor` of shape `(num_rows, num_columns)`): log P.
        student (`torch.Tensor` of shape `(num_rows, num_columns)`): log Q.
        excluded (`torch.BoolTensor` of shape `(num_rows, num_columns)`, *optional*): Pairs without a relation.
    """
    difference = teacher - student
    if excluded is not None:  # there both logarithms are minus infinity
        difference = difference.masked_fill(excluded, 0.0)
    return ((teacher.exp() - student.exp()) * difference).sum(dim=-1).mean()


class RelationWeights(nn.Module):
    r"""
    Learnable weights of the relation losses: `w = K softmax(a)` for K terms, so that they always sum to K.

    Minimising `sum_k w_k L_k` alone would in time put all weight on the smallest loss. The entropy term
    `strength * KL(w/K || uniform)` bounds that: at the optimum `w_k` is proportional to `exp(-L_k / strength)`.

    Source: the "dynamic distillation" of MRD, in our reading; the entropy term is ours.

    Args:
        num_terms (`int`): K.
        entropy (`float`): Strength of the entropy term.
    """

    def __init__(self, num_terms: int, entropy: float) -> None:
        super().__init__()
        self.entropy = entropy
        self.logits = nn.Parameter(torch.zeros(num_terms))

    def forward(self, losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            losses (`torch.Tensor` of shape `(num_terms,)`)

        Returns:
            The loss, a scalar: the mean of `w_k L_k` and the entropy term; and the weights, `(num_terms,)`, detached.
        """
        num_terms = losses.shape[0]
        log_shares = self.logits.float().log_softmax(dim=0)
        shares = log_shares.exp()
        concentration = (shares * (log_shares + math.log(num_terms))).sum()
        return (shares * losses).sum() + self.entropy * concentration, num_terms * shares.detach()


__all__ = [
    "RelationWeights",
    "contrastive_loss",
    "duplicate_pairs",
    "jeffrey_divergence",
    "pair_logits",
    "relation_log_probs",
    "self_pairs",
]
