"""Small inputs for the commands that are tortured: shapes of every format, a recipe, an encoder and its labels."""

import hashlib
import sys
from pathlib import Path

import numpy as np

from torture_parts.processes import ROOT


sys.path.insert(0, str(ROOT / "scripts" / "benchmarks"))
from mutation_parts.shape_seeds import sound_folders  # noqa: E402


DEMO = ROOT / "scripts" / "demo_data"
RECIPE = """
num_points: 64
num_train_steps: {steps}
per_device_batch_size: 8
warmup_steps: 2
logging_steps: 1
save_steps: 4
save_total_limit: 2
cpu_threads: 1
point_config: {{hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2, num_patches: 8,
  patch_radius: 0.4, patch_size: 8, patch_feature_size: 16, drop_path_rate: 0.3, patch_dropout: 0.25}}
"""


def write_shapes(folder: Path, count: int) -> Path:
    """Shapes of all formats, each in a folder of its own with what it names."""
    kinds = list(sound_folders().items())
    for number in range(count):
        name, files = kinds[number % len(kinds)]
        place = folder / f"{name} {number}"
        place.mkdir(parents=True)
        for file, content in files.items():
            (place / file).write_bytes(content)
    return folder


def write_recipe(file: Path, steps: int = 24) -> Path:
    """Of a training run of seconds on the demo data."""
    file.write_text(f"dataset: {DEMO}\n{RECIPE.format(steps=steps)}")
    return file


def write_encoder(folder: Path) -> Path:
    """A small encoder with random weights, in the demo's embedding space, and labels beside it."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    from mrd_hf import PointBertConfig, PointBertModel, PointCloudFeatureExtractor

    torch.manual_seed(0)
    classes = pq.read_table(DEMO / "class_texts.parquet")
    width = len(classes["text_embed"][0])
    teacher = pq.read_table(next((DEMO / "data").glob("test-*")), columns=["teacher"])["teacher"][0].as_py()
    config = PointBertConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_patches=8,
        patch_size=8,
        patch_radius=0.4,
        patch_feature_size=16,
        projection_dim=width,
        initializer_range=0.3,
        teacher_id=teacher,
    )
    PointBertModel(config).save_pretrained(folder)
    PointCloudFeatureExtractor(num_points=256).save_pretrained(folder)
    rows = np.asarray(classes["text_embed"].to_pylist(), dtype=np.float32)
    pq.write_table(
        pa.table({"label": classes["label"], "text_embed": rows.tolist()}), folder.parent / "labels.parquet"
    )
    return folder


def digests(folder: Path, *patterns: str) -> dict[str, str]:
    """Digests of a folder's files that match, by their paths in it; a file alone is a folder with itself."""
    if folder.is_file():
        return {folder.name: hashlib.sha256(folder.read_bytes()).hexdigest()}
    found = sorted({path for pattern in patterns or ("**/*",) for path in folder.glob(pattern) if path.is_file()})
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
