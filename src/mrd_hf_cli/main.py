"""The entry point of `mrd-hf`."""

import argparse
import sys
from collections.abc import Sequence

from .encoder_choice import names_onnx
from .ending import without_traceback
from .parser import LIGHT_COMMANDS, LONG_COMMANDS, parse
from .running import imported, run_script
from .without_models import import_without_models


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and end the process with its exit code.

    Args:
        arguments (sequence of `str`, *optional*): Those of the process by default.
    """
    with without_traceback():
        given = list(sys.argv[1:] if arguments is None else arguments)
        # A locale that cannot show a name is no reason to end; and what is printed is seen at once, also in a pipe.
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
        if given and given[0] in LONG_COMMANDS:
            if given[0] in LIGHT_COMMANDS and arguments is None:  # else the process is not this command's alone
                import_without_models()
            # Each has a parser of its own, of what only it imports.
            run_script(lambda: imported(LONG_COMMANDS[given[0]]).main(given[1:]))
            return
        options = parse(given)
        is_light = options.command in LIGHT_COMMANDS and getattr(options, "part_model", None) is None
        if arguments is None and (is_light or names_onnx(options)):
            import_without_models()
        imported("mrd_hf.cli.output").set_up_logging()
        sys.exit(run(options))


def run(options: argparse.Namespace) -> int:
    """Run a sub-command; returns the exit code."""
    errors, output = (imported(f"mrd_hf.{name}") for name in ("errors", "cli.output"))
    try:
        try:
            return imported(f"mrd_hf.cli.{options.command}").run(options)
        except OSError as error:
            raise errors.as_user_error(error) from error
    except errors.UserError as error:
        print(f"error: {output.one_line(str(error))}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    main()
