"""Opening a triplet dataset, on disk or on the Hub."""

from pathlib import Path

from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetNotFoundError

from ..errors import UserError


def load_triplets(name: str, split: str) -> Dataset:
    """One split of a triplet dataset.

    Args:
        name (`str`): A local folder of parquet files, or an id on the Hub.
        split (`str`)

    Raises:
        UserError: when the dataset or the split does not exist, or its files cannot be read; the message names it.
    """
    if not Path(name).exists() and (name.count("/") != 1 or name.startswith((".", "/", "~"))):
        raise UserError(f"no dataset at {name}: no such folder; prepare one with scripts/prepare_dataset.py.")
    try:
        return load_dataset(name, split=split)
    except (DatasetNotFoundError, ConnectionError) as error:
        raise UserError(f"no dataset {name}: no such folder, and not found on the Hub ({error}).") from None
    except ValueError as error:  # an unknown split among others; the library's message names what there is
        raise UserError(f"cannot open split '{split}' of {name}: {error}") from None
