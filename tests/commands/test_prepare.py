import json
import os
import runpy
import signal
import sys
import time

import pytest
from datasets import load_dataset
from support.forked_processes import ForkedCommand, run_command
from support.paths import SCRIPTS
from support.tiny_sh3f import tiny_files, write_library

from mrd_hf.commands.prepare import print_summary
from mrd_hf.data.preparation import dataset_parts
from mrd_hf.data.sources.meshes.mesh_jobs import UNNAMED


SCRIPT = SCRIPTS / "prepare_dataset.py"


def run(*arguments):
    return run_command([SCRIPT, *arguments])


def test_prepares_a_dataset_and_says_what_it_left_out(tmp_path):
    library, out = write_library(tmp_path / "Tiny.sh3f"), tmp_path / "out"
    done = run("sweethome3d", library, "--out", out, "--num_points", 64, "--num_workers", 1)
    assert done.returncode == 0, done.stderr
    assert "3 shapes prepared, 1 skipped" in done.stdout
    assert "skipped: Tiny/empty: " in done.stdout and "warnings: Tiny/bare: file not found: gone.png" in done.stdout
    assert load_dataset(str(out), split="train").num_rows == 3
    assert json.loads((out / "report.json").read_text())["settings"]["libraries"] == {"Tiny.sh3f": "CC-BY-3.0-US"}


def test_a_run_that_a_scheduler_ends_takes_its_unfinished_file_along(tmp_path):
    catalog = "\n".join(f"name#{n}=Box\nicon#{n}=/tiny/box.png\nmodel#{n}=/tiny/box/box.obj" for n in range(1, 2001))
    files = {**tiny_files(), "PluginFurnitureCatalog.properties": catalog.encode()}
    library, out = write_library(tmp_path / "Many.sh3f", files), tmp_path / "out"
    command = [SCRIPT, "sweethome3d", library, "--out", out, "--num_workers", "1"]
    running = ForkedCommand(command, env=os.environ)
    end = time.monotonic() + 60
    while not list(out.glob("data/.train-*")):
        assert running.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait(60) == 143
    assert [file for file in out.rglob("*") if file.is_file()] == []


def test_each_shard_of_a_run_makes_its_own_files(tmp_path, monkeypatch, capsys):
    """Two files fall to two shards, in this process; each says what there is and what is left to make."""
    monkeypatch.setattr(dataset_parts, "ROWS_PER_FILE", 2)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    library, out = write_library(tmp_path / "Tiny.sh3f"), tmp_path / "out"
    common = ["sweethome3d", library, "--out", out, "--num_points", 64, "--num_workers", 1, "--num_shards", 2]
    printed = []
    for shard in (1, 0):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, common), "--shard_index", str(shard)])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        printed.append(capsys.readouterr().out)
    assert "1 shapes prepared, 1 skipped" in printed[0]
    assert "unfinished: files that other runs have to make: 1, the first of them train-00000-of-00002" in printed[0]
    assert "3 shapes prepared, 1 skipped" in printed[1] and "unfinished" not in printed[1]
    assert load_dataset(str(out), split="train").num_rows == 3


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
        (["sweethome3d", "--help"], "--num-points", 0),
        (["sweethome3d", "--help"], "--num-shards", 0),
        ([], "SOURCE", 2),
        (["sweethome3d", "a.sh3f", "--out", "b", "--num_points", "0"], "a whole number from 1", 2),
        (["sweethome3d", "a.sh3f", "--out", "b", "--shard_index", "-1"], "a whole number from 0", 2),
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


def test_the_summary_counts_shapes_with_warnings(capsys):
    """Each once, however many it has."""
    warnings = [{"id": name, "why": "lines left out"} for name in ("a", "a", "b")]
    report = {"prepared": 5, "skipped": [], "warnings": warnings, "splits": {"train": 5}, "missing": []}
    print_summary(report, "out")
    assert capsys.readouterr().out.startswith("out: 5 shapes prepared, 0 skipped, 2 with warnings\n")
    print_summary(report | {"warnings": []}, "out")
    assert capsys.readouterr().out == "out: 5 shapes prepared, 0 skipped\n"


def test_the_summary_says_what_is_not_tried_again(capsys):
    skipped = [{"id": "a", "why": "no file of this shape"}, {"id": "b", "why": UNNAMED}]
    report = {"prepared": 5, "skipped": skipped, "warnings": [], "splits": {"train": 5}, "missing": []}
    print_summary(report, "out")
    assert "--overwrite" not in capsys.readouterr().out
    print_summary(report | {"kept_skipped": skipped[1:]}, "out")  # which is left out on purpose
    assert "--overwrite" not in capsys.readouterr().out
    print_summary(report | {"kept_skipped": skipped}, "out")
    assert "not tried again: 1, as" in (printed := capsys.readouterr().out) and "--overwrite tries all" in printed
