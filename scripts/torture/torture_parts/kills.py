"""Part a: commands are killed at random moments, resumed until they are done, and compared with one left in peace."""

import itertools
import random
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from torture_parts.hub import Hub, serve_hub
from torture_parts.inputs import DEMO, digests, write_encoder, write_recipe, write_shapes
from torture_parts.processes import TARGETS, Run
from torture_parts.tally import Tally


# No run of these takes so long, on a busy machine either.
TIMEOUT = 300.0
# Seconds within which a command is killed: after it writes something, or after it starts.
PAUSES = (3.0, 6.0)
# Commands that run side by side: starting one keeps a core busy.
AT_A_TIME = 2
# What no finished run leaves beside its output or in it.
LEFTOVERS = ("incomplete-*", "replaced-*", ".*.partial-*", ".running", "*.tmp")


@dataclass(frozen=True)
class Case:
    """A command to kill.

    Args:
        name (`str`)
        command (`Callable`): From its output to what follows `python`, for the first run and all others alike.
        results (sequence of `str`): Patterns of the files in its output that must come out equal; none: all.
        targets (sequence of `str`): Which of its processes are killed.
        old (`Callable`, *optional*):
            Puts an earlier result in the place of the output, which must be there whole until the new one is.
        found (`Callable`, *optional*): From its output to what there is of the result, where that lies elsewhere.
        progress (`Callable`, *optional*): What changes as it works, where it writes nothing beside its output.
    """

    name: str
    command: Callable[[Path], list[str]]
    results: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("parent", "group")
    old: Callable[[Path], None] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    found: Callable[[Path], dict[str, str]] | None = None
    progress: Callable[[], object] | None = None

    def run(self, out: Path, log: Path) -> Run:
        return Run(self.command(out), log, self.environment)

    def result(self, out: Path) -> dict[str, str]:
        return self.found(out) if self.found is not None else digests(out, *self.results)


def cases(folder: Path, hub: Hub, of_the_hub: dict[str, str]) -> list[Case]:
    """The commands, whose inputs are written into a folder.

    Args:
        folder (`Path`)
        hub (`Hub`): What is pushed to.
        of_the_hub (`dict`): The environment in which it is found.
    """
    shapes = write_shapes(folder / "shapes", 72)
    encoder = write_encoder(folder / "encoder")
    recipe = write_recipe(folder / "recipe.yaml")
    mrd_hf = ["-m", "mrd_hf_cli.main"]

    def pretrain(*options: str, launcher: tuple[str, ...] = ()) -> Callable[[Path], list[str]]:
        words = [*launcher, "-m", "mrd_hf.commands.pretrain", "--config", str(recipe), *options]
        return lambda out: [*words, "--output-dir", str(out), "--resume-from-checkpoint", "latest"]

    several = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    weights = ("checkpoint-24/*.safetensors", "encoder/model.safetensors")

    def earlier(name: str, command: list[str]) -> Callable[[Path], None]:
        """Run a command once, and put what it wrote in the place of a later one's output."""
        run = Run([*command, "-o", str(folder / name)], folder / f"{name}.log")
        if run.wait(TIMEOUT) != 0:
            raise RuntimeError(f"there is no {name}: {run.said()[-1000:]}")

        def put(out: Path) -> None:
            shutil.copytree(folder / name, out)

        return put

    def index(source: Path) -> list[str]:
        return [*mrd_hf, "index", str(source), "--model", str(encoder), "--overwrite"]

    def export(dtype: str) -> list[str]:
        return [*mrd_hf, "export", str(encoder), "--dtype", dtype, "--overwrite"]

    shutil.copytree(encoder, folder / "checkpoint")
    (folder / "checkpoint" / "README.md").write_text("---\nlicense: mit\n---\n# An encoder of random weights\n")
    prepare = [*mrd_hf, "prepare", "meshes", str(shapes), "--num-points", "256", "--no-images", "--num-workers", "2"]
    embed = [*mrd_hf, "embed", str(shapes), "--model", str(encoder), "--overwrite", "-o"]
    evaluate = [*mrd_hf, "evaluate", "--model", str(encoder), "--dataset", str(DEMO), "--overwrite"]
    evaluate += ["--class-texts", str(DEMO / "class_texts.parquet"), "-o"]
    workers = ("parent", "worker", "group")
    return [
        Case("prepare", lambda out: [*prepare, "-o", str(out)], ("data/*.parquet", "report.json"), TARGETS),
        Case("embed", lambda out: [*embed, f"{out}.parquet"]),
        Case(
            "index",
            lambda out: [*index(shapes), "-o", str(out)],
            old=earlier("old-index", index(write_shapes(folder / "few", 3))),
        ),
        Case(
            "export",
            lambda out: [*export("float32"), "-o", str(out)],
            old=earlier("old-export", export("float16")),
        ),
        Case(
            "push",
            lambda out: [*mrd_hf, "push", str(folder / "checkpoint"), hub.name(out)],
            old=hub.add_old,
            environment=of_the_hub,
            found=hub.digests,
            progress=hub.num_requests,
        ),
        Case("evaluate", lambda out: [*evaluate, str(out)], ("outcomes.parquet", "report.json")),
        Case("pretrain", pretrain("--num-workers", "0"), weights),
        Case("pretrain, average, workers", pretrain("--ema-decay", "0.5", "--num-workers", "2"), weights, workers),
        Case("pretrain, streaming", pretrain("--streaming", "--num-workers", "1"), weights, workers),
        Case("pretrain, two processes", pretrain("--num-workers", "0", launcher=several), weights, workers),
    ]


