"""Part b: full disks, folders that cannot be, files and clocks that change, limits, signals, two runs at once."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from torture_parts.inputs import digests, sound_folders, write_encoder, write_recipe, write_shapes
from torture_parts.processes import Run
from torture_parts.tally import Tally


TIMEOUT = 300.0
WEIGHTS = ("checkpoint-24/*.safetensors", "encoder/model.safetensors")
# The model's weights are smaller than this, the optimizer's state is larger.
SMALL_DISK = 240 * 1024
# Put in front of Python's path: a clock that jumps by up to a day, back and forth.
JUMPING_CLOCK = """
import random, time
_time, _rng = time.time, random.Random(0)
time.time = lambda: _time() + _rng.uniform(-86400, 86400)
"""
READ_AGAIN = """
import sys, time
from mrd_hf import PointCloudFeatureExtractor
extract, until, counts = PointCloudFeatureExtractor(num_points=256), time.monotonic() + float(sys.argv[2]), [0, 0]
open(sys.argv[1] + ".ready", "w").close()
while time.monotonic() < until:
    try:
        extract(sys.argv[1])
        counts[0] += 1
    except (ValueError, OSError) as error:
        assert sys.argv[1] in str(error), error
        counts[1] += 1
print(counts)
"""


@dataclass(frozen=True)
class Things:
    """What the faults are tried on."""

    folder: Path
    recipe: Path
    shapes: Path
    encoder: Path
    seed: int

    def pretrain(self, out: Path, log: str, *options: str, **limits: int | dict[str, str] | None) -> Run:
        words = ["-m", "mrd_hf.commands.pretrain", "--config", str(self.recipe), "--output-dir", str(out)]
        return Run([*words, "--resume-from-checkpoint", "latest", *options], self.folder / log, **limits)  # type: ignore[arg-type]

    def index(self, out: Path, log: str, file_limit: int | None = None) -> Run:
        words = ["-m", "mrd_hf_cli.main", "index", str(self.shapes), "--model", str(self.encoder), "--overwrite"]
        return Run([*words, "-o", str(out)], self.folder / log, file_limit=file_limit)


def expect(run: Run, code: int, *words: str) -> list[str]:
    """What is wrong with how a command ended: another exit code, a trace, or words that it does not say."""
    found = run.wait(TIMEOUT)
    if found is None:
        return ["hung"]
    said = run.said()
    problems = [] if found == code else [f"exit code {found} and not {code}: {said[-300:]}"]
    if code != 0 and "Traceback" in said:
        problems.append(f"a trace: {said[-300:]}")
    return problems + [f"does not say '{word}': {said[-300:]}" for word in words if word not in said]


def _whole(things: Things) -> dict[str, str]:
    """The weights of a run that was left in peace."""
    out = things.folder / "whole"
    if not out.exists() and things.pretrain(out, "whole.log").wait(TIMEOUT) != 0:
        raise RuntimeError("the run fails when left in peace")
    return digests(out, *WEIGHTS)


def _resumed(things: Things, out: Path) -> list[str]:
    problems = expect(things.pretrain(out, f"{out.name}-resumed.log"), 0)
    return problems if digests(out, *WEIGHTS) == _whole(things) else [*problems, "other weights once resumed"]


def full_disk_at_a_checkpoint(things: Things) -> list[str]:
    out = things.folder / "full"
    _whole(things)  # first, as it fills the cache of the dataset
    problems = expect(
        things.pretrain(out, "full.log", file_limit=SMALL_DISK), 1, "cannot write", "Nothing of it is left"
    )
    problems += [f"{path.name} is left" for path in out.glob("incomplete-*")]
    return problems + _resumed(things, out)


def full_disk_at_an_index(things: Things) -> list[str]:
    out = things.folder / "old-index"
    problems = expect(things.index(out, "old-index.log"), 0)
    before = digests(out)
    problems += expect(things.index(out, "full-index.log", file_limit=4096), 1)
    problems += [] if digests(out) == before else ["the old index is not as it was"]
    return problems + [f"{path.name} is left" for path in things.folder.glob("incomplete-*")]


def folders_that_cannot_be(things: Things) -> list[str]:
    """Not by permissions, which root has."""
    (things.folder / "file").write_text("")
    place = things.folder / "file" / "out"
    problems = expect(things.pretrain(place, "no-folder.log"), 2, f"{place.parent} is a file")
    return problems + expect(things.index(place, "no-index.log"), 2, f"{place.parent} is a file")


def a_file_that_changes_while_it_is_read(things: Things) -> list[str]:
    rng, problems = random.Random(things.seed), []
    for name in ("ply-little", "stl-binary", "npz", "glb-png"):
        file, content = next(iter(sound_folders()[name].items()))
        path = things.folder / file
        path.write_bytes(content)
        run = Run(["-c", READ_AGAIN, str(path), "3"], things.folder / f"{name}.log")
        while run.process.poll() is None:
            with path.open("r+b") as sink:  # the same file, shorter and longer in turn
                sink.truncate(rng.randrange(len(content)))
                sink.write(content[: rng.randrange(len(content))])
        path.unlink()
        problems += [f"{name}: {problem}" for problem in expect(run, 0)]
    return problems


def a_clock_that_jumps(things: Things) -> list[str]:
    place = things.folder / "clock"
    place.mkdir()
    (place / "sitecustomize.py").write_text(JUMPING_CLOCK)
    out = things.folder / "jumping"
    problems = expect(things.pretrain(out, "jumping.log", environment={"PYTHONPATH": str(place)}), 0)
    return problems if digests(out, *WEIGHTS) == _whole(things) else [*problems, "other weights"]


def a_limit_of_memory(things: Things) -> list[str]:
    """Of the process that reads what others send: the next upload is read again."""
    from mrd_hf.app.shape_reading import ShapeReader, UnreadableShape

    reader = ShapeReader(256, memory_limit=2**24)
    large = things.folder / "large.npy"
    np.save(large, np.random.default_rng(things.seed).random((5_000_000, 3)))
    file, content = next(iter(sound_folders()["ply-little"].items()))
    (things.folder / file).write_bytes(content)
    try:
        reader.read(str(large), None)
        return ["16 MiB were enough for 120 MB of points"]
    except UnreadableShape as error:
        problems = [] if "memory" in str(error) else [f"says {error}"]
        reader.read(str(things.folder / file), None)
        return problems
    finally:
        reader.close()
        large.unlink()


def _on(moment: Callable[[], bool], run: Run) -> bool:
    """Wait for a moment of a run; False if it ends before."""
    while run.process.poll() is None:
        if moment():
            return True
        time.sleep(0.001)
    return False


def sigterm_during_a_checkpoint(things: Things) -> list[str]:
    out = things.folder / "told"
    run = things.pretrain(out, "told.log")
    if not _on(lambda: any(out.glob("incomplete-checkpoint-*")), run):
        return ["it ended before a checkpoint was seen to be written"]
    os.killpg(run.process.pid, signal.SIGTERM)
    problems = expect(run, 143, "with a checkpoint")
    return problems + _resumed(things, out)


def sigterm_while_shapes_are_prepared(things: Things) -> list[str]:
    out, whole = things.folder / "prepared", things.folder / "prepared-whole"
    words = ["-m", "mrd_hf_cli.main", "prepare", "meshes", str(things.shapes), "--num-points", "256", "--no-images"]
    words += ["--num-workers", "2", "-o"]
    problems = expect(Run([*words, str(whole)], things.folder / "prepared-whole.log"), 0)
    run = Run([*words, str(out)], things.folder / "prepared.log")
    if _on(lambda: any(out.glob("data/.*")), run):
        run.process.send_signal(signal.SIGTERM)
        problems += expect(run, 143)
        problems += [f"{path.name} is left" for path in out.rglob(".*.partial-*")]
    problems += [f"orphan: {line[:200]}" for line in run.orphans()]
    problems += expect(Run([*words, str(out)], things.folder / "prepared-again.log"), 0)
    same = digests(out, "data/*.parquet") == digests(whole, "data/*.parquet")
    return problems if same else [*problems, "another dataset"]


def two_pretraining_runs_in_one_folder(things: Things) -> list[str]:
    out = things.folder / "two"
    first = things.pretrain(out, "first.log", "--num-train-steps", "1000000", "--save-steps", "1000000")
    if not _on(lambda: (out / ".running").exists(), first):
        return ["it ended before its lock was seen"]
    second = things.pretrain(out, "second.log")
    problems = expect(second, 2, "another run is writing it", f"process {first.process.pid} on")
    first.process.send_signal(signal.SIGTERM)
    return problems + expect(first, 143, "with a checkpoint")


def two_indexes_in_one_folder(things: Things) -> list[str]:
    out = things.folder / "twice-index"
    runs = [things.index(out, f"twice-{number}.log") for number in range(2)]
    codes = [run.wait(TIMEOUT) for run in runs]
    problems = [] if 0 in codes else [f"exit codes {codes}"]
    for code, run in zip(codes, runs, strict=True):
        if code != 0 and "another run is writing it" not in run.said():
            problems.append(f"exit code {code}: {run.said()[-300:]}")
    alone = things.folder / "alone-index"
    problems += expect(things.index(alone, "alone.log"), 0)
    return problems if digests(out) == digests(alone) else [*problems, "another index than of one run"]


FAULTS: tuple[Callable[[Things], list[str]], ...] = (
    full_disk_at_a_checkpoint,
    two_pretraining_runs_in_one_folder,
    sigterm_during_a_checkpoint,
    a_file_that_changes_while_it_is_read,
    full_disk_at_an_index,
    folders_that_cannot_be,
    a_limit_of_memory,
    two_indexes_in_one_folder,
    sigterm_while_shapes_are_prepared,
    a_clock_that_jumps,
)


def run_part(tally: Tally, seed: int, count: int, folder: Path) -> None:
    """The first `count` of the faults."""
    shapes, encoder = write_shapes(folder / "shapes", 72), write_encoder(folder / "encoder")
    things = Things(folder, write_recipe(folder / "recipe.yaml"), shapes, encoder, seed)
    for fault in FAULTS[:count]:
        if tally.is_over:
            tally.skip(fault.__name__, "the time was up")
            continue
        with tally.trying(fault.__name__.replace("_", " ")) as problems:
            problems += fault(things)
