"""A small encoder, and the same shape in every kind of file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import trimesh
from PIL import Image
from support.tiny_encoders import tiny_encoder
from support.tiny_meshes import QUARTERS, glb
from support.tiny_teachers import CLIP_WIDTH

from mrd_hf import PointCloudFeatureExtractor


def save_encoder(folder: Path) -> Path:
    """An encoder that names no teacher; its classes are in classes.parquet beside it."""
    tiny_encoder("openshape", projection_dim=CLIP_WIDTH, initializer_range=0.3).save_pretrained(folder)
    PointCloudFeatureExtractor(num_points=64).save_pretrained(folder)
    embeds = np.random.default_rng(0).standard_normal((3, CLIP_WIDTH)).astype(np.float32)
    table = {"label": ["chair", "mug", "lamp"], "text_embed": list(embeds)}
    pq.write_table(pa.table(table), folder.parent / "classes.parquet")
    return folder


def write_shapes(folder: Path) -> list[str]:
    """Returns the names of the files, one of each kind that is read; some with a second file beside them."""
    folder.mkdir()
    (folder / "box.glb").write_bytes(glb())
    ball = trimesh.creation.icosphere(subdivisions=2)
    for name in ("ball.ply", "ball.stl", "ball.off", "ball.gltf"):
        ball.export(folder / name)
    Image.fromarray(QUARTERS).save(folder / "skin.png")
    (folder / "skin.mtl").write_text("newmtl skin\nmap_Kd skin.png\n")
    corners = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nvt 0 0\nvt 1 0\nvt 0 1\n"
    faces = "f 1/1 2/2 3/3\nf 1/1 2/2 4/3\nf 1/1 3/2 4/3\n"
    (folder / "box.obj").write_text(f"mtllib skin.mtl\nusemtl skin\n{corners}{faces}")
    cloud = np.random.default_rng(0).standard_normal((300, 3))
    np.save(folder / "cloud.npy", cloud)
    np.savez(folder / "cloud.npz", points=cloud)
    np.savetxt(folder / "cloud.xyz", cloud)
    sizes = "SIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 300\nHEIGHT 1\nPOINTS 300"
    np.savetxt(folder / "cloud.pcd", cloud, header=f"VERSION 0.7\nFIELDS x y z\n{sizes}\nDATA ascii", comments="")
    return sorted(path.name for path in folder.iterdir() if path.suffix not in (".mtl", ".bin", ".png"))
