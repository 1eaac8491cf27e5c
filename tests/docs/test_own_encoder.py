"""A user's own encoder, trained and used by the files and the commands that docs/training.md shows."""

import os
import re

from support.forked_processes import run_command
from support.pages import blocks, command_lines
from support.paths import ROOT


PAGE = ROOT / "docs" / "training.md"
# What is added to each command, for a test's time.
SMALLER = {
    "pretrain": [
        *("--num-points", "128", "--num-train-steps", "12", "--warmup-steps", "1"),
        *("--num-workers", "0", "--cpu-threads", "1"),
    ],
    "classify": [],
}


def code_with(text: str, language: str) -> str:
    (code,) = [code for _, code in blocks(PAGE, language) if text in code]
    return code


def test_the_documented_files_train_and_use_ones_own_encoder(tmp_path):
    (tmp_path / "my_encoder.py").write_text(code_with("class MyModel", "python"))
    (tmp_path / "my_mrd_hf.py").write_text(code_with("import my_encoder", "text"))
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    commands = command_lines(code_with("my_mrd_hf.py pretrain", "bash"))
    assert [words[2] for words in commands] == list(SMALLER)
    assert all(words[:2] == ["python", "my_mrd_hf.py"] for words in commands)
    calls = [[*words[1:], *SMALLER[words[2]]] for words in commands]
    done = run_command(*calls, cwd=tmp_path, env=settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(re.findall(r"%  (.*)", done.stdout)) == ["a chair", "a lamp"]
    assert "MyModel" in (tmp_path / "outputs" / "my_encoder" / "encoder" / "README.md").read_text()
