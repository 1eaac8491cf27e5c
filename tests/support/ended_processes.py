"""Whether processes that others started have ended."""

import psutil


def has_ended(process: psutil.Process) -> bool:
    """Whether it is gone, or has ended and nobody has asked how, as where no process adopts orphans to do that."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # just now
        return True
