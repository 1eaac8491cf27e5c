"""Damages small sound shape files in many ways, and counts what becomes of reading them.

    python scripts/benchmarks/mutated_shapes.py --count 10000
    python scripts/benchmarks/mutated_shapes.py --only 1234 --keep outputs/mutated

File NUMBER is always the same, whatever the others are. It is read as `PointCloudFeatureExtractor` reads it, in a
process with limits: read, refused by a `ValueError` that names it in a few lines, or a failure that is listed: another
kind of error, too much time or memory, a crash, a file opened outside its folder, a program started.

Linux only: elsewhere memory can be neither limited nor measured.
"""

import argparse
import itertools
import json
import logging
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


sys.path.insert(0, str(Path(__file__).parent))
from mutation_parts.shape_mutations import mutated  # noqa: E402
from mutation_parts.shape_seeds import Folder, sound_folders  # noqa: E402


MAX_SECONDS, MAX_BYTES = 2.0, 256 * 2**20
# A process that stands still uses no seconds of a core: this is by the clock, for a busy machine.
DEADLINE = 30.0
MAX_MESSAGE, MAX_LINES = 600, 3


class Outcome(NamedTuple):
    """What became of a file: `kind` is "read", "refused" or "failed", and `message` says why."""

    number: int
    name: str
    kind: str
    message: str
    seconds: float
    memory: int


def _write(folder: Folder, place: Path) -> Path:
    """The shape's path, in a folder of its own beside which lies what must not be opened."""
    place.mkdir(parents=True, exist_ok=True)
    for old in place.iterdir():
        old.unlink()
    (place.parent / "outside").write_bytes(b"newmtl outside\n")
    for name, data in folder.items():
        (place / name).write_bytes(data)
    return place / next(iter(folder))


class _Watch:
    """Notes what is opened outside a folder, started, or asked for over the network."""

    def __init__(self, temporary: str) -> None:
        self.temporary = os.path.realpath(temporary) + os.sep
        self.folder = ""
        self.found: list[str] = []
        sys.addaudithook(self._look)

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.folder:
            return
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            allowed = (self.folder, self.temporary, "/proc/self/")
            if not path.startswith(allowed) and not path.endswith((".py", ".pyc", ".so")):
                self.found.append(f"opened {path}")
        elif event in ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect"):
            self.found.append(f"{event} {arguments!r:.100}")


