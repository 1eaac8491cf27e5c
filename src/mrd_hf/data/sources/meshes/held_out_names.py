"""Which shapes are held out of training: all those of some names, so that no name is in two splits.

Two shapes of one name share a text. Were one of them in training, the other would no longer be unseen.
"""

import hashlib
from collections.abc import Sequence

from ....errors import UserError
from .mesh_names import words_of_name


def name_key(name: str) -> str:
    """What tells names apart: their words, as "Office_Chair-02" and "office chair" are one; else the name itself."""
    return words_of_name(name) or " ".join(name.split()).casefold()


def hold_out(names: Sequence[str], share: float, seed: int, source: str) -> set[str]:
    """The keys of the names to hold out; see [`name_key`].

    Whether a name is held out depends on `seed` and the name alone, not on the other names: it stays where it is when
    shapes are added. So the share is met on average. Only where it would leave a split without any name, the name that
    is nearest to it changes over.

    Args:
        names (sequence of `str`): One a shape, in any order.
        share (`float`): Of the names, above 0 and below 1.
        seed (`int`): Another one holds out other names.
        source (`str`): What messages call the shapes' source.

    Raises:
        UserError: The share is not between 0 and 1, or there are fewer than two names.
    """
    if not 0 < share < 1:
        raise UserError(f"--test-share must be above 0 and below 1, not {share:g}.")
    keys = {name_key(name) for name in names}
    if len(keys) < 2:
        name = f" ('{min(keys)}')" if keys else ""
        raise UserError(
            f"{source}: --test-share holds out names, so that none is in both splits, and there are not two{name}; "
            "give the shapes names of their own in the metadata's column 'name', or their splits in a column 'split'."
        )
    ordered = sorted(keys, key=lambda key: (_draw(key, seed), key))
    count = sum(_draw(key, seed) < share for key in keys)
    return set(ordered[: min(max(count, 1), len(keys) - 1)])


def _draw(key: str, seed: int) -> float:
    """A number in [0, 1), evenly distributed."""
    digest = hashlib.sha256(f"{seed}:{key}".encode(errors="backslashreplace")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
