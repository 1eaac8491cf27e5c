"""Meshes inside parquet files, as `datasets` writes a dataset that has a `Mesh` feature."""

import io
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ....errors import UserError
from ....files.digests import change_stamp
from ....models.left_out_parts import SEEN, PartChoice
from ....models.mesh_loading import AssetResolver, read_mesh
from ....models.shapes import MeshError, TexturedMesh
from .mesh_metadata import TEXT_COLUMNS, Description, describe, name_classes, noted_features


def mesh_rows(path: Path) -> list[tuple[str, Description]]:
    """The name of each row's mesh file and what the row's other columns say; none if there is no column of meshes.

    The columns are those of a metadata file, and may be of classes.

    Raises:
        UserError: The file cannot be read, or a column is of another type than expected, or contradicts another.
    """
    try:
        features = noted_features(pq.read_schema(path))
        column = _mesh_column(features)
        if column is None:
            return []
        wanted = {"name", "category", "license", "creator", "label", "split", *TEXT_COLUMNS} & set(features)
        rows = pq.ParquetFile(path).read(columns=[f"{column}.path", *sorted(wanted)]).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as PARQUET ({error}).") from error
    named = []
    for number, row in enumerate(rows, start=1):
        mesh_path = (row[column] or {}).get("path") or "mesh.glb"
        place = f"{path}: row {number}"
        named.append((PurePosixPath(mesh_path).name, describe(name_classes(row, features, place), place)))
    return named


def load_row(path: str, row: int, name: str, choice: PartChoice = SEEN) -> TexturedMesh:
    """Read the mesh of one row, which is whole in itself: files that it names are not looked for.

    Args:
        path (`str`): The parquet file.
        row (`int`): From 0.
        name (`str`): For messages; its suffix says what kind of mesh it is.
        choice (`PartChoice`, *optional*): Which of its parts are read. Default: all but collision meshes.

    Raises:
        MeshError: The row has no mesh inside, or it cannot be read or has no surface.
    """
    data = row_content(path, row)
    if data is None:
        file, _ = _open(path, change_stamp(path))
        raise MeshError(f"{name}: row {row + 1} of {file} has no mesh inside; embed the files before writing it.")
    resolver = AssetResolver("", lambda _: None)
    return read_mesh(io.BytesIO(data), PurePosixPath(name).suffix[1:], resolver, name, choice)


def row_content(path: str, row: int) -> bytes | None:
    """The mesh file in one row, from 0; None if there is none."""
    stamp = change_stamp(path)
    _, starts = _open(path, stamp)
    group = max(index for index, start in enumerate(starts) if start <= row)
    return _read_group(path, group, stamp)[row - starts[group]]


def _mesh_column(features: dict[str, dict[str, Any]]) -> str | None:
    # Lists of earlier versions of `datasets` are noted as lists.
    noted = ((name, feature) for name, feature in features.items() if isinstance(feature, dict))
    return next((name for name, feature in noted if feature.get("_type") == "Mesh"), None)


@lru_cache(maxsize=1)
def _open(path: str, stamp: tuple[int, int] | None) -> tuple[str, list[int]]:
    """The file's name and the first row of each of its row groups; a file that was replaced has another stamp."""
    metadata = pq.read_metadata(path)
    starts = [0]
    for group in range(metadata.num_row_groups - 1):
        starts.append(starts[-1] + metadata.row_group(group).num_rows)
    return Path(path).name, starts


@lru_cache(maxsize=1)
def _read_group(path: str, group: int, stamp: tuple[int, int] | None) -> list[bytes | None]:
    """The meshes of one row group. Rows come in order, so the last one read is the one needed next."""
    column = _mesh_column(noted_features(pq.read_schema(path)))
    table = pq.ParquetFile(path).read_row_group(group, columns=[f"{column}.bytes"])
    return [(value or {}).get("bytes") for value in table.column(column).to_pylist()]
