"""What the system refuses becomes a message of one line, and what may be a mistake of ours stays as it is."""

import errno
import os

import pytest

from mrd_hf.errors import UserError, as_user_error


@pytest.mark.parametrize(
    ("number", "filename", "message"),
    [
        (
            errno.ENOSPC,
            "out/a.parquet",
            "out/a.parquet: No space left on device; free some space, or name another place.",
        ),
        (errno.EACCES, "out", "out: Permission denied; see to its permissions, or name another place."),
        # As of a write to a file that is open.
        (errno.ENOSPC, None, "No space left on device; free some space, or write to another place, and run again."),
        (errno.EFBIG, None, "File too large; free some space, or write to another place, and run again."),
    ],
)
def test_a_refusal_of_the_system_is_told_with_its_remedy(number, filename, message):
    error = as_user_error(OSError(number, os.strerror(number), filename))
    assert isinstance(error, UserError) and (str(error), error.exit_code) == (message, 1)


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "Bad file descriptor"), OSError(errno.ENOENT, "no", "a file")])
def test_what_may_be_a_mistake_of_ours_stays(error):
    assert as_user_error(error) is error
