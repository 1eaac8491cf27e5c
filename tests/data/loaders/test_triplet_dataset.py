"""What training reads: whole batches, and a choice of image and text that depends on nothing but the key."""

import logging
import pickle

import numpy as np
import pytest
import torch
from datasets import Dataset, concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.tiny_triplets import WIDTH, tiny_rows
from torch.utils.data import DataLoader

from mrd_hf.data.loaders.batch_sampler import ShuffledBatchSampler
from mrd_hf.data.loaders.choices import ChoiceConfig
from mrd_hf.data.loaders.triplet_dataset import TripletDataset
from mrd_hf.data.schema import triplet_features
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
        np.testing.assert_array_equal(batch["points"][position], row["points"])
        np.testing.assert_array_equal(batch["colors"][position], row["colors"])
        np.testing.assert_array_equal(batch["image_embeds"][position], row["image_embeds"][0].astype(np.float32))
        chosen = batch["text_embeds"][position].numpy()
        assert any(np.array_equal(chosen, text.astype(np.float32)) for text in row["text_embeds"])
    assert [batch[k].dtype for k in ("points", "colors")] == [torch.float16, torch.uint8]
    assert all(batch[k].dtype == torch.float32 for k in ("image_embeds", "text_embeds"))


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


def test_image_and_text_of_a_shape_are_drawn_apart():
    """Each with its share, and neither tells of the other."""
    row, rng = ROWS[0], np.random.default_rng(0)
    images, texts = (rng.standard_normal((4, WIDTH)).astype(np.float16) for _ in range(2))
    row = row | {"images": 4 * row["images"], "texts": [{"text": f"{i}", "source": "caption"} for i in range(4)]}
    dataset = Dataset.from_list([row | {"image_embeds": images, "text_embeds": texts}], features=FEATURES)
    batch = TripletDataset(dataset, seed=0, cached=True, name="tiny")[[(0, epoch) for epoch in range(2000)]]
    picks = np.zeros((4, 4), dtype=int)
    for image, text in zip(batch["image_embeds"].numpy(), batch["text_embeds"].numpy(), strict=True):
        picks[
            (images.astype(np.float32) == image).all(1).argmax(), (texts.astype(np.float32) == text).all(1).argmax()
        ] += 1
    assert stats.chi2_contingency(picks).pvalue > 1e-3
    for counts in (picks.sum(axis=0), picks.sum(axis=1)):
        assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(num_workers):
    def load(workers: int) -> list[dict]:
        sampler = ShuffledBatchSampler(10, 4, 5, seed=0)
        return list(DataLoader(triplets(), sampler=sampler, batch_size=None, num_workers=workers))

    for ours, expected in zip(load(num_workers), load(0), strict=True):
        assert ours["ids"] == expected["ids"]
        assert torch.equal(ours["text_embeds"], expected["text_embeds"])


def test_a_selection_of_rows_and_a_dataset_in_chunks_give_the_same_rows():
    order = [9, 3, 3, 0, 6]
    in_chunks = concatenate_datasets(
        [DATASET.select(range(4)), DATASET.select(range(4, 5)), DATASET.select(range(5, 10))]
    )
    for dataset in (DATASET.select(order), in_chunks.select(order)):
        batch = TripletDataset(dataset, seed=0, cached=True, name="tiny")[[(i, 0) for i in (4, 0, 2)]]
        assert batch["ids"] == [ROWS[order[i]]["id"] for i in (4, 0, 2)]
        np.testing.assert_array_equal(batch["points"], [ROWS[order[i]]["points"] for i in (4, 0, 2)])


