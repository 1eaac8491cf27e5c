"""Retrieval between embeddings: recall at k by key, and the nearest neighbour of the same category."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .similarity import Embeddings, similarity_blocks


@dataclass(frozen=True)
class RetrievalResult:
    """What [`retrieval_recall`] found; `recall` and `chance` go by `k`.

    Attributes:
        recall (`dict[int, float]`): Share of queries with a match among their `k` nearest gallery items.
        chance (`dict[int, float]`): The same, exactly, for a gallery in random order.
        ranks (`np.ndarray` of shape `(num_queries,)`): The place, from 0, of each query's first match; the size of
            the gallery where it has none.
    """

    recall: dict[int, float]
    chance: dict[int, float]
    ranks: np.ndarray


def retrieval_recall(
    queries: Embeddings,
    gallery: Embeddings,
    query_keys: Sequence[str],
    gallery_keys: Sequence[str],
    ks: tuple[int, ...] = (1, 5, 10),
) -> RetrievalResult:
    """Share of queries among whose `k` nearest gallery items there is one with the query's key.

    Every gallery item keeps its place, repeated ones too: with names as keys, three objects of one name fill three
    places, and any of them is a match. Of items equally near, the one with the lower index ranks first. A query
    without a match in the gallery counts as missed.

    Args:
        queries (`torch.Tensor` or `np.ndarray` of shape `(num_queries, width)`):
            Need not be normalised.
        gallery (`torch.Tensor` or `np.ndarray` of shape `(num_items, width)`):
            Need not be normalised.
        query_keys (sequence of `str`):
            One a query: the name, or the object's id where only the very object counts.
        gallery_keys (sequence of `str`):
            One a gallery item.
        ks (`tuple[int, ...]`, defaults to `(1, 5, 10)`):
            How many of the nearest items count. A `k` beyond the gallery counts all of it.

    Raises:
        ValueError: If there is no query, or keys and embeddings do not fit together.
    """
    if len(query_keys) != len(queries) or len(gallery_keys) != len(gallery) or not len(queries):
        raise ValueError(
            f"got {len(queries)} queries with {len(query_keys)} keys and {len(gallery)} gallery items with "
            f"{len(gallery_keys)} keys; need a key each, and at least one query"
        )
    query_codes, gallery_codes = _codes(query_keys, gallery_keys)
    ranks = np.empty(len(query_codes), dtype=np.int64)
    for rows, scores in similarity_blocks(queries, gallery):
        ranks[rows] = _first_match(scores, query_codes[rows, None] == gallery_codes)
    num_matches = np.bincount(gallery_codes, minlength=query_codes.max() + 1)[query_codes]
    return RetrievalResult(
        recall={k: float(np.mean(ranks < min(k, len(gallery_codes)))) for k in ks},
        chance={k: chance_of_recall(num_matches, len(gallery_codes), k) for k in ks},
        ranks=ranks,
    )


def same_category_neighbor(embeds: Embeddings, categories: Sequence[str]) -> tuple[float, float]:
    """Share of items whose nearest other item has the same category, and the same for a random other item.

    Of items equally near, the one with the lower index counts as nearest. An item alone in its category counts as
    missed.

    Args:
        embeds (`torch.Tensor` or `np.ndarray` of shape `(num_items, width)`):
            Need not be normalised.
        categories (sequence of `str`):
            One an item.

    Returns:
        `tuple[float, float]`: The share and its chance.

    Raises:
        ValueError: If there are fewer than two items, or categories and embeddings do not fit together.
    """
    if len(categories) != len(embeds) or len(embeds) < 2:
        raise ValueError(f"got {len(embeds)} items and {len(categories)} categories; need as many, at least two")
    codes, _ = _codes(categories, categories)
    nearest = np.empty(len(codes), dtype=np.int64)
    for rows, scores in similarity_blocks(embeds, embeds):
        scores[np.arange(len(scores)), np.arange(rows.start, rows.stop)] = -np.inf
        nearest[rows] = scores.argmax(axis=1)
    num_others = np.bincount(codes)[codes] - 1
    return float(np.mean(codes[nearest] == codes)), chance_of_recall(num_others, len(codes) - 1, 1)


def chance_of_recall(num_matches: np.ndarray, num_items: int, k: int) -> float:
    """Expected recall at `k` in a random order: the mean over queries of 1 - C(M - r, k) / C(M, k).

    Args:
        num_matches (`np.ndarray` of shape `(num_queries,)`): Matches r of each query in the gallery.
        num_items (`int`): Size M of the gallery.
        k (`int`): How many items are drawn.
    """
    # C(M - r, k) / C(M, k) as the product of (M - r - i) / (M - i), the chance that draw i is no match either.
    draws = np.arange(min(k, num_items))
    misses = np.clip(num_items - num_matches[:, None] - draws, 0, None) / (num_items - draws)
    return float(np.mean(1 - misses.prod(axis=1)))


def _codes(first: Sequence[str], second: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Keys as integers, equal for equal keys."""
    code_of = {key: code for code, key in enumerate(dict.fromkeys([*first, *second]))}
    return np.array([code_of[key] for key in first]), np.array([code_of[key] for key in second])


def _first_match(scores: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """The place of each row's first match in the order of falling score, then of rising index: no sorting needed."""
    masked = np.where(matches, scores, -np.inf)
    best = masked.argmax(axis=1)  # the first of equals
    best_score = masked[np.arange(len(scores)), best][:, None]
    before = (scores > best_score) | ((scores == best_score) & (np.arange(scores.shape[1]) < best[:, None]))
    return np.where(matches.any(axis=1), before.sum(axis=1), scores.shape[1])
