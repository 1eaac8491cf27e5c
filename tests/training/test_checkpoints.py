"""Which checkpoint counts, and what is never deleted."""

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from mrd_hf.errors import UserError
from mrd_hf.files.run_lock import LOCK_FILE, only_run
from mrd_hf.training import checkpoints
from mrd_hf.training.checkpoints import (
    ARGUMENTS_FILE,
    RESULTS,
    STATE_FILE,
    TrainerState,
    check_output_dir,
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
    prepare_output_dir,
    save_checkpoint,
)


if sys.platform != "win32":
    import resource


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
    # One that a kill left just before its name; it is removed as the next run begins.
    (tmp_path / "incomplete-checkpoint-3000" / STATE_FILE).write_text(json.dumps({"step": 3000}))
    with pytest.raises(UserError, match="incomplete-checkpoint-3000 is not a checkpoint: it .* was not finished"):
        find_checkpoint(tmp_path, str(tmp_path / "incomplete-checkpoint-3000"))


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
        # Not to resume, for which there is nothing.
        message = f"has a run in it already .{result}.; pass --overwrite-output-dir True to delete it, or another "
        with pytest.raises(UserError, match=message):
            prepare_output_dir(tmp_path, resume, overwrite=False)
    assert (tmp_path / ARGUMENTS_FILE).exists()


