"""Neighbours as a brute-force search finds them, and batches that processes and resumed runs agree on."""

import sys

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from support.tiny_triplets import WIDTH, tiny_rows

from mrd_hf.data.loaders import hard_negatives
from mrd_hf.data.loaders.hard_negatives import (
    HardNegativeBatchSampler,
    load_neighbors,
    most_similar_rows,
    save_neighbors,
    text_vectors,
)
from mrd_hf.data.loaders.triplet_dataset import TripletDataset
from mrd_hf.data.schema import triplet_features
from mrd_hf.errors import UserError


def unit_vectors(count: int, width: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute_force(vectors: np.ndarray, count: int) -> np.ndarray:
    found = []
    for number, vector in enumerate(vectors):
        similarities = vectors.astype(np.float64) @ vector.astype(np.float64)
        similarities[number] = -np.inf
        found.append(np.argsort(-similarities)[:count])
    return np.array(found)


@pytest.mark.parametrize("library", ["faiss", "torch"])
@pytest.mark.parametrize(("count", "num_neighbors"), [(200, 31), (5, 4), (2, 1)])
def test_neighbors_are_those_of_a_brute_force_search(library, count, num_neighbors, monkeypatch):
    if library == "faiss":
        pytest.importorskip("faiss")
    else:
        monkeypatch.setitem(sys.modules, "faiss", None)
        monkeypatch.setattr(hard_negatives, "SIMILARITIES_AT_ONCE", 7 * count)  # so that it goes in parts
    vectors = unit_vectors(count)
    np.testing.assert_array_equal(most_similar_rows(vectors, num_neighbors), brute_force(vectors, num_neighbors))


@pytest.mark.parametrize("library", ["faiss", "torch"])
def test_equal_vectors_are_neighbors_but_never_of_themselves(library, monkeypatch):
    if library == "faiss":
        pytest.importorskip("faiss")
    else:
        monkeypatch.setitem(sys.modules, "faiss", None)
    vectors = np.repeat(unit_vectors(3), [9, 1, 1], axis=0)
    neighbors = most_similar_rows(vectors, 4)
    assert neighbors.shape == (11, 4)
    for number, row in enumerate(neighbors.tolist()):
        assert number not in row
        assert len(set(row)) == 4
        if number < 9:
            assert max(row) < 9


def test_vectors_are_the_texts_mean():
    features = triplet_features(embedding_dim=WIDTH)
    rows = [{name: row[name] for name in features} for row in tiny_rows(6)]
    dataset = Dataset.from_list(rows, features=features).select([4, 1, 3])
    vectors = text_vectors(TripletDataset(dataset, seed=0, cached=True, name="tiny"))
    for vector, place in zip(vectors, (4, 1, 3), strict=True):
        mean = rows[place]["text_embeds"].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


NEIGHBORS = brute_force(unit_vectors(120), 31)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 31), st.integers(1, 64), st.integers(0, 5))
def test_batches_are_seeds_with_drawn_neighbors(per_seed, batch_size, seed):
    """An independent reading of a batch: whatever follows a seed up to the next one is among its neighbours."""
    for batch in HardNegativeBatchSampler(NEIGHBORS, per_seed, batch_size, 3, seed):
        indices = [index for index, _ in batch]
        assert len(indices) == len(set(indices)) == batch_size
        place = 0
        while place < batch_size:
            neighbors = set(NEIGHBORS[indices[place]])
            length = 0
            while length < per_seed and place + 1 + length < batch_size and indices[place + 1 + length] in neighbors:
                length += 1
            full = place + 1 + length == batch_size
            # What is missing of the drawn ones, the batch had already.
            assert full or length == per_seed or neighbors & set(indices[:place])
            place += 1 + length


@pytest.mark.parametrize("batch_size", [40, 90, 120])
def test_with_all_neighbors_a_seed_is_followed_by_those_that_the_batch_lacks(batch_size):
    for batch in HardNegativeBatchSampler(NEIGHBORS, 31, batch_size, 5, seed=0):
        indices = [index for index, _ in batch]
        place = 0
        while place < batch_size:
            lacking = set(NEIGHBORS[indices[place]]) - set(indices[:place])
            following = set(indices[place + 1 : place + 1 + len(lacking)])
            assert following == lacking or (following < lacking and place + 1 + len(following) == batch_size)
            place += 1 + len(following)


