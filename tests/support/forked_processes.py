"""New processes that have torch, transformers and the package imported already, which takes others seconds.

One process of each of pytest's imports them, and forks itself, before it has threads, whenever it is asked to. What is
started has an environment, a group and a `sys.argv` of its own, as has what `subprocess` starts; but what a library
reads of the environment at its import is that of the tests, without a Hub.
"""

import atexit
import faulthandler
import gc
import multiprocessing
import os
import pickle
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path


class ForkedProcess:
    """As `subprocess.Popen`: `pid`, which is its group's as well, `poll`, `wait`, `kill`, and `returncode`."""

    def __init__(self, server: "_Server", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.ask("poll", self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(0.01)
        return code

    def kill(self) -> None:
        """It and what it started, with SIGKILL."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait(timeout=60)


def start(work: Callable[..., None], *arguments: object, env: Mapping[str, str] | None = None) -> ForkedProcess:
    """Call `work(*arguments)`, which must be picklable, in a new process; it ends with 1 where that raises."""
    return _server().start(pickle.dumps((work, arguments)), dict(os.environ if env is None else env))


class ForkedCommand(ForkedProcess):
    """Scripts, each the first of its words, one after another until one fails; what they write is in two files."""

    def __init__(self, *commands: Sequence[object], env: Mapping[str, str], cwd: Path | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mrd-hf-command-")
        self.stdout, self.stderr = (Path(self._folder.name, name) for name in ("stdout", "stderr"))
        words = [[str(word) for word in command] for command in commands]
        started = start(_run_scripts, words, cwd or Path.cwd(), self.stdout, self.stderr, env=env)
        super().__init__(started._server, started.pid)


def run_command(
    *commands: Sequence[object], env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run`, with what was written."""
    process = ForkedCommand(*commands, env=os.environ if env is None else env, cwd=cwd)
    try:
        code = process.wait(timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(commands, code, process.stdout.read_text(), process.stderr.read_text())


def _run_scripts(commands: list[list[str]], cwd: Path, stdout: Path, stderr: Path) -> None:
    os.chdir(cwd)
    multiprocessing.process.ORIGINAL_DIR = str(cwd)  # from where a process that is started finds the script
    for file, descriptor in ((stdout, 1), (stderr, 2)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    for words in commands:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as ended:
            if ended.code:
                raise


@cache
def _server() -> "_Server":
    return _Server()


class _Server:
    """The process that forks itself."""

    def __init__(self) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        self._one_at_a_time = threading.Lock()
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,))
        process.start()
        theirs.close()
        atexit.register(self._ours.close)  # at which it ends, and all that it has started

    def start(self, call: bytes, env: dict[str, str]) -> ForkedProcess:
        return ForkedProcess(self, self.ask("start", call, env, sys.path))

    def ask(self, *request: object) -> int | None:
        with self._one_at_a_time:
            self._ours.send(request)
            return self._ours.recv()


def _serve(requests: Connection) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    gc.disable()
    import mrd_hf.commands.evaluate
    import mrd_hf.commands.pretrain  # noqa: F401

    gc.freeze()  # what was imported shall not be copied into each process that looks for garbage
    gc.enable()
    running: set[int] = set()
    try:
        while True:
            what, *details = requests.recv()
            if what == "start":
                pid = os.fork()
                if pid == 0:
                    requests.close()
                    _be_forked(*details)
                _lead_group(pid)
                running.add(pid)
                requests.send(pid)
            else:
                requests.send(_exit_code(details[0], running))
    except (EOFError, KeyboardInterrupt):
        for pid in running:
            os.killpg(pid, signal.SIGKILL)


def _exit_code(pid: int, running: set[int]) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        return None
    running.remove(pid)
    return os.waitstatus_to_exitcode(status)


def _lead_group(pid: int) -> None:
    """Called by both, so that the group is there for whichever comes first."""
    with suppress(PermissionError, ProcessLookupError):  # the other one did it, or it has ended already
        os.setpgid(pid, pid)


def _be_forked(call: bytes, env: dict[str, str], path: list[str]) -> None:
    code = 1
    try:
        _lead_group(os.getpid())
        os.environ.clear()
        os.environ.update(env)
        sys.path[:] = path
        multiprocessing.set_start_method(None, force=True)  # the system's own, not that of the process that forks
        faulthandler.enable()  # a process that is ended by a signal says where it was
        work, arguments = pickle.loads(call)
        work(*arguments)
        code = 0
    except SystemExit as ended:
        code = _code_of(ended)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _code_of(ended: SystemExit) -> int:
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    print(ended.code, file=sys.stderr)
    return 1
