"""Polygons into triangles: convex ones as fans, concave ones by clipping ears."""

from collections.abc import Iterator

import numpy as np

from .shape_limits import MAX_CORNERS


def triangulate(
    positions: np.ndarray, vertices: np.ndarray, sizes: np.ndarray, warnings: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Split polygons into triangles.

    Args:
        positions (`np.ndarray` of shape `(num_vertices, 3)`)
        vertices (`np.ndarray` of shape `(num_corners,)`): Rows of `positions`, polygon after polygon.
        sizes (`np.ndarray` of shape `(num_polygons,)`): Corners of each; those with fewer than three give nothing.
        warnings (list of `str`): Gets a line where concave polygons could not be split well.

    Returns:
        Rows of `vertices`, `(num_triangles, 3)`, and the polygon that each triangle is of, `(num_triangles,)`; in the
        order of the polygons.
    """
    if len(sizes) and (sizes == 3).all():
        return np.arange(len(vertices)).reshape(-1, 3), np.arange(len(sizes))
    firsts = np.cumsum(sizes) - sizes
    found, owners = [], []
    for size in np.unique(sizes).tolist():
        if size < 3:
            continue
        polygons = np.flatnonzero(sizes == size)
        corners = firsts[polygons][:, None] + np.arange(size)
        is_fan = np.ones(len(polygons), dtype=bool)
        if size == 4:
            # Of a concave quad the other diagonal lies within.
            rows = np.flatnonzero(_is_concave(positions[vertices[corners]]))
            turned = np.roll(corners[rows], -1, axis=1)
            better = ~_is_concave(positions[vertices[turned]])
            corners[rows[better]] = turned[better]
        elif size > MAX_CORNERS:
            if _is_concave(positions[vertices[corners]]).any():
                warnings.append(
                    f"concave polygons of more than {MAX_CORNERS:,} corners are split as if they were convex"
                )
        elif size > 4:
            rows = np.flatnonzero(_is_concave(positions[vertices[corners]]))
            for row, ears in zip(
                rows.tolist(), _clip_ears(positions[vertices[corners[rows]]], warnings), strict=False
            ):
                if len(ears):  # fewer than of a fan where corners are repeated or in line
                    is_fan[row] = False
                    found.append(corners[row][ears])
                    owners.append(np.full(len(ears), polygons[row]))
        corners = corners[is_fan]
        fans = np.stack([corners[:, [0] * (size - 2)], corners[:, 1:-1], corners[:, 2:]], axis=2)
        found.append(fans.reshape(-1, 3))
        owners.append(np.repeat(polygons[is_fan], size - 2))
    if not found:
        return np.zeros((0, 3), dtype=np.int64), np.zeros(0, dtype=np.int64)
    triangles, owner = np.concatenate(found), np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return triangles[order], owner[order]


def cut_holes(rings: list[np.ndarray], warnings: list[str]) -> np.ndarray:
    """Split a polygon with holes into triangles.

    Args:
        rings (list of `np.ndarray` of shape `(num_corners, 3)`): Positions of the outer corners, then of each hole's.
        warnings (list of `str`): Gets a line where the holes stay filled.

    Returns:
        Places in the corners of all rings, one after the other, `(num_triangles, 3)`.
    """
    positions = np.concatenate(rings)
    ends = np.cumsum([len(ring) for ring in rings]).astype(np.uint32)
    why = "" if len(positions) <= MAX_CORNERS else f"of more than {MAX_CORNERS:,} corners"
    try:
        import mapbox_earcut
    except ImportError:
        why = "pip install mapbox_earcut"
    if not why and np.isfinite(positions).all():
        dropped = int(np.abs(_normals(rings[0][None] - rings[0][:1])[0]).argmax())
        flat = np.ascontiguousarray(np.delete(positions, dropped, axis=1))
        ears = np.asarray(mapbox_earcut.triangulate_float64(flat, ends), dtype=np.int64)
        if len(ears):
            return ears.reshape(-1, 3)
    warnings.append(f"holes of polygons filled: {why or 'they cannot be cut'}")
    following = np.arange(1, len(rings[0]) - 1)
    return np.stack([np.zeros_like(following), following, following + 1], axis=1)


def _normals(polygons: np.ndarray) -> np.ndarray:
    """Newell's normals, not of unit length, of polygons of shape `(num_polygons, size, 3)`."""
    following = np.roll(polygons, -1, axis=1)
    return np.cross(polygons, following).sum(axis=1)


def _is_concave(polygons: np.ndarray) -> np.ndarray:
    """Whether a fan from the first corner would leave the polygon: some of its triangles face the other way."""
    with np.errstate(invalid="ignore", over="ignore"):
        normals = _normals(polygons - polygons[:, :1])
        edges = polygons[:, 1:] - polygons[:, :1]
        facing = np.einsum("nsd,nd->ns", np.cross(edges[:, :-1], edges[:, 1:]), normals)
        size = (normals**2).sum(axis=1)
        return (facing < -1e-9 * size[:, None]).any(axis=1)


def _clip_ears(polygons: np.ndarray, warnings: list[str]) -> Iterator[np.ndarray]:
    """Triangles, `(num_triangles, 3)`, of each polygon seen along its normal; a warning without the package for it."""
    try:
        import mapbox_earcut
    except ImportError:
        if len(polygons):
            warnings.append("concave polygons are split as if they were convex: pip install mapbox_earcut")
        return
    dropped = np.abs(_normals(polygons - polygons[:, :1])).argmax(axis=1)
    flat = np.take_along_axis(polygons, np.array([[1, 2], [0, 2], [0, 1]])[dropped][:, None], axis=2)
    finite = np.isfinite(flat).all(axis=(1, 2))
    ends = np.array([polygons.shape[1]], dtype=np.uint32)
    for polygon, is_finite in zip(np.ascontiguousarray(flat), finite.tolist(), strict=True):
        ears = mapbox_earcut.triangulate_float64(polygon, ends) if is_finite else ()
        yield np.asarray(ears, dtype=np.int64).reshape(-1, 3)
