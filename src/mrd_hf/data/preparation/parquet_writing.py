"""How a dataset's parquet files are encoded: small on disk, and quick to decode."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq


# Of a row group that is not a single row. What pyarrow reads back of a column of structs, as of meshes, is less than
# 2 GiB a row group; and what a reader must decode to get at one row stays small.
BYTES_PER_GROUP = 2**28


def dataset_writer(sink: BinaryIO, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of parquet files for triplets.

    Numbers of floating point get no dictionary: hardly two are equal, and looking them up takes three times as long
    as reading them. Compression is stronger than the snappy of `Dataset.to_parquet`, which is half as tight on point
    clouds' colours.

    Args:
        sink (`BinaryIO`): Open for writing.
        schema (`pa.Schema`): Of the tables to be written.
    """
    repeating = [path for field in schema for path, leaf in _leaves(field) if not pa.types.is_floating(leaf)]
    return pq.ParquetWriter(sink, schema, compression="zstd", compression_level=9, use_dictionary=repeating)


def row_groups(rows: Iterable[pa.Table], num_rows: int) -> Iterator[pa.Table]:
    """The tables of row groups: so many rows each, and fewer where they are large.

    Args:
        rows (iterable of `pyarrow.Table`): Of a row each. No more than a row group of them is in memory.
        num_rows (`int`)
    """
    group: list[pa.Table] = []
    size = 0
    for row in rows:
        if group and size + row.nbytes > BYTES_PER_GROUP:
            yield pa.concat_tables(group)
            group, size = [], 0
        group.append(row)
        size += row.nbytes
        if len(group) == num_rows:
            yield pa.concat_tables(group)
            group, size = [], 0
    if group:
        yield pa.concat_tables(group)


def _leaves(field: pa.Field) -> Iterator[tuple[str, pa.DataType]]:
    """What parquet stores of a column as columns of its own: their paths and types."""
    type_ = field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
    if pa.types.is_list(type_):
        path, children = f"{field.name}.list.", [type_.value_field.with_name("element")]
    elif pa.types.is_struct(type_):
        path, children = f"{field.name}.", [type_.field(index) for index in range(type_.num_fields)]
    else:
        yield field.name, type_
        return
    for child in children:
        for below, leaf in _leaves(child):
            yield path + below, leaf
