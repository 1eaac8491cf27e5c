"""Breaks things on purpose, and counts what is lost, wrong, left behind or hung. Linux only.

    python scripts/torture/torture.py                       # all parts, about 30 minutes on 2 cores
    python scripts/torture/torture.py a --count 10          # a part alone, with fewer tries
    python scripts/torture/torture.py c d --scale 0.05      # parts with a twentieth of their tries

Parts: a kills commands at random moments and resumes them; b is faults of disk, files, clock, memory and signals;
c reads damaged files of every kind; d loads the Space and the endpoint's handler; e runs commands twice, and by four
threads. The same seed breaks the same things, as far as moments can be repeated. Writes a table in Markdown.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


sys.path.insert(0, str(Path(__file__).parent))
from torture_parts import damage, determinism, faults, kills, load  # noqa: E402
from torture_parts.tally import Tally, as_markdown  # noqa: E402


class Part(NamedTuple):
    """A part: its name in the table, what runs it, its tries, and the minutes after which it begins no more."""

    name: str
    run: Callable[[Tally, int, int, Path], None]
    tries: int
    minutes: float


PARTS = {
    "a": Part("a: kills", kills.run_part, 100, 15.0),
    "b": Part("b: faults", faults.run_part, 10, 8.0),
    "c": Part("c: damaged files", damage.run_part, 10_000, 5.0),
    "d": Part("d: mixed load, requests", load.run_part, 600, 10.0),
    "e": Part("e: determinism", determinism.run_part, 9, 5.0),
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="a, b, c, d, e (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="share of each part's tries and minutes (default: 1)")
    parser.add_argument("--count", type=int, help="tries of each part, whatever --scale says; of d seconds")
    parser.add_argument("--out", type=Path, help="file for the table, which is printed as well")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.parts) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {unknown[0]}; there are {', '.join(PARTS)}")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    tallies: list[Tally] = []
    for letter in arguments.parts or PARTS:
        part = PARTS[letter]
        deadline = time.monotonic() + 60 * part.minutes * max(arguments.scale, 0.1)
        tally = Tally(part.name, deadline)
        count = arguments.count or max(1, round(part.tries * arguments.scale))
        folder = Path(tempfile.mkdtemp(prefix="mrd-torture-"))
        try:
            part.run(tally, arguments.seed, count, folder)
        except Exception as error:
            tally.add("the part itself", [f"{type(error).__name__}: {error}"])
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        tallies.append(tally)
    table = as_markdown(tallies)
    print(table)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(table, encoding="utf-8")
    sys.exit(1 if any(tally.failures for tally in tallies) else 0)


if __name__ == "__main__":
    main()
