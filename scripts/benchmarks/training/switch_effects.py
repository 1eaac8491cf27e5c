"""What each switch of pretraining does to a step: its time, what it keeps in memory, and what the first step takes.

    python scripts/benchmarks/training/switch_effects.py --rounds 7
    python scripts/benchmarks/training/switch_effects.py --rounds 20 --point-config '{"hidden_size": 512, ...}'

All variants are trained in turn, a step each, in one process, so that a busy machine slows them alike; on CPUs by the
processor's clock. Times are relative to the run without switches.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed

from mrd_hf.data.loaders.augmentation import AugmentationConfig
from mrd_hf.data.loaders.choices import ChoiceConfig
from mrd_hf.data.loading import load_all_splits
from mrd_hf.training.arguments import parse_arguments
from mrd_hf.training.distributed import set_cpu_threads
from mrd_hf.training.model_building import build_model
from mrd_hf.training.pretraining import Pretraining
from mrd_hf.training.recipe_files import parse_config
from mrd_hf.training.training_data import open_training_shapes


VARIANTS: dict[str, list[str]] = {
    "no switch": [],
    "AdamW not fused": [],
    "loss read every step": [],
    "gradient checkpointing": ["--gradient-checkpointing"],
    "parts of 16 (gradient cache)": ["--encoder-batch-size", "16"],
    "compile": ["--compile"],
    "compile, gradient checkpointing": ["--compile", "--gradient-checkpointing"],
}
GPU_VARIANTS = {"bf16": ["--mixed-precision", "bf16"], "tf32": ["--tf32"]}


def start(name: str, options: list[str], folder: str) -> Pretraining:
    """A run of the demo's recipe with some options."""
    AcceleratorState._reset_state()
    data, model_arguments, training = parse_arguments(["--config", "demo", "-o", folder, *options])
    accelerator = Accelerator(mixed_precision=training.mixed_precision)
    if accelerator.device.type == "cpu":
        set_cpu_threads(training.cpu_threads)
    triplets = open_training_shapes(
        data, load_all_splits(data.dataset), ChoiceConfig({}, {}), training.seed, cached=True
    )
    set_seed(training.seed)
    run = Pretraining(
        build_model(model_arguments, triplets.embedding_dim, str(triplets.teacher)),
        triplets,
        training,
        accelerator,
        AugmentationConfig(**parse_config(data.augmentation, "augmentation", AugmentationConfig)),
        num_points=data.num_points or triplets.num_points,
    )
    # A flag on the device is for fused optimizers alone.
    run.finite.at_once |= name in ("loss read every step", "AdamW not fused")
    if name == "AdamW not fused":
        for group in run.torch_optimizer.param_groups:
            group["fused"] = None
    run.model.train()
    return run


def seconds_of_step(run: Pretraining, batch: dict[str, Any]) -> float:
    on_gpu = run.accelerator.device.type == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = run.arguments.tf32  # else the process's, for all variants
    clock = time.perf_counter if on_gpu else time.process_time
    began = clock()
    run.train_step(batch)
    run.step += 1
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - began


def kept_mib(run: Pretraining, batch: dict[str, Any]) -> float:
    """What the forward pass keeps for the backward pass, without the weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in run.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    inputs = run.model_inputs(batch)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = run.model(**inputs, encoder_batch_size=run.arguments.encoder_batch_size)
    del output
    return sum(kept.values()) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="steps of each variant after its first")
    parser.add_argument("--point-config", default="{}", help="changes to the demo's encoder, as JSON")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--only", nargs="*", default=[], help="beginnings of names of variants; default: all")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args()
    variants = {**VARIANTS, **(GPU_VARIANTS if torch.cuda.is_available() else {})}
    if args.only:
        variants = {k: v for k, v in variants.items() if k == "no switch" or k.startswith(tuple(args.only))}
    demo = ["--per-device-batch-size", str(args.batch_size), "--num-train-steps", "1000"]
    demo += ["--cpu-threads", "1"]  # threads that wait for each other would count as work
    if args.point_config != "{}":
        demo += ["--point-config", args.point_config]
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: start(name, [*demo, *options], folder) for name, options in variants.items()}
        batches = {name: next(run.batches()) for name, run in runs.items()}
        rows: dict[str, dict[str, Any]] = {}
        for name, run in runs.items():
            kept = None if run.arguments.compile else round(kept_mib(run, batches[name]))
            rows[name] = {"kept_mib": kept, "first_step_s": round(seconds_of_step(run, batches[name]), 2)}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(args.rounds):
            for name, run in runs.items():
                times[name].append(seconds_of_step(run, batches[name]))
    plain = statistics.median(times["no switch"])
    print("| variant | step, relative | lowest to highest | MiB kept | first step, s |\n|---|---|---|---|---|")
    for name, seconds in times.items():
        shares = sorted(s / plain for s in seconds)
        row = rows[name] | {"relative": statistics.median(shares), "seconds": seconds}
        print(
            f"| {name} | {row['relative']:.2f} | {shares[0]:.2f} to {shares[-1]:.2f} | {row['kept_mib']} | "
            f"{row['first_step_s']} |"
        )
        rows[name] = row
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