def rows_of_lengths(lengths: list[tuple[int, int, int]], dtype: str = "float16") -> list[dict]:
    """Rows with so many points, images and texts each."""
    rng = np.random.default_rng(0)
    rows = []
    for number, (points, images, texts) in enumerate(lengths):
        row = {
            **ROWS[0],
            "id": str(number),
            "points": rng.standard_normal((points, 3)).astype(dtype),
            "colors": rng.integers(0, 256, (points, 3), dtype=np.uint8),
            "images": [],
            "texts": [{"text": str(t), "source": "name"} for t in range(texts)],
            "image_embeds": rng.standard_normal((images, WIDTH)).astype(np.float16),
            "text_embeds": rng.standard_normal((texts, WIDTH)).astype(np.float16),
        }
        rows.append({name: row[name] for name in FEATURES})
    return rows


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.just(5), st.integers(1, 13), st.integers(1, 6)), min_size=1, max_size=12),
    st.sampled_from(["float16", "float32"]),
    st.integers(1, 4),
)
def test_any_number_of_images_and_texts(lengths, dtype, chunk):
    rows = rows_of_lengths(lengths, dtype)
    features = triplet_features(WIDTH, points_dtype=dtype)
    parts = [Dataset.from_list(rows[i : i + chunk], features=features) for i in range(0, len(rows), chunk)]
    keys = [(i, epoch) for epoch in range(3) for i in range(len(rows))]
    batch = TripletDataset(concatenate_datasets(parts), seed=0, cached=True, name="x")[keys]
    for position, (index, _) in enumerate(keys):
        row = rows[index]
        assert batch["points"][position].numpy().dtype == dtype
        np.testing.assert_array_equal(batch["points"][position], row["points"])
        for kind in ("image_embeds", "text_embeds"):
            found = (row[kind].astype(np.float32) == batch[kind][position].numpy()).all(axis=1)
            assert found.sum() == 1


def test_clouds_of_other_sizes_are_cut_at_random_or_repeated():
    rows = rows_of_lengths([(8, 1, 1), (20, 1, 1), (3, 1, 1)])
    triplets = TripletDataset(Dataset.from_list(rows, features=FEATURES), seed=0, cached=True, name="x")
    starts = set()
    for epoch in range(60):
        batch = triplets[[(0, epoch), (1, epoch), (2, epoch)]]
        np.testing.assert_array_equal(batch["points"][0], rows[0]["points"])
        start = next(s for s in range(13) if np.array_equal(rows[1]["points"][s : s + 8], batch["points"][1]))
        np.testing.assert_array_equal(batch["colors"][1], rows[1]["colors"][start : start + 8])
        starts.add(start)
        np.testing.assert_array_equal(batch["colors"][2], rows[2]["colors"][[0, 1, 2, 0, 1, 2, 0, 1]])
    assert starts >= {0, 12}


def test_shapes_that_lack_something_are_left_out_and_listed(caplog):
    rows = rows_of_lengths([(5, 1, 1), (5, 0, 1), (5, 1, 0), (0, 1, 1), (5, 2, 2)])
    dataset = Dataset.from_list(rows, features=FEATURES)
    with caplog.at_level(logging.WARNING):
        triplets = TripletDataset(dataset, seed=0, cached=True, name="my-data")
    assert "my-data: 3 of 5 shapes have no points, image or text embeddings (1, 2, 3)" in caplog.text
    assert len(triplets) == 2
    assert triplets[[(1, 0), (0, 0)]]["ids"] == ["4", "0"]
    with pytest.raises(UserError, match="nothing to train on"):
        TripletDataset(dataset.select([1, 2]), seed=0, cached=True, name="my-data")


def test_texts_that_are_null_are_never_drawn(caplog):
    """As `mrd-hf embed-teacher` leaves them out; a shape that has no other is left out as a whole."""
    rows = [{**row, "texts": [dict(text) for text in row["texts"]]} for row in ROWS]
    rows[1]["texts"] = [{"text": None, "source": "name"}, {"text": "a chair", "source": "name"}]
    rows[2]["texts"] = [{"text": None, "source": "name"}]
    dataset = Dataset.from_list(rows, features=FEATURES)
    dataset = concatenate_datasets([dataset.select(range(2)), dataset.select(range(2, 10))])
    found = TripletDataset(dataset, seed=0, cached=False, name="tiny")
    assert len(found) == 9 and ROWS[2]["id"] in caplog.text
    drawn = found[[(index, epoch) for index in range(9) for epoch in range(20)]]
    of_second = [text for text, of in zip(drawn["texts"], drawn["ids"], strict=True) if of == ROWS[1]["id"]]
    assert set(of_second) == {"a chair"} and None not in drawn["texts"]
    # Nor is one that the recipe leaves out drawn in its place.
    rows[1]["texts"] = [*rows[1]["texts"], {"text": "a dog", "source": "caption"}]
    weighted = TripletDataset(
        Dataset.from_list(rows, features=FEATURES), seed=0, cached=False, name="tiny", choice=ChoiceConfig({"name": 1})
    )
    assert set(weighted[[(1, epoch) for epoch in range(20)]]["texts"]) == {"a chair"}
    # The others are drawn as without it.
    keys = [(0, epoch) for epoch in range(20)]
    assert found[keys]["texts"] == triplets(cached=False)[keys]["texts"]


