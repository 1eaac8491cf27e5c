"""Which runs an ablation has, where each lives, what each is told, and who does which. Touches no file but status."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ...data.resplitting.teacher_changes import TeacherChanges
from ...errors import UserError
from .recipe import AblationRecipe, Arm


VALIDATION, TEST = "validation", "test"


@dataclass(frozen=True)
class Division:
    """A dataset that runs share: the shapes divided by a seed, with what is done to the teacher.

    Args:
        split (`int`): Seed of the division.
        changes ([`TeacherChanges`])
    """

    split: int
    changes: TeacherChanges

    @property
    def name(self) -> str:
        """Of its folder, such as `split-0` or `split-0-wrong_images-0.3`."""
        changed = [f"-{k}-{v!r}" for k, v in asdict(self.changes).items() if v]
        return f"split-{self.split}" + "".join(changed)


@dataclass(frozen=True)
class Run:
    """One arm trained with one seed on one split.

    Args:
        arm ([`Arm`])
        split (`int`), seed (`int`)
    """

    arm: Arm
    split: int
    seed: int

    @property
    def division(self) -> Division:
        return Division(self.split, self.arm.changes)

    @property
    def name(self) -> str:
        return f"{self.arm.name}, split {self.split}, seed {self.seed}"

    def folder(self, out: Path) -> Path:
        return out / "runs" / self.arm.name / f"split-{self.split}" / f"seed-{self.seed}"

    @property
    def work(self) -> int:
        """Shapes that pass through the encoder in training; to weigh runs of different lengths against each other."""
        return self.arm.steps * self.arm.batch_size


def plan_runs(recipe: AblationRecipe, only: Sequence[str] = ()) -> list[Run]:
    """All runs: of each split and seed its arms one after the other, so that pairs are soon complete.

    Args:
        recipe ([`AblationRecipe`])
        only (sequence of `str`): Names of the arms to take, or patterns with `*`; default: all.

    Raises:
        UserError: A pattern fits no arm.
    """
    for pattern in only:
        if not any(fnmatchcase(name, pattern) for name in recipe.arms):
            raise UserError(f"--only {pattern}: no such arm; there are {', '.join(recipe.arms)}.")
    arms = [arm for arm in recipe.arms.values() if not only or any(fnmatchcase(arm.name, p) for p in only)]
    return [Run(arm, split, seed) for split in recipe.splits for seed in recipe.seeds for arm in arms]


def share_of(runs: Sequence[Run], shard_index: int, num_shards: int) -> list[Run]:
    """What one of several machines does: all arms of every `num_shards`-th place, which is a split and seed.

    So the runs of a pair are of one machine; machines of different kinds differ as much as seeds do. There is no work
    for more shards than places.

    Raises:
        UserError: There is no such share.
    """
    if not 0 <= shard_index < num_shards:
        raise UserError(f"--shard-index must be from 0 to {num_shards - 1} of --num-shards {num_shards}.")
    places = list(dict.fromkeys((run.split, run.seed) for run in runs))
    mine = set(places[shard_index::num_shards])
    return [run for run in runs if (run.split, run.seed) in mine]


def pretrain_recipe(run: Run, recipe: AblationRecipe, out: Path, threads: int) -> dict[str, Any]:
    """What a run tells `mrd-hf pretrain`: its arm's recipe, and what all arms of one split and seed have alike.

    With `eval_steps`, scores on the way are of the validation names.
    """
    data = out / "data" / run.division.name
    evaluated: dict[str, Any] = {}
    if run.arm.pretrain.get("eval_steps"):
        evaluated = {"eval_split": VALIDATION}
        evaluated |= {} if recipe.class_texts is None else {"class_texts": str(data / "class_texts.parquet")}
    return {
        **run.arm.pretrain,
        "dataset": str(data),
        **evaluated,
        "output_dir": str(run.folder(out) / "pretrain"),
        "seed": run.seed,
        "cpu_threads": threads,
    }


def evaluate_argv(run: Run, recipe: AblationRecipe, out: Path, threads: int, split: str) -> list[str]:
    """The command line of `mrd-hf evaluate` for a run, after the command's name."""
    data, folder = out / "data" / run.division.name, run.folder(out)
    argv = ["--model", str(folder / "pretrain" / "encoder"), "--dataset", str(data), "--split", split]
    argv += [] if recipe.class_texts is None else ["--class-texts", str(data / "class_texts.parquet")]
    argv += ["--linear-probe"] if recipe.linear_probe else []
    return [*argv, "--cpu-threads", str(threads), "--overwrite", "--output", str(folder / split)]


def fingerprint(run: Run, recipe: AblationRecipe, data_sha256: str, threads: int, device: str = "cpu") -> str:
    """What a run's result depends on: its recipe, its data, the threads, which change the last digits, and the kind of
    device, which draws other random numbers."""
    told = {
        "pretrain": {key: value for key, value in run.arm.pretrain.items() if value is not None},
        "changes": asdict(run.arm.changes),
        "seed": run.seed,
        "ids_sha256": data_sha256,
        "labels": recipe.labels,
        "linear_probe": recipe.linear_probe,
        "threads": threads,
    }
    if device != "cpu":
        told["device"] = device
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
