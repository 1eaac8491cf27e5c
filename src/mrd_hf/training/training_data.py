"""The shapes to train on, and what must hold of them before a run begins."""

from pathlib import Path

import numpy as np
from accelerate import Accelerator
from datasets import DatasetDict

from ..data.loaders.choices import ChoiceConfig
from ..data.loaders.hard_negatives import load_neighbors, most_similar_rows, save_neighbors, text_vectors
from ..data.loaders.triplet_dataset import TripletDataset
from ..data.loaders.triplet_shards import TripletShards
from ..data.loading import pick_split
from ..errors import UserError
from .arguments import DataArguments


def check_points(data: DataArguments, triplets: TripletDataset | TripletShards, min_points: int) -> None:
    """Raise a [`UserError`] if shapes do not have as many points as are asked for, or as the encoder needs."""
    if data.num_points is not None and data.num_points > triplets.num_points:
        raise UserError(
            f"num_points is {data.num_points}, and the shapes of {data.dataset} have {triplets.num_points} points; "
            "leave it out to use all of them."
        )
    num_points = data.num_points or triplets.num_points
    if min_points > num_points:
        raise UserError(
            f"the encoder needs {min_points} points of a shape, and shapes have {num_points} here; use more, or lower "
            "num_patches in point_config."
        )


def open_training_shapes(
    data: DataArguments, splits: DatasetDict | None, choice: ChoiceConfig, seed: int, cached: bool
) -> TripletDataset | TripletShards:
    """The shapes to train on: of a dataset's splits, or streamed where there are none."""
    if splits is None:
        return TripletShards(data.dataset, data.train_split, seed, cached, choice, data.shuffle_buffer)
    return TripletDataset(pick_split(splits, data.dataset, data.train_split), seed, cached, data.dataset, choice)


def check_hard_negatives(triplets: TripletDataset | TripletShards, count: int) -> None:
    """Raise a [`UserError`] if the shapes cannot have that many neighbours by cached text embeddings."""
    if isinstance(triplets, TripletShards):
        raise UserError("hard_negatives picks shapes from all of the dataset; leave out streaming.")
    if not triplets.cached:
        raise UserError("hard_negatives needs cached embeddings; make them with mrd-hf embed-teacher.")
    if len(triplets) <= count:
        message = f"hard_negatives draws from the {count} nearest shapes, and the dataset has {len(triplets)} in all"
        raise UserError(f"{message}; leave it out.")


def find_neighbors(accelerator: Accelerator, triplets: TripletDataset, count: int, path: Path) -> np.ndarray:
    """Each shape's neighbours in the teacher's text space: computed once, by the main process, and kept."""
    if accelerator.is_main_process and not path.exists():
        save_neighbors(most_similar_rows(text_vectors(triplets), count, accelerator.device), path)
    accelerator.wait_for_everyone()
    return load_neighbors(path, len(triplets), count)
