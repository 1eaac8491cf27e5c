"""ShapeNetPart (Yi et al., SIGGRAPH Asia 2016), in the layout with normals that it is passed on in.

    synsetoffset2category.txt                              lines "Airplane<tab>02691156": classes and their folders
    02691156/1a04e3eab45ca15dd86060f189eb133.txt           lines "x y z nx ny nz part" of 2,000 to 3,000 points, y up
    train_test_split/shuffled_train_file_list.json         ["shape_data/02691156/1a04...", ...]; also val and test

16 classes of objects with 50 parts, which are numbered through all classes and have no names. 12,137 shapes to train,
1,870 to validate and 2,874 to test; published figures are of networks trained on the first two. Own shapes can be laid
out likewise, with parts below 255 that are numbered through all classes: the parts of a class that is not a published
one, by name and folder, are those that its training shapes have.
"""

import json
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...data.class_texts import readable
from ...errors import UserError
from .benchmark import TAKE_A_PART, check_complete, check_each_once, find_folder, listed
from .fields import read_lines


# The parts of each class, by the names in synsetoffset2category.txt.
PARTS = {
    "Airplane": range(0, 4),
    "Bag": range(4, 6),
    "Cap": range(6, 8),
    "Car": range(8, 12),
    "Chair": range(12, 16),
    "Earphone": range(16, 19),
    "Guitar": range(19, 22),
    "Knife": range(22, 24),
    "Lamp": range(24, 28),
    "Laptop": range(28, 30),
    "Motorbike": range(30, 36),
    "Mug": range(36, 38),
    "Pistol": range(38, 41),
    "Rocket": range(41, 44),
    "Skateboard": range(44, 47),
    "Table": range(47, 50),
}
# And their folders, by WordNet's numbers: an own class of the same name has another, and parts of its own.
SYNSETS = {
    "Airplane": "02691156",
    "Bag": "02773838",
    "Cap": "02954340",
    "Car": "02958343",
    "Chair": "03001627",
    "Earphone": "03261776",
    "Guitar": "03467517",
    "Knife": "03624134",
    "Lamp": "03636649",
    "Laptop": "03642806",
    "Motorbike": "03790512",
    "Mug": "03797390",
    "Pistol": "03948459",
    "Rocket": "04099429",
    "Skateboard": "04225987",
    "Table": "04379243",
}
# Labels from here on are no parts: networks leave points of this one out of their loss.
NO_PART = 255
SIZES = {"train": 12_137, "val": 1_870, "test": 2_874, "trainval": 14_007}
SPLITS = {"train": ["train"], "val": ["val"], "test": ["test"], "trainval": ["train", "val"]}
CATEGORIES_FILE = "synsetoffset2category.txt"
FOLDER = "shapenetcore_partanno_segmentation_benchmark_v0_normal"
COLUMNS = "x y z nx ny nz part"


class LabeledPoints(NamedTuple):
    """A point cloud whose parts are known.

    Args:
        xyz (`np.ndarray` of shape `(num_points, 3)`): float32, in any unit, y up.
        parts (`np.ndarray` of shape `(num_points,)`): int64, the part of each point.
    """

    xyz: np.ndarray
    parts: np.ndarray


@dataclass(frozen=True, eq=False)
class PartBenchmark:
    """The shapes of a split, the classes of their objects, and the parts of these.

    Args:
        name (`str`), split (`str`)
        source (`str`): The folder, for messages.
        object_parts (`dict[str, list[int]]`): The parts of each class, which are numbered in this order, sorted.
        labels (`np.ndarray` of shape `(num_shapes,)`): int64, the class of each object.
        part_names (`list[str]`): Of each part label.
        ids (`list[str]`): One a shape, unique.
        read (function of a row): Gives one shape's [`LabeledPoints`].
        is_part (`bool`, defaults to `False`): Whether something of the split is missing.
    """

    name: str
    split: str
    source: str
    object_parts: dict[str, list[int]]
    labels: np.ndarray
    part_names: list[str]
    ids: list[str]
    read: Callable[[int], LabeledPoints]
    is_part: bool = False

    def __post_init__(self) -> None:
        check_each_once(self.ids, self.source)

    @property
    def class_names(self) -> list[str]:
        return list(self.object_parts)

    def __len__(self) -> int:
        return len(self.ids)


