"""Batches of shapes that the teacher's texts hardly tell apart: seeds with their nearest neighbours.

Source: OpenShape (arXiv 2305.10764) and its training code, which uses them only once training has converged. There,
as here, a seed's neighbours in a batch are drawn from its 31 nearest. What differs: a batch has no shape twice, and
its seeds are drawn for the global batch.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ...errors import UserError
from ...files.atomic_file import atomic_file
from ...models.float32_products import exact_float32_products
from .batch_sampler import GlobalBatchSampler
from .triplet_dataset import TripletDataset


# Neighbours of each shape to draw from.
NEIGHBORS = 31
NEIGHBORS_FILE = "text_neighbors.safetensors"
# Similarities to hold in memory at a time: 256 MiB of float32.
SIMILARITIES_AT_ONCE = 2**26


def text_vectors(dataset: TripletDataset) -> np.ndarray:
    """Where each shape is in the teacher's text space: the mean of its text embeddings, L2-normalised.

    Returns:
        `np.ndarray` of shape `(num_shapes, embedding_dim)`, float32.
    """
    rows = dataset.rows.text_embeds
    vectors = np.empty((len(dataset), dataset.embedding_dim), dtype=np.float32)
    for number, row in enumerate(dataset.table_rows[dataset.usable].tolist()):
        vectors[number] = rows[row].astype(np.float32).mean(axis=0)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def most_similar_rows(vectors: np.ndarray, count: int, device: torch.device | str = "cpu") -> np.ndarray:
    """The `count` other vectors with the largest inner product with each vector, nearest first; exact.

    On a CPU by faiss, where it is installed; on a GPU, and without faiss, by torch. They may order vectors that are
    equally near differently. The time grows with n squared: let a GPU do it for more than some 100,000.

    Args:
        vectors (`np.ndarray` of shape `(n, embedding_dim)`): float32.
        count (`int`): Less than n.
        device (`torch.device` or `str`, defaults to `"cpu"`)

    Returns:
        `np.ndarray` of shape `(n, count)`, int64.
    """
    if torch.device(device).type == "cpu":
        try:
            import faiss
        except ImportError:
            pass
        else:
            index = faiss.IndexFlatIP(vectors.shape[1])
            index.add(np.ascontiguousarray(vectors))
            return _without_self(index.search(np.ascontiguousarray(vectors), count + 1)[1], first_row=0)
    gallery = torch.from_numpy(vectors).to(device)
    step = max(1, SIMILARITIES_AT_ONCE // len(vectors))
    with exact_float32_products():  # a run with --tf32 has switched that on by now
        found = [
            _without_self(
                (gallery[start : start + step] @ gallery.T).topk(count + 1, dim=1).indices.cpu().numpy(), start
            )
            for start in range(0, len(vectors), step)
        ]
    return np.concatenate(found)


def _without_self(found: np.ndarray, first_row: int) -> np.ndarray:
    """Take out of each row its own number or, where equal vectors have crowded it out, the last one."""
    others = found != np.arange(first_row, first_row + len(found))[:, None]
    others[others.all(axis=1), -1] = False
    return found[others].reshape(len(found), -1).astype(np.int64)


def save_neighbors(neighbors: np.ndarray, path: Path) -> None:
    """Write neighbours to a safetensors file, whole or not at all."""
    with atomic_file(path) as sink:
        sink.write(save({"neighbors": neighbors.astype(np.int32)}))


def load_neighbors(path: Path, num_shapes: int, count: int) -> np.ndarray:
    """Read what [`save_neighbors`] wrote.

    Args:
        path (`Path`)
        num_shapes (`int`), count (`int`): Of the shapes and of each one's neighbours, as they are expected.

    Raises:
        UserError: when the file is damaged, or of other shapes.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            neighbors = file.get_tensor("neighbors")
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {path}: {error}; delete it, and it is regenerated.") from None
    if neighbors.shape != (num_shapes, count):
        raise UserError(
            f"{path}: has {neighbors.shape[1]} neighbors of {len(neighbors)} shapes, expected {count} of "
            f"{num_shapes}; it belongs to another dataset or to other arguments; delete it, and it is regenerated."
        )
    return neighbors


class HardNegativeBatchSampler(GlobalBatchSampler):
    """Batches of random seeds, each followed by neighbours drawn for it; in the place of the epoch stands the batch.

    There are no epochs: seeds are drawn independently for each batch. A neighbour that the batch has already is not
    repeated.

    Args:
        neighbors (`np.ndarray` of shape `(num_shapes, num_neighbors)`): See [`most_similar_rows`].
        per_seed (`int`): Neighbours to draw for each seed, at most `num_neighbors`.
        sizes_and_place: The other arguments of [`GlobalBatchSampler`], in their order or by their names.

    Raises:
        UserError: when the dataset is smaller than one global batch.
    """

    def __init__(self, neighbors: np.ndarray, per_seed: int, *sizes_and_place: int, **by_name: int) -> None:
        super().__init__(len(neighbors), *sizes_and_place, **by_name)
        self.neighbors = neighbors
        self.per_seed = per_seed

    def global_batch(self, batch: int) -> list[tuple[int, int]]:
        generator = np.random.default_rng([self.seed, batch])
        chosen: dict[int, None] = {}
        for seed in generator.permutation(len(self.neighbors)).tolist():
            if seed not in chosen:
                drawn = generator.permutation(self.neighbors[seed])[: self.per_seed]
                chosen |= dict.fromkeys([seed, *drawn.tolist()])
            if len(chosen) >= self.global_batch_size:
                break
        return [(index, batch) for index in list(chosen)[: self.global_batch_size]]
