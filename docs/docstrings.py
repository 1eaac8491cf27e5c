"""Makes griffe, which reads docstrings for the site, understand what ours have in common with transformers' own."""

import re
from typing import Any

import griffe


# An argument, `folder (`str` or `Path`): What it is.`; where no description follows, maybe without a colon.
ARGUMENT = re.compile(r"^( +)([\w, ]+) \((.*?)\)(:.*)?$", flags=re.MULTILINE)
# A name that transformers' documentation would make a link of: [`PointBertModel`].
LINKED = re.compile(r"\[(`[^`\]]+`)\](?![\[(])")


class OurDocstrings(griffe.Extension):
    """Ends each argument's line with a colon, writes its type without markup, and names out of brackets."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each module, class, function and attribute that is read."""
        if obj.docstring is not None:
            text = LINKED.sub(r"\1", obj.docstring.value)
            obj.docstring.value = ARGUMENT.sub(_plain_argument, text)


def _plain_argument(argument: re.Match[str]) -> str:
    indent, name, kind, description = argument.groups()
    if description is None and "`" not in kind:
        return argument[0]  # of a sentence
    return f"{indent}{name} ({kind.replace('`', '').replace('*', '')}){description or ':'}"
