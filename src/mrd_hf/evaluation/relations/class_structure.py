"""How compact the classes of embeddings are, and how far apart: by centroids, scatter and silhouettes.

Of unit embeddings x of classes with at least two shapes; the others, and shapes without a class, are left out. A
class's centroid is the mean of its embeddings, brought to length 1. For a shape's own class the shape itself is left
out of the mean, or small classes would look compact for nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..scores.similarity import Embeddings
from .embedding_geometry import SIMILARITY_DECIMALS, SMALLEST_DEVIATION, unit_embeddings


# Distances held at once: 32 MB in float64.
BLOCK_SIZE = 2**22


@dataclass(frozen=True)
class ClassStructure:
    """What [`class_structure`] found.

    Attributes:
        num_shapes (`int`): How many shapes count.
        num_classes (`int`): How many classes they are of.
        own_centroid (`float`): Compactness: mean cosine of a shape to the centroid of the others of its class.
        other_centroid (`float`): Mean cosine of a shape to the nearest centroid of another class.
        nearest_is_own (`float`):
            Separability: share of shapes that are nearer to their own centroid than to any other.
        centroid_distance (`float`):
            Mean over classes of `1 - cosine` between their centroid and the nearest other one.
        between_share (`float`):
            Share of the scatter that lies between classes: `sum_c n_c |m_c - m|^2 / sum_i |x_i - m|^2`, with the means
            m_c of classes and m of all, not brought to length 1. In 0..1; 0 where embeddings are all alike.
        between_share_chance (`float`): Its mean when classes are dealt out at random, `(classes - 1) / (shapes - 1)`.
        silhouette (`float`):
            Mean over shapes of `(b - a) / max(a, b)`, with the mean Euclidean distance a to the others of the class,
            and b to those of the nearest other class. In -1..1; 0 where classes overlap.
    """

    num_shapes: int
    num_classes: int
    own_centroid: float
    other_centroid: float
    nearest_is_own: float
    centroid_distance: float
    between_share: float
    between_share_chance: float
    silhouette: float


def class_structure(embeds: Embeddings, classes: Sequence[str | None]) -> ClassStructure | None:
    """Compactness and separability of classes; None where fewer than two classes have two shapes.

    Args:
        embeds (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`): Need not be normalised.
        classes (sequence of `str` or None): Each shape's class; None where it is unknown.

    Raises:
        ValueError: If the two differ in number, or the embeddings are malformed.

    Source: the ratio of scatters is that of Fisher's discriminant, as a share of the total (the correlation ratio);
    silhouettes are Rousseeuw's (1987).
    """
    x = unit_embeddings(embeds, "embeddings")
    if len(x) != len(classes):
        raise ValueError(f"got {len(x)} embeddings and {len(classes)} classes")
    counts = Counter(name for name in classes if name is not None)
    names = sorted(name for name, count in counts.items() if count > 1)
    if len(names) < 2:
        return None
    place = {name: index for index, name in enumerate(names)}
    rows = [index for index, name in enumerate(classes) if name in place]
    labels = torch.tensor([place[classes[row] or ""] for row in rows])
    x = x[rows]
    members = torch.nn.functional.one_hot(labels).to(x.dtype)
    sizes, sums = members.sum(dim=0), members.T @ x
    centroids = torch.nn.functional.normalize(sums, dim=1)
    own = (x * torch.nn.functional.normalize(sums[labels] - x, dim=1)).sum(dim=1)
    others = (x @ centroids.T).masked_fill(members.bool(), -torch.inf).max(dim=1).values
    between = (centroids @ centroids.T).fill_diagonal_(-torch.inf).max(dim=1).values
    mean = x.mean(dim=0)
    total = (x - mean).square().sum()
    scatter = (sizes * (sums / sizes[:, None] - mean).square().sum(dim=1)).sum()
    return ClassStructure(
        num_shapes=len(x),
        num_classes=len(names),
        own_centroid=own.mean().item(),
        other_centroid=others.mean().item(),
        nearest_is_own=(own > others).double().mean().item(),
        centroid_distance=(1 - between).mean().item(),
        between_share=(scatter / total).item() if total > len(x) * SMALLEST_DEVIATION**2 else 0.0,
        between_share_chance=(len(names) - 1) / (len(x) - 1),
        silhouette=float(silhouettes(x, labels).mean()),
    )


def silhouettes(x: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Each shape's silhouette by Euclidean distance; 0 where both of its distances are 0.

    Args:
        x (`torch.Tensor` of shape `(num_shapes, embedding_dim)`): Unit embeddings, float64.
        labels (`torch.Tensor` of shape `(num_shapes,)`): Classes, from 0, of at least two shapes each.

    Returns:
        `np.ndarray` of shape `(num_shapes,)`.
    """
    members = torch.nn.functional.one_hot(labels).to(x.dtype)
    sizes = members.sum(dim=0)
    found = []
    for block, own in zip(*(rows.split(max(1, BLOCK_SIZE // len(x))) for rows in (x, labels)), strict=True):
        # To each class, the sum of distances; the shape itself is among its own with 0.
        sums = (2 - 2 * (block @ x.T).round(decimals=SIMILARITY_DECIMALS)).clamp(min=0).sqrt() @ members
        within = sums.gather(1, own[:, None])[:, 0] / (sizes[own] - 1)
        means = (sums / sizes).scatter(1, own[:, None], torch.inf)
        nearest = means.min(dim=1).values
        larger = torch.maximum(within, nearest)
        found.append((nearest - within) / larger.where(larger > 0, 1))
    return torch.cat(found).numpy()
