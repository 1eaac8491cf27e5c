"""Batches as a run saw them: drawn, chosen and augmented in the same ways, from a seed of their own.

For a seed they are the same whatever the run's model is, so that models can be compared batch by batch.
"""

from collections.abc import Iterator

import numpy as np
import torch

from ...data.loaders.augmentation import AugmentationConfig, augment_point_clouds
from ...data.loaders.batch_sampler import ShuffledBatchSampler
from ...data.loaders.choices import ChoiceConfig
from ...data.loaders.triplet_dataset import TripletDataset
from ...data.loading import load_triplets
from ...encoder import trained_up_axis
from ..recipe_files import parse_config, parse_mapping
from .run_folder import RunFolder


def open_triplets(run: RunFolder, dataset: str, split: str, seed: int) -> TripletDataset:
    """The shapes of a split, with the texts and images that training draws with this seed.

    Raises:
        UserError: when the dataset cannot be read, or has no cached embeddings.
    """
    choice = ChoiceConfig(
        parse_mapping(run.data.text_weights, "text_weights"),
        parse_mapping(run.data.first_image_probability, "first_image_probability"),
    )
    return TripletDataset(load_triplets(dataset, split), seed, True, dataset, choice)


def replayed_batches(
    run: RunFolder, triplets: TripletDataset, batch_size: int, num_batches: int, seed: int
) -> Iterator[dict[str, torch.Tensor]]:
    """The model's inputs, batch by batch, augmented as the run augments.

    Before each batch torch's global generator is seeded, for dropout and stochastic depth.

    Args:
        run ([`RunFolder`])
        triplets ([`TripletDataset`])
        batch_size (`int`): Shapes in a batch.
        num_batches (`int`)
        seed (`int`): Of which shapes, and how they are augmented.

    Yields:
        `dict` of `point_values`, `image_embeds` and `text_embeds`.

    Raises:
        UserError: when there are fewer shapes than in a batch.
    """
    augmentation = AugmentationConfig(**parse_config(run.data.augmentation, "augmentation", AugmentationConfig))
    num_points = run.data.num_points or triplets.num_points
    up_axis = "y" if run.model.encoder is None else trained_up_axis(run.model.encoder)
    generator = torch.Generator()
    for index, keys in enumerate(ShuffledBatchSampler(len(triplets), batch_size, num_batches, seed)):
        batch = triplets[keys]
        entropy = np.random.SeedSequence([seed, index])
        augmentation_seed, global_seed = (int(word) >> 1 for word in entropy.generate_state(2, np.uint64))
        generator.manual_seed(augmentation_seed)
        torch.manual_seed(global_seed)
        points = augment_point_clouds(batch["points"], batch["colors"], num_points, augmentation, generator, up_axis)
        yield {
            "point_values": points,
            "image_embeds": batch["image_embeds"],
            "text_embeds": batch["text_embeds"],
        }
