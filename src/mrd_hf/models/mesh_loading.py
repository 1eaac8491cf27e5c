"""Read mesh files of any kind into coloured triangles or, of files without any face, points.

Each format has a reader of its own (gltf_reading.py, obj_reading.py, ply_reading.py, usd_reading.py ...), which says
which colours count. Here is what they share: where the files lie that a mesh names, and what makes a shape usable.
"""

import posixpath
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .dae_reading import read_dae
from .gltf_compression import MissingPackageError
from .gltf_reading import read_gltf
from .left_out_parts import SEEN, PartChoice
from .obj_reading import read_obj
from .off_reading import read_off
from .ply_reading import read_ply
from .shape_limits import MAX_ENTRIES, check_size, cut_message, few_warnings
from .shapes import MeshError, PointCloud, TexturedMesh
from .stl_reading import read_stl
from .threemf_reading import read_3mf
from .usd_reading import read_usd
from .zip_members import ZipMembers, without_case
from .zip_reading import read_zip


class AssetResolver:
    """Finds the files that a mesh names: material libraries, textures, buffers.

    Args:
        folder (`str`): Folder of the mesh, which the names are relative to. "" for the root.
        read (`Callable[[str], bytes | None]`):
            Content of a file by its normalised path, or None where there is none. Raises `PermissionError` where it
            may not be read, and another `OSError` where it is damaged.
    """

    def __init__(self, folder: str, read: Callable[[str], bytes | None]) -> None:
        self.folder = folder
        self.read = read

    def get(self, key: str, folder: str = "") -> bytes:
        """Content of a file by the name that the mesh has for it.

        Args:
            key (`str`): The name.
            folder (`str`, *optional*): Of the file that says it, where the mesh's own names another; it comes first.

        Raises:
            FileNotFoundError: It cannot be had; the message says why.
        """
        # Exporters write paths of the author's own machine (`C:\\models\\wood.png`): the file itself then often lies
        # beside the mesh.
        name = key.strip().replace("\\", "/")
        failure = f"file not found: {key}"
        names = (name, posixpath.basename(name))
        for candidate in dict.fromkeys(posixpath.join(place, each) for each in names for place in (folder, "")):
            try:
                data = self.read(posixpath.normpath(posixpath.join(self.folder, candidate)))
            except PermissionError as error:
                if candidate in names:
                    failure = f"file may not be read: {key}; {error}"
                continue
            except (OSError, ValueError) as error:
                raise FileNotFoundError(f"file not readable: {key} ({error})") from error
            if data is not None:
                return data
        raise FileNotFoundError(failure)


def load_mesh(path: Path, choice: PartChoice = SEEN) -> TexturedMesh | PointCloud:
    """Read a mesh file from the disk, with the materials and textures it names or, without any face, its vertices.

    Args:
        path (`Path`):
            Its suffix says the format, one of `MESH_SUFFIXES`. Files that it names are read from its own folder and
            those below, nowhere else.
        choice (`PartChoice`, *optional*): Which of its parts are read. Default: all but collision meshes.

    Raises:
        MeshError: It cannot be read, or has neither a surface nor a point.
    """
    folder = path.parent.resolve()
    listed: dict[Path, dict[str, list[str]]] = {}

    def read(name: str) -> bytes | None:
        # By name alone: a link that lies in the folder (the Hub's cache is made of them) was put there on purpose.
        if not Path(name).is_relative_to(folder):
            raise PermissionError("only the mesh's own folder and those below are")
        file = spelled_on_disk(Path(name), folder, listed)
        if file is None or not file.is_file():
            return None
        check_size(file.stat().st_size)
        return file.read_bytes()

    resolver = AssetResolver(folder.as_posix(), read)
    return _checked(_read(path.read_bytes(), path.suffix[1:], resolver, str(path), choice), str(path))


def spelled_on_disk(file: Path, folder: Path, listed: dict[Path, dict[str, list[str]]] | None = None) -> Path | None:
    """A file as the disk spells it: case, and accents in one part or in two, count on some systems only.

    Args:
        file (`Path`): As a mesh spells it.
        folder (`Path`): One above it, which is spelled as on the disk.
        listed (`dict`, *optional*): Gets what folders hold, for further calls.
    """
    listed = {} if listed is None else listed
    if file.exists():
        return file
    found = folder
    for part in file.relative_to(folder).parts:
        if not (found / part).exists():
            if found not in listed:
                entries = islice(found.iterdir(), MAX_ENTRIES) if found.is_dir() else ()
                listed[found] = {}
                for entry in entries:
                    listed[found].setdefault(without_case(entry.name), []).append(entry.name)
            alike = listed[found].get(without_case(part), [])
            if len(alike) != 1:
                return None
            part = alike[0]
        found = found / part
    return found


