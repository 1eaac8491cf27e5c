"""Folders that are complete or not there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `folder` once the block is done; after an error it is gone.

    Args:
        folder (`Path`): Replaced if it exists.

    Yields:
        `Path`: An empty folder beside it.
    """
    temporary = folder.with_name(f"incomplete-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        flush_to_disk(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def flush_to_disk(folder: Path) -> None:
    """Wait until a folder's files are on the disk, so that a rename cannot survive a power cut that they do not."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
