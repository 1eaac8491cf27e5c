"""The files that the command line is given: found in folders, and read one by one, so that a bad one ends nothing."""

import os
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from ..errors import UserError
from ..models.feature_extraction_point_cloud import MESH_SUFFIXES
from ..models.point_cloud_files import CLOUD_SUFFIXES


UpAxis = Literal["y", "z"] | None
SHAPE_SUFFIXES = MESH_SUFFIXES + CLOUD_SUFFIXES
# Larger ones take more memory than most machines have.
MAX_FILE_SIZE = 2**31
# Compressing a cloud makes it a tenth as large, at best: what unpacks to more than this many times its size, and to
# more than a harmless size, was made to fill the memory.
MAX_RATIO = 50
HARMLESS_SIZE = 2**28
# A .pcd file's header is within its first bytes.
PCD_HEADER = 2**16
# What reading a file may raise; whatever else there is is a mistake of ours.
READING_ERRORS = (ValueError, OSError, MemoryError, RecursionError)


def find_shapes(paths: Iterable[str]) -> list[str]:
    """The files among `paths`, and the shapes in the folders among them and below, in the order of their names.

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
            os.path.join(folder, name)
            for folder, _, names in os.walk(path)
            for name in names
            if name.lower().endswith(SHAPE_SUFFIXES)
        ]
        if not found:
            raise UserError(f"{path}: no shape in it; expected files of {', '.join(SHAPE_SUFFIXES)}.")
        files += sorted(found)
    return list(dict.fromkeys(files))


def check_size(path: str) -> None:
    """Raise a `ValueError` for a file that is too large to be read, packed or unpacked."""
    size = os.stat(path).st_size
    if size > MAX_FILE_SIZE:
        raise ValueError(f"{path}: {size / 2**30:.1f} GiB; files of at most {MAX_FILE_SIZE // 2**30} GiB are read.")
    unpacked = _unpacked_size(path)
    if unpacked > MAX_FILE_SIZE or unpacked > max(HARMLESS_SIZE, MAX_RATIO * size):
        raise ValueError(
            f"{path}: {unpacked / 2**20:,.0f} MiB once unpacked, of {size / 2**20:,.1f} MiB; this is no point cloud, "
            "or too large a one: thin it out."
        )


def _unpacked_size(path: str) -> int:
    """How many bytes a compressed cloud says it has; 0 for other files, and for those that are damaged."""
    if not os.path.isfile(path):  # a pipe would never end
        return 0
    if path.lower().endswith(".npz"):
        try:
            with zipfile.ZipFile(path) as archive:
                return sum(member.file_size for member in archive.infolist())
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
            return 0  # for its reader to refuse
    if path.lower().endswith(".pcd"):
        with open(path, "rb") as file:
            start = file.read(PCD_HEADER)
        # The size is the second number after the header.
        found = re.search(rb"^DATA binary_compressed\r?\n.{4}(.{4})", start, re.DOTALL | re.MULTILINE)
        return int.from_bytes(found[1], "little") if found else 0
    return 0


def as_text(path: str | Path) -> str:
    """A path as it can be stored: bytes that are no UTF-8, which file names may have, become escapes."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")
