"""The shapes of a collection that are nearest to a query, by cosine: an index in a folder.

| file | holds |
|---|---|
| `index.json` | facts: the model, the teacher, its text tower, width and count, and a fingerprint of each other file |
| `items.parquet` | a row a shape: its id, its path and whatever else is known of it |
| `embeds.npy` | of a small collection: the embeddings, float32, L2-normalised, in the order of the items |
| `embeds.faiss` | of a large one: the same in float16, sorted into cells by faiss |

A small collection is compared with one by one, exactly; a large one approximately. Both kinds stay on the disk until a
search reads them. Nothing is pickled.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from datasets import Dataset
from transformers.utils import logging

from ..errors import UserError
from ..files.atomic_folder import atomic_folder, check_replaceable
from ..files.digests import fingerprint
from . import approximate
from .index_facts import APPROXIMATE, EXACT, FACTS, ITEMS, VERSION, read_facts
from .item_table import ItemTable, write_items


logger = logging.get_logger(__name__)

# Up to here a comparison with every one takes less than 50 ms on 2 cores at width 1,280.
EXACT_UP_TO = 50_000
# Embeddings in memory at a time while building: 80 MB at width 1,280.
ROWS_AT_ONCE = 16_384
# Cosines in memory at a time: 256 MiB.
COSINES_AT_ONCE = 2**26
# Embeddings whose cosines are computed once more at a time: 20 MB at width 1,280.
REPEATED_AT_ONCE = 2048
# Of opening an index in whose place another is put meanwhile.
ATTEMPTS = 3


@dataclass(frozen=True)
class Hit:
    """A shape that was found.

    Args:
        score (`float`): Cosine of its embedding and the query.
        row (`int`): Its place in the index, as in what it was built from.
        item (`dict`): What the index knows of it.
    """

    score: float
    row: int
    item: dict[str, Any]


class ShapeIndex:
    """An index in a folder; made by [`ShapeIndex.build`], used again by [`ShapeIndex.open`].

    Attributes:
        folder (`Path`): Where it is.
        model (`str`): The encoder that made the embeddings.
        model_sha256 (`str`, *optional*): Digest of its weights.
        config_sha256 (`str`, *optional*): Digest of its configuration.
        input (`dict`, *optional*): How its extractor prepares shapes, as far as that is not their files' matter.
        teacher (`str`, *optional*): The image-text model whose space they are in.
        text_tower (`str`, *optional*): What embeds texts into it, where that is not the teacher as a whole.
        embedding_dim (`int`): Width of the embeddings.

    Example:

    ```python
    >>> index = ShapeIndex.build("chairs-index", embeds, [{"id": "a", "path": "a.glb"}, ...], model="my-encoder")
    >>> index.search(query, k=5)[0][0].item["path"]
    ```
    """

    def __init__(self, folder: Path, facts: dict[str, Any], items: ItemTable, embeds: Any) -> None:
        self.folder = folder
        self.model: str = facts["model"]
        self.model_sha256: str | None = facts["model_sha256"]
        self.teacher: str | None = facts["teacher"]
        self.text_tower: str | None = facts.get("text_tower")  # of earlier versions there is none
        self.config_sha256: str | None = facts.get("config_sha256")  # as well
        self.input: dict[str, Any] | None = facts.get("input")  # as well
        self.embedding_dim: int = facts["width"]
        self._items = items
        self._embeds = embeds  # an array of shape (count, embedding_dim), or a faiss index

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_exact(self) -> bool:
        """Whether every embedding is compared with, or only those that are likely to be near."""
        return isinstance(self._embeds, np.ndarray)

    @classmethod
    def build(
        cls,
        folder: str | Path,
        embeds: np.ndarray,
        items: Dataset | Sequence[dict[str, Any]],
        model: str,
        teacher: str | None = None,
        model_sha256: str | None = None,
        text_tower: str | None = None,
        config_sha256: str | None = None,
        input: dict[str, Any] | None = None,
    ) -> Self:
        """Write an index and open it. The same arguments give the same index.

        Args:
            folder (`str` or `Path`): Complete or not there afterwards. Another index in it is replaced.
            embeds (`np.ndarray` of shape `(count, embedding_dim)`):
                Floats; normalised here. May be memory-mapped: beyond the index itself, which is held in float16 while
                it is built, few are in memory at a time.
            items (`datasets.Dataset` or sequence of `dict`):
                One an embedding, in their order, each with at least an `id`.
            model (`str`): The encoder that made the embeddings.
            teacher (`str`, *optional*): The image-text model whose space they are in.
            model_sha256 (`str`, *optional*): Digest of the encoder's weights.
            text_tower (`str`, *optional*):
                What embeds texts into that space, where that is not the teacher as a whole: the `text_tower_id` of the
                encoder's configuration.
            config_sha256 (`str`, *optional*): Digest of the encoder's configuration.
            input (`dict`, *optional*): How its extractor prepares shapes: names and values of settings.

        Raises:
            UserError: The embeddings do not fit the items, or one is zero or not finite, or the folder holds
                something else.
        """
        folder = Path(folder)
        if embeds.ndim != 2 or embeds.shape[0] != len(items) or 0 in embeds.shape or embeds.dtype.kind != "f":
            raise UserError(
                f"embeddings of shape {embeds.shape}, {embeds.dtype}, for {len(items)} items; expected floats of "
                f"shape ({len(items)}, embedding_dim) and at least one."
            )
        check_replaceable(folder, (FACTS,), "index")
        facts = {
            "version": VERSION,
            "model": model,
            "model_sha256": model_sha256,
            "config_sha256": config_sha256,
            "input": input,
            "teacher": teacher,
            "text_tower": text_tower,
            "width": embeds.shape[1],
            "count": embeds.shape[0],
        }
        with atomic_folder(folder.absolute()) as temporary:
            write_items(temporary / ITEMS, items)
            written = _write_embeds(temporary, embeds)
            facts["files"] = {name: fingerprint(temporary / name) for name in (ITEMS, written)}
            (temporary / FACTS).write_text(json.dumps(facts, indent=2) + "\n")
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open an index; what is in its files is read when a search needs it.

        Args:
            folder (`str` or `Path`)

        Raises:
            UserError: There is none, its files are damaged, missing or of different indexes, it is replaced all the
                while, or faiss is missing.
        """
        folder = Path(folder)
        for _ in range(ATTEMPTS):
            before = _identity(folder)
            try:
                index = cls._open(folder)
            except UserError:
                if _identity(folder) == before:
                    raise
                continue
            if _identity(folder) == before:
                return index
        raise UserError(f"{folder}: is replaced again and again while it is opened; wait until that ends.")

    @classmethod
    def _open(cls, folder: Path) -> Self:
        """See [`ShapeIndex.open`]; where the folder is replaced meanwhile, what is opened may be of both."""
        facts = read_facts(folder)
        for name, expected in facts["files"].items():
            if not (folder / name).is_file():
                raise UserError(f"{folder}: {name} is missing; rebuild the index.")
            if fingerprint(folder / name) != expected:
                raise UserError(
                    f"{folder}: {name} is damaged, or of another index than {FACTS}; copy the whole folder, or "
                    "rebuild the index."
                )
        items = ItemTable(folder / ITEMS)
        embeds: Any
        if EXACT in facts["files"]:
            embeds = _open_exact(folder / EXACT)
            found = embeds.shape
        else:
            if not approximate.is_available():
                raise UserError(f"{folder}: searching so many shapes needs faiss: pip install 'mrd-hf[retrieval]'.")
            try:
                embeds = approximate.open_index(folder / APPROXIMATE)
            except RuntimeError:
                raise UserError(f"{folder / APPROXIMATE}: faiss cannot read it; rebuild the index.") from None
            found = (embeds.ntotal, embeds.d)
        if found != (facts["count"], facts["width"]) or len(items) != facts["count"]:
            raise UserError(
                f"{folder}: {found[0]} embeddings of width {found[1]} and {len(items)} items, but {FACTS} says "
                f"{facts['count']} of width {facts['width']}; rebuild the index."
            )
        return cls(folder, facts, items, embeds)

    def rows(self) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """All embeddings, float32 of shape `(count, embedding_dim)`, L2-normalised, and what is known of each shape.

        Raises:
            UserError: It is an approximate index, which has them in another form.
        """
        if not self.is_exact:
            raise UserError(f"{self.folder}: {len(self):,} shapes, more than {EXACT_UP_TO:,}; index a part of them.")
        return np.array(self._embeds), self._items.read(range(len(self)))

    def search(self, queries: np.ndarray, k: int) -> list[list[Hit]]:
        """The `k` shapes with the largest cosine to each query, best first; all of them where there are fewer.

        Of shapes with the same cosine the first of the index comes first, also where only some of them are among the
        `k`; of an approximate index, among those that were found.

        Args:
            queries (`np.ndarray` of shape `(num_queries, embedding_dim)`): Floats; normalised here.
            k (`int`)

        Raises:
            UserError: A query is of another width, zero or not finite, or `k` is below 1.
        """
        queries = np.asarray(queries)
        if queries.ndim != 2 or queries.shape[1] != self.embedding_dim or queries.dtype.kind != "f":
            raise UserError(
                f"queries of shape {queries.shape}, {queries.dtype}; the index needs floats of shape "
                f"(number of queries, {self.embedding_dim}), from {self.teacher or 'the teacher'} or {self.model}."
            )
        if k < 1:
            raise UserError(f"k is {k}; expected at least 1.")
        queries = _normalized(queries, "query", range(len(queries)))
        k = min(k, len(self))
        if self.is_exact:
            scores, rows = _search_exactly(self._embeds, queries, k)
        else:
            scores, rows = approximate.search(self._embeds, queries, k)
        found = []
        for query_scores, query_rows in zip(scores.tolist(), rows.tolist(), strict=True):
            ranked = sorted(
                ((score, row) for score, row in zip(query_scores, query_rows, strict=True) if row >= 0),
                key=lambda hit: (-hit[0], hit[1]),
            )
            items = self._items.read([row for _, row in ranked])
            found.append([Hit(score, row, item) for (score, row), item in zip(ranked, items, strict=True)])
        return found


