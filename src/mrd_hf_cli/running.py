"""How a command's `main` is run: by `mrd-hf`, by `python -m`, by a script, by one of a launcher's processes."""

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType

from .ending import without_traceback


# In which a launcher, once the first process has failed and ended, ends the others.
SECONDS_BEHIND_THE_FIRST = 20.0
# Where torch's launcher, which accelerate's is for several processes, looks for what it shall say of a failure.
ERROR_FILE_VARIABLE = "TORCHELASTIC_ERROR_FILE"


def run_script(main: Callable[[], None]) -> None:
    """Run a command's `main`; a `UserError` ends it with its message on stderr and its exit code.

    Of several processes that a launcher started, each finds the same mistake; only the first one says so, as the
    launcher then ends the others. An error that only another one has is said after a while. torch's launcher reports
    the failure in many lines of its own, of which no process can keep it; the message is made the last of them.
    """
    with without_traceback():
        errors = imported("mrd_hf.errors")  # late, as `mrd_hf` imports torch
        try:
            try:
                main()
            except OSError as error:
                raise errors.as_user_error(error) from error
        except errors.UserError as error:
            if not errors.is_first_process():
                time.sleep(SECONDS_BEHIND_THE_FIRST)
            print(f"error: {error}", file=sys.stderr)
            _tell_launcher(str(error))
            raise SystemExit(error.exit_code) from None


def imported(name: str) -> ModuleType:
    """A module, imported with the garbage collector off, which takes a tenth of the time and finds next to nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        if was_enabled:
            gc.enable()


def _tell_launcher(message: str) -> None:
    """Leave the message for torch's launcher, in the place where it shows a traceback."""
    file = os.environ.get(ERROR_FILE_VARIABLE)
    if file:
        details = {"py_callstack": message, "timestamp": str(int(time.time()))}
        with open(file, "w", encoding="utf-8") as sink:
            json.dump({"message": {"message": message, "extraInfo": details}}, sink)
