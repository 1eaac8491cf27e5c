"""Recall by key and same-category neighbours against plain loops; their chance against combinatorics and dice."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrd_hf.evaluation import similarity
from mrd_hf.evaluation.retrieval import chance_of_recall, retrieval_recall, same_category_neighbor


KS = (1, 2, 5, 100)


def cosines_of(queries, gallery):
    return similarity.unit_rows(queries, "queries") @ similarity.unit_rows(gallery, "gallery").T


def recall_by_loops(queries, gallery, query_keys, gallery_keys, k):
    hits = 0
    for scores, key in zip(cosines_of(queries, gallery), query_keys, strict=True):
        order = sorted(range(len(gallery_keys)), key=lambda item: (-scores[item], item))
        hits += key in [gallery_keys[item] for item in order[:k]]
    return hits / len(query_keys)


def make_case(seed, coarse):
    """Coarse embeddings lie on a few points, so that many similarities are equal."""
    generator = np.random.default_rng(seed)
    num_queries, num_items = generator.integers(1, 12), generator.integers(1, 12)
    draw = (lambda shape: generator.integers(-1, 2, shape)) if coarse else (lambda shape: generator.normal(size=shape))
    names = np.array(["mug", "lamp", "sofa", "bed", "desk"])
    return (
        draw((num_queries, 2)).astype(np.float32),
        draw((num_items, 2)).astype(np.float32),
        names[generator.integers(0, 5, num_queries)].tolist(),
        names[generator.integers(0, 5, num_items)].tolist(),
    )


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 100_000), coarse=st.booleans())
def test_recall_agrees_with_plain_loops(seed, coarse):
    case = make_case(seed, coarse)
    result = retrieval_recall(*case, ks=KS)
    for k in KS:
        assert result.recall[k] == pytest.approx(recall_by_loops(*case, k))


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_chance_is_the_hypergeometric_one(seed):
    case = make_case(seed, coarse=False)
    result = retrieval_recall(*case, ks=KS)
    num_items = len(case[3])
    for k in KS:
        drawn = min(k, num_items)
        misses = [comb(num_items - case[3].count(key), drawn) / comb(num_items, drawn) for key in case[2]]
        assert result.chance[k] == pytest.approx(1 - np.mean(misses))


def test_chance_agrees_with_random_embeddings():
    generator = np.random.default_rng(0)
    keys = ["mug"] * 6 + ["lamp"] * 3 + ["sofa", "bed", "desk"]
    recalls, neighbors = [], []
    for _ in range(3000):
        embeds = generator.normal(size=(2, len(keys), 4))
        recalls.append(list(retrieval_recall(*embeds, keys, keys, ks=(1, 3)).recall.values()))
        neighbors.append(same_category_neighbor(embeds[0], keys)[0])
    chance = retrieval_recall(*embeds, keys, keys, ks=(1, 3)).chance
    np.testing.assert_allclose(np.mean(recalls, axis=0), list(chance.values()), atol=0.01)
    assert np.mean(neighbors) == pytest.approx(same_category_neighbor(embeds[0], keys)[1], abs=0.01)


def test_chance_of_a_large_gallery_does_not_overflow():
    assert chance_of_recall(np.array([1]), 1_000_000, 10) == pytest.approx(1e-5)
    assert chance_of_recall(np.array([0]), 1_000_000, 10) == 0


def test_repeated_names_fill_places_and_any_of_them_matches():
    gallery = np.array([[1, 0.3], [1, 0.3], [1, 0], [0, 1]])
    keys = ["mug", "mug", "lamp", "sofa"]
    result = retrieval_recall(np.array([[1, 0.3], [1, 0.3]]), gallery, ["lamp", "mug"], keys, ks=(1, 2, 3))
    assert result.ranks.tolist() == [2, 0]
    assert result.recall == {1: 0.5, 2: 0.5, 3: 1}


def test_of_equally_near_items_the_lower_index_ranks_first():
    """Not the match: embeddings that are all alike must not score."""
    same = np.ones((4, 3))
    keys = ["a", "b", "c", "d"]
    result = retrieval_recall(same, same, keys, keys, ks=(1, 2))
    assert result.ranks.tolist() == [0, 1, 2, 3]
    assert result.recall == {1: 0.25, 2: 0.5}


def test_query_without_a_match_is_missed_even_when_all_is_shown():
    result = retrieval_recall(np.eye(2), np.eye(2), ["a", "z"], ["a", "b"], ks=(2, 50))
    assert result.recall == {2: 0.5, 50: 0.5}
    assert result.chance == {2: 0.5, 50: 0.5}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), coarse=st.booleans())
def test_neighbor_agrees_with_plain_loops(seed, coarse):
    generator = np.random.default_rng(seed)
    count = int(generator.integers(2, 15))
    embeds = generator.integers(-1, 2, (count, 2)) if coarse else generator.normal(size=(count, 2))
    categories = np.array(["seat", "light", "bed"])[generator.integers(0, 3, count)].tolist()
    scores = cosines_of(embeds, embeds)
    hits, chances = 0, []
    for item in range(count):
        others = [other for other in range(count) if other != item]
        nearest = min(others, key=lambda other: (-scores[item, other], other))
        hits += categories[nearest] == categories[item]
        chances.append(np.mean([categories[other] == categories[item] for other in others]))
    value, chance = same_category_neighbor(embeds, categories)
    assert value == pytest.approx(hits / count)
    assert chance == pytest.approx(np.mean(chances))


def test_blocks_give_the_same_result(monkeypatch):
    generator = np.random.default_rng(1)
    embeds = generator.normal(size=(2, 50, 4))
    keys = np.array(["a", "b", "c"])[generator.integers(0, 3, 50)].tolist()
    whole = retrieval_recall(*embeds, keys, keys), same_category_neighbor(embeds[0], keys)
    monkeypatch.setattr(similarity, "BLOCK_SIZE", 333)
    blocks = retrieval_recall(*embeds, keys, keys), same_category_neighbor(embeds[0], keys)
    np.testing.assert_array_equal(blocks[0].ranks, whole[0].ranks)
    assert blocks[1] == whole[1]


def test_inputs_that_do_not_fit():
    with pytest.raises(ValueError, match="a key each"):
        retrieval_recall(np.eye(2), np.eye(2), ["a"], ["a", "b"])
    with pytest.raises(ValueError, match="at least one query"):
        retrieval_recall(np.zeros((0, 2)), np.eye(2), [], ["a", "b"])
    with pytest.raises(ValueError, match="width 2, the gallery has 3"):
        retrieval_recall(np.eye(2), np.eye(3), ["a", "b"], ["a", "b", "c"])
    with pytest.raises(ValueError, match="at least two"):
        same_category_neighbor(np.eye(1), ["a"])
