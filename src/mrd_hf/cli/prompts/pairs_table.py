"""Tables of shapes and what they were made from: CSV in, and scores as CSV, JSON or parquet out."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ...errors import UserError
from ...files.atomic_file import atomic_file


MAX_BYTES = 2**27
SCORE_SUFFIXES = (".csv", ".json", ".parquet")


@dataclass(frozen=True)
class Pairs:
    """Shapes and the prompts that they were made from.

    Args:
        shapes (tuple of `str`): Their files.
        prompts (tuple of `str`): Of each shape its text, or the file of its picture.
        kind (`"text"` or `"image"`): What the prompts are.
    """

    shapes: tuple[str, ...]
    prompts: tuple[str, ...]
    kind: Literal["text", "image"]


def read_pairs(path: Path) -> Pairs:
    """Read a CSV file with a header and the columns `shape` and either `text` or `image`; others are left out.

    Files are looked for from the table's folder on.

    Raises:
        UserError: It cannot be read, lacks a column, or a row lacks a value; the message names the line.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; expected a CSV file with the columns shape and text, or shape and image."
        )
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: {path.stat().st_size:,} bytes; a table of pairs has at most {MAX_BYTES:,}.")
    try:
        # Read at once: a blank line and a quoted line break are the reader's to tell apart.
        lines = csv.DictReader(StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        rows = [(lines.line_num, row) for row in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV in UTF-8 ({error}).") from None
    columns = lines.fieldnames or ()
    if not columns:
        raise UserError(f"{path}: is empty; expected a CSV file with the columns shape and text, or shape and image.")
    kinds = [kind for kind in ("text", "image") if kind in columns]
    if len(kinds) == 2:
        raise UserError(f"{path}: has the columns text and image, and a prompt is one of them; leave out the other.")
    if "shape" not in columns or not kinds:
        raise UserError(f"{path}: has the columns {', '.join(map(str, columns))}; expected shape, and text or image.")
    (kind,) = kinds
    for number, row in rows:
        for column in ("shape", kind):
            if not (row[column] or "").strip():
                raise UserError(f"{path}: line {number} has no {column}.")
    if not rows:
        raise UserError(f"{path}: has no pair in it.")
    folder = path.parent
    shapes = tuple(str(folder / row["shape"].strip()) for _, row in rows)
    prompts = tuple(row[kind].strip() if kind == "text" else str(folder / row[kind].strip()) for _, row in rows)
    return Pairs(shapes, prompts, "text" if kind == "text" else "image")


def write_scores(path: Path, columns: Mapping[str, Sequence[Any]], summary: dict[str, Any]) -> None:
    """Write scores, a row each; a JSON file has the summary too.

    Args:
        path (`Path`): With one of the `SCORE_SUFFIXES`.
        columns (mapping): Of one length.
        summary (`dict`): What the scores come to.
    """
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    with atomic_file(path) as sink:
        if path.suffix.lower() == ".parquet":
            pq.write_table(table, sink, compression="zstd")
        elif path.suffix.lower() == ".csv":
            pyarrow.csv.write_csv(table, sink)
        else:
            sink.write((json.dumps({**summary, "scores": table.to_pylist()}, indent=2) + "\n").encode())


def check_score_file(path: Path) -> None:
    """Raise a [`UserError`] for a file of another kind than scores are written to."""
    if path.suffix.lower() not in SCORE_SUFFIXES or path.is_dir():
        raise UserError(f"--output {path}: expected a file with the suffix {', '.join(SCORE_SUFFIXES)}.")
