"""Corruptions of raw point clouds, for a table of an encoder's robustness to them.

Each is applied to a cloud as it was read, before the feature extractor centres and scales it. What is drawn depends on
the seed, the kind of corruption and the shape's index alone, so a shape is corrupted the same way in any batch, order
or process; corruptions of one kind share their draws, so that the 512 points of `thin_512` are among those of
`thin_1024`, and `cut_25` removes a part of what `cut_50` does.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from ...models.shapes import ColoredPoints


UpAxis = Literal["y", "z"]

JITTER_STD = 0.01  # in radii of the cloud, which the encoder sees as 1
JITTER_MAX = 0.05
THINNED_SIZES = (10_000, 4096, 2048, 1024, 512)


@dataclass(frozen=True)
class Corruption:
    """One way to corrupt a cloud.

    Args:
        name (`str`): For [`corrupt`] and a report's keys.
        title (`str`): For a reader.
        kind (`str`): Corruptions of one kind share their draws.
        apply (callable): Of points (m, 3) in float64, colours (m, 3) or None, the up axis and a generator; returns the
            corrupted points and colours.
    """

    name: str
    title: str
    kind: str
    apply: Callable[[np.ndarray, np.ndarray | None, UpAxis, np.random.Generator], ColoredPoints]


def corrupt(
    name: str, points: np.ndarray, colors: np.ndarray | None, up_axis: UpAxis, seed: int, index: int
) -> ColoredPoints:
    """Corrupt a cloud.

    Args:
        name (`str`): One of [`CORRUPTIONS`].
        points (`np.ndarray` of shape `(m, 3)`): Floats, in any unit; left as they are.
        colors (`np.ndarray` of shape `(m, 3)`, *optional*): Of any type.
        up_axis (`"y"` or `"z"`): Which axis points up.
        seed (`int`): At least 0.
        index (`int`): The shape's index in the test set, at least 0.

    Returns:
        `tuple`: New points, of the same type, and their colours or None; no fewer than one point.

    Raises:
        ValueError: If there is no such corruption, or the cloud is malformed.
    """
    if name not in _BY_NAME:
        raise ValueError(f"there is no corruption '{name}'; there are {', '.join(_BY_NAME)}")
    if up_axis not in ("y", "z"):
        raise ValueError(f"up_axis must be 'y' or 'z', got {up_axis!r}")
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0 or points.dtype.kind != "f":
        raise ValueError(
            f"points must be floats of shape (m, 3), at least one point, got {points.shape} of {points.dtype}"
        )
    if colors is not None and colors.shape != points.shape:
        raise ValueError(f"colors must have shape {points.shape} as the points, got {colors.shape}")
    corruption = _BY_NAME[name]
    generator = np.random.default_rng([seed, zlib.crc32(corruption.kind.encode()), index])
    new_points, new_colors = corruption.apply(points.astype(np.float64), colors, up_axis, generator)
    return ColoredPoints(new_points.astype(points.dtype), None if new_colors is None else new_colors.copy())


def drop_colors(
    points: np.ndarray, colors: np.ndarray | None, up_axis: UpAxis, generator: np.random.Generator
) -> ColoredPoints:
    """No colours, for which the feature extractor then puts its grey."""
    return ColoredPoints(points, None)


def thin(
    points: np.ndarray, colors: np.ndarray | None, up_axis: UpAxis, generator: np.random.Generator, size: int
) -> ColoredPoints:
    """A random choice of `size` points, in their old order; a cloud of no more than those is left as it is."""
    return _keep(points, colors, generator.permutation(len(points))[:size])


def jitter(
    points: np.ndarray, colors: np.ndarray | None, up_axis: UpAxis, generator: np.random.Generator
) -> ColoredPoints:
    """Gaussian noise of each coordinate, 0.01 of the cloud's radius and no more than 0.05 of it.

    The radius is the distance of the farthest point from the mean: after the feature extractor's scaling these are
    0.01 and 0.05 of the unit sphere, but for the little that the noise changes mean and radius.
    """
    radius = np.linalg.norm(points - points.mean(axis=0), axis=1).max()
    noise = np.clip(JITTER_STD * generator.standard_normal(points.shape), -JITTER_MAX, JITTER_MAX)
    return ColoredPoints(points + radius * noise, colors)


def turn(
    points: np.ndarray, colors: np.ndarray | None, up_axis: UpAxis, generator: np.random.Generator
) -> ColoredPoints:
    """A turn by any angle about the upward line through the mean."""
    angle = generator.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    turned = {
        "y": np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]),
        "z": np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]),
    }[up_axis]
    return ColoredPoints(_about_mean(points, turned), colors)


def rotate_freely(
    points: np.ndarray, colors: np.ndarray | None, up_axis: UpAxis, generator: np.random.Generator
) -> ColoredPoints:
    """Any rotation about the mean, all alike probable: that of a quaternion of four Gaussians (Shoemake 1992)."""
    quaternion = generator.standard_normal(4)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return ColoredPoints(_about_mean(points, rotation), colors)


def cut(
    points: np.ndarray, colors: np.ndarray | None, up_axis: UpAxis, generator: np.random.Generator, share: float
) -> ColoredPoints:
    """Without the points beyond a plane of any direction, placed so that it cuts off a share of them."""
    direction = generator.standard_normal(3)
    return _without_lowest(points, colors, (points - points.mean(axis=0)) @ -direction, share)


def hole(
    points: np.ndarray, colors: np.ndarray | None, up_axis: UpAxis, generator: np.random.Generator, share: float
) -> ColoredPoints:
    """Without a share of the points, those nearest to one of them, as where something stood in the scanner's way."""
    center = points[generator.integers(len(points))]
    return _without_lowest(points, colors, ((points - center) ** 2).sum(axis=1), share)


def _keep(points: np.ndarray, colors: np.ndarray | None, rows: np.ndarray) -> ColoredPoints:
    """Some points with their colours, in their old order, which decides where sampling starts."""
    rows = np.sort(rows)
    return ColoredPoints(points[rows], None if colors is None else colors[rows])


def _without_lowest(points: np.ndarray, colors: np.ndarray | None, values: np.ndarray, share: float) -> ColoredPoints:
    removed = min(round(share * len(points)), len(points) - 1)
    return _keep(points, colors, np.argsort(values, kind="stable")[removed:])


def _about_mean(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    mean = points.mean(axis=0)
    return (points - mean) @ rotation.T + mean


CORRUPTIONS = (
    Corruption("no_color", "without colors", "no_color", drop_colors),
    *(
        Corruption(f"thin_{size}", f"thinned to {size:,} points", "thin", partial(thin, size=size))
        for size in THINNED_SIZES
    ),
    Corruption("jitter", "jittered by 1% of the radius", "jitter", jitter),
    Corruption("turn", "turned about the up axis", "turn", turn),
    Corruption("rotate", "rotated freely", "rotate", rotate_freely),
    Corruption("cut_25", "a quarter cut off", "cut", partial(cut, share=0.25)),
    Corruption("cut_50", "half cut off", "cut", partial(cut, share=0.5)),
    Corruption("hole_25", "a quarter missing around a point", "hole", partial(hole, share=0.25)),
)
_BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}
