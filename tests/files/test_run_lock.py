"""One run at a time in a folder: refused by name, and never kept out by what is dead."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mrd_hf.errors import UserError
from mrd_hf.files.run_lock import LOCK_FILE, check_not_running, only_run


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks")

# Takes the folder, says so, and keeps it until its input ends; with "child" a process that it forks lives on.
HOLDER = """
import os, sys, time
from pathlib import Path
from mrd_hf.files.run_lock import only_run
with only_run(Path(sys.argv[1])):
    if sys.argv[2] == "child" and os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    print("taken", flush=True)
    sys.stdin.read()
"""


def holder(folder, what="alone"):
    command = [sys.executable, "-c", HOLDER, str(folder), what]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0)
    assert process.stdout.readline() == "taken\n"
    return process


def test_a_second_run_is_refused_and_told_of_the_first(tmp_path):
    first = holder(tmp_path)
    try:
        for attempt in (lambda: only_run(tmp_path).__enter__(), lambda: check_not_running(tmp_path)):
            told = rf"another run is writing it \(process {first.pid} on .*, which began at"
            with pytest.raises(UserError, match=told):
                attempt()
        assert (tmp_path / LOCK_FILE).read_text().startswith(f"process {first.pid} on ")
    finally:
        first.communicate()
    assert first.returncode == 0 and not any(tmp_path.iterdir())
    check_not_running(tmp_path)
    with only_run(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text().startswith(f"process {os.getpid()} on ")
    assert not any(tmp_path.iterdir())


def test_a_run_that_was_killed_keeps_nobody_out_even_if_what_it_forked_lives_on(tmp_path):
    first = holder(tmp_path, "child")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    try:
        assert (tmp_path / LOCK_FILE).exists()
        check_not_running(tmp_path)
        with only_run(tmp_path):
            pass
        assert not any(tmp_path.iterdir())
    finally:
        os.killpg(first.pid, signal.SIGKILL)


def test_many_runs_at_once_have_the_folder_one_after_the_other(tmp_path):
    """Each notes when it came and went, and as often as one is refused another has it."""
    folder, log = tmp_path / "run", tmp_path / "log"
    folder.mkdir()
    children = []
    for number in range(4):
        children.append(os.fork())
        if children[-1] == 0:
            code, taken, deadline = 1, 0, time.monotonic() + 60
            try:
                while taken < 50 and time.monotonic() < deadline:
                    try:
                        with only_run(folder), log.open("a") as sink:
                            sink.write(f"{number}\n")
                            sink.flush()
                            sink.write(f"{number}\n")
                        taken += 1
                    except UserError:
                        continue
                code = 0 if taken == 50 else 2
            finally:
                os._exit(code)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
    lines = log.read_text().splitlines()
    assert len(lines) == 400 and lines[::2] == lines[1::2]
    assert not any(folder.iterdir())


def test_where_the_file_system_has_no_locks_a_run_goes_on(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no locks")

    monkeypatch.setattr("mrd_hf.files.run_lock.fcntl.lockf", refuse)
    with only_run(tmp_path):
        assert (tmp_path / LOCK_FILE).exists()
    assert not any(tmp_path.iterdir())