def _write_embeds(folder: Path, embeds: np.ndarray) -> str:
    """Write the embeddings, normalised, and return the file's name."""
    count, width = embeds.shape
    if count > EXACT_UP_TO and approximate.is_available():
        cells = approximate.num_cells(count)
        spread = np.linspace(0, count - 1, min(count, cells * approximate.TRAINING_VECTORS)).astype(np.int64)
        index = approximate.train_index(_normalized(embeds[spread], "embedding", spread), cells)
        approximate.fill_index(index, lambda: _normalized_chunks(embeds))
        approximate.write_index(index, folder / APPROXIMATE)
        return APPROXIMATE
    if count > EXACT_UP_TO:
        logger.warning(
            f"{count} embeddings without faiss: every search will compare with all of them. For a quick one: "
            "pip install 'mrd-hf[retrieval]' and rebuild the index."
        )
    target = np.lib.format.open_memmap(folder / EXACT, mode="w+", dtype=np.float32, shape=(count, width))
    start = 0
    for chunk in _normalized_chunks(embeds):
        target[start : start + len(chunk)] = chunk
        start += len(chunk)
    target.flush()
    return EXACT


def _normalized_chunks(embeds: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(embeds), ROWS_AT_ONCE):
        rows = range(start, min(start + ROWS_AT_ONCE, len(embeds)))
        yield _normalized(embeds[rows.start : rows.stop], "embedding", rows)


