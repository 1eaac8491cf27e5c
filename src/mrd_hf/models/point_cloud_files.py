"""Read point clouds of the formats that hold nothing else: .las, .laz, .npy, .npz, .pcd and .xyz.

Those that may hold a mesh as well (.ply, .obj, .off, .glb) are `mesh_loading`'s. Colours keep the type they are stored
in, which says their range: integers are 0..255, floats 0..1.
"""

import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from .las_files import read_las
from .pcd_files import read_pcd
from .shape_limits import ShapeBudget, check_size, cut_message
from .shapes import ColoredPoints, PointCloud


# Keys of a .npz file; the first that is there counts.
NPZ_POINTS = ("points", "xyz")
NPZ_COLORS = ("colors", "rgb")
# Of arrays that are left out.
MAX_NAMED = 8


def load_point_cloud(path: Path) -> PointCloud:
    """Read a point cloud.

    - .npy: an array of shape (num_points, 3), or (num_points, 6) with the colours.
    - .npz: the points as `points` or `xyz`, the colours, if any, as `colors` or `rgb`.
    - .pcd: see [`read_pcd`].
    - .las, .laz: see [`read_las`].
    - .xyz: a point a line, three numbers or six, x y z r g b, separated by blanks, commas or semicolons. Colours that
      are all written as integers are in 0..255, those with a decimal point in 0..1. Lines that start with # or // are
      comments; a first line of words is a header.

    Args:
        path (`Path`): The file; its suffix says how it is read. Nothing is unpickled.

    Returns:
        `PointCloud`: as it is stored, its shapes and values unchecked.

    Raises:
        ValueError: The file is damaged or has something else in it; the message names it.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in (".pcd", ".las", ".laz"):
            data = path.read_bytes()
            return read_pcd(data) if suffix == ".pcd" else read_las(data)
        warnings: list[str] = []
        points = _read_text(path) if suffix == ".xyz" else _read_numpy(path, suffix, warnings)
        return PointCloud(points, None if points.rgb is None else "vertex colours", warnings)
    except (MemoryError, OSError):  # of this machine, not of the file
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, ValueError) else f"it is damaged ({type(error).__name__}: {error})"
        raise ValueError(f"{path}: {cut_message(reason).rstrip('.')}.") from error


def _read_numpy(path: Path, suffix: str, warnings: list[str]) -> ColoredPoints:
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        _check_archive(path, size)
    else:
        with path.open("rb") as file:
            _check_array(file, size, size)
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            found, arrays = ["points"], {"points": content}
        else:
            with content:
                found = list(content)
                arrays = {name: content[name] for name in NPZ_POINTS + NPZ_COLORS if name in found}
    except MemoryError:
        raise
    except Exception as error:  # of many kinds in a broken archive; a file that is no array is read as a pickle
        raise ValueError(
            f"cannot be read ({error}); pickled objects are not loaded, as that may run code: save plain arrays by "
            "np.save or np.savez"
        ) from error
    if isinstance(content, np.ndarray) != (suffix == ".npy"):
        raise ValueError(f"is not what its suffix {suffix} says; rename it")
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy gives a damaged one as bytes
            raise ValueError(f"its array '{name}' is damaged")
    used = [next((name for name in names if name in arrays), None) for names in (NPZ_POINTS, NPZ_COLORS)]
    left_out = [name for name in found if name not in used and "normal" not in name.lower()]
    if left_out:
        shown = ", ".join(left_out[:MAX_NAMED]) + (", ..." if len(left_out) > MAX_NAMED else "")
        warnings.append(f"arrays left out: {shown}")
    points = next((arrays[name] for name in NPZ_POINTS if name in arrays), None)
    if points is None:
        raise ValueError(f"no array {' or '.join(NPZ_POINTS)} (it has {', '.join(found[:MAX_NAMED]) or 'none'})")
    colors = next((arrays[name] for name in NPZ_COLORS if name in arrays), None)
    return split_colors(points) if colors is None else ColoredPoints(points, colors)


def _check_archive(path: Path, size: int) -> None:
    """Raise a `ValueError` for an .npz file whose arrays are too large, by what it says of them."""
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = [archive.NameToInfo.get(f"{name}.npy") for name in NPZ_POINTS + NPZ_COLORS]
            members = [member for member in wanted if member is not None]
            check_size(size, sum(member.file_size for member in members))
            for member in members:
                with archive.open(member) as file:
                    _check_array(file, member.file_size, size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"is a damaged archive ({error})") from error


def _check_array(file: IO[bytes], available: int, size: int) -> None:
    """Raise a `ValueError` for an array of more values than are available, or than a file of a size may have.

    numpy takes memory for as many as the header says. What is no array is left to it.
    """
    if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
        return
    version = tuple(file.read(2))
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize > available:
        raise ValueError(f"it announces an array of shape {shape} of {dtype}, more than it has")
    ShapeBudget(size).take("points", count // max(shape[-1] if shape else 1, 1))


def split_colors(points: np.ndarray) -> ColoredPoints:
    """Points and colours of an array of shape `(num_points, 6)`; one of another shape is all points."""
    if points.ndim == 2 and points.shape[1] == 6:
        return ColoredPoints(points[:, :3], points[:, 3:])
    return ColoredPoints(points, None)


def _read_text(path: Path) -> ColoredPoints:
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    rows = [
        (number, re.sub("[,;]", " ", line).split())
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith(("#", "//"))
    ]
    if rows and not any(_is_number(word) for word in rows[0][1]):
        del rows[0]
    if not rows:
        raise ValueError("has no points")
    width = len(rows[0][1])
    for number, words in rows:
        if len(words) != width or width not in (3, 6):
            raise ValueError(
                f"line {number} has {len(words)} columns; expected 3 (x y z) or 6 (x y z r g b) in each line"
            )
    try:
        table = np.array([words for _, words in rows], dtype=np.float64)
    except ValueError:
        number, word = next((number, word) for number, words in rows for word in words if not _is_number(word))
        raise ValueError(f"line {number} has '{word}'; expected a number") from None
    if width == 3:
        return ColoredPoints(table, None)
    written_as_integers = all(re.fullmatch("[+-]?[0-9]+", word) for _, words in rows for word in words[3:])
    return ColoredPoints(table[:, :3], table[:, 3:].astype(np.int64) if written_as_integers else table[:, 3:])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
