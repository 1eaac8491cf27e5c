"""The classes of the field's benchmarks, in the order of their published labels."""

from collections import Counter
from collections.abc import Sequence


# fmt: off
# As in the files shape_names.txt (modelnet40_ply_hdf5_2048) and modelnet40_shape_names.txt: label i is line i.
MODELNET40 = (
    "airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "cone", "cup",
    "curtain", "desk", "door", "dresser", "flower_pot", "glass_box", "guitar", "keyboard", "lamp", "laptop",
    "mantel", "monitor", "night_stand", "person", "piano", "plant", "radio", "range_hood", "sink", "sofa",
    "stairs", "stool", "table", "tent", "toilet", "tv_stand", "vase", "wardrobe", "xbox",
)
MODELNET10 = ("bathtub", "bed", "chair", "desk", "dresser", "monitor", "night_stand", "sofa", "table", "toilet")
# Not in alphabetical order: so the labels of its h5 files count, and those of OpenShape's file.
SCANOBJECTNN = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow", "sink",
    "sofa", "toilet",
)
# fmt: on


def readable(name: str) -> str:
    """A class's name as a prompt has it: "night_stand" is "night stand"; capitals and brackets stay."""
    return " ".join(name.replace("_", " ").split())


def match_names(wanted: Sequence[str], found: Sequence[str]) -> list[int | None]:
    """Find classes by name, however a file spells them: "night_stand", "night stand" and "Night Stand" are one.

    Args:
        wanted (sequence of `str`): Names to look up.
        found (sequence of `str`): Names among which to look.

    Returns:
        `list[int | None]`: for each wanted name its place in `found`; None where it is not there, or where several
        names there differ in spelling alone and none is spelled as it is.
    """
    exact = {name: place for place, name in enumerate(found)}
    counts = Counter(map(_key, found))
    alike = {_key(name): place for place, name in enumerate(found) if counts[_key(name)] == 1}
    return [exact.get(name, alike.get(_key(name))) for name in wanted]


def _key(name: str) -> str:
    return readable(name).casefold()
