"""ScanObjectNN (arXiv 1908.04616): scans of furniture in 15 classes, in the official files and in OpenShape's.

- `obj_only`, the objects alone: `main_split_nobg/test_objectdataset.h5`; 2,309 shapes to train, 581 to test;
- `obj_bg`, with what was scanned around them: `main_split/test_objectdataset.h5`; as many;
- `pb_t50_rs`, the hardest, moved, turned, scaled and cut: `main_split/test_objectdataset_augmentedrot_scale75.h5`;
  11,416 and 2,882;
- `openshape`, OpenShape's choice: `xyz_label.npy`; 2,890 shapes, as many as both splits of `obj_only` have.

The split that the tables of OpenShape and its successors call ScanObjectNN is the last one; other papers mean the
third. So the variant is part of the benchmark's name.

All are y up: ScanObjectNN's own training turns clouds about y, as do its users (issue 33 of its repository), and
OpenShape's loader turns its file as it does its training data, which is y up. No file has colours.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...data.sources.openshape import TEACHER
from ...data.sources.published_fields import what
from ...errors import UserError
from ...files.plain_pickle import map_plain_npy
from ...models.shapes import ColoredPoints
from ..classes.class_names import SCANOBJECTNN
from .benchmark import Benchmark, check_complete, find_folder
from .fields import integer_labels
from .h5_files import read_clouds, read_labels


OPENSHAPE = "openshape"
SIZES = {
    "obj_only": {"train": 2309, "test": 581},
    "obj_bg": {"train": 2309, "test": 581},
    "pb_t50_rs": {"train": 11416, "test": 2882},
    OPENSHAPE: {"test": 2890},
}
# By variant, below the folder h5_files. The training split's files are called training_...
FILES = {
    "obj_only": "main_split_nobg/{}_objectdataset.h5",
    "obj_bg": "main_split/{}_objectdataset.h5",
    "pb_t50_rs": "main_split/{}_objectdataset_augmentedrot_scale75.h5",
}
LAYOUTS = "OpenShape's xyz_label.npy, or the official h5_files (main_split, main_split_nobg)"


def open_scanobjectnn(path: Path, split: str, variant: str | None, allow_partial: bool) -> Benchmark:
    """Open one variant of ScanObjectNN.

    Args:
        path (`Path`): A file of it, or the folder that it is in or below.
        split (`str`): `train` or `test`.
        variant (`str`, *optional*): Which, where a folder has several.
        allow_partial (`bool`): Whether a part of the split will do.

    Raises:
        UserError: No file of the split and the variant is there, or several are and no variant is given, or the file
            is damaged or not all of the split.
    """
    if split not in ("train", "test"):
        raise UserError(f"{path}: scanobjectnn has no split '{split}'; it has train and test.")
    if variant is not None and variant not in SIZES:
        raise UserError(f"scanobjectnn has no variant '{variant}'; it has {', '.join(SIZES)}.")
    found = _files(path, split)
    if not found:
        raise UserError(f"{path}: has no file of scanobjectnn's split '{split}'; expected {LAYOUTS}.")
    if variant is None and len(found) > 1:
        raise UserError(f"{path}: has several variants, {', '.join(found)}; say which, as variant, or give its file.")
    variant = next(iter(found)) if variant is None else variant
    if variant not in found:
        raise UserError(f"{path}: has no variant '{variant}' of the split '{split}'; it has {', '.join(found)}.")
    file = found[variant]
    clouds = _read_openshape(file) if variant == OPENSHAPE else None
    labels = read_labels(file) if clouds is None else clouds[1]
    name = f"scanobjectnn-{variant}"

    def read(rows: list[int]) -> list[ColoredPoints]:
        if clouds is not None:
            return [ColoredPoints(clouds[0][row], None) for row in rows]
        return [ColoredPoints(points, None) for points in read_clouds(file, rows)]

    ids = [f"{row:05d}" for row in range(len(labels) if clouds is None else len(clouds[0]))]
    embeddings = file.with_name("cat_name_pt_feat.npy")
    published = embeddings if embeddings.is_file() else None
    teacher = TEACHER if published else None
    class_names = list(SCANOBJECTNN)
    benchmark = Benchmark(name, split, str(file), class_names, labels, ids, "y", read, published, teacher)
    expected = SIZES[variant][split]
    what_of = f"the {split} split of {name}"
    is_part = check_complete(labels, SCANOBJECTNN, expected, what_of, str(file), allow_partial)
    return replace(benchmark, is_part=is_part)


def _files(path: Path, split: str) -> dict[str, Path]:
    """The file of each variant."""
    if path.is_file():
        variant = _variant_of(path)
        part = "train" if path.name.startswith("train") else "test"
        if part != split:
            raise UserError(f"{path}: is of the split '{part}', not '{split}'.")
        return {variant: path}
    stem = "training" if split == "train" else "test"
    found = {}
    if split == "test" and (
        folder := find_folder(path, ["xyz_label.npy"], ["scanobjectnn", "meta_data/scanobjectnn"])
    ):
        found[OPENSHAPE] = folder / "xyz_label.npy"
    for variant, pattern in FILES.items():
        name = pattern.format(stem)
        candidates = [path / name, path / "h5_files" / name]
        if path.name == name.partition("/")[0]:  # the folder of some variants itself
            candidates.append(path / name.partition("/")[2])
        if file := next((file for file in candidates if file.is_file()), None):
            found[variant] = file
    return found


def _variant_of(file: Path) -> str:
    """The variant by the names of a file and its folder."""
    if file.name == "xyz_label.npy":
        return OPENSHAPE
    folder = file.absolute().parent.name  # a link's own, as the Hub's cache is made of them
    for variant, pattern in FILES.items():
        if re.fullmatch(pattern.format("(test|training)").replace(".", r"\."), f"{folder}/{file.name}"):
            return variant
    known = ", ".join(pattern.format("test") for pattern in FILES.values())
    raise UserError(f"{file}: its name is that of no known variant; expected xyz_label.npy, or {known}.")


def _read_openshape(file: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """The clouds, (m, 3) each, and the labels, int64 (n,)."""
    content = map_plain_npy(file)
    if not isinstance(content, dict):
        raise UserError(f"{file}: holds a {type(content).__name__}; expected a dictionary of 'xyz' and 'label'.")
    xyz = content.get("xyz")
    if not isinstance(xyz, (list, np.ndarray)) or not all(isinstance(cloud, np.ndarray) for cloud in xyz):
        raise UserError(f"{file}: xyz {what(xyz)}; expected arrays of shape (n, 3), one a shape.")
    label = content.get("label")
    if not isinstance(label, (list, np.ndarray)):
        raise UserError(f"{file}: label {what(label)}; expected whole numbers, one a shape.")
    return list(xyz), integer_labels(label, f"{file}: label")
