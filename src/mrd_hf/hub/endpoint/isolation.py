"""Untrusted input is read in a process of its own, which may not take long, nor much memory, and knows no secrets.

    python isolation.py MEMORY SECONDS TARGET [ARGUMENT ...]

TARGET is a module, by the path of its file or by its name (then the `__init__` of its package is not run), whose
function `reader(*arguments)` returns the function that answers requests. MEMORY is in bytes, beyond what the process
has once it is ready. Requests come in on stdin and answers go out on stdout, a line of JSON each; an answer that has
`"is_spent"` is the last one.

It goes with handler.py into a checkpoint's folder, and the Space has it from here: it imports Python's own library.
"""

import importlib
import importlib.util
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any


START_TIMEOUT = 120.0
# What the process may take for itself besides, as it reads.
OWN_MEMORY = 2**27
# What the process has of its parent's environment, which may hold tokens.
KEPT_VARIABLES = ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH")


class IsolatedReader:
    """A process that reads untrusted input; one that takes too long, or ends, is replaced by another one.

    On Linux memory is limited; elsewhere the time alone. A process whose parent has gone ends by itself.

    Args:
        target (`str`), arguments (`str`): See above.
        timeout (`float`): Seconds that a request may take.
        memory (`int`): Bytes that it may take.
    """

    def __init__(self, target: str, *arguments: str, timeout: float, memory: int) -> None:
        self.timeout = timeout
        self.command = [sys.executable, __file__, str(memory), str(timeout), target, *arguments]
        self.process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the process, if it does not run; it is ready once it has loaded its libraries."""
        if self.process is not None and self.process.poll() is None:
            return
        self.close()
        self._is_ready = False
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        path = os.pathsep.join(os.path.abspath(place) for place in sys.path)
        settings = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**kept, **settings, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            bufsize=0,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request; others wait meanwhile.

        Raises:
            TimeoutError: when it takes too long.
            MemoryError: when it takes too much memory.
            EOFError: when the process ended of it, which too much memory can do as well.
        """
        with self._lock:
            try:
                self.start()
                assert self.process is not None and self.process.stdin is not None
                if not self._is_ready:
                    self._receive(START_TIMEOUT)
                    self._is_ready = True
                self.process.stdin.write(json.dumps(request).encode() + b"\n")
                answer = self._receive(self.timeout)
                if answer.get("is_spent"):
                    raise MemoryError
                return answer
            except (OSError, EOFError, MemoryError) as error:
                self.close()
                self.start()
                if isinstance(error, (TimeoutError, MemoryError)):
                    raise
                raise EOFError from error

    def close(self) -> None:
        """End the process."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.process = None

    def _receive(self, timeout: float) -> dict[str, Any]:
        """The next line from the process."""
        assert self.process is not None and self.process.stdout is not None
        stream = self.process.stdout
        deadline, line = time.monotonic() + timeout, b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stream], [], [], left)[0]:
                raise TimeoutError
            data = os.read(stream.fileno(), 2**16)
            if not data:
                raise EOFError
            line += data
        answer: dict[str, Any] = json.loads(line)
        return answer


def _silence_libraries() -> None:
    """What they print of an upload is for nobody: what counts is in the answer. A traceback still reaches stderr."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _limit_memory(memory: int) -> None:
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[5])  # data and stack
        limit = pages * resource.getpagesize() + OWN_MEMORY + memory
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time(seconds: float) -> None:
    """Let the next request take so much, should the parent not be there to end it."""
    if sys.platform != "win32":
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime + seconds) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _module(target: str) -> Any:
    if not target.endswith(".py"):
        # Without what its package's own __init__ imports, torch above all, which takes seconds and half a gigabyte.
        package, dot, _ = target.partition(".")
        spec = importlib.util.find_spec(package) if dot and package not in sys.modules else None
        if spec is not None:
            sys.modules[package] = importlib.util.module_from_spec(spec)
        return importlib.import_module(target)
    spec = importlib.util.spec_from_file_location(Path(target).stem, target)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    memory, seconds, target, *arguments = sys.argv[1:]
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    answer = _module(target).reader(*arguments)
    _silence_libraries()
    _limit_memory(int(memory))
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        _limit_time(float(seconds))
        try:
            reply = answer(json.loads(line))
        except MemoryError:
            # What memory is left may be in pieces.
            reply = {"is_spent": True}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
