"""Fine-tuning runs of a few steps in this process."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mrd_hf.commands import finetune
from support.composed_objects import composed_object


TINY_POINT_CONFIG = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_patches": 32,
    "patch_radius": 0.25,
    "patch_size": 16,
    "patch_feature_size": 32,
    "part_hidden_size": 64,
}
OPTIONS: dict[str, Any] = {
    "num_points": 256,
    "num_train_steps": 4,
    "per_device_batch_size": 8,
    "warmup_steps": 1,
    "logging_steps": 1,
    "save_steps": 2,
    "save_total_limit": 10,
    "learning_rate": 3e-3,
    "layer_decay": 1.0,
    "cpu_threads": 1,
    "augmentation": {"scale_min": 0.8, "scale_max": 1.25, "shift": 0.1},
    "point_config": TINY_POINT_CONFIG,
}


def finetune_tiny(folder: Path, data: Path, **changes: Any) -> Path:
    """Fine-tune as `mrd-hf finetune` does; `changes` are of its options."""
    options = {**OPTIONS, "dataset": str(data), "output_dir": str(folder), **changes}
    words = [f"--{k}={json.dumps(v) if isinstance(v, dict) else v}" for k, v in options.items() if v is not None]
    finetune.main(words)
    return folder


def write_classes(folder: Path, train: int, test: int, num_points: int = 400) -> Path:
    """Chairs, lamps and tables as point clouds, in folders of splits and classes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for category in ("Chair", "Lamp", "Table"):
            (folder / split / category.lower()).mkdir(parents=True)
            for number in range(count):
                points, _ = composed_object(category, rng, num_points)
                np.save(folder / split / category.lower() / f"{number}.npy", points.astype(np.float32))
    return folder
