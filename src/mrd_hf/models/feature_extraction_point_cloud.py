"""Point clouds of any size, scale and place into the model's input."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin
from transformers.utils import TensorType


class PointCloudFeatureExtractor(FeatureExtractionMixin):
    r"""
    Makes `point_values` of point clouds: centred, scaled into the unit sphere, y up, a fixed number of points, colours
    in 0..1. Deterministic: the same cloud always gives the same values.

    Args:
        num_points (`int`, defaults to 10000):
            Points of each output cloud. A larger cloud is thinned by a fixed random choice, a smaller one repeats its
            points.
        normalize (`bool`, defaults to `True`): Whether to subtract the mean and divide by the largest norm.
        up_axis (`"y"` or `"z"`, defaults to `"y"`):
            Which axis points up in the clouds given; z-up clouds are rotated (not mirrored) to y up.
        default_color (`float`, defaults to 0.4): Grey level of clouds without colours.
    """

    model_input_names = ["point_values"]

    def __init__(
        self,
        num_points: int = 10000,
        normalize: bool = True,
        up_axis: Literal["y", "z"] = "y",
        default_color: float = 0.4,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_points < 1:
            raise ValueError(f"num_points must be at least 1, got {num_points}.")
        if up_axis not in ("y", "z"):
            raise ValueError(f"up_axis must be 'y' or 'z', got {up_axis!r}.")
        self.num_points = num_points
        self.normalize = normalize
        self.up_axis = up_axis
        self.default_color = default_color

    def __call__(
        self,
        points: np.ndarray | Sequence[np.ndarray],
        colors: np.ndarray | Sequence[np.ndarray] | None = None,
        return_tensors: str | TensorType | None = "pt",
    ) -> BatchFeature:
        """
        Args:
            points (array of shape `(num_points, 3)`, or a sequence of them): xyz, in any unit.
            colors (array of shape `(num_points, 3)`, or a sequence of them, *optional*):
                rgb: integers in 0..255, or floats in 0..1.
            return_tensors (`str`, defaults to `"pt"`): `"pt"` or `"np"`.

        Returns:
            `BatchFeature` with `point_values`, float32 of shape `(batch, num_points, 6)`.

        Raises:
            ValueError: when a cloud is empty, not finite or of another shape, or its colours do not fit; the message
                names the cloud by its position.
        """
        if isinstance(points, np.ndarray) and points.ndim == 2:
            points, colors = [points], None if colors is None else [np.asarray(colors)]
        if colors is not None and len(colors) != len(points):
            raise ValueError(f"colors has {len(colors)} clouds, points has {len(points)}; give one for each.")
        clouds = [
            self._cloud(np.asarray(xyz), None if colors is None else np.asarray(colors[i]), i)
            for i, xyz in enumerate(points)
        ]
        if not clouds:
            raise ValueError("points has no cloud; give at least one.")
        return BatchFeature({"point_values": np.stack(clouds)}, tensor_type=return_tensors)

    def _cloud(self, xyz: np.ndarray, rgb: np.ndarray | None, position: int) -> np.ndarray:
        if xyz.ndim != 2 or xyz.shape[1] != 3 or len(xyz) == 0:
            raise ValueError(f"points[{position}] must have shape (num_points, 3) with a point, got {xyz.shape}.")
        xyz = xyz.astype(np.float32)
        if not np.isfinite(xyz).all():
            raise ValueError(f"points[{position}] has {int((~np.isfinite(xyz)).sum())} values that are not finite.")
        if self.up_axis == "z":
            xyz = np.stack([xyz[:, 0], xyz[:, 2], -xyz[:, 1]], axis=1)
        if self.normalize:
            xyz = xyz - xyz.mean(axis=0)
            radius = np.linalg.norm(xyz, axis=1).max()
            xyz = xyz / (radius if radius > 0 else 1.0)  # all points in one place: leave them there
        rgb = np.full_like(xyz, self.default_color) if rgb is None else self._colors(rgb, len(xyz), position)
        return np.concatenate([xyz, rgb], axis=1)[self._choice(len(xyz))]

    def _colors(self, rgb: np.ndarray, num_points: int, position: int) -> np.ndarray:
        if rgb.shape != (num_points, 3):
            raise ValueError(f"colors[{position}] must have shape ({num_points}, 3) as its points, got {rgb.shape}.")
        rgb = rgb.astype(np.float32) / 255 if np.issubdtype(rgb.dtype, np.integer) else rgb.astype(np.float32)
        if not (rgb.min() >= 0 and rgb.max() <= 1):  # False for nan as well
            raise ValueError(
                f"colors[{position}] must be integers in 0..255 or floats in 0..1, got values from {rgb.min():g} to "
                f"{rgb.max():g} (after dividing integers by 255)."
            )
        return rgb

    def _choice(self, available: int) -> np.ndarray:
        """Which points to keep: all in their order if there are just enough, else a fixed choice."""
        if available > self.num_points:
            return np.random.default_rng(0).permutation(available)[: self.num_points]
        return np.arange(self.num_points) % available


__all__ = ["PointCloudFeatureExtractor"]
