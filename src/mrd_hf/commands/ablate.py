"""Compare ways to train: arms x seeds x splits over one dataset, and a table with paired intervals.

Each run is a process: mrd-hf pretrain, then mrd-hf evaluate. In one split and seed all arms have the same shapes,
order, augmentation, initial weights and threads. The same command again resumes what was interrupted; what is done
stays.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import yaml
from accelerate import PartialState

from ..data.resplitting.resplitting import REPORT_FILE, digests_of_sources, resplit_dataset
from ..errors import UserError
from ..files.atomic_file import atomic_file
from ..files.atomic_folder import check_writable
from ..training.ablation.planning import (
    TEST,
    VALIDATION,
    Division,
    Run,
    evaluate_argv,
    fingerprint,
    plan_runs,
    pretrain_recipe,
    share_of,
)
from ..training.ablation.progress import Progress, as_time
from ..training.ablation.recipe import AblationRecipe, ablation_names, read_ablation
from ..training.ablation.running import Job, Outcome, Stage, environment_of_runs, one_at_a_time, run_jobs
from ..training.ablation.status import checked_status, read_status
from ..training.ablation.step_time import (
    SECONDS_BESIDE_STEPS,
    cost_key,
    expected_duration,
    expected_seconds,
    measure_step,
)
from .ablation_table import read_shapes, write_tables
from .arguments import CommandParser, from_zero, positive
from .termination import exit_on_sigterm


EXAMPLES = f"""\
example:
  mrd-hf ablate --config main --output outputs/main --dry-run
  mrd-hf ablate --config main --output outputs/main
  mrd-hf ablate --config main --output outputs/main --test
  mrd-hf ablate --config arms --output outputs/arms --only 'temperature*' --only mrd

recipes of the package: {", ".join(ablation_names())}; see docs/ablation.md for how to write one.

written to --output:
  table.md, table.json           each arm's scores and its difference to its baseline, with 95% intervals
  differences.png, curve-*.png   the same as pictures
  courses.png                    arms with eval_steps: training and held-out figures over the steps
  runs/ARM/split-S/seed-N/       a run's log, report and encoder
  data/                          the dataset, divided
With --test, --against and --shapes the files of the table have names of their own: test-table.md and so on.
"""
ATTENDED = [sys.executable, "-m", "mrd_hf_cli.attended"]
# A run of the demo's size takes 1.1 GiB.
BYTES_OF_A_RUN = 2 * 2**30


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(prog="mrd-hf ablate", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("--config", required=True, help="recipe: a YAML file, or the name of one of the package")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of all runs and the table")
    parser.add_argument(
        "--only", action="append", default=[], metavar="ARM", help="run this arm alone; several, or patterns with *"
    )
    parser.add_argument(
        "--test",
        action="store_true",
        help="score on the test names; without it on the validation names, by which settings are chosen",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the runs and the hours they will take")
    parser.add_argument("--table-only", action="store_true", help="run nothing; make the table of what is there")
    parser.add_argument(
        "--against", metavar="ARM", help="compare all arms with this one, in a table of its own, besides the recipe's"
    )
    parser.add_argument(
        "--shapes",
        type=Path,
        metavar="FILE",
        help="make a table of some shapes alone, whose ids the text file has, one a line, besides the whole one",
    )
    machine = parser.add_argument_group("the machine")
    machine.add_argument(
        "--jobs", type=positive, metavar="N", help="runs at a time (default: as cores and memory allow; 1 on a GPU)"
    )
    machine.add_argument(
        "--threads",
        type=positive,
        default=1,
        metavar="N",
        help="of each run; other numbers give other last digits, and so other scores (default: 1)",
    )
    machine.add_argument(
        "--num-shards",
        type=positive,
        default=1,
        metavar="N",
        help="machines that share the runs, all arms of a split and seed on one of them; more machines than splits x "
        "seeds find nothing to do",
    )
    machine.add_argument("--shard-index", type=from_zero, default=0, metavar="I", help="which of them this is, from 0")
    return parser.parse_args(argv)


def runs_at_once(threads: int) -> int:
    """How many runs this machine has room for."""
    if torch.cuda.is_available():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // threads, _free_memory() // BYTES_OF_A_RUN))


def _free_memory() -> int:
    """Bytes that are free, where the system says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return 2**62