def _output(case: Case, place: Path) -> Path:
    return place / "out.parquet" if case.name == "embed" else place / "out"


def torture(tally: Tally, case: Case, place: Path, kills: int, rng: random.Random, expected: dict[str, str]) -> None:
    """Kill a command so often, then let it end; what is wrong afterwards, or in between, is a failure."""
    place.mkdir(parents=True)
    out, result = place / "out", _output(case, place)
    if case.old is not None:
        case.old(out)
    before = case.result(result)
    names: list[str] = []
    with tally.trying(f"{case.name}, {kills} kills") as problems:
        for number in range(kills + 1):
            target = rng.choice(case.targets) if number < kills else None
            run = case.run(out, place / "log.txt")
            if target is not None and _reach(run, case.progress or (lambda: _written(place)), rng):
                names.append(run.kill(target, rng) or "nothing")
            code = run.wait(TIMEOUT)
            if code is None:
                problems.append(f"hung after {names}")
                break
            problems += [f"an orphan after {names}: {line[:200]}" for line in run.orphans()]
            found = case.result(result)
            if code == 0 and found != expected:
                problems.append(f"exit code 0 and another result after {names}: {_differences(found, expected)}")
                break
            if case.old is not None and found not in (before, expected):
                problems.append(f"neither the old result nor the new one after {names}")
            if target is None and code != 0:
                problems.append(f"exit code {code} of the last run after {names}: {run.said()[-300:]}")
        left = [path.name for pattern in LEFTOVERS for path in place.rglob(pattern)]
        problems += [f"left behind after {names}: {', '.join(left)}"] if left else []
    tally.add_tries(max(len(names) - 1, 0))  # each kill counts
    shutil.rmtree(place)


def _reach(run: Run, progress: Callable[[], object], rng: random.Random) -> bool:
    """Wait until the command gets somewhere, then a random while; False if it ends before."""
    known = progress()
    deadline = time.monotonic() + TIMEOUT
    late = rng.random() < 0.8  # the others are killed as they start
    pause = rng.uniform(0, PAUSES[0 if late else 1])
    while late and time.monotonic() < deadline and run.process.poll() is None:
        if progress() != known:
            break
        time.sleep(0.01)
    end = time.monotonic() + pause
    while time.monotonic() < end and run.process.poll() is None:
        time.sleep(0.01)
    return run.process.poll() is None


def _written(place: Path) -> set[str]:
    return {str(path) for path in place.rglob("*")}


def _differences(found: dict[str, str], expected: dict[str, str]) -> str:
    names = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    return ", ".join(names)[:300]


def run_part(tally: Tally, seed: int, count: int, folder: Path) -> None:
    """So many kills, spread over the commands."""
    with serve_hub(folder / "hub-home") as (hub, of_the_hub):
        _kill_all(tally, seed, count, folder, cases(folder, hub, of_the_hub))


def _kill_all(tally: Tally, seed: int, count: int, folder: Path, chosen: list[Case]) -> None:
    """Two commands at a time, of which each takes its turn; what a try draws depends on its number alone."""
    numbers = itertools.count()
    locks = {case.name: threading.Lock() for case in chosen}
    expected: dict[str, dict[str, str] | None] = {}

    def kill_on() -> None:
        while tally.tries < count and not tally.is_over:
            number = next(numbers)
            case, rng = chosen[number % len(chosen)], random.Random(f"{seed} {number}")
            with locks[case.name]:
                if case.name not in expected:
                    expected[case.name] = _left_in_peace(tally, case, folder / f"whole {number}")
            whole = expected[case.name]
            if whole is not None:
                torture(tally, case, folder / f"try {number}", rng.randint(1, 3), rng, whole)
            elif all(case.name in expected and expected[case.name] is None for case in chosen):
                return

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for turn in [pool.submit(kill_on) for _ in range(AT_A_TIME)]:
            turn.result()


def _left_in_peace(tally: Tally, case: Case, place: Path) -> dict[str, str] | None:
    """What a command writes that nothing kills; None, and a failure, where it does not succeed."""
    place.mkdir()
    run = case.run(place / "out", place / "log.txt")
    if (code := run.wait(TIMEOUT)) != 0:
        tally.add(case.name, [f"exit code {code} when left in peace: {run.said()[-500:]}"])
        return None
    result = case.result(_output(case, place))
    shutil.rmtree(place)
    return result
