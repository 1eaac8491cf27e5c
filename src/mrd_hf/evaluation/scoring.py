"""Scores of embeddings: what the metrics find, with intervals, titles and each shape's part in them."""

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from .report import Score, Statistic
from .scores.bootstrap import Interval, class_mean_interval, mean_interval, median_interval
from .scores.corruptions import Corruption
from .scores.few_shot import few_shot
from .scores.linear_probe import linear_probe
from .scores.retrieval import RetrievalResult, chance_of_average_precision, chance_of_recall, retrieval_recall
from .scores.similarity import Embeddings
from .scores.zero_shot import zero_shot_classification


TOP_K = (1, 3, 5)
RECALL_AT = (1, 5, 10)
# Classes and examples of each: those of the ModelNet40 benchmark, and fewer for small sets.
FEW_SHOT_SETTINGS = ((5, 1), (5, 5), (5, 10), (5, 20), (10, 10), (10, 20))


def zero_shot_scores(
    embeds: Embeddings,
    class_embeds: Embeddings,
    labels: np.ndarray,
    teacher_embeds: Embeddings | None = None,
    seed: int = 0,
) -> list[Score]:
    """Top-1, 3, 5 and class-mean accuracy of the nearest class, over the shapes that have one.

    Args:
        embeds (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`)
        class_embeds (`torch.Tensor` or `np.ndarray` of shape `(num_classes, embedding_dim)`)
        labels (`np.ndarray` of shape `(num_shapes,)`): -1 where a shape has no label.
        teacher_embeds (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`, *optional*):
            The teacher's, of the shapes' images, to compare with.
        seed (`int`, defaults to 0): Of the bootstrap.
    """
    rows = np.flatnonzero(labels >= 0)
    ours = zero_shot_classification(embeds[rows], class_embeds, labels[rows], TOP_K)
    teachers = None
    if teacher_embeds is not None:
        teachers = zero_shot_classification(teacher_embeds[rows], class_embeds, labels[rows], TOP_K)
    num_classes = len(class_embeds)
    scores = [
        _score(
            f"zero_shot_top{k}",
            f"zero-shot top-{k} ({num_classes} classes)",
            _spread(ours.ranks < k, rows, len(labels)),
            seed,
            chance=ours.chance[k],
            majority=ours.majority[k],
            teacher=None if teachers is None else teachers.accuracy[k],
        )
        for k in TOP_K
    ]
    class_mean = _score(
        "zero_shot_class_mean",
        "zero-shot top-1, mean of classes",
        _spread(ours.ranks < 1, rows, len(labels)),
        seed,
        labels=labels,
        chance=1 / num_classes,
        majority=1 / len(np.unique(labels[rows])),
        teacher=None if teachers is None else teachers.class_mean,
    )
    return [*scores, class_mean]


def retrieval_scores(
    name: str,
    title: str,
    queries: Embeddings,
    gallery: Embeddings,
    query_keys: Sequence[Hashable],
    gallery_keys: Sequence[Hashable],
    teacher_queries: Embeddings | None = None,
    teacher_gallery: Embeddings | None = None,
    seed: int = 0,
) -> list[Score]:
    """Recall at 1, 5 and 10, and the median rank, of items with the query's key.

    Args:
        name (`str`): How keys begin, e.g. `shape_to_image`.
        title (`str`): How titles begin, e.g. `shape to image`.
        queries, gallery, query_keys, gallery_keys: See [`retrieval_recall`].
        teacher_queries, teacher_gallery (*optional*): What the teacher has in their places; both or neither.
        seed (`int`, defaults to 0): Of the bootstrap.
    """
    ours = retrieval_recall(queries, gallery, query_keys, gallery_keys, RECALL_AT)
    teachers = None
    if teacher_queries is not None and teacher_gallery is not None:
        teachers = retrieval_recall(teacher_queries, teacher_gallery, query_keys, gallery_keys, RECALL_AT)
    scores = [
        _score(
            f"{name}_recall_at_{k}",
            f"{title}, recall at {k}",
            (ours.ranks < min(k, len(gallery_keys))).astype(float),  # without a match, the rank is the gallery's size
            seed,
            chance=ours.chance[k],
            teacher=None if teachers is None else teachers.recall[k],
        )
        for k in RECALL_AT
    ]
    return [*scores, _median_rank(name, title, ours, teachers, seed)]


def neighbor_scores(
    embeds: Embeddings, keys: Sequence[Hashable | None], teacher_embeds: Embeddings | None = None, seed: int = 0
) -> list[Score]:
    """How near to each other shapes of one category are: the nearest's, and mean average precision of all others.

    A shape without a category may be of any, so it is neither a query nor among the shapes to find. A shape that is
    the only one of its category has nothing to find: it is no query, and others meet it.

    Args:
        embeds (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`)
        keys (sequence of `str` or `int`, or None): Each shape's category.
        teacher_embeds (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`, *optional*):
            To compare with.
        seed (`int`, defaults to 0): Of the bootstrap.

    Returns:
        `list[Score]`: none where no two shapes have the same category.
    """
    rows = np.array([row for row, key in enumerate(keys) if key is not None], dtype=np.int64)
    if len(rows) < 2:
        return []
    with_key = [keys[row] for row in rows]
    ours = retrieval_recall(embeds[rows], embeds[rows], with_key, with_key, (1,), exclude_self=True)
    queries = ours.num_matches > 0
    if not queries.any():
        return []
    num_matches, num_items = ours.num_matches[queries], len(rows) - 1
    teachers = None
    if teacher_embeds is not None:
        teachers = retrieval_recall(
            teacher_embeds[rows], teacher_embeds[rows], with_key, with_key, (1,), exclude_self=True
        )
    nearest = _score(
        "same_category_neighbor",
        "nearest shape of the same category",
        _spread(ours.ranks[queries] < 1, rows[queries], len(keys)),
        seed,
        chance=chance_of_recall(num_matches, num_items, 1),
        teacher=None if teachers is None else float(np.mean(teachers.ranks[queries] < 1)),
    )
    precision = _score(
        "shape_to_shape_map",
        "shapes of the same category, mAP",
        _spread(ours.average_precisions[queries], rows[queries], len(keys)),
        seed,
        chance=chance_of_average_precision(num_matches, num_items),
        teacher=None if teachers is None else float(teachers.average_precisions[queries].mean()),
    )
    return [nearest, precision]


