"""A triplet dataset that stays in its parquet files, on disk or on the Hub: what is in them, and reading a part."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, load_dataset_builder
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub import HfFileSystem
from huggingface_hub.errors import HTTPError

from ...errors import UserError
from ..embedding.cached_teacher import Origins, origins_in_file, the_teacher
from ..loading import check_whole
from ..schema import SCHEMA_VERSION, embedding_dim
from .choices import ChoiceConfig
from .triplet_dataset import OPENSHAPES_CHOICE, text_sources
from .triplet_rows import TripletRows, columns_to_read


# Footers to fetch at a time: from the Hub each takes a while, and there may be a thousand.
FOOTERS_AT_ONCE = 16

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Footer:
    """What a parquet file says of itself."""

    schema: pa.Schema
    rows: list[int]  # of each row group
    schema_version: int | None
    origins: Origins


class TripletShards:
    """The parquet files of one split, for [`~mrd_hf.data.loaders.triplet_stream.TripletStream`] to read.

    Args:
        name (`str` or `Path`): A local folder of parquet files, or an id on the Hub.
        split (`str`)
        seed (`int`): Of the choice of images and texts.
        cached (`bool`): Whether to read cached embeddings, or the images and texts for a teacher to embed.
        choice ([`ChoiceConfig`], *optional*): Probabilities of a shape's images and texts; by default OpenShape's.
        buffer_size (`int`, defaults to 1024):
            Shapes that each worker has in memory and shuffles, rounded up to whole row groups. 1,024 of OpenShape's
            take half a gigabyte.

    The only reading at first is of the files' ends, which say how many rows they have, and of the first rows. Numbers
    of rows, and so the draws for a shape, are those of the same dataset loaded as a map-style one.

    Raises:
        UserError: when the dataset or the split does not exist, a file cannot be read, or a column is missing.
    """

    def __init__(
        self,
        name: str | Path,
        split: str,
        seed: int,
        cached: bool,
        choice: ChoiceConfig = OPENSHAPES_CHOICE,
        buffer_size: int = 1024,
    ) -> None:
        self.name = str(name)
        self.seed = seed
        self.cached = cached
        self.choice = choice
        self.buffer_size = buffer_size
        self.files = parquet_files(name, split)
        with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
            footers = list(pool.map(_footer, self.files))
        self.schema = footers[0].schema
        self.features = Features.from_arrow_schema(self.schema)
        self.columns = columns_to_read(self.features, cached, choice, self.name)
        self.embedding_dim = embedding_dim(self.features) if cached else 0
        for file, footer in zip(self.files, footers, strict=True):
            self._check_footer(file, footer)
        self.teacher = the_teacher((footer.origins for footer in footers), self.name) if cached else None
        # Each row group: its file, its place there, and its rows.
        groups = [(f, g, rows) for f, footer in enumerate(footers) for g, rows in enumerate(footer.rows) if rows]
        if not groups:
            raise UserError(f"{self.name}: split '{split}' has no shapes; prepare it again with mrd-hf prepare.")
        self.groups = np.array(groups, dtype=np.int64)
        self.first_rows = np.cumsum(self.groups[:, 2]) - self.groups[:, 2]
        self._read_first_group()

    def __len__(self) -> int:
        return int(self.groups[:, 2].sum())

    def _check_footer(self, file: str, footer: _Footer) -> None:
        for column in self.columns:
            expected = self.schema.field(column).type
            found = footer.schema.field(column).type if column in footer.schema.names else "missing"
            if found != expected:
                message = f"{file}: column '{column}' is {found}, in {self.files[0]} {expected}"
                raise UserError(f"{message}; prepare it again.")
        if footer.schema_version is not None and footer.schema_version > SCHEMA_VERSION:
            raise UserError(
                f"{file}: column 'schema_version' says {footer.schema_version}, and this mrd-hf reads up to "
                f"{SCHEMA_VERSION}; upgrade it with pip install --upgrade mrd-hf."
            )

    def _read_first_group(self) -> None:
        """Learn from the first row group what a file's end does not say."""
        extra = [c for c in ("source",) if c in self.features and c not in self.columns]
        table = self.read(0, [*self.columns, *extra])
        rows = self.rows(table)
        usable = np.flatnonzero(rows.usable())
        if not len(usable):
            raise UserError(f"{self.name}: none of its first {len(table)} shapes has points, an image and a text.")
        self.num_points = len(rows.points[int(usable[0])])
        # Only the first shapes are known, so these may be mistakes or not.
        unknown = self.choice.unknown_text_sources(text_sources(table)) if self.choice.text_weights else []
        if self.choice.first_image_probability:
            unknown += self.choice.unknown_shape_sources(table.column("source").to_pylist())
        for source in unknown:
            logger.warning(f"{self.name}: the source '{source}' has a weight, but none of the first shapes has it.")

    def read(self, group: int, columns: list[str] | None = None) -> pa.Table:
        """The table of a row group, in memory.

        Raises:
            UserError: when it cannot be read; the message names the file.
        """
        file, place, _ = self.groups[group].tolist()
        try:
            with open_file(self.files[file]) as source:
                return pq.ParquetFile(source).read_row_group(place, columns=columns or self.columns, use_threads=False)
        except HTTPError as error:
            raise _unreachable(self.files[file], error) from None
        except (ValueError, OSError) as error:
            raise UserError(f"cannot read {self.files[file]}, row group {place}: {error}.", exit_code=1) from None

    def rows(self, table: pa.Table) -> TripletRows:
        return TripletRows(table, self.embedding_dim, self.cached, self.choice, self.seed, self.name)


