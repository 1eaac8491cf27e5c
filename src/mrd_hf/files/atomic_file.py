"""Files that are complete or not there."""

import errno
import glob
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import UserError


WINDOWS = sys.platform == "win32"
if sys.platform != "win32":
    import fcntl

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
    own = uuid.uuid4().hex[:8]
    partial, unlocked = file.with_name(f"{partial_prefix(file)}{own}"), file.with_name(f".{file.name}.new-{own}")
    if WINDOWS:  # has no such locks, and gives no new name to a file that is open
        unlocked = partial
    try:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            for abandoned in file.parent.glob(f"{glob.escape(partial_prefix(file))}*"):
                if _is_abandoned(abandoned):
                    abandoned.unlink(missing_ok=True)
            with open(unlocked, "wb") as sink:
                _hold(sink)
                if not WINDOWS:
                    unlocked.rename(partial)  # under which name it is abandoned if nobody holds it
                yield sink
                sink.flush()
                os.fsync(sink.fileno())
                if not WINDOWS:
                    partial.rename(file)
            if WINDOWS:
                partial.replace(file)
        finally:
            unlocked.unlink(missing_ok=True)
            partial.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.filename in (str(partial), str(unlocked)):
            message = f"cannot write {file}: another run took it over; let one run at a time write it."
            raise UserError(message, exit_code=1) from error
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
            return True
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