def prepare_division(division: Division, recipe: AblationRecipe, out: Path) -> str:
    """Make a divided dataset where it is not there yet; returns a digest of it.

    Raises:
        UserError: The one that is there was made with other settings, or of what has been changed since.
    """
    folder = out / "data" / division.name
    with one_at_a_time(out / "data" / "lock"):
        if not (folder / REPORT_FILE).is_file():
            report = resplit_dataset(
                recipe.dataset,
                folder,
                division.split,
                recipe.test_share,
                recipe.validation_share,
                recipe.labels,
                recipe.class_texts,
                division.changes,
                overwrite=True,
            )
            print(f"{folder}: {report['splits']} shapes, {report['labeled']} with a label", file=sys.stderr)
        made = json.loads((folder / REPORT_FILE).read_text())
    wanted = {
        key: getattr(recipe, key) for key in ("dataset", "test_share", "validation_share", "labels", "class_texts")
    }
    wanted |= {"seed": division.split, "changes": asdict(division.changes)}
    for key, value in wanted.items():
        if made["settings"][key] != value:
            raise UserError(
                f"{folder}: was made with {key} {made['settings'][key]}, and the recipe has {value}; name another "
                "--output."
            )
    if recipe.class_texts is not None and not all(made["labeled"][split] for split in (VALIDATION, TEST)):
        raise UserError(
            f"{folder}: no shape of its validation or test part has a category, so {recipe.class_texts} has nothing "
            "to be compared with; give labels, or leave out class_texts."
        )
    sources = digests_of_sources(recipe.dataset, recipe.labels, recipe.class_texts)
    for key, digest in made.get("sources", {}).items():  # earlier versions did not note them
        if digest != sources[key]:
            raise UserError(
                f"{folder}: was made before {getattr(recipe, key)} was changed, and so were the runs; name another "
                "--output."
            )
    return str(made.get("contents_sha256", made["ids_sha256"]))


def make_jobs(
    runs: Sequence[Run], recipe: AblationRecipe, out: Path, threads: int, split: str, divisions: dict[Division, str]
) -> list[Job]:
    """What is to be done of each run: its training, unless it is done, and its evaluation on a split."""
    jobs, device = [], PartialState().device.type  # the runs', which choose theirs in the same way
    for run in runs:
        folder = run.folder(out)
        of_run = fingerprint(run, recipe, divisions[run.division], threads, device)
        status = checked_status(folder, of_run, threads, device)
        status.failed.clear()  # it is tried again
        told = folder / "recipe.yaml"
        train = ["pretrain", "--config", str(told), "--resume-from-checkpoint", "latest"]
        evaluate = ["evaluate", *evaluate_argv(run, recipe, out, threads, split)]
        stages = [Stage("pretrain", [*ATTENDED, *train], resumes=True), Stage(split, [*ATTENDED, *evaluate])]
        jobs.append(Job(run.name, folder, stages, status))
        if not jobs[-1].finished:
            folder.mkdir(parents=True, exist_ok=True)
            told.write_text(yaml.safe_dump(pretrain_recipe(run, recipe, out, threads), sort_keys=False))
    return jobs


def keep_recipe(told: bytes, file: Path) -> None:
    """Write down a recipe where it resumes the runs, unless it came from there, or is one of the package."""
    if told and not (file.is_file() and file.read_bytes() == told):
        with atomic_file(file) as sink:
            sink.write(told)