def read_mesh(
    file: BinaryIO, file_type: str, resolver: AssetResolver, name: str, choice: PartChoice = SEEN
) -> TexturedMesh:
    """Read a mesh from an open file.

    Args:
        file (`BinaryIO`): The mesh's bytes.
        file_type (`str`): One of `MESH_SUFFIXES`, without the dot.
        resolver (`AssetResolver`): Where the files it names are found.
        name (`str`): For messages: which mesh this is.
        choice (`PartChoice`, *optional*): Which of its parts are read. Default: all but collision meshes.

    Raises:
        MeshError: It cannot be read, or has no triangle of finite, non-zero area.
    """
    shape = _checked(_read(file.read(), file_type, resolver, name, choice), name)
    if isinstance(shape, PointCloud):
        raise MeshError(f"{name}: {len(shape.points.xyz):,} points and no face; expected a mesh.")
    return shape


def _read(
    data: bytes, file_type: str, resolver: AssetResolver, name: str, choice: PartChoice
) -> TexturedMesh | PointCloud:
    try:
        shape = _read_kind(data, file_type.lower(), resolver, choice)
    except (MemoryError, ImportError):  # of this machine, not of the file
        raise
    except Exception as error:
        # The readers name what they look for; a file that is damaged in another way ends in an error of any kind.
        is_named = type(error) is ValueError or isinstance(error, (MissingPackageError, FileNotFoundError))
        reason = str(error) if is_named else f"it is damaged ({type(error).__name__}: {error})"
        raise MeshError(f"{name}: cannot be read as '{file_type}': {cut_message(reason).rstrip('.')}.") from error
    shape = replace(shape, warnings=few_warnings(shape.warnings))
    try:
        return choice.chosen(shape) if isinstance(shape, TexturedMesh) else shape
    except ValueError as error:
        raise MeshError(f"{name}: {error}.") from None


def _read_kind(data: bytes, kind: str, resolver: AssetResolver, choice: PartChoice) -> TexturedMesh | PointCloud:
    if not data:
        raise ValueError("the file is empty")
    if kind in ("glb", "gltf"):
        return read_gltf(data, resolver.get)
    if kind == "obj":
        return read_obj(data, resolver.get, choice.leaves_out)
    if kind == "ply":
        return read_ply(data, resolver.get)
    if kind == "stl":
        return read_stl(data)
    if kind == "off":
        return read_off(data)
    if kind == "dae":
        return read_dae(data, resolver.get)
    if kind == "3mf":
        return read_3mf(data)
    if kind in ("usd", "usda", "usdc", "usdz"):
        return read_usd(data, kind, resolver.get)
    if kind == "zip":

        def read_member(content: bytes, its_kind: str, folder: str, members: ZipMembers) -> TexturedMesh | PointCloud:
            return _read_kind(content, its_kind, AssetResolver(folder, members.read), choice)

        return read_zip(data, read_member)
    raise ValueError("files of this kind are not read")


def _checked(shape: TexturedMesh | PointCloud, name: str) -> TexturedMesh | PointCloud:
    """The shape, if it has a surface or, without any face, a point."""
    if isinstance(shape, TexturedMesh) and any(len(part.triangles) for part in shape.parts):
        return checked_mesh(shape, name)
    if isinstance(shape, TexturedMesh) or not len(shape.points.xyz):
        raise MeshError(f"{name}: no faces and no points; expected at least one triangle or point.")
    return shape


def checked_mesh(mesh: TexturedMesh, name: str) -> TexturedMesh:
    """The mesh without the faces whose corners are not finite.

    Args:
        mesh (`TexturedMesh`)
        name (`str`): For messages.

    Raises:
        MeshError: No triangle of finite, non-zero area is left.
    """
    parts, num_faces, num_dropped = [], 0, 0
    for part in mesh.parts:
        kept = np.isfinite(part.triangles).all(axis=(1, 2))
        num_faces += len(kept)
        if not kept.all():
            num_dropped += len(kept) - int(kept.sum())
            uv, tint = (None if array is None else array[kept] for array in (part.uv, part.tint))
            triangles, corner_colors = part.triangles[kept], part.corner_colors[kept]
            part = replace(part, triangles=triangles, corner_colors=corner_colors, uv=uv, tint=tint)
        parts.append(part)
    warnings = list(mesh.warnings)
    if num_dropped:
        warnings.append(f"{num_dropped} of {num_faces} faces dropped: vertices that are not finite")
    with np.errstate(over="ignore", invalid="ignore"):  # an area that is not finite is reported below
        area = sum(float(part.areas.sum()) for part in parts)
    if not 0 < area < np.inf:
        raise MeshError(
            f"{name}: {num_faces} faces ({num_dropped} of them with vertices that are not finite), area {area:g}; "
            "expected at least one triangle with an area."
        )
    return replace(mesh, parts=parts, warnings=few_warnings(warnings))
