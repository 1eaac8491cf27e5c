"""Retrieval between embeddings, and within one set of them: recall, rank and average precision, by key."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from .similarity import Embeddings, similarity_blocks


# With more matches than this, sorting a query's similarities is quicker than counting once for each match.
COUNTED_MATCHES = 12


@dataclass(frozen=True)
class RetrievalResult:
    """What [`retrieval_recall`] found; `recall` and `chance` go by `k`.

    The gallery of a query, of `num_items` items, is the whole one, or all of it but the query itself.

    Attributes:
        recall (`dict[int, float]`): Share of queries with a match among their `k` nearest gallery items.
        chance (`dict[int, float]`): The same, exactly, for a gallery in random order.
        median_rank (`float`): Median of the rank, from 1, of each query's first match, `ranks + 1`.
        chance_median_rank (`int`): The rank by which, in random order, half of the queries have met a match;
            `num_items + 1` where half have none.
        mean_average_precision (`float`): Mean of `average_precisions`.
        ranks (`np.ndarray` of shape `(num_queries,)`): The place, from 0, of each query's first match; `num_items`
            where it has none.
        average_precisions (`np.ndarray` of shape `(num_queries,)`): Mean over a query's matches of the share of
            matches among the items down to that match; 0 where it has none. With one match it is 1 / (rank + 1), and
            its mean is the mean reciprocal rank.
        num_matches (`np.ndarray` of shape `(num_queries,)`): Matches in each query's gallery.
    """

    recall: dict[int, float]
    chance: dict[int, float]
    median_rank: float
    chance_median_rank: int
    mean_average_precision: float
    ranks: np.ndarray
    average_precisions: np.ndarray
    num_matches: np.ndarray


def retrieval_recall(
    queries: Embeddings,
    gallery: Embeddings,
    query_keys: Sequence[Hashable],
    gallery_keys: Sequence[Hashable],
    ks: tuple[int, ...] = (1, 5, 10),
    exclude_self: bool = False,
) -> RetrievalResult:
    """Find the gallery items with the query's key: how many are among the `k` nearest, and where the others are.

    Every gallery item keeps its place, repeated ones too: with names as keys, three objects of one name fill three
    places, and any of them is a match. Of items equally near, the one with the lower index ranks first. A query
    without a match in the gallery counts as missed.

    Similarities are exact sums (see `similarity.py`), so the result does not depend on sizes of blocks, threads or
    libraries. Memory besides the embeddings, which may be `np.memmap`s, is bounded: one block of similarities, at most
    512 MB (or one query's, with more than 67 million items).

    Args:
        queries (`torch.Tensor` or `np.ndarray` of shape `(num_queries, embedding_dim)`):
            Need not be normalised.
        gallery (`torch.Tensor` or `np.ndarray` of shape `(num_items, embedding_dim)`):
            Need not be normalised.
        query_keys (sequence of `str`, or of anything else that hashes):
            One a query: the name or category, or the object's id where only the very object counts.
        gallery_keys (sequence of the same):
            One a gallery item.
        ks (`tuple[int, ...]`, defaults to `(1, 5, 10)`):
            How many of the nearest items count. A `k` beyond the gallery counts all of it.
        exclude_self (`bool`, defaults to `False`):
            Whether query i is gallery item i, which is then left out of its gallery, as for shapes among shapes.

    Raises:
        ValueError: If there is no query, or keys and embeddings do not fit together.
    """
    if len(query_keys) != len(queries) or len(gallery_keys) != len(gallery) or not len(queries):
        raise ValueError(
            f"got {len(queries)} queries with {len(query_keys)} keys and {len(gallery)} gallery items with "
            f"{len(gallery_keys)} keys; need a key each, and at least one query"
        )
    if exclude_self and (len(queries) != len(gallery) or len(queries) < 2):
        raise ValueError(
            f"got {len(queries)} queries and {len(gallery)} gallery items; to leave each query out of its own gallery "
            "they must be the same items, at least two"
        )
    query_codes, gallery_codes = _codes(query_keys, gallery_keys)
    items_of = _items_by_code(gallery_codes, int(query_codes.max()) + 1)
    num_items = len(gallery_codes) - exclude_self
    ranks = np.full(len(query_codes), num_items)
    average_precisions = np.zeros(len(query_codes))
    num_matches = np.array([len(items) for items in items_of])[query_codes]
    if exclude_self:
        num_matches -= query_codes == gallery_codes
    for rows, block in similarity_blocks(queries, gallery):
        for query, scores in enumerate(block, start=rows.start):
            matches = items_of[query_codes[query]]
            if exclude_self:
                scores[query] = -np.inf
                matches = matches[matches != query]
            if len(matches):
                places = _places(scores, matches)
                ranks[query] = places[0]
                average_precisions[query] = np.mean(np.arange(1, len(places) + 1) / (places + 1))
    return RetrievalResult(
        recall={k: float(np.mean(ranks < min(k, num_items))) for k in ks},
        chance={k: chance_of_recall(num_matches, num_items, k) for k in ks},
        median_rank=float(np.median(ranks + 1)),
        chance_median_rank=chance_of_median_rank(num_matches, num_items),
        mean_average_precision=float(average_precisions.mean()),
        ranks=ranks,
        average_precisions=average_precisions,
        num_matches=num_matches,
    )


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


def chance_of_median_rank(num_matches: np.ndarray, num_items: int) -> int:
    """The first rank, from 1, by which half of the queries are expected to have met a match in a random order.

    Arguments as for [`chance_of_recall`]; `num_items + 1` where fewer than half have a match at all.
    """
    values, counts = np.unique(num_matches, return_counts=True)
    shares = counts / len(num_matches)
    missed = np.ones(len(values))  # chance of no match so far
    for drawn in range(num_items):
        missed *= np.clip(num_items - values - drawn, 0, None) / (num_items - drawn)
        if shares @ missed <= 0.5 + 1e-9:  # where it is a half but for rounding, the lower rank is the median
            return drawn + 1
    return num_items + 1


def chance_of_average_precision(num_matches: np.ndarray, num_items: int) -> float:
    """Expected mean average precision in a random order; arguments as for [`chance_of_recall`].

    A match at rank i finds, among the i - 1 items before it, (i - 1) (r - 1) / (M - 1) other matches in expectation.
    The mean over i of (1 + that) / i is H / M + (1 - H / M) (r - 1) / (M - 1), with H the sum of 1 / i.
    """
    if num_items == 0:
        return 0.0
    first = np.sum(1 / np.arange(1, num_items + 1)) / num_items
    others = (num_matches - 1) / max(num_items - 1, 1)
    return float(np.mean(np.where(num_matches > 0, first + (1 - first) * others, 0)))


def _codes(first: Sequence[Hashable], second: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """Keys as integers, equal for equal keys."""
    code_of = {key: code for code, key in enumerate(dict.fromkeys([*first, *second]))}
    return np.array([code_of[key] for key in first]), np.array([code_of[key] for key in second], dtype=np.int64)


def _items_by_code(codes: np.ndarray, num_codes: int) -> list[np.ndarray]:
    """Indices, rising, of the items of each code in 0..num_codes-1; items of other codes are left out."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.searchsorted(codes[order], np.arange(1, num_codes + 1)))[:-1]


def _places(scores: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """Places, rising from 0, of matches in the order of falling score, then of rising index.

    Args:
        scores (`np.ndarray` of shape `(num_items,)`)
        matches (`np.ndarray` of shape `(r,)`): Their indices, rising.
    """
    if len(matches) <= COUNTED_MATCHES:
        before = [
            np.count_nonzero(scores > scores[match]) + np.count_nonzero(scores[:match] == scores[match])
            for match in matches
        ]
        return np.sort(before)
    # Sorting without indices is far quicker than with them. Equal scores then have to be put in order, where a match
    # is among them.
    targets = scores[matches]
    rising = np.sort(scores)
    upper = np.searchsorted(rising, targets, side="right")
    num_equal = upper - np.searchsorted(rising, targets, side="left")
    places = len(scores) - upper
    tied = np.unique(targets[num_equal > 1])
    if len(tied):
        # All items whose score is that of a tied match, in order, and where each score's run of them begins.
        slot = np.minimum(np.searchsorted(tied, scores), len(tied) - 1)
        equal = np.flatnonzero(tied[slot] == scores)
        equal = equal[np.argsort(slot[equal], kind="stable")]
        run_starts = np.searchsorted(slot[equal], np.arange(len(tied)))
        position = np.empty(len(scores), dtype=np.int64)
        position[equal] = np.arange(len(equal)) - run_starts[slot[equal]]
        places = places + np.where(num_equal > 1, position[matches], 0)
    return np.sort(places)