def dry_run(arguments: argparse.Namespace, runs: Sequence[Run], recipe: AblationRecipe, at_once: int) -> None:
    """List the runs, and how long those will take that are not done."""
    out, split = arguments.output, TEST if arguments.test else VALIDATION
    finished: dict[str, list[float]] = {}
    evaluations: list[float] = []
    todo, trained_ones = [], set()
    for run in plan_runs(recipe):
        status = read_status(run.folder(out))
        seconds = None if status is None else status.seconds
        if seconds is None or split not in seconds:
            todo += [run] if run in runs else []
        if seconds is not None and (trained := seconds.get("pretrain")) is not None:
            evaluated = next((value for stage, value in seconds.items() if stage != "pretrain" and value), 0.0)
            finished.setdefault(run.arm.name, []).append(trained + evaluated)
        if seconds is not None and "pretrain" in seconds:
            trained_ones.add(run.name)
            evaluations += [value for stage, value in seconds.items() if stage != "pretrain" and value]
    # Of those that are trained an evaluation is left, which takes about as long in every arm.
    evaluated = statistics.median(evaluations) if evaluations else SECONDS_BESIDE_STEPS
    unknown = {cost_key(run): run for run in todo if run.arm.name not in finished and run.name not in trained_ones}
    step_seconds = {}
    for key, run in unknown.items():
        # Of the data before it is divided, as a step takes as long with it.
        told = pretrain_recipe(run, recipe, out, arguments.threads) | {"dataset": recipe.dataset, "eval_steps": None}
        told = {name: value for name, value in told.items() if name not in ("eval_split", "class_texts")}
        step_seconds[key] = measure_step(told, arguments.threads)
        print(f"{run.arm.name}: {step_seconds[key]:.2f} s a step, measured now", file=sys.stderr)
    seconds_of_todo = [
        evaluated if run.name in trained_ones else expected_seconds([run], finished, step_seconds)[0] for run in todo
    ]
    expected = {run.name: seconds for run, seconds in zip(todo, seconds_of_todo, strict=True)}
    for run in runs:
        print(f"{run.name}: {as_time(expected[run.name]) if run.name in expected else 'done'}")
    total = expected_duration(seconds_of_todo, at_once)
    print(f"{len(runs)} runs, {len(todo)} to do, {at_once} at a time: {total / 3600:.2f} hours expected")


def report_failures(outcome: Outcome, out: Path) -> None:
    for job in outcome.elsewhere:
        print(f"{job.name}: another process is at work on it")
    for job in outcome.failed:
        for stage, shown in job.status.failed.items():
            print(f"\n{job.name}: {stage} failed; the end of {job.folder / 'log.txt'}:\n{shown}")
    if outcome.failed:
        count = len(outcome.failed)
        raise UserError(f"{out}: {count} runs failed, listed above; the same command tries them again.", exit_code=1)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is to be run, and make the table."""
    arguments = parse_arguments(argv)
    recipe = read_ablation(arguments.config)
    all_runs = plan_runs(recipe)
    if arguments.against is not None and arguments.against not in recipe.arms:
        raise UserError(f"--against {arguments.against}: no such arm; there are {', '.join(recipe.arms)}.")
    shapes = None if arguments.shapes is None else read_shapes(arguments.shapes)
    runs = share_of(plan_runs(recipe, arguments.only), arguments.shard_index, arguments.num_shards)
    at_once = arguments.jobs or runs_at_once(arguments.threads)
    if arguments.dry_run:
        dry_run(arguments, runs, recipe, at_once)
        return
    out, split = arguments.output, TEST if arguments.test else VALIDATION
    check_writable(out)
    outcome = Outcome()
    if not arguments.table_only:
        out.mkdir(parents=True, exist_ok=True)
        told = Path(arguments.config).read_bytes() if Path(arguments.config).is_file() else b""  # one of the package
        divisions = {division: prepare_division(division, recipe, out) for division in {run.division for run in runs}}
        jobs = make_jobs(runs, recipe, out, arguments.threads, split, divisions)
        keep_recipe(told, out / "recipe.yaml")  # which is that of the runs that are there
        sizes = {run.name: run.work for run in runs}, {run.name: run.arm.steps for run in runs}
        progress = Progress(jobs, *sizes)
        with exit_on_sigterm():
            outcome = run_jobs(jobs, at_once, environment_of_runs(arguments.threads), progress)
        progress.end()
    write_tables(recipe, all_runs, out, split)
    if arguments.against is not None:
        write_tables(recipe, all_runs, out, split, arguments.against)
    report_failures(outcome, out)
    if shapes is not None:
        write_tables(recipe, all_runs, out, split, arguments.against, shapes)


if __name__ == "__main__":
    from mrd_hf_cli.running import run_script

    run_script(main)