def _normalized(vectors: np.ndarray, name: str, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """The vectors at unit length, float32; raises a [`UserError`] for one that has none, with its number in `rows`."""
    vectors = np.asarray(vectors, dtype=np.float32)
    # In float64, since squares of small and of large numbers are beyond float32; by blocks, without a copy.
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, None]
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(bad) > 0:
        raise UserError(f"{name} {rows[bad[0]]} is zero or not finite, so that it has no direction; leave it out.")
    # Contiguous, which faiss needs.
    return np.divide(vectors, norms, out=np.empty(vectors.shape, np.float32), casting="same_kind")


def _search_exactly(embeds: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines, float32, and rows, both of shape `(num_queries, k)`, best first, of equal ones the first rows.

    A matrix product may give equal embeddings cosines that differ in the last digit, by their place in it. So it only
    says which may be among the nearest, and their cosines are computed once more, each by itself.
    """
    scores = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    # Twice what a sum of so many products of two unit vectors can be wrong by.
    rounding = 2 * queries.shape[1] * np.finfo(np.float32).eps
    step = max(1, COSINES_AT_ONCE // len(embeds))
    for start in range(0, len(queries), step):
        cosines = queries[start : start + step] @ embeds.T
        lowest = np.partition(cosines, -k, axis=1)[:, -k]
        for place, query in enumerate(queries[start : start + step]):
            near = np.flatnonzero(cosines[place] >= lowest[place] - rounding)
            parts = np.split(near, range(REPEATED_AT_ONCE, len(near), REPEATED_AT_ONCE))
            exact = np.concatenate([(embeds[part] * query).sum(axis=1) for part in parts])
            best = np.argsort(-exact, kind="stable")[:k]
            rows[start + place], scores[start + place] = near[best], exact[best]
    return scores, rows


def _identity(folder: Path) -> tuple[int, int, int] | None:
    """Which folder has this name at present, None where there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _open_exact(path: Path) -> np.ndarray:
    """The embeddings in a file, read when they are used; a [`UserError`] where they are none."""
    try:
        embeds = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); rebuild the index.") from None
    if embeds.ndim != 2 or embeds.dtype != np.float32:
        raise UserError(f"{path} holds no embeddings (float32, one a row); rebuild the index.")
    return embeds
