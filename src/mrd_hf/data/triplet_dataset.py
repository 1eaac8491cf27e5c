"""A triplet dataset as training reads it: whole batches, with one image and one text drawn for each shape."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset

from .triplet_schema import EMBEDDING_COLUMNS, SHAPE_COLUMNS, SOURCE_COLUMNS, check_columns


def uniform_draws(seed: int, stream: int, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) that depend on their arguments alone, not on who draws them, when or in which company.

    Args:
        seed (`int`)
        stream (`int`): Tells apart the draws made for one sample.
        epochs, indices (`np.ndarray` of shape `(n,)`)

    Returns:
        `np.ndarray` of shape `(n,)`, float64.

    Source: the finaliser of SplitMix64 (Steele, Lea, Flood 2014), applied once for each argument.
    """
    mixed = np.zeros(len(indices), dtype=np.uint64)
    for value in (seed, stream, epochs, indices):
        mixed = (mixed ^ np.asarray(value).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)) * 2.0**-53


class TripletDataset(torch.utils.data.Dataset):
    """Reads batches of (index, epoch) keys, as [`~mrd_hf.data.batch_sampler.ShuffledBatchSampler`] gives them.

    Which image and which text of a shape is drawn depends on the seed, the epoch and the shape alone, so it is the
    same for any number of loader workers and processes.

    Args:
        dataset (`datasets.Dataset`): With the columns of [`mrd_hf.data.triplet_schema`].
        seed (`int`)
        cached (`bool`): Whether to read cached embeddings, or the images and texts for a teacher to embed.
        name (`str`): The dataset's folder or Hub id, for messages.

    A batch is a dict: `ids` (list of str), `points` (float32 (batch, num_points, 3)), `colors`
    (float32 in 0..1, (batch, num_points, 3)), and `image_embeds`, `text_embeds` (float32 (batch, width)) or `images`
    (list of PIL images) and `texts` (list of str).

    Raises:
        UserError: when a column is missing.
    """

    def __init__(self, dataset: Dataset, seed: int, cached: bool, name: str) -> None:
        columns = (*SHAPE_COLUMNS, *(EMBEDDING_COLUMNS if cached else SOURCE_COLUMNS))
        check_columns(dataset.features, columns, name)
        self.seed = seed
        self.cached = cached
        self.arrays = dataset.select_columns(["points", "colors"]).with_format("numpy")
        others = ["id", "image_embeds", "text_embeds"] if cached else ["id", "images", "texts"]
        self.others = dataset.select_columns(others)
        if cached:
            self.others = self.others.with_format("numpy")

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def num_points(self) -> int:
        """Stored points of a shape."""
        return self.arrays[0]["points"].shape[0]

    def __getitem__(self, keys: list[tuple[int, int]]) -> dict[str, Any]:
        indices, epochs = (np.array(column) for column in zip(*keys, strict=True))
        arrays = self.arrays[indices.tolist()]
        others = self.others[indices.tolist()]
        batch: dict[str, Any] = {
            "ids": [str(i) for i in others["id"]],
            "points": torch.from_numpy(np.stack(arrays["points"])),
            "colors": torch.from_numpy(np.stack(arrays["colors"]).astype(np.float32)).div_(255),
        }
        for stream, kind in enumerate(("image", "text")):
            draws = uniform_draws(self.seed, stream, epochs, indices)
            choices = others[f"{kind}_embeds" if self.cached else f"{kind}s"]
            picked = [choice[int(draw * len(choice))] for choice, draw in zip(choices, draws.tolist(), strict=True)]
            if self.cached:
                batch[f"{kind}_embeds"] = torch.from_numpy(np.stack(picked).astype(np.float32))
            else:
                batch[f"{kind}s"] = [p["text"] for p in picked] if kind == "text" else picked
        return batch
