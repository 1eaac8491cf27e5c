"""Files of a few lines, read as a user's are, and what can be worked out of them by hand."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from mrd_hf.models.shape_files import colored_points, read_shape
from mrd_hf.models.shapes import PointCloud, TexturedMesh, triangle_areas


RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
# A picture of four colours, and where they are on a unit square that it covers once: (left or right, low or high).
FOUR = [[RED, GREEN], [BLUE, YELLOW]]  # top row first
FOUR_QUARTERS = {"low left": BLUE, "low right": YELLOW, "high left": RED, "high right": GREEN}


def read(folder: Path, name: str, content: str | bytes, **others: str | bytes) -> TexturedMesh | PointCloud:
    """Write a file and those beside it, whose names have `__` for a point, and read it."""
    for other, other_content in {name: content, **others}.items():
        file = folder / other.replace("__", ".")
        file.write_bytes(other_content.encode() if isinstance(other_content, str) else other_content)
    return read_shape(folder / name)


def picture(rows: object, picture_format: str = "PNG", mode: str | None = None) -> bytes:
    """A picture of rows of colours as a file; each of them covers 4 x 4 texels."""
    pixels = np.asarray(rows, dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(buffer, picture_format)
    return buffer.getvalue()


def positions(shape: TexturedMesh | PointCloud) -> np.ndarray:
    """Corners of all triangles, or the points, `(n, 3)`."""
    if isinstance(shape, PointCloud):
        return np.asarray(shape.points.xyz)
    return np.concatenate([part.triangles.reshape(-1, 3) for part in shape.parts])


def bounds(shape: TexturedMesh | PointCloud) -> tuple[list[float], list[float]]:
    xyz = positions(shape).astype(np.float64)
    return np.round(xyz.min(axis=0), 6).tolist(), np.round(xyz.max(axis=0), 6).tolist()


def faces(shape: TexturedMesh | PointCloud) -> int:
    """How many triangles have an area; 0 of a cloud."""
    if isinstance(shape, PointCloud):
        return 0
    return int(sum((triangle_areas(part.triangles) > 0).sum() for part in shape.parts))


def area(shape: TexturedMesh | PointCloud) -> float:
    assert isinstance(shape, TexturedMesh)
    return round(float(sum(triangle_areas(part.triangles).sum() for part in shape.parts)), 6)


def mean_color(shape: TexturedMesh | PointCloud) -> list[int] | None:
    """In 0..255, rounded; None where the file says none."""
    rgb = colored_points(shape, 1000).rgb
    return (
        None
        if rgb is None
        else (rgb.mean(axis=0) * (255 if rgb.dtype.kind == "f" else 1)).round().astype(int).tolist()
    )


def colors_at(shape: TexturedMesh | PointCloud, where: np.ndarray) -> set[tuple[int, ...]]:
    """The different colours of the points that lie within half a unit of one."""
    xyz, rgb = colored_points(shape, 2000)
    assert rgb is not None
    near = np.abs(xyz - np.asarray(where)).max(axis=1) < 0.5
    assert near.any()
    return {tuple(color) for color in np.unique(rgb[near], axis=0).tolist()}


def quarters(shape: TexturedMesh | PointCloud) -> dict[str, tuple[int, ...]]:
    """The one colour of each quarter of the unit square in x and y."""
    xyz, rgb = colored_points(shape, 1000)
    assert rgb is not None
    seen = {}
    for height in ("low", "high"):
        for side in ("left", "right"):
            here = ((xyz[:, 1] > 0.5) == (height == "high")) & ((xyz[:, 0] > 0.5) == (side == "right"))
            (color,) = np.unique(rgb[here], axis=0)
            seen[f"{height} {side}"] = tuple(color.tolist())
    return seen
