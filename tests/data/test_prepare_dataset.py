import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_dataset
from tiny_sh3f import write_library


SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare_dataset.py"


def run(*arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def test_prepares_a_dataset_and_says_what_it_left_out(tmp_path):
    library, out = write_library(tmp_path / "Tiny.sh3f"), tmp_path / "out"
    done = run("sweethome3d", library, "--out", out, "--num_points", 64, "--num_workers", 1)
    assert done.returncode == 0, done.stderr
    assert "3 shapes prepared, 1 skipped" in done.stdout
    assert "skipped: Tiny/empty: " in done.stdout and "warnings: Tiny/bare: file not found: gone.png" in done.stdout
    assert load_dataset(str(out), split="train").num_rows == 3
    assert json.loads((out / "report.json").read_text())["settings"]["libraries"] == {"Tiny.sh3f": "CC-BY-3.0-US"}


def test_bad_input_is_one_message(tmp_path):
    (tmp_path / "text.sh3f").write_text("hello")
    done = run("sweethome3d", tmp_path / "text.sh3f", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "not a zip file" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "expected", "exit_code"),
    [
        (["--help"], "sweethome3d", 0),
        (["sweethome3d", "--help"], "--num_points", 0),
        ([], "SOURCE", 2),
        (["sweethome3d", "a.sh3f", "--out", "b", "--num_points", "0"], "a whole number from 1", 2),
    ],
)
def test_usage(arguments, expected, exit_code, monkeypatch, capsys):
    # In this process: each start of the script pays for importing torch.
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == exit_code
    printed = capsys.readouterr()
    assert expected in printed.out + printed.err