def open_shapenet_part(path: str | Path, split: str = "test", allow_partial: bool = False) -> PartBenchmark:
    """Open ShapeNetPart, or own shapes laid out likewise. Its shapes are read later, one at a time.

    Args:
        path (`str` or `Path`): The folder, or the one above it.
        split (`str`, defaults to `"test"`): `train`, `val`, `test`, or `trainval` for the first two.
        allow_partial (`bool`, defaults to `False`): Whether a part of the published split will do.

    Raises:
        UserError: The layout is not there, a file of it is missing or damaged, it is not all of the split, a shape is
            listed twice, or two classes have one name, folder or part.
    """
    if split not in SPLITS:
        raise UserError(f"{path}: shapenetpart has no split '{split}'; it has {', '.join(SPLITS)}.")
    folder = find_folder(Path(path).expanduser(), [CATEGORIES_FILE], [FOLDER])
    if folder is None:
        raise UserError(
            f"{path}: is not laid out as shapenetpart; expected {CATEGORIES_FILE}, a folder of .txt files a class and "
            "train_test_split/, as in its archive with normals."
        )
    classes = _classes(folder / CATEGORIES_FILE)
    synsets = list(classes)
    shapes = _listed(folder, split, synsets)
    missing = [shape for shape in shapes if not (folder / f"{shape}.txt").is_file()]
    if missing and not allow_partial:
        raise UserError(
            f"{folder}: {len(missing)} of the {len(shapes)} shapes of the split '{split}' are missing "
            f"({missing[0]}.txt, ...); download them again, or {TAKE_A_PART}."
        )
    left_out = set(missing)
    shapes = [shape for shape in shapes if shape not in left_out]
    if not shapes:
        raise UserError(f"{folder}: has no shape of the split '{split}'.")
    labels = np.array([synsets.index(shape.partition("/")[0]) for shape in shapes], dtype=np.int64)
    names = list(classes.values())
    published = all(_is_published(synset, name) for synset, name in classes.items())
    is_part = bool(missing)
    if published:
        lacking = [name for name in PARTS if name not in names]
        if lacking and not allow_partial:
            raise UserError(f"{folder / CATEGORIES_FILE}: lacks {lacking[0]}; {TAKE_A_PART}.")
        what_of = f"the {split} split of shapenetpart"
        is_part = check_complete(labels, names, SIZES[split], what_of, str(folder), allow_partial)
        is_part = is_part or bool(lacking)
    object_parts = {
        _name(name): list(PARTS[name]) if _is_published(synset, name) else _parts_found(folder, synset, synsets)
        for synset, name in classes.items()
    }
    _check_numbered_through(object_parts, folder)
    part_names = ["unused"] * (1 + max(part for parts in object_parts.values() for part in parts))
    for name, parts in object_parts.items():
        for number, part in enumerate(parts):
            part_names[part] = f"{name} {number + 1}"

    def read(row: int) -> LabeledPoints:
        file = folder / f"{shapes[row]}.txt"
        points = _read_points(file)
        parts = object_parts[_name(names[labels[row]])]
        wrong = np.setdiff1d(points.parts, parts)
        if len(wrong):
            raise UserError(f"{file}: has the part {wrong[0]}; {names[labels[row]]} has {', '.join(map(str, parts))}.")
        return points

    name = "shapenetpart" if published else folder.resolve().name
    return PartBenchmark(name, split, str(folder), object_parts, labels, part_names, shapes, read, is_part)


def _name(category: str) -> str:
    return readable(category).lower()


def _is_published(synset: str, name: str) -> bool:
    return SYNSETS.get(name) == synset


