"""Training runs in processes of their own, plain, by DDP and by FSDP2, for the tests of what several processes do."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import save_file

from mrd_hf import MRDConfig, MRDForPretraining
from mrd_hf.data.loaders.augmentation import AugmentationConfig
from mrd_hf.data.loaders.triplet_dataset import TripletDataset
from mrd_hf.data.loading import load_triplets
from mrd_hf.training import pretraining
from mrd_hf.training.arguments import PretrainingArguments
from mrd_hf.training.pretraining import Pretraining


GLOBAL_BATCH = 8
# A class token of odd width, so that its halves are of different sizes.
POINT_CONFIG = {
    "hidden_size": 33,
    "intermediate_size": 65,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_patches": 8,
    "patch_radius": 0.4,
    "patch_size": 8,
    "patch_feature_size": 15,
    "projection_dim": 12,
}
UNI3D_CONFIG = {
    "model_type": "uni3d",
    "hidden_size": 33,
    "intermediate_size": 65,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_patches": 8,
    "patch_size": 8,
    "patch_hidden_size": 5,
    "patch_feature_size": 15,
    "position_hidden_size": 7,
    "projection_dim": 12,
}
FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "PointBertLayer",
}


class OnRunningStatistics(torch.nn.BatchNorm1d):
    """Batch statistics are of each process's own batch; running statistics are the same for any number of them."""

    def train(self, mode: bool = True) -> torch.nn.Module:
        return super().train(False)


def unchanged(points: torch.Tensor, colors: torch.Tensor, *_: object) -> torch.Tensor:
    """In place of the augmentation, whose draws depend on the process."""
    return torch.cat([points, colors], dim=-1)


def start_run(
    data: Path,
    output_dir: Path,
    fsdp2: bool,
    alike: bool = False,
    model_seed: int = 0,
    uni3d: bool = False,
    evaluate: Callable | None = None,
    **arguments: object,
) -> Pretraining:
    """A run that is ready to resume or to run.

    Args:
        data (`Path`): A tiny triplet dataset.
        output_dir (`Path`): Made if it is not there.
        fsdp2 (`bool`): Whether to shard; otherwise DDP, or nothing with one process.
        alike (`bool`): Whether to leave out all that differs between numbers of processes: batch statistics,
            augmentation, stochastic depth.
        model_seed (`int`): Of the initial weights.
        uni3d (`bool`): Whether the encoder is Uni3D; otherwise PointBERT.
        evaluate (`Callable`, *optional*): As for `Pretraining`.
        arguments: Changes to `PretrainingArguments`.
    """
    for name in FSDP2:
        os.environ.pop(name, None)
    os.environ.update(FSDP2 if fsdp2 else {})
    if uni3d:
        os.environ["FSDP_TRANSFORMER_CLS_TO_WRAP"] = "Uni3DLayer"
    AcceleratorState._reset_state()
    world_size = int(os.environ["WORLD_SIZE"])
    torch.manual_seed(model_seed)
    drop_path = 0.0 if alike else 0.3
    config = MRDConfig(point_config={**(UNI3D_CONFIG if uni3d else POINT_CONFIG), "drop_path_rate": drop_path})
    model = MRDForPretraining(config)
    if alike:
        for norm in [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm1d)]:
            norm.__class__ = OnRunningStatistics
    output_dir.mkdir(parents=True, exist_ok=True)
    settings: dict = {
        "num_train_steps": 4,
        "save_steps": 2,
        "save_total_limit": 0,
        "per_device_batch_size": GLOBAL_BATCH // world_size,
        "warmup_steps": 1,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "loss_learning_rate": 1e-2,
        "ema_decay": 0.5,
        **arguments,
    }
    training = PretrainingArguments(output_dir=str(output_dir), **settings)
    dataset = TripletDataset(load_triplets(data, "train"), training.seed, cached=True, name=str(data))
    pretraining.augment_point_clouds = unchanged if alike else AUGMENT
    return Pretraining(
        model,
        dataset,
        training,
        Accelerator(cpu=True, mixed_precision=training.mixed_precision),
        AugmentationConfig(),
        num_points=96 if alike else 64,
        evaluate=evaluate,
    )


AUGMENT = pretraining.augment_point_clouds


def save_weights(run: Pretraining, path: Path) -> None:
    """The trained weights and, after "average.", their moving average, whole, from the first process."""
    model = run.accelerator.unwrap_model(run.model)
    models = {"": model} if run.average is None else {"": model, "average.": run.average.module}
    whole = {p: m if run.sharded is None else pretraining.whole_model(m) for p, m in models.items()}
    if run.accelerator.is_main_process:
        save_file({f"{p}{k}": v.contiguous() for p, m in whole.items() for k, v in m.state_dict().items()}, path)
