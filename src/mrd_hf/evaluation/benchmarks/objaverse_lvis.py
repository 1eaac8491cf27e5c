"""Objaverse-LVIS in OpenShape's files: shapes of 1,156 classes, 10,000 coloured points each.

`lvis.json` lists the shapes with their categories; a label is the place of the category among all, sorted. The clouds
are those of OpenShape's training data, a pickled .npy a shape, which `lvis.json` names by their paths on the authors'
disk: the tail `Objaverse/<group>/<uid>.npy` holds anywhere.

They are y up, as all of OpenShape's training data (its loader exchanges y and z to have it z up).

How many shapes the list has is not checked. Papers say 46,832 (OpenShape, arXiv 2305.10764, which has the 1,156
classes too), others count about 46,200 in what can be downloaded, and we have not seen the file. All of it is: every
class, each id once, and every file that the list names.
"""

from pathlib import Path

import numpy as np

from ...data.class_texts import readable
from ...data.sources.openshape import TEACHER
from ...data.sources.openshape_files import MAX_FILE_BYTES
from ...data.sources.published_fields import read_file
from ...errors import UserError
from ...files.plain_pickle import read_plain_npy
from ...models.shapes import ColoredPoints
from .benchmark import TAKE_A_PART, Benchmark, find_folder, listed
from .fields import cloud_of, labels_of, read_items


NUM_CLASSES = 1156
LAYOUTS = (
    "the unpacked download of OpenShape/openshape-training-data (meta_data/split/lvis.json, Objaverse/000-000 ...)"
)


def open_objaverse_lvis(path: Path, split: str, allow_partial: bool) -> Benchmark:
    """Open Objaverse-LVIS.

    Args:
        path (`Path`): The folder of the download.
        split (`str`): `test`, there is no other.
        allow_partial (`bool`): Whether a part of it will do: a shorter list, or some of the files of the list. Its
            classes are then those of the list.

    Raises:
        UserError: The list or files of it are missing or damaged, or it is not all of the benchmark.
    """
    if split != "test":
        raise UserError(f"{path}: objaverse-lvis has no split '{split}', only test.")
    folder = find_folder(path, ["lvis.json"], ["split", "meta_data/split"])
    if folder is None:
        packed = " Unpack meta_data.zip." if (path / "meta_data.zip").is_file() else ""
        raise UserError(f"{path}: has no lvis.json; expected {LAYOUTS}.{packed}")
    list_file = folder / "lvis.json"
    items = read_items(list_file, ("uid", "category", "data_path"))
    categories = sorted({item["category"] for item in items})
    if len(categories) > NUM_CLASSES or (len(categories) < NUM_CLASSES and not allow_partial):
        or_a_part = f", or {TAKE_A_PART}" if len(categories) < NUM_CLASSES else ""
        raise UserError(
            f"{list_file}: has {len(categories)} categories; objaverse-lvis has {NUM_CLASSES}. Download it "
            f"again{or_a_part}."
        )
    class_names = [readable(category) for category in categories]
    if len(set(class_names)) < len(class_names):
        raise UserError(f"{list_file}: has categories that differ in their spelling alone; download it again.")
    files = _files(path, items, list_file)
    there = _present(files)
    missing = ["/".join(file.parts[-3:]) for file, is_there in zip(files, there, strict=True) if not is_there]
    if missing and not allow_partial:
        raise UserError(
            f"{path}: {len(missing)} of the {len(files)} shapes of {list_file} are not there ({listed(missing)}); "
            f"unpack Objaverse/000-000.tar.gz to 000-159.tar.gz, or {TAKE_A_PART}."
        )
    kept = np.flatnonzero(there)
    files, items = [files[place] for place in kept], [items[place] for place in kept]
    labels = labels_of((item["category"] for item in items), categories, str(list_file))

    def read(rows: list[int]) -> list[ColoredPoints]:
        return [_read(files[row]) for row in rows]

    # Those beside the list are of all classes, in their order: of no use for a shorter list.
    embeddings = folder.parent / "lvis_cat_name_pt_feat.npy"
    published = embeddings if len(categories) == NUM_CLASSES and embeddings.is_file() else None
    return Benchmark(
        "objaverse-lvis",
        split,
        str(list_file),
        class_names,
        labels,
        [item["uid"] for item in items],
        "y",
        read,
        published,
        TEACHER if published else None,
        is_part=len(categories) < NUM_CLASSES or bool(missing),
    )


def _files(root: Path, items: list[dict[str, str]], list_file: Path) -> list[Path]:
    """Where each shape's file would be."""
    folders: dict[str, Path] = {}
    files = []
    for number, item in enumerate(items):
        parts = item["data_path"].lstrip("/").split("/")
        if len(parts) < 3 or not parts[-1].endswith(".npy") or {"", ".", ".."} & set(parts):
            raise UserError(
                f"{list_file}: entry {number}: 'data_path' is {item['data_path']!r}; expected a path that ends in "
                "<dataset>/<group>/<uid>.npy."
            )
        parent = "/".join(parts[:-1])
        if parent not in folders:
            # Unpacked, archives may keep more of the authors' folders.
            below = [root / "/".join(parts[start:-1]) for start in range(len(parts) - 3, -1, -1)]
            folders[parent] = next((folder for folder in below if folder.is_dir()), below[0])
        files.append(folders[parent] / parts[-1])
    return files


def _present(files: list[Path]) -> list[bool]:
    """Which files are there; each folder is listed once."""
    names = {folder: {file.name for file in folder.glob("*.npy")} for folder in {file.parent for file in files}}
    return [file.name in names[file.parent] for file in files]


def _read(file: Path) -> ColoredPoints:
    return cloud_of(read_plain_npy(read_file(file, MAX_FILE_BYTES), str(file)), str(file), color_range=1)
