"""Running the processes of an ablation: all, some that fail, after a kill; with small scripts in training's place."""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from stub_jobs import stub_job

from mrd_hf.errors import UserError
from mrd_hf.training.ablation.progress import Progress, as_time
from mrd_hf.training.ablation.running import environment_of_runs, last_lines, run_jobs
from mrd_hf.training.ablation.status import Status, checked_status, code_digest, read_status


NAMES = ("a", "b", "c", "d")
# 1, 1.5, 3.25, 6.875, 13.3125: each is the one before times 1.5, and its place.
WEIGHT = "13.3125"
ENVIRONMENT = environment_of_runs(1)


def reports(out: Path) -> dict[str, str]:
    return {file.parent.parent.name: file.read_text() for file in out.glob("*/validation/report")}


def test_all_are_run_once_and_not_again(tmp_path):
    jobs = [stub_job(tmp_path, name) for name in NAMES]
    assert run_jobs(jobs, 3, ENVIRONMENT).failed == [] and all(job.finished for job in jobs)
    assert reports(tmp_path) == dict.fromkeys(NAMES, WEIGHT)
    for name in NAMES:
        status = read_status(tmp_path / name)
        assert set(status.seconds) == {"pretrain", "validation"} and None not in status.seconds.values()
        assert not list((tmp_path / name / "pretrain").glob("checkpoint-*"))
    run_jobs([stub_job(tmp_path, name) for name in NAMES], 3, ENVIRONMENT)
    assert [(tmp_path / name / "begun").read_text() for name in NAMES] == ["0\n"] * 4


def test_no_more_than_asked_are_at_work_at_a_time(tmp_path):
    seen = []
    jobs = [stub_job(tmp_path, name, 0.1) for name in NAMES]
    run_jobs(jobs, 2, ENVIRONMENT, lambda active, done: seen.append((len(active), done)))
    assert max(count for count, _ in seen) == 2 and seen[-1] == (0, 4)


@pytest.mark.parametrize("stage", ["pretrain", "validation"])
def test_one_that_fails_is_listed_with_the_end_of_its_log_and_stops_no_other(tmp_path, stage):
    outcome = run_jobs([stub_job(tmp_path, "a", fails=stage), stub_job(tmp_path, "b")], 1, ENVIRONMENT)
    assert [job.name for job in outcome.failed] == ["a"]
    assert list(outcome.failed[0].status.failed) == [stage]
    assert outcome.failed[0].status.failed[stage].startswith("exit code 3\n")
    assert "learning rate too high" in read_status(tmp_path / "a").failed[stage]
    assert reports(tmp_path) == {"b": WEIGHT}
    # The same command again tries it again, and keeps what went well.
    assert run_jobs([stub_job(tmp_path, "a")], 1, ENVIRONMENT).failed == []
    assert reports(tmp_path) == dict.fromkeys("ab", WEIGHT) and read_status(tmp_path / "a").failed == {}
    assert (tmp_path / "b" / "begun").read_text() == "0\n"


