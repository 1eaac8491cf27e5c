"""The learnable weights of the relation losses: MRD's "dynamic distillation" (arXiv 2407.14007), in our reading."""

import math
from typing import Literal

import torch
from torch import nn


RelationWeighting = Literal["softmax", "intra_cross", "uncertainty", "target", "fixed"]


class RelationWeights(nn.Module):
    r"""
    Joins the losses of several relations into one, with weights that may be learned.

    With K terms, of losses L_k, and learnable numbers a_k that start at 0:

    - `softmax`: `mean_k w_k L_k` with `w = K softmax(a)`, which always sum to K, `+ entropy * L * KL(w/K || uniform)`,
      where L is the mean of the losses. Without the last part all weight would go to the smallest loss in time; with
      it, at the optimum, `w_k` is proportional to `exp(-L_k / (entropy * L))`, so that no weight vanishes, whatever
      the sizes of the losses.
    - `intra_cross`: the terms within one modality against those across two, each family of a mean loss M_g, with one
      number a_g a family: `sum_g s_g M_g` with `s = softmax(a)`, `+ entropy * M * KL(s || uniform)`, where M is the
      mean of the M_g. Within a family all terms have the same weight, `w_k = K s_g / K_g` of a family of K_g terms,
      which sum to K. At the optimum `s_g` is proportional to `exp(-M_g / (entropy * M))`.
    - `uncertainty`: `mean_k (exp(-a_k) L_k + a_k)` (arXiv 1705.07115). At the optimum `exp(-a_k) = 1 / L_k`: a loss
      that gets small has a large weight, and none gets rid of its weight, since that costs a_k.
    - `target`: terms that ask for the same relation of the student (intra-image and intra-text both for R^pp) are one
      loss, against the mixture of their teachers' relations with the shares `softmax(a)` among them (see
      [`RelationWeights.log_shares`]); a loss counts as often as it has teachers. The shares have an entropy term as in
      `softmax`, in units of that loss.
    - `fixed`: `mean_k w_k L_k` with given weights; nothing is learned.

    The paper says that learnable weights settle conflicts between the terms, not how; `softmax` is our default
    and the entropy term ours.

    Args:
        kind (`str`): One of the above.
        groups (`list[list[int]]`):
            Which terms make up each loss: one each, or with `target` all that share the student's relation.
        entropy (`float`): Strength of the entropy term, in units of the losses.
        fixed (`list[float]`, *optional*): The weights, with `kind="fixed"`.
        families (`list[list[int]]`, *optional*): Which terms are a family, with `kind="intra_cross"`.
    """

    def __init__(
        self,
        kind: RelationWeighting,
        groups: list[list[int]],
        entropy: float,
        fixed: list[float] | None = None,
        families: list[list[int]] | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.groups = groups
        self.entropy = entropy
        self.num_terms = sum(map(len, groups))
        self.fixed = fixed
        self.families = families or []
        count = len(self.families) if kind == "intra_cross" else self.num_terms
        self.logits = None if kind == "fixed" else nn.Parameter(torch.zeros(count))

    def log_shares(self, group: int) -> torch.Tensor | None:
        """Logarithms of the shares of a group's teachers in its target; None for a single teacher."""
        if self.logits is None or len(self.groups[group]) == 1:
            return None
        return _at(self.logits, self.groups[group]).log_softmax(dim=0)

    def forward(self, losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Args:
            losses (`torch.Tensor` of shape `(num_groups,)`)

        Returns:
            The weighted loss, a scalar; what the weights themselves cost, a scalar to be added to it; and the weights,
            `(num_terms,)`, detached.
        """
        free = losses.new_zeros(())
        if self.logits is None:
            weights = _numbers(self.fixed or [], losses)
            return (weights * losses).mean(), free, weights
        if self.kind == "uncertainty":
            weights = (-self.logits).exp()
            return (weights * losses).mean(), self.logits.mean(), weights.detach()
        if self.kind == "softmax":
            log_shares = self.logits.log_softmax(dim=0)
            shares = log_shares.exp()
            cost = self.entropy * losses.mean() * _concentration(log_shares)
            return (shares * losses).sum(), cost, self.num_terms * shares.detach()
        if self.kind == "intra_cross":
            log_shares = self.logits.log_softmax(dim=0)
            means = torch.stack([_at(losses, family).mean() for family in self.families])
            cost = self.entropy * means.mean() * _concentration(log_shares)
            weights = torch.empty_like(losses).detach()
            for share, family in zip(log_shares.detach().exp(), self.families, strict=True):
                for term in family:
                    weights[term] = self.num_terms * share / len(family)
            return (log_shares.exp() * means).sum(), cost, weights
        counts = _numbers([len(group) for group in self.groups], losses)
        weights, cost = torch.ones_like(self.logits.detach()), free
        for index, group in enumerate(self.groups):
            log_shares_of_group = self.log_shares(index)
            if log_shares_of_group is not None:
                strength = self.entropy * losses[index] * len(group) / self.num_terms
                cost = cost + strength * _concentration(log_shares_of_group)
                for term, share in zip(group, log_shares_of_group.detach().exp(), strict=True):
                    weights[term] = len(group) * share
        return (counts * losses).sum() / self.num_terms, cost, weights


# Numbers of Python, and lists of them as an index, are copied to a GPU with all waiting for it. These are not.
def _numbers(values: list[float] | list[int], like: torch.Tensor) -> torch.Tensor:
    return torch.stack([like.new_full((), value) for value in values])


def _at(numbers: torch.Tensor, places: list[int]) -> torch.Tensor:
    return torch.stack([numbers[place] for place in places])


def _concentration(log_shares: torch.Tensor) -> torch.Tensor:
    """`KL(shares || uniform)`."""
    return (log_shares.exp() * (log_shares + math.log(len(log_shares)))).sum()


__all__ = ["RelationWeighting", "RelationWeights"]
