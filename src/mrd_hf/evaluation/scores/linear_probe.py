"""Linear probe: how well a logistic regression classifies shapes by their embeddings.

Embeddings are brought to length 1, as they are compared by their direction everywhere else, and then standardised,
each coordinate by the mean and deviation of the training shapes. Unit vectors of CLIP-like encoders lie in a narrow
cone, and coordinates of a wide one are tiny: standardised, the same regularisations make sense for every width and
encoder, coordinates are regularised alike, and the solver converges in a fraction of the steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import UserError
from .similarity import Embeddings, unit_rows


# Inverse strengths of the regularisation to choose from, strongest first.
REGULARIZATIONS = tuple(10.0**power for power in range(-5, 2))
VALIDATION_SHARE = 0.2
MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class LinearProbeResult:
    """What [`linear_probe`] found on the test shapes.

    Attributes:
        accuracy (`float`): Share of test shapes classified rightly.
        class_mean (`float`): Mean of that share over the classes that occur among the test labels.
        predictions (`np.ndarray` of shape `(num_test,)`): The class that each test shape was predicted as.
        correct (`np.ndarray` of shape `(num_test,)`): Whether it is the right one, for intervals.
        regularization (`float`): The chosen inverse strength (scikit-learn's `C`).
        validation_accuracies (`dict[float, float]`): Share classified rightly of the training shapes set aside, by
            inverse strength.
    """

    accuracy: float
    class_mean: float
    predictions: np.ndarray
    correct: np.ndarray
    regularization: float
    validation_accuracies: dict[float, float]


def linear_probe(
    train_embeds: Embeddings,
    train_labels: Sequence[int] | np.ndarray,
    test_embeds: Embeddings,
    test_labels: Sequence[int] | np.ndarray,
    seed: int = 0,
) -> LinearProbeResult:
    """Fit a logistic regression to training embeddings and classify test embeddings.

    The strength of regularisation is chosen without a look at the test shapes: a fifth of each class's training shapes
    is set aside, drawn by the seed, and the strongest regularisation that is best on it is taken. The probe is then
    fitted to all training shapes. The same input gives the same predictions on the same machine, with any number of
    threads; on another, the solver's last digits may move a shape that lies on a boundary.

    Args:
        train_embeds (`torch.Tensor` or `np.ndarray` of shape `(num_train, embedding_dim)`):
            Need not be normalised.
        train_labels (sequence of `int`):
            Their classes, any whole numbers.
        test_embeds (`torch.Tensor` or `np.ndarray` of shape `(num_test, embedding_dim)`)
        test_labels (sequence of `int`)
        seed (`int`, defaults to 0):
            Of the validation split.

    Raises:
        UserError: If scikit-learn is not installed.
        ValueError: If embeddings and labels do not fit together, there are fewer than two classes, no class has two
            training shapes, or a test shape's class has no training shape.
    """
    train, test = _checked(train_embeds, train_labels, "training"), _checked(test_embeds, test_labels, "test")
    train_rows, test_rows = unit_rows(train_embeds, "train_embeds"), unit_rows(test_embeds, "test_embeds")
    if train_rows.shape[1] != test_rows.shape[1]:
        raise ValueError(
            f"training embeddings have width {train_rows.shape[1]}, test embeddings {test_rows.shape[1]}; encode both "
            "with the same model"
        )
    unseen = np.setdiff1d(test, train)
    if len(unseen):
        raise ValueError(f"class {unseen[0]} has test shapes but no training shape ({len(unseen)} such classes)")

    validation = validation_split(train, seed)
    accuracies = {}
    fit_rows, held_rows = standardized(train_rows[~validation], train_rows[~validation], train_rows[validation])
    for regularization in REGULARIZATIONS:
        guesses = classify(fit_rows, train[~validation], held_rows, regularization)
        accuracies[regularization] = float(np.mean(guesses == train[validation]))
    best = max(REGULARIZATIONS, key=lambda regularization: accuracies[regularization])  # the first of equals

    fit_rows, test_rows = standardized(train_rows, train_rows, test_rows)
    predictions = classify(fit_rows, train, test_rows, best)
    correct = predictions == test
    return LinearProbeResult(
        accuracy=float(correct.mean()),
        class_mean=float(np.mean([correct[test == label].mean() for label in np.unique(test)])),
        predictions=predictions,
        correct=correct,
        regularization=best,
        validation_accuracies=accuracies,
    )


def validation_split(labels: np.ndarray, seed: int) -> np.ndarray:
    """Which training shapes to set aside: a fifth of each class, rounded, but never all of it nor any of a single one.

    Args:
        labels (`np.ndarray` of shape `(num_shapes,)`)
        seed (`int`)

    Returns:
        `np.ndarray` of shape `(num_shapes,)`: booleans. What is drawn from a class depends on the seed, the class and
        its number of shapes alone.

    Raises:
        ValueError: If fewer than two classes, or no class of at least two shapes, are there.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.max() < 2:
        raise ValueError(
            f"got training shapes of {len(classes)} classes, at most {counts.max()} of one; a probe needs two classes "
            "and, of one of them, two shapes"
        )
    chosen = np.zeros(len(labels), dtype=bool)
    for label, count in zip(classes.tolist(), counts.tolist(), strict=True):
        held = 0 if count == 1 else max(1, round(VALIDATION_SHARE * count))
        # The sign apart, as seeds are not negative.
        order = np.random.default_rng([seed, abs(label), label < 0]).permutation(count)
        chosen[np.flatnonzero(labels == label)[order[:held]]] = True
    return chosen


def standardized(reference: np.ndarray, *rows: np.ndarray) -> list[np.ndarray]:
    """Rows less the reference's mean, divided by its deviation; coordinates that are constant there only shifted."""
    mean, deviation = reference.mean(axis=0), reference.std(axis=0)
    # Equal numbers may differ from their mean in the last digit.
    scale = np.where(deviation > 1e-12, deviation, 1)
    return [(row - mean) / scale for row in rows]


def classify(rows: np.ndarray, labels: np.ndarray, queries: np.ndarray, regularization: float) -> np.ndarray:
    """Classes of queries `(num_queries, embedding_dim)` by a logistic regression fitted to rows, as wide.

    Raises:
        UserError: If scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise UserError("linear probes and few-shot need scikit-learn: pip install 'mrd-hf[evaluation]'.") from None
    # One thread: sums are then the same on any number of cores, and on busy ones threads that wait for each other make
    # the many small products a hundred times slower.
    with threadpool_limits(1):
        probe = LogisticRegression(C=regularization, max_iter=MAX_ITERATIONS).fit(rows, labels)
        return np.asarray(probe.predict(queries))


def _checked(embeds: Embeddings, labels: Sequence[int] | np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(labels, dtype=np.int64)
    if array.shape != (len(embeds),) or len(array) == 0:
        raise ValueError(f"got {len(embeds)} {name} embeddings and labels of shape {array.shape}; need one each")
    return array
