"""Metadata files of mesh folders, as `datasets`' `meshfolder` has them: what is known of each file.

A `metadata.csv`, `.jsonl` or `.parquet` has a column `file_name`, the mesh's path from the metadata file's folder. Of
its other columns these are read, all optional: `name`, `category`, `license` (an SPDX identifier), `creator`, and the
texts `text`, `texts`, `caption`, `captions`, each a string or a list of strings (in CSV, a list is written as JSON).
Several rows may name the same file: their texts add up.
"""

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UserError


METADATA_SUFFIXES = (".csv", ".jsonl", ".parquet")
TEXT_COLUMNS = {"text": "text", "texts": "text", "caption": "caption", "captions": "caption"}


@dataclass(frozen=True)
class Description:
    """What is known of a shape besides its geometry.

    Args:
        name, category, license, creator (`str`, *optional*): As the triplet schema has them.
        texts (`tuple[tuple[str, str], ...]`): Each text and its source, e.g. `("a red chair", "caption")`.
    """

    name: str | None = None
    category: str | None = None
    license: str | None = None
    creator: str | None = None
    texts: tuple[tuple[str, str], ...] = ()

    def joined(self, other: "Description") -> "Description":
        """With what `other` adds: its texts, and what is not known here."""
        return Description(
            self.name or other.name,
            self.category or other.category,
            self.license or other.license,
            self.creator or other.creator,
            tuple(dict.fromkeys(self.texts + other.texts)),
        )


def read_metadata(data: bytes, name: str) -> dict[str, Description]:
    """Read a metadata file.

    Args:
        data (`bytes`): The file's content.
        name (`str`): Its name, for messages; the suffix says what it is.

    Returns:
        `dict[str, Description]`: By the file names, as they stand in the file, in its order.

    Raises:
        UserError: It cannot be read, has no column `file_name`, or a value of another type than expected.
    """
    described: dict[str, Description] = {}
    for place, row in _rows(data, name):
        file_name = row.get("file_name")
        if not isinstance(file_name, str) or not file_name:
            columns = ", ".join(str(column) for column in row) or "none"
            raise UserError(f"{name}: {place} has no 'file_name' (its columns: {columns}); expected a mesh's path.")
        description = describe(row, f"{name}: {place}")
        described[file_name] = described.get(file_name, Description()).joined(description)
    if not described:
        raise UserError(f"{name}: has no rows; expected one a mesh, with a column 'file_name'.")
    return described


def describe(row: dict[str, Any], place: str) -> Description:
    """The description in one row of metadata; `place` says where that is, for messages.

    Raises:
        UserError: A value is of another type than expected.
    """
    known = {column: _text(row.get(column), place, column) for column in ("name", "category", "license", "creator")}
    texts = [(known["name"], "name")] if known["name"] else []
    for column, source in TEXT_COLUMNS.items():
        value = row.get(column)
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = _json_list(value)
        for text in value if isinstance(value, list) else [value]:
            text = _text(text, place, column)
            if text:
                texts.append((text, source))
    return Description(**known, texts=tuple(dict.fromkeys(texts)))


def _rows(data: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a metadata file, each with its place in words."""
    try:
        if name.endswith(".parquet"):
            for number, row in enumerate(pq.read_table(io.BytesIO(data)).to_pylist(), start=1):
                yield f"row {number}", row
        elif name.endswith(".jsonl"):
            for number, line in enumerate(data.decode("utf-8-sig").splitlines(), start=1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise UserError(f"{name}: line {number} is no JSON object; expected one a line.")
                    yield f"line {number}", row
        elif name.endswith(".csv"):
            reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
            for row in reader:
                if None in row:
                    raise UserError(f"{name}: line {reader.line_num} has more values than there are columns.")
                yield f"line {reader.line_num}", row
        else:
            raise UserError(f"{name}: expected a metadata file, {', '.join(METADATA_SUFFIXES)}.")
    except (ValueError, csv.Error, pa.ArrowException, RecursionError) as error:
        raise UserError(f"{name}: cannot be read as {name.rpartition('.')[2].upper()} ({error}).") from error


def _json_list(value: str) -> list[Any] | str:
    """The list that a string holds as JSON; the string itself if it holds none."""
    try:
        return list(json.loads(value))
    except (ValueError, RecursionError):
        return value


def _text(value: Any, place: str, column: str) -> str | None:
    """A value as stripped text, None where it is missing or empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, (str, int, float)):
        raise UserError(f"{place}: '{column}' has {value!r:.100}; expected a text.")
    return str(value).strip() or None
