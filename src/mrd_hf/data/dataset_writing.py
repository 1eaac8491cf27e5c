"""Prepare shapes in parallel and write them as a dataset that `datasets.load_dataset` reads.

What every source shares: workers, progress, the list of what was skipped and why, and files that appear only when
they are complete.
"""

import json
import multiprocessing
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
from datasets import Dataset, Features
from tqdm import tqdm

from ..errors import UserError


ROWS_PER_FILE = 4096
# What a reader must decode to get at one row.
ROWS_PER_GROUP = 128

Job = TypeVar("Job")


@dataclass(frozen=True)
class PreparedShape:
    """What became of one shape: a row of the dataset, or the reason why it was skipped.

    Args:
        id (`str`): The shape's id.
        row (`dict`, *optional*): The row, as the dataset's features want it.
        skipped (`str`, *optional*): Why there is no row.
        warnings (`list[str]`): What had to be replaced or left out on the way.
    """

    id: str
    row: dict[str, Any] | None = None
    skipped: str | None = None
    warnings: list[str] = field(default_factory=list)


def prepare_dataset(
    jobs: Sequence[Job],
    prepare: Callable[[Job], PreparedShape],
    features: Features,
    out: str | Path,
    settings: dict[str, Any],
    num_workers: int = 1,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Run `prepare` over `jobs` and write the rows as the train split of a dataset, with a `report.json` beside it.

    Args:
        jobs (sequence): One a shape, in the order of the rows; picklable.
        prepare (`Callable`): Makes a shape of a job; picklable. Its result may depend on the job only.
        features (`datasets.Features`): Of the rows.
        out (`str` or `Path`): Folder of the dataset.
        settings (`dict`): What the dataset was made from, for the report.
        num_workers (`int`, defaults to 1): Processes to share the work; 1 works in this one.
        overwrite (`bool`, defaults to `False`): Whether a dataset in `out` may be replaced.

    Returns:
        `dict`: The report: `settings`, `prepared` (a count), `skipped` and `warnings` (each a list of `id` and `why`).

    Raises:
        UserError: `out` has a dataset already, nothing could be prepared, or a worker was killed.
    """
    out = Path(out)
    check_vacant(out, overwrite)
    report: dict[str, Any] = {"settings": settings, "prepared": 0, "skipped": [], "warnings": []}

    def rows() -> Iterator[dict[str, Any]]:
        results = _in_order(jobs, prepare, num_workers)
        for shape in tqdm(results, total=len(jobs), unit="shape", disable=None):
            report["warnings"] += [{"id": shape.id, "why": warning} for warning in shape.warnings]
            if shape.row is None:
                report["skipped"].append({"id": shape.id, "why": shape.skipped})
            else:
                report["prepared"] += 1
                yield shape.row

    write_split(rows(), features, out, "train")
    (out / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return report


def check_vacant(out: Path, overwrite: bool) -> None:
    """Raise a [`UserError`] if `out` is a file, or has a dataset that may not be replaced."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; expected a folder for the dataset.")
    if not overwrite and any((out / "data").glob("*.parquet")):
        raise UserError(f"{out}: has a dataset already; choose another folder, or replace it with --overwrite.")


def write_split(rows: Iterator[dict[str, Any]], features: Features, out: Path, split: str) -> None:
    """Write `rows` to `out/data/<split>-*.parquet`, replacing the split's earlier files once all rows are there.

    Raises:
        UserError: There are no rows.
    """
    # Hidden, so that no reader takes the unfinished files for the dataset.
    partial = out / f".partial-{split}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        files: list[Path] = []
        pending: list[dict[str, Any]] = []
        row = next(rows, None)
        while row is not None:
            pending.append(row)
            row = next(rows, None)
            if row is None or len(pending) == ROWS_PER_FILE:
                files.append(partial / f"{len(files)}.parquet")
                write_parquet(pending, features, files[-1])
                pending = []
        if not files:
            raise UserError(f"{out}: nothing to write, every shape was skipped; see the reasons above.", exit_code=1)
        data = out / "data"
        data.mkdir(exist_ok=True)
        for earlier in data.glob(f"{split}-*.parquet"):
            earlier.unlink()
        for index, file in enumerate(files):
            file.rename(data / f"{split}-{index:05d}-of-{len(files):05d}.parquet")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_parquet(rows: list[dict[str, Any]], features: Features, file: Path) -> None:
    """Write rows, dictionaries of the columns in `features`, to one parquet file."""
    # Not `Dataset.to_parquet`: it fixes the compression to snappy, which is half as tight on point clouds' colours.
    table = Dataset.from_list(rows, features=features).data.table
    table = table.replace_schema_metadata(features.arrow_schema.metadata)
    pq.write_table(table, file, compression="zstd", compression_level=9, row_group_size=ROWS_PER_GROUP)


def _in_order(
    jobs: Sequence[Job], prepare: Callable[[Job], PreparedShape], num_workers: int
) -> Iterator[PreparedShape]:
    """Results in the order of the jobs. Only a few jobs run ahead of the reader, so memory stays bounded."""
    if num_workers <= 1:
        yield from map(prepare, jobs)
        return
    # Not fork: the libraries underneath (Arrow, BLAS) hold threads and locks that a forked child inherits dead.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload([__name__])  # the heavy imports happen once, not in each worker
    with ProcessPoolExecutor(num_workers, mp_context=context) as executor:
        ahead: deque[Future[PreparedShape]] = deque()
        try:
            for job in jobs:
                ahead.append(executor.submit(prepare, job))
                if len(ahead) >= 8 * num_workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process was killed, most likely for want of memory; try fewer --num_workers.", exit_code=1
            ) from error
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