def test_batches_are_harder_than_random_ones():
    vectors = unit_vectors(120)

    def mean_similarity(indices: np.ndarray) -> float:
        return float(np.mean(vectors[indices] @ vectors[indices].T))

    hard = [mean_similarity(np.array(b)[:, 0]) for b in HardNegativeBatchSampler(NEIGHBORS, 7, 16, 50, 0)]
    rng = np.random.default_rng(0)
    random = [mean_similarity(rng.choice(120, 16, replace=False)) for _ in range(50)]
    assert np.mean(hard) > np.mean(random) + 0.05


def test_each_neighbor_of_a_seed_is_drawn_as_often():
    """The three of a batch's first seed, over many batches: of all 31, not of the nearest ones."""
    counts = np.zeros(31, dtype=int)
    for batch in HardNegativeBatchSampler(NEIGHBORS, 3, 12, 3000, seed=0):
        first, *following = (index for index, _ in batch[:4])
        for neighbor in following:
            counts[NEIGHBORS[first].tolist().index(neighbor)] += 1
    assert counts.sum() == 9000
    assert chisquare(counts).pvalue > 1e-3


def test_neighbors_and_seeds_are_drawn_anew_for_each_batch_and_seed():
    first, second = HardNegativeBatchSampler(NEIGHBORS, 3, 12, 2, seed=0)
    assert [i for i, _ in first] != [i for i, _ in second]
    assert {batch for _, batch in first} == {0}
    assert {batch for _, batch in second} == {1}
    assert next(iter(HardNegativeBatchSampler(NEIGHBORS, 3, 12, 1, seed=1))) != first
    seeds = [b[0][0] for b in HardNegativeBatchSampler(NEIGHBORS, 3, 12, 2000, seed=0)]
    assert np.bincount(seeds, minlength=120).min() > 0


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("start", [0, 3])
def test_processes_and_resumed_runs_share_the_batches_of_one(world_size, start):
    whole = list(HardNegativeBatchSampler(NEIGHBORS, 5, 16, 7, seed=3))
    parts = [
        HardNegativeBatchSampler(NEIGHBORS, 5, 16 // world_size, 7, 3, rank, world_size, start)
        for rank in range(world_size)
    ]
    assert [sum(batches, []) for batches in zip(*parts, strict=True)] == whole[start:]
    assert len(parts[0]) == 7 - start


def test_a_dataset_smaller_than_a_batch_is_refused():
    with pytest.raises(
        UserError, match="120 samples, fewer than one global batch of 128.*lower per_device_batch_size"
    ):
        HardNegativeBatchSampler(NEIGHBORS, 5, 64, 1, seed=0, world_size=2)


def test_saved_neighbors_are_checked(tmp_path):
    path = tmp_path / "n.safetensors"
    save_neighbors(NEIGHBORS, path)
    np.testing.assert_array_equal(load_neighbors(path, 120, 31), NEIGHBORS)
    with pytest.raises(UserError, match="has 31 neighbors of 120 shapes, expected 31 of 121"):
        load_neighbors(path, 121, 31)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"cannot read .*n.safetensors: .*delete it"):
        load_neighbors(path, 120, 31)


def test_they_are_found_exactly_in_a_run_that_rounds_its_products(monkeypatch):
    products, without_self, seen = torch.backends.cuda.matmul, hard_negatives._without_self, []
    # Who has set the newer name cannot read the older one.
    name, rounded = ("fp32_precision", "tf32") if hasattr(products, "fp32_precision") else ("allow_tf32", True)

    def note(*arguments):
        seen.append(getattr(products, name))
        return without_self(*arguments)

    monkeypatch.setattr(hard_negatives, "_without_self", note)
    monkeypatch.setitem(sys.modules, "faiss", None)  # torch's way
    before = getattr(products, name)
    try:
        setattr(products, name, rounded)
        most_similar_rows(np.eye(6, dtype=np.float32), 2)
        assert seen and rounded not in seen and getattr(products, name) == rounded
    finally:
        setattr(products, name, before)
