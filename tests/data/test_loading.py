"""Opening datasets: what is on the disk is what is read, and what is wrong with it is said."""

import json
import shutil
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from datasets.exceptions import DatasetGenerationError
from support.dead_hubs import SOON, closed_port, move_the_hub
from support.tiny_triplets import save_tiny_triplets

from mrd_hf.data import loading
from mrd_hf.data.loading import load_triplets
from mrd_hf.data.schema import EMBEDDING_COLUMNS, SHAPE_COLUMNS, check_columns
from mrd_hf.errors import UserError


CARD = """---
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train-*.parquet}
  - {split: test, path: data/test-*.parquet}
---
"""


def test_loads_a_split_of_a_folder(tmp_path):
    folder = save_tiny_triplets(tmp_path / "tiny", train=5, test=3)
    assert len(load_triplets(str(folder), "train")) == 5
    assert len(load_triplets(str(folder), "test")) == 3


def test_a_folder_that_was_rewritten_is_read_again(tmp_path):
    """Also with a card, by which alone `datasets` would know it; and so is another folder of the same name."""
    for parent, count in (("a", 5), ("b", 7), ("a", 9)):
        folder = save_tiny_triplets(tmp_path / parent / "tiny", train=count, test=3)
        (folder / "README.md").write_text(CARD)
        assert len(load_triplets(folder, "train")) == count


def test_a_folder_whose_data_is_a_link_is_read_and_read_again(tmp_path):
    save_tiny_triplets(tmp_path / "elsewhere", train=2, test=3)
    folder = tmp_path / "linked"
    folder.mkdir()
    (folder / "data").symlink_to(tmp_path / "elsewhere" / "data", target_is_directory=True)
    assert len(load_triplets(folder, "train")) == 2
    save_tiny_triplets(tmp_path / "elsewhere", train=3, test=3)
    assert len(load_triplets(folder, "train")) == 3


def test_an_unknown_split_is_named(tmp_path):
    folder = save_tiny_triplets(tmp_path / "tiny", train=5, test=3)
    with pytest.raises(UserError, match="has no split 'validation'; it has train, test"):
        load_triplets(str(folder), "validation")


def test_a_missing_folder_is_named():
    with pytest.raises(UserError, match="no dataset at ./nowhere: no such folder"):
        load_triplets("./nowhere", "train")


def test_a_file_cut_off_is_named(tmp_path):
    folder = save_tiny_triplets(tmp_path / "tiny", train=5, test=3)
    shard = folder / "data" / "train-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(UserError, match=f"cannot read {shard}: .*prepare it again"):
        load_triplets(str(folder), "train")


def test_a_file_damaged_inside_is_named_and_how_to_regenerate_it(tmp_path):
    """Its footer is whole, so that only reading it all tells."""
    folder = save_tiny_triplets(tmp_path / "tiny", train=5, test=3)
    shard = folder / "data" / "train-00000-of-00001.parquet"
    content = shard.read_bytes()
    shard.write_bytes(content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :])
    (folder / "reports").mkdir()
    report = {"settings": {"source": "sweethome3d", "seed": 3}}
    (folder / "reports" / "train-00000-of-00001.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match=f"(?s)cannot read {shard}: .*; delete it; .* sweethome3d .*: 3.* regenerates"):
        load_triplets(str(folder), "train")


def test_a_file_with_more_in_a_row_group_than_pyarrow_reads_is_named(tmp_path, monkeypatch):
    folder = save_tiny_triplets(tmp_path / "tiny", train=5, test=3)

    def refused(*_, **__):  # as it does with 2 GiB of meshes
        raise pa.ArrowNotImplementedError("Nested data conversions not implemented for chunked array outputs")

    def generation_failed(*_, **__):
        raise DatasetGenerationError("An error occurred while generating the dataset")

    monkeypatch.setattr(loading, "load_dataset", generation_failed)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", refused)
    with pytest.raises(UserError, match=r"cannot read .*\.parquet: Nested data.*prepare it again"):
        load_triplets(str(folder), "train")


@pytest.mark.parametrize("name", ["train-00001-of-00003.parquet", "train-00002-of-00003.parquet"])
def test_a_gap_among_the_files_is_named(tmp_path, name):
    """Also where no report tells what they were made of."""
    folder = save_tiny_triplets(tmp_path / "tiny", train=5, test=3)
    data = folder / "data"
    for index in range(3):
        shutil.copy(data / "train-00000-of-00001.parquet", data / f"train-0000{index}-of-00003.parquet")
    (data / "train-00000-of-00001.parquet").unlink()
    assert len(load_triplets(folder, "train")) == 15
    (data / name).unlink()
    with pytest.raises(UserError, match=rf"unfinished, 1 of its 4 files are missing \(data/{name}\).*mrd-hf prepare"):
        load_triplets(folder, "test")


def test_a_folder_without_parquet_files_is_no_dataset(tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "train-00000-of-00002.json").write_text(json.dumps({"settings": {}}))
    with pytest.raises(UserError, match="has no parquet file; .*mrd-hf prepare SOURCE"):
        load_triplets(tmp_path, "train")


def test_a_folder_of_shapes_is_not_taken_for_a_dataset_that_was_begun(tmp_path):
    """Else the remedy would be to write a dataset among them."""
    (tmp_path / "chair.glb").write_text("")
    with pytest.raises(UserError, match="is no triplet dataset, .*prepare meshes .* --output DIR` makes one in anoth"):
        load_triplets(tmp_path, "train")


def test_the_demos_data_and_ids_without_a_hub_end_at_once(tmp_path, monkeypatch):
    """Outside a clone: `datasets` would ask the Hub for it, again and again."""
    monkeypatch.chdir(tmp_path)
    with closed_port() as address:
        move_the_hub(monkeypatch, tmp_path, address)
        started = time.perf_counter()
        with pytest.raises(UserError, match="comes with a clone of the package's repository; run in the clone's fold"):
            load_triplets("scripts/demo_data", "train")
        with pytest.raises(UserError, match=f"no dataset some/where: no such folder, .*{address} did not answer"):
            load_triplets("some/where", "train")
        assert time.perf_counter() - started < SOON


def test_a_later_schema_is_refused(tmp_path):
    rows = Dataset.from_list([{"schema_version": 1}, {"schema_version": 9}])
    rows.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    with pytest.raises(UserError, match="column 'schema_version' says 9"):
        load_triplets(tmp_path, "train")


def test_a_dataset_from_before_the_version_still_loads(tmp_path):
    without = ("schema_version", "teacher_revision", "image_backend")
    folder = save_tiny_triplets(tmp_path / "tiny", train=5, test=3, without=without)
    check_columns(load_triplets(folder, "train").features, [*SHAPE_COLUMNS, *EMBEDDING_COLUMNS], "tiny")
