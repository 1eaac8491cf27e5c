"""Scores of networks that were fine-tuned: classes of shapes, and parts of objects."""

from collections.abc import Sequence

import numpy as np

from ..errors import UserError
from .report import Score
from .scores.bootstrap import class_mean_interval, mean_interval
from .scores.part_iou import part_iou


TOP_K = (1, 3)


def classification_scores(
    probabilities: np.ndarray, labels: np.ndarray, train_labels: np.ndarray, seed: int = 0, votes: int = 1
) -> list[Score]:
    """Top-1, top-3 and class-mean accuracy of a classifier.

    Args:
        probabilities (`np.ndarray` of shape `(num_shapes, num_classes)`):
            Of equally probable classes the one with the lower index ranks first.
        labels (`np.ndarray` of shape `(num_shapes,)`): The class of each shape.
        train_labels (`np.ndarray` of shape `(num_train,)`): What it was trained on; the most frequent is the guess
            that the scores are compared with.
        seed (`int`, defaults to 0): Of the bootstrap.
        votes (`int`, defaults to 1): Over how many versions of each shape the probabilities are averaged.

    Raises:
        UserError: A probability is not finite, as of training that diverged.
    """
    if not np.isfinite(probabilities).all():
        raise UserError(
            "probabilities of the classifier are not finite (nan, infinite); train at a lower learning rate."
        )
    num_classes = probabilities.shape[1]
    ranking = np.argsort(-probabilities, axis=1, kind="stable")
    ranks = np.argmax(ranking == labels[:, None], axis=1)
    guesses = np.argsort(-np.bincount(train_labels, minlength=num_classes), kind="stable")
    key, title = named("fine_tuned", "fine-tuned", votes)
    scores = []
    for k in TOP_K:
        outcomes = (ranks < k).astype(np.float64)
        scores.append(
            Score(
                f"{key}_top{k}",
                f"{title} top-{k} ({num_classes} classes)",
                mean_interval(outcomes, seed=seed),
                len(labels),
                chance=min(k, num_classes) / num_classes,
                majority=float(np.isin(labels, guesses[:k]).mean()),
                outcomes=outcomes,
            )
        )
    outcomes = (ranks < 1).astype(np.float64)
    class_mean = Score(
        f"{key}_class_mean",
        f"{title} top-1, mean of classes",
        class_mean_interval(outcomes, labels, seed=seed),
        len(labels),
        chance=1 / num_classes,
        majority=float(guesses[0] in labels) / len(np.unique(labels)),
        statistic="class_mean",
        outcomes=outcomes,
    )
    return [*scores, class_mean]


def part_scores(
    predicted: Sequence[np.ndarray],
    true: Sequence[np.ndarray],
    labels: np.ndarray,
    class_parts: Sequence[Sequence[int]],
    class_names: Sequence[str],
    frequent_parts: dict[int, int],
    seed: int = 0,
    votes: int = 1,
) -> list[Score]:
    """Instance mIoU and class mIoU, then the mean IoU of each class's shapes; see [`part_iou`].

    Args:
        predicted, true (sequences of `np.ndarray` of shape `(num_points,)`): The part of each point of each shape.
        labels (`np.ndarray` of shape `(num_shapes,)`): The class of each object.
        class_parts (sequence of sequences of `int`), class_names (sequence of `str`):
            The parts and the name of each class.
        frequent_parts (`dict[int, int]`): The part that most training points of each class have: the guess that the
            scores are compared with.
        seed (`int`, defaults to 0): Of the bootstrap.
        votes (`int`, defaults to 1): Over how many versions of each shape the predictions are averaged.
    """
    found = part_iou(predicted, true, labels, class_parts)
    guesses = [
        np.full_like(parts, frequent_parts.get(int(label), class_parts[label][0]))
        for parts, label in zip(true, labels, strict=True)
    ]
    guessed = part_iou(guesses, true, labels, class_parts)
    key, title = named("part", "parts,", votes)
    scores = [
        Score(
            f"{key}_instance_miou",
            f"{title} instance mIoU",
            mean_interval(found.shape_ious, seed=seed),
            len(labels),
            majority=guessed.instance_miou,
            outcomes=found.shape_ious,
        ),
        Score(
            f"{key}_class_miou",
            f"{title} class mIoU ({len(found.class_ious)} classes)",
            class_mean_interval(found.shape_ious, labels, seed=seed),
            len(labels),
            majority=guessed.class_miou,
            statistic="class_mean",
            outcomes=found.shape_ious,
        ),
    ]
    if votes > 1:
        return scores
    for label in found.class_ious:
        of_class = labels == label
        outcomes = np.where(of_class, found.shape_ious, np.nan)
        scores.append(
            Score(
                f"{key}_miou/{class_names[label]}",
                f"{title} mIoU of {class_names[label]}",
                mean_interval(found.shape_ious[of_class], seed=seed),
                int(of_class.sum()),
                majority=guessed.class_ious[label],
                outcomes=outcomes,
            )
        )
    return scores


def named(key: str, title: str, votes: int) -> tuple[str, str]:
    """Key and title of a score's beginning, by how many versions of a shape voted."""
    return (key, title) if votes == 1 else (f"{key}_{votes}_votes", f"{title} {votes} votes,")
