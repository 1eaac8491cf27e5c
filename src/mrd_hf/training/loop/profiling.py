"""A trace of a few steps by torch's profiler."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import profile, schedule


# Steps that compile, fill caches or are slow for the first time, and one in which the profiler warms up.
SKIPPED_STEPS, WARM_UP_STEPS = 2, 1
ROWS = 40


class StepProfiler:
    """Records `num_steps` steps of this process, after a few that are slow for the first time.

    Writes `trace.json.gz`, which Perfetto (ui.perfetto.dev) and `chrome://tracing` show, and `operations.txt`, what
    took longest.

    Args:
        num_steps (`int`, *optional*): None: record nothing.
        folder (`Path`): To write to; made when there is something to write.
    """

    def __init__(self, num_steps: int | None, folder: Path) -> None:
        self.num_steps = num_steps
        self.folder = folder
        self.profile: profile | None = None
        self.done = 0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within it, call [`step`] after each step."""
        if self.num_steps is None:
            yield
            return
        plan = schedule(wait=SKIPPED_STEPS, warmup=WARM_UP_STEPS, active=self.num_steps, repeat=1)
        with profile(schedule=plan, on_trace_ready=self._write, profile_memory=True) as self.profile:
            yield
        if self.done <= SKIPPED_STEPS + WARM_UP_STEPS:
            first = SKIPPED_STEPS + WARM_UP_STEPS + 1
            print(f"note: --profile records from step {first} of a run on; this one ended before.", file=sys.stderr)

    def step(self) -> None:
        self.done += 1
        if self.profile is not None:
            self.profile.step()

    def _write(self, recorded: profile) -> None:
        if self.done <= SKIPPED_STEPS + WARM_UP_STEPS:
            return  # it had begun to record a step that there is not
        self.folder.mkdir(parents=True, exist_ok=True)
        recorded.export_chrome_trace(str(self.folder / "trace.json.gz"))
        on_gpu = torch.profiler.ProfilerActivity.CUDA in recorded.activities
        order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
        (self.folder / "operations.txt").write_text(recorded.key_averages().table(sort_by=order, row_limit=ROWS))