def linear_probe_is_possible(train_labels: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a probe can learn from `train_labels` and be scored on some of `labels`; labels of -1 do not count."""
    counts = np.bincount(train_labels[train_labels >= 0])
    classes = np.flatnonzero(counts)
    return bool(len(classes) >= 2 and counts.max() >= 2 and np.isin(classes, labels).any())


def linear_probe_scores(
    train_embeds: Embeddings, train_labels: np.ndarray, embeds: Embeddings, labels: np.ndarray, seed: int = 0
) -> list[Score]:
    """Accuracy of logistic regression on the embeddings, over the shapes of classes that have training shapes.

    Args:
        train_embeds (`torch.Tensor` or `np.ndarray` of shape `(num_train, embedding_dim)`)
        train_labels (`np.ndarray` of shape `(num_train,)`): -1 where a shape has no label.
        embeds (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`)
        labels (`np.ndarray` of shape `(num_shapes,)`): -1 where a shape has no label.
        seed (`int`, defaults to 0): Of the validation split and the bootstrap.

    Returns:
        `list[Score]`: see [`linear_probe`]; none where the two have no class in common.
    """
    kept = train_labels >= 0
    rows = np.flatnonzero(np.isin(labels, train_labels[kept]))
    if not len(rows):
        return []
    result = linear_probe(train_embeds[kept], train_labels[kept], embeds[rows], labels[rows], seed=seed)
    outcomes = _spread(result.correct, rows, len(labels))
    majority = float(np.mean(labels[rows] == np.bincount(train_labels[kept]).argmax()))
    return [
        _score("linear_probe_top1", "linear probe top-1", outcomes, seed, majority=majority),
        _score("linear_probe_class_mean", "linear probe, mean of classes", outcomes, seed, labels=labels),
    ]


def few_shot_settings(labels: np.ndarray) -> list[tuple[int, int]]:
    """Ways and shots for which there are classes and shapes enough; labels of -1 do not count."""
    counts = np.bincount(labels[labels >= 0])
    return [(ways, shots) for ways, shots in FEW_SHOT_SETTINGS if (counts > shots).sum() >= ways]


def few_shot_scores(embeds: Embeddings, labels: np.ndarray, seed: int = 0) -> list[Score]:
    """N-way K-shot accuracies, of all settings that the labels allow; see [`few_shot`]."""
    rows = np.flatnonzero(labels >= 0)
    scores = []
    for ways, shots in few_shot_settings(labels):
        result = few_shot(embeds[rows], labels[rows], ways, shots, seed=seed)
        scores.append(
            Score(
                f"few_shot_{ways}_way_{shots}_shot",
                f"{ways}-way {shots}-shot, mean of {len(result.accuracies)} draws",
                Interval(result.mean, result.low, result.high),
                len(rows),
                chance=1 / ways,
            )
        )
    return scores


def under_corruption(score: Score, corruption: Corruption) -> Score:
    """A score of corrupted shapes, by its key and title. The teacher saw no corruption, so it is left out."""
    key, title = f"{score.key}/{corruption.name}", f"{score.title}, {corruption.title}"
    return replace(score, key=key, title=title, teacher=None)


def _median_rank(name: str, title: str, ours: RetrievalResult, teachers: RetrievalResult | None, seed: int) -> Score:
    return Score(
        f"{name}_median_rank",
        f"{title}, median rank",
        median_interval(ours.ranks + 1, seed=seed),
        len(ours.ranks),
        chance=ours.chance_median_rank,
        teacher=None if teachers is None else teachers.median_rank,
        statistic="median",
        outcomes=(ours.ranks + 1).astype(float),
    )


def _score(
    key: str,
    title: str,
    outcomes: np.ndarray,
    seed: int,
    labels: np.ndarray | None = None,
    chance: float | None = None,
    majority: float | None = None,
    teacher: float | None = None,
) -> Score:
    """A mean of outcomes, or with `labels` the mean of the classes' means; NaN counts nowhere."""
    counted = ~np.isnan(outcomes)
    statistic: Statistic = "mean" if labels is None else "class_mean"
    if labels is None:
        interval = mean_interval(outcomes[counted], seed=seed)
    else:
        interval = class_mean_interval(outcomes[counted], labels[counted], seed=seed)
    return Score(key, title, interval, int(counted.sum()), chance, majority, teacher, statistic, outcomes)


def _spread(values: np.ndarray, rows: np.ndarray, num_shapes: int) -> np.ndarray:
    """Values of some rows among all shapes, NaN for the others, float64 `(num_shapes,)`."""
    spread = np.full(num_shapes, np.nan)
    spread[rows] = values
    return spread
