"""What a glTF file shows when it is read: corners, area and colours, for comparison with numbers by hand."""

import numpy as np

from mrd_hf.models.gltf_reading import read_gltf
from mrd_hf.models.shape_files import colored_points
from mrd_hf.models.shapes import PointCloud, TexturedMesh

from .gltf_writer import Gltf


def read(data: bytes | Gltf, files: dict[str, bytes] | None = None) -> TexturedMesh | PointCloud:
    """The shape of a file, which may name `files`."""

    def get(name: str) -> bytes:
        if name not in (files or {}):
            raise FileNotFoundError(f"file not found: {name}")
        return files[name]

    return read_gltf(data.gltf() if isinstance(data, Gltf) else data, get)


def corners(data: bytes | Gltf) -> np.ndarray:
    """Of all triangles, `(num_faces, 3, 3)`."""
    return np.concatenate([part.triangles for part in read(data).parts])


def bounds(data: bytes | Gltf) -> list[list[float]]:
    """Lowest and highest corner."""
    points = corners(data).reshape(-1, 3)
    return [np.round(points.min(axis=0), 5).tolist(), np.round(points.max(axis=0), 5).tolist()]


def area(data: bytes | Gltf) -> float:
    first, second, third = corners(data).transpose(1, 0, 2)
    return round(float(np.linalg.norm(np.cross(second - first, third - first), axis=1).sum() / 2), 5)


def color(data: bytes | Gltf, files: dict[str, bytes] | None = None) -> list[int]:
    """The only colour, sRGB."""
    (found,) = colors(data, files)
    return list(found)


def colors(data: bytes | Gltf, files: dict[str, bytes] | None = None, count: int = 300) -> set[tuple[int, ...]]:
    """All colours of points of the surface."""
    rgb = colored_points(read(data, files), count).rgb
    assert rgb is not None, "uncoloured"
    return {tuple(row) for row in rgb.tolist()}


def quarters(data: bytes | Gltf, files: dict[str, bytes] | None = None) -> list[tuple[int, ...]]:
    """The only colour of each quarter of the unit square: upper left, upper right, lower left, lower right."""
    xyz, rgb = colored_points(read(data, files), 400)
    assert rgb is not None, "uncoloured"
    found = []
    for upper in (True, False):
        for right in (False, True):
            here = ((xyz[:, 0] > 0.5) == right) & ((xyz[:, 1] > 0.5) == upper)
            (only,) = np.unique(rgb[here], axis=0)
            found.append(tuple(only.tolist()))
    return found


def srgb(linear: float) -> int:
    """A share of light as sRGB, 0..255, by the standard's formula."""
    linear = min(max(linear, 0.0), 1.0)
    return round(255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055))
