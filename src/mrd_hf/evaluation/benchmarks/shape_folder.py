"""Any folder with a sub-folder a class, of meshes or point clouds, with or without train and test.

It may be laid out as `chair/armchair.glb`, `chair/test/armchair.glb` or `test/chair/armchair.glb`. The classes are the
folders of all splits, sorted. Without splits all shapes are the split `test`, and a folder `train` beside those of
other classes is a class too.
"""

from collections.abc import Sequence
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
        UserError: There is no class folder, or no shape of the split, or a file is in a split and in no class.
    """
    known = ", ".join(SHAPE_SUFFIXES)
    files = [
        file
        for file in files_below(path, hidden=False)
        if file.suffix.lower() in SHAPE_SUFFIXES and (path / file).is_file()
    ]
    places = _places(path, [file for file in files if len(file.parts) > 1])
    if not places:
        raise UserError(f"{path}: has no shapes in folders of classes; expected files of {known}, as chair/one.glb.")
    loose = [file for file in files if len(file.parts) == 1]
    if loose:
        more = f", with {len(loose) - 1} more" if len(loose) > 1 else ""
        logger.warning_once(f"{path / loose[0]}: is in no class's folder, so it is left out{more}.")
    splits = sorted({of_split for _, of_split, _ in places if of_split is not None})
    if not splits and split == "test":
        chosen = places
    elif splits and any(of_split is None for _, of_split, _ in places):
        stray = next(file for _, of_split, file in places if of_split is None)
        raise UserError(
            f"{stray}: is in none of the folders {', '.join(splits)}, where others are; move it, or rename a class's "
            "folder that is called so."
        )
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


def _places(path: Path, files: Sequence[Path]) -> list[tuple[str, str | None, Path]]:
    """The class, the split and the whole path of each file; all lie in folders of `path`.

    A folder `train` is a class where no other path tells splits and folders of other names lie beside it.
    """
    folders = [file.parts[:-1] for file in files]
    # As chair/test/one.glb is; then in train/test/one.glb the class comes first too.
    class_first = any(not _is_split(first) and any(map(_is_split, rest[:1])) for first, *rest in folders)
    split_first = any(_is_split(first) and rest for first, *rest in folders)
    has_splits = class_first or split_first or all(_is_split(first) for first, *_ in folders)
    places: list[tuple[str, str | None, Path]] = []
    for (first, *rest), file in zip(folders, files, strict=True):
        second = rest[0] if rest else ""
        if _is_split(second) and (class_first or not _is_split(first)):
            places.append((first, second.lower(), path / file))
        elif not has_splits or not _is_split(first):
            places.append((first, None, path / file))
        elif rest:
            places.append((second, first.lower(), path / file))
        else:
            raise UserError(
                f"{path / file}: is in no class's folder, as {first}/CLASS/{file.name} is; move it into one, or away."
            )
    return places


def _is_split(folder: str) -> bool:
    return folder.lower() in SPLIT_FOLDERS
