"""Opening datasets: what is on the disk is what is read, and what is wrong with it is said."""

import pytest
from tiny_triplets import save_tiny_triplets

from mrd_hf.data.loading import load_triplets
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


def test_a_folder_written_anew_is_read_anew(tmp_path):
    """Also with a card, by which alone `datasets` would know it; and so is another folder of the same name."""
    for parent, count in (("a", 5), ("b", 7), ("a", 9)):
        folder = save_tiny_triplets(tmp_path / parent / "tiny", train=count, test=3)
        (folder / "README.md").write_text(CARD)
        assert len(load_triplets(folder, "train")) == count


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
    with pytest.raises(UserError, match=f"cannot read {shard}: .*prepare it anew"):
        load_triplets(str(folder), "train")
