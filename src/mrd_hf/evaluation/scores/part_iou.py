"""Intersection over union of predicted and true parts, a shape at a time, as ShapeNetPart's figures are computed.

Of a shape the mean over the parts that its class has; a part that neither the truth nor the prediction has counts as
1. Instance mIoU is the mean over shapes, class mIoU the mean over classes of the mean over the class's shapes. Source:
the evaluation of PointNet (arXiv 1612.00593) and PointNet++ (arXiv 1706.02413).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PartIoUResult:
    """What [`part_iou`] found.

    Attributes:
        shape_ious (`np.ndarray` of shape `(num_shapes,)`): Mean over the parts of its class, of each shape.
        instance_miou (`float`): Their mean.
        class_ious (`dict[int, float]`): Their mean within each class that occurs.
        class_miou (`float`): The mean of these.
        accuracy (`float`): Share of all points whose part is right.
    """

    shape_ious: np.ndarray
    instance_miou: float
    class_ious: dict[int, float]
    class_miou: float
    accuracy: float


def part_iou(
    predicted: Sequence[np.ndarray],
    true: Sequence[np.ndarray],
    classes: Sequence[int] | np.ndarray,
    class_parts: Sequence[Sequence[int]],
) -> PartIoUResult:
    """Compare predicted parts with true ones.

    Args:
        predicted, true (sequences of `np.ndarray` of shape `(num_points,)`):
            The part of each point of each shape; shapes may differ in their numbers of points. What is predicted must
            be parts of the shape's class; another part is wrong and no more.
        classes (sequence of `int`): The class of each shape.
        class_parts (sequence of sequences of `int`): The parts of each class.

    Raises:
        ValueError: There is no shape, or the sequences and their arrays do not fit together.
    """
    if not len(predicted) or not len(predicted) == len(true) == len(classes):
        raise ValueError(
            f"got {len(predicted)} predictions, {len(true)} truths and {len(classes)} classes; need as many of each, "
            "at least one"
        )
    ious, right, points = np.empty(len(true)), 0, 0
    for shape, (found, wanted, of_class) in enumerate(zip(predicted, true, classes, strict=True)):
        if np.shape(found) != np.shape(wanted) or np.ndim(found) != 1 or not len(wanted):
            raise ValueError(
                f"shape {shape} has predictions {np.shape(found)} and truths {np.shape(wanted)}; need (num_points,)"
            )
        parts = np.asarray(class_parts[of_class])
        is_found, is_wanted = found[:, None] == parts, wanted[:, None] == parts
        union = (is_found | is_wanted).sum(axis=0)
        ious[shape] = np.where(union == 0, 1.0, (is_found & is_wanted).sum(axis=0) / np.maximum(union, 1)).mean()
        right += int((found == wanted).sum())
        points += len(wanted)
    labels = np.asarray(classes)
    class_ious = {int(label): float(ious[labels == label].mean()) for label in np.unique(labels)}
    return PartIoUResult(
        shape_ious=ious,
        instance_miou=float(ious.mean()),
        class_ious=class_ious,
        class_miou=float(np.mean(list(class_ious.values()))),
        accuracy=right / points,
    )


def most_frequent_parts(parts: Sequence[np.ndarray], classes: Sequence[int] | np.ndarray) -> dict[int, int]:
    """The part that most points of each class are of: what to guess without looking at the shape."""
    counts: dict[int, np.ndarray] = {}
    for of_shape, of_class in zip(parts, classes, strict=True):
        found = np.bincount(of_shape)
        before = counts.get(int(of_class), np.zeros(0, dtype=np.int64))
        total = np.zeros(max(len(found), len(before)), dtype=np.int64)
        total[: len(found)] += found
        total[: len(before)] += before
        counts[int(of_class)] = total
    return {of_class: int(total.argmax()) for of_class, total in counts.items()}
