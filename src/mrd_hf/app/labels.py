"""Labels as they are typed, into a list that is worth embedding."""

import re
import unicodedata


MAX_LABELS = 100
MAX_LENGTH = 100
# Longer than this no list of allowed labels is, so that there is no need to split it first.
MAX_TYPED = MAX_LABELS * (MAX_LENGTH + 2)
SEPARATORS = re.compile("[,;\n\r，、]")


class UnusableLabels(ValueError):
    """What was typed is no list of labels; the message says what to change."""


def parse_labels(typed: str) -> list[str]:
    """Split labels at commas, semicolons and line breaks; blanks around them and repetitions are dropped.

    Raises:
        UnusableLabels: There are none, too many, or one is too long.
    """
    if len(typed) > MAX_TYPED and (count := len(SEPARATORS.findall(typed)) + 1) > MAX_LABELS:
        raise UnusableLabels(f"that is {count:,} labels; at most {MAX_LABELS} are compared.")
    if len(typed) > MAX_TYPED:
        raise UnusableLabels(
            f"that is {len(typed):,} characters; at most {MAX_LABELS} labels of {MAX_LENGTH} characters are compared."
        )
    # The same letters typed in two ways are one label; what has no glyph cannot be read off a chart.
    pieces = (_printable(unicodedata.normalize("NFC", piece)) for piece in SEPARATORS.split(typed))
    labels = list(dict.fromkeys(piece for piece in pieces if piece))
    if not labels:
        raise UnusableLabels("type at least one label, such as: chair, table, lamp.")
    if len(labels) > MAX_LABELS:
        raise UnusableLabels(f"that is {len(labels):,} labels; at most {MAX_LABELS} are compared.")
    longest = max(labels, key=len)
    if len(longest) > MAX_LENGTH:
        raise UnusableLabels(
            f"the label that begins with '{longest[:30]}' has {len(longest):,} characters; at most {MAX_LENGTH} are "
            "read. Separate labels by commas."
        )
    return labels


def _printable(text: str) -> str:
    # Direction marks (of bidirectional text) and zero-width joiners (of emoji and some scripts) belong to words.
    return " ".join("".join(c for c in text if unicodedata.category(c) != "Cc" or c == "\t").split())
