"""Keep what an ablation's finished runs found, shape by shape, in one small file.

    mrd-hf ablate --config arms -o outputs/arms
    python scripts/evidence/kept_outcomes.py outputs/arms model_cards/evidence/arms.parquet

The folder of an ablation is hours of work and takes gigabytes; from this file its tables can be computed again, and
other figures than ours. It has a row for each shape of each run, of validation names or, with --test, of test
names, which go into a file of their own. `arm`, `split`, `seed` and `processor` name the run;
the latter is the vector instructions of the CPU that trained it, since rounding differs, or the kind of device, such
as `cuda`. Where a run on a CPU does not say, it is the vector instructions of the machine where this is called.
`fingerprint` is of its settings and data, `code` of the package's files at its last stage; `seconds` is what its
stages took that were not interrupted; `id` names the shape; and each score of the report that is a mean over shapes is
a column, empty where the shape does not count. Runs that the file has and the folder has not stay, so an ablation can
be in parts.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mrd_hf.errors import UserError
from mrd_hf.evaluation.ablation.arm_scores import Place, RunOutcomes, read_outcomes
from mrd_hf.files.atomic_file import atomic_file
from mrd_hf.training.ablation.planning import TEST, VALIDATION
from mrd_hf.training.ablation.status import STATUS_FILE, read_status
from mrd_hf_cli.running import run_script


RUN = ("arm", "split", "seed", "processor")
ABOUT = (*RUN, "fingerprint", "code", "seconds", "id")
Run = tuple[str, int, int, str]
# By processor and arm.
Results = dict[str, dict[str, dict[Place, RunOutcomes]]]


def keep(folder: Path, file: Path, scored: str = VALIDATION) -> int:
    """Write the outcomes of a folder's finished runs into a file, beside those that it has of others.

    Args:
        folder (`Path`): Of an ablation.
        file (`Path`): Parquet.
        scored (`str`, defaults to `validation`): Of which names the outcomes are.

    Returns:
        `int`: How many runs the file has.

    Raises:
        UserError: It has one of the runs with other settings, or outcomes of other names.
    """
    # Of runs on the CPU that do not say it: those of earlier versions.
    processor = torch.backends.cpu.get_cpu_capability()
    new = {
        _run_of(table): table for table in (_run_table(run, scored, processor) for run in _finished(folder, scored))
    }
    before = pq.read_table(file) if file.is_file() else None
    names = (
        VALIDATION if before is None else (before.schema.metadata or {}).get(b"scored", VALIDATION.encode()).decode()
    )
    if before is not None and names != scored:
        raise UserError(f"{file}: has outcomes of {names} names, and these are of {scored} names; name another file.")
    kept = {} if before is None else {_run_of(table): table for table in _by_run(before)}
    for run in new.keys() & kept.keys():
        if _fingerprint(new[run]) != _fingerprint(kept[run]):
            raise UserError(
                f"{file}: has {run[0]}, split {run[1]}, seed {run[2]} of other settings; name another file."
            )
    tables = [table for _, table in sorted((kept | new).items())]
    if tables:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as sink:
            joined = pa.concat_tables(tables, promote_options="default").replace_schema_metadata({"scored": scored})
            pq.write_table(joined, sink, compression="zstd")
    return len(tables)


def read_kept(file: Path) -> Results:
    """Of each processor and arm, by split and seed, what its runs found; for [`arm_scores`]."""
    results: Results = {}
    for table in _by_run(pq.read_table(file)):
        arm, split, seed, processor = _run_of(table)
        fields = [field for field in table.schema if field.name not in ABOUT]
        columns = {f.name: table[f.name].to_numpy().astype(np.float64) for f in fields if not _is_empty(table, f.name)}
        titles = {field.name: field.metadata[b"title"].decode() for field in fields if field.name in columns}
        values = {key: float(np.nanmean(of_shapes)) for key, of_shapes in columns.items()}
        found = RunOutcomes(tuple(table["id"].to_pylist()), values, columns, titles)
        results.setdefault(processor, {}).setdefault(arm, {})[split, seed] = found
    return results


def _is_empty(table: pa.Table, key: str) -> bool:
    """Of a score that this run's report does not have."""
    return table[key].null_count == len(table)


def _finished(folder: Path, scored: str) -> Iterator[Path]:
    for file in sorted((folder / "runs").glob(f"*/split-*/seed-*/{STATUS_FILE}")):
        status = read_status(file.parent)
        if status is not None and scored in status.seconds:
            yield file.parent


def _run_table(folder: Path, scored: str, processor: str) -> pa.Table:
    status, outcomes = read_status(folder), read_outcomes(folder / scored)
    assert status is not None
    arm, split, seed = folder.parts[-3], *(int(part.rpartition("-")[2]) for part in folder.parts[-2:])
    seconds = sum(value or 0.0 for value in status.seconds.values())
    processor = status.cpu or (processor if status.device == "cpu" else status.device)
    same = {"arm": arm, "split": split, "seed": seed, "processor": processor, "fingerprint": status.fingerprint}
    same |= {"code": status.code, "seconds": seconds}
    types = {"split": pa.int32(), "seed": pa.int32(), "seconds": pa.float32()}
    count = len(outcomes.ids)
    columns = [pa.array([value] * count, types.get(name, pa.string())) for name, value in same.items()]
    columns.append(pa.array(outcomes.ids))
    fields = [pa.field(name, of.type) for name, of in zip(ABOUT, columns, strict=True)]
    for key, of_shapes in outcomes.outcomes.items():
        columns.append(pa.array(of_shapes.astype(np.float32), from_pandas=True))
        fields.append(pa.field(key, pa.float32(), metadata={"title": outcomes.titles[key]}))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _by_run(table: pa.Table) -> Iterator[pa.Table]:
    """The rows of a run are one after another."""
    runs = [tuple(row.values()) for row in table.select(RUN).to_pylist()]
    begins = [row for row in range(len(runs)) if row == 0 or runs[row] != runs[row - 1]]
    for begin, end in zip(begins, [*begins[1:], len(runs)], strict=True):
        yield table.slice(begin, end - begin)


def _run_of(table: pa.Table) -> Run:
    return tuple(table[name][0].as_py() for name in RUN)


def _fingerprint(table: pa.Table) -> str:
    return table["fingerprint"][0].as_py()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the ablation")
    parser.add_argument("file", type=Path, help="the file, which may have runs already")
    parser.add_argument("--test", action="store_true", help="outcomes of the test names, not of the validation names")
    arguments = parser.parse_args()
    count = keep(arguments.folder, arguments.file, TEST if arguments.test else VALIDATION)
    print(f"{arguments.file}: {count} runs")


if __name__ == "__main__":
    run_script(main)
