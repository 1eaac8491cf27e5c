"""Files that are complete or not there."""

import errno
import glob
import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import UserError


if sys.platform != "win32":
    import fcntl

# Within which whoever makes a file has locked it.
SECONDS_TO_LOCK = 60
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_file(file: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the name of `file` once the block is done; after an error it is gone.

    What a run that was killed left of the same file is removed. Two runs at once leave the file of either, whole.

    Args:
        file (`Path`): Replaced if it exists; its folder is made if need be.

    Yields:
        `BinaryIO`: A hidden file beside it, so that no reader of the folder takes it for one of its own.

    Raises:
        UserError: The file cannot be written, as on a full disk; the message names it and the remedy.
    """
    partial = file.with_name(f"{partial_prefix(file)}{uuid.uuid4().hex[:8]}")
    try:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            for abandoned in file.parent.glob(f"{glob.escape(partial_prefix(file))}*"):
                if _is_abandoned(abandoned):
                    abandoned.unlink(missing_ok=True)
            with open(partial, "wb") as sink:
                _hold(sink)
                yield sink
                sink.flush()
                os.fsync(sink.fileno())
            partial.rename(file)
        finally:
            partial.unlink(missing_ok=True)
    except FileNotFoundError as error:
        message = f"cannot write {file}: another run took it over; let one run at a time write it."
        raise UserError(message, exit_code=1) from error
    except OSError as error:
        remedy = "free some space or take another folder" if error.errno in FULL_DISK else "see to its folder"
        message = f"cannot write {file}: {error.strerror or error}; {remedy}, and run again."
        raise UserError(message, exit_code=1) from error


def _hold(sink: BinaryIO) -> None:
    """Lock a file for as long as it is open in this process, however that ends."""
    if sys.platform != "win32":
        with suppress(OSError):  # a file system without locks
            fcntl.flock(sink, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_abandoned(partial: Path) -> bool:
    """Whether no process writes it any more, as far as locks tell."""
    if sys.platform == "win32":
        return False
    try:
        with open(partial, "rb+") as left:
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(left.fileno())
            # What another run has made this moment, and not locked yet, is empty.
            return status.st_size > 0 or time.time() - status.st_mtime > SECONDS_TO_LOCK
    except OSError:
        return False


def check_vacant(file: Path, overwrite: bool) -> None:
    """Raise a [`UserError`] if a file, or a folder with something in it, would be replaced that may not be."""
    if overwrite or not (file.exists() or file.is_symlink()) or (file.is_dir() and not any(file.iterdir())):
        return
    raise UserError(f"{file} exists; replace it with --overwrite, or name another place.")


def remove_partial(file: Path) -> None:
    """Remove what runs that were killed while they wrote `file` left beside it."""
    for partial in file.parent.glob(f"{glob.escape(partial_prefix(file))}*"):
        partial.unlink(missing_ok=True)


def partial_prefix(file: Path) -> str:
    """How the names of the hidden files that become `file` begin."""
    return f".{file.name}.partial-"
