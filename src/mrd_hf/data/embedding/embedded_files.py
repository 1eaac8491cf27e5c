"""The files that a teacher's embeddings are cached in: which are finished, and of which teacher and dataset they are.

Each parquet file of the dataset gives one of the same name. Its footer has a record of what it was made of: a digest
of the dataset's file, the teacher and the settings, and what was left out. So a file is complete or not there, and
says itself whether it belongs to a run.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import UserError
from ..preparation.dataset_parts import write_json


RECORD_KEY = "mrd_hf.embedded"
RECORD_FIELDS = {"source", "settings", "left_out"}
FOOTER_END = 8  # bytes: the length of the footer, and the format's mark


class EmbeddedFiles:
    """The files of a dataset with cached embeddings.

    Args:
        folder (`Path`): Of the dataset to embed: `data/<split>-*.parquet`.
        out (`Path`): Of the one with embeddings.
        settings (`dict`): Of the teacher and what it is given, as JSON can hold it.
    """

    def __init__(self, folder: Path, out: Path, settings: dict[str, Any]) -> None:
        self.out = out
        self.sources = sorted((folder / "data").glob("*.parquet"))
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))  # as it will be read back
        self._digests = {source.name: footer_digest(source) for source in self.sources}

    def file(self, index: int) -> Path:
        """What becomes of a file of the dataset."""
        return self.out / "data" / self.sources[index].name

    def finished(self, index: int) -> dict[str, Any] | None:
        """The record of a file that is finished; None if it is not."""
        record = read_record(self.file(index))
        return record if record is not None and self._difference(record, self.sources[index]) is None else None

    def refuse_others(self) -> None:
        """Raise a [`UserError`] if a file is there that does not belong to this run, and say what differs."""
        sources = {source.name: source for source in self.sources}
        for file in sorted((self.out / "data").glob("*.parquet")):
            record = read_record(file)
            if record is None or file.name not in sources:
                difference: str | None = f"{file.name} is none that this would make"
            else:
                difference = self._difference(record, sources[file.name])
            if difference is not None:
                raise UserError(
                    f"{self.out}: has a dataset already, {difference}; choose another folder, or replace it with "
                    "--overwrite."
                )

    def remove(self, indices: Iterable[int]) -> None:
        """Remove the files of these indices."""
        for index in indices:
            self.file(index).unlink(missing_ok=True)

    def remove_others(self) -> None:
        """Remove the files that the dataset has none of the same name for: they would be loaded too."""
        names = {source.name for source in self.sources}
        for file in (self.out / "data").glob("*.parquet"):
            if file.name not in names:
                file.unlink(missing_ok=True)

    def assemble(self) -> dict[str, Any]:
        """The report of the whole dataset, also written to `report.json` if every file is finished.

        Any number of runs may come to this at the same time: they write the same.

        Returns:
            `dict`: `settings`, `rows` (a count for each split), `left_out` (a list of `id` and `why`), and `missing`,
            the names of the files that other runs have yet to make.
        """
        rows: dict[str, int] = {}
        report: dict[str, Any] = {"settings": self.settings, "rows": rows, "left_out": [], "missing": []}
        for index, source in enumerate(self.sources):
            record = self.finished(index)
            if record is None:
                report["missing"].append(source.name)
                continue
            split = source.stem.split("-")[0]
            rows[split] = rows.get(split, 0) + pq.read_metadata(self.file(index)).num_rows
            report["left_out"] += record["left_out"]
        if not report["missing"]:
            write_json(self.out / "report.json", report)
        return report

    def _difference(self, record: dict[str, Any], source: Path) -> str | None:
        for key in (*self.settings, *record["settings"]):
            there, here = record["settings"].get(key), self.settings.get(key)
            if there != here:
                return f"embedded with another {key} ({there} there, {here} here)"
        return None if record["source"] == self._digests[source.name] else f"made from another {source.name}"


def new_record(source: Path, settings: dict[str, Any], left_out: list[dict[str, str]]) -> dict[str, Any]:
    """The record of what is made of `source`, as [`read_record`] will give it."""
    record = {"source": footer_digest(source), "settings": settings, "left_out": left_out}
    return dict(json.loads(json.dumps(record)))


def to_footer(record: dict[str, Any]) -> dict[str, str]:
    """A record as key and value of a parquet file's metadata."""
    return {RECORD_KEY: json.dumps(record)}


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Within it, what pyarrow makes of a damaged file of the dataset becomes a [`UserError`]."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = str(error).strip().replace("\n", " ")
        raise UserError(f"cannot read {file}: {reason}; prepare it again with mrd-hf prepare.") from None


def read_record(file: Path) -> dict[str, Any] | None:
    """What the footer of a parquet file says of its making; None without a record, or without a file that is whole."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads(pq.read_metadata(file).metadata[RECORD_KEY.encode()])
        return record if set(record) >= RECORD_FIELDS else None
    return None


def footer_digest(file: Path) -> str:
    """Tells parquet files apart by their footers, which have sizes and extremes of every column's chunks.

    Raises:
        UserError: If it is no parquet file.
    """
    with reading(file), open(file, "rb") as content:
        pq.read_metadata(content)
        content.seek(-FOOTER_END, os.SEEK_END)
        length = int.from_bytes(content.read(4), "little")
        content.seek(-FOOTER_END - length, os.SEEK_END)
        return hashlib.sha256(content.read()).hexdigest()
