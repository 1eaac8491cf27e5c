"""Streams from parquet files: no shape twice or lost in an epoch, exact resumption, and the map-style's content."""

import logging
import multiprocessing
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from huggingface_hub.errors import HTTPError
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_triplets import WIDTH, tiny_rows
from torch.utils.data import DataLoader

from mrd_hf.data.loaders import triplet_shards
from mrd_hf.data.loaders.choices import ChoiceConfig
from mrd_hf.data.loaders.triplet_dataset import TripletDataset
from mrd_hf.data.loaders.triplet_shards import TripletShards
from mrd_hf.data.loaders.triplet_stream import TripletStream
from mrd_hf.data.loading import load_triplets
from mrd_hf.data.schema import triplet_features
from mrd_hf.errors import UserError


FEATURES = triplet_features(embedding_dim=WIDTH)


def save_shards(folder: Path, group_sizes: list[list[int]], rows: list[dict] | None = None) -> Path:
    """A dataset of files with row groups of the given sizes."""
    rows = rows or tiny_rows(sum(map(sum, group_sizes)), num_points=8)
    table = Dataset.from_list([{name: row[name] for name in FEATURES} for row in rows], features=FEATURES).data.table
    (folder / "data").mkdir(parents=True, exist_ok=True)
    start = 0
    for number, sizes in enumerate(group_sizes):
        name = f"train-{number:05d}-of-{len(group_sizes):05d}.parquet"
        with pq.ParquetWriter(folder / "data" / name, FEATURES.arrow_schema) as writer:
            for size in sizes:
                writer.write_table(table.slice(start, size))
                start += size
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """106 shapes in 3 files, one of them empty."""
    return save_shards(tmp_path_factory.mktemp("shards") / "tiny", [[13, 13, 7], [], [20, 1, 20, 32]])


@pytest.fixture(scope="module")
def shards(folder) -> TripletShards:
    return TripletShards(folder, "train", seed=0, cached=True, buffer_size=30)


def loader(shards: TripletShards, num_workers: int, batch_size: int = 5, num_batches: int = 40, **place) -> DataLoader:
    stream = TripletStream(shards, batch_size, num_batches, seed=7, **place)
    return DataLoader(stream, batch_size=None, num_workers=num_workers)


def ids(batches) -> list[list[str]]:
    return [batch["ids"] for batch in batches]


def count_process(folder: Path, rank: int, queue) -> None:
    shards = TripletShards(folder, "train", seed=0, cached=True, buffer_size=30)
    # 26 of 104 shapes to each of 2 x 2 workers, so that epochs end with a batch of 13: two of each worker.
    queue.put((rank, ids(loader(shards, 2, batch_size=13, num_batches=12, rank=rank, world_size=2))))


def test_two_processes_with_two_workers_lose_and_repeat_nothing(tmp_path):
    folder = save_shards(tmp_path / "d", [[13, 13, 5], [20, 1, 20, 32]])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=count_process, args=(folder, rank, queue)) for rank in range(2)]
    for process in processes:
        process.start()
    found = dict(queue.get(timeout=100) for _ in processes)
    for process in processes:
        process.join(timeout=100)
        assert process.exitcode == 0
    expected = {row["id"] for row in tiny_rows(104)}
    assert [len(found[rank]) for rank in range(2)] == [12, 12]
    orders = []
    for epoch in range(3):
        batches = [batch for rank in range(2) for batch in found[rank][4 * epoch : 4 * (epoch + 1)]]
        assert all(len(batch) == 13 for batch in batches)
        seen = [shape for batch in batches for shape in batch]
        assert len(seen) == len(set(seen)) == 104
        assert set(seen) == expected
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2]


