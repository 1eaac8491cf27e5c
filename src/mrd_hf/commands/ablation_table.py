"""The table and pictures of an ablation, from the reports of its runs."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..data.resplitting.resplitting import REPORT_FILE
from ..errors import UserError
from ..evaluation.ablation.arm_courses import HELD_OUT_KEYS, TRAINING_KEY, Course, arm_course
from ..evaluation.ablation.arm_scores import Place, RunOutcomes, arm_scores, mixed_pairs, read_outcomes
from ..evaluation.ablation.arm_table import as_json, as_markdown
from ..evaluation.plots.ablation_plots import CurvePoint, write_curves, write_forest
from ..evaluation.plots.course_plot import write_courses
from ..files.atomic_file import atomic_file
from ..training.ablation.planning import TEST, Division, Run, fingerprint
from ..training.ablation.recipe import AblationRecipe
from ..training.ablation.status import Status, check_fingerprint, read_status
from ..training.pretraining import LOG_FILE
from ..training.training_log import read_log


CHOOSING = "Scored on the **validation** names, by which settings may be chosen."
LAST = "Scored on the **test** names, which are for one look at the end and not for choosing settings."


class Shapes(NamedTuple):
    """Some of the shapes, for a table of them alone: its name, and their ids."""

    name: str
    ids: frozenset[str]


def read_shapes(file: Path) -> Shapes:
    """Ids in a text file, one a line.

    Raises:
        UserError: It cannot be read, or has none.
    """
    try:
        ids = frozenset(file.read_text(encoding="utf-8").split("\n")) - {""}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); give a text file with the id of a shape a line.") from None
    if not ids:
        raise UserError(f"{file}: has no ids; write one a line.")
    return Shapes(file.stem, ids)


def write_tables(
    recipe: AblationRecipe,
    runs: list[Run],
    out: Path,
    split: str,
    against: str | None = None,
    shapes: Shapes | None = None,
) -> None:
    """Write the table as Markdown and JSON, and the pictures; print where they are.

    Args:
        recipe ([`AblationRecipe`])
        runs (list of [`Run`]): All that were planned, whoever runs them.
        out (`Path`): The ablation's folder.
        split (`str`): On which the runs were evaluated.
        against (`str`, *optional*): The arm to compare all others with; default: as the recipe says.
        shapes ([`Shapes`], *optional*): Which of the evaluated shapes count; default: all.

    Raises:
        UserError: A run has other settings or data than the recipe, or other threads than the others.
    """
    statuses = _checked_statuses(recipe, runs, out)
    results: dict[str, dict[Place, RunOutcomes]] = {}
    logs: dict[str, list[list[dict[str, float]]]] = {}
    seconds, versions, codes, failed = 0.0, set[str](), set[str](), 0
    for run, status in statuses:
        folder = run.folder(out)
        seconds += sum(value or 0.0 for value in status.seconds.values())
        failed += bool(status.failed)
        if split in status.seconds:
            versions.add(status.version)
            codes.add(status.code)
            outcomes = replace(read_outcomes(folder / split), processor=status.cpu)
            if shapes is not None:
                outcomes = outcomes.of_shapes(shapes.ids)
            results.setdefault(run.arm.name, {})[run.split, run.seed] = outcomes
            if run.arm.pretrain.get("eval_steps"):
                logs.setdefault(run.arm.name, []).append(read_log(folder / "pretrain" / LOG_FILE))
    baselines = {name: arm.baseline for name, arm in recipe.arms.items()}
    if against is not None:
        baselines = {name: None if name == against else against for name in recipe.arms}
    scores = arm_scores(results, baselines, len(recipe.splits) * len(recipe.seeds))
    done = sum(map(len, results.values()))
    prefix = ("test-" if split == TEST else "") + ("" if against is None else f"against-{against}-")
    prefix += "" if shapes is None else f"shapes-{shapes.name}-"
    if shapes is not None and done and not any(found.ids for arm in results.values() for found in arm.values()):
        raise UserError(
            f"--shapes {shapes.name}: none of its ids is among the shapes of {split} that were scored; give ids of "
            "the recipe's dataset, one a line."
        )
    facts = {
        "split": split,
        "dataset": recipe.dataset,
        "splits": list(recipe.splits),
        "seeds": list(recipe.seeds),
        "num_runs": done,
        "num_planned": len(runs),
        "num_failed": failed,
        "hours": round(seconds / 3600, 3),
        "versions": sorted(versions),
        "code": sorted(codes),
    }
    told = (
        f"{done} of {len(runs)} runs: {len(recipe.arms)} arms, splits {_listed(recipe.splits)}, seeds "
        f"{_listed(recipe.seeds)}; {failed} failed. Hours spent, of all processes together: {facts['hours']:.2f}."
    )
    if shapes is not None:
        told += f" Of the {len(shapes.ids)} shapes of {shapes.name} alone, which are ranked among all."
    if len(codes) > 1:
        told += f" They were made with {len(codes)} versions of the code."
    told += _told_of_mixed_pairs(results, baselines)
    with atomic_file(out / f"{prefix}table.json") as sink:
        sink.write(as_json(scores, facts).encode())
    title = f"{recipe.dataset}: {len(recipe.arms)} ways to train"
    text = as_markdown(scores, title, [LAST if split == TEST else CHOOSING, told])
    with atomic_file(out / f"{prefix}table.md") as sink:
        sink.write(text.encode())
    drawn = [out / f"{prefix}differences.png"]
    if not write_forest(drawn[0], scores, f"{title}, {split} names"):
        drawn = []
    axes: dict[str, list[CurvePoint]] = {}
    for arm in recipe.arms.values():
        for curve in arm.curves:
            axes.setdefault(curve.axis, []).append(CurvePoint(arm.name, curve.at, curve.line))
    for axis, points in axes.items():
        file = out / f"{prefix}curve-{axis.replace(' ', '_')}.png"
        drawn += [file] if write_curves(file, scores, axis, points) else []
    file = out / f"{prefix}courses.png"
    if split != TEST and write_courses(file, _courses(logs), baselines, "Arms in the course of training"):
        drawn.append(file)
    print(f"{told}\nwritten: {', '.join(map(str, (out / f'{prefix}table.md', out / f'{prefix}table.json', *drawn)))}")


def _checked_statuses(recipe: AblationRecipe, runs: list[Run], out: Path) -> list[tuple[Run, Status]]:
    """The runs that have begun, all of them of this recipe, with as many threads and on one kind of device."""
    found: list[tuple[Run, Status]] = []
    data: dict[Division, str] = {}
    for run in runs:
        folder = run.folder(out)
        status = read_status(folder)
        if status is None:
            continue
        if run.division not in data:
            data[run.division] = _digest_of(out / "data" / run.division.name)
        of_run = fingerprint(run, recipe, data[run.division], status.threads, status.device)
        check_fingerprint(folder, status, of_run)
        found.append((run, status))
    for what, kinds in (
        ("with other numbers of --threads", {status.threads: run.name for run, status in found}),
        ("on other kinds of devices", {status.device: run.name for run, status in found}),
    ):
        if len(kinds) > 1:
            told = ", ".join(f"{name} with {kind}" for kind, name in kinds.items())
            raise UserError(f"{out}: runs {what} cannot be compared: {told}.")
    return found


def _told_of_mixed_pairs(
    results: Mapping[str, Mapping[Place, RunOutcomes]], baselines: Mapping[str, str | None]
) -> str:
    """Left out and not refused: the other pairs hold, and a run that was moved in the middle is no mistake."""
    mixed = mixed_pairs(results, baselines)
    if not mixed:
        return ""
    arm, baseline, place = mixed[0]
    kinds = [results[name][place].processor for name in (arm, baseline)]
    return (
        f" {len(mixed)} pair{' is' if len(mixed) == 1 else 's are'} left out, of runs that were trained on CPUs of "
        f"different kinds, such as {arm}, split {place[0]}, seed {place[1]} on {kinds[0]} and {baseline} on "
        f"{kinds[1]}; to have them, delete the folder of one of the two and run it again on the other one's machine."
    )


def _digest_of(folder: Path) -> str:
    """Of a divided dataset, as it was written when that was made; by earlier versions of which shape is where."""
    file = folder / REPORT_FILE
    try:
        made = json.loads(file.read_text(encoding="utf-8"))
        return str(made.get("contents_sha256", made["ids_sha256"]))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{file}: does not say which shapes the runs were trained on ({error}).") from None


def _courses(logs: dict[str, list[list[dict[str, float]]]]) -> dict[str, dict[str, Course]]:
    """Of each arm with scores on the way, the courses of the figures that are drawn."""
    found = {
        arm: {key: arm_course(of_arm, key) for key in (TRAINING_KEY, *HELD_OUT_KEYS)} for arm, of_arm in logs.items()
    }
    return {arm: {key: course for key, course in of_arm.items() if course} for arm, of_arm in found.items()}


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))
