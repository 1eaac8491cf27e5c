"""ModelNet40 and ModelNet10 (arXiv 1406.5670), in the four layouts that they are passed on in.

- OpenShape's `test_split.json` and `test_pc.npy`: 10,000 points, y up; only the test split, 2,468 shapes;
- PointNet's `modelnet40_ply_hdf5_2048` (`shape_names.txt`, `test_files.txt`, `ply_data_test0.h5` ...): 2,048 points,
  y up; 9,840 shapes to train and 2,468 to test;
- PointNet++'s `modelnet40_normal_resampled` (`modelnet40_test.txt`, `chair/chair_0001.txt` ...): 10,000 points, y up;
  9,843 and 2,468;
- the original meshes (`chair/test/chair_0001.off` ...): z up, 10,000 points are drawn from each; 9,843 and 2,468.

ModelNet10's classes are ten of ModelNet40's, with the same shapes: 3,991 and 908. It is read from the same files, and
from those of its own where there are any (`modelnet10_test.txt`, a folder of ten classes).

Sources of the axes: OpenShape's loader turns these clouds as it does its training data, which is y up; PointNet's and
PointNet++'s rotate theirs about y, "along the up direction"; ORION's alignment of the meshes turns them about z. The
clouds of all layouts are without colour; OpenShape's file has a grey of 100 in 0..255 in its place.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...data.class_texts import readable
from ...data.sources.openshape import TEACHER
from ...errors import UserError
from ...files.plain_pickle import map_plain_npy
from ...models.shapes import ColoredPoints
from ..classes.class_names import MODELNET10, MODELNET40
from .benchmark import TAKE_A_PART, Benchmark, check_complete, find_folder, listed
from .fields import check_names, cloud_of, labels_of, read_items, read_lines
from .h5_files import read_clouds, read_labels
from .shape_folder import read_shape_file


CLASSES = {"modelnet40": MODELNET40, "modelnet10": MODELNET10}
SIZES = {"modelnet40": {"train": 9843, "test": 2468}, "modelnet10": {"train": 3991, "test": 908}}
# Three shapes of the training split are not in PointNet's files; of which classes they are, it does not say.
HDF5_SIZES = {"modelnet40": {"train": 9840, "test": 2468}, "modelnet10": {"test": 908}}
LAYOUTS = (
    "OpenShape's test_split.json and test_pc.npy, modelnet40_ply_hdf5_2048 (shape_names.txt), "
    "modelnet40_normal_resampled (modelnet40_test.txt), or folders of .off meshes (chair/test/chair_0001.off)"
)


def open_modelnet(name: str, path: Path, split: str, allow_partial: bool) -> Benchmark:
    """Open ModelNet40 or ModelNet10 in the layout that is found.

    Args:
        name (`str`): `modelnet40` or `modelnet10`.
        path (`Path`): The folder, or one above it as archives unpack to.
        split (`str`): `train` or `test`.
        allow_partial (`bool`): Whether a part of the split will do.

    Raises:
        UserError: None of the layouts is there, or what is there is damaged or not all of the split.
    """
    if split not in ("train", "test"):
        raise UserError(f"{path}: {name} has no split '{split}'; it has train and test.")
    if folder := find_folder(path, ["test_split.json", "test_pc.npy"], ["modelnet40", "meta_data/modelnet40"]):
        return _openshape(name, folder, split, allow_partial)
    if folder := find_folder(path, ["shape_names.txt"], ["modelnet40_ply_hdf5_2048"]):
        return _hdf5(name, folder, split, allow_partial)
    lists = [f"{known}_{part}.txt" for known in CLASSES for part in ("train", "test")]
    if folder := find_folder(path, lists, ["modelnet40_normal_resampled"]):
        return _resampled(name, folder, split, allow_partial)
    for folder in (path, path / "ModelNet40", path / "ModelNet10"):
        if next(folder.glob("*/*/*.off"), None):
            return _meshes(name, folder, split, allow_partial)
    raise UserError(f"{path}: is none of the known layouts of {name}; expected {LAYOUTS}.")


def _openshape(name: str, folder: Path, split: str, allow_partial: bool) -> Benchmark:
    list_file, cloud_file = folder / "test_split.json", folder / "test_pc.npy"
    if split != "test":
        raise UserError(f"{folder}: OpenShape's files have no split '{split}', only test; take another layout.")
    items = read_items(list_file, ("name", "category"))
    clouds = map_plain_npy(cloud_file)
    if not isinstance(clouds, list) or len(clouds) != len(items):
        found = f"{len(clouds)} clouds" if isinstance(clouds, list) else f"a {type(clouds).__name__}"
        raise UserError(f"{cloud_file}: holds {found}; {list_file} lists {len(items)}.")
    labels = labels_of((item["category"] for item in items), MODELNET40, str(list_file))
    kept, labels = _of_classes(name, labels)
    is_part = _is_part(labels, name, split, str(list_file), allow_partial)

    def read(rows: list[int]) -> list[ColoredPoints]:
        return [cloud_of(clouds[kept[row]], f"{cloud_file}: entry {kept[row]}", color_range=255) for row in rows]

    embeddings = folder / "cat_name_pt_feat.npy"
    ids = [items[place]["name"] for place in kept]
    published = embeddings if embeddings.is_file() else None
    return Benchmark(
        name,
        split,
        str(cloud_file),
        _class_names(name),
        labels,
        ids,
        "y",
        read,
        published,
        TEACHER if published else None,
        is_part,
    )


def _hdf5(name: str, folder: Path, split: str, allow_partial: bool) -> Benchmark:
    names_file = folder / "shape_names.txt"
    check_names(names_file, MODELNET40, "modelnet40")
    if split not in HDF5_SIZES[name]:
        raise UserError(f"{folder}: lacks three shapes of the split '{split}', so {name}'s is not read from it.")
    # Paths of the authors' disk, of which the file's name holds.
    files = [folder / line.rpartition("/")[2] for line in read_lines(folder / f"{split}_files.txt")]
    places: list[tuple[Path, int]] = []
    parts = []
    for file in files:
        if allow_partial and not file.is_file():
            continue
        parts.append(read_labels(file))
        places += [(file, row) for row in range(len(parts[-1]))]
        if parts[-1].size and not 0 <= parts[-1].min() <= parts[-1].max() < len(MODELNET40):
            raise UserError(
                f"{file}: 'label' reaches from {parts[-1].min()} to {parts[-1].max()}; expected 0 to 39, the lines of "
                f"{names_file.name}."
            )
    kept, labels = _of_classes(name, np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64))
    source = str(folder / f"ply_data_{split}*.h5")
    is_part = _is_part(labels, name, split, source, allow_partial, HDF5_SIZES)

    def read(rows: list[int]) -> list[ColoredPoints]:
        wanted = [places[kept[row]] for row in rows]
        clouds: dict[tuple[Path, int], np.ndarray] = {}
        for file in dict.fromkeys(file for file, _ in wanted):
            in_file = [row for of, row in wanted if of == file]
            clouds |= {(file, row): cloud for row, cloud in zip(in_file, read_clouds(file, in_file), strict=True)}
        return [ColoredPoints(clouds[place], None) for place in wanted]

    ids = [f"{places[place][0].stem}/{places[place][1]:04d}" for place in kept]
    return Benchmark(name, split, source, _class_names(name), labels, ids, "y", read, is_part=is_part)


def _resampled(name: str, folder: Path, split: str, allow_partial: bool) -> Benchmark:
    list_file = folder / f"{name}_{split}.txt"
    if not list_file.is_file():
        list_file = folder / f"modelnet40_{split}.txt"
    for of, classes in CLASSES.items():
        if (names_file := folder / f"{of}_shape_names.txt").is_file():
            check_names(names_file, classes, of)
    ids = read_lines(list_file)
    labels = labels_of((shape_id.rpartition("_")[0] for shape_id in ids), MODELNET40, str(list_file))
    kept, _ = _of_classes(name, labels)
    ids = [ids[place] for place in kept]
    files = [folder / MODELNET40[labels[place]] / f"{ids[i]}.txt" for i, place in enumerate(kept)]
    there = _present(files, list_file, allow_partial)
    ids, files = [ids[i] for i in there], [files[i] for i in there]
    _, labels = _of_classes(name, labels[kept[there]])
    is_part = _is_part(labels, name, split, str(list_file), allow_partial)

    def read(rows: list[int]) -> list[ColoredPoints]:
        return [ColoredPoints(_read_resampled(files[row]), None) for row in rows]

    return Benchmark(name, split, str(list_file), _class_names(name), labels, ids, "y", read, is_part=is_part)


def _read_resampled(file: Path) -> np.ndarray:
    """Points (n, 3) of lines "x,y,z,nx,ny,nz"; the normals are not used."""
    try:
        with warnings.catch_warnings():  # of an empty file, which has no columns either
            warnings.simplefilter("ignore", UserWarning)
            table = np.loadtxt(file, delimiter=",", dtype=np.float32, ndmin=2)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}); expected lines of x,y,z,nx,ny,nz.") from None
    if table.shape[1] != 6:
        raise UserError(f"{file}: has {table.shape[1]} columns; expected lines of x,y,z,nx,ny,nz.")
    return table[:, :3]


def _meshes(name: str, folder: Path, split: str, allow_partial: bool) -> Benchmark:
    classes = sorted({file.parent.parent.name for file in folder.glob(f"*/{split}/*.off")})
    unknown = [found for found in classes if found not in MODELNET40]
    if unknown:
        raise UserError(f"{folder}: has the class {listed(unknown)}; {name} has no such.")
    files = [
        file
        for of_class in CLASSES[name]
        for file in sorted((folder / of_class / split).glob("*.off"))
        if not file.name.startswith(".")  # what macOS leaves beside
    ]
    ids = [f"{file.parent.parent.name}/{file.stem}" for file in files]
    labels = labels_of((file.parent.parent.name for file in files), CLASSES[name], str(folder))
    is_part = _is_part(labels, name, split, str(folder), allow_partial)

    def read(rows: list[int]) -> list[ColoredPoints]:
        # Without the colours that a few of the files give their faces: no other layout has them.
        return [ColoredPoints(read_shape_file(files[row]).xyz, None) for row in rows]

    return Benchmark(name, split, str(folder), _class_names(name), labels, ids, "z", read, is_part=is_part)


def _of_classes(name: str, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of labels of ModelNet40 the places of those that count for the benchmark, and their labels in it."""
    new = np.full(len(MODELNET40), -1)
    for label, of_class in enumerate(CLASSES[name]):
        new[MODELNET40.index(of_class)] = label
    kept = np.flatnonzero(new[labels] >= 0) if len(labels) else np.zeros(0, dtype=np.int64)
    return kept, new[labels[kept]].astype(np.int64)


def _present(files: Sequence[Path], list_file: Path, allow_partial: bool) -> np.ndarray:
    """Places of the files that are there.

    Raises:
        UserError: Some are missing, and all are wanted.
    """
    names = {folder: {file.name for file in folder.glob("*.txt")} for folder in {file.parent for file in files}}
    there = np.array([file.name in names[file.parent] for file in files], dtype=bool)
    missing = [f"{file.parent.name}/{file.name}" for file, is_there in zip(files, there, strict=True) if not is_there]
    if missing and not allow_partial:
        raise UserError(
            f"{list_file}: {len(missing)} of its {len(files)} files are missing ({listed(missing)}); download them "
            f"again, or {TAKE_A_PART}."
        )
    return np.flatnonzero(there)


def _is_part(
    labels: np.ndarray,
    name: str,
    split: str,
    source: str,
    allow_partial: bool,
    sizes: dict[str, dict[str, int]] = SIZES,
) -> bool:
    what = f"the {split} split of {name}"
    return check_complete(labels, CLASSES[name], sizes[name][split], what, source, allow_partial)


def _class_names(name: str) -> list[str]:
    return [readable(of_class) for of_class in CLASSES[name]]
