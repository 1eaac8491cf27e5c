"""The files that a dataset is prepared in: which there will be, which of them are finished, and their provenance.

A split of n jobs has ceil(n / ROWS_PER_FILE) files, `data/<split>-KKKKK-of-NNNNN.parquet`. File k holds what became of
its jobs k * ROWS_PER_FILE to (k + 1) * ROWS_PER_FILE, so that its content and its name depend on the list of jobs and
their splits alone. Beside each stands a report of the same name in `reports/`, which is there before its file is. A
file counts as finished when both are there, belong to the same jobs and settings, and the file has the size that the
report says. A file whose every shape was skipped has no rows; it is there nevertheless, so that a gap always means
unfinished.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from datasets import Features

from ...errors import UserError
from ...files.atomic_file import atomic_file
from ...files.walking import files_below


# Files of 150 MB at 10,000 points and an icon a shape, and of some 500 MB with a dozen pictures.
ROWS_PER_FILE = 2048

# In the order of their files.
SPLITS = ("train", "validation", "test")
FILE_NAME = re.compile(r"(?P<split>.+)-(?P<index>\d{5,})-of-(?P<count>\d{5,})\.parquet")
REPORT_KEYS = {"fingerprint", "settings", "bytes", "prepared", "skipped", "warnings"}


class DatasetParts:
    """The files of a dataset, those of the train split first.

    Args:
        folder (`Path`): Of the dataset.
        jobs (sequence): One a shape, in the order of the rows. Their `repr` tells them apart.
        settings (`dict`): What the dataset is made from, as JSON can hold it.
        features (`datasets.Features`): Of the rows.
        splits (sequence of `str`, *optional*): The split of each job, of [`SPLITS`]; without it all are in `train`.
    """

    def __init__(
        self,
        folder: Path,
        jobs: Sequence[Any],
        settings: dict[str, Any],
        features: Features,
        splits: Sequence[str] | None = None,
    ) -> None:
        self.folder = folder
        self.num_jobs = len(jobs)
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))  # as it will be read back
        self.fingerprint = _fingerprint(jobs, self.settings, features, splits)
        places: dict[str, Sequence[int]] = {"train": range(len(jobs))}
        if splits is not None:
            places = {split: [place for place, its in enumerate(splits) if its == split] for split in SPLITS}
        self._splits: list[str] = []  # of the parts
        self._names: list[str] = []
        self._jobs: list[Sequence[int]] = []
        for split, of_split in places.items():
            count = -(-len(of_split) // ROWS_PER_FILE)
            for index in range(count):
                self._splits.append(split)
                self._names.append(f"{split}-{index:05d}-of-{count:05d}")
                self._jobs.append(of_split[index * ROWS_PER_FILE : (index + 1) * ROWS_PER_FILE])
        self.count = len(self._names)

    def file(self, index: int) -> Path:
        """The parquet file of a part."""
        return self.folder / "data" / f"{self._names[index]}.parquet"

    def report_file(self, index: int) -> Path:
        """The file that says what became of the jobs of a part."""
        return self.folder / "reports" / f"{self._names[index]}.json"

    def jobs(self, index: int) -> Sequence[int]:
        """The places, in the list of jobs, of those of a part."""
        return self._jobs[index]

    def finished(self, index: int) -> dict[str, Any] | None:
        """The report of a part that is finished; None if it is not."""
        report, file = self._read_report(self._names[index]), self.file(index)
        if report is None or report["fingerprint"] != self.fingerprint or not file.is_file():
            return None
        return report if file.stat().st_size == report["bytes"] else None

    def refuse_others(self) -> None:
        """Raise a [`UserError`] if the folder has a dataset of other jobs or settings, and say what differs."""
        for name in self._others():
            found = self._read_report(name)
            raise UserError(
                f"{self.folder}: has a dataset already, {self._difference(found)}; choose another folder, or replace "
                "it with --overwrite."
            )

    def remove(self, indices: Iterable[int]) -> None:
        """Remove the parts of these indices, and whatever files of other jobs or settings the folder has."""
        for name in [*self._others(), *(self._names[index] for index in indices)]:
            (self.folder / "data" / f"{name}.parquet").unlink(missing_ok=True)
            (self.folder / "reports" / f"{name}.json").unlink(missing_ok=True)
        for folder in (self.folder / "data", self.folder / "reports"):
            with suppress(OSError):  # which is what becomes of a folder that is not empty, or not there
                folder.rmdir()

    def assemble(self, facts: dict[str, Any]) -> dict[str, Any]:
        """The report of the whole dataset, also written to `report.json` if every part is finished.

        Any number of runs may come to this at the same time: they write the same.

        Args:
            facts (`dict`): Further fields of the report.

        Returns:
            `dict`: See [`prepare_dataset`][mrd_hf.data.preparation.dataset_writing.prepare_dataset].
        """
        report: dict[str, Any] = {"settings": self.settings, "shapes": self.num_jobs, "prepared": 0}
        report |= {"splits": dict.fromkeys(self._splits, 0), **facts, "skipped": [], "warnings": [], "missing": []}
        for index in range(self.count):
            part = self.finished(index)
            if part is None:
                report["missing"].append(self.file(index).name)
            else:
                report["prepared"] += len(part["prepared"])
                report["splits"][self._splits[index]] += len(part["prepared"])
                report["skipped"] += part["skipped"]
                report["warnings"] += part["warnings"]
        if not report["missing"]:
            write_json(self.folder / "report.json", report)
        return report

    def _others(self) -> list[str]:
        """Names, without suffix, of files in the folder that are not of these jobs and settings."""
        files = [*(self.folder / "data").glob("*.parquet"), *(self.folder / "reports").glob("*.json")]
        mine = set(self._names)
        others = []
        for name in sorted({file.stem for file in files}):
            report = self._read_report(name)
            if name not in mine or report is None or report["fingerprint"] != self.fingerprint:
                others.append(name)
        return others

    def _read_report(self, name: str) -> dict[str, Any] | None:
        file = self.folder / "reports" / f"{name}.json"
        try:
            report = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(report, dict) or not set(report) >= REPORT_KEYS:
                raise ValueError(f"expected the fields {', '.join(sorted(REPORT_KEYS))}")
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UserError(
                f"{file}: not the report of a part ({error}); delete it and data/{name}.parquet, and run again, which "
                "regenerates that part."
            ) from None
        return report

    def _difference(self, found: dict[str, Any] | None) -> str:
        if found is None:
            return "made in another way"
        before = found["settings"]
        for key in (*self.settings, *before):
            if before.get(key) != self.settings.get(key):
                return f"made with other settings ({key} {before.get(key)} there, {self.settings.get(key)} here)"
        return "made from other inputs"


def parquet_below(folder: Path) -> list[Path]:
    """The parquet files in a dataset's folder and below, sorted."""
    return [folder / file for file in files_below(folder) if file.suffix == ".parquet"]


