"""Shapes with labels in memory, prepared once as the feature extractor prepares them."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from tqdm import tqdm

from ...errors import UserError
from ...models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from ...models.point_preparation import PointPreparation
from ...models.shapes import ColoredPoints, UpAxis


# A shape keeps so many times the points that the network sees, so that it is seen with others each time.
KEPT = 4


@dataclass(frozen=True, eq=False)
class LabeledClouds:
    """The shapes of a split. [`prepare_clouds`] makes it.

    Args:
        ids (`list[str]`): One a shape.
        labels (`np.ndarray` of shape `(num_shapes,)`): int64, the class of each shape.
        points (`list[np.ndarray]` of shapes `(kept, 3 or 6)`): float32 xyz and, where a shape has colours, rgb.
        parts (`list[np.ndarray]` of shapes `(kept,)`, *optional*): int64, the part of each point.
        default_color (`float`): Grey level of shapes without colours.
        up_axis (`"y"` or `"z"`, defaults to `"y"`): Which axis points up in `points`: the encoder's.
    """

    ids: list[str]
    labels: np.ndarray
    points: list[np.ndarray]
    parts: list[np.ndarray] | None
    default_color: float
    up_axis: UpAxis = "y"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def have_colors(self) -> bool:
        """Whether any shape has colours."""
        return any(points.shape[1] > 3 for points in self.points)

    def batch(
        self, rows: list[int], num_points: int, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """So many points of some shapes; a smaller shape repeats its points.

        Args:
            rows (`list[int]`)
            num_points (`int`)
            rng (`np.random.Generator`, *optional*): Draws which points, in which order. Without it they are those that
                the feature extractor keeps, in its order.

        Returns:
            `point_values`, float32 of shape `(batch, num_points, 6)`, and int64 parts of shape `(batch, num_points)`;
            None where there are none.
        """
        values = np.full((len(rows), num_points, 6), self.default_color, dtype=np.float32)
        parts = None if self.parts is None else np.empty((len(rows), num_points), dtype=np.int64)
        for place, row in enumerate(rows):
            points = self.points[row]
            order = np.arange(len(points)) if rng is None else rng.permutation(len(points))
            chosen = np.resize(order, num_points)
            values[place, :, : points.shape[1]] = points[chosen]
            if parts is not None and self.parts is not None:
                parts[place] = self.parts[row][chosen]
        return values, parts


def prepare_clouds(
    shapes: Iterable[tuple[ColoredPoints, np.ndarray | None]],
    ids: list[str],
    labels: np.ndarray,
    extractor: PointCloudFeatureExtractor,
    up_axis: UpAxis,
    num_points: int,
    progress: str | None = None,
) -> LabeledClouds:
    """Read all shapes of a split, normalise them, and keep some of their points.

    Args:
        shapes (iterable of points and, of objects, parts `(num_points,)`): In the order of `ids`.
        ids (`list[str]`), labels (`np.ndarray` of shape `(num_shapes,)`)
        extractor ([`PointCloudFeatureExtractor`]): Whose axes, scale and grey level are taken.
        up_axis (`"y"` or `"z"`): Which axis points up in the shapes.
        num_points (`int`): How many the network sees; four times as many are kept at most.
        progress (`str`, *optional*): What the progress bar is called; without it there is none.
    """
    settings = {field.name: getattr(extractor, field.name) for field in fields(PointPreparation)}
    points, parts = [], []
    for shape, of_points in tqdm(shapes, desc=progress, total=len(ids), disable=progress is None):
        available = len(shape.xyz)
        # All its points, as the extractor centres and scales a shape before it thins it.
        preparation = PointPreparation(**{**settings, "num_points": available})
        colors = None if shape.rgb is None else [shape.rgb]
        (values,) = preparation.point_values([shape.xyz], colors, up_axis)
        kept = np.arange(available)
        if available > num_points:  # the extractor's choice, and more of the same
            kept = np.random.default_rng(0).permutation(available)[: KEPT * num_points]
        points.append(np.ascontiguousarray(values[kept, : 3 if colors is None else 6]))
        if of_points is not None:
            parts.append(of_points[kept].astype(np.int64))
    if parts and len(parts) != len(points):
        raise UserError("some of the shapes have parts and others have none.")
    return LabeledClouds(ids, labels, points, parts or None, extractor.default_color, extractor.encoder_up_axis)
