"""How fast a run trains: shapes a second, the share of time that it waits for data, and the memory that it takes."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch


if sys.platform != "win32":
    import resource

Batch = TypeVar("Batch")


class Throughput:
    """The clock of a run. Between two readings it counts steps, and seconds but for those of its pauses.

    Args:
        batch_size (`int`): Shapes in a step, of all processes together.
        device (`torch.device`): Whose memory is shown.
        clock (`Callable`, *optional*): Seconds since some moment.
    """

    def __init__(self, batch_size: int, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self.batch_size = batch_size
        self.device = device
        self.clock = clock
        self._restart()

    def _restart(self) -> None:
        self.began = self.clock()
        self.steps = 0
        self.waited = self.paused = 0.0

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches, with the time that each is waited for; each is a step."""
        source = iter(batches)
        while True:
            asked = self.clock()
            try:
                batch = next(source)
            except StopIteration:
                return
            self.waited += self.clock() - asked
            self.steps += 1
            yield batch

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Within it, as in an evaluation, nothing is trained, and the time does not count."""
        began = self.clock()
        try:
            yield
        finally:
            self.paused += self.clock() - began

    def read(self) -> dict[str, float]:
        """What to log of the steps since the last reading.

        A device that runs ahead must have caught up, as it has when a loss was read. Shapes a second are those of all
        processes; the rest is this process's.
        """
        seconds = max(self.clock() - self.began - self.paused, 1e-9)
        metrics = {
            "shapes_per_second": self.batch_size * self.steps / seconds,
            "data_waiting_share": self.waited / seconds,
        }
        if (peak := peak_memory(self.device)) is not None:
            metrics["peak_memory_gib"] = peak / 2**30
        self._restart()
        return metrics


def peak_memory(device: torch.device) -> int | None:
    """Bytes that this process has held at most: of a GPU what torch took of it, else in memory, without the processes
    that read data; None on Windows, which does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def beside_progress(metrics: dict[str, float]) -> str:
    """What to show of a step that was logged beside the bar of progress."""
    speed = f"{metrics['shapes_per_second']:.3g} shapes/s, {metrics['data_waiting_share']:.0%} waiting for data"
    memory = f", {metrics['peak_memory_gib']:.1f} GiB" if "peak_memory_gib" in metrics else ""
    return f"loss {metrics['loss']:.3f}, {speed}{memory}"