def test_what_users_made_of_a_run_stays_when_the_run_is_overwritten(tmp_path):
    """As the indexes and exports that the documentation puts into outputs/demo; see what a second `make demo` does."""
    tracked = {"project": "mrd", "run_name": "demo-1", "run_id": "1"}
    logs = tmp_path / "mrd" / "demo-1"
    for folder in (
        *RESULTS,
        "onnx",
        "checkpoint-notes",
        "abandoned-checkpoint-9",
        "abandoned-checkpoint-9-2",
        "mrd/demo-1",
        "mrd/mine",
        "profile",
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_text("")
    for name in (ARGUMENTS_FILE, "training_curves.png", "training_log.jsonl", "shapes.parquet"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "tracking.json").write_text(json.dumps(tracked))
    (logs / "events.out.tfevents.1").write_text("")
    fake_checkpoint(tmp_path, 5)
    fake_checkpoint(tmp_path, 10, complete=False)
    assert prepare_output_dir(tmp_path, None, overwrite=True) is None
    stays = {ARGUMENTS_FILE, "onnx", "checkpoint-notes", "mrd", "shapes.parquet"}
    assert {path.name for path in tmp_path.iterdir()} == stays
    assert (tmp_path / "onnx" / "file").is_file() and [path.name for path in (tmp_path / "mrd").iterdir()] == ["mine"]
    # A run that is killed before it has written its own arguments.json can be given again.
    assert prepare_output_dir(tmp_path, None, overwrite=True) is None
    (tmp_path / "tracking.json").write_text(json.dumps(tracked | {"project": ".", "run_name": "onnx"}))
    prepare_output_dir(tmp_path, None, overwrite=True)
    assert (tmp_path / "onnx" / "file").is_file()


def test_a_file_that_says_where_curves_are_leads_nowhere_else(tmp_path):
    output_dir, others = tmp_path / "run", tmp_path / "others"
    for folder in (output_dir, others):
        folder.mkdir()
        (folder / "events.out.tfevents.1").write_text("")
    for project, run_name in (("..", "others"), (str(tmp_path), "others"), (".", ".")):
        (output_dir / ARGUMENTS_FILE).write_text("{}")
        (output_dir / "tracking.json").write_text(json.dumps({"project": project, "run_name": run_name}))
        prepare_output_dir(output_dir, None, overwrite=True)
        assert (others / "events.out.tfevents.1").is_file() and output_dir.is_dir()


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
    for _ in range(2):  # killed before it has written its own arguments.json, a run can be given again
        assert prepare_output_dir(tmp_path, resume, overwrite=False) is None
        assert sorted(path.name for path in tmp_path.iterdir()) == [ARGUMENTS_FILE, "checkpoint-10", "notes.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("removed", range(5))
def test_a_kill_while_a_folder_is_cleaned_leaves_a_runs_folder(tmp_path, monkeypatch, overwrite, removed):
    """Which the same command cleans and takes."""
    for name in (ARGUMENTS_FILE, "training_log.jsonl", "tracking.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "incomplete-checkpoint-10").mkdir()
    (tmp_path / "incomplete-checkpoint-10" / "model.safetensors").write_text("")
    left, unlink = [], os.unlink

    def killed(*arguments, **options):
        left.append(arguments)
        if len(left) > removed:
            raise Killed
        unlink(*arguments, **options)

    with monkeypatch.context() as patch, nullcontext() if removed == 4 else pytest.raises(Killed):
        patch.setattr(os, "unlink", killed)
        prepare_output_dir(tmp_path, None, overwrite)
    assert len(left) == min(removed + 1, 4)
    assert prepare_output_dir(tmp_path, None, overwrite) is None and not any(tmp_path.iterdir())


def test_what_a_kill_leaves_of_the_first_arguments_alone_keeps_no_run_out(tmp_path):
    (tmp_path / f".{ARGUMENTS_FILE}.partial-0123abcd").write_text('{"da')
    assert prepare_output_dir(tmp_path, None, overwrite=False) is None


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


class FilesOfAtMost:
    """Within it no file can grow beyond so many bytes: what writes fails as on a full disk."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __enter__(self) -> None:
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.parametrize(
    ("size", "reason"), [(20_000, "File too large"), (60_000, "No space left on device"), (10, "File too large")]
)
def test_a_checkpoint_that_cannot_be_written_is_taken_away_and_what_is_kept_is_said(tmp_path, size, reason):
    """The model is 40 kB, its optimizer's state 80 kB; the average is written last."""
    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(100, 100)
    model, optimizer = accelerator.prepare(model, torch.optim.Adam(model.parameters()))
    model(torch.ones(1, 100)).sum().backward()
    optimizer.step()
    try:
        with FilesOfAtMost(size), pytest.raises(UserError) as first:
            save_checkpoint(accelerator, tmp_path, TrainerState(1, 0.5), average=None, total_limit=2)
        assert not any(tmp_path.iterdir())
        kept = save_checkpoint(accelerator, tmp_path, TrainerState(2, 0.5), average=None, total_limit=2)
        before = {path.name: path.read_bytes() for path in kept.iterdir()}
        with FilesOfAtMost(size), pytest.raises(UserError) as second:
            save_checkpoint(accelerator, tmp_path, TrainerState(3, 0.5), average=None, total_limit=2)
    finally:
        accelerator.free_memory()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    for error, step, rest in ((first, 1, "there was no checkpoint before it"), (second, 3, "checkpoint-2 is kept")):
        message = str(error.value)
        assert message.startswith(f"cannot write {tmp_path}/checkpoint-{step}: ") and reason in message
        assert f"Nothing of it is left; {rest}. Free some space" in message and "resume-from-checkpoint" in message
        assert error.value.exit_code == 1 and len(message.splitlines()) == 1


def test_another_error_while_a_checkpoint_is_written_takes_it_away_as_well(tmp_path, monkeypatch):
    accelerator = Accelerator(cpu=True)

    def fail(folder):
        Path(folder).mkdir()
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(accelerator, "save_state", fail)
    with pytest.raises(RuntimeError, match="Connection closed by peer"):
        save_checkpoint(accelerator, tmp_path, TrainerState(1, 0.5), average=None, total_limit=2)
    assert not any(tmp_path.iterdir())


def test_the_lock_of_the_run_that_prepares_its_folder_stays(tmp_path):
    (tmp_path / ARGUMENTS_FILE).write_text("{}")
    fake_checkpoint(tmp_path, 5)
    with only_run(tmp_path):
        assert prepare_output_dir(tmp_path, None, overwrite=True) is None
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]
        assert prepare_output_dir(tmp_path, None, overwrite=False) is None  # nothing in the way
    assert not any(tmp_path.iterdir())


def test_old_checkpoints_go_only_after_the_new_one_is_there(tmp_path):
    accelerator = Accelerator(cpu=True)
    for step in (1, 2, 3):
        save_checkpoint(accelerator, tmp_path, TrainerState(step, 0.5), average=None, total_limit=2)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-3"]
    assert not list(tmp_path.glob("incomplete-*"))


class Killed(BaseException):
    """Which nothing catches."""


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchanged", "renamed"])
@pytest.mark.parametrize("files_removed", [0, 1, 2])
def test_a_kill_while_one_is_replaced_or_removed_leaves_whole_ones(tmp_path, monkeypatch, exchanges, files_removed):
    """Whether it was of the same step, or the oldest."""
    accelerator, left = Accelerator(cpu=True), []
    accelerator.prepare(torch.nn.Linear(2, 2))
    for step in (1, 2, 3):
        save_checkpoint(accelerator, tmp_path, TrainerState(step, 0.5), average=None, total_limit=3)
    whole = {path.name for path in (tmp_path / "checkpoint-3").iterdir()}
    unlink = os.unlink

    def killed(*arguments, **options):
        left.append(arguments)
        if len(left) > files_removed:
            raise Killed
        unlink(*arguments, **options)

    if not exchanges:
        monkeypatch.setattr(checkpoints, "exchange", lambda *_: False)
    for step, limit in ((3, 3), (4, 3)):
        left.clear()
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(os, "unlink", killed)
            save_checkpoint(accelerator, tmp_path, TrainerState(step, 0.25), average=None, total_limit=limit)
        for checkpoint in list_checkpoints(tmp_path):
            assert {path.name for path in checkpoint.iterdir()} == whole, checkpoint
        latest = prepare_output_dir(tmp_path, "latest", overwrite=False)
        assert {path.name for path in latest.iterdir()} == whole
        assert not list(tmp_path.glob("incomplete-*"))
    accelerator.free_memory()


def test_a_checkpoint_without_a_loss_scale_is_refused_where_the_run_has_one(tmp_path):
    """As fp16 has, of which CPUs have no more than the scaler."""
    accelerator = Accelerator(cpu=True)
    model = accelerator.prepare(torch.nn.Linear(2, 2))
    try:
        without = save_checkpoint(accelerator, tmp_path / "no", TrainerState(1, 0.5), average=None, total_limit=2)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        saved = save_checkpoint(accelerator, tmp_path / "fp16", TrainerState(1, 0.5), average=None, total_limit=2)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
        with torch.no_grad():
            model.weight.fill_(7)
        with pytest.raises(UserError, match=r"no/checkpoint-1 has no loss scale \(scaler.pt\).* resume with the prec"):
            load_checkpoint(accelerator, without, average=None)
        assert (model.weight == 7).all()  # nothing of it was loaded
        load_checkpoint(accelerator, saved, average=None)
        assert accelerator.scaler.get_scale() == 8 and not (model.weight == 7).any()
    finally:
        accelerator.free_memory()
