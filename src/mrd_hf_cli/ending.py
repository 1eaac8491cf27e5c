"""How a program of ours ends where nobody reads its output to the end, or where it is interrupted."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


# As a shell has it for a program that a signal ended: 128 and the signal's number.
INTERRUPTED, BROKEN_PIPE = 130, 141


@contextmanager
def without_traceback() -> Iterator[None]:
    """End the process with 130 when it is interrupted, and with 141 when the reader of its output has seen enough, as
    `| head` has. Other errors, such as another pipe's, pass through.
    """
    try:
        try:
            yield
        finally:
            # What is still in the buffer, as of --help: Python would complain of it when it closes stdout.
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        broken = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]
        if not broken:
            raise
        for stream in broken:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise SystemExit(BROKEN_PIPE) from None


def _has_no_reader(stream: TextIO) -> bool:
    try:
        stream.flush()  # what could not be written is still in it
    except BrokenPipeError:
        return True
    # Unless it has no buffer (PYTHONUNBUFFERED); then the system knows, but for that of Windows.
    if sys.platform == "win32":
        return False
    poll = select.poll()
    poll.register(stream, 0)  # errors and hang-ups are reported in any case
    return bool(poll.poll(0))
