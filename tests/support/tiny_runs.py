"""Training runs of a few steps, in this process, with their checkpoints."""

import json
from pathlib import Path
from typing import Any

from mrd_hf.commands import pretrain


OPTIONS = {
    "num_points": 64,
    "num_train_steps": 4,
    "per_device_batch_size": 8,
    "warmup_steps": 1,
    "logging_steps": 1,
    "save_steps": 2,
    "save_total_limit": 10,
    "learning_rate": 0.01,
    "num_workers": 0,
    "cpu_threads": 1,
    "point_config": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_patches": 8,
        "patch_radius": 0.4,
        "patch_size": 8,
        "patch_feature_size": 16,
        "drop_path_rate": 0.3,
        "patch_dropout": 0.25,
    },
}


def train_tiny_run(folder: Path, data: Path, **changes: Any) -> Path:
    """Train on a tiny dataset, as `mrd-hf pretrain` does; `changes` are of its options."""
    options = {**OPTIONS, "dataset": str(data), "output_dir": str(folder), **changes}
    words = [f"--{name}={json.dumps(v) if isinstance(v, dict) else v}" for name, v in options.items()]
    pretrain.main(words)
    return folder
