"""What goes to the terminal: harmless whatever the files are called, and no noise in a script's way."""

import json
import logging
import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from tqdm import tqdm


Item = TypeVar("Item")

# With fewer, a bar is noise where nobody watches.
MANY = 20
# Between updates where they become lines of a log.
SECONDS_IN_A_LOG = 30
# Joiners, which scripts and emoji need, and which do nothing to a terminal.
HARMLESS_FORMATS = "\u200c\u200d"


def printable(text: str) -> str:
    """The text with escapes in the place of what would move the cursor, start a line, or turn the writing around."""
    return "".join(character if _is_harmless(character) else _escape(character) for character in text)


def _is_harmless(character: str) -> bool:
    return character in HARMLESS_FORMATS or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def _escape(character: str) -> str:
    return character.encode("unicode_escape", errors="backslashreplace").decode("ascii")


def one_line(text: str) -> str:
    """A message of possibly several lines as one that is [`printable`]."""
    return printable(" ".join(text.split()))


def print_json(value: Any) -> None:
    """Print a value as JSON in ASCII; what it has no form for, as the bytes of a picture, becomes null."""
    print(json.dumps(value, indent=2, default=lambda _: None))


def report_failure(name: str, error: str) -> str:
    """Say on stderr, in a line, that a file could not be used; returns the reason."""
    reason = one_line(error)
    shown = printable(name)
    tqdm.write(f"failed: {reason if shown in reason else f'{shown}: {reason}'}", file=sys.stderr)
    return reason


def progress(items: Sequence[Item], what: str, quiet: bool = False) -> Iterator[Item]:
    """Go through items with a bar on stderr, if that is a terminal or the items are many.

    Args:
        items (sequence)
        what (`str`): What is done, for the bar.
        quiet (`bool`, defaults to `False`): Whether to show none in any case.
    """
    on_terminal = sys.stderr.isatty()
    disable = quiet or len(items) < (2 if on_terminal else MANY)
    yield from tqdm(
        items, desc=what, disable=disable, file=sys.stderr, mininterval=0.1 if on_terminal else SECONDS_IN_A_LOG
    )


class _BesideBars(logging.Handler):
    """Writes lines to stderr; a progress bar stays below them."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


class _OneLineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {one_line(record.getMessage())}"


def set_up_logging() -> None:
    """Warnings as single lines on stderr, whatever names are in them; no bars for the loading of weights."""
    handler = _BesideBars()
    handler.setFormatter(_OneLineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    if "transformers" not in sys.modules:  # where a command imports it at all, it is without models
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        return
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
