"""Meshes small enough to be made in a test."""

import numpy as np
import trimesh
from PIL import Image

from mrd_hf.models.shapes import MeshPart, TexturedMesh


QUARTERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [250, 200, 10]]], dtype=np.uint8)  # top row first


def plain_mesh(mesh: trimesh.Trimesh, color: tuple[int, int, int] = (0, 0, 0)) -> TexturedMesh:
    triangles = np.array(mesh.triangles, dtype=np.float64)
    return TexturedMesh([MeshPart(triangles, np.full((len(triangles), 3, 3), color, dtype=np.uint8))])


def quad(texture: np.ndarray | None = None, color: tuple[int, int, int] = (0, 0, 0), z: float = 0) -> MeshPart:
    """A square in the plane of x and y, from -1 to 1, seen from +z; the texture covers it once."""
    uv = np.array([[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]], dtype=np.float64)
    triangles = np.concatenate([uv * 2 - 1, np.full((2, 3, 1), z)], axis=-1)
    if texture is not None and texture.shape[-1] == 3:
        texture = np.concatenate([texture, np.full((*texture.shape[:2], 1), 255, dtype=np.uint8)], axis=-1)
    return MeshPart(triangles, np.full((2, 3, 3), color, dtype=np.uint8), texture, None if texture is None else uv)


def glb(texture: Image.Image | None = None) -> bytes:
    """A box, textured or red."""
    box = trimesh.creation.box(extents=(1, 2, 3))
    if texture is None:
        box.visual.vertex_colors = [255, 0, 0, 255]
    else:
        material = trimesh.visual.material.PBRMaterial(name="skin", baseColorTexture=texture)
        box.visual = trimesh.visual.TextureVisuals(uv=box.vertices[:, :2], material=material)
    return box.export(file_type="glb")
