"""The files that the command line is given: found in folders, and read one by one, so that a bad one ends nothing."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from ..errors import UserError
from ..files.walking import files_below
from ..models.shape_suffixes import SHAPE_SUFFIXES


UpAxis = Literal["y", "z"] | None
# What reading a file may raise.
READING_ERRORS = (ValueError, OSError, MemoryError, RecursionError)


def find_shapes(paths: Iterable[str]) -> list[str]:
    """The files among `paths`, and the shapes in the folders among them and below, in the order of their names.

    Hidden ones count only among `paths`.

    Raises:
        UserError: One of them is not there, or a folder has no shape in it.
    """
    files: list[str] = []
    for path in paths:
        if not os.path.lexists(path):
            raise UserError(f"{path}: no such file or folder.")
        if not os.path.isdir(path):
            files.append(path)
            continue
        found = [
            os.path.join(path, file)
            for file in files_below(path, hidden=False)
            if file.name.lower().endswith(SHAPE_SUFFIXES)
        ]
        if not found:
            raise UserError(f"{path}: no shape in it; expected files of {', '.join(SHAPE_SUFFIXES)}.")
        files += sorted(found)
    return list(dict.fromkeys(files))


def check_no_dataset(path: str, remedy: str) -> None:
    """Raise a [`UserError`] with a remedy for a triplet dataset's folder: its shapes are in its parquet files, and
    what else lies in it, as samples may, is not meant."""
    file = next(iter(sorted(Path(path).glob("data/*.parquet"))), None)
    if file is not None:
        raise UserError(f"{path}: is a triplet dataset ({file.relative_to(path)}), no folder of shapes; {remedy}.")


def reading_error(error: Exception) -> str:
    """What to say of a file that could not be read. It costs that file alone, also where the mistake is ours."""
    if isinstance(error, READING_ERRORS):
        return str(error) or type(error).__name__
    return f"{type(error).__name__}: {error}; this is a mistake of mrd_hf's: please report it, with the file"


def as_text(path: str | Path) -> str:
    """A path as it can be stored: bytes that are no UTF-8, which file names may have, become escapes."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")
