"""How many directions embeddings use: the spectrum of their covariance, and two numbers that sum it up.

Of unit embeddings less their mean, of which the singular values are s_k: the eigenvalues of the covariance are
proportional to s_k^2, and `l_k = s_k^2 / sum s^2` are shares of the variance.
"""

import torch

from ..scores.similarity import Embeddings
from .embedding_geometry import SMALLEST_DEVIATION, unit_embeddings


def singular_values(embeds: Embeddings) -> torch.Tensor:
    """Of the unit embeddings less their mean, the largest first.

    Args:
        embeds (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`): Need not be normalised.

    Returns:
        `torch.Tensor` of shape `(embedding_dim,)`: float64, and zero beyond the number of shapes less one. All zero
        where the embeddings are all alike.

    Raises:
        ValueError: If there are fewer than two embeddings, or they are malformed.
    """
    x = unit_embeddings(embeds, "embeddings")
    if len(x) < 2:
        raise ValueError(f"got {len(x)} embedding; a spectrum needs at least two")
    x = x - x.mean(dim=0)
    if x.square().sum(dim=1).mean().sqrt() < SMALLEST_DEVIATION:
        return x.new_zeros(x.shape[1])
    # By the covariance, whose size does not grow with the number of shapes.
    return torch.linalg.eigvalsh(x.T @ x).flip(0).clamp(min=0).sqrt()


def variance_shares(values: torch.Tensor) -> torch.Tensor:
    """Share of the variance along each direction, `l_k = s_k^2 / sum s^2`; all zero where there is none.

    Args:
        values (`torch.Tensor` of shape `(embedding_dim,)`): From [`singular_values`].
    """
    squares = values.square()
    return squares / squares.sum().where(squares.sum() > 0, 1)


def effective_rank(values: torch.Tensor) -> float:
    """`exp(-sum l_k log l_k)`, the exponential of the entropy of the shares of variance; 0 where there is none.

    Between 1, all along one direction, and the width, equally along all. Directions with little variance count a
    little.

    Args:
        values (`torch.Tensor` of shape `(embedding_dim,)`): From [`singular_values`].

    Source: Roy and Vetterli 2007, "The effective rank", of the covariance matrix.
    """
    shares = variance_shares(values)
    return float(torch.special.entr(shares).sum().exp()) if shares.any() else 0.0


def participation_ratio(values: torch.Tensor) -> float:
    """`1 / sum l_k^2 = (sum s^2)^2 / sum s^4`: how many directions share the variance; 0 where there is none.

    Between 1 and the width as the effective rank, and never above it: it counts the strongest directions more.

    Args:
        values (`torch.Tensor` of shape `(embedding_dim,)`): From [`singular_values`].

    Source: Gao et al. 2017 (bioRxiv 214262), as the dimension of neural activity.
    """
    shares = variance_shares(values)
    return float(1 / shares.square().sum()) if shares.any() else 0.0
