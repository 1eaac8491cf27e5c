"""Tiny runs of scripts/pretrain.py, as a user starts them."""

import os
import subprocess
import sys
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest
from accelerate.state import AcceleratorState, PartialState
from support.paths import ROOT

from mrd_hf.commands.pretrain import main
from mrd_hf_cli.running import run_script


SCRIPT = ROOT / "scripts" / "pretrain.py"


ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


RECIPE = """
num_points: 64
eval_split: test
num_train_steps: 12
per_device_batch_size: 8
warmup_steps: 2
logging_steps: 1
save_steps: 4
save_total_limit: 5
ema_decay: 0.5
num_workers: 1
cpu_threads: 1
point_config:
  {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2, num_patches: 8,
   patch_radius: 0.4, patch_size: 8, patch_feature_size: 16, drop_path_rate: 0.3, patch_dropout: 0.25}
"""


def command(recipe: Path, output_dir: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> list[str]:
    python = [sys.executable, *launcher]
    return [*python, str(SCRIPT), "--config", str(recipe), "--output_dir", str(output_dir), *arguments]


def pretrain(recipe: Path, output_dir: Path, *arguments: str, launcher: tuple[str, ...] = (), code: int = 0):
    finished = subprocess.run(
        command(recipe, output_dir, *arguments, launcher=launcher),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == code, finished.stdout + finished.stderr
    return finished


def assert_refused(recipe: Path, output_dir: Path, *arguments: str, message: str, code: int = 2) -> None:
    """In this process, as starting another one takes most of the time of a run that is refused."""
    words = ["--config", str(recipe), "--output_dir", str(output_dir), *arguments]
    with patch.dict(os.environ, ENVIRONMENT), redirect_stderr(StringIO()) as said, pytest.raises(SystemExit) as ended:
        run_script(lambda: main(words))
    PartialState._reset_state()
    AcceleratorState._reset_state()
    assert ended.value.code == code, said.getvalue()
    assert message in said.getvalue()
    assert "Traceback" not in said.getvalue()
