"""How two sets of embeddings lie to each other, and how one fills the sphere: alignment, CKA, uniformity.

All of L2-normalised embeddings, in float64, and linear in the number of shapes but for uniformity, which goes through
all pairs a block of rows at a time.
"""

from typing import NamedTuple

import torch

from ..scores.similarity import Embeddings


# Pairs held at once: 32 MB in float64.
BLOCK_SIZE = 2**22
# Embeddings that deviate less from their mean than float32 rounds are all alike.
SMALLEST_DEVIATION = 1e-7
# A matrix product may round equal columns (the same text twice) differently. Far below what float32 embeddings can
# tell apart, equal similarities are equal again.
SIMILARITY_DECIMALS = 9


class Measured(NamedTuple):
    """A measure of matched pairs, beside what the same embeddings score when their pairs are shuffled.

    Args:
        value (`float`)
        chance (`float`): The mean over all ways of matching the one set's embeddings with the other's, exactly.
    """

    value: float
    chance: float


def unit_embeddings(embeds: Embeddings, name: str) -> torch.Tensor:
    """Embeddings as float64 on the CPU, with rows of length 1.

    Args:
        embeds (`torch.Tensor` or `np.ndarray` of shape `(num_rows, embedding_dim)`):
            Of any float type, on any device.
        name (`str`):
            What messages call it.

    Raises:
        ValueError: If it has another number of axes, holds a NaN or an infinity, or a row of zeros, which has no
            direction.
    """
    rows = torch.as_tensor(embeds).detach().to("cpu", torch.float64)
    if rows.ndim != 2:
        raise ValueError(f"{name} must have shape (num_rows, embedding_dim), got {tuple(rows.shape)}")
    finite = rows.isfinite().all(dim=1)
    if not finite.all():
        raise ValueError(f"{name} holds a NaN or an infinity (first in row {int(finite.int().argmin())})")
    lengths = rows.norm(dim=1, keepdim=True)
    if (lengths == 0).any():
        raise ValueError(f"row {int(lengths.argmin())} of {name} is zero, which has no direction")
    return rows / lengths


def pair_alignment(first: Embeddings, second: Embeddings) -> Measured:
    """Alignment: the mean of `||x_i - y_i||^2` over matched pairs, in 0..4; 0 where each lies on its partner.

    Args:
        first (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`): Need not be normalised.
        second (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`): Need not be normalised.

    Raises:
        ValueError: If the two do not fit together, or either is malformed.

    Source: Wang and Isola 2020 (arXiv 2005.10242), with their alpha of 2.
    """
    x, y = _matched(first, second)
    if x.shape[1] != y.shape[1]:
        raise ValueError(_misfit(x, y))
    # Of unit vectors, ||x - y||^2 = 2 - 2 <x, y>, and the mean of <x_i, y_j> over all i, j is that of the means.
    return Measured(
        value=(x - y).square().sum(dim=1).mean().item(), chance=(2 - 2 * (x.mean(dim=0) @ y.mean(dim=0))).item()
    )


def linear_cka(first: Embeddings, second: Embeddings) -> Measured:
    """Linear centred kernel alignment: `||X^T Y||_F^2 / (||X^T X||_F ||Y^T Y||_F)` of embeddings less their mean.

    In 0..1, and 1 where one set is the other turned, mirrored or scaled as a whole; the widths may differ. Zero where
    embeddings are all alike. With few shapes for the width chance is far from zero, so compare with it.

    Args:
        first (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`): Need not be normalised.
        second (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, other_width)`): Need not be normalised.

    Raises:
        ValueError: If the two differ in number, or either is malformed.

    Source: Kornblith et al. 2019 (arXiv 1905.00414), section 3, in the form over features, linear in the shapes.
    """
    x, y = (rows - rows.mean(dim=0) for rows in _matched(first, second))
    if min(_deviation(x), _deviation(y)) < SMALLEST_DEVIATION:
        return Measured(0.0, 0.0)
    scale = (x.T @ x).norm() * (y.T @ y).norm()
    # Shuffled, sum_ij K_ij L_ij of centred Gram matrices becomes trace(K) trace(L) / (n - 1) in the mean.
    chance = x.square().sum() * y.square().sum() / (len(x) - 1) / scale
    return Measured(value=((x.T @ y).square().sum() / scale).item(), chance=chance.item())


def uniformity(embeds: Embeddings) -> float:
    """Uniformity: `log mean_{i != j} exp(-2 ||x_i - x_j||^2)`; 0 where all are alike, about -4 spread evenly.

    Args:
        embeds (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`): Need not be normalised.

    Raises:
        ValueError: If there are fewer than two embeddings, or they are malformed.

    Source: Wang and Isola 2020 (arXiv 2005.10242).
    """
    x = unit_embeddings(embeds, "embeddings")
    if len(x) < 2:
        raise ValueError(f"got {len(x)} embedding; uniformity needs at least two")
    total = 0.0
    for rows in x.split(max(1, BLOCK_SIZE // len(x))):
        total += torch.exp(-4 * (1 - rows @ x.T)).sum().item()
    # Each with itself has the potential 1.
    return float(torch.tensor((total - len(x)) / (len(x) * (len(x) - 1)), dtype=torch.float64).log())


def _matched(first: Embeddings, second: Embeddings) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = unit_embeddings(first, "the first embeddings"), unit_embeddings(second, "the second embeddings")
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(_misfit(x, y))
    return x, y


def _misfit(x: torch.Tensor, y: torch.Tensor) -> str:
    return f"embeddings of {tuple(x.shape)} and {tuple(y.shape)}: need as many of both, and of one width, at least two"


def _deviation(centred: torch.Tensor) -> float:
    """Root mean square distance from the mean."""
    return centred.square().sum(dim=1).mean().sqrt().item()
