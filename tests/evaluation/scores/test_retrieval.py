"""Retrieval by key against plain loops and scikit-learn; its chance against combinatorics and dice."""

from fractions import Fraction
from itertools import permutations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from mrd_hf.evaluation.scores import retrieval, similarity
from mrd_hf.evaluation.scores.retrieval import (
    chance_of_average_precision,
    chance_of_median_rank,
    chance_of_recall,
    retrieval_recall,
)


KS = (1, 2, 5, 100)


def cosines_of(queries, gallery):
    return similarity.unit_rows(queries, "queries") @ similarity.unit_rows(gallery, "gallery").T


def recall_by_loops(queries, gallery, query_keys, gallery_keys, k):
    hits = 0
    for scores, key in zip(cosines_of(queries, gallery), query_keys, strict=True):
        order = sorted(range(len(gallery_keys)), key=lambda item: (-scores[item], item))
        hits += key in [gallery_keys[item] for item in order[:k]]
    return hits / len(query_keys)


def exact_order(query, gallery):
    """Gallery indices by falling cosine, then rising index: whole numbers, so in fractions without any rounding."""
    squares = [int(item @ item) for item in gallery.astype(int)]
    dots = [int(query.astype(int) @ item) for item in gallery.astype(int)]
    signed = [Fraction(dot * abs(dot), max(square, 1)) for dot, square in zip(dots, squares, strict=True)]
    return sorted(range(len(gallery)), key=lambda item: (-signed[item], item))


def average_precision_by_loops(order, matches):
    found, total = 0, 0.0
    for rank, item in enumerate(order, start=1):
        if item in matches:
            found += 1
            total += found / rank
    return total / found if found else 0.0


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


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    sizes=st.tuples(st.integers(1, 12), st.integers(1, 40)),
    width=st.integers(1, 3),
    num_keys=st.integers(1, 6),
    exclude_self=st.booleans(),
    counted=st.sampled_from([0, 2, 12]),
)
def test_ranks_and_precisions_agree_with_loops_over_fractions(seed, sizes, width, num_keys, exclude_self, counted):
    """Coordinates of -1, 0 and 1 make most similarities equal to some other; both ways to find places are met."""
    generator = np.random.default_rng(seed)
    num_queries, num_items = sizes
    gallery = generator.integers(-1, 2, (num_items, width)).astype(np.float32)
    gallery_keys = generator.integers(0, num_keys, num_items)
    if exclude_self:
        num_queries = num_items = max(num_items, 2)
        gallery, gallery_keys = np.resize(gallery, (num_items, width)), np.resize(gallery_keys, num_items)
        queries, query_keys = gallery, gallery_keys
    else:
        queries = generator.integers(-1, 2, (num_queries, width)).astype(np.float32)
        query_keys = generator.integers(0, num_keys + 1, num_queries)
    ranks, precisions, num_matches = [], [], []
    for query in range(num_queries):
        order = [item for item in exact_order(queries[query], gallery) if not (exclude_self and item == query)]
        matches = {item for item in order if gallery_keys[item] == query_keys[query]}
        ranks.append(next((place for place, item in enumerate(order) if item in matches), len(order)))
        precisions.append(average_precision_by_loops(order, matches))
        num_matches.append(len(matches))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "COUNTED_MATCHES", counted)
        result = retrieval_recall(queries, gallery, query_keys, gallery_keys, exclude_self=exclude_self)
    assert result.ranks.tolist() == ranks
    np.testing.assert_allclose(result.average_precisions, precisions)
    assert result.num_matches.tolist() == num_matches
    assert result.median_rank == np.median(np.array(ranks) + 1)
    assert result.mean_average_precision == pytest.approx(np.mean(precisions))
    assert result.recall[5] == np.mean([rank < min(5, num_items - exclude_self) for rank in ranks])


@pytest.mark.parametrize("counted", [0, 1000])
def test_average_precision_agrees_with_scikit_learn(monkeypatch, counted):
    monkeypatch.setattr(retrieval, "COUNTED_MATCHES", counted)
    generator = np.random.default_rng(0)
    embeds, labels = generator.normal(size=(300, 6)), generator.integers(0, 4, 300)
    result = retrieval_recall(embeds[:20], embeds[20:], labels[:20], labels[20:])
    scores = cosines_of(embeds[:20], embeds[20:])
    expected = [average_precision_score(labels[20:] == label, row) for label, row in zip(labels, scores, strict=False)]
    np.testing.assert_allclose(result.average_precisions, expected)


