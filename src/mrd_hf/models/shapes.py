"""What a shape is once it has been read: a mesh of coloured triangles, or a cloud of coloured points."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np


FLOAT32_MAX = np.finfo(np.float32).max
# Grey level, 0..1, that encoders see where a shape has no colours, OpenShape's.
UNCOLORED = 0.4
# How far floats may be beyond 0..1.
COLOR_ROUNDING = 0.01
# A light grey for parts without a colour beside others that have one, as most viewers show them; glTF has white.
DEFAULT_COLOR = (200, 200, 200)
# What a texture shows beyond its edges.
Wrap = Literal["repeat", "mirror", "clamp"]
UpAxis = Literal["y", "z"]
# (x, y, z) to (x, z, -y), as the feature extractor does it; what faced -y, the front of most z-up models, faces +z.
Z_UP_TO_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
# What says a colour; the first that a part has, of those that its format lets count.
ColorSource = Literal["texture", "vertex colours", "face colours", "material"]


class ColoredPoints(NamedTuple):
    """A point cloud.

    Args:
        xyz (`np.ndarray` of shape `(num_points, 3)`): In any unit.
        rgb (`np.ndarray` of shape `(num_points, 3)`, *optional*):
            sRGB, integers in 0..255 or floats in 0..1: the type decides. None where the shape has no colours.
    """

    xyz: np.ndarray
    rgb: np.ndarray | None


def check_colored_points(points: ColoredPoints, name: str, colors_name: str | None = None) -> ColoredPoints:
    """The cloud, if nothing is wrong with it; colours that are a rounding beyond 0..1 are cut to it.

    Args:
        points (`ColoredPoints`)
        name (`str`), colors_name (`str`, *optional*): What the message calls the points, and their colours.

    Raises:
        ValueError: Shapes, types or ranges are wrong, or numbers are not finite; the message says what.
    """
    xyz, rgb = points
    if xyz.dtype.kind not in "fiu" or xyz.ndim != 2 or xyz.shape[1] != 3 or len(xyz) == 0:
        raise ValueError(
            f"{name} must have shape (num_points, 3), or (num_points, 6) with colours, and at least one point; got "
            f"{xyz.shape} of {xyz.dtype}."
        )
    if not (xyz.min() >= -FLOAT32_MAX and xyz.max() <= FLOAT32_MAX):  # False for nan as well
        bad = int((~(np.abs(xyz.astype(np.float64)) <= FLOAT32_MAX)).sum())
        raise ValueError(f"{name} has {bad} values that are not finite (or beyond 3.4e38); remove those points.")
    if rgb is None:
        return points
    name = colors_name or f"the colours of {name}"
    if rgb.shape != xyz.shape or rgb.dtype.kind not in "fiu":
        raise ValueError(f"{name} must have shape {xyz.shape} as its points, got {rgb.shape} of {rgb.dtype}.")
    low, high = rgb.min(), rgb.max()
    if rgb.dtype.kind == "f":
        if not (low > -COLOR_ROUNDING and high < 1 + COLOR_ROUNDING):  # False for nan as well
            raise ValueError(
                f"{name} must be integers in 0..255 or floats in 0..1, got floats from {low:g} to {high:g}; divide by "
                "255 or convert to integers if they are in 0..255 (or are these normals?)."
            )
    elif low < 0 or high > 255:
        raise ValueError(f"{name} must be integers in 0..255 or floats in 0..1, got integers from {low} to {high}.")
    return points if low >= 0 and (high <= 1 or rgb.dtype.kind != "f") else ColoredPoints(xyz, np.clip(rgb, 0, 1))


class MeshError(ValueError):
    """A mesh that cannot be used: unreadable, or without any surface. The message names the file."""


@dataclass(frozen=True)
class MeshPart:
    """Triangles that are coloured in one way: by a texture where there is one, else by their corners.

    Args:
        triangles (`np.ndarray` of shape `(num_faces, 3, 3)`): float64 corner positions, in the file's own unit.
        corner_colors (`np.ndarray` of shape `(num_faces, 3, 3)`): uint8 sRGB of each corner.
        texture (`np.ndarray` of shape `(height, width, 4)`, *optional*):
            uint8 sRGB and opacity, top row first. Opacity is for cut-outs only: glass is a surface like any other.
        uv (`np.ndarray` of shape `(num_faces, 3, 2)`, *optional*):
            Texture coordinates of each corner, (0, 0) the texture's lower left; there whenever `texture` is.
        color_source (`ColorSource`, *optional*): None where the file says no colour, and there is a stand-in.
        tint (`np.ndarray` of shape `(num_faces, 3, 4)`, *optional*):
            float32 linear RGB and opacity of each corner. Multiplies the texture; without one, it is the colour.
        wrap (pair of `Wrap`, defaults to repeating): In u and in v.
        name (`str`, defaults to `""`): What the file calls it.
        groups (tuple of `str`): Names of what it is in, from outside: nodes, the mesh; objects and groups.
    """

    triangles: np.ndarray
    corner_colors: np.ndarray
    texture: np.ndarray | None = None
    uv: np.ndarray | None = None
    color_source: ColorSource | None = "material"
    tint: np.ndarray | None = None
    wrap: tuple[Wrap, Wrap] = ("repeat", "repeat")
    name: str = ""
    groups: tuple[str, ...] = ()

    @property
    def is_colored(self) -> bool:
        """Whether the file says a colour."""
        return self.color_source is not None

    @cached_property
    def areas(self) -> np.ndarray:
        """Of each triangle, `(num_faces,)`."""
        return triangle_areas(self.triangles)


@dataclass(frozen=True)
class TexturedMesh:
    """A mesh as it was read from a file.

    Args:
        parts (`list[MeshPart]`)
        warnings (`list[str]`): What was left out or replaced to read it (lines, missing textures), one line each.
        up_axis (`UpAxis`, *optional*): Which axis the format or the file defines to point up; None where neither does.
        extensions (`list[str]`): Of the format that the file uses.
    """

    parts: list[MeshPart]
    warnings: list[str] = field(default_factory=list)
    up_axis: UpAxis | None = None
    extensions: list[str] = field(default_factory=list)

    @property
    def is_colored(self) -> bool:
        """Whether the file says a colour of any part."""
        return any(part.is_colored for part in self.parts)

    def y_up(self, up_axis: UpAxis | None = None) -> "TexturedMesh":
        """The mesh with y up: turned if `up_axis` or, without one, the file says that z is."""
        turned = self.rotated(Z_UP_TO_Y_UP) if (up_axis or self.up_axis) == "z" else self
        return replace(turned, up_axis="y")

    def rotated(self, rotation: np.ndarray) -> "TexturedMesh":
        """The mesh with `rotation`, of shape `(3, 3)`, applied to every position."""
        return replace(self, parts=[replace(part, triangles=part.triangles @ rotation.T) for part in self.parts])


@dataclass(frozen=True)
class PointCloud:
    """The points of a file without any face.

    Args:
        points (`ColoredPoints`)
        color_source (`ColorSource`, *optional*): None where there are no colours.
        warnings, up_axis, extensions: As of a [`TexturedMesh`].
    """

    points: ColoredPoints
    color_source: ColorSource | None = None
    warnings: list[str] = field(default_factory=list)
    up_axis: UpAxis | None = None
    extensions: list[str] = field(default_factory=list)


def triangle_areas(triangles: np.ndarray) -> np.ndarray:
    """Areas, of shape `(num_faces,)`, of triangles of shape `(num_faces, 3, 3)`."""
    (ax, ay, az), (bx, by, bz) = ((triangles[:, corner] - triangles[:, 0]).T for corner in (1, 2))
    # Written out, as numpy's cross and norm take three times as long on arrays of this form.
    return np.sqrt((ay * bz - az * by) ** 2 + (az * bx - ax * bz) ** 2 + (ax * by - ay * bx) ** 2) / 2
