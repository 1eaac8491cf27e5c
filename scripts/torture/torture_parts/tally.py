"""What a part of the torture tries, and what becomes of it: a row of the table for the results log."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts of one part.

    Args:
        part (`str`): What was tried.
        deadline (`float`, *optional*): When to begin nothing more, by `time.monotonic()`.
    """

    part: str
    deadline: float = float("inf")
    tries: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add_tries(self, tries: int) -> None:
        with self.lock:
            self.tries += tries

    def add(self, name: str, problems: list[str], seconds: float = 0.0, memory: int = 0) -> None:
        """Note a try: what went wrong with it, if anything, and what it took at most, in seconds and bytes."""
        self.count(name, problems, seconds, memory)
        shown = "; ".join(problems) or "held"
        print(f"[{self.part}] {self.tries} {name}: {shown} ({seconds:.1f} s)", file=sys.stderr, flush=True)

    def count(self, name: str, problems: list[str], seconds: float = 0.0, memory: int = 0) -> None:
        """As [`add`], in silence: for tries by the thousand."""
        with self.lock:
            self.tries += 1
            self.seconds, self.memory = max(self.seconds, seconds), max(self.memory, memory)
            self.failures += [f"{name}: {problem}" for problem in problems]

    def skip(self, name: str, why: str) -> None:
        self.skipped.append(f"{name}: {why}")
        print(f"[{self.part}] {name}: skipped, {why}", file=sys.stderr, flush=True)

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.deadline

    @contextmanager
    def trying(self, name: str) -> Iterator[list[str]]:
        """A try that takes the time of the block, whose problems are added to the list that it is given.

        An error of the block is a problem, and does not end the part.
        """
        problems: list[str] = []
        began = time.monotonic()
        try:
            yield problems
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}")
        self.add(name, problems, time.monotonic() - began)


def as_markdown(tallies: list[Tally]) -> str:
    """The table, then whatever failed and was skipped."""
    lines = ["| part | tries | failures | longest, s | most memory, MiB |", "|---|---|---|---|---|"]
    for tally in tallies:
        memory = f"{tally.memory / 2**20:,.0f}" if tally.memory else "-"
        lines.append(f"| {tally.part} | {tally.tries:,} | {len(tally.failures)} | {tally.seconds:.1f} | {memory} |")
    for title, attribute in (("Failed", "failures"), ("Skipped", "skipped")):
        found = [f"- {tally.part}: {each[:500]}" for tally in tallies for each in getattr(tally, attribute)]
        lines += ["", f"{title}:", "", *found] if found else []
    return "\n".join(lines) + "\n"
