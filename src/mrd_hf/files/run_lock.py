"""One run at a time in a folder: a second one is refused and told of the first."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import UserError


if sys.platform != "win32":
    import fcntl

LOCK_FILE = ".running"


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Within it, no other process has the folder, which exists; the file that says so is gone afterwards.

    The lock belongs to this process alone: it ends with the process, however that ends, and processes that it forked
    do not hold it. So what a killed run leaves behind keeps nobody out. Within one process it keeps nobody out either.

    Raises:
        UserError: Another process has it.
    """
    file = folder / LOCK_FILE
    if sys.platform == "win32":
        yield
        return
    descriptor = _locked(file, folder)
    try:
        # The host, as folders are shared among machines.
        who = f"process {os.getpid()} on {socket.gethostname()}, which began at {time.strftime('%Y-%m-%d %H:%M:%S')}"
        os.truncate(descriptor, 0)
        os.write(descriptor, who.encode())
        yield
    finally:
        with suppress(OSError):  # the folder may be gone
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                file.unlink()
        os.close(descriptor)


def check_not_running(folder: Path) -> None:
    """Raise a [`UserError`] if another process has the folder; for work that takes long before it writes anything.

    Not within [`only_run`], whose lock it would end.
    """
    file = folder / LOCK_FILE
    if sys.platform != "win32" and file.is_file() and os.access(file, os.W_OK):
        with suppress(FileNotFoundError):  # the other run has just ended, or its folder
            os.close(_locked(file, folder))


def _locked(file: Path, folder: Path) -> int:
    """A descriptor of the lock file, locked where the file system can."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # Of the process (POSIX's), not of the descriptor: flock's would go on in data workers of a killed run.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # both are said, by different systems
            who = os.pread(descriptor, 1000, 0).decode(errors="replace")
            os.close(descriptor)
            raise UserError(
                f"{folder}: another run is writing it{f' ({who})' if who else ''}; wait for it, or name another place."
            ) from None
        except OSError:
            return descriptor  # a file system without locks
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                return descriptor
        os.close(descriptor)  # the other run has just ended, and its file with it
