"""Which checkpoint counts, and what is never deleted."""

import json
import os
from pathlib import Path

import pytest
from accelerate import Accelerator

from mrd_hf.errors import UserError
from mrd_hf.training.checkpoints import (
    ARGUMENTS_FILE,
    RESULTS,
    STATE_FILE,
    TrainerState,
    check_output_dir,
    find_checkpoint,
    list_checkpoints,
    prepare_output_dir,
    save_checkpoint,
)


def fake_checkpoint(folder, step, complete=True):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    if complete:
        (path / STATE_FILE).write_text(json.dumps({"step": step}))
    return path


def test_latest_is_the_highest_complete_step(tmp_path):
    for step in (100, 1000, 200):
        fake_checkpoint(tmp_path, step)
    fake_checkpoint(tmp_path, 2000, complete=False)
    (tmp_path / "incomplete-checkpoint-3000").mkdir()
    assert [p.name for p in list_checkpoints(tmp_path)] == ["checkpoint-100", "checkpoint-200", "checkpoint-1000"]
    assert find_checkpoint(tmp_path, "latest").name == "checkpoint-1000"
    assert find_checkpoint(tmp_path, str(tmp_path / "checkpoint-200")).name == "checkpoint-200"


def test_where_there_is_no_latest_checkpoint_a_run_starts_from_the_beginning(tmp_path):
    assert find_checkpoint(tmp_path, "latest") is None
    assert prepare_output_dir(tmp_path / "new", resume="latest", overwrite=False) is None
    assert (tmp_path / "new").is_dir()
    with pytest.raises(UserError, match="is not a checkpoint"):
        find_checkpoint(tmp_path, str(tmp_path))


def test_an_earlier_run_is_not_overwritten_unless_told(tmp_path):
    (tmp_path / ARGUMENTS_FILE).write_text("{}")
    checkpoint = fake_checkpoint(tmp_path, 5)
    with pytest.raises(UserError, match=r"has a run in it already \(checkpoint-5\); pass --resume-from-checkpoint la"):
        prepare_output_dir(tmp_path, resume=None, overwrite=False)
    assert checkpoint.exists()
    assert prepare_output_dir(tmp_path, resume="latest", overwrite=False) == checkpoint
    assert checkpoint.exists()
    with pytest.raises(UserError, match="--overwrite-output-dir would delete .*checkpoint-5, which --resume"):
        prepare_output_dir(tmp_path, resume="latest", overwrite=True)
    assert checkpoint.exists()
    assert prepare_output_dir(tmp_path, resume=None, overwrite=True) is None
    assert not checkpoint.exists()


@pytest.mark.parametrize("result", RESULTS)
def test_a_trained_encoder_without_checkpoints_is_not_overwritten_either(tmp_path, result):
    (tmp_path / ARGUMENTS_FILE).write_text("{}")
    (tmp_path / result).mkdir()
    for resume in (None, "latest"):
        with pytest.raises(UserError, match=f"has a run in it already .{result}."):
            prepare_output_dir(tmp_path, resume, overwrite=False)
    assert (tmp_path / ARGUMENTS_FILE).exists()


@pytest.mark.parametrize("resume", [None, "latest"])
def test_a_run_that_has_nothing_to_lose_is_replaced(tmp_path, resume):
    """As one that was killed before its first checkpoint; what is not a run's stays."""
    left = (ARGUMENTS_FILE, "training_log.jsonl", "training_log.jsonl.tmp", "tracking.json", "notes.txt")
    for name in (*left, "text_neighbors.safetensors"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "incomplete-checkpoint-10" / "shards").mkdir(parents=True)
    fake_checkpoint(tmp_path, 10, complete=False)
    check_output_dir(tmp_path, resume, overwrite=False)
    assert len(list(tmp_path.iterdir())) == 8
    assert prepare_output_dir(tmp_path, resume, overwrite=False) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "notes.txt"]


def test_another_runs_checkpoint_starts_a_new_run(tmp_path):
    checkpoint = fake_checkpoint(tmp_path / "old", 5)
    old, new = tmp_path / "old", tmp_path / "new"
    (old / ARGUMENTS_FILE).write_text("{}")
    assert prepare_output_dir(new, str(checkpoint), overwrite=False) == checkpoint
    assert new.is_dir() and not any(new.iterdir())
    fake_checkpoint(new, 7)
    (new / ARGUMENTS_FILE).write_text("{}")
    with pytest.raises(UserError, match="has a run in it already .checkpoint-7."):
        prepare_output_dir(new, str(checkpoint), overwrite=False)
    assert prepare_output_dir(new, str(checkpoint), overwrite=True) == checkpoint
    assert not any(new.iterdir()) and checkpoint.exists()
    with pytest.raises(UserError, match="would delete"):  # it is in a folder of the folder
        prepare_output_dir(tmp_path, str(checkpoint), overwrite=True)


def test_places_where_no_folder_can_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is a file; choose another"):
        check_output_dir(tmp_path / "file", None, False)
    with pytest.raises(UserError, match="cannot make the folder .*run: .*file is a file"):
        check_output_dir(tmp_path / "file" / "deep" / "run", None, False)
    # Root may write anywhere, so the system's answer for others is given here.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(UserError, match=f"cannot make the folder .*run: no permission to write to {tmp_path}"):
        check_output_dir(tmp_path / "new" / "run", None, False)
    with pytest.raises(UserError, match=f"cannot write to {tmp_path}: no permission"):
        check_output_dir(tmp_path, None, False)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_no_run_is_never_deleted(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for resume, overwrite in ((None, True), (None, False), ("latest", False), ("latest", True)):
        with pytest.raises(
            UserError, match="holds something other than a training run .* choose another --output-dir"
        ):
            prepare_output_dir(tmp_path, resume, overwrite)
    assert (tmp_path / "thesis.tex").exists()


def test_resuming_removes_what_a_kill_left_half_written(tmp_path):
    fake_checkpoint(tmp_path, 5)
    (tmp_path / "incomplete-checkpoint-10").mkdir()
    prepare_output_dir(tmp_path, resume="latest", overwrite=False)
    assert not (tmp_path / "incomplete-checkpoint-10").exists()


def test_old_checkpoints_go_only_after_the_new_one_is_there(tmp_path):
    accelerator = Accelerator(cpu=True)
    for step in (1, 2, 3):
        save_checkpoint(accelerator, tmp_path, TrainerState(step, 0.5), average=None, total_limit=2)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-3"]
    assert not list(tmp_path.glob("incomplete-*"))
