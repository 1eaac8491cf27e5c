"""The documentation's pages, and the code blocks and links in them."""

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import click
from huggingface_hub.cli.hf import app as hf

from support.paths import ROOT


# Those that a user reads; a snippet or a command line in one of them is a promise.
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


class Block(NamedTuple):
    """A fenced block of code."""

    language: str
    code: str


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The code blocks of a page, in order; of one language alone where it is given."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [Block(*block) for block in found if language in (None, block[0])]


def section(page: Path, heading: str) -> str:
    """What stands below a second-level heading, up to the next one."""
    return page.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]


def command_lines(code: str) -> list[list[str]]:
    """The words of each command of a shell block, as a shell would split them."""
    lines = (shlex.split(line, comments=True) for line in code.replace("\\\n", " ").splitlines())
    return [line for line in lines if line]


def hf_parameters(words: list[str]) -> dict[str, Any]:
    """What huggingface_hub's own command `hf` makes of the words that follow it."""
    command: Any = hf
    try:
        while isinstance(command, click.Group):
            name, command, words = command.resolve_command(click.Context(command), words)
        return command.make_context(name, words).params
    except click.ClickException as error:
        raise ValueError(error.message) from None


def prose(page: Path) -> str:
    """A page without its code blocks and code spans."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)
