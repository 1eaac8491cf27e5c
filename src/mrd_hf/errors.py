"""Errors meant for the person at the keyboard: one message, no traceback, a defined exit code."""

import errno
import json
import os
import sys
import time
from collections.abc import Callable

from mrd_hf_cli.ending import without_traceback


# What the system says of a file or folder that cannot be used, and what helps.
REMEDIES = {
    errno.EACCES: "see to its permissions, or name another place",
    errno.EPERM: "see to its permissions, or name another place",
    errno.EROFS: "name another place",
    errno.ENOSPC: "free some space, or name another place",
    errno.EDQUOT: "free some space, or name another place",
    errno.ENOTDIR: "a part of this path is a file; name another place",
    errno.EISDIR: "name a file",
    errno.ENAMETOOLONG: "shorten it",
}
# In which a launcher, once the first process has failed and ended, ends the others.
SECONDS_BEHIND_THE_FIRST = 20.0
# Where torch's launcher, which accelerate's is for several processes, looks for what it shall say of a failure.
ERROR_FILE_VARIABLE = "TORCHELASTIC_ERROR_FILE"


class UserError(Exception):
    """Something the user can mend. The message names what is wrong (file, field) and the remedy.

    Args:
        message (`str`): What was found, what was expected and what to do.
        exit_code (`int`, defaults to 2): 2 for wrong input (as argparse has it), 1 for a run that failed.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def as_user_error(error: OSError) -> Exception:
    """A [`UserError`] in place of the system's refusal of a file or folder, as one without permission or space.

    Other errors are returned as they are, since they may be a mistake of ours.
    """
    if error.filename is None or error.errno not in REMEDIES:
        return error
    return UserError(f"{error.filename}: {error.strerror}; {REMEDIES[error.errno]}.", exit_code=1)


def is_first_process() -> bool:
    """Whether this is the only process, or the first of those that a launcher started, before they are connected."""
    return int(os.environ.get("RANK", "0")) == 0


def run_script(main: Callable[[], None]) -> None:
    """Run a script's `main`; a [`UserError`] ends it with its message on stderr and its exit code.

    Of several processes that a launcher started, each finds the same mistake; only the first one says so, as the
    launcher then ends the others. An error that only another one has is said after a while. torch's launcher reports
    the failure in many lines of its own, of which no process can keep it; the message is made the last of them.
    """
    with without_traceback():
        try:
            try:
                main()
            except OSError as error:
                raise as_user_error(error) from error
        except UserError as error:
            if not is_first_process():
                time.sleep(SECONDS_BEHIND_THE_FIRST)
            print(f"error: {error}", file=sys.stderr)
            _tell_launcher(str(error))
            raise SystemExit(error.exit_code) from None


def _tell_launcher(message: str) -> None:
    """Leave the message for torch's launcher, in the place where it shows a traceback."""
    file = os.environ.get(ERROR_FILE_VARIABLE)
    if file:
        details = {"py_callstack": message, "timestamp": str(int(time.time()))}
        with open(file, "w", encoding="utf-8") as sink:
            json.dump({"message": {"message": message, "extraInfo": details}}, sink)
