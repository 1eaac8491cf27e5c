"""Commands that are started to be killed: all processes of one, whoever started them, and their end. Linux only."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path


MARK = "MRD_TORTURE_RUN"
ROOT = Path(__file__).parents[3]
TARGETS = ("parent", "worker", "fork server", "group")


class Run:
    """A command in a session of its own, whose processes are known by a mark in their environment.

    Args:
        command (`list[str]`): What follows `python`.
        log (`Path`): Gets its output.
        environment (`dict`): Beyond this process's.
        file_limit (`int`, *optional*): Bytes beyond which its files cannot grow: writing fails as on a full disk.
        output (`Path`, *optional*): Gets its standard output, in the place of the log.
    """

    def __init__(
        self,
        command: list[str],
        log: Path,
        environment: dict[str, str] | None = None,
        file_limit: int | None = None,
        output: Path | None = None,
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.log = log
        places = [str(ROOT / "src"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        given = environment or {}
        settings = {"HF_HUB_OFFLINE": "1", **given, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        settings[MARK] = self.mark
        settings["PYTHONPATH"] = os.pathsep.join(filter(None, [given.get("PYTHONPATH"), *places]))
        words = [sys.executable, *command]
        if file_limit is not None:
            words = ["bash", "-c", f'ulimit -f {file_limit // 1024} && exec "$@"', "limited", *words]
        with log.open("ab") as sink, (output or log).open("ab") as out:
            self.process = subprocess.Popen(
                words,
                cwd=ROOT,
                env={**os.environ, **settings},
                stdout=out,
                stderr=sink,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.began = time.monotonic()

    def members(self) -> dict[int, str]:
        """Its processes that are alive: their command lines by their ids."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    # The environment of a zombie is empty.
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it has just ended, or is another user's
        return found

    def kill(self, target: str, rng: random.Random) -> str | None:
        """Kill one of its processes, or all; returns what was killed, None where there was none of that kind."""
        members = self.members()
        others = {
            pid: line for pid, line in members.items() if pid != self.process.pid and "resource_tracker" not in line
        }
        servers = [pid for pid, line in others.items() if "forkserver" in line and _parent(pid) not in others]
        if target == "group":
            chosen = sorted(members)
        elif target == "parent":
            chosen = [self.process.pid]
        elif target == "fork server":
            chosen = servers
        else:
            workers = sorted(set(others) - set(servers))
            chosen = [rng.choice(workers)] if workers else []
        for pid in chosen:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return target if chosen else None

    def wait(self, timeout: float) -> int | None:
        """Its exit code; None, and all of it killed, if it does not end in time."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.end()
            return None

    def orphans(self, patience: float = 15.0) -> list[str]:
        """Command lines of processes that outlive the command by so many seconds."""
        deadline = time.monotonic() + patience
        while (left := self.members()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return list(left.values())

    def end(self) -> None:
        for pid in self.members():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