def parquet_files(name: str | Path, split: str) -> list[str]:
    """Paths, or addresses on the Hub, of a split's parquet files, in their order.

    Raises:
        UserError: when the dataset or the split does not exist, is unfinished, or has other files than parquet.
    """
    if not Path(name).exists() and str(name).count("/") != 1:
        raise UserError(f"no dataset at {name}: no such folder; prepare one with mrd-hf prepare.")
    if Path(name).is_dir():
        check_whole(Path(name))
    try:
        splits = load_dataset_builder(str(name)).config.data_files or {}
    except (DatasetNotFoundError, ConnectionError) as error:
        raise UserError(f"no dataset {name}: no such folder, and not found on the Hub ({error}).") from None
    except (ValueError, OSError) as error:
        raise UserError(f"cannot open the dataset {name}: {error}.") from None
    if split not in splits:
        raise UserError(f"{name} has no split '{split}'; it has {', '.join(map(str, splits))}.")
    files = [str(file) for file in splits[split]]
    if other := [file for file in files if not file.endswith(".parquet")]:
        raise UserError(f"{other[0]}: is no parquet file, and only those can be streamed; leave out --streaming.")
    return files


def open_file(address: str) -> BinaryIO:
    """Open a file on disk, or on the Hub (`hf://...`)."""
    return cast(BinaryIO, HfFileSystem().open(address)) if address.startswith("hf://") else open(address, "rb")


def _unreachable(file: str, error: Exception) -> UserError:
    """What is said of a file on the Hub that is not answered for, or whose connection breaks."""
    reason = str(error).strip() or type(error).__name__
    return UserError(f"cannot read {file} on the Hub: {reason}; check the connection, and run again.", exit_code=1)


def _footer(file: str) -> _Footer:
    try:
        with open_file(file) as source:
            parquet = pq.ParquetFile(source)
            schema, metadata = parquet.schema_arrow, parquet.metadata
            origins = origins_in_file(parquet)
    except HTTPError as error:
        raise _unreachable(file, error) from None
    except (ValueError, OSError) as error:
        raise UserError(f"cannot read {file}: {error}; prepare it again with mrd-hf prepare.") from None
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    versions = [
        group.column(number).statistics.max
        for group in groups
        for number in range(group.num_columns)
        if group.column(number).path_in_schema == "schema_version" and group.column(number).statistics is not None
    ]
    return _Footer(schema, [group.num_rows for group in groups], max(versions, default=None), origins)
