"""Which checkpoint counts, and what is never deleted."""

import json

import pytest
from accelerate import Accelerator

from mrd_hf.errors import UserError
from mrd_hf.training.checkpoints import (
    ARGUMENTS_FILE,
    STATE_FILE,
    TrainerState,
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


def test_no_checkpoint_to_resume_from(tmp_path):
    with pytest.raises(UserError, match="no checkpoint in .* start without --resume_from_checkpoint"):
        find_checkpoint(tmp_path, "latest")
    with pytest.raises(UserError, match="is not a checkpoint"):
        find_checkpoint(tmp_path, str(tmp_path))


def test_an_earlier_run_is_not_overwritten_unless_told(tmp_path):
    (tmp_path / ARGUMENTS_FILE).write_text("{}")
    checkpoint = fake_checkpoint(tmp_path, 5)
    with pytest.raises(UserError, match="is not empty; pass --resume_from_checkpoint latest"):
        prepare_output_dir(tmp_path, resume=None, overwrite=False)
    assert checkpoint.exists()
    prepare_output_dir(tmp_path, resume="latest", overwrite=False)
    assert checkpoint.exists()
    prepare_output_dir(tmp_path, resume=None, overwrite=True)
    assert not checkpoint.exists()


def test_a_folder_that_is_no_run_is_never_deleted(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds something other than a training run"):
        prepare_output_dir(tmp_path, resume=None, overwrite=True)
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
