"""What a benchmark is once it has been opened: labelled point clouds that are read when they are asked for."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ...errors import UserError
from ...models.shapes import ColoredPoints, check_colored_points


LISTED = 5
# For messages: on the command line, and in Python and recipes.
TAKE_A_PART = "take a part of it by --allow-partial (allow_partial=True)"


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The shapes of a benchmark's split, their classes, and which way is up. Open one with [`open_benchmark`].

    Args:
        name (`str`): With its variant, where it has several: `modelnet40`, `scanobjectnn-obj_only`.
        split (`str`): `train` or `test`, or what a triplet dataset calls its own.
        source (`str`): The file or folder that it was opened from, for messages.
        class_names (`list[str]`): In the order of the published labels, as prompts have them; those of triplets are
            as the dataset spells them.
        labels (`np.ndarray` of shape `(num_shapes,)`): int64, the class of each shape.
        ids (`list[str]`): One a shape, unique.
        up_axis (`"y"` or `"z"`): Which axis points up in the clouds.
        read (function of `list[int]`): Gives the clouds of some rows; call `shapes` instead, which checks them.
        class_embeddings (`Path`, *optional*): A published file of the classes' text embeddings, found beside the
            clouds; see [`~mrd_hf.data.class_texts.read_class_texts`].
        class_teacher (`str`, *optional*): Whose embeddings those are, where it is known.
        is_part (`bool`, defaults to `False`): Whether something of the published split is missing.

    Raises:
        UserError: There is no shape, a label is no class, or two shapes have one id.
    """

    name: str
    split: str
    source: str
    class_names: list[str]
    labels: np.ndarray
    ids: list[str]
    up_axis: Literal["y", "z"]
    read: Callable[[list[int]], list[ColoredPoints]]
    class_embeddings: Path | None = None
    class_teacher: str | None = None
    is_part: bool = False

    def __post_init__(self) -> None:
        if not self.ids:
            raise UserError(f"{self.source}: has no shape of the split '{self.split}'.")
        if len(self.labels) != len(self.ids):
            raise UserError(
                f"{self.source}: has {len(self.ids)} shapes and {len(self.labels)} labels; expected as many."
            )
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= len(self.class_names)))
        if len(wrong):
            raise UserError(
                f"{self.source}: shape '{self.ids[wrong[0]]}' has the label {self.labels[wrong[0]]}; expected 0 to "
                f"{len(self.class_names) - 1}, as {self.name} has {len(self.class_names)} classes."
            )
        check_each_once(self.ids, self.source)

    def __len__(self) -> int:
        return len(self.ids)

    def shapes(self, rows: Sequence[int] | np.ndarray) -> list[ColoredPoints]:
        """Read some of the shapes, in the order of `rows`.

        Args:
            rows (sequence of `int`): In 0..len-1.

        Returns:
            `list[ColoredPoints]`

        Raises:
            UserError: A shape cannot be read, or it is no cloud; the message names it.
            IndexError: There is no such row.
        """
        for row in rows:
            if not 0 <= row < len(self):
                raise IndexError(f"{self.name} has the rows 0 to {len(self) - 1}, not {row}")
        shapes = []
        for row, shape in zip(rows, self.read([int(row) for row in rows]), strict=True):
            try:
                shapes.append(check_colored_points(shape, f"{self.source}: shape '{self.ids[row]}'"))
            except ValueError as error:
                raise UserError(str(error)) from None
        return shapes


def check_each_once(ids: Sequence[str], source: str) -> None:
    """Raise a [`UserError`] if two shapes of a split have one id."""
    repeated = [shape_id for shape_id, count in Counter(ids).items() if count > 1]
    if repeated:
        raise UserError(f"{source}: has {listed(repeated)} more than once; expected each shape once.")


def check_complete(
    labels: np.ndarray, class_names: Sequence[str], expected: int, what: str, source: str, allow_partial: bool
) -> bool:
    """Raise a [`UserError`] unless all of a published split is there: so many shapes, and some of every class.

    Args:
        labels (`np.ndarray` of shape `(num_shapes,)`): What was found.
        class_names (sequence of `str`): The classes.
        expected (`int`): How many shapes were published.
        what (`str`): What messages call the split: "modelnet40's test split".
        source (`str`): The file or folder.
        allow_partial (`bool`): Whether a part of it will do; more than all of it never does.

    Returns:
        `bool`: whether it is a part.
    """
    missing = [name for label, name in enumerate(class_names) if not (labels == label).any()]
    if missing and not allow_partial:
        raise UserError(
            f"{source}: has no shape of {listed(missing)}; {what} has {len(class_names)} classes. Download it again, "
            f"or {TAKE_A_PART}."
        )
    if len(labels) > expected or (len(labels) < expected and not allow_partial):
        remedy = "" if len(labels) > expected else f"; download it again, or {TAKE_A_PART}"
        raise UserError(f"{source}: has {len(labels)} shapes; {what} has {expected}{remedy}.")
    return bool(missing) or len(labels) < expected


def listed(names: Sequence[str]) -> str:
    """The first names of a list, in quotes."""
    return ", ".join(f"'{name}'" for name in names[:LISTED]) + (", ..." if len(names) > LISTED else "")


def find_folder(path: Path, files: Sequence[str], below: Sequence[str]) -> Path | None:
    """The first of some folders below `path`, itself included, that has one of the files."""
    folders = [path, *(path / name for name in below)]
    return next((folder for folder in folders if any((folder / file).is_file() for file in files)), None)
