"""A small encoder, its teacher and shapes for the command line."""

from pathlib import Path

import numpy as np
import trimesh
from support.tiny_encoders import tiny_encoder
from support.tiny_meshes import glb
from support.tiny_teachers import CLIP_WIDTH, save_tiny_clip

from mrd_hf import PointCloudFeatureExtractor
from mrd_hf_cli.main import run
from mrd_hf_cli.parser import parse


def save_tiny_encoder(folder: Path, seed: int = 0) -> Path:
    """An encoder and, in `teacher` beside it, the CLIP that it names as its teacher."""
    teacher = save_tiny_clip(folder.parent / "teacher")
    encoder = tiny_encoder("openshape", projection_dim=CLIP_WIDTH, teacher_id=str(teacher), logit_scale=2.0)
    if seed:
        for parameter in encoder.parameters():
            parameter.data += 0.01 * seed
    encoder.save_pretrained(folder)
    PointCloudFeatureExtractor(num_points=256).save_pretrained(folder)
    return folder


def write_shapes(folder: Path) -> list[Path]:
    """A red box, a ball, a cone further down, and a cloud, in the order in which they are found; and other files."""
    (folder / "more").mkdir(parents=True)
    (folder / "box.glb").write_bytes(glb())
    trimesh.creation.icosphere(subdivisions=2).export(folder / "ball.ply")
    trimesh.creation.cone(radius=1, height=2).export(folder / "more" / "cone.STL", file_type="stl")
    np.save(folder / "cloud.npy", np.random.default_rng(0).standard_normal((300, 3)))
    (folder / "notes.txt").write_text("no shape")
    return [folder / name for name in ("ball.ply", "box.glb", "cloud.npy", "more/cone.STL")]


def mrd_hf(*arguments: object) -> int:
    """Run the command line in this process; returns its exit code."""
    return run(parse([str(argument) for argument in arguments]))
