"""When a run ends before its last step: its time is over, or it was told to end by SIGTERM, as clusters do."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import torch
import torch.distributed as dist

from ..distributed import PATIENCE


class Ending(IntEnum):
    """Why a run ends; of several processes' reasons the greatest counts."""

    LAST_STEP = 0
    TIME = 1
    SIGTERM = 2


class StopRequest:
    """Asked after each step and each checkpoint, on all processes, whether the run is to end there.

    Args:
        max_minutes (`float`, *optional*): How long to train, from [`listening`] on.
    """

    def __init__(self, max_minutes: float | None) -> None:
        self.max_minutes = max_minutes
        self.began = time.monotonic()
        self.terminated = False
        several = dist.is_initialized() and dist.get_world_size() > 1
        # Over the CPUs, so that nobody waits for a GPU.
        self.group = dist.new_group(backend="gloo", timeout=PATIENCE) if several else None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it, SIGTERM does not end the process but the run, after its step; and the time counts."""
        self.began = time.monotonic()
        if threading.current_thread() is not threading.main_thread():  # which has no say in signals
            yield
            return
        previous = signal.signal(signal.SIGTERM, self._terminate)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _terminate(self, *_: object) -> None:
        # Not at once even the second time: a launcher passes on what its processes have been sent as well.
        self.terminated = True

    def agreed(self) -> Ending | None:
        """Whether to end, and why. The same on all processes, all of which call it."""
        over = self.max_minutes is not None and time.monotonic() - self.began >= 60 * self.max_minutes
        own = Ending.SIGTERM if self.terminated else Ending.TIME if over else Ending.LAST_STEP
        if self.group is not None:
            reason = torch.tensor(int(own))
            dist.all_reduce(reason, op=dist.ReduceOp.MAX, group=self.group)
            own = Ending(int(reason))
        return None if own is Ending.LAST_STEP else own


def outlive_sigterm(_: int) -> None:
    """In a process that reads data: end by the SIGTERM of its parent alone.

    A cluster sends the signal to every process of a job, and the step at hand still needs its data. Only Linux tells
    who sent a signal.
    """
    parent = multiprocessing.parent_process()
    if sys.platform != "linux" or parent is None or parent.pid is None:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, args=(parent.pid,), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
