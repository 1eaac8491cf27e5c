"""Opening a triplet dataset, on disk or on the Hub."""

import hashlib
from pathlib import Path

import datasets
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, load_dataset
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

from ..errors import UserError


def load_triplets(name: str | Path, split: str) -> Dataset:
    """One split of a triplet dataset.

    Args:
        name (`str` or `Path`): A local folder of parquet files, or an id on the Hub.
        split (`str`)

    Raises:
        UserError: when the dataset or the split does not exist, or its files cannot be read; the message names it.
    """
    splits = load_all_splits(name)
    if split not in splits:
        raise UserError(f"{name} has no split '{split}'; it has {', '.join(splits)}.")
    return splits[split]


def load_all_splits(name: str | Path) -> DatasetDict:
    """All splits of a triplet dataset; arguments and errors as for [`load_triplets`]."""
    folder = Path(name)
    if not folder.exists() and (str(name).count("/") != 1 or str(name).startswith((".", "/", "~"))):
        raise UserError(f"no dataset at {name}: no such folder; prepare one with scripts/prepare_dataset.py.")
    try:
        return load_dataset(str(name), cache_dir=_cache_dir(folder) if folder.is_dir() else None)
    except (DatasetNotFoundError, ConnectionError) as error:
        raise UserError(f"no dataset {name}: no such folder, and not found on the Hub ({error}).") from None
    except (DatasetGenerationError, ValueError, OSError) as error:
        where = _first_broken_file(folder) or name
        raise UserError(
            f"cannot read {where}: {error.__cause__ or error}; prepare it anew with scripts/prepare_dataset.py."
        ) from None


def _first_broken_file(folder: Path) -> Path | None:
    """The first parquet file of a local dataset whose footer cannot be read."""
    for file in sorted(folder.rglob("*.parquet")):
        try:
            pq.read_metadata(file)
        except (ValueError, OSError):
            return file
    return None


def _cache_dir(folder: Path) -> str:
    """Where `datasets` keeps its copy of a local dataset: another place whenever a file of it has changed.

    The library knows a folder with a dataset card by its name and its card alone, and would go on serving the copy
    that it made before the folder was written anew, or that of another folder of the same name.
    """
    fingerprint = hashlib.sha256(str(folder.resolve()).encode())
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            status = file.stat()
            fingerprint.update(f"{file.relative_to(folder)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return str(Path(datasets.config.HF_DATASETS_CACHE) / "mrd_hf" / fingerprint.hexdigest()[:16])
