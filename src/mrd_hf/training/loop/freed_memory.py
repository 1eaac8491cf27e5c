"""Freed memory that stays with the process, so that the next step need not get it from the system."""

import ctypes
import os
import sys


# Of glibc's malloc.h: parameters of mallopt, and their values in bytes.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
KEPT = {M_MMAP_THRESHOLD: 2**30, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**26}


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed: a training step on a CPU needs the same memory as the one before it.

    glibc gives large blocks back to the system, which clears them when they are asked for again, by one thread at a
    time. Peak memory stays as it is. Settings of the user by `MALLOC_*` or `GLIBC_TUNABLES` stand. Has no effect where
    the C library is another one.

    Returns:
        `bool`: Whether it does.
    """
    told = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    mallopt = None if told or sys.platform != "linux" else getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(parameter, value) == 1 for parameter, value in KEPT.items())
