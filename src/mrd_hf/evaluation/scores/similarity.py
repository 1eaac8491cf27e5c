"""Cosine similarities between two sets of embeddings, exact sums, a block of rows at a time.

A matrix product adds up in another order for another size of block, number of threads or library, and in floating
point another order is another sum: what is equally near would be ranked by chance, and figures would differ from
machine to machine. Here no sum is ever rounded. Coordinates of unit vectors are rounded to multiples of 2^-26 once;
their products are multiples of 2^-52, and as long as all partial sums stay below 2 (by Cauchy and Schwarz they do),
float64 holds each of them exactly. Hence:

- similarities, their ties and all that is counted from them depend on nothing but the embeddings;
- equal embeddings have equal similarities to everything, wherever they stand;
- a similarity is within 2^-26 x sqrt(width) of the true cosine (5e-7 at width 1,280; 1e-8 as a rule), closer than
  products in float32 come.
"""

from collections.abc import Iterator

import numpy as np
import torch


Embeddings = torch.Tensor | np.ndarray

# Blocks of at most this many similarities: 512 MB in float64.
BLOCK_SIZE = 2**26
# Coordinates normalised at a time: 16 MB in float64.
TILE_SIZE = 2**21
# Coordinates of unit vectors are whole numbers of 1 / STEPS.
STEPS = 2.0**26


def unit_rows(embeds: Embeddings, name: str) -> np.ndarray:
    """Embeddings as a float64 array with rows of length 1 and coordinates that are multiples of 2^-26.

    Args:
        embeds (`torch.Tensor` or `np.ndarray` of shape `(num_rows, embedding_dim)`):
            Of any float type (float32 is what counts of it), on any device. A row of zeros stays zero.
        name (`str`):
            What messages call it.

    Raises:
        ValueError: If it has another number of axes, or holds a NaN or an infinity (a diverged model's embeddings
            would otherwise be ranked all the same).
    """
    return _steps(embeds, slice(None), row_lengths(embeds, name)) / STEPS


def row_lengths(embeds: Embeddings, name: str) -> np.ndarray:
    """Length of each row, float64 `(num_rows,)`; errors as for [`unit_rows`]."""
    if embeds.ndim != 2:
        raise ValueError(f"{name} must have shape (num_rows, embedding_dim), got {tuple(embeds.shape)}")
    lengths = np.empty(len(embeds))
    for rows in _tiles(embeds):
        block = _float32_block(embeds, rows)
        if not np.isfinite(block).all():
            bad = rows.start + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            raise ValueError(f"{name} holds a NaN or an infinity (first in row {bad})")
        lengths[rows] = np.linalg.norm(block.astype(np.float64, order="C"), axis=1)
    return lengths


def similarity_blocks(queries: Embeddings, gallery: Embeddings) -> Iterator[tuple[slice, np.ndarray]]:
    """Cosine similarities of queries to a gallery, in blocks of queries.

    Besides the embeddings as they are given (which may lie in a file, `np.memmap`) it holds one block of at most
    `BLOCK_SIZE` similarities, or one query's where the gallery is larger, and one part of the gallery.

    Yields:
        `tuple[slice, np.ndarray]`: Which queries, and their similarities, float64 (len(slice), num_gallery). The
        array is the next block's too: copy what is to last.

    Raises:
        ValueError: If the two differ in width, or either is malformed.
    """
    query_lengths, gallery_lengths = row_lengths(queries, "queries"), row_lengths(gallery, "gallery")
    if queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries have width {queries.shape[1]}, the gallery has {gallery.shape[1]}")
    step = min(len(queries), max(1, BLOCK_SIZE // max(1, len(gallery))))
    scores = np.empty((step, len(gallery)))
    for start in range(0, len(queries), max(1, step)):
        rows = slice(start, min(start + step, len(queries)))
        block = scores[: rows.stop - rows.start]
        query_steps = _steps(queries, rows, query_lengths) / STEPS**2  # a power of 2, so nothing is rounded
        for columns in _tiles(gallery):
            np.matmul(query_steps, _steps(gallery, columns, gallery_lengths).T, out=block[:, columns])
        yield rows, block


def _tiles(embeds: Embeddings) -> Iterator[slice]:
    step = max(1, TILE_SIZE // max(1, embeds.shape[1]))
    for start in range(0, len(embeds), step):
        yield slice(start, min(start + step, len(embeds)))


def _float32_block(embeds: Embeddings, rows: slice) -> np.ndarray:
    block = embeds[rows]
    if isinstance(block, torch.Tensor):
        block = block.detach().float().cpu().numpy()
    return np.asarray(block, dtype=np.float32)


def _steps(embeds: Embeddings, rows: slice, lengths: np.ndarray) -> np.ndarray:
    """Unit vectors in units of 1 / STEPS: whole numbers, in float64."""
    lengths = lengths[rows, None]
    factors = np.divide(STEPS, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    steps = _float32_block(embeds, rows) * factors
    return np.rint(steps, out=steps)
