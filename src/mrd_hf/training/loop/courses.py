"""The course that a run has resumed: its checkpoints count, and those of others in the run's folder are set aside."""

import filecmp
import json
import os
import shutil
import sys
from itertools import count
from pathlib import Path

from accelerate import Accelerator

from ...errors import UserError
from ...files.atomic_folder import flush_to_disk
from ..checkpoints import STATE_FILE, is_of_the_run, list_checkpoints, step_of


def abandon_others(accelerator: Accelerator, output_dir: Path, checkpoint: Path) -> None:
    """Let the checkpoint that a run has resumed from be the latest of its folder, and rename those of other courses.

    None of these is to be the latest, nor to stay in the place of a new one. They are those after its step. Where it
    lies in the folder under another name than its step's, it gets that one too, and others are also the one that had
    that name, and earlier ones that were written after it.

    Called by all processes, before anything is logged or saved.

    Raises:
        UserError: The checkpoint cannot be copied, as on a full disk, where a file system has no hard links.
    """
    accelerator.wait_for_everyone()  # where one of them cannot resume, nothing is given up
    if not accelerator.is_main_process:
        return
    resumed, step = checkpoint.resolve(), json.loads((checkpoint / STATE_FILE).read_text())["step"]
    named = output_dir / f"checkpoint-{step}"
    renamed = is_of_the_run(checkpoint, output_dir) and resumed != named.resolve()
    if renamed and not _alike(resumed, named):
        _take_name(resumed, named)
    for other in list_checkpoints(output_dir):
        before = step_of(other) < step
        if step_of(other) > step or (renamed and before and _written(other) > _written(resumed)):
            _set_aside(other, resumed)


def _take_name(resumed: Path, named: Path) -> None:
    """Give a checkpoint a second name, for the first one is the user's, whose command may name it again."""
    temporary = named.with_name(f"incomplete-{named.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(resumed, temporary, copy_function=_link)
        flush_to_disk(temporary)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(
            f"cannot write {named}, a copy of {resumed}: {error}. Nothing of it is left; free some space, or see to "
            "the folder, and give the same command again.",
            exit_code=1,
        ) from error
    if named.exists():
        _set_aside(named, resumed)
    temporary.rename(named)


def _link(source: str, target: str) -> None:
    """A second name of a file, to which nothing writes any more; a copy where the file system has no second names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _alike(one: Path, other: Path) -> bool:
    """Whether two folders have the same files; those of one size and time are not read."""
    names = [{file.relative_to(folder) for file in folder.rglob("*") if file.is_file()} for folder in (one, other)]
    return names[0] == names[1] and all(filecmp.cmp(one / name, other / name) for name in names[0])


def _written(checkpoint: Path) -> int:
    return (checkpoint / STATE_FILE).stat().st_mtime_ns


def _set_aside(other: Path, resumed: Path) -> None:
    """Rename one of another course, in the place of the one that was called so before, but never of `resumed`."""
    aside = other.with_name(f"abandoned-{other.name}")
    if aside.resolve() == resumed:
        names = (aside.with_name(f"{aside.name}-{number}") for number in count(2))
        aside = next(name for name in names if not name.exists())
    shutil.rmtree(aside, ignore_errors=True)
    other.rename(aside)
    print(f"note: {other.name} is of the course that is given up; it is now {aside}.", file=sys.stderr)
