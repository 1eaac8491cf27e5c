"""Few-shot classification: a few labelled shapes of a few classes, and others of the same classes to tell apart.

Protocol: as in the few-shot benchmark on ModelNet40 (Sharma and Kaul 2020, arXiv 2009.14168): N classes and K shapes
of each are drawn, then up to 20 others of each as queries, ten times over. What differs: all draws come from a seed
and can be repeated, and nothing is fine-tuned. The classifier is a logistic regression on embeddings of length 1, at
scikit-learn's default regularisation (Tian et al. 2020, arXiv 2003.11539): with so few shapes there is nothing to
choose it by, nor to standardise by.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import UserError
from .linear_probe import classify
from .similarity import Embeddings, unit_rows


LEVEL = 0.95
REGULARIZATION = 1.0


@dataclass(frozen=True)
class FewShotResult:
    """What [`few_shot`] found.

    Attributes:
        mean (`float`): Mean of `accuracies`.
        low, high (`float`): 95% interval of the mean by Student's t over the draws, cut to 0..1. It takes draws to be
            independent; they share shapes where a class has few.
        accuracies (`np.ndarray` of shape `(num_draws,)`): Share of queries classified rightly, of each draw.
        num_queries (`np.ndarray` of shape `(num_draws,)`): How many queries each draw had.
    """

    mean: float
    low: float
    high: float
    accuracies: np.ndarray
    num_queries: np.ndarray


def few_shot(
    embeds: Embeddings,
    labels: Sequence[int] | np.ndarray,
    num_ways: int,
    num_shots: int,
    num_queries: int = 20,
    num_draws: int = 10,
    seed: int = 0,
) -> FewShotResult:
    """Classify shapes by a few others of their classes, in seeded draws.

    Draw d depends on the seed, on d, and on the labels alone, so that two models meet the same tasks, and more draws
    go on where fewer stopped. Classes are drawn among those with at least `num_shots + 1` shapes.

    Args:
        embeds (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`):
            Need not be normalised. Examples and queries both come from them.
        labels (sequence of `int`):
            The class of each shape.
        num_ways (`int`): Classes of a draw (usually 5 or 10).
        num_shots (`int`): Labelled examples of each (usually 10 or 20).
        num_queries (`int`, defaults to 20): Queries of each class, or all that are left where it has fewer.
        num_draws (`int`, defaults to 10): At least 2, as there is no interval of one.
        seed (`int`, defaults to 0)

    Raises:
        UserError: If scikit-learn is not installed.
        ValueError: If labels and embeddings do not fit together, a number is too small, or too few classes have enough
            shapes.
    """
    for name, value, least in (
        ("num_ways", num_ways, 2),
        ("num_shots", num_shots, 1),
        ("num_queries", num_queries, 1),
        ("num_draws", num_draws, 2),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    array = np.asarray(labels, dtype=np.int64)
    if array.shape != (len(embeds),):
        raise ValueError(f"got {len(embeds)} embeddings and labels of shape {array.shape}; need one each")
    classes, counts = np.unique(array, return_counts=True)
    large = classes[counts > num_shots]
    if len(large) < num_ways:
        raise ValueError(
            f"{num_ways}-way {num_shots}-shot needs {num_ways} classes of at least {num_shots + 1} shapes, got "
            f"{len(large)} (of {len(classes)} classes in all); ask for fewer ways or shots"
        )
    rows = unit_rows(embeds, "embeds")
    outcomes = []
    for draw in range(num_draws):
        support, queries = draw_task(
            array, large, num_ways, num_shots, num_queries, np.random.default_rng([seed, draw])
        )
        outcomes.append(classify(rows[support], array[support], rows[queries], REGULARIZATION) == array[queries])
    accuracies = np.array([outcome.mean() for outcome in outcomes])
    mean, margin = float(accuracies.mean()), _margin(accuracies)
    return FewShotResult(
        mean=mean,
        low=max(0.0, mean - margin),
        high=min(1.0, mean + margin),
        accuracies=accuracies,
        num_queries=np.array([len(outcome) for outcome in outcomes]),
    )


def draw_task(
    labels: np.ndarray,
    classes: np.ndarray,
    num_ways: int,
    num_shots: int,
    num_queries: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the examples and of the queries of one task.

    Args:
        labels (`np.ndarray` of shape `(num_shapes,)`)
        classes (`np.ndarray`): Those to draw from, each of more than `num_shots` shapes.
        num_ways, num_shots, num_queries (`int`): As for [`few_shot`].
        generator (`np.random.Generator`): The only source of chance.
    """
    support, queries = [], []
    for label in generator.choice(classes, num_ways, replace=False):
        rows = generator.permutation(np.flatnonzero(labels == label))
        support.append(rows[:num_shots])
        queries.append(rows[num_shots : num_shots + num_queries])
    return np.concatenate(support), np.concatenate(queries)


def _margin(accuracies: np.ndarray) -> float:
    """Half the width of Student's interval of the mean."""
    try:
        from scipy.stats import t
    except ImportError:
        raise UserError("few-shot needs scikit-learn and scipy: pip install 'mrd-hf[evaluation]'.") from None
    quantile = t.ppf((1 + LEVEL) / 2, len(accuracies) - 1)
    return float(quantile * accuracies.std(ddof=1) / math.sqrt(len(accuracies)))
