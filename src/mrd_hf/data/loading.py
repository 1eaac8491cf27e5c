"""Opening a triplet dataset, on disk or on the Hub."""

import hashlib
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, load_dataset
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

from ..errors import UserError
from ..files.digests import state_of_files
from ..models.model_sources import why_not_asked
from .embedding.embedded_files import read_record
from .preparation.dataset_parts import missing_files, parquet_below, settings_of
from .preparation.dataset_writing import ROWS_PER_GROUP
from .schema import check_schema_version


LISTED = 5
# What the recipe `demo` names, a folder of the package's repository.
DEMO_DATA = "scripts/demo_data"


def load_triplets(name: str | Path, split: str) -> Dataset:
    """One split of a triplet dataset.

    Args:
        name (`str` or `Path`): A local folder of parquet files, or an id on the Hub.
        split (`str`)

    Raises:
        UserError: when the dataset or the split does not exist, some of its files are missing or cannot be read, or
            its schema is of a later version; the message names it.
    """
    return pick_split(load_all_splits(name), name, split)


def pick_split(splits: DatasetDict, name: str | Path, split: str) -> Dataset:
    """One of a dataset's splits; a [`UserError`] if it has none of that name."""
    if split not in splits:
        raise UserError(
            f"{name} has no split '{split}'; it has {', '.join(splits)}. Name one of these, or hold some of your own "
            "shapes out with mrd-hf prepare meshes --test-share."
        )
    return splits[split]


def load_all_splits(name: str | Path) -> DatasetDict:
    """All splits of a triplet dataset; arguments and errors as for [`load_triplets`]."""
    folder = Path(name)
    if not folder.exists() and (str(name).count("/") != 1 or str(name).startswith((".", "/", "~"))):
        raise UserError(f"no dataset at {name}: no such folder; prepare one with mrd-hf prepare.")
    if folder.is_dir():
        check_whole(folder)
    else:
        _check_on_hub(str(name))
    try:
        splits = load_dataset(str(name), cache_dir=_cache_dir(folder) if folder.is_dir() else None)
    except (DatasetNotFoundError, ConnectionError) as error:
        raise UserError(f"no dataset {name}: no such folder, and not found on the Hub ({error}).") from None
    except (DatasetGenerationError, ValueError, OSError) as error:
        file, reason = _first_broken_file(folder) or (name, str(error.__cause__ or error))
        raise UserError(f"cannot read {file}: {reason}; {_remedy(folder, Path(file))}.") from None
    for split, dataset in splits.items():
        check_schema_version(dataset, f"{name} ({split})")
    return splits


def _check_on_hub(name: str) -> None:
    """Raise a [`UserError`] at once for what the Hub has not, or cannot be asked for; `datasets` tries for long."""
    if name == DEMO_DATA:
        raise UserError(
            f"no dataset {name}: no such folder here. The demo's data comes with a clone of the package's repository; "
            "run in the clone's folder, or give --dataset another dataset."
        )
    not_asked = why_not_asked()
    kept = Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")
    if not_asked is not None and not kept.is_dir():
        raise UserError(
            f"no dataset {name}: no such folder, not in the cache of datasets on this machine, and {not_asked}; "
            "prepare one with mrd-hf prepare."
        )


def check_whole(folder: Path) -> None:
    """Raise a [`UserError`] if a local dataset has no files, or not all of those that their names speak of."""
    missing, count = missing_files(folder)
    if missing:
        listed = ", ".join(missing[:LISTED]) + (", ..." if len(missing) > LISTED else "")
        raise UserError(
            f"{folder}: the dataset is unfinished, {len(missing)} of its {count} files are missing ({listed}); "
            f"{_command(folder)} makes them and keeps the others."
        )
    if not parquet_below(folder):
        begun = (folder / "reports").is_dir() or (folder / "report.json").is_file()
        if not begun:  # mrd-hf prepare was never here
            raise UserError(
                f"{folder}: is no triplet dataset, as it has no parquet file; of a folder of shapes `mrd-hf prepare "
                f"meshes {folder} --output DIR` makes one in another folder, DIR."
            )
        raise UserError(f"{folder}: has no parquet file; {_command(folder)} makes them.")


def _first_broken_file(folder: Path) -> tuple[Path, str] | None:
    """The first parquet file of a local dataset that cannot be read, and why."""
    for file in parquet_below(folder):
        try:
            content = pq.ParquetFile(file)
            for group in range(content.num_row_groups):  # pyarrow cannot read large ones together
                for _ in content.iter_batches(batch_size=ROWS_PER_GROUP, row_groups=[group]):
                    pass
        except (ValueError, OSError, pa.ArrowException) as error:
            return file, str(error).strip()
    return None


def _remedy(folder: Path, broken: Path) -> str:
    if (folder / "reports" / f"{broken.stem}.json").is_file():
        return f"delete it; {_command(folder)} regenerates it and keeps the others"
    return "prepare it again with mrd-hf prepare"


def _command(folder: Path) -> str:
    """What to run to go on with a dataset that mrd-hf prepare or mrd-hf embed-teacher began."""
    embedded = next((record for file in parquet_below(folder) if (record := read_record(file))), None)
    if embedded is not None:
        teacher = embedded["settings"]["teacher"]
        command = f"`mrd-hf embed-teacher DATASET --teacher {teacher} --output {folder}`"
        return f"{command} with the arguments that it was begun with"
    settings = settings_of(folder)
    command = f"`mrd-hf prepare {settings.get('source', 'SOURCE')} ... --output {folder}`"
    told = f" (settings: {json.dumps(settings)})" if settings else ""
    return f"{command} with the arguments that it was begun with{told}"


def _cache_dir(folder: Path) -> str:
    """Where `datasets` keeps its copy of a local dataset: another place whenever a file of it has changed.

    The library knows a folder with a dataset card by its name and its card alone, and would go on serving the copy
    that it made before the folder was rewritten, or that of another folder of the same name.
    """
    fingerprint = hashlib.sha256(f"{folder.resolve()} {state_of_files(folder)}".encode()).hexdigest()
    return str(Path(datasets.config.HF_DATASETS_CACHE) / "mrd_hf" / fingerprint[:16])
