"""Read point clouds of the formats that hold nothing else: .las, .laz, .npy, .npz, .pcd and .xyz.

Those that may hold a mesh as well (.ply, .obj, .off, .glb) are `mesh_loading`'s. Colours keep the type they are stored
in, which says their range: integers are 0..255, floats 0..1.
"""

import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from .las_files import read_las
from .pcd_files import read_pcd
from .shape_colors import stored_colors_as_bytes
from .shape_limits import ShapeBudget, check_size, cut_message
from .shapes import ColoredPoints, PointCloud
from .text_clouds import read_text_cloud
from .zip_members import read_member


# Keys of a .npz file; the first that is there counts.
NPZ_POINTS = ("points", "xyz")
NPZ_COLORS = ("colors", "rgb")
FIELD_COLORS = (("red", "green", "blue"), ("r", "g", "b"))
# Of arrays that are left out.
MAX_NAMED = 8


def load_point_cloud(path: Path) -> PointCloud:
    """Read a point cloud.

    - .npy: an array of shape (num_points, 3), or (num_points, 6) with the colours, or one with the fields x, y, z and
      red, green, blue or r, g, b.
    - .npz: the points as `points` or `xyz`, the colours, if any, as `colors` or `rgb`.
    - .pcd: see [`read_pcd`].
    - .las, .laz: see [`read_las`].
    - .xyz: see [`read_text_cloud`].

    Colours that are floats, of which all are whole and one is beyond 1, are in 0..255.

    Args:
        path (`Path`): The file; its suffix says how it is read. Nothing is unpickled.

    Returns:
        `PointCloud`: as it is stored, its shapes and values unchecked.

    Raises:
        ValueError: The file is damaged or has something else in it; the message names it.
    """
    suffix = path.suffix.lower()
    try:
        if not path.stat().st_size:
            raise ValueError("cannot be read: the file is empty")
        if suffix in (".pcd", ".las", ".laz"):
            data = path.read_bytes()
            return read_pcd(data) if suffix == ".pcd" else read_las(data)
        warnings: list[str] = []
        is_text = suffix == ".xyz"
        points = read_text_cloud(path.read_bytes(), warnings) if is_text else _read_numpy(path, suffix, warnings)
        points = points._replace(rgb=_bytes_if_whole(points.rgb))
        return PointCloud(points, None if points.rgb is None else "vertex colours", warnings)
    except (MemoryError, OSError):  # of this machine, not of the file
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, ValueError) else f"it is damaged ({type(error).__name__}: {error})"
        raise ValueError(f"{path}: {cut_message(reason).rstrip('.')}.") from error


def _read_numpy(path: Path, suffix: str, warnings: list[str]) -> ColoredPoints:
    size = path.stat().st_size
    is_archive = zipfile.is_zipfile(path)
    found = ["points"]
    contents: dict[str, bytes] = {}
    if is_archive:
        found, contents = _read_archive(path, size)
    else:
        with path.open("rb") as file:
            _check_array(file, size, size)
    try:
        if is_archive:
            arrays = {
                name: np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
                for name, content in contents.items()
            }
        else:
            arrays = {"points": np.load(path, allow_pickle=False)}
    except MemoryError:
        raise
    except Exception as error:  # of many kinds in a broken archive; a file that is no array is read as a pickle
        raise ValueError(
            f"cannot be read ({error}); pickled objects are not loaded, as that may run code: save plain arrays by "
            "np.save or np.savez"
        ) from error
    if is_archive == (suffix == ".npy"):
        raise ValueError(f"is not what its suffix {suffix} says; rename it")
    used = [next((name for name in names if name in arrays), None) for names in (NPZ_POINTS, NPZ_COLORS)]
    left_out = [name for name in found if name not in used and "normal" not in name.lower()]
    if left_out:
        shown = ", ".join(left_out[:MAX_NAMED]) + (", ..." if len(left_out) > MAX_NAMED else "")
        warnings.append(f"arrays left out: {shown}")
    points = next((arrays[name] for name in NPZ_POINTS if name in arrays), None)
    if points is None:
        raise ValueError(f"no array {' or '.join(NPZ_POINTS)} (it has {', '.join(found[:MAX_NAMED]) or 'none'})")
    colors = next((arrays[name] for name in NPZ_COLORS if name in arrays), None)
    if points.dtype.names and colors is None:
        return _named_columns(points, warnings)
    if points.ndim == 2 and points.shape[0] in (3, 6) and points.shape[1] not in (3, 6):
        raise ValueError(f"has shape {points.shape}, with a point in each column; transpose it, array.T")
    if colors is not None and colors.ndim == 2 and colors.shape[1] == 4:
        colors = colors[:, :3]  # without the opacity
    return split_colors(points) if colors is None else ColoredPoints(points, colors)


