"""Training runs of a few steps in this process, on a tiny dataset."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from mrd_hf import MRDConfig, MRDForPretraining
from mrd_hf.data.loaders.augmentation import AugmentationConfig
from mrd_hf.data.loaders.triplet_dataset import TripletDataset
from mrd_hf.data.loading import load_triplets
from mrd_hf.training.arguments import PretrainingArguments
from mrd_hf.training.pretraining import Pretraining
from support.tiny_triplets import WIDTH


POINT_CONFIG = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_patches": 8,
    "patch_radius": 0.4,
    "patch_size": 8,
    "patch_feature_size": 16,
    "projection_dim": WIDTH,
    "drop_path_rate": 0.3,
}


def tiny_run(
    data: Path,
    output_dir: Path,
    cpu: bool = True,
    evaluate: Callable[[MRDForPretraining], dict[str, float]] | None = None,
    num_workers: int = 0,
    **arguments: Any,
) -> Pretraining:
    """A run that is ready to resume or to run.

    Args:
        data (`Path`): From `save_tiny_triplets`.
        output_dir (`Path`): Made if it is not there.
        cpu (`bool`): Whether to leave a GPU alone.
        evaluate (`Callable`, *optional*), num_workers (`int`): As for `Pretraining`.
        arguments: Changes to `PretrainingArguments`.
    """
    AcceleratorState._reset_state()
    torch.manual_seed(0)
    model = MRDForPretraining(MRDConfig(point_config=POINT_CONFIG))
    output_dir.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "num_train_steps": 6,
        "save_total_limit": 0,
        "per_device_batch_size": 8,
        "warmup_steps": 1,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "ema_decay": 0.5,
        **arguments,
    }
    training = PretrainingArguments(output_dir=str(output_dir), **settings)
    dataset = TripletDataset(load_triplets(data, "train"), training.seed, cached=True, name=str(data))
    accelerator = Accelerator(cpu=cpu, mixed_precision=training.mixed_precision)
    return Pretraining(
        model,
        dataset,
        training,
        accelerator,
        AugmentationConfig(),
        num_points=64,
        num_workers=num_workers,
        evaluate=evaluate,
    )


def train(run: Pretraining, steps: int) -> None:
    """A number of steps without what `Pretraining.run` does between them."""
    run.model.train()
    for batch, _ in zip(run.batches(), range(steps), strict=False):
        run.train_step(batch)
        run.step += 1


def weights(run: Pretraining) -> dict[str, torch.Tensor]:
    """Copies of a run's parameters."""
    model = run.accelerator.unwrap_model(run.model)
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
