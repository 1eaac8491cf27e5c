"""Draw coloured points from the surface of a mesh, and bring them to the encoder's frame."""

import numpy as np

from .shape_colors import texel_rows_and_columns, tinted
from .shapes import ColoredPoints, TexturedMesh


# Below this opacity a texel is a hole: the leaves of most plants are cut out of rectangles by their texture.
MIN_OPACITY = 128
# Holes take most of some surfaces, so what fell into one is drawn again, but not for ever: so many times as many
# points are drawn as are wanted, and fewer as long as all fell into holes. Not more than so many at once.
MAX_DRAWS, MAX_VAIN_DRAWS, MAX_AT_ONCE = 400, 32, 2**18


def sample_surface(mesh: TexturedMesh, num_points: int, generator: np.random.Generator) -> ColoredPoints:
    """Draw points uniformly by area, independently of each other, so in random order.

    Points that a texture makes transparent are drawn again. A mesh that is transparent all over keeps its last ones;
    of one that is so nearly all over, points may come twice.

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
    drawn = kept = 0
    while True:
        # As many as are likely to be needed; as long as none was kept, twice as many each time.
        likely = int(1.1 * (num_points - kept) * drawn / kept) if kept else drawn
        size = min(max(num_points - kept, likely), max(num_points, MAX_AT_ONCE))
        points, colors = _draw(mesh, areas, size, generator)
        opaque = colors[:, 3] >= MIN_OPACITY
        drawn += size
        if not kept and not opaque.any() and drawn >= MAX_VAIN_DRAWS * num_points:
            opaque[:] = True
        kept_points.append(points[opaque])
        kept_colors.append(colors[opaque, :3])
        kept += int(opaque.sum())
        if kept >= num_points or drawn >= MAX_DRAWS * num_points:
            break
    chosen = np.arange(num_points) % max(kept, 1)
    return ColoredPoints(np.concatenate(kept_points)[chosen], np.concatenate(kept_colors)[chosen])


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
    part_of = np.searchsorted(first_faces[1:], drawn, side="right")
    order = np.argsort(part_of, kind="stable")
    numbers, starts = np.unique(part_of[order], return_index=True)
    for number, here in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
        part, first_face = mesh.parts[number], first_faces[number]
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
