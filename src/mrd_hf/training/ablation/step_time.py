"""How long a run will take: by those of its arm that are done, or by a few steps of training."""

import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed

from ...data.loaders.augmentation import AugmentationConfig
from ...data.loaders.choices import ChoiceConfig
from ...data.loading import load_all_splits
from ..arguments import mapping_to_argv, parse_arguments
from ..distributed import set_cpu_threads, start_accelerator
from ..loop.freed_memory import keep_freed_memory
from ..model_building import build_model
from ..pretraining import Pretraining
from ..recipe_files import parse_config, parse_mapping
from ..training_data import open_training_shapes
from .planning import Run


# The first step of a process takes longer than the others.
WARM_UP_STEPS, MEASURED_STEPS = 1, 4
# Besides the steps, a run starts two processes, evaluates and draws.
SECONDS_BESIDE_STEPS = 40.0
# Keys of a recipe that change how long a step takes.
COSTLY = ("point_config", "num_points", "per_device_batch_size", "encoder_batch_size", "mixed_precision", "ema_decay")
SWITCHES = ("gradient_checkpointing", "compile", "tf32")
COSTLY_OF_LOSS = ("loss", "relation_form")


def cost_key(run: Run) -> str:
    """Alike for runs whose steps take as long."""
    recipe = run.arm.pretrain
    costly = {key: recipe.get(key) for key in (*COSTLY, *SWITCHES)}
    loss = recipe.get("mrd_config") or {}
    loss = parse_mapping(loss, "mrd_config") if isinstance(loss, str) else loss  # JSON, as on the command line
    costly |= {key: loss.get(key) for key in COSTLY_OF_LOSS}
    return json.dumps(costly, sort_keys=True)


@contextmanager
def _settings_of_its_own() -> Iterator[None]:
    """Within it accelerate's precision and torch's TF32, of which a process has one each, can be set; afterwards
    they are not, or are as they were."""
    tf32 = torch.backends.cuda.matmul.allow_tf32
    AcceleratorState._reset_state()
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        AcceleratorState._reset_state()


@_settings_of_its_own()
def measure_step(recipe: Mapping[str, object], threads: int) -> float:
    """Seconds of an optimizer step of a recipe of pretraining, on this machine as it is now; writes nothing.

    Args:
        recipe (mapping): With the dataset, as [`~mrd_hf.training.ablation.planning.pretrain_recipe`] makes it.
        threads (`int`)
    """
    data, model_arguments, training = parse_arguments(mapping_to_argv(dict(recipe), "pretrain"))
    accelerator = start_accelerator(training.mixed_precision, Path(training.output_dir))
    if accelerator.device.type == "cpu":
        set_cpu_threads(threads)
        keep_freed_memory()
    splits = load_all_splits(data.dataset)
    triplets = open_training_shapes(data, splits, ChoiceConfig({}, {}), training.seed, cached=True)
    set_seed(training.seed)
    run = Pretraining(
        build_model(model_arguments, triplets.embedding_dim, str(triplets.teacher)),
        triplets,
        training,
        accelerator,
        AugmentationConfig(**parse_config(data.augmentation, "augmentation", AugmentationConfig)),
        num_points=data.num_points or triplets.num_points,
    )
    run.model.train()
    times = []
    for batch in run.batches():
        began = time.perf_counter()
        run.train_step(batch)
        run.read_loss()  # of a GPU, which would still be at work
        run.step += 1
        times.append(time.perf_counter() - began)
        if len(times) == min(WARM_UP_STEPS + MEASURED_STEPS, training.num_train_steps):
            break
    return statistics.median(times[WARM_UP_STEPS:] or times)


def expected_seconds(
    runs: Sequence[Run], finished: Mapping[str, Sequence[float]], step_seconds: Mapping[str, float]
) -> list[float]:
    """How long each run will take, alone on its threads.

    Args:
        runs (sequence of [`Run`])
        finished (mapping): Of the names of arms, how long their finished runs took; of other arms nothing.
        step_seconds (mapping): By [`cost_key`], for those runs whose arms are not among `finished`.
    """
    return [
        statistics.median(finished[run.arm.name])
        if finished.get(run.arm.name)
        else run.arm.steps * step_seconds[cost_key(run)] + SECONDS_BESIDE_STEPS
        for run in runs
    ]


def expected_duration(seconds: Sequence[float], at_once: int) -> float:
    """How long runs take of which `at_once` go at a time, each begun when another has ended."""
    ends = [0.0] * at_once
    for length in seconds:
        place = ends.index(min(ends))
        ends[place] += length
    return max(ends)
