"""One run at a time in a folder: refused by name, and never kept out by what is dead."""

import os
import signal
import sys
import time

import psutil
import pytest
from support.lock_holder import held_by_another

from mrd_hf.errors import UserError
from mrd_hf.files.run_lock import LOCK_FILE, check_not_running, only_run


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks")


def test_a_second_run_is_refused_and_told_of_the_first(tmp_path):
    with held_by_another(tmp_path) as first:
        for attempt in (lambda: only_run(tmp_path).__enter__(), lambda: check_not_running(tmp_path)):
            with pytest.raises(UserError, match=rf"another run is writing it \(process {first} on .*, which began at"):
                attempt()
        assert (tmp_path / LOCK_FILE).read_text().startswith(f"process {first} on ")
    assert not any(tmp_path.iterdir())
    check_not_running(tmp_path)
    with only_run(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text().startswith(f"process {os.getpid()} on ")
    assert not any(tmp_path.iterdir())


def test_a_run_that_was_killed_keeps_nobody_out_even_if_what_it_forked_lives_on(tmp_path):
    with held_by_another(tmp_path, leaves_a_child=True) as first:
        os.kill(first, signal.SIGKILL)
        while psutil.Process(first).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert (tmp_path / LOCK_FILE).exists()
        check_not_running(tmp_path)
        with only_run(tmp_path):
            pass
        assert not any(tmp_path.iterdir())


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
                while taken < 20 and time.monotonic() < deadline:
                    try:
                        with only_run(folder), log.open("a") as sink:
                            sink.write(f"{number}\n")
                            sink.flush()
                            sink.write(f"{number}\n")
                        taken += 1
                    except UserError:
                        continue
                code = 0 if taken == 20 else 2
            finally:
                os._exit(code)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
    lines = log.read_text().splitlines()
    assert len(lines) == 160 and lines[::2] == lines[1::2]
    assert not any(folder.iterdir())


def test_where_the_file_system_has_no_locks_a_run_goes_on(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no locks")

    monkeypatch.setattr("mrd_hf.files.run_lock.fcntl.lockf", refuse)
    with only_run(tmp_path):
        assert (tmp_path / LOCK_FILE).exists()
    assert not any(tmp_path.iterdir())
