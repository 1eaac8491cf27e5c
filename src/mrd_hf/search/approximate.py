"""Approximate search by faiss, for collections that take too long to compare with one by one.

Embeddings are sorted into cells around centres (inverted lists), and a query is compared with those of the nearest
cells, exactly but for the rounding to float16. No coarser code is used: where clusters are dense, a product quantiser
mistakes the order within them, and half the memory of float32 is read from the disk's cache as it is needed anyway.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


# For each centre; below 39 faiss warns.
TRAINING_VECTORS = 40
TRAINING_ITERATIONS = 5
# Share of the cells that a query is compared with: of a million embeddings as many as a core compares in 25 ms, and
# enough for nine of the ten nearest of 300,000 in clusters of three. Small cells find more than large ones at one
# share: at 1/64 of 100,000 in clusters of three, 1,024 cells find 96% of the ten nearest, 512 find 90%.
PROBED_SHARE = 3 / 64
MIN_PROBES = 48
SEED = 1234


def is_available() -> bool:
    """Whether faiss is installed."""
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True


def num_cells(count: int) -> int:
    """How many cells to sort `count` embeddings into: a power of two near four times the square root."""
    return 2 ** round(np.log2(4 * np.sqrt(count)))


def num_probes(cells: int) -> int:
    """How many of the cells to compare a query with."""
    return min(cells, max(MIN_PROBES, round(cells * PROBED_SHARE)))


def train_index(sample: np.ndarray, cells: int) -> Any:
    """An empty index, whose cells are around centres of what it is to hold.

    Args:
        sample (`np.ndarray` of shape `(num_sampled, embedding_dim)`): float32, L2-normalised.
        cells (`int`): See [`num_cells`].

    Returns:
        `faiss.IndexIVF`
    """
    import faiss

    width = sample.shape[1]
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(width), width, cells, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
    )
    index.cp.niter = TRAINING_ITERATIONS
    index.cp.seed = SEED
    index.train(sample)
    return index


def fill_index(index: Any, chunks: Callable[[], Iterator[np.ndarray]]) -> None:
    """Put embeddings into an empty index, which then takes as much memory as they do in float16.

    Args:
        index (`faiss.IndexIVF`): From [`train_index`].
        chunks (`Callable[[], Iterator[np.ndarray]]`):
            Gives the embeddings in the order of their rows, twice, in arrays of shape `(some, width)`: float32,
            L2-normalised.
    """
    import faiss

    cell_of_row = np.concatenate([index.quantizer.assign(chunk, 1)[:, 0] for chunk in chunks()])
    lists = faiss.downcast_InvertedLists(index.invlists)
    for cell, size in enumerate(np.bincount(cell_of_row, minlength=index.nlist).tolist()):
        # Lists that grow as they are filled take up to twice their size. These keep the room that they once had.
        lists.resize(cell, size)
        lists.resize(cell, 0)
    start = 0
    for chunk in chunks():
        rows = np.arange(start, start + len(chunk))
        cells = np.ascontiguousarray(cell_of_row[rows])
        index.add_core(len(chunk), faiss.swig_ptr(chunk), faiss.swig_ptr(rows), faiss.swig_ptr(cells))
        start += len(chunk)


def write_index(index: Any, path: Path) -> None:
    """Write an index to a file."""
    import faiss

    faiss.write_index(index, str(path))


def open_index(path: Path) -> Any:
    """The index in a file, whose embeddings stay there until a search reads them."""
    import faiss

    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP)


def search(index: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest of each query among the probed cells, or among more where these hold fewer than `k`.

    Args:
        index (`faiss.IndexIVF`): From [`open_index`].
        queries (`np.ndarray` of shape `(num_queries, embedding_dim)`): float32, L2-normalised.
        k (`int`): At most as many as there are embeddings.

    Returns:
        `tuple(np.ndarray, np.ndarray)`: cosines, float32, and rows, int64, both of shape `(num_queries, k)`.
    """
    import faiss

    make_parameters: Any = faiss.SearchParametersIVF  # whose stubs lack its arguments
    probes = num_probes(index.nlist)
    while True:
        scores, rows = index.search(queries, k, params=make_parameters(nprobe=probes))
        if probes == index.nlist or (rows >= 0).all():
            return scores, rows
        probes = min(index.nlist, 4 * probes)
