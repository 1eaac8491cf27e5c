"""Run the stages of an ablation's runs in processes of their own, several at a time; resumable after any end."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO

from .status import Status, code_digest, read_status


if sys.platform != "win32":
    import fcntl

LOG_FILE, LOCK_FILE = "log.txt", "lock"
POLL_SECONDS = 0.2
# What a process that is told to end may take.
GRACE_SECONDS = 10.0
# Of a failed stage's log that is shown.
LAST_LINES = 12
CHECKPOINTS = "pretrain/checkpoint-*"


@dataclass(frozen=True)
class Stage:
    """A part of a run: one process.

    Args:
        name (`str`): `pretrain`, or the split of an evaluation.
        command (list of `str`): To start it.
        resumes (`bool`): Whether it goes on with what an interrupted one has left in `Job.folder`.
    """

    name: str
    command: list[str]
    resumes: bool = False


@dataclass
class Job:
    """A run: its stages, one after the other.

    Args:
        name (`str`): For messages.
        folder (`Path`): Where its log, its status and what its stages write go.
        stages (list of [`Stage`]): Those that the status has are skipped.
        status ([`Status`]): Changed as stages end.
    """

    name: str
    folder: Path
    stages: list[Stage]
    status: Status

    @property
    def finished(self) -> bool:
        return all(stage.name in self.status.seconds for stage in self.stages)


@dataclass
class _Active:
    """A job at work: its process, and what belongs to it."""

    job: Job
    lock: IO[bytes]
    stage: Stage
    process: subprocess.Popen
    log: IO[bytes]
    began: float
    resumed: bool


@dataclass
class Outcome:
    """What became of the jobs.

    Args:
        failed (list of [`Job`]): Their status says why.
        elsewhere (list of [`Job`]): At which another process is at work.
    """

    failed: list[Job] = field(default_factory=list)
    elsewhere: list[Job] = field(default_factory=list)


def run_jobs(
    jobs: Sequence[Job],
    at_once: int,
    environment: Mapping[str, str],
    on_progress: Callable[[Sequence[Job], int], None] = lambda active, done: None,
) -> Outcome:
    """Run jobs to their ends, `at_once` at a time. One that fails does not stop the others.

    A stage that is done is written into the job's status before the next begins, so a kill at any moment costs at most
    the stages at work. Those processes end with this one, whatever ends it.

    Args:
        jobs (sequence of [`Job`]): In the order to begin them.
        at_once (`int`)
        environment (mapping): Of the processes.
        on_progress (`Callable`): Called again and again with the jobs at work and the number of those that have ended.
    """
    outcome, active, waiting = Outcome(), list[_Active](), [job for job in jobs if not job.finished]
    done = len(jobs) - len(waiting)
    try:
        while waiting or active:
            while waiting and len(active) < at_once:
                job = waiting.pop(0)
                lock = _locked(job.folder)
                if lock is None:
                    outcome.elsewhere.append(job)
                    done += 1
                    continue
                _read_again(job)
                if job.finished:
                    lock.close()
                    done += 1
                    continue
                active.append(_start(job, lock, environment))
            time.sleep(POLL_SECONDS)
            for item in list(active):
                if item.process.poll() is None:
                    continue
                active.remove(item)
                if _ended(item) and not item.job.finished:
                    active.append(_start(item.job, item.lock, environment))
                    continue
                if item.job.status.failed:
                    outcome.failed.append(item.job)
                item.lock.close()
                done += 1
            on_progress([item.job for item in active], done)
    finally:
        _stop(active)
    return outcome


def last_lines(file: Path, count: int = LAST_LINES) -> str:
    """The end of a log; of lines that a progress bar wrote over and over, what was there at last."""
    text = file.read_bytes()[-20_000:].decode("utf-8", errors="replace")
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return "\n".join([line for line in lines if line][-count:])


def _read_again(job: Job) -> None:
    """Another process may have done stages of it between the reading of its status and the claim of its folder."""
    status = read_status(job.folder)
    if status is not None and status.fingerprint == job.status.fingerprint:
        job.status.seconds, job.status.cpu = status.seconds, status.cpu


def _start(job: Job, lock: IO[bytes], environment: Mapping[str, str]) -> _Active:
    stage = next(stage for stage in job.stages if stage.name not in job.status.seconds)
    resumed = stage.resumes and next(job.folder.glob(CHECKPOINTS), None) is not None
    if stage.resumes:
        # Now, as nobody would know of this machine if the run were killed and went on on another one.
        job.status.note_cpu(resumed)
        job.status.save(job.folder)
    log = (job.folder / LOG_FILE).open("ab")
    log.write(f"\n{'-' * 20} {time.strftime('%Y-%m-%d %H:%M:%S')} {stage.name}\n".encode())
    log.flush()
    process = subprocess.Popen(
        stage.command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=dict(environment)
    )
    return _Active(job, lock, stage, process, log, time.monotonic(), resumed)


def _ended(item: _Active) -> bool:
    """Write down how a stage ended; returns whether it went well."""
    seconds = time.monotonic() - item.began
    _close(item)
    status, name = item.job.status, item.stage.name
    status.version, status.code = version("mrd-hf"), code_digest()
    well = item.process.returncode == 0
    if well:
        status.seconds[name] = None if item.resumed else round(seconds, 1)
        status.failed.pop(name, None)
    else:
        shown = last_lines(item.job.folder / LOG_FILE)
        status.failed[name] = f"exit code {item.process.returncode}\n{shown}"
    status.save(item.job.folder)
    if well and item.stage.resumes:
        # Ten times as large as the encoder, and of no use once that is there.
        for checkpoint in item.job.folder.glob(CHECKPOINTS):
            shutil.rmtree(checkpoint, ignore_errors=True)
    return well


def _stop(active: Sequence[_Active]) -> None:
    """End what is still at work."""
    for item in active:
        item.process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for item in active:
        try:
            item.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            item.process.kill()
            item.process.wait()
        _close(item)
        item.lock.close()


def _close(item: _Active) -> None:
    if item.process.stdin is not None:
        with suppress(OSError):  # of a process that is gone
            item.process.stdin.close()
    item.log.close()


def _locked(folder: Path) -> IO[bytes] | None:
    """A run's folder, claimed for this process until the file is closed; None if another one has it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / LOCK_FILE).open("ab")
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError:
            pass  # a file system without locks
    return file


@contextmanager
def one_at_a_time(file: Path) -> Iterator[None]:
    """Within it, no other process is: for what several shards of one ablation would make at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as lock:
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def environment_of_runs(threads: int) -> dict[str, str]:
    """This process's environment, with as many threads for each numerical library."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}
