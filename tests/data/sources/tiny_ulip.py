"""A download of ULIP's training data, small enough to be made in a test."""

import io
import json

import numpy as np
from PIL import Image


NUM_POINTS = 32
PLANE, CHAIR, MUG = "02691156-1a0", "03001627-2b", "03797390-3c-x"
TAXONOMY = [
    {"synsetId": "02691156", "name": "airplane,aeroplane, plane", "children": ["02690373"], "numInstances": 4045},
    {"synsetId": "03001627", "name": "chair", "children": [], "numInstances": 6778},
    {"synsetId": "03797390", "name": "mug", "children": [], "numInstances": 214},
]


def png(shade):
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (shade, 0, 0, 255)).save(buffer, "PNG")
    return buffer.getvalue()


def cloud(seed, count=NUM_POINTS):
    return (np.random.default_rng(seed).random((count, 3)) * [0.2, 0.4, 0.8] + 0.3).astype(np.float32)


def picture(folder, shape_id, view, suffix=""):
    return folder / "rendered_images" / shape_id / f"{shape_id}_r_{12 * view:03d}{suffix}.png"


def write_download(folder, train=(PLANE, CHAIR), test=(MUG,)):
    """As published: clouds, renders with depth maps beside them, lists and the taxonomy."""
    (folder / "shapenet_pc").mkdir(parents=True)
    for number, shape_id in enumerate((*train, *test)):
        np.save(folder / "shapenet_pc" / f"{shape_id}.npy", cloud(number))
        picture(folder, shape_id, 0).parent.mkdir(parents=True)
        for view in range(30):
            picture(folder, shape_id, view).write_bytes(png(view))
            picture(folder, shape_id, view, "_depth0001").write_bytes(png(200))
    for split, ids in (("train", train), ("test", test)):
        (folder / f"{split}.txt").write_text("".join(f"{shape_id}.npy\n" for shape_id in ids))
    (folder / "taxonomy.json").write_text(json.dumps(TAXONOMY))
    return folder
