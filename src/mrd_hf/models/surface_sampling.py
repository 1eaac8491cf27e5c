"""Draw coloured points from the surface of a mesh, and bring them to the encoder's frame."""

import numpy as np

from .shape_colors import texel_rows_and_columns, tinted
from .shapes import ColoredPoints, TexturedMesh


# Below this opacity a texel is a hole: the leaves of most plants are cut out of rectangles by their texture.
MIN_OPACITY = 128
# Holes take most of some surfaces, so what fell into one is drawn again, but not for ever.
MAX_ROUNDS = 32


def sample_surface(mesh: TexturedMesh, num_points: int, generator: np.random.Generator) -> ColoredPoints:
    """Draw points uniformly by area, independently of each other, so in random order.

    Points that a texture makes transparent are drawn again, up to `MAX_ROUNDS` times; a mesh that is transparent all
    over keeps the last ones.

    Args:
        mesh (`TexturedMesh`): With a surface of non-zero area, as [`read_mesh`] ensures.
        num_points (`int`): How many points.
        generator (`np.random.Generator`): Source of all randomness.

    Returns:
        `ColoredPoints`: float64 positions in the mesh's own frame, and uint8 sRGB colours, also where they are a
        stand-in.
    """
    areas = [part.areas for part in mesh.parts]
    kept_points, kept_colors = [], []
    missing = num_points
    for round_number in range(MAX_ROUNDS):
        points, colors = _draw(mesh, areas, missing, generator)
        opaque = colors[:, 3] >= MIN_OPACITY if round_number < MAX_ROUNDS - 1 else np.ones(missing, dtype=bool)
        kept_points.append(points[opaque])
        kept_colors.append(colors[opaque, :3])
        missing -= int(opaque.sum())
        if missing == 0:
            break
    return ColoredPoints(np.concatenate(kept_points), np.concatenate(kept_colors))


def normalize_points(points: np.ndarray) -> np.ndarray:
    """Centre points of shape `(num_points, 3)` by their mean and scale the farthest to distance 1, as OpenShape does.

    The points must not all coincide.
    """
    centered = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    return (centered / np.linalg.norm(centered, axis=1).max()).astype(np.float32)


def _draw(
    mesh: TexturedMesh, areas: list[np.ndarray], num_points: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Positions, float64 `(num_points, 3)`, and colours with opacity, uint8 `(num_points, 4)`."""
    first_faces = np.cumsum([0] + [len(part_areas) for part_areas in areas])
    cumulative = np.cumsum(np.concatenate(areas))
    # Without the last edge, so that rounding cannot draw a face beyond the last.
    drawn = np.searchsorted(cumulative[:-1], generator.random(num_points) * cumulative[-1], side="right")
    # Of a uniform point in the unit square, the half beyond the diagonal folds back into the triangle.
    weights = generator.random((num_points, 2))
    weights = np.where(weights.sum(axis=1, keepdims=True) > 1, 1 - weights, weights)
    weights = np.concatenate([1 - weights.sum(axis=1, keepdims=True), weights], axis=1)

    points = np.empty((num_points, 3))
    colors = np.full((num_points, 4), 255, dtype=np.uint8)
    for part, first_face, end_face in zip(mesh.parts, first_faces, first_faces[1:], strict=False):
        here = np.flatnonzero((drawn >= first_face) & (drawn < end_face))
        faces, corner_weights = drawn[here] - first_face, weights[here, :, None]
        points[here] = (part.triangles[faces] * corner_weights).sum(axis=1)
        texels = None
        if part.texture is not None and part.uv is not None:
            uv = (part.uv[faces] * corner_weights).sum(axis=1)
            height, width = part.texture.shape[:2]
            texels = part.texture[texel_rows_and_columns(uv, height, width, part.wrap)]
        if part.tint is not None:
            texels = tinted(texels, (part.tint[faces] * corner_weights).sum(axis=1))
        if texels is not None:
            colors[here] = texels
        else:
            colors[here, :3] = np.round((part.corner_colors[faces] * corner_weights).sum(axis=1))
    return points, colors
