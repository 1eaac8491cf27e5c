"""Zero-shot classification: the class whose text embedding is nearest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .similarity import Embeddings, similarity_blocks


@dataclass(frozen=True)
class ZeroShotResult:
    """What [`zero_shot_classification`] found; `accuracy`, `chance` and `majority` go by `k`.

    Attributes:
        accuracy (`dict[int, float]`): Share of shapes whose class is among the `k` nearest.
        class_mean (`float`): Mean, over the classes that occur among the labels, of the share of the class's shapes
            whose nearest class it is (`k` = 1). Its chance is 1 / num_classes, too; always guessing one class scores
            1 / (number of classes that occur).
        chance (`dict[int, float]`): The same for guesses drawn at random.
        majority (`dict[int, float]`): The same for always guessing the `k` classes most frequent among the labels.
        ranks (`np.ndarray` of shape `(num_shapes,)`): The place, from 0, of each shape's class in `ranking`: it counts
            for `k` where it is less than `k`.
        confusion (`np.ndarray` of shape `(num_classes, num_classes)`): How many shapes of the row's class have the
            column's as their nearest, int64.
        ranking (`np.ndarray` of shape `(num_shapes, num_classes)`): Class indices, nearest first.
        similarity (`np.ndarray` of shape `(num_shapes, num_classes)`): Their cosines, in the order of `ranking`.
    """

    accuracy: dict[int, float]
    class_mean: float
    chance: dict[int, float]
    majority: dict[int, float]
    ranks: np.ndarray
    confusion: np.ndarray
    ranking: np.ndarray
    similarity: np.ndarray


def zero_shot_classification(
    shape_embeds: Embeddings,
    class_embeds: Embeddings,
    labels: Sequence[int] | np.ndarray,
    top_k: tuple[int, ...] = (1, 3, 5),
) -> ZeroShotResult:
    """Classify shapes by the cosine of their embedding to each class's text embedding.

    Of classes equally near, the one with the lower index ranks first; cosines are exact sums (see `similarity.py`).

    Args:
        shape_embeds (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`):
            One embedding a shape; need not be normalised.
        class_embeds (`torch.Tensor` or `np.ndarray` of shape `(num_classes, embedding_dim)`):
            One embedding a class; need not be normalised.
        labels (sequence of `int`):
            The true class of each shape, in 0..num_classes-1.
        top_k (`tuple[int, ...]`, defaults to `(1, 3, 5)`):
            How many of the nearest classes count. A `k` beyond the number of classes counts all of them.

    Raises:
        ValueError: If there is no shape, or labels and embeddings do not fit together.
    """
    true_classes = np.asarray(labels, dtype=np.int64)
    num_classes = len(class_embeds)
    if len(true_classes) != len(shape_embeds) or len(true_classes) == 0:
        raise ValueError(f"got {len(shape_embeds)} shapes and {len(true_classes)} labels; need as many, at least one")
    if true_classes.min() < 0 or true_classes.max() >= num_classes:
        raise ValueError(f"labels must lie in 0..{num_classes - 1}, got {true_classes.min()}..{true_classes.max()}")

    ranking = np.empty((len(true_classes), num_classes), dtype=np.int64)
    similarity = np.empty((len(true_classes), num_classes), dtype=np.float32)
    for rows, scores in similarity_blocks(shape_embeds, class_embeds):
        ranking[rows] = np.argsort(-scores, axis=1, kind="stable")
        similarity[rows] = np.take_along_axis(scores, ranking[rows], axis=1)
    ranks = np.argmax(ranking == true_classes[:, None], axis=1)
    counts = np.bincount(true_classes, minlength=num_classes)
    pairs = np.bincount(true_classes * num_classes + ranking[:, 0], minlength=num_classes**2)
    confusion = pairs.reshape(num_classes, num_classes).astype(np.int64, copy=False)
    shares = np.sort(counts)[::-1] / len(true_classes)
    return ZeroShotResult(
        accuracy={k: float(np.mean(ranks < k)) for k in top_k},
        class_mean=float(np.mean(confusion.diagonal()[counts > 0] / counts[counts > 0])),
        chance={k: min(k, num_classes) / num_classes for k in top_k},
        majority={k: float(shares[:k].sum()) for k in top_k},
        ranks=ranks,
        confusion=confusion,
        ranking=ranking,
        similarity=similarity,
    )