def wait_until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def processes_with(word: str) -> list[int]:
    """Those whose command line has a word; the system keeps them as files."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word in file.read_text(errors="replace") and int(file.parent.name) != os.getpid():
                found.append(int(file.parent.name))
        except OSError:
            pass
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "SIGINT"])
def test_killed_in_the_middle_and_resumed_it_ends_as_if_it_had_not_been(tmp_path, kill):
    """The first two are in the midst of training; their processes end with the killed one."""
    out = tmp_path / "out"
    jobs = [stub_job(out, name, 0.4) for name in NAMES]
    # Forked, since a new process would take seconds to import torch, which none of this needs.
    process = multiprocessing.get_context("fork").Process(target=run_jobs, args=(jobs, 2, ENVIRONMENT))
    process.start()
    wait_until(lambda: len(list(out.glob("*/pretrain/checkpoint-1"))) == 2)
    assert len(processes_with(str(out))) == 2
    os.kill(process.pid, kill)
    process.join(30)
    assert process.exitcode not in (0, None)
    wait_until(lambda: not processes_with(str(out)))
    assert reports(out) == {}
    assert run_jobs([stub_job(out, name) for name in NAMES], 2, ENVIRONMENT).failed == []
    assert reports(out) == dict.fromkeys(NAMES, WEIGHT)
    for name in ("a", "b"):
        begun = (out / name / "begun").read_text().split()
        assert len(begun) == 2 and begun[0] == "0" and int(begun[1]) >= 1
        assert read_status(out / name).seconds["pretrain"] is None  # which tells nothing of how long it takes
    assert (out / "d" / "begun").read_text() == "0\n"


@pytest.mark.skipif(sys.platform == "win32", reason="has no locks there")
def test_a_run_at_which_another_one_is_at_work_is_left_to_it(tmp_path):
    others = []

    def begin_another(active, done):
        if active and not others:
            others.append(run_jobs([stub_job(tmp_path, "a"), stub_job(tmp_path, "b")], 1, ENVIRONMENT))

    outcome = run_jobs([stub_job(tmp_path, "a", 0.3)], 1, ENVIRONMENT, begin_another)
    assert outcome.elsewhere == [] and [job.name for job in others[0].elsewhere] == ["a"]
    assert reports(tmp_path) == dict.fromkeys("ab", WEIGHT)
    assert (tmp_path / "a" / "begun").read_text() == "0\n"


def test_what_another_process_did_meanwhile_is_not_done_again(tmp_path):
    """Its status was read before the other one had begun."""
    late = [stub_job(tmp_path, "a")]
    assert run_jobs([stub_job(tmp_path, "a")], 1, ENVIRONMENT).failed == []
    before = read_status(tmp_path / "a")
    assert run_jobs(late, 1, ENVIRONMENT).failed == [] and read_status(tmp_path / "a") == before
    assert (tmp_path / "a" / "begun").read_text() == "0\n" and before.code == code_digest() and before.threads == 1


@pytest.fixture
def on_cpu(monkeypatch):
    """Sets the kind of CPU that this machine seems to have."""
    return lambda kind: monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: kind)


def test_the_kind_of_cpu_is_noted_when_training_starts(tmp_path, on_cpu):
    on_cpu("AVX2")
    seen = []
    run_jobs([stub_job(tmp_path, "a", 0.3)], 1, ENVIRONMENT, lambda *_: seen.append(read_status(tmp_path / "a")))
    assert seen[0].cpu == "AVX2" and seen[0].seconds == {} and read_status(tmp_path / "a").cpu == "AVX2"
    # Scored on another machine, it is still of the one where it was trained.
    on_cpu("AVX512")
    job = stub_job(tmp_path, "a")
    del job.status.seconds["validation"]
    job.status.save(job.folder)
    run_jobs([job], 1, ENVIRONMENT)
    assert set(job.status.seconds) == {"pretrain", "validation"} and read_status(tmp_path / "a").cpu == "AVX2"
    of_gpu = stub_job(tmp_path, "b")
    of_gpu.status.device = "cuda"
    run_jobs([of_gpu], 1, ENVIRONMENT)
    assert read_status(tmp_path / "b").cpu is None


@pytest.mark.parametrize(
    ("before", "is_resumed", "expected"),
    [
        ("AVX2", True, "AVX2, AVX512"),  # moved to another machine in the middle
        ("AVX512", True, "AVX512"),
        ("AVX2, AVX512", True, "AVX2, AVX512"),
        (None, True, None),  # by an earlier version, whose machine is not known
        ("AVX2", False, "AVX512"),  # from the start again
    ],
)
def test_a_run_that_goes_on_elsewhere_is_of_both_kinds(tmp_path, on_cpu, before, is_resumed, expected):
    on_cpu("AVX512")
    job = stub_job(tmp_path, "a")
    job.folder.mkdir()
    job.status.cpu = before
    job.status.save(job.folder)
    if is_resumed:
        checkpoint = job.folder / "pretrain" / "checkpoint-2"
        checkpoint.mkdir(parents=True)
        (checkpoint / "weight").write_text("3.25")
    # Whose status was read before another process wrote that one.
    late = stub_job(tmp_path, "a")
    late.status.cpu = "AVX2048"
    assert run_jobs([late], 1, ENVIRONMENT).failed == []
    assert read_status(job.folder).cpu == expected


def test_the_status_of_an_earlier_version_is_read(tmp_path):
    """It says nothing of the CPU."""
    (tmp_path / "status.json").write_text(
        '{"fingerprint": "these", "seconds": {"pretrain": 1.5}, "failed": {}, "version": "0.1.0", "code": "a", '
        '"threads": 1, "device": "cpu"}'
    )
    status = checked_status(tmp_path, "these", 1)
    assert (status.seconds, status.code, status.cpu) == ({"pretrain": 1.5}, "a", None)


def test_a_run_of_other_settings_is_not_taken_for_this_one(tmp_path):
    Status("these").save(tmp_path)
    assert checked_status(tmp_path, "these", 1).seconds == {}
    with pytest.raises(UserError, match="other settings"):
        checked_status(tmp_path, "others", 1)
    (tmp_path / "status.json").write_text('{"fingerprint": "these", "sec')
    with pytest.raises(UserError, match=r"status\.json: no status"):
        checked_status(tmp_path, "these", 1)


def test_the_end_of_a_log_is_what_a_reader_saw_at_last(tmp_path):
    log = tmp_path / "log.txt"
    log.write_bytes(b"begin\n" + b"".join(b"\r%d%%" % n for n in range(100)) + b"\n\nbroken: \xff\n")
    assert last_lines(log) == "begin\n99%\nbroken: \N{REPLACEMENT CHARACTER}"
    assert last_lines(log, 1) == "broken: \N{REPLACEMENT CHARACTER}"


def test_the_line_of_progress(tmp_path):
    jobs = [stub_job(tmp_path, name) for name in NAMES]
    progress = Progress(jobs, dict.fromkeys(NAMES, 100.0), dict.fromkeys(NAMES, 10), io.StringIO())
    assert progress.line([], 0, 0.0) == "0 of 4 runs done, time left unknown yet"
    for name, step in (("a", 5), ("b", 10)):
        (tmp_path / name / "pretrain").mkdir(parents=True)
        (tmp_path / name / "pretrain" / "training_log.jsonl").write_text(f'{{"step": 1}}\n{{"step": {step}}}\n')
    # A whole run and a half in 30 minutes; two and a half are left.
    line = progress.line(jobs[:2], 0, 1800.0)
    assert line == "0 of 4 runs done, 50 min left, a 50%; b 100%"
    jobs[0].status.seconds = {"pretrain": 1.0, "validation": 1.0}
    jobs[2].status.failed = {"pretrain": "why"}
    # Two are done with training and one is given up: one of the three that were begun is left.
    assert progress.line([jobs[1]], 2, 3600.0) == "2 of 4 runs done, 1 failed, 20 min left, b 100%"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (91, "2 min"), (3599, "1 h 00 min"), (7500, "2 h 05 min")]
)
def test_times_for_a_reader(seconds, text):
    assert as_time(seconds) == text


def test_the_attended_command_ends_with_its_starter(tmp_path):
    """The real one, without a command that would import torch: it waits on a prompt that never comes."""
    program = (
        "import mrd_hf_cli.attended as a, threading, time\n"
        "threading.Thread(target=a.watch, daemon=True).start()\n"
        "print('up', flush=True)\ntime.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    process.stdin.close()
    assert process.wait(20) == 143
    process.stdout.close()