def test_chance_of_average_precision_is_the_mean_over_all_orders():
    for num_items, num_matches in ((1, 1), (4, 1), (5, 2), (6, 3), (5, 5)):
        orders = permutations(range(num_items))
        exact = np.mean([average_precision_by_loops(order, set(range(num_matches))) for order in orders])
        assert chance_of_average_precision(np.array([num_matches]), num_items) == pytest.approx(exact)
    assert chance_of_average_precision(np.array([0, 1]), 1) == 0.5
    assert chance_of_average_precision(np.array([0]), 0) == 0


def test_chance_of_median_rank_is_where_recall_by_chance_reaches_a_half():
    generator = np.random.default_rng(0)
    for num_items in (1, 2, 7, 60):
        num_matches = generator.integers(0, min(4, num_items) + 1, 9)
        recalls = [chance_of_recall(num_matches, num_items, k) for k in range(1, num_items + 1)]
        expected = next((k for k, recall in enumerate(recalls, start=1) if recall >= 0.5 - 1e-9), num_items + 1)
        assert chance_of_median_rank(num_matches, num_items) == expected
    assert chance_of_median_rank(np.array([1, 1]), 100_000) == 50_000
    assert chance_of_median_rank(np.array([1, 0, 0]), 3) == 4


def same_category_neighbor(embeds, categories):
    """Share of items whose nearest other item has the same category, and its chance."""
    result = retrieval_recall(embeds, embeds, categories, categories, ks=(1,), exclude_self=True)
    return result.recall[1], result.chance[1]


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


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000), block_size=st.integers(1, 2000), tile_size=st.integers(1, 600))
def test_no_size_of_blocks_changes_a_place(seed, block_size, tile_size):
    """Not even where similarities are equal: half of the items are there twice, and widths are odd on purpose."""
    generator = np.random.default_rng(seed)
    embeds = generator.normal(size=(61, 37)).astype(np.float32)
    embeds[31:] = embeds[:30] * generator.choice([0.25, 0.5, 2], (30, 1))
    keys = generator.integers(0, 20, 61)
    whole = retrieval_recall(embeds, embeds, keys, keys, exclude_self=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "BLOCK_SIZE", block_size)
        patch.setattr(similarity, "TILE_SIZE", tile_size)
        patch.setattr(retrieval, "COUNTED_MATCHES", seed % 4)
        blocks = retrieval_recall(embeds, embeds, keys, keys, exclude_self=True)
    np.testing.assert_array_equal(blocks.ranks, whole.ranks)
    np.testing.assert_array_equal(blocks.average_precisions, whole.average_precisions)


def test_embeddings_may_lie_in_a_file(tmp_path):
    generator = np.random.default_rng(3)
    embeds = generator.normal(size=(2, 40, 8)).astype(np.float32)
    embeds.tofile(tmp_path / "embeds")
    mapped = np.memmap(tmp_path / "embeds", dtype=np.float32, mode="r", shape=embeds.shape)
    keys = np.arange(40).tolist()
    result = retrieval_recall(*mapped, keys, keys)
    np.testing.assert_array_equal(result.ranks, retrieval_recall(*embeds, keys, keys).ranks)


def test_items_of_a_set_that_leave_themselves_out_must_be_the_same():
    with pytest.raises(ValueError, match="the same items"):
        retrieval_recall(np.eye(2), np.eye(3, 2), ["a"] * 2, ["a"] * 3, exclude_self=True)
    with pytest.raises(ValueError, match="at least two"):
        retrieval_recall(np.eye(1), np.eye(1), ["a"], ["a"], exclude_self=True)


def test_inputs_that_do_not_fit():
    with pytest.raises(ValueError, match="a key each"):
        retrieval_recall(np.eye(2), np.eye(2), ["a"], ["a", "b"])
    with pytest.raises(ValueError, match="at least one query"):
        retrieval_recall(np.zeros((0, 2)), np.eye(2), [], ["a", "b"])
    with pytest.raises(ValueError, match="width 2, the gallery has 3"):
        retrieval_recall(np.eye(2), np.eye(3), ["a", "b"], ["a", "b", "c"])
