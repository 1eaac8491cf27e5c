"""Prepare shapes in parallel and write them as a dataset that `datasets.load_dataset` reads.

What every source shares: workers, progress, the list of what was skipped and why, and files that appear only when
they are complete, so that a run that was killed, or one of many runs, goes on where files are missing. Which files
those are is for [`mrd_hf.data.preparation.dataset_parts`].
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, TypeVar

import numpy as np
import pyarrow as pa
from datasets import Array2D, Features
from datasets.arrow_writer import OptimizedTypedSequence
from tqdm import tqdm

from ...errors import UserError
from ...files.atomic_file import atomic_file, remove_partial
from ..schema import SCHEMA_VERSION
from .dataset_parts import DatasetParts, write_json
from .parquet_writing import dataset_writer, row_groups
from .worker_pool import map_in_order


# What a reader must decode to get at one row, and what the writer holds in memory.
ROWS_PER_GROUP = 128
KILLED = "killed its worker process, most likely for want of memory"

Job = TypeVar("Job")


@dataclass(frozen=True)
class PreparedShape:
    """What became of one shape: a row of the dataset, or the reason why it was skipped.

    Args:
        id (`str`): The shape's id.
        row (`dict`, *optional*): The row, as the dataset's features want it; `schema_version` may be left out.
        skipped (`str`, *optional*): Why there is no row.
        warnings (`list[str]`): What had to be replaced or left out on the way.
    """

    id: str
    row: dict[str, Any] | None = None
    skipped: str | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Outcome:
    """A [`PreparedShape`] with its row encoded, as workers hand it over."""

    id: str
    table: pa.Table | None
    skipped: str | None
    warnings: list[str]


class Run(TypedDict, total=False):
    """How much is done at once, and by whom, whatever a dataset is made from; arguments of [`prepare_dataset`]."""

    num_workers: int
    overwrite: bool
    num_shards: int
    shard_index: int


def prepare_dataset(
    jobs: Sequence[Job],
    prepare: Callable[[Job], PreparedShape],
    features: Features,
    out: str | Path,
    settings: dict[str, Any],
    num_workers: int = 1,
    overwrite: bool = False,
    num_shards: int = 1,
    shard_index: int = 0,
    splits: Sequence[str] | None = None,
    facts: dict[str, Any] | None = None,
    input_file: Callable[[Job], Path] | None = None,
) -> dict[str, Any]:
    """Run `prepare` over `jobs` and write the rows as a dataset, with a `report.json` beside it.

    A run leaves alone the files that an earlier one, with the same jobs and settings, has finished. Of several runs
    with the same `num_shards`, each makes the files that fall to its `shard_index`, in one shared folder or in
    folders that are copied together afterwards; the run that finds every file finished writes `report.json`.

    Args:
        jobs (sequence):
            One a shape, in the order of the rows; picklable, and told apart by their `repr`. One that kills its worker
            is listed by its `str`, which says where its shape is.
        prepare (`Callable`):
            Makes a shape of a job; picklable. Its result may depend on the job only. A job for which it raises, or
            whose row does not fit `features`, is skipped.
        features (`datasets.Features`): Of the rows.
        out (`str` or `Path`): Folder of the dataset.
        settings (`dict`): What the dataset was made from, for the report; a file made with others is not resumed.
        num_workers (`int`, defaults to 1):
            Processes to share the work; 1 works in this one, which a job that kills its process then ends.
        overwrite (`bool`, defaults to `False`):
            Whether to remove what is in `out`: of another dataset everything, of this one the files of this run.
        num_shards (`int`, defaults to 1), shard_index (`int`, defaults to 0):
            This run makes the files k with `k % num_shards == shard_index`.
        splits (sequence of `str`, *optional*):
            The split of each job: `train`, `validation` or `test`. Without it all are in `train`.
        facts (`dict`, *optional*): Further fields of the report.
        input_file (`Callable`, *optional*): The file that a job's shape is in.

    Returns:
        `dict`: The report on the files that are finished by now: `settings`, `shapes` (the number of jobs), `prepared`
        (a count), `splits` (the count of each split), `facts`, `skipped` and `warnings` (each a list of `id` and
        `why`), and `missing`, the names of the files that other runs have yet to make. Without missing ones,
        `prepared` and those skipped add up to `shapes`. Where files of an earlier run were left alone though an input
        of theirs was changed since, also `outdated`: by the file, that input. They are not rebuilt unasked, as the
        times of copied files say little. Of `skipped`, those in files that were left alone are also `kept_skipped`:
        this run did not try them.

    Raises:
        UserError: `out` has another dataset already, a file cannot be written, or every shape of a split was skipped.
    """
    out = Path(out)
    if not jobs:
        raise UserError(f"{out}: nothing to prepare, the inputs list no shape.")
    if not 0 <= shard_index < num_shards:
        raise UserError(f"--shard-index must be from 0 to {num_shards - 1}, below --num-shards, not {shard_index}.")
    _check_folder(out)
    parts = DatasetParts(out, jobs, settings, features, splits)
    mine = range(shard_index, parts.count, num_shards)
    if overwrite:
        (out / "report.json").unlink(missing_ok=True)
        parts.remove(mine)
    else:
        parts.refuse_others()
    finished = ((index, parts.finished(index)) for index in mine)
    kept = {index: part["skipped"] for index, part in finished if part is not None}
    todo = [index for index in mine if index not in kept]

    outcomes = map_in_order(
        partial(_prepare, prepare, features),
        (jobs[place] for index in todo for place in parts.jobs(index)),
        num_workers,
        preload=[module for module in (__name__, _module_of(prepare)) if module != "__main__"],
    )
    total, to_come = (sum(len(parts.jobs(index)) for index in indices) for indices in (mine, todo))
    with closing(outcomes), tqdm(total=total, initial=total - to_come, unit="shape", disable=None) as progress:
        for index in todo:
            its_jobs = [jobs[place] for place in parts.jobs(index)]
            _write_part(parts, index, its_jobs, outcomes, features, progress)
    report = parts.assemble(facts or {})
    if kept_skipped := list(chain.from_iterable(kept.values())):
        report["kept_skipped"] = kept_skipped
    if input_file is not None and (outdated := _outdated(parts, kept, jobs, input_file)):
        report["outdated"] = outdated
    if not report["missing"] and not report["prepared"]:
        first = report["skipped"][0]
        parts.remove(range(parts.count))
        raise UserError(
            f"{out}: every shape was skipped, so there is no dataset; report.json says why, beginning with "
            f"{first['id']}: {first['why']}",
            exit_code=1,
        )
    empty = [split for split, prepared in report["splits"].items() if not prepared]
    if not report["missing"] and empty:
        raise UserError(
            f"{out}: every shape of the split '{empty[0]}' was skipped; report.json says why. Mend them, or choose "
            "other shapes for it, and prepare again with --overwrite.",
            exit_code=1,
        )
    return report


def check_vacant(out: Path, overwrite: bool) -> None:
    """Raise a [`UserError`] if `out` is a file, or has a dataset that may not be replaced."""
    _check_folder(out)
    if not overwrite and any((out / "data").glob("*.parquet")):
        raise UserError(f"{out}: has a dataset already; choose another folder, or replace it with --overwrite.")


def write_parquet(rows: Iterable[dict[str, Any]], features: Features, file: Path) -> None:
    """Write rows, dictionaries of the columns in `features`, to one parquet file.

    Raises:
        UserError: The file cannot be written.
    """
    with atomic_file(file) as sink:
        _write_row_groups((_encode(row, features) for row in rows), features, sink)


def _outdated(
    parts: DatasetParts, kept: Iterable[int], jobs: Sequence[Job], input_file: Callable[[Job], Path]
) -> dict[str, str]:
    """Those files, of the ones that were kept, which are older than an input of theirs, and that input."""
    changed: dict[Path, int] = {}  # many jobs may have one file
    outdated = {}
    for index in kept:
        with suppress(OSError):
            made = parts.file(index).stat().st_mtime_ns
            for file in dict.fromkeys(input_file(jobs[place]) for place in parts.jobs(index)):
                if file not in changed:
                    changed[file] = file.stat().st_mtime_ns if file.exists() else 0
                if changed[file] > made:
                    outdated[str(parts.file(index))] = str(file)
                    break
    return outdated


def _write_part(
    parts: DatasetParts,
    index: int,
    jobs: Sequence[Any],
    outcomes: Iterator[_Outcome | None],
    features: Features,
    progress: tqdm,
) -> None:
    """Write the next of the outcomes, one for each of the jobs of a part, as its file and its report."""
    report: dict[str, Any] = {"fingerprint": parts.fingerprint, "settings": parts.settings, "bytes": 0}
    report |= {"prepared": [], "skipped": [], "warnings": []}

    def tables() -> Iterator[pa.Table]:
        for job in jobs:
            outcome = next(outcomes) or _Outcome(_name_of(job), None, KILLED, [])
            progress.update()
            report["warnings"] += [{"id": outcome.id, "why": warning} for warning in outcome.warnings]
            if outcome.table is None:
                report["skipped"].append({"id": outcome.id, "why": outcome.skipped})
            else:
                report["prepared"].append(outcome.id)
                yield outcome.table

    file, report_file = parts.file(index), parts.report_file(index)
    remove_partial(file)
    remove_partial(report_file)
    with atomic_file(file) as sink:
        _write_row_groups(tables(), features, sink)
        report["bytes"] = sink.tell()
        write_json(report_file, report)  # first, so that no file is ever there without its report


def _write_row_groups(tables: Iterable[pa.Table], features: Features, sink: BinaryIO) -> None:
    """Write tables of a row each; no more than a row group of them is in memory."""
    writer = dataset_writer(sink, features.arrow_schema)
    try:
        for group in row_groups(tables, ROWS_PER_GROUP):
            writer.write_table(group)
        writer.close()
    except BaseException:
        with suppress(OSError):  # on a full disk it cannot close either
            writer.close()
        raise


def _prepare(prepare: Callable[[Any], PreparedShape], features: Features, job: Any) -> _Outcome:
    """Run `prepare` on one job and encode its row, so that a row that does not fit is found where it is made."""
    shape_id = _name_of(job)
    try:
        shape = prepare(job)
        shape_id = shape.id
        table = None if shape.row is None else _encode(shape.row, features)
    except Exception as error:  # whatever a library makes of one bad file among thousands
        return _Outcome(shape_id, None, f"{type(error).__name__}: {error}", [])
    return _Outcome(shape_id, table, shape.skipped, shape.warnings)


def _encode(row: dict[str, Any], features: Features) -> pa.Table:
    """A row as a table, which fails if it does not fit the features."""
    for name, feature in features.items():
        # Which `datasets` does not look at: it would store what nothing can read back.
        if isinstance(feature, Array2D) and np.shape(row[name])[1:] != feature.shape[1:]:
            raise ValueError(f"column '{name}' has shape {np.shape(row[name])}, expected (n, {feature.shape[1]})")
    if "schema_version" in features:
        row = {"schema_version": SCHEMA_VERSION, **row}
    # What `Dataset.from_list` does, but for its fingerprint, which hashes the row and takes five times as long.
    columns = {
        name: OptimizedTypedSequence(features.encode_column([row[name]], name), type=feature, col=name)
        for name, feature in features.items()
    }
    return pa.Table.from_pydict(columns).replace_schema_metadata(features.arrow_schema.metadata)


def _name_of(job: Any) -> str:
    """What to call a job of which no shape, and so no id, is known: where its shape is."""
    name = ": ".join(map(str, job)) if isinstance(job, tuple) else str(job)
    return name if len(name) <= 200 else f"{name[:197]}..."


def _module_of(function: Callable[..., Any]) -> str:
    while isinstance(function, partial):
        function = function.func
    return function.__module__


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; expected a folder for the dataset.")
