"""What the names of mesh files say: unique ids, words to caption with, categories."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath


# Folders of these names tell a split, not a category: ModelNet has airplane/train/airplane_0001.off.
SPLIT_FOLDERS = {"train", "test", "val", "validation"}


def words_of_name(name: str) -> str:
    """The words in a file's or folder's name, in lower case: "Office_Chair-02" and "OfficeChair2" are "office chair".

    Empty where there are none: numbers at the end do not count, nor do names that are a hash or a UUID.
    """
    if re.fullmatch(r"[0-9a-fA-F]{16,}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", name):
        return ""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    words = re.sub(r"[\W_]+", " ", words)
    return re.sub(r"[\s\d]+$", "", words).strip().lower()


def shape_ids(paths: Sequence[str]) -> list[str]:
    """A unique id for each distinct path: the path without its suffix or, where two would be alike, with it."""
    stems = [str(PurePosixPath(path).with_suffix("")) for path in paths]
    counts = Counter(stems)
    taken = set(paths)
    return [path if counts[stem] > 1 or stem in taken else stem for path, stem in zip(paths, stems, strict=True)]


def folder_categories(paths: Sequence[str]) -> list[str | None]:
    """Each path's category: the words of the folder it lies in, if the paths lie in several; None where it has none.

    Folders named after a split count as the folder that they are in.
    """
    folders = []
    for path in paths:
        names = [name for name in PurePosixPath(path).parent.parts if name.lower() not in SPLIT_FOLDERS]
        folders.append(names[-1] if names else "")
    if len(set(folders)) < 2:
        return [None] * len(paths)
    return [words_of_name(folder) or None for folder in folders]