def _read_archive(path: Path, size: int) -> tuple[list[str], dict[str, bytes]]:
    """The names of an .npz file's arrays, and of those that are used the .npy files, which are not too large."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = [name.removesuffix(".npy") for name in archive.namelist()]
            members = {}
            for name in NPZ_POINTS + NPZ_COLORS:
                member = archive.NameToInfo.get(f"{name}.npy") or archive.NameToInfo.get(name)
                if member is not None:
                    members[name] = member
            check_size(size, sum(member.file_size for member in members.values()))
            contents = {name: read_member(archive, member) for name, member in members.items()}
    # OSError: of a place before the file's start.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"is a damaged archive ({error})") from error
    for name, content in contents.items():
        if not content.startswith(np.lib.format.MAGIC_PREFIX):
            raise ValueError(f"its array '{name}' is damaged")
        _check_array(io.BytesIO(content), len(content), size)
    return found, contents


def _check_array(file: IO[bytes], available: int, size: int) -> None:
    """Raise a `ValueError` for an array of more values than are available, or than a file of a size may have.

    numpy takes memory for as many as the header says. What is no array is left to it.
    """
    if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
        return
    version = tuple(file.read(2))
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, _, dtype = read_header(file)
    except MemoryError:  # which numpy says of a type that is no type
        raise ValueError("the header of its array is damaged") from None
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize > available:
        raise ValueError(f"it announces an array of shape {shape} of {dtype}, more than it has")
    ShapeBudget(size).take("points", count // max(shape[-1] if shape else 1, 1))


def split_colors(points: np.ndarray) -> ColoredPoints:
    """Points and colours of an array of shape `(num_points, 6)`; one of another shape is all points."""
    if points.ndim == 2 and points.shape[1] == 6:
        return ColoredPoints(points[:, :3], points[:, 3:])
    return ColoredPoints(points, None)


def _named_columns(points: np.ndarray, warnings: list[str]) -> ColoredPoints:
    """Of a structured array, by its fields' names."""
    fields = {name.lower(): name for name in points.dtype.names or ()}
    if points.ndim != 1 or not all(name in fields for name in "xyz"):
        raise ValueError(f"has the fields {', '.join(fields)}; expected x, y and z")
    colors = next((names for names in FIELD_COLORS if all(name in fields for name in names)), ())
    left_out = [name for name in fields if name not in (*"xyz", *colors) and not name.startswith(("n", "normal"))]
    if left_out:
        warnings.append(f"fields left out: {', '.join(left_out[:MAX_NAMED])}")
    used = [points[fields[name]] for name in (*"xyz", *colors)]
    if not all(values.ndim == 1 and values.dtype.kind in "fiu" for values in used):
        raise ValueError("has fields that are no numbers")
    xyz = np.stack([values.astype(np.float64) for values in used[:3]], axis=1)
    return ColoredPoints(xyz, stored_colors_as_bytes(np.stack(used[3:], axis=1)) if colors else None)


def _bytes_if_whole(colors: np.ndarray | None) -> np.ndarray | None:
    """Floats that are whole numbers in 0..255, some beyond 1, as the bytes that they mean; others as they are."""
    if colors is None or colors.dtype.kind != "f" or not colors.size:
        return colors
    whole = bool(((colors >= 0) & (colors <= 255) & (colors == np.trunc(colors))).all())
    return colors.astype(np.uint8) if whole and colors.max() > 1 else colors
