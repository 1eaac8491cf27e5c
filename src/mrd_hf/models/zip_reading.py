"""A zip file of one model, with the materials, textures and buffers that it names beside it."""

import posixpath
import tempfile
from collections.abc import Callable
from pathlib import Path

from .point_cloud_files import load_point_cloud
from .shape_suffixes import CLOUD_SUFFIXES, SHAPE_SUFFIXES
from .shapes import PointCloud, TexturedMesh
from .zip_members import ZipMembers


LISTED = 5


def read_zip(
    data: bytes, read: Callable[[bytes, str, str, ZipMembers], TexturedMesh | PointCloud]
) -> TexturedMesh | PointCloud:
    """Read the one model of a zip file. Nothing outside the zip file is looked for.

    Args:
        data (`bytes`): The zip file.
        read (`Callable[[bytes, str, str, ZipMembers], TexturedMesh | PointCloud]`):
            Reads a mesh of its content, kind ("glb"), folder and the zip file's other files.

    Raises:
        ValueError: It has no model, or several, or it cannot be read; the message names them.
    """
    members = ZipMembers(data)
    known = tuple(suffix for suffix in SHAPE_SUFFIXES if suffix != ".zip")
    models = [name for name in members.names() if name.lower().endswith(known)]
    if not models:
        raise ValueError(f"the zip file has no model; expected one file of {', '.join(known)}")
    if len(models) > 1:
        more = f" and {len(models) - LISTED} more" if len(models) > LISTED else ""
        raise ValueError(
            f"the zip file has {len(models)} models ({', '.join(models[:LISTED])}{more}); expected one: unpack it"
        )
    (name,) = models
    try:
        content = members.read(name)
        if content is None:
            raise ValueError("no such file")
        suffix = posixpath.splitext(name)[1].lower()
        if suffix in CLOUD_SUFFIXES:
            return _read_cloud(content, suffix)
        return read(content, suffix[1:], posixpath.dirname(name), members)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{name} in the zip file: {str(error).rstrip('.')}") from error


def _read_cloud(content: bytes, suffix: str) -> PointCloud:
    with tempfile.TemporaryDirectory(prefix="mrd-hf-") as folder:
        file = Path(folder) / f"cloud{suffix}"
        file.write_bytes(content)
        try:
            return load_point_cloud(file)
        except ValueError as error:
            raise ValueError(str(error).removeprefix(f"{file}: ")) from error
