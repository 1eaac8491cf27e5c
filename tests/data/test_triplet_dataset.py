"""What training reads: whole batches, and a choice of image and text that depends on nothing but the key."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy import stats
from tiny_triplets import WIDTH, tiny_rows
from torch.utils.data import DataLoader

from mrd_hf.data.batch_sampler import ShuffledBatchSampler
from mrd_hf.data.triplet_dataset import TripletDataset, uniform_draws
from mrd_hf.data.triplet_schema import triplet_features
from mrd_hf.errors import UserError


FEATURES = triplet_features(embedding_dim=WIDTH)
ROWS = [{name: row[name] for name in FEATURES} for row in tiny_rows(10)]
DATASET = Dataset.from_list(ROWS, features=FEATURES)


def triplets(cached: bool = True, seed: int = 0) -> TripletDataset:
    return TripletDataset(DATASET, seed=seed, cached=cached, name="tiny")


def test_a_batch_holds_the_rows_asked_for():
    batch = triplets()[[(7, 0), (2, 0)]]
    assert batch["ids"] == [ROWS[7]["id"], ROWS[2]["id"]]
    for position, row in enumerate((ROWS[7], ROWS[2])):
        np.testing.assert_array_equal(batch["points"][position], row["points"].astype(np.float32))
        np.testing.assert_allclose(batch["colors"][position], row["colors"] / 255, atol=1e-6)
        np.testing.assert_array_equal(batch["image_embeds"][position], row["image_embeds"][0].astype(np.float32))
        chosen = batch["text_embeds"][position].numpy()
        assert any(np.array_equal(chosen, text.astype(np.float32)) for text in row["text_embeds"])
    assert all(batch[k].dtype == torch.float32 for k in ("points", "colors", "image_embeds", "text_embeds"))


def test_uncached_gives_the_images_and_the_same_texts():
    keys = [(i, epoch) for epoch in range(3) for i in range(10)]
    cached, uncached = triplets()[keys], triplets(cached=False)[keys]
    for position, (index, _) in enumerate(keys):
        texts = [t["text"] for t in ROWS[index]["texts"]]
        chosen = texts.index(uncached["texts"][position])
        expected = ROWS[index]["text_embeds"][chosen].astype(np.float32)
        np.testing.assert_array_equal(cached["text_embeds"][position], expected)
        assert uncached["images"][position].size == (24, 24)


def test_the_choice_depends_on_seed_epoch_and_sample_alone():
    keys = [(i, 3) for i in range(10)]
    together = triplets()[keys]["text_embeds"]
    alone = torch.cat([triplets()[[key]]["text_embeds"] for key in keys])
    assert torch.equal(together, alone)
    assert not torch.equal(together, triplets(seed=1)[keys]["text_embeds"])
    assert not torch.equal(together, triplets()[[(i, 4) for i in range(10)]]["text_embeds"])


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(num_workers):
    def load(workers: int) -> list[dict]:
        sampler = ShuffledBatchSampler(10, 4, 5, seed=0)
        return list(DataLoader(triplets(), sampler=sampler, batch_size=None, num_workers=workers))

    for ours, expected in zip(load(num_workers), load(0), strict=True):
        assert ours["ids"] == expected["ids"]
        assert torch.equal(ours["text_embeds"], expected["text_embeds"])


def test_draws_are_uniform_and_uncorrelated():
    indices, epochs = np.tile(np.arange(2000), 5), np.repeat(np.arange(5), 2000)
    streams = [uniform_draws(0, stream, epochs, indices) for stream in (0, 1)]
    for draws in streams:
        assert stats.kstest(draws, "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.04
        assert abs(np.corrcoef(draws[:2000], draws[2000:4000])[0, 1]) < 0.08
    assert abs(np.corrcoef(*streams)[0, 1]) < 0.04


@pytest.mark.parametrize(
    ("column", "cached", "remedy"),
    [
        ("points", True, "prepare_dataset"),
        ("image_embeds", True, "embed_teacher.*--teacher"),
        ("texts", False, "prepare_dataset"),
    ],
)
def test_a_missing_column_is_named_with_the_remedy(column, cached, remedy):
    with pytest.raises(UserError, match=f"my-data: no column '{column}'.*{remedy}"):
        TripletDataset(DATASET.remove_columns(column), seed=0, cached=cached, name="my-data")