def fake_shards(group_sizes: list[int]) -> TripletShards:
    """Of these row groups, with no files."""
    shards = TripletShards.__new__(TripletShards)
    shards.groups = np.array([(0, number, size) for number, size in enumerate(group_sizes)])
    return shards


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 9), st.integers(0, 3))
def test_shares_are_equal_and_make_up_the_dataset(group_sizes, readers, epoch):
    stream = TripletStream(fake_shards(group_sizes), 1, 1, seed=0)
    shares = [stream.share(epoch, reader, readers) for reader in range(readers)]
    rows = Counter((p.group, row) for share in shares for p in share for row in range(p.start, p.stop))
    assert rows == Counter((group, row) for group, size in enumerate(group_sizes) for row in range(size))
    lengths = [sum(map(len, share)) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_each_epoch_shares_the_row_groups_out_anew():
    stream = TripletStream(fake_shards([3] * 30), 1, 1, seed=0)
    first, second = ({piece.group for piece in stream.share(epoch, 0, 2)} for epoch in (0, 1))
    assert 3 < len(first & second) < 13


@pytest.mark.parametrize("num_workers", [0, 2])
def test_uneven_shares_lose_nothing_either(shards, num_workers):
    """106 shapes by 3 processes: what an epoch leaves over goes into the next epoch's first batch."""
    readers = 3 * max(1, num_workers)
    for rank in range(3):
        batches = ids(loader(shards, num_workers, rank=rank, world_size=3))
        assert len(batches) == 40
        assert all(len(batch) == 5 for batch in batches)
        for worker in range(max(1, num_workers)):
            seen = [shape for batch in batches[worker :: max(1, num_workers)] for shape in batch]
            reader = rank * max(1, num_workers) + worker
            share = 106 * (reader + 1) // readers - 106 * reader // readers
            for epoch in range(len(seen) // share):
                assert len(set(seen[epoch * share : (epoch + 1) * share])) == share


@pytest.mark.parametrize("num_workers", [0, 1, 2, 3])
@pytest.mark.parametrize("start", [1, 6, 23])
def test_resuming_goes_on_with_the_batches_that_would_have_come(shards, num_workers, start):
    whole = list(loader(shards, num_workers, rank=1, world_size=2))
    resumed = list(loader(shards, num_workers, rank=1, world_size=2, start=start))
    assert ids(resumed) == ids(whole)[start:]
    assert all(
        torch.equal(ours["text_embeds"], b["text_embeds"]) for ours, b in zip(resumed, whole[start:], strict=True)
    )


def test_batches_are_those_of_the_map_style_dataset(folder):
    choice = ChoiceConfig({"name": 2, "caption": 1}, {"test": 0.3})
    dataset = load_triplets(folder, "train")
    number = {id_: place for place, id_ in enumerate(dataset["id"])}
    for cached in (True, False):
        mapped = TripletDataset(dataset, 0, cached, "tiny", choice)
        shards = TripletShards(folder, "train", 0, cached, choice, buffer_size=30)
        assert (shards.num_points, shards.teacher) == (8, "a-teacher" if cached else shards.teacher)
        for place, batch in enumerate(loader(shards, 0, batch_size=53, num_batches=4)):
            expected = mapped[[(number[id_], place // 2) for id_ in batch["ids"]]]
            assert batch.keys() == expected.keys()
            for name, values in expected.items():
                if isinstance(values, torch.Tensor):
                    assert torch.equal(batch[name], values), name
                elif name == "images":
                    assert [i.tobytes() for i in batch[name]] == [i.tobytes() for i in values]
                else:
                    assert batch[name] == values


def test_with_shapes_that_lack_something_both_still_draw_the_same(tmp_path, caplog):
    """Of each shape that both give, the same text, although the shapes after a missing one are numbered otherwise."""
    rows = tiny_rows(40, num_points=8)
    for number in (0, 7, 20):
        rows[number]["image_embeds"] = rows[number]["image_embeds"][:0]
    folder = save_shards(tmp_path / "d", [[20, 20]], rows)
    stream = TripletStream(TripletShards(folder, "train", seed=3, cached=True, buffer_size=40), 10, 4, seed=3)
    dataset = TripletDataset(load_triplets(folder, "train"), seed=3, cached=True, name="tiny")
    whole = dataset[[(number, 0) for number in range(len(dataset))]]
    of_map = dict(zip(whole["ids"], whole["text_embeds"].numpy(), strict=True))
    seen = [pair for batch in stream for pair in zip(batch["ids"], batch["text_embeds"].numpy(), strict=True)]
    assert len(dataset) == 37 == len({shape_id for shape_id, _ in seen})
    for shape_id, embed in seen:
        np.testing.assert_array_equal(embed, of_map[shape_id])


def test_a_window_is_shuffled_by_epoch_and_shares_by_seed(tmp_path):
    """Each alone: of a single row group, and of groups whose own order is not looked at."""
    one = TripletShards(save_shards(tmp_path / "one", [[24]]), "train", seed=0, cached=True, buffer_size=30)
    orders = [
        tuple(i for batch in epoch for i in batch) for epoch in np.array(ids(loader(one, 0, 6, 8))).reshape(2, 4, 6)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) and orders[0] != orders[1]
    shards = fake_shards([5] * 12)
    shares = [TripletStream(shards, 1, 1, seed=seed).share(0, 0, 1) for seed in (0, 1)]
    assert [piece.group for piece in shares[0]] != [piece.group for piece in shares[1]]


def test_rows_are_shuffled_across_row_groups_and_by_seed(shards):
    number = {row["id"]: place for place, row in enumerate(tiny_rows(106))}
    first = ids(loader(shards, 0, batch_size=30, num_batches=1))[0]
    group_of = np.searchsorted(np.cumsum(shards.groups[:, 2]), [number[i] for i in first], side="right")
    changes = int((np.diff(group_of) != 0).sum())
    assert changes >= 3
    other = TripletStream(shards, 30, 1, seed=8)
    assert next(iter(other))["ids"] != first


def test_no_more_is_read_than_the_buffer_and_the_resumed_part_needs(shards, monkeypatch):
    read: list[int] = []
    original = TripletShards.read
    monkeypatch.setattr(TripletShards, "read", lambda self, group, *rest: read.append(group) or original(self, group))
    batches = iter(loader(shards, 0, start=19))  # of 21 in the first epoch
    next(batches)
    assert sum(shards.groups[group, 2] for group in read) <= 30 + 32


def test_shapes_that_lack_something_are_replaced_and_listed(tmp_path, caplog):
    rows = tiny_rows(12, num_points=8)
    rows[5]["image_embeds"] = np.empty((0, WIDTH), dtype=np.float16)
    folder = save_shards(tmp_path / "d", [[6, 6]], rows)
    shards = TripletShards(folder, "train", seed=0, cached=True)
    with caplog.at_level(logging.WARNING):
        seen = sum(ids(loader(shards, 0, batch_size=6, num_batches=2)), [])
    assert set(seen) == {row["id"] for row in rows} - {rows[5]["id"]}
    assert f"1 shapes have no points, image or text ({rows[5]['id']})" in caplog.text


def test_a_whole_window_that_lacks_something_ends_no_training(tmp_path, caplog):
    """A row that remains at the end of a share, or a file that was embedded badly; whoever resumes goes on there."""
    rows = tiny_rows(19, num_points=8)
    bad = {3, *range(6, 12), 18}
    for number in bad:
        rows[number]["image_embeds"] = np.empty((0, WIDTH), dtype=np.float16)
    shards = TripletShards(save_shards(tmp_path / "d", [[6, 6], [6, 1]], rows), "train", 0, True, buffer_size=6)
    batches = ids(loader(shards, 0, batch_size=5, num_batches=38))
    numbers = [int(name.rpartition("-")[2]) for name in sum(batches, [])]
    for epoch in range(10):
        assert set(numbers[19 * epoch : 19 * (epoch + 1)]) == set(range(19)) - bad
    assert f"1 shapes have no points, image or text ({rows[18]['id']})" in caplog.text  # it was a window of its own
    assert "6 shapes have no points, image or text" in caplog.text
    for start in range(38):
        assert ids(loader(shards, 0, batch_size=5, num_batches=38, start=start)) == batches[start:]


def test_a_source_that_may_be_a_typo_is_warned_of(folder, caplog):
    TripletShards(folder, "train", 0, True, ChoiceConfig({"name": 1, "captoin": 1}, {"objavers": 0.5}))
    assert "the source 'captoin' has a weight, but none of the first shapes has it" in caplog.text
    assert "the source 'objavers'" in caplog.text
    assert "'name'" not in caplog.text


def test_too_many_readers_are_refused(shards):
    with pytest.raises(UserError, match="106 shapes, .* each of 6 readers .* smaller than a batch of 20; lower"):
        next(iter(TripletStream(shards, 20, 3, seed=0, world_size=6)))


def test_a_hub_that_is_away_is_one_line(folder, monkeypatch):
    """While a file's end is read, and while a row group is; HTTPError is no OSError."""

    def away(address):
        raise HTTPError("connection refused")

    shards = TripletShards(folder, "train", seed=0, cached=True)
    monkeypatch.setattr(triplet_shards, "open_file", away)
    for reads in (lambda: shards.read(0), lambda: TripletShards(folder, "train", seed=0, cached=True)):
        with pytest.raises(UserError, match="cannot read .*parquet on the Hub: connection refused; check") as error:
            reads()
        assert error.value.exit_code == 1


def test_mistakes_name_the_file(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        TripletShards(tmp_path / "none", "train", 0, cached=True)
    folder = save_shards(tmp_path / "d", [[4], [4]])
    with pytest.raises(UserError, match="has no split 'test'; it has train"):
        TripletShards(folder, "test", 0, cached=True)
    second = sorted((folder / "data").glob("*.parquet"))[1]
    table = pq.read_table(second)
    pq.write_table(table.drop_columns("colors"), second)
    with pytest.raises(UserError, match=f"{second.name}: column 'colors' is missing"):
        TripletShards(folder, "train", 0, cached=True)
    newer = pa.array([9] * 4, pa.int8())
    pq.write_table(table.set_column(table.schema.get_field_index("schema_version"), "schema_version", newer), second)
    with pytest.raises(UserError, match=f"{second.name}: column 'schema_version' says 9"):
        TripletShards(folder, "train", 0, cached=True)
    second.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UserError, match=f"cannot read .*{second.name}"):
        TripletShards(folder, "train", 0, cached=True)
    first = sorted((folder / "data").glob("*.parquet"))[0]
    second.unlink()
    with pytest.raises(UserError, match="unfinished, 1 of its 2 files are missing"):
        TripletShards(folder, "train", 0, cached=True)
    first = first.rename(first.with_name("train.parquet"))
    shards = TripletShards(folder, "train", 0, cached=True)
    content = first.read_bytes()
    first.write_bytes(content[:100] + b"\0" * 4000 + content[4100:])
    with pytest.raises(UserError, match=f"cannot read .*{first.name}, row group 0"):
        next(iter(TripletStream(shards, 4, 1, seed=0)))


def test_files_on_the_hub_are_opened_there(folder, monkeypatch):
    """With the Hub's file system, which here looks into a folder."""

    class LocalHub:
        def open(self, address: str):
            assert address.startswith("hf://datasets/org/tiny@0/")
            return (folder / address.removeprefix("hf://datasets/org/tiny@0/")).open("rb")

    files = [f"hf://datasets/org/tiny@0/data/{p.name}" for p in sorted((folder / "data").glob("*.parquet"))]
    monkeypatch.setattr(triplet_shards, "HfFileSystem", LocalHub)
    monkeypatch.setattr(triplet_shards, "parquet_files", lambda name, split: files)
    remote = TripletShards("org/tiny", "train", seed=0, cached=True, buffer_size=30)
    assert len(sum(ids(loader(remote, 0, batch_size=53, num_batches=2)), [])) == 106