def test_broken_rows_are_named():
    rows = rows_of_lengths([(5, 1, 1), (5, 1, 2)])
    rows[1]["texts"] = rows[1]["texts"][:1]
    dataset = TripletDataset(Dataset.from_list(rows, features=FEATURES), seed=0, cached=True, name="my-data")
    with pytest.raises(UserError, match="my-data: 1 has 1 texts, but 2 text_embeds"):
        dataset[[(1, 0)]]
    rows[0]["colors"] = rows[0]["colors"][:4]
    dataset = TripletDataset(Dataset.from_list(rows, features=FEATURES), seed=0, cached=True, name="my-data")
    with pytest.raises(UserError, match="my-data: 0 has 5 points, but 4 colors"):
        dataset[[(0, 0)]]


def test_sources_that_no_row_has_are_refused():
    for choice, message in (
        (
            ChoiceConfig({"name": 1, "captoin": 1}),
            "text_weights: no text of x has the source 'captoin'.*caption, name",
        ),
        (ChoiceConfig({}, {"objaverse": 0.5}), "first_image_probability: no shape of x .* 'objaverse'; it has test"),
    ):
        with pytest.raises(UserError, match=message):
            TripletDataset(DATASET, seed=0, cached=True, name="x", choice=choice)
    no_texts = DATASET.remove_columns("texts")
    assert TripletDataset(no_texts, seed=0, cached=True, name="x")[[(0, 0)]]["text_embeds"].shape == (1, WIDTH)
    with pytest.raises(UserError, match="no column 'texts'.*leave text_weights out"):
        TripletDataset(no_texts, seed=0, cached=True, name="x", choice=ChoiceConfig({"name": 1}))


def test_weights_decide_what_is_read():
    only_names = TripletDataset(DATASET, seed=0, cached=False, name="x", choice=ChoiceConfig({"name": 1}))
    keys = [(i, epoch) for epoch in range(5) for i in range(10)]
    assert only_names[keys]["texts"] == [ROWS[i]["name"] for i, _ in keys]
    several = Dataset.from_list(rows_of_lengths([(5, 7, 1)] * 8), features=FEATURES)
    first = TripletDataset(several, seed=0, cached=True, name="x", choice=ChoiceConfig({}, {"test": 1.0}))
    expected = [embeds[0] for embeds in several.with_format("numpy")["image_embeds"]]
    np.testing.assert_array_equal(first[[(i, 0) for i in range(8)]]["image_embeds"], np.float32(expected))


def test_a_dataset_on_disk_is_not_pickled(tmp_path):
    DATASET.to_parquet(tmp_path / "train.parquet")
    dataset = Dataset.from_parquet(str(tmp_path / "train.parquet"), cache_dir=str(tmp_path))
    triplets = TripletDataset(dataset, seed=0, cached=True, name="tiny")
    assert len(pickle.dumps(triplets)) < dataset.data.nbytes / 4
    copy = pickle.loads(pickle.dumps(triplets))
    keys = [(3, 0), (1, 0)]
    assert torch.equal(copy[keys]["points"], triplets[keys]["points"])


@pytest.mark.parametrize(
    ("column", "cached", "remedy"),
    [
        ("points", True, "mrd-hf prepare"),
        ("image_embeds", True, "embeddings with mrd-hf embed-teacher.$"),
        ("texts", False, "mrd-hf prepare"),
    ],
)
def test_a_missing_column_is_named_with_the_remedy(column, cached, remedy):
    with pytest.raises(UserError, match=f"my-data: no column '{column}'.*{remedy}"):
        TripletDataset(DATASET.remove_columns(column), seed=0, cached=cached, name="my-data")
