"""A process that has the lock of a run's folder, forked, as a new one would import for seconds."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mrd_hf.files.run_lock import only_run


@contextmanager
def held_by_another(folder: Path, leaves_a_child: bool = False) -> Iterator[int]:
    """Within it another process has the folder; afterwards that has ended by itself, if it was not killed.

    Args:
        folder (`Path`): It exists.
        leaves_a_child (`bool`): Whether a process that it forked lives on, which ends with the block.

    Yields:
        `int`: The process's id, which leads a group of its own.
    """
    taken, take = os.pipe()
    until, end = os.pipe()
    holder = os.fork()
    if holder == 0:
        try:
            os.setpgid(0, 0)
            os.close(end)
            with only_run(folder):
                if leaves_a_child and os.fork() == 0:
                    time.sleep(60)
                    os._exit(0)
                os.write(take, b"x")
                os.read(until, 1)
        finally:
            os._exit(0)
    os.close(until)
    try:
        assert os.read(taken, 1) == b"x"
        yield holder
    finally:
        for descriptor in (end, taken, take):
            os.close(descriptor)
        if leaves_a_child:
            os.killpg(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
