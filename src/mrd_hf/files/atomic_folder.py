"""Folders that are complete or not there, each written by one run at a time."""

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import UserError
from .exchange import exchange


if sys.platform != "win32":
    import fcntl

# In a folder that is being filled: who does.
WRITER_FILE = ".writer"


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `folder` once the block is done; after an error it is gone.

    At any moment `folder` is the old one or the new one, complete, as far as the file system can exchange two names
    (Linux's local ones can). Elsewhere the old one is moved aside first, and a run that is killed at that instant
    leaves it as `replaced-NAME`, from where the next run takes it back.

    Args:
        folder (`Path`): Replaced if it exists.

    Yields:
        `Path`: An empty folder beside it.

    Raises:
        UserError: Another run is filling it.
    """
    # "." and ".." are no names to put anything beside.
    folder = folder.resolve() if folder.is_symlink() or folder.name in ("", "..") else folder
    temporary, aside = folder.with_name(f"incomplete-{folder.name}"), folder.with_name(f"replaced-{folder.name}")
    claim = claim_folder(temporary, folder)
    try:
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
        elif aside.is_dir():
            aside.rename(folder)
        _empty(temporary)
        writer = temporary / WRITER_FILE
        writer.write_text(f"process {os.getpid()}, which began at {time.strftime('%Y-%m-%d %H:%M:%S')}")
        try:
            yield temporary
            writer.unlink()
            flush_to_disk(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        # From here on the name of the temporary folder may be another run's.
        _replace(folder, temporary, aside)
    finally:
        release_folder(claim)


def check_not_current(folder: Path) -> None:
    """Raise a [`UserError`] if a folder that is to be replaced is the one that the user is in.

    Whose shell would stay in the old one. For work that takes long before it writes anything.
    """
    if folder.resolve() == Path.cwd():
        raise UserError(f"{folder}: is the folder that you are in, which cannot be replaced; name one in it.")


def check_not_read(folder: Path, *inputs: str | Path | None) -> None:
    """Raise a [`UserError`] if a folder that is to be replaced has an input in it; ids on the Hub are passed over."""
    for source in inputs:
        if source is not None and os.path.exists(source) and Path(source).resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{folder} would be replaced, and {source} is read; give another folder to write.")


def check_writable(folder: Path) -> None:
    """Raise a [`UserError`] if a folder that is there cannot be written to, or one that is not cannot be made.

    For work that takes long before it writes anything.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    what = f"cannot write to {folder}" if place == folder.absolute() else f"cannot make the folder {folder}"
    if not place.is_dir():
        raise UserError(f"{what}: {place} is a file; name another place.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{what}: no permission to write to {place}; see to that, or name another place.")


def check_replaceable(folder: Path, marks: Sequence[str], what: str, inputs: Sequence[str | Path | None] = ()) -> None:
    """Raise a [`UserError`] if something else would be lost than what the same command wrote before, or it is the
    folder that the user is in.

    Args:
        folder (`Path`): To be replaced as a whole, by [`atomic_folder`].
        marks (sequence of `str`): Names that each folder of this kind has in it.
        what (`str`): The kind, for the message.
        inputs (sequence of `str` or `Path`, *optional*): What is read; ids on the Hub are passed over.
    """
    check_not_current(folder)
    check_not_read(folder, *inputs)
    if folder.is_file() or (
        folder.is_dir() and any(folder.iterdir()) and not all((folder / mark).exists() for mark in marks)
    ):
        raise UserError(f"{folder} exists and is no {what}; it is left as it is. Give another folder.")


def flush_to_disk(folder: Path) -> None:
    """Wait until a folder's files are on the disk, so that a rename cannot survive a power cut that they do not."""
    for path in [*folder.rglob("*"), folder]:
        if sys.platform != "win32":
            descriptor = os.open(path, os.O_RDONLY)
        elif path.is_dir():  # which Windows does not open
            continue
        else:
            descriptor = os.open(path, os.O_RDWR | os.O_BINARY)  # what is only read it does not flush
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def claim_folder(temporary: Path, folder: Path) -> int | None:
    """Make the folder that is to be filled, and keep other runs out of it; returns what [`release_folder`] needs.

    The lock is on the folder itself, so it needs no file of its own, and ends with the process however that ends.
    """
    while True:
        try:
            temporary.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            # One look each, as other runs make and remove the folder meanwhile.
            if temporary.is_file() or temporary.is_symlink():
                raise
            continue  # it was there when it was to be made, and gone when it was looked at
        if sys.platform == "win32":
            return None
        try:
            descriptor = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another run has just finished with it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UserError(
                f"{folder}: another run is writing it{_writer(temporary)}; wait for it, or name another place."
            ) from None
        except OSError:
            return descriptor  # a file system without locks
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), temporary.stat()):
                return descriptor
        os.close(descriptor)  # it was put in place, or removed, before it was locked


def _writer(temporary: Path) -> str:
    try:
        return f" ({(temporary / WRITER_FILE).read_text()})"
    except OSError:
        return ""


def release_folder(claim: int | None) -> None:
    if claim is not None:
        os.close(claim)


def _empty(folder: Path) -> None:
    """Remove what a run that was killed left in it."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _replace(folder: Path, new: Path, aside: Path) -> None:
    """Put a folder in the place of another one, which is removed. What cannot be removed of it is left."""
    if not folder.is_dir():
        new.rename(folder)
        return
    old = _claim_old(folder)
    try:
        if exchange(new, folder):
            shutil.rmtree(new, ignore_errors=True)
        else:
            folder.rename(aside)
            new.rename(folder)
            shutil.rmtree(aside, ignore_errors=True)
    finally:
        release_folder(old)


def _claim_old(folder: Path) -> int | None:
    """Keep other runs from filling the old folder while it has the name of one to fill, until it is removed."""
    if sys.platform == "win32":
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor
