"""What an index knows of its shapes: a parquet file, of which only the rows that were found are read."""

import threading
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from ..errors import UserError


# Ten hits may lie in ten groups: small ones are quick to read, but many make a file slow to open.
ROWS_PER_GROUP = 256


def write_items(path: Path, items: Dataset | Sequence[dict[str, Any]]) -> None:
    """Write one row a shape.

    Args:
        path (`Path`): The file to write.
        items (`datasets.Dataset` or sequence of `dict`): Each with at least an `id`; what one lacks is null.

    Raises:
        UserError: They have no `id`, or a column holds values of several types, or such as parquet has not.
    """
    if isinstance(items, Dataset):
        columns = items.column_names
    else:
        columns = list(dict.fromkeys(column for item in items for column in item))
    if "id" not in columns:
        raise UserError(f"the items of an index need a column 'id'; they have {', '.join(columns) or 'none'}.")
    try:
        if isinstance(items, Dataset):
            with pq.ParquetWriter(path, items.features.arrow_schema, compression="zstd") as writer:
                for table in items.with_format("arrow").iter(ROWS_PER_GROUP):
                    writer.write_table(table)
        else:
            table = pa.table({column: pa.array([item.get(column) for item in items]) for column in columns})
            pq.write_table(table, path, compression="zstd", row_group_size=ROWS_PER_GROUP)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise UserError(f"the items of an index need columns of one type each, which parquet has: {error}.") from None


class ItemTable:
    """The rows of a parquet file, read when they are asked for, by several threads too.

    Args:
        path (`Path`): Of a file that [`write_items`] wrote.

    Raises:
        UserError: It is no parquet file, or has no ids.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(path, memory_map=True)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"cannot read {path}: {error}; rebuild the index.") from None
        if "id" not in self._file.schema_arrow.names:
            raise UserError(f"{path}: has no column 'id'; rebuild the index.")
        self._path = path
        self._reading = threading.Lock()  # a `ParquetFile` that two threads read from ends the process
        self._starts = [0]
        for group in range(self._file.num_row_groups):
            self._starts.append(self._starts[-1] + self._file.metadata.row_group(group).num_rows)

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """The items of these rows, in their order.

        Raises:
            UserError: The file is damaged.
        """
        groups = {row: bisect_right(self._starts, row) - 1 for row in rows}
        try:
            with self._reading:
                tables = {group: self._file.read_row_group(group) for group in sorted(set(groups.values()))}
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"cannot read {self._path}: {error}; rebuild the index.") from None
        return [tables[groups[row]].slice(row - self._starts[groups[row]], 1).to_pylist()[0] for row in rows]
