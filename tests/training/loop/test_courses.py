"""Which checkpoints are of the course that a run has resumed, and what becomes of the others."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from accelerate import Accelerator
from support.processes_together import Job, run_together

from mrd_hf.errors import UserError
from mrd_hf.training.checkpoints import (
    STATE_FILE,
    TrainerState,
    find_checkpoint,
    list_checkpoints,
    prepare_output_dir,
    save_checkpoint,
)
from mrd_hf.training.loop.courses import abandon_others


def checkpoint(folder: Path, name: str, course: str, age: int = 0) -> Path:
    """One of a course, which its weights tell, written so many seconds ago; not before the one of a greater age."""
    path = folder / name
    path.mkdir()
    (path / "model.safetensors").write_text(course)
    (path / STATE_FILE).write_text(json.dumps({"step": int(name.split("-")[-1]), "loss": 0.5}))
    for file in path.iterdir():
        os.utime(file, (time.time() - age,) * 2)
    return path


def courses(folder: Path) -> dict[str, str]:
    """The course of each whole checkpoint, by its name."""
    return {
        path.parent.name: (path.parent / "model.safetensors").read_text() for path in folder.glob(f"*/{STATE_FILE}")
    }


def test_those_after_the_one_that_a_run_resumes_from_are_set_aside(tmp_path, capsys):
    """Or the new course would resume from them, or lose what it has just written in favor of them."""
    for step in (100, 200, 300):
        checkpoint(tmp_path, f"checkpoint-{step}", "first")
    accelerator, first = Accelerator(cpu=True), tmp_path / "checkpoint-100"
    assert prepare_output_dir(tmp_path, str(first), overwrite=False) == first
    assert len(list_checkpoints(tmp_path)) == 3  # until it has resumed
    abandon_others(accelerator, tmp_path, first)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-100"]
    assert (tmp_path / "abandoned-checkpoint-300" / STATE_FILE).is_file()
    assert "note: checkpoint-200 is of the course that is given up" in capsys.readouterr().err
    saved = save_checkpoint(accelerator, tmp_path, TrainerState(150, 0.5), average=None, total_limit=2)
    assert saved.is_dir() and find_checkpoint(tmp_path, "latest") == saved
    abandon_others(accelerator, tmp_path, first)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "abandoned-checkpoint-150",
        "abandoned-checkpoint-200",
        "abandoned-checkpoint-300",
        "checkpoint-100",
    ]
    assert prepare_output_dir(tmp_path, "latest", overwrite=False).name == "checkpoint-100"


def abandon_where_the_second_is_late(folder):
    accelerator = Accelerator(cpu=True)
    if not accelerator.is_main_process:
        time.sleep(0.5)  # it may still fail to resume
        assert (folder / "checkpoint-200").is_dir()
    abandon_others(accelerator, folder, folder / "checkpoint-100")


def test_they_are_set_aside_only_when_all_processes_have_resumed(tmp_path):
    for step in (100, 200):
        checkpoint(tmp_path, f"checkpoint-{step}", "first")
    run_together(Job(2, abandon_where_the_second_is_late, (tmp_path,)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["abandoned-checkpoint-200", "checkpoint-100"]


def two_courses(folder: Path) -> Path:
    """Both from checkpoint-1000; the second one was trained until now. Returns one of the first course."""
    folder.mkdir()
    checkpoint(folder, "checkpoint-1000", "common", age=50)
    for step, age in ((2500, 20), (3000, 10), (3500, 5)):
        checkpoint(folder, f"checkpoint-{step}", "second", age)
    return checkpoint(folder, "abandoned-checkpoint-3000", "first", age=40)


GONE_BACK = {
    "checkpoint-1000": "common",
    "checkpoint-3000": "first",
    "abandoned-checkpoint-3000": "first",
    "abandoned-checkpoint-2500": "second",
    "abandoned-checkpoint-3000-2": "second",
    "abandoned-checkpoint-3500": "second",
}


@pytest.mark.parametrize("links", [True, False], ids=["linked", "copied"])
def test_a_run_that_goes_back_to_a_course_resumes_that_one_ever_after(tmp_path, monkeypatch, links, capsys):
    """Also if it is killed before it has saved anything, and whether its first command or `latest` is given then."""

    def unknown(*_, **__):
        raise PermissionError("no such links on this file system")

    if not links:
        monkeypatch.setattr(os, "link", unknown)
    folder, accelerator = tmp_path / "run", Accelerator(cpu=True)
    resumed = two_courses(folder)
    for _ in range(2):
        assert prepare_output_dir(folder, str(resumed), overwrite=False) == resumed
        abandon_others(accelerator, folder, resumed)
        assert courses(folder) == GONE_BACK and len(list(folder.iterdir())) == len(GONE_BACK)
        assert find_checkpoint(folder, "latest") == folder / "checkpoint-3000"
    assert capsys.readouterr().err.count("note: ") == 3
    # And back to the second one, which loses nothing of the first.
    abandon_others(accelerator, folder, folder / "abandoned-checkpoint-3000-2")
    assert courses(folder) == GONE_BACK | {"checkpoint-3000": "second"}


def test_where_a_link_has_the_name_of_the_step_nothing_is_renamed(tmp_path):
    kept = shutil.copytree(checkpoint(tmp_path, "checkpoint-2", "first"), tmp_path / "best")
    (tmp_path / "link").symlink_to("checkpoint-2", target_is_directory=True)
    before = sorted(tmp_path.iterdir())
    for resumed in (kept, tmp_path / "link", tmp_path / "checkpoint-2"):
        abandon_others(Accelerator(cpu=True), tmp_path, resumed)
        assert sorted(tmp_path.iterdir()) == before
    os.utime(kept / STATE_FILE, (1, 1))  # as a copy without times, which is the same all the same
    abandon_others(Accelerator(cpu=True), tmp_path, kept)
    assert sorted(tmp_path.iterdir()) == before


def test_of_another_folders_checkpoint_nothing_is_made_here(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    abandon_others(Accelerator(cpu=True), tmp_path / "new", checkpoint(tmp_path / "old", "checkpoint-2", "first"))
    assert not any((tmp_path / "new").iterdir()) and courses(tmp_path / "old") == {"checkpoint-2": "first"}


class Killed(BaseException):
    """Which nothing catches."""


@pytest.mark.parametrize(("name", "count"), [("rename", 4), ("link", 2)])
def test_a_kill_on_the_way_loses_nothing_and_the_same_command_resumes(tmp_path, monkeypatch, name, count):
    """Before each of the system's calls that give a name."""
    kills = 0
    while True:
        folder, calls, call = tmp_path / f"{kills}", [], getattr(os, name)
        resumed = two_courses(folder)

        def killed(*given, calls=calls, call=call, kills=kills, **named):
            if len(calls) == kills:
                raise Killed
            calls.append(given)
            return call(*given, **named)

        with monkeypatch.context() as patch:
            patch.setattr(os, name, killed)
            try:
                abandon_others(Accelerator(cpu=True), folder, resumed)
                break
            except Killed:
                pass
        found = courses(folder)
        assert sorted(set(found.values())) == ["common", "first", "second"]
        assert sum(course == "second" for course in found.values()) == 3
        prepare_output_dir(folder, str(resumed), overwrite=False)
        abandon_others(Accelerator(cpu=True), folder, resumed)
        assert courses(folder) == GONE_BACK
        kills += 1
    assert kills == count


def test_a_copy_that_cannot_be_written_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    resumed = two_courses(folder)
    before = courses(folder)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(
        UserError, match=r"cannot write .*/checkpoint-3000, a copy of .*abandoned-checkpoint-3000: .*No"
    ):
        abandon_others(Accelerator(cpu=True), folder, resumed)
    assert courses(folder) == before and len(list(folder.iterdir())) == len(before)
