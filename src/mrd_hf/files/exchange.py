"""Two files or folders change names, in one step that nothing can interrupt."""

import ctypes
import os
import sys
from pathlib import Path


# Of Linux, <fcntl.h> and <linux/fs.h>.
AT_FDCWD, RENAME_EXCHANGE = -100, 2


def exchange(first: Path, second: Path) -> bool:
    """Exchange the names of two files or folders of one file system.

    Returns:
        `bool`: False, with nothing changed, where system or file system cannot do that.

    Raises:
        FileNotFoundError: One of them is not there.

    Source: renameat2(2) with RENAME_EXCHANGE; in the C library since glibc 2.28, and in no module of Python.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    paths = os.fsencode(first), os.fsencode(second)
    if renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) == 0:
        return True
    for path in (first, second):
        path.lstat()
    return False
