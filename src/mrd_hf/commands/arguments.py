"""The dialect of the commands' options: one spelling that `--help` shows, and earlier ones that are understood."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from mrd_hf_cli.hints import did_you_mean

from ..errors import UserError


# Of options that had other names; each is understood where the command has the one that it stands for.
EARLIER_NAMES = {
    "--data": "--dataset",
    "--out": "--output",
    "--to": "--output",
}


class CommandParser(argparse.ArgumentParser):
    """Takes options with hyphens, with underscores in their place, and by the names that they had earlier.

    Args:
        prog (`str`): The command as it is typed.
        **options: Those of `argparse.ArgumentParser`.
    """

    def __init__(self, prog: str, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(prog=prog, allow_abbrev=False, **options)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = list(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        spelled = [*map(self._spelled, words[:end])]
        if self._subparsers is None:  # else most of the words are for another parser
            self._check_known(spelled)
        return super().parse_known_args([*spelled, *words[end:]], namespace)

    def _check_known(self, words: Sequence[str]) -> None:
        """End on an option that there is not, and name the one that it is like; argparse does not, and complains of
        what is missing first."""
        for word in words:
            name = word.partition("=")[0]
            # argparse takes a word with a space for no option.
            if name.startswith("--") and " " not in word and name not in self._option_string_actions:
                known = [option for option in self._option_string_actions if option.startswith("--")]
                self.error(f"unrecognized argument: {word}{did_you_mean(name.replace('_', '-'), known)}")

    def _spelled(self, word: str) -> str:
        """A word, as this parser has it if it is one of its options."""
        name, equals, value = word.partition("=")
        spelled = name.replace("_", "-") if name.startswith("--") else name
        if spelled not in self._option_string_actions:
            spelled = EARLIER_NAMES.get(spelled, spelled)
        return f"{spelled}{equals}{value}" if spelled in self._option_string_actions else word


def positive(text: str) -> int:
    return _at_least(text, 1)


def from_zero(text: str) -> int:
    return _at_least(text, 0)


def _at_least(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least}, got {text}")
    return number


def check_revision(name: str, revision: str | None, what: str) -> None:
    """Raise a [`UserError`] if a revision is given of a model that is not on the Hub, where it would be ignored.

    Args:
        name (`str`), revision (`str`, *optional*): As they were typed. A folder may have its digest as its revision.
        what (`str`): What the message calls the model.
    """
    from ..models.model_sources import PACKAGE
    from ..models.teacher_folder import is_folder_revision

    if revision is None or is_folder_revision(revision):
        return
    if os.path.isdir(name) or name.startswith(PACKAGE):
        kind = "a folder" if os.path.isdir(name) else "a folder of an installed package"
        raise UserError(f"--revision is for {what} on the Hub, and {name} is {kind}; leave out --revision.")
