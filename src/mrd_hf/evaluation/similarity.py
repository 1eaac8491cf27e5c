"""Cosine similarities between two sets of embeddings, a block of rows at a time."""

from collections.abc import Iterator

import numpy as np
import torch


Embeddings = torch.Tensor | np.ndarray

# Blocks of at most this many similarities: 128 MB in float32.
BLOCK_SIZE = 2**25


def unit_rows(embeds: Embeddings, name: str) -> np.ndarray:
    """Embeddings as a float32 array with rows of length 1.

    Args:
        embeds (`torch.Tensor` or `np.ndarray` of shape `(num_rows, width)`):
            Of any float type, on any device. A row of zeros stays zero.
        name (`str`):
            What messages call it.

    Raises:
        ValueError: If it has another number of axes, or holds a NaN or an infinity (a diverged model's embeddings
            would otherwise be ranked all the same).
    """
    if isinstance(embeds, torch.Tensor):
        embeds = embeds.detach().float().cpu().numpy()
    rows = np.asarray(embeds, dtype=np.float32)
    if rows.ndim != 2:
        raise ValueError(f"{name} must have shape (num_rows, width), got {rows.shape}")
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise ValueError(f"{name} holds a NaN or an infinity (first in row {bad})")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths == 0, 1, lengths)


def similarity_blocks(queries: Embeddings, gallery: Embeddings) -> Iterator[tuple[slice, np.ndarray]]:
    """Cosine similarities of queries to a gallery, in blocks of queries.

    Yields:
        `tuple[slice, np.ndarray]`: Which queries, and their similarities, float32 (len(slice), num_gallery).

    Raises:
        ValueError: If the two differ in width, or either is malformed.
    """
    query_rows, gallery_rows = unit_rows(queries, "queries"), unit_rows(gallery, "gallery")
    if query_rows.shape[1] != gallery_rows.shape[1]:
        raise ValueError(f"queries have width {query_rows.shape[1]}, the gallery has {gallery_rows.shape[1]}")
    step = max(1, BLOCK_SIZE // max(1, len(gallery_rows)))
    for start in range(0, len(query_rows), step):
        rows = slice(start, min(start + step, len(query_rows)))
        yield rows, query_rows[rows] @ gallery_rows.T