def missing_files(folder: Path) -> tuple[list[str], int]:
    """Which parquet files of a dataset's folder are not there, as the names of the others tell, and of how many."""
    splits: dict[tuple[Path, str, str], set[int]] = {}
    for file in parquet_below(folder):
        parts = FILE_NAME.fullmatch(file.name)
        if parts is not None:
            split = (file.parent, parts["split"], parts["count"])
            splits.setdefault(split, set()).add(int(parts["index"]))
    missing = [
        str((parent / f"{split}-{index:05d}-of-{count}.parquet").relative_to(folder))
        for (parent, split, count), found in sorted(splits.items())
        for index in range(int(count))
        if index not in found
    ]
    return missing, sum(int(count) for _, _, count in splits)


def settings_of(folder: Path) -> dict[str, Any]:
    """What the parts of a dataset's folder were made from, as the first report that can be read says; else nothing."""
    for file in sorted((folder / "reports").glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return dict(json.loads(file.read_text(encoding="utf-8"))["settings"])
    return {}


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a JSON file that is complete or not there."""
    with atomic_file(file) as sink:
        # A name that is no Unicode, as a file system may have it, is escaped.
        sink.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))


def _fingerprint(
    jobs: Sequence[Any], settings: dict[str, Any], features: Features, splits: Sequence[str] | None
) -> str:
    digest = hashlib.sha256(json.dumps([settings, repr(features), ROWS_PER_FILE], sort_keys=True).encode())
    for job in jobs:
        digest.update(f"\n{job!r}".encode(errors="backslashreplace"))
    for split in splits or ():
        digest.update(f"\n{split}".encode())
    return digest.hexdigest()
