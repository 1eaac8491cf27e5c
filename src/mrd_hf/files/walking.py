"""What lies in a folder and below, in one order everywhere."""

import os
from pathlib import Path

from ..errors import UserError


# Folders may be come to by several links, but not by so many, on the average, where there are many.
MANY_FOLDERS, MOST_WAYS = 10_000, 10


def files_below(folder: str | Path, hidden: bool = True) -> list[Path]:
    """The files in a folder and below, as paths from there, sorted. Links to folders are followed, as `datasets` does.

    A link to a folder that it lies in is left alone, as there would be no end.

    Args:
        folder (`str` or `Path`)
        hidden (`bool`, defaults to `True`): Whether hidden ones (.DS_Store, ._chair.glb) and __MACOSX count too.

    Raises:
        UserError: Links lead to the same folders so often that there is no end in sight.
    """
    found: list[Path] = []
    known: set[tuple[int, int]] = set()
    num_entered = 0
    above = {os.fspath(folder): frozenset({_identity(folder)})}  # of each folder to come: it and those it lies in
    for place, folders, files in os.walk(folder, followlinks=True):
        those = above.pop(place)
        within = Path(place).relative_to(folder)
        found += [within / name for name in files if hidden or not is_hidden(name)]
        entered = []
        for name in folders:
            path = os.path.join(place, name)
            identity = _identity(path)
            if identity is not None and identity not in those and (hidden or not is_hidden(name)):
                above[path] = those | {identity}
                entered.append(name)
                known.add(identity)
        num_entered += len(entered)
        if num_entered > max(MANY_FOLDERS, MOST_WAYS * len(known)):
            raise UserError(f"{folder}: links in it lead to the same folders again and again; leave some of them out.")
        folders[:] = entered  # which is what os.walk goes by
    return sorted(found)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of a collection's own."""
    return (name.startswith(".") and name not in (".", "..")) or name == "__MACOSX"


def _identity(folder: str | Path) -> tuple[int, int] | None:
    """What tells a folder by whatever path; None if it is gone."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
