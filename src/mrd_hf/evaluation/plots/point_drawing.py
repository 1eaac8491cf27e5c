"""Draw a coloured point cloud so that its surfaces look closed: one small shaded disc a point, far ones first.

The discs lie in the surface (as surfels do; Pfister et al., SIGGRAPH 2000), which keeps edges crisp and lets light
show the shape; the surface's direction at a point is the one its neighbours vary least in.
"""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection


AZIMUTH, ELEVATION = np.radians(30), np.radians(20)
# In camera axes (right, up, towards the viewer): over the viewer's left shoulder.
LIGHT = np.array([-0.45, 0.65, 0.62]) / np.linalg.norm([-0.45, 0.65, 0.62])
AMBIENT = 0.55
DEPTH_FADE = 0.15
MAX_POINTS = 4096
NUM_NEIGHBORS = 16
# A disc reaches to about this many times the distance of the fourth-nearest neighbour.
RADIUS_FACTOR = 1.0
THINNEST_DISC = 0.3


class Discs(NamedTuple):
    """Projected discs, far ones first; lengths are in units of half the drawing's side.

    Args:
        centers (`np.ndarray` of shape `(num_points, 2)`): Right and up.
        diameters (`np.ndarray` of shape `(num_points, 2)`): Across and along the direction the disc is tilted in.
        angles (`np.ndarray` of shape `(num_points,)`): Of the first diameter, in degrees from the right.
        colors (`np.ndarray` of shape `(num_points, 3)`): Shaded, in 0..1.
    """

    centers: np.ndarray
    diameters: np.ndarray
    angles: np.ndarray
    colors: np.ndarray


def draw_points(axes: Axes, points: np.ndarray, colors: np.ndarray) -> None:
    """Draw a cloud from a three-quarter view, filling the axes, whose frame and scale this sets.

    Args:
        axes (`matplotlib.axes.Axes`):
            Where to draw; should be square.
        points (`np.ndarray` of shape `(num_points, 3)`):
            xyz in any unit, y up, front towards z, in random order: of many points the first 4,096 are drawn.
        colors (`np.ndarray` of shape `(num_points, 3)`):
            sRGB, 0..255.
    """
    discs = project_discs(points, colors)
    axes.set_axis_off()
    axes.set_xlim(-1, 1)
    axes.set_ylim(-1, 1)
    axes.set_aspect("equal")
    axes.add_collection(
        EllipseCollection(
            discs.diameters[:, 0],
            discs.diameters[:, 1],
            discs.angles,
            units="xy",
            offsets=discs.centers,
            offset_transform=axes.transData,
            facecolors=discs.colors,
            linewidths=0,
            clip_on=False,  # a disc may reach over the edge
        )
    )


def project_discs(points: np.ndarray, colors: np.ndarray) -> Discs:
    """The discs that [`draw_points`] draws; see there for the arguments."""
    points = np.asarray(points[:MAX_POINTS], dtype=np.float32)
    shown_colors = np.asarray(colors[:MAX_POINTS], dtype=np.float32) / 255
    seen = points @ _camera().T
    low, high = seen.min(axis=0), seen.max(axis=0)
    seen = (seen - (low + high) / 2) / max(float((high - low)[:2].max()) / 2, 1e-6) * 0.92
    normals, spacing = _normals_and_spacing(seen)

    radius = RADIUS_FACTOR * np.clip(spacing, *np.quantile(spacing, [0.1, 0.95]))
    facing = normals[:, 2]
    tilt = np.degrees(np.arctan2(normals[:, 1], normals[:, 0]))
    diameters = 2 * radius[:, None] * np.stack([np.maximum(facing, THINNEST_DISC), np.ones_like(facing)], axis=1)

    depth = np.clip((seen[:, 2] - seen[:, 2].min()) / max(float(np.ptp(seen[:, 2])), 1e-6), 0, 1)  # 1 is nearest
    light = AMBIENT + (1 - AMBIENT) * np.clip(normals @ LIGHT, 0, 1)
    lit = shown_colors * light[:, None]
    lit += DEPTH_FADE * (1 - depth[:, None]) * (0.85 - lit)  # what is far fades a little into the air
    order = np.argsort(seen[:, 2], kind="stable")
    return Discs(seen[order, :2], diameters[order], tilt[order], np.clip(lit[order], 0, 1))


def _camera() -> np.ndarray:
    """Rotation (3, 3) from the shape's axes to right, up and towards the viewer."""
    towards = np.array(
        [np.sin(AZIMUTH) * np.cos(ELEVATION), np.sin(ELEVATION), np.cos(AZIMUTH) * np.cos(ELEVATION)],
        dtype=np.float32,
    )
    right = np.cross([0, 1, 0], towards)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(towards, right), towards]).astype(np.float32)


def _normals_and_spacing(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals turned to the viewer (num_points, 3), and the distance to the fourth-nearest neighbour."""
    num_neighbors = min(NUM_NEIGHBORS, len(seen) - 1)
    if num_neighbors < 1:
        return np.tile(np.array([0, 0, 1], dtype=np.float32), (len(seen), 1)), np.full(len(seen), 0.05)
    square = (seen**2).sum(axis=1)
    distance = np.maximum(square[:, None] + square - 2 * seen @ seen.T, 0)  # 64 MB at 4,096 points
    nearest = np.argpartition(distance, num_neighbors, axis=1)[:, : num_neighbors + 1]
    near = np.sort(np.sqrt(np.take_along_axis(distance, nearest, axis=1)), axis=1)
    offsets = seen[nearest] - seen[nearest].mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(offsets.transpose(0, 2, 1) @ offsets)
    normals = axes[:, :, 0]  # of the smallest eigenvalue
    return normals * np.where(normals[:, 2:] < 0, -1, 1), near[:, min(4, num_neighbors)]
