"""Tiny runs of scripts/pretrain.py, as a user starts them."""

import os
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import torch
from accelerate.state import AcceleratorState, PartialState
from support.forked_processes import run_command
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
num_workers: 0
cpu_threads: 1
point_config:
  {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2, num_patches: 8,
   patch_radius: 0.4, patch_size: 8, patch_feature_size: 16, drop_path_rate: 0.3, patch_dropout: 0.25}
"""


def command(recipe: Path, output_dir: Path, *arguments: str) -> list[str]:
    """The script and its arguments, without the Python that runs it."""
    return [str(SCRIPT), "--config", str(recipe), "--output_dir", str(output_dir), *arguments]


def pretrain(
    recipe: Path,
    output_dir: Path,
    *arguments: str,
    own_process: bool = False,
    code: int = 0,
) -> subprocess.CompletedProcess[str]:
    """In a process of its own, or in this one, without waiting for another."""
    words = command(recipe, output_dir, *arguments)
    finished = run_command(words, env=ENVIRONMENT) if own_process else run_here(words[1:])
    assert finished.returncode == code, finished.stdout + finished.stderr
    return finished


def run_here(words: list[str]) -> subprocess.CompletedProcess[str]:
    """What the script does, with a new process's environment and accelerate's state."""
    code, stdout, stderr, threads = 0, StringIO(), StringIO(), torch.get_num_threads()
    with patch.dict(os.environ, ENVIRONMENT), redirect_stdout(stdout), redirect_stderr(stderr):
        try:
            run_script(lambda: main(words))
        except SystemExit as ended:
            code = ended.code
        finally:
            torch.set_num_threads(threads)
            PartialState._reset_state()
            AcceleratorState._reset_state()
    return subprocess.CompletedProcess(words, code, stdout.getvalue(), stderr.getvalue())


def assert_refused(recipe: Path, output_dir: Path, *arguments: str, message: str, code: int = 2) -> None:
    finished = run_here(command(recipe, output_dir, *arguments)[1:])
    assert finished.returncode == code, finished.stderr
    assert message in finished.stderr
    assert "Traceback" not in finished.stderr
