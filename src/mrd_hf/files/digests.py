"""Digests of files: of all that is in them, of a part of it, or of what the file system says of them."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from .walking import files_below


NUM_BLOCKS = 64
BLOCK_SIZE = 2**16


def files_sha256(files: Iterable[Path]) -> str:
    """A digest of the content of files, one after the other, whatever they are called."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            hashlib.file_digest(content, lambda: digest)
    return digest.hexdigest()


def fingerprint(path: Path) -> str:
    """A digest of a file's size and of 64 blocks of 64 kB spread over it; of all of it, where it is no larger.

    It tells another file, or one that was cut short, and not every flipped bit of a large one, without reading
    gigabytes.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        last_start = max(0, size - BLOCK_SIZE)
        starts = {min(number * BLOCK_SIZE, last_start) for number in range(NUM_BLOCKS)}
        if size > NUM_BLOCKS * BLOCK_SIZE:
            starts = {last_start * number // (NUM_BLOCKS - 1) for number in range(NUM_BLOCKS)}
        for start in sorted(starts):
            file.seek(start)
            digest.update(file.read(BLOCK_SIZE))
    return digest.hexdigest()


def change_stamp(path: str | Path) -> tuple[int, int] | None:
    """A file's size and time of change, for caches of what is in it; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def state_of_files(path: Path) -> str:
    """A digest of the names, sizes and times of change of a file, or of all files in a folder and below.

    What it does not tell is where they are: a folder that was moved keeps its state. Nothing is read.
    """
    digest = hashlib.sha256()
    for file in [path / name for name in files_below(path)] if path.is_dir() else [path]:
        if file.is_file():
            status = file.stat()
            digest.update(f"{file.relative_to(path)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
