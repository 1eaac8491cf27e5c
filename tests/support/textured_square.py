"""A square with a texture of four colours, as an object and in files."""

from pathlib import Path

import numpy as np
import trimesh
from PIL import Image


def quarters() -> Image.Image:
    """Red and green above, blue and white below, as they are in the file."""
    image = Image.new("RGB", (8, 8), (255, 255, 255))
    for corner, color in (((0, 0), (255, 0, 0)), ((4, 0), (0, 255, 0)), ((0, 4), (0, 0, 255))):
        image.paste(color, (*corner, corner[0] + 4, corner[1] + 4))
    return image


def textured_square(image: Image.Image) -> trimesh.Trimesh:
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=float)
    visual = trimesh.visual.TextureVisuals(
        uv=corners[:, :2], material=trimesh.visual.material.PBRMaterial(baseColorTexture=image)
    )
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)


def write_textured_obj(folder: Path) -> Path:
    quarters().save(folder / "paint.png")
    (folder / "square.mtl").write_text("newmtl paint\nKd 0 0 0\nmap_Kd paint.png\n")
    (folder / "square.obj").write_text(
        "mtllib square.mtl\nusemtl paint\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        "f 1/1 2/2 3/3 4/4\n"
    )
    return folder / "square.obj"
