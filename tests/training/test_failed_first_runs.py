"""What a first run that goes wrong says and leaves behind, in one process and under accelerate's launcher."""

import ast
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState, PartialState
from pretrain_runs import RECIPE, SCRIPT
from support.forked_processes import run_command
from support.lock_holder import held_by_another
from support.paths import ROOT
from support.tiny_triplets import save_tiny_triplets

from mrd_hf.commands.pretrain import main
from mrd_hf.errors import UserError
from mrd_hf.files.run_lock import LOCK_FILE
from mrd_hf.training.checkpoints import list_checkpoints
from mrd_hf.training.training_log import read_log
from mrd_hf_cli.running import SECONDS_BEHIND_THE_FIRST, run_script


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return save_tiny_triplets(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture
def recipe(dataset, tmp_path) -> Path:
    path = tmp_path / "tiny.yaml"
    recipe = RECIPE.replace("ema_decay: 0.5", "ema_decay: 0")  # which has no part in this
    path.write_text(f"dataset: {dataset}\nclass_texts: {dataset / 'class_texts.parquet'}\n{recipe}")
    return path


@pytest.fixture
def pretrain(recipe, monkeypatch, capfd):
    """Runs the command in this process; returns its exit code and the lines that it wrote to stderr."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")

    def run(output_dir: Path, *arguments: object) -> tuple[int, list[str]]:
        words = [str(word) for word in ("--config", recipe, "--output_dir", output_dir, *arguments)]
        capfd.readouterr()
        code = 0
        AcceleratorState._reset_state()  # which an earlier test may have left
        try:
            run_script(lambda: main(words))
        except SystemExit as ended:
            code = ended.code
        finally:
            PartialState._reset_state()
            AcceleratorState._reset_state()
        return code, capfd.readouterr().err.strip().splitlines()

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--per_device_batch_size", 64],
            "has 40 samples, fewer than one global batch of 64 (per_device_batch_size 64",
        ),
        (["--per_device_batch_size", 64, "--streaming", "--num_workers", 1], "the share of each of 1 readers"),
        (["--per_device_batch_size", 30, "--streaming", "--num_workers", 2], "the share of each of 2 readers"),
        (["--num_points", 97], "num_points is 97, and the shapes of"),
        (["--num_points", 7], "the encoder needs 8 points of a shape, and shapes have 7 here"),
        (["--learning_rat", 1], "unrecognized argument: --learning_rat; did you mean --learning-rate?"),
        (["--report_to", "tensorbord"], "invalid choice: 'tensorbord'"),
        (["--push_to_hub", "--hub_model_id", "org/name"], "HF_HUB_OFFLINE is set"),
        (["--dataset", "nowhere/at/all"], "no dataset at nowhere/at/all: no such folder"),
        (["--train_split", "val"], "has no split 'val'; it has train, test"),
        (["--class_texts", "no.parquet"], "no.parquet: no such file; expected class texts"),
        (["--encoder", "nowhere/at/all"], "cannot load the encoder 'nowhere/at/all': no such folder"),
        (["--resume_from_checkpoint", "nowhere"], "nowhere is not a checkpoint: it has no trainer_state.json"),
        (
            ["--mixed_precision", "fp16"],
            "mixed_precision fp16 needs a GPU: on a CPU the forward pass would stay in fl",
        ),
    ],
)
def test_a_mistake_is_said_before_the_output_folder_is_made(pretrain, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, lines = pretrain(tmp_path / "new" / "run", *arguments)
    assert code == 2 and lines[-1].startswith("error: ") and message in lines[-1]
    assert not (tmp_path / "new").exists()


def test_an_output_folder_that_cannot_be_is_said_before_the_data_is_read(pretrain, tmp_path):
    (tmp_path / "file").write_text("")
    code, lines = pretrain(tmp_path / "file" / "run", "--dataset", "nowhere/at/all")
    where = f"{tmp_path / 'file'}"
    assert (code, lines) == (2, [f"error: cannot make the folder {where}/run: {where} is a file; name another place."])


def test_a_run_that_failed_early_is_repeated_in_its_folder(pretrain, tmp_path):
    """Nothing has to be said about the folder; and a job may always ask for the latest checkpoint."""
    out = tmp_path / "run"
    latest = ("--resume_from_checkpoint", "latest", "--num_train_steps", 2, "--eval_split", "test")
    out.mkdir()
    for name in ("arguments.json", "training_log.jsonl"):
        (out / name).write_text('{"step": 1, "loss": 5.0}\n')
    (out / "incomplete-checkpoint-1").mkdir()
    code, lines = pretrain(out, *latest)
    assert code == 0
    assert f"note: no checkpoint in {out} yet; training starts from the beginning." in lines
    assert [line["step"] for line in read_log(out / "training_log.jsonl") if "loss" in line] == [1, 2]
    assert json.loads((out / "arguments.json").read_text())["num_train_steps"] == 2
    assert list_checkpoints(out) == [out / "checkpoint-2"] and not (out / "incomplete-checkpoint-1").exists()
    # The same command again finds the run finished.
    before = (out / "checkpoint-2" / "model.safetensors").stat().st_mtime_ns
    code, lines = pretrain(out, *latest)
    assert code == 0 and not any(line.startswith("note:") for line in lines)
    assert (out / "checkpoint-2" / "model.safetensors").stat().st_mtime_ns == before
    # What a run resumed wrongly was told does not take the place of what it had been told.
    code, lines = pretrain(out, *latest, "--ema_decay", 0.5)
    assert code == 2 and "has no moving average" in lines[-1]
    assert json.loads((out / "arguments.json").read_text())["ema_decay"] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
def test_a_second_run_in_a_folder_is_refused_and_told_of_the_first(pretrain, tmp_path, monkeypatch):
    """Before it has read its data; and, where the first one came meanwhile, before it changes anything."""
    out = tmp_path / "run"
    out.mkdir()
    with held_by_another(out) as first:
        message = f"error: {out}: another run is writing it (process {first} on "
        code, lines = pretrain(out, "--dataset", "nowhere/at/all")
        assert code == 2 and lines[-1].startswith(message)
        monkeypatch.setattr("mrd_hf.commands.pretrain.check_not_running", lambda folder: None)
        code, lines = pretrain(out, "--overwrite-output-dir", True)
        assert code == 2 and lines[-1].startswith(message)
        assert [path.name for path in out.iterdir()] == [LOCK_FILE]
    code, lines = pretrain(out, "--num_train_steps", 1)
    assert code == 0 and not (out / LOCK_FILE).exists() and (out / "encoder").is_dir()


def launch(recipe: Path, output_dir: Path, *launcher: object) -> subprocess.CompletedProcess:
    """Start a run whose batch is larger than the dataset by accelerate's own launcher."""
    words = [Path(sys.executable).with_name("accelerate"), "launch", *launcher, SCRIPT, "--config", recipe]
    words += ["--output_dir", output_dir, "--per_device_batch_size", 64]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return run_command(words, env=environment, timeout=200)  # the launcher alone is forked; what it starts is new


def test_in_one_process_accelerate_adds_nothing_to_the_message(recipe, tmp_path):
    config = ROOT / "scripts" / "recipes" / "accelerate" / "one_process.yaml"
    ended = launch(recipe, tmp_path / "run", "--quiet", "--config_file", config)
    assert ended.returncode == 1
    line = ended.stderr.splitlines()[-1]  # before it there may be bars of preparing the dataset
    assert line.startswith("error: the dataset has 40 samples, fewer than one global batch of 64")
    assert "Traceback" not in ended.stderr and ended.stderr.count("the dataset has 40") == 1
    assert not (tmp_path / "run").exists()


def test_in_two_processes_the_message_is_said_once_and_is_the_last_of_the_launchers_report(recipe, tmp_path):
    config = ROOT / "scripts" / "recipes" / "accelerate" / "ddp.yaml"
    ended = launch(recipe, tmp_path / "run", "--config_file", config, "--num_processes", 2, "--main_process_port", 0)
    assert ended.returncode == 1
    message = "the dataset has 40 samples, fewer than one global batch of 128 (per_device_batch_size 64 x 2 processes)"
    lines = ended.stderr.strip().splitlines()
    assert [line.startswith(f"error: {message}") for line in lines].count(True) == 1
    assert lines[-1] == "=" * 60 and lines[-2].startswith(f"  traceback : {message}")
    assert not (tmp_path / "run").exists()


def test_a_mistake_of_another_process_alone_is_said_as_well(monkeypatch, capsys, tmp_path):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))

    def fails():
        raise UserError("its disk is full", exit_code=1)

    with pytest.raises(SystemExit) as ended:
        run_script(fails)
    assert ended.value.code == 1 and waited == [SECONDS_BEHIND_THE_FIRST]
    assert capsys.readouterr().err == "error: its disk is full\n"
    assert json.loads((tmp_path / "error.json").read_text())["message"]["message"] == "its disk is full"


def test_commands_in_the_docs_launch_one_process_quietly():
    """Else a traceback of the launcher follows each message; for several processes it knows no such option."""
    for name in (
        "Makefile",
        "docs/training.md",
        "src/mrd_hf/commands/pretrain.py",
        "src/mrd_hf/training/arguments.py",
    ):
        launched = re.findall(r"accelerate launch(?:[^\n]*\\\n)*[^\n]*", text_of(ROOT / name))
        commands = [
            each for each in launched if re.search(r"scripts/pretrain\.py|-m mrd_hf\.commands\.pretrain", each)
        ]
        assert commands, name
        for command in commands:
            several = "--config_file" in command and "one_process" not in command
            assert command.startswith("accelerate launch --quiet ") != several, f"{name}: {command}"


def text_of(file: Path) -> str:
    """What a file says; of Python its strings, in which one that takes several lines is whole."""
    text = file.read_text()
    if file.suffix != ".py":
        return text
    return "\n".join(node.value for node in ast.walk(ast.parse(text)) if isinstance(getattr(node, "value", None), str))
