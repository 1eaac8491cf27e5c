"""Which split a shape is in, by its name, so that no name is in two splits: the seed and the set of names decide."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from ...errors import UserError
from ..sources.meshes.held_out_names import name_key


SPLITS = ("train", "validation", "test")


def splits_of_names(
    names: Sequence[str], test_share: float, validation_share: float, seed: int, source: str = "the dataset"
) -> list[str]:
    """Divide shapes into train, validation and test by their names.

    The names are put into an order that only the seed and each name decide (by SHA-256). The first `test_share` of
    them are the test names; of those that are left, which are the names to train with, the first `validation_share`
    are held out for validation. So a name that is added may move others from one split to the next. Names are compared
    by their words, see [`name_key`].

    Args:
        names (sequence of `str`): One a shape, in any order.
        test_share (`float`): Share of all names, above 0 and below 1.
        validation_share (`float`): Share of the names that are not in test, above 0 and below 1.
        seed (`int`): Another one divides otherwise.
        source (`str`): What messages call the shapes' source.

    Returns:
        `list[str]`: The split of each shape.

    Raises:
        UserError: A share is out of range, or there are fewer than three names.
    """
    for option, share in (("test-share", test_share), ("validation-share", validation_share)):
        if not 0 < share < 1:
            raise UserError(f"--{option} must be above 0 and below 1, not {share:g}.")
    keys = sorted({name_key(name) for name in names}, key=lambda key: (_draw(key, seed), key))
    if len(keys) < len(SPLITS):
        raise UserError(f"{source}: has {len(keys)} names, and three splits need a name each; add shapes of others.")
    num_test = min(max(round(test_share * len(keys)), 1), len(keys) - 2)
    left = len(keys) - num_test
    num_validation = min(max(round(validation_share * left), 1), left - 1)
    split_of = dict.fromkeys(keys, "train")
    split_of |= dict.fromkeys(keys[:num_test], "test")
    split_of |= dict.fromkeys(keys[num_test : num_test + num_validation], "validation")
    return [split_of[name_key(name)] for name in names]


def count_splits(splits: Sequence[str]) -> dict[str, int]:
    """How many shapes each split has, in the order of `SPLITS`."""
    counts = Counter(splits)
    return {split: counts[split] for split in SPLITS}


def _draw(key: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{key}".encode(errors="backslashreplace")).digest()