def _check_numbered_through(object_parts: dict[str, list[int]], folder: Path) -> None:
    """Each part is of one class: labels that two share would have one name and one score for two things."""
    classes: dict[int, str] = {}
    for name, parts in object_parts.items():
        for part in parts:
            if part in classes:
                raise UserError(
                    f"{folder}: both {classes[part]} and {name} have the part {part}; number the parts through all "
                    "classes, so that each has numbers of its own."
                )
            classes[part] = name


def _classes(file: Path) -> dict[str, str]:
    """Folder -> name of each class, sorted by the names as they will be read."""
    pairs = [line.split() for line in read_lines(file)]
    wrong = next((pair for pair in pairs if len(pair) != 2), None)
    if wrong is not None or not pairs:
        raise UserError(f"{file}: has the line '{' '.join(wrong or [])}'; expected lines of a class and its folder.")
    for what, values in (("class", [_name(name) for name, _ in pairs]), ("folder", [synset for _, synset in pairs])):
        repeated = [value for value, count in Counter(values).items() if count > 1]
        if repeated:
            raise UserError(f"{file}: has the {what} {listed(repeated)} more than once; expected each in one line.")
    return {synset: name for name, synset in sorted(pairs, key=lambda pair: _name(pair[0]))}


def _listed(folder: Path, split: str, synsets: Sequence[str]) -> list[str]:
    """The shapes of a split, as `02691156/1a04e3eab45ca15dd86060f189eb133`, in the order of its lists."""
    shapes: list[str] = []
    for part in SPLITS[split]:
        file = folder / "train_test_split" / f"shuffled_{part}_file_list.json"
        try:
            entries = json.loads(file.read_bytes())
        except OSError as error:
            raise UserError(f"{file}: cannot be read ({error.strerror}); download it again.") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}: is not JSON ({error}); download it again.") from None
        for entry in entries if isinstance(entries, list) else [entries]:
            pieces = entry.split("/") if isinstance(entry, str) else []
            # Names of folders and files alone: what is read lies in the folder.
            if len(pieces) != 3 or pieces[2] in ("", ".", ".."):
                raise UserError(f"{file}: has the entry {entry!r}; expected shape_data/FOLDER/SHAPE.")
            if pieces[1] in synsets:  # of a part of the classes, the others are left out
                shapes.append(f"{pieces[1]}/{pieces[2]}")
    return shapes


def _parts_found(folder: Path, synset: str, synsets: Sequence[str]) -> list[int]:
    """The parts that a class's training shapes have."""
    shapes = [shape for shape in _listed(folder, "train", synsets) if shape.startswith(f"{synset}/")]
    files = [folder / f"{shape}.txt" for shape in shapes]
    found = [np.unique(_read_points(file).parts) for file in files if file.is_file()]
    if not found:
        raise UserError(f"{folder}: has no training shape in {synset}/, so its parts are not known; add some.")
    return np.unique(np.concatenate(found)).tolist()


def _read_points(file: Path) -> LabeledPoints:
    try:
        with warnings.catch_warnings():  # of an empty file, which has no columns either
            warnings.simplefilter("ignore", UserWarning)
            table = np.loadtxt(file, dtype=np.float32, ndmin=2)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}); expected lines of {COLUMNS}.") from None
    if table.shape[1] != 7:
        raise UserError(f"{file}: has {table.shape[1]} columns; expected lines of {COLUMNS}.")
    parts = table[:, 6]
    if not np.isfinite(table).all() or (parts != np.round(parts)).any() or (parts < 0).any():
        raise UserError(f"{file}: has points that are not finite, or parts that are no whole numbers from 0.")
    if (parts >= NO_PART).any():
        raise UserError(
            f"{file}: has the part {int(parts.max())}; parts have numbers below {NO_PART}, and each point has a part: "
            "leave out points without one."
        )
    return LabeledPoints(table[:, :3], parts.astype(np.int64))
