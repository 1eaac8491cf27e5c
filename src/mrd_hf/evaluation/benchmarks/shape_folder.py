"""Any folder with a sub-folder a class, of meshes or point clouds, with or without train and test.

It may be laid out as `chair/armchair.glb`, `chair/test/armchair.glb` or `test/chair/armchair.glb`. The classes are the
folders of all splits, sorted. Without splits all shapes are the split `test`.
"""

from pathlib import Path

import numpy as np
from transformers.utils import logging

from ...data.class_texts import readable
from ...data.sources.meshes.mesh_names import SPLIT_FOLDERS
from ...errors import UserError
from ...files.walking import files_below
from ...models.left_out_parts import SEEN, PartChoice
from ...models.shape_files import colored_points, read_shape
from ...models.shape_suffixes import SHAPE_SUFFIXES
from ...models.shapes import Z_UP_TO_Y_UP, ColoredPoints, UpAxis
from .benchmark import Benchmark


logger = logging.get_logger(__name__)

# Points drawn from a mesh: as many as OpenShape evaluates with.
NUM_POINTS = 10_000


def open_shape_folder(path: Path, split: str, up_axis: UpAxis | None = None, choice: PartChoice = SEEN) -> Benchmark:
    """Open a folder of class folders.

    Args:
        path (`Path`): The folder; its name is that of the benchmark.
        split (`str`): `train`, `test`, `val` or `validation`.
        up_axis (`"y"` or `"z"`, *optional*):
            Which axis points up in all its files. Without it y does, and files that say otherwise are turned.
        choice (`PartChoice`, *optional*): Which parts of meshes are read. Default: all but collision meshes.

    Raises:
        UserError: There is no class folder, or no shape of the split.
    """
    known = ", ".join(SHAPE_SUFFIXES)
    places = [
        (of_class, of_split, path / file)
        for file in files_below(path, hidden=False)
        if file.suffix.lower() in SHAPE_SUFFIXES and (path / file).is_file()
        if (place := _place(file)) is not None
        for of_class, of_split in [place]
    ]
    if not places:
        raise UserError(f"{path}: has no shapes in folders of classes; expected files of {known}, as chair/one.glb.")
    splits = sorted({of_split for _, of_split, _ in places if of_split is not None})
    if not splits and split == "test":
        chosen = places
    elif split in splits and any(of_split is None for _, of_split, _ in places):
        stray = next(file for _, of_split, file in places if of_split is None)
        raise UserError(f"{stray}: is in none of the folders {', '.join(splits)}, where others are; move it.")
    else:
        chosen = [place for place in places if place[1] == split]
    if not chosen and not splits:
        raise UserError(
            f"{path}: has no split '{split}', as all its shapes are one, test; put shapes into {split}/CLASS/ and "
            "test/CLASS/."
        )
    if not chosen:
        raise UserError(f"{path}: has no split '{split}'; it has {', '.join(splits)}.")
    folders = sorted({of_class for of_class, _, _ in places})
    class_names = [readable(folder) for folder in folders]
    if len(set(class_names)) < len(class_names):
        raise UserError(f"{path}: has folders that differ in spelling alone ({', '.join(folders)}); join them.")
    files = [file for _, _, file in chosen]

    def read(rows: list[int]) -> list[ColoredPoints]:
        return [read_shape_file(files[row], up_axis is None, choice) for row in rows]

    return Benchmark(
        name=path.resolve().name,
        split=split,
        source=str(path),
        class_names=class_names,
        labels=np.array([folders.index(of_class) for of_class, _, _ in chosen], dtype=np.int64),
        ids=[file.relative_to(path).as_posix() for file in files],
        up_axis=up_axis or "y",
        read=read,
    )


def read_shape_file(file: Path, y_up: bool = False, choice: PartChoice = SEEN) -> ColoredPoints:
    """The points of a file, as the feature extractor of as many points draws them.

    Args:
        file (`Path`)
        y_up (`bool`, defaults to `False`): Whether to turn it if the file says that z is up.
        choice (`PartChoice`, *optional*): Which parts of a mesh are read.

    Raises:
        UserError: It cannot be read; the message names it.
    """
    try:
        shape = read_shape(file, choice.keep_collision, choice.skip_parts)
        points = colored_points(shape, NUM_POINTS)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from None
    for warning in shape.warnings:
        logger.warning_once(f"{file}: {warning}.")  # each pass reads the files
    return points._replace(xyz=points.xyz @ Z_UP_TO_Y_UP.T) if y_up and shape.up_axis == "z" else points


def _place(file: Path) -> tuple[str, str | None] | None:
    """The class and the split of a file by its path in the folder; None for one that is in no class."""
    folders = file.parts[:-1]
    if not folders:
        return None
    if folders[0].lower() in SPLIT_FOLDERS:
        return (folders[1], folders[0].lower()) if len(folders) > 1 else None
    if len(folders) > 1 and folders[1].lower() in SPLIT_FOLDERS:
        return folders[0], folders[1].lower()
    return folders[0], None