def memory_status(key: str) -> int:
    """A figure of this process's memory, in bytes."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def _serve(numbers: list[int], make: Callable[[int], tuple[str, Folder]], place: Path, answers: Connection) -> None:
    """Reads file after file, announcing each, and sends what became of it."""
    from transformers.utils import logging as library_logging

    from mrd_hf import PointCloudFeatureExtractor

    library_logging.set_verbosity_error()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", RuntimeWarning)  # numpy's, which would be on a server's stderr
    extract = PointCloudFeatureExtractor(num_points=1000)
    for sound in sound_folders().values():  # loads what is loaded when it is needed
        extract(_write(sound, place / "sound"), return_tensors="np")
    tempfile.tempdir = str(place / "temporary")
    os.makedirs(tempfile.tempdir)
    watch = _Watch(tempfile.tempdir)
    for number in numbers:
        answers.send(number)
        name, folder = make(number)
        answers.send(_read(number, name, _write(folder, place / "shape"), extract, watch))


def _read(number: int, name: str, path: Path, extract: Any, watch: _Watch) -> Outcome:
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory starts again at the present
    before, soft_and_hard = memory_status("VmRSS"), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory_status("VmSize") + MAX_BYTES, soft_and_hard[1]))
    watch.found, watch.folder = [], str(path.parent.resolve()) + os.sep
    started = time.process_time()
    kind, message = "read", ""
    try:
        values = extract(path, return_tensors="np")["point_values"]
        if not np.isfinite(values).all():
            kind, message = "failed", "read as values that are not finite"
    except ValueError as error:
        text = str(error)
        cause = text.replace(str(path), "")
        kind, message = "refused", text
        if str(path) not in text:
            kind, message = "failed", f"does not name the file: {text}"
        elif len(cause) > MAX_MESSAGE or len(cause.splitlines()) > MAX_LINES:
            kind, message = "failed", f"a message of {len(cause):,} characters: {text}"
    except BaseException as error:
        kind, message = "failed", f"{type(error).__name__}: {error}"
    finally:
        seconds = time.process_time() - started
        watch.folder = ""
        resource.setrlimit(resource.RLIMIT_AS, soft_and_hard)
    memory = memory_status("VmHWM") - before
    if watch.found:
        kind, message = "failed", watch.found[0]
    elif kind != "failed" and (seconds > MAX_SECONDS or memory > MAX_BYTES):
        kind, message = "failed", f"{seconds:.1f} seconds, {memory / 2**20:.0f} MiB ({kind}: {message})"
    return Outcome(number, name, kind, message[:1000], seconds, memory)


def read_mutated(numbers: Iterable[int], place: Path) -> Iterator[Outcome]:
    """What becomes of mutated files of these numbers; `place` is a folder to write in."""
    folders = sound_folders()
    return read_made(numbers, lambda number: mutated(number, folders), place)


def read_made(numbers: Iterable[int], make: Callable[[int], tuple[str, Folder]], place: Path) -> Iterator[Outcome]:
    """What becomes of files, read in another process, which is replaced when it ends.

    Args:
        numbers (iterable of `int`): Of the files.
        make (`Callable[[int], tuple[str, Folder]]`): The name and the content of the file of a number.
        place (`Path`): A folder to write in.
    """
    context = multiprocessing.get_context("fork")
    remaining = list(numbers)
    for attempt in itertools.count():
        if not remaining:
            return
        receiving, sending = context.Pipe(duplex=False)
        arguments = (remaining, make, place / str(attempt), sending)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        sending.close()
        current: int | None = None
        failure = ""
        try:
            while remaining:
                if not receiving.poll(DEADLINE if current is not None else 10 * DEADLINE):
                    failure = f"over {DEADLINE:g} seconds by the clock"
                    break
                answer = receiving.recv()
                if isinstance(answer, int):
                    current = answer
                    continue
                yield answer
                current = None
                del remaining[0]
        except EOFError:
            process.join()
            failure = f"the process ended with {process.exitcode}"
        finally:
            process.kill()
            process.join()
            receiving.close()
        if failure and current is None:
            raise RuntimeError(f"{failure}, before a file was read")
        if failure and current is not None:
            yield Outcome(current, make(current)[0], "failed", failure, 0.0, 0)
            del remaining[0]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="files (default: 10000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (default: 0)")
    parser.add_argument("--only", type=int, nargs="+", help="these numbers alone")
    parser.add_argument("--keep", type=Path, help="folder to write those of --only to, each in a folder of its own")
    parser.add_argument("--json", type=Path, help="file for the counts and the failures")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    numbers = arguments.only or range(arguments.first, arguments.first + arguments.count)
    if arguments.keep:
        folders = sound_folders()
        for number in arguments.only or ():
            print(_write(mutated(number, folders)[1], arguments.keep / str(number)))
    counts: dict[str, Counter[str]] = {}
    outcomes, failures = [], []
    with tempfile.TemporaryDirectory(prefix="mutated-shapes-") as place:
        for outcome in read_mutated(numbers, Path(place)):
            outcomes.append(outcome)
            counts.setdefault(outcome.name, Counter())[outcome.kind] += 1
            if outcome.kind == "failed":
                failures.append(outcome)
            if outcome.kind == "failed" or arguments.only:
                print(f"{outcome.number} ({outcome.name}): {outcome.kind}: {outcome.message}", flush=True)
    print("| file | read | refused | failed |\n|---|---|---|---|")
    for name, kinds in [*sorted(counts.items()), ("all", sum(counts.values(), Counter()))]:
        print(f"| {name} | {kinds['read']:,} | {kinds['refused']:,} | {kinds['failed']:,} |")
    seconds, memory = max(each.seconds for each in outcomes), max(each.memory for each in outcomes)
    print(f"at most {seconds:.2f} CPU seconds and {memory / 2**20:.0f} MiB")
    if arguments.json:
        report = {"seconds": seconds, "memory": memory, "counts": counts, "failures": [f._asdict() for f in failures]}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
