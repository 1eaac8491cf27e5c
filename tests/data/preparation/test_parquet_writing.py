"""Datasets' files decode to what was written, and only what repeats has dictionaries."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from mrd_hf.data.preparation.parquet_writing import dataset_writer
from mrd_hf.data.schema import triplet_features


FLOATING = {f"{column}.list.element.list.element" for column in ("points", "image_embeds", "text_embeds")}


def test_what_is_written_is_read_and_only_what_repeats_has_a_dictionary(tmp_path):
    rng = np.random.default_rng(0)
    features = triplet_features(embedding_dim=3)
    row = {
        **dict.fromkeys(features),
        "schema_version": 1,
        "id": "chair",
        "points": rng.standard_normal((5, 3)).astype(np.float16),
        "colors": rng.integers(0, 256, (5, 3), dtype=np.uint8),
        "images": [{"bytes": b"picture", "path": None}],
        "texts": [{"text": "a chair", "source": "name"}],
        "image_embeds": rng.standard_normal((1, 3)).astype(np.float16),
        "text_embeds": rng.standard_normal((1, 3)).astype(np.float16),
    }
    table = Dataset.from_list([row] * 3, features=features).data.table
    with dataset_writer(file := (tmp_path / "train.parquet").open("wb"), table.schema) as writer:
        writer.write_table(table)
    file.close()

    assert pq.read_table(tmp_path / "train.parquet").equals(table)
    group = pq.ParquetFile(tmp_path / "train.parquet").metadata.row_group(0)
    leaves = [group.column(number) for number in range(group.num_columns)]
    assert {leaf.path_in_schema for leaf in leaves if not leaf.has_dictionary_page} == FLOATING


def test_extension_and_struct_columns_of_any_depth_are_written(tmp_path):
    struct = pa.struct({"a": pa.list_(pa.struct({"b": pa.float32(), "c": pa.string()}))})
    table = pa.table({"column": pa.array([{"a": [{"b": 1.5, "c": "x"}]}], struct)})
    with dataset_writer(file := (tmp_path / "deep.parquet").open("wb"), table.schema) as writer:
        writer.write_table(table)
    file.close()
    group = pq.ParquetFile(tmp_path / "deep.parquet").metadata.row_group(0)
    with_dictionary = [group.column(number).has_dictionary_page for number in range(2)]
    assert pq.read_table(tmp_path / "deep.parquet").equals(table)
    assert with_dictionary == [False, True]
