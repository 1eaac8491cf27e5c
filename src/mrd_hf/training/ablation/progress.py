"""One line about how far an ablation is, and how long it will take."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from ..pretraining import LOG_FILE
from .running import Job


# Where a line cannot be written over, as in a log, it is written this often.
SECONDS_BETWEEN_LINES = 60.0


class Progress:
    """Writes the line, over and over on a terminal.

    Args:
        jobs (sequence of [`Job`]): All of them.
        work (mapping of `float`): Of each job's name, how much there is to train.
        steps (mapping of `int`): Of each job's name, its optimizer steps.
        stream (`TextIO`, *optional*): Default: the process's errors.
    """

    def __init__(
        self, jobs: Sequence[Job], work: Mapping[str, float], steps: Mapping[str, int], stream: TextIO | None = None
    ) -> None:
        self.work, self.steps = work, steps
        self.jobs = jobs
        self.stream = sys.stderr if stream is None else stream
        self.began = time.monotonic()
        self.left_at_first: float | None = None
        self.last_line = -SECONDS_BETWEEN_LINES
        self.width = 0

    def __call__(self, active: Sequence[Job], done: int) -> None:
        now, over = time.monotonic(), self.stream.isatty()
        if not over and now - self.last_line < SECONDS_BETWEEN_LINES and done < len(self.jobs):
            return
        self.last_line = now
        text = self.line(active, done, now - self.began)
        if over:
            print("\r" + text.ljust(self.width), end="", file=self.stream, flush=True)
            self.width = len(text)
        else:
            print(text, file=self.stream, flush=True)

    def line(self, active: Sequence[Job], done: int, elapsed: float) -> str:
        """The line at a time, in seconds since the begin."""
        shares = {job.name: self.share(job) for job in active}
        left = sum(
            self.work[job.name] * (1 - shares.get(job.name, 0.0))
            for job in self.jobs
            if not job.finished and not job.status.failed
        )
        if self.left_at_first is None:
            self.left_at_first = left
        trained = self.left_at_first - left
        time_left = f"{as_time(elapsed * left / trained)} left" if trained > 0 else "time left unknown yet"
        failed = sum(bool(job.status.failed) for job in self.jobs)
        at_work = "; ".join(f"{job.name} {100 * shares[job.name]:.0f}%" for job in active)
        some_failed = f"{failed} failed" if failed else ""
        parts = (f"{done} of {len(self.jobs)} runs done", some_failed, time_left, at_work)
        return ", ".join(part for part in parts if part)

    def share(self, job: Job) -> float:
        """How much of a job's training is done."""
        if "pretrain" in job.status.seconds:
            return 1.0
        try:
            lines = (job.folder / "pretrain" / LOG_FILE).read_text().splitlines()
            return min(1.0, json.loads(lines[-1])["step"] / self.steps[job.name]) if lines else 0.0
        except (OSError, ValueError, KeyError):
            return 0.0

    def end(self) -> None:
        if self.stream.isatty() and self.width:
            print(file=self.stream)


def as_time(seconds: float) -> str:
    """Such as "1 h 05 min", or "40 s"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
