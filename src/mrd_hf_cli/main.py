"""The entry point of `mrd-hf`."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from .parser import make_parser


# As a shell has it for a program that a signal ended: 128 and the signal's number.
INTERRUPTED, BROKEN_PIPE = 130, 141


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and end the process with its exit code.

    Args:
        arguments (sequence of `str`, *optional*): Those of the process by default.
    """
    options = make_parser().parse_args(arguments)
    # A locale that cannot show a name is no reason to end; and what is printed is seen at once, also in a pipe.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    try:
        from mrd_hf.cli.output import set_up_logging

        set_up_logging()
        sys.exit(run(options))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def run(options: argparse.Namespace) -> int:
    """Run a sub-command; returns the exit code."""
    from mrd_hf.cli.output import one_line
    from mrd_hf.errors import UserError

    try:
        return importlib.import_module(f"mrd_hf.cli.{options.command}").run(options)
    except UserError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read the output has seen enough. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


if __name__ == "__main__":
    main()
