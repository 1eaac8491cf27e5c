"""Errors meant for the person at the keyboard: one message, no traceback, a defined exit code."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can mend. The message names what is wrong (file, field) and the remedy.

    Args:
        message (`str`): What was found, what was expected and what to do.
        exit_code (`int`, defaults to 2): 2 for wrong input (as argparse has it), 1 for a run that failed.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run_script(main: Callable[[], None]) -> None:
    """Run a script's `main`; a [`UserError`] ends it with its message on stderr and its exit code."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
