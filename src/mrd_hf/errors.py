"""Errors meant for the person at the keyboard: one message, no traceback, a defined exit code."""

import errno
import os


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
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # writing says no place
        return UserError(f"{error.strerror}; free some space, or write to another place, and run again.", exit_code=1)
    if error.filename is None or error.errno not in REMEDIES:
        return error
    return UserError(f"{error.filename}: {error.strerror}; {REMEDIES[error.errno]}.", exit_code=1)


def is_first_process() -> bool:
    """Whether this is the only process, or the first of those that a launcher started, before they are connected."""
    return int(os.environ.get("RANK", "0")) == 0
