"""The trackers of a run, tensorboard, trackio and wandb: under which names, and as one run however often it resumes.

A run's folder keeps the run's identity in `tracking.json`, so that a resumed run continues it without being told, and
up to which step they have it. Steps after the checkpoint, which are repeated, are shown once: tensorboard is told to
hide the first ones; to trackio and wandb, which cannot forget, they are not logged a second time. Scores that were not
made before the run ended are logged when it resumes. A run that goes back and takes another course is another run of
its trackers.
"""

import dataclasses
import json
import re
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

from accelerate.tracking import GeneralTracker, TensorBoardTracker, TrackioTracker, WandBTracker

from ..errors import UserError
from ..files.atomic_file import atomic_file
from .training_log import has_scores, read_log


IDENTITY_FILE = "tracking.json"
DEFAULT_PROJECT = "mrd"
# A folder of tensorboard's, a project of trackio, and what wandb takes.
NAME = re.compile(r"\w[\w .-]*")


@dataclasses.dataclass(frozen=True)
class RunIdentity:
    """What a run is called by its trackers.

    Args:
        project (`str`): What several runs have in common.
        run_name (`str`): Of the run; trackio tells runs of a project apart by it.
        run_id (`str`): Of the run, for wandb, where several may have one name.
        logged_until (`int`, defaults to -1): The last step that they got before it resumed.
        scored (list of `int`): The steps until then of which they got scores.
    """

    project: str
    run_name: str
    run_id: str
    logged_until: int = -1
    scored: list[int] = dataclasses.field(default_factory=list)

    def save(self, output_dir: Path) -> None:
        with atomic_file(output_dir / IDENTITY_FILE) as sink:
            sink.write((json.dumps(dataclasses.asdict(self), indent=2) + "\n").encode())


class LoggedOnce:
    """A tracker to which the steps up to `logged_until` are not logged: it has them already.

    But for scores of a step that is not in `scored`: the run ended between that step and its evaluation.
    """

    logged_until = -1
    scored: Collection[int] = ()
    ascending = False

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        if step is not None and step <= self.logged_until:
            if step in self.scored or not has_scores(values):
                return
            if self.ascending:
                step = self.logged_until + 1
        super().log(values, step=step, **kwargs)  # type: ignore[misc]


class ResumableTrackio(LoggedOnce, TrackioTracker):
    """Trackio, which keeps all that it is given."""


class ResumableWandB(LoggedOnce, WandBTracker):
    """wandb, which drops what is of no later step than it had when the run ended: such scores get the next step."""

    ascending = True


def check_name(name: str | None, field: str) -> None:
    """Raise a [`UserError`] if a project or a run cannot be called like that."""
    if name is not None and not NAME.fullmatch(name):
        raise UserError(
            f"{field} must begin with a letter, digit or _ and have only these, blanks, dots, hyphens, got '{name}'."
        )


def run_identity(
    output_dir: Path, resumed: bool, project: str | None, run_name: str | None, new_course: bool = False
) -> tuple[RunIdentity, bool]:
    """The identity of the run in a folder, and whether it continues one that was tracked there before.

    Args:
        output_dir (`Path`): The run's folder; the identity is written into it.
        resumed (`bool`): Whether the run resumes.
        project (`str`, *optional*), run_name (`str`, *optional*):
            As given; default: what the run that resumes had, or `mrd` and a name made of the folder's. Another name
            than it had begins another run of the tracker.
        new_course (`bool`, defaults to `False`): Whether it is another run of the tracker in any case.
    """
    file, earlier = output_dir / IDENTITY_FILE, None
    if resumed and file.is_file():
        try:
            earlier = RunIdentity(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise UserError(f"{file}: cannot be read ({error}); delete it to begin a new tracker run.") from None
        if not new_course and project in (None, earlier.project) and run_name in (None, earlier.run_name):
            return earlier, True
    run_id = uuid.uuid4().hex
    project = project or (earlier.project if earlier is not None else DEFAULT_PROJECT)
    # Unique, since trackio knows runs by their names: this folder's earlier one, and those of other folders.
    if run_name is None or (earlier is not None and run_name == earlier.run_name):
        run_name = f"{run_name or output_dir.resolve().name}-{run_id[:6]}"
    identity = RunIdentity(project, run_name, run_id)
    identity.save(output_dir)
    return identity, False


def start_trackers(
    report_to: list[str],
    output_dir: Path,
    log_file: Path,
    project: str | None,
    run_name: str | None,
    resumed_at: int | None,
    arguments: dict[str, object],
    new_course: bool = False,
) -> list[GeneralTracker]:
    """Start a run's trackers, or continue them. Called by the main process alone, before the log is opened again.

    Args:
        report_to (`list[str]`): `tensorboard`, `trackio`, `wandb`.
        output_dir (`Path`): The run's folder, where tensorboard's files go: `<project>/<run_name>/`.
        log_file (`Path`): The run's own log, which tells what was logged before the run resumed.
        project (`str`, *optional*), run_name (`str`, *optional*): See [`run_identity`].
        resumed_at (`int`, *optional*): Step of the checkpoint that the run resumes from.
        arguments (`dict`): The run's, to be shown.
        new_course (`bool`, defaults to `False`): Whether it goes back before what was logged, with other settings.
    """
    run, continued = run_identity(output_dir, resumed_at is not None, project, run_name, new_course)
    shown = {name: str(value) for name, value in arguments.items()}
    if continued and log_file.is_file():
        # The log loses the steps that are repeated. Were the run killed before it has them again, nobody would know
        # that the trackers have them.
        log = read_log(log_file)
        logged_until = max([run.logged_until, *(int(line["step"]) for line in log)])
        scored = sorted({*run.scored, *(int(line["step"]) for line in log if has_scores(line))})
        run = dataclasses.replace(run, logged_until=logged_until, scored=scored)
        run.save(output_dir)
    trackers: list[GeneralTracker] = []
    for name in report_to:
        if name == "tensorboard":
            # Hides what was logged of the steps that are now repeated.
            purge_step = resumed_at + 1 if resumed_at is not None else None
            tracker = TensorBoardTracker(run.run_name, output_dir / run.project, purge_step=purge_step)
        elif name == "trackio":
            tracker = ResumableTrackio(run.project, name=run.run_name, resume="allow" if continued else "never")
            tracker.logged_until, tracker.scored = run.logged_until, set(run.scored)
        else:
            tracker = ResumableWandB(run.project, name=run.run_name, id=run.run_id, resume="allow")
            tracker.logged_until, tracker.scored = run.logged_until, set(run.scored)
        tracker.start()
        if name == "tensorboard":
            # As a text: accelerate's way makes a second run of it, in a folder of its own.
            rows = [f"| {key} | `{value}` |" for key, value in shown.items()]
            table = "\n".join(["| argument | value |", "|---|---|", *rows])
            tracker.writer.add_text("arguments", table, global_step=resumed_at or 0)
        else:
            tracker.store_init_configuration(shown)
        trackers.append(tracker)
    return trackers
