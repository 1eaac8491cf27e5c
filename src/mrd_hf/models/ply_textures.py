"""Textures of PLY files: comments name them, as MeshLab writes it; corners or vertices say where they lie."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .ply_text import ListProperty, PlyText, Property
from .textures import Textures


UV_NAMES = (
    *(("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"), ("tex_u", "tex_v")),
    *(("tx", "ty"), ("u0", "v0"), ("texcoord_u", "texcoord_v")),
)
NO_TEXTURE = -1


def texture_names(text: PlyText) -> list[str]:
    """Files that comments name."""
    found = [re.fullmatch(r"(?i)texturefile:?\s+(.+)", comment) for comment in text.comments]
    return [match[1].strip().strip("\"'") for match in found if match]


def place_textures(
    text: PlyText, faces: dict[str, Property], corners: np.ndarray, owners: np.ndarray, here: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Where textures lie on triangles.

    Args:
        text (`PlyText`)
        faces (`dict[str, Property]`): Of the polygons that the triangles are of.
        corners (`np.ndarray` of shape `(num_triangles, 3)`): Corners of the polygons, counted one after another.
        owners (`np.ndarray` of shape `(num_triangles,)`): Polygons.
        here (`np.ndarray` of shape `(num_triangles, 3)`): Vertices.

    Returns:
        Texture coordinates, `(num_triangles, 3, 2)`, and the number of the texture of each, `(num_triangles,)`, or
        `NO_TEXTURE`; None where there are no coordinates.
    """
    uv, has_uv = np.zeros((len(here), 3, 2)), np.zeros(len(here), dtype=bool)
    by_corner, indices = faces.get("texcoord"), faces.get("")
    if isinstance(by_corner, ListProperty) and isinstance(indices, ListProperty):
        sizes = indices.lengths
        has_uv = (by_corner.lengths == 2 * sizes)[owners]
        within = corners - (np.cumsum(sizes) - sizes)[owners][:, None]
        firsts = (np.cumsum(by_corner.lengths) - by_corner.lengths)[owners][:, None] + 2 * within
        firsts = firsts[has_uv]
        uv[has_uv] = np.stack([by_corner.values[firsts], by_corner.values[firsts + 1]], axis=2)
    vertices = text.elements["vertex"]
    pair = next((pair for pair in UV_NAMES if all(isinstance(vertices.get(name), np.ndarray) for name in pair)), None)
    if pair is not None and not has_uv.any():
        of_vertices = np.stack([np.asarray(vertices[name], dtype=np.float64) for name in pair], axis=1)
        uv, has_uv = of_vertices.take(here, axis=0), np.ones(len(here), dtype=bool)
    if not has_uv.any():
        return None
    numbers = faces.get("texnumber")
    chosen = (
        np.asarray(numbers)[owners].astype(np.int64) if isinstance(numbers, np.ndarray) else np.zeros(len(here), int)
    )
    return np.nan_to_num(uv, posinf=0.0, neginf=0.0), np.where(has_uv, chosen, NO_TEXTURE)


@dataclass(frozen=True)
class Pictures:
    """Reads the textures that a file names.

    Args:
        get (`Callable[[str], bytes]`): Content of a file by its name. Raises `FileNotFoundError`.
        textures (`Textures`)
    """

    get: Callable[[str], bytes]
    textures: Textures

    def read(self, name: str) -> np.ndarray | None:
        """Texels of a picture, or None and a warning."""
        try:
            return self.textures.decode(self.get(name), name)
        except FileNotFoundError as error:
            self.textures.warnings.append(str(error))
            return None
