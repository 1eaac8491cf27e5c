"""Metadata files of mesh folders, as `datasets`' `meshfolder` has them: what is known of each file.

A `metadata.csv`, `.jsonl` or `.parquet` has a column `file_name`, the mesh's path from the metadata file's folder. Of
its other columns these are read, all optional:

| column | meaning |
|---|---|
| `name` | what the shape is called; also one of its texts |
| `category` | the class that it belongs to; `label`, as `datasets`' `imagefolder` has it, is the same |
| `split` | `train`, `validation` or `test`; if any row has one, each file needs one |
| `license`, `creator` | an SPDX identifier, and whom to credit |
| `text`, `texts`, `caption`, `captions` | a text, or a list of texts (in CSV, written as JSON) |

In a parquet file that `datasets` wrote, they may be of classes, which stand there as numbers.

In place of a text there may be a {`text`, `source`}, as triplet datasets have them. Then these are all texts, and
`name` is one only if it is among them. Several rows may name the same file: their texts add up.
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

from ....errors import UserError
from ...preparation.dataset_parts import SPLITS


METADATA_SUFFIXES = (".csv", ".jsonl", ".parquet")
TEXT_COLUMNS = {"text": "text", "texts": "text", "caption": "caption", "captions": "caption"}


@dataclass(frozen=True)
class Description:
    """What is known of a shape besides its geometry.

    Args:
        name, category, license, creator (`str`, *optional*): As the triplet schema has them.
        split (`str`, *optional*): Of [`SPLITS`][mrd_hf.data.preparation.dataset_parts.SPLITS].
        texts (`tuple[tuple[str, str], ...]`): Each text and its source, e.g. `("a red chair", "caption")`.
    """

    name: str | None = None
    category: str | None = None
    license: str | None = None
    creator: str | None = None
    texts: tuple[tuple[str, str], ...] = ()
    split: str | None = None

    def joined(self, other: "Description", place: str) -> "Description":
        """With what `other` adds: its texts, and what is not known here.

        Raises:
            UserError: The two are of several categories or splits; `place` says where `other` is, for the message.
        """
        for column, mine, its in (("category", self.category, other.category), ("split", self.split, other.split)):
            if mine and its and mine != its:
                raise UserError(f"{place}: the '{column}' is '{its}', and an earlier row of this file says '{mine}'.")
        return Description(
            self.name or other.name,
            self.category or other.category,
            self.license or other.license,
            self.creator or other.creator,
            tuple(dict.fromkeys(self.texts + other.texts)),
            self.split or other.split,
        )


def read_metadata(data: bytes, name: str) -> dict[str, Description]:
    """Read a metadata file.

    Args:
        data (`bytes`): The file's content.
        name (`str`): Its name, for messages; the suffix says what it is.

    Returns:
        `dict[str, Description]`: By the file names, as they stand in the file, in its order.

    Raises:
        UserError: It cannot be read, has no column `file_name`, or a value of another type than expected; two columns
            or rows contradict each other; or some files have a split and others have none.
    """
    described: dict[str, Description] = {}
    places: dict[str, str] = {}
    for place, row in _rows(data, name):
        file_name = row.get("file_name")
        if not isinstance(file_name, str) or not file_name:
            columns = ", ".join(str(column) for column in row) or "none"
            raise UserError(f"{name}: {place} has no 'file_name' (its columns: {columns}); expected a mesh's path.")
        places.setdefault(file_name, f"{name}: {place}")
        description = describe(row, f"{name}: {place}")
        described[file_name] = described.get(file_name, Description()).joined(description, f"{name}: {place}")
    if not described:
        raise UserError(f"{name}: has no rows; expected one a mesh, with a column 'file_name'.")
    lacking = [places[file_name] for file_name, description in described.items() if description.split is None]
    if 0 < len(lacking) < len(described):
        raise UserError(f"{lacking[0]} has no 'split', and others have; give each file one of {', '.join(SPLITS)}.")
    return described


def describe(row: dict[str, Any], place: str) -> Description:
    """The description in one row of metadata; `place` says where that is, for messages.

    Raises:
        UserError: A value is of another type than expected, `category` and `label` differ, or there is no such split.
    """
    known = {
        column: _text(row.get(column), place, column)
        for column in ("name", "category", "license", "creator", "split", "label")
    }
    label = known.pop("label")
    if label is not None and known["category"] not in (None, label):
        raise UserError(
            f"{place}: 'category' is '{known['category']}' and 'label' is '{label}', which mean the same; keep one."
        )
    known["category"] = known["category"] or label
    if known["split"] not in (None, *SPLITS):
        raise UserError(f"{place}: 'split' is '{known['split']}'; expected {', '.join(SPLITS)}.")
    texts, of_triplets = [], False
    for column, source in TEXT_COLUMNS.items():
        value = row.get(column)
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = _json_list(value)
        for entry in value if isinstance(value, list) else [value]:
            text, text_source = entry, source
            if isinstance(entry, dict) and "text" in entry:
                text, text_source = entry["text"], _text(entry.get("source"), place, column) or source
                of_triplets = True
            text = _text(text, place, column)
            if text:
                texts.append((text, text_source))
    if known["name"] and not of_triplets:
        texts.insert(0, (known["name"], "name"))
    return Description(**known, texts=tuple(dict.fromkeys(texts)))


def noted_features(schema: pa.Schema) -> dict[str, Any]:
    """What `datasets` noted of the columns of a parquet file; empty for a file that it did not write."""
    # Not by way of `datasets.Features`: its older versions know of no Mesh.
    noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    for key in ("info", "features"):
        noted = noted.get(key) if isinstance(noted, dict) else None
    return noted if isinstance(noted, dict) else {}


def name_classes(row: dict[str, Any], features: dict[str, Any], place: str) -> dict[str, Any]:
    """The row with the names of classes in place of their numbers.

    Args:
        row (`dict`): Of a parquet file.
        features (`dict`): As [`noted_features`] gives them.
        place (`str`): Where the row is, for messages.

    Raises:
        UserError: There is no class of a number.
    """
    named = {}
    for column, value in row.items():
        # Lists of earlier versions of `datasets` are noted as lists.
        noted = features.get(column)
        classes = noted.get("names") if isinstance(noted, dict) and noted.get("_type") == "ClassLabel" else None
        if isinstance(classes, list) and value is not None:
            if not isinstance(value, int) or value >= len(classes):
                raise UserError(f"{place}: the {column} {value!r} is none of {len(classes)} classes.")
            value = classes[value] if value >= 0 else None  # `datasets` has -1 for unknown
        named[column] = value
    return named


def _rows(data: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a metadata file, each with its place in words."""
    try:
        if name.endswith(".parquet"):
            table = pq.read_table(io.BytesIO(data))
            features = noted_features(table.schema)
            for number, row in enumerate(table.to_pylist(), start=1):
                yield f"row {number}", name_classes(row, features, f"{name}: row {number}")
        elif name.endswith(".jsonl"):
            # Not by splitlines, which also splits texts, at U+2028 and others.
            for number, line in enumerate(data.decode("utf-8-sig").split("\n"), start=1):
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
