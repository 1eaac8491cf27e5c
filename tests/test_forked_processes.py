"""The processes that tests start in the place of new ones: what they do, and how they end, is seen as of those."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from support.ended_processes import has_ended
from support.forked_processes import ForkedCommand, run_command, start


ENDINGS = """
import os, sys
print("said", *sys.argv[1:], os.environ["OF_ITS_OWN"], os.getcwd())
print("complained", file=sys.stderr)
how = sys.argv[1]
if how == "raises":
    raise ValueError("as it had to")
if how == "kills itself":
    os.kill(os.getpid(), 9)
sys.exit({"exits": 3, "gives a message": "the message"}.get(how))
"""


@pytest.fixture
def script(tmp_path) -> Path:
    (tmp_path / "script.py").write_text(ENDINGS)
    return tmp_path / "script.py"


@pytest.mark.parametrize(
    ("how", "code", "complaint"),
    [
        ("ends", 0, ""),
        ("exits", 3, ""),
        ("gives a message", 1, "the message\n"),
        ("raises", 1, "ValueError: as it had to\n"),
        ("kills itself", -signal.SIGKILL, None),
    ],
)
def test_a_command_ends_and_writes_as_a_new_process_does(script, tmp_path, how, code, complaint):
    done = run_command([script, how], env={**os.environ, "OF_ITS_OWN": "x"}, cwd=tmp_path)
    assert done.returncode == code
    if complaint is not None:  # what a killed one had not yet written is lost
        assert done.stdout == f"said {how} x {tmp_path}\n"
        assert done.stderr.startswith("complained\n") and done.stderr.endswith(complaint)
    assert "OF_ITS_OWN" not in os.environ and Path.cwd() != tmp_path


def test_after_a_command_that_fails_none_follows(script):
    done = run_command([script, "ends"], [script, "exits"], [script, "ends"], env={**os.environ, "OF_ITS_OWN": "x"})
    assert done.returncode == 3 and done.stdout.count("said") == 2


def test_what_is_killed_takes_along_what_it_started(tmp_path):
    script = tmp_path / "starts.py"
    script.write_text("import subprocess as s, time; print(s.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)")
    process = ForkedCommand([script], env=os.environ)
    deadline = time.monotonic() + 60
    while not (process.stdout.exists() and process.stdout.read_text().endswith("\n")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    child = psutil.Process(int(process.stdout.read_text()))
    process.kill()
    assert process.poll() == -signal.SIGKILL
    psutil.wait_procs([child], timeout=30)
    assert has_ended(child)


def write_and_fail(file: Path) -> None:
    file.write_text(str(os.getpid()))
    raise AssertionError


def test_a_function_runs_in_a_process_of_its_own(tmp_path):
    process = start(write_and_fail, tmp_path / "pid")
    assert process.wait(timeout=60) == 1
    assert int((tmp_path / "pid").read_text()) == process.pid != os.getpid()
