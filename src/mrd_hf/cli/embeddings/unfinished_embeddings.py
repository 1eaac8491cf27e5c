"""What a run of `mrd-hf embed` has embedded so far: kept beside its output, for the same command after a kill."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import UserError
from ...files.atomic_file import atomic_file
from ...files.atomic_folder import claim_folder, release_folder
from ..shape_files import as_text


# What is embedded in that time is lost at most; shorter runs write nothing.
SECONDS_A_PART = 30
KEY = b"mrd_hf_unfinished"

Rows = tuple[list[str], np.ndarray]


class UnfinishedEmbeddings:
    """A hidden folder beside the output with the embeddings of the first files, a parquet file for each part of them.

    A run resumes behind what one before it left, if settings and files are the same, with batches of the same shapes.
    So it writes the same output as one that was never interrupted. The folder is gone once the `with` block ends
    without an error.

    Args:
        output (`Path`): The file that is to be written.
        settings (`dict`): All that embeddings depend on beside the files, as JSON can have it.
        files (sequence of `str`): Those to embed, in their order.

    Attributes:
        num_files (`int`): How many of them were gone through before.
        num_batches (`int`): In how many batches.
        failures (`list[dict]`): Those of them that were left out.

    Raises:
        UserError: Another run is writing the output.
    """

    def __init__(self, output: Path, settings: dict[str, Any], files: Sequence[str]) -> None:
        self._folder = output.with_name(f".{output.name}.unfinished")
        self._settings = json.loads(json.dumps({**settings, "version": version("mrd-hf")}))
        self._states = [_state(file) for file in files]
        self.num_files = self.num_batches = 0
        self.failures: list[dict[str, str]] = []
        self._num_parts = self._num_rows = self._num_failed = 0
        self._new: list[Rows] = []
        self._written = time.monotonic()
        self._claim = claim_folder(self._folder, output)

    def __enter__(self) -> Self:
        while self._take_up(self._part(self._num_parts)):
            self._num_parts += 1
        kept = {self._part(number) for number in range(self._num_parts)}
        for path in self._folder.iterdir():
            if path not in kept:  # of other settings or files, which a part that is still to come must not lead to
                path.unlink()
        return self

    def add(self, names: list[str], embeds: np.ndarray) -> None:
        """Add a batch of embedded files; what failed up to its end is in `failures`."""
        self._new.append((names, embeds))
        self._num_rows += len(names)
        self._num_failed = len(self.failures)  # more may fail before the next batch is full
        self.num_batches += 1
        if time.monotonic() - self._written > SECONDS_A_PART:
            self._write_part()

    def rows(self) -> Iterator[Rows]:
        """All that was embedded, before and now."""
        for number in range(self._num_parts):
            table = pq.read_table(self._part(number))
            embeds = table.column("embedding").combine_chunks()
            if len(table):
                yield table.column("path").to_pylist(), embeds.flatten().to_numpy().reshape(len(table), -1)
        yield from self._new

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None and self._new and not isinstance(error, UserError):
                with suppress(UserError):  # as of a full disk, which may be why the run ends
                    self._write_part()
            if kind is None or self._num_parts == 0:
                shutil.rmtree(self._folder, ignore_errors=True)
        finally:
            release_folder(self._claim)

    def _part(self, number: int) -> Path:
        return self._folder / f"{number:06}.parquet"

    def _take_up(self, part: Path) -> bool:
        """Whether a part is there, whole, and fits; then it counts."""
        try:
            metadata = pq.read_metadata(part).metadata or {}
            told = json.loads(metadata[KEY])
            end = told["num_files"]
            same = told["settings"] == self._settings
            same &= told["files"] == [list(state) for state in self._states[self.num_files : end]]
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
            return False
        if same:
            self.num_files, self.num_batches, self.failures = end, told["num_batches"], told["failures"]
            self._num_rows += pq.read_metadata(part).num_rows
            self._num_failed = len(self.failures)
        return same

    def _write_part(self) -> None:
        # Every file up to here was embedded, or failed.
        end = self._num_rows + self._num_failed
        told = {
            "settings": self._settings,
            "files": self._states[self.num_files : end],
            "num_files": end,
            "num_batches": self.num_batches,
            "failures": self.failures[: self._num_failed],
        }
        names = [name for part, _ in self._new for name in part]
        embeds = np.concatenate([part for _, part in self._new])
        values = pa.FixedSizeListArray.from_arrays(pa.array(embeds.reshape(-1), pa.float32()), embeds.shape[1])
        table = pa.table({"path": pa.array(names, pa.string()), "embedding": values})
        with atomic_file(self._part(self._num_parts)) as sink:
            pq.write_table(table.replace_schema_metadata({KEY: json.dumps(told)}), sink, compression="zstd")
        self.num_files, self._num_parts, self._new = end, self._num_parts + 1, []
        self._written = time.monotonic()


def _state(file: str) -> tuple[str, int, int]:
    """Tells whether a file is still what it was; one that cannot be looked at fails when it is read."""
    try:
        found = Path(file).stat()
    except OSError:
        return as_text(file), -1, -1
    return as_text(file), found.st_size, found.st_mtime_ns
