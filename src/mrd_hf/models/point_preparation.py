"""Shapes of any size, scale and place into the values that an encoder takes, by numpy alone.

[`PointCloudFeatureExtractor`] is this for transformers; what runs encoders without torch has it from here.
"""

import functools
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .left_out_parts import PartChoice
from .point_cloud_files import split_colors
from .shape_files import colored_points, read_shape
from .shapes import UNCOLORED, ColoredPoints, PointCloud, TexturedMesh, UpAxis, check_colored_points


logger = logging.getLogger(__name__)

# Settings that are an encoder's own, not a file's: embeddings made by others cannot be compared.
ENCODERS_SETTINGS = ("num_points", "normalize", "encoder_up_axis", "default_color")


@dataclass
class PointPreparation:
    """The settings of [`PointCloudFeatureExtractor`], checked, and what it does by them.

    Raises:
        ValueError: One of them is out of its range.
    """

    num_points: int = 10000
    normalize: bool = True
    up_axis: Literal["y", "z"] = "y"
    encoder_up_axis: Literal["y", "z"] = "y"
    default_color: float = UNCOLORED
    keep_collision: bool = False
    skip_parts: str | None = None

    def __post_init__(self) -> None:
        if self.num_points < 1:
            raise ValueError(f"num_points must be at least 1, got {self.num_points}.")
        if not 0 <= self.default_color <= 1:
            raise ValueError(f"default_color must be in 0..1, got {self.default_color}.")
        _check_axis("up_axis", self.up_axis)
        _check_axis("encoder_up_axis", self.encoder_up_axis)
        PartChoice(self.keep_collision, self.skip_parts)  # checks them

    def point_values(self, points: Any, colors: Any = None, up_axis: Literal["y", "z"] | None = None) -> np.ndarray:
        """`point_values`, float32 of shape `(batch, num_points, 6)`; arguments and errors are those of
        [`PointCloudFeatureExtractor`]."""
        if up_axis is not None:
            _check_axis("up_axis", up_axis)
        if not _is_batch(points):
            points, colors = [points], None if colors is None else [colors]
        if len(points) == 0:
            raise ValueError("points has no cloud; give at least one.")
        if colors is not None and len(colors) != len(points):
            raise ValueError(f"colors has {len(colors)} clouds, points has {len(points)}; give one for each.")
        values = np.empty((len(points), self.num_points, 6), dtype=np.float32)
        for i, shape in enumerate(points):
            (xyz, rgb), its_axis, name, colors_name = self._read(shape, None if colors is None else colors[i], i)
            xyz, rgb = check_colored_points(ColoredPoints(xyz, rgb), name, colors_name)
            if rgb is not None and rgb.dtype.kind in "iu" and rgb.max() == 1:
                _warn_once(
                    f"{colors_name} are integers of at most 1, so nearly black, as integers are in 0..255; if 1 is "
                    "meant to be full brightness, convert them to float."
                )
            self._fill(values[i], xyz, rgb, up_axis or its_axis or self.up_axis)
        return values

    def _read(self, shape: Any, colors: Any, i: int) -> tuple[ColoredPoints, UpAxis | None, str, str]:
        """A shape's points as they come, the axis that it says is up, and what messages call points and colours."""
        name, is_bare, up_axis = f"points[{i}]", False, None
        trimesh = sys.modules.get("trimesh")  # where it was never imported, no object is of its making
        if isinstance(shape, (str, os.PathLike)):
            name = os.fspath(shape)
            if not os.path.exists(name):
                raise FileNotFoundError(
                    f"{name}: no such file. Files are read from the disk alone; download what is on the Hub or the "
                    "web."
                )
            points, up_axis = self._sample(read_shape(name, self.keep_collision, self.skip_parts), name)
        elif trimesh is not None and isinstance(shape, (trimesh.Trimesh, trimesh.Scene, trimesh.PointCloud)):
            from .trimesh_shapes import convert_shape

            points, up_axis = self._sample(
                convert_shape(shape, name, PartChoice(self.keep_collision, self.skip_parts)), name
            )
        else:
            points = split_colors(_as_array(shape, name))
            is_bare = points.rgb is None
        if colors is None:
            return points, up_axis, name, f"the colours of {name}"
        if not is_bare:
            raise ValueError(
                f"colors[{i}] is given for {name}; colors are for arrays of xyz alone, give None instead."
            )
        return ColoredPoints(points.xyz, _as_array(colors, f"colors[{i}]")), up_axis, name, f"colors[{i}]"

    def _sample(self, shape: TexturedMesh | PointCloud, name: str) -> tuple[ColoredPoints, UpAxis | None]:
        for warning in shape.warnings:
            logger.warning(f"{name}: {warning}.")
        return colored_points(shape, self.num_points), shape.up_axis

    def _fill(self, values: np.ndarray, xyz: np.ndarray, rgb: np.ndarray | None, up_axis: str) -> None:
        """Write a cloud into `values`, float32 of shape `(num_points, 6)`."""
        if self.normalize:
            # From one of its points, in float64: far from the origin (maps, scans) no digit of the shape gets lost,
            # and points that coincide are at exactly zero, where they stay.
            xyz = xyz.astype(np.float64)
            xyz -= xyz[0].copy()
            xyz -= xyz.mean(axis=0)
            radius = np.sqrt(np.einsum("ij,ij->i", xyz, xyz).max())
            if radius > 0:
                xyz /= radius
        choice = self._choice(len(xyz))
        values[:, :3] = xyz[choice]
        if up_axis != self.encoder_up_axis:  # a quarter turn about x, which way depends on where up is
            values[:, 1:3] = values[:, [2, 1]]
            values[:, 2 if up_axis == "z" else 1] *= -1
        if rgb is None:
            values[:, 3:] = self.default_color
        else:
            values[:, 3:] = rgb[choice]
            if rgb.dtype.kind in "iu":
                values[:, 3:] /= 255

    def _choice(self, available: int) -> np.ndarray | slice:
        """Which points to keep: all in their order if there are just enough, else a fixed choice."""
        if available == self.num_points:
            return slice(None)
        if available > self.num_points:
            return np.random.default_rng(0).permutation(available)[: self.num_points]
        return np.arange(self.num_points) % available


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def _check_axis(name: str, axis: str) -> None:
    if axis not in ("y", "z"):
        raise ValueError(f"{name} must be 'y' or 'z', got {axis!r}.")


def _is_batch(points: Any) -> bool:
    """Whether this is a sequence of shapes rather than one."""
    if isinstance(points, np.ndarray) or _is_tensor(points):
        return points.ndim > 2 or points.dtype == object  # an object array holds clouds of several sizes
    return isinstance(points, Sequence) and not isinstance(points, (str, bytes))


def _is_tensor(values: Any) -> bool:
    torch = sys.modules.get("torch")  # where it was never imported, nothing is a tensor of its
    return torch is not None and isinstance(values, torch.Tensor)


def _as_array(values: Any, name: str) -> np.ndarray:
    if _is_tensor(values):
        values = values.detach().cpu()
        # numpy has no bfloat16.
        values = (values.float() if values.is_floating_point() and values.itemsize == 2 else values).numpy()
    try:
        array = np.asarray(values)
    except ValueError:  # rows of several lengths
        array = np.array(None)
    if array.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} must be an array of numbers (for points also a path or an object of trimesh's), got "
            f"{type(values).__name__}{f' of {array.dtype}' if isinstance(values, np.ndarray) else ''}."
        )
    return array
