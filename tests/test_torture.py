"""scripts/torture: what breaks is seen, by sham commands that lose, leak and hang; and short versions of its parts."""

import random
import re
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from support.paths import SCRIPTS


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found as on Linux")

# Writes a result in half a second, atomically, and resumes where it was; %s is what goes wrong.
SHAM = """
import os, subprocess, sys, time
from pathlib import Path
out = Path(sys.argv[1])
wrong = sys.argv[2]
if wrong == "trusts what is there" and out.exists():
    sys.exit(0)
out.mkdir(exist_ok=True)
for number in range(5):
    if wrong == "leaves a process" and number == 0:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    if wrong == "leaves a file":
        (out / "incomplete-part").touch()
    (out / f".{number}").write_text(str(number))
    time.sleep(0.1)
    (out / f".{number}").rename(out / str(number))
"""
# A few hundredths of a second each, as Python alone takes.
WRITES = "import sys; from pathlib import Path; p = Path(sys.argv[1]); p.mkdir(); (p / 'a').write_text({})"


@pytest.fixture(scope="module")
def parts():
    sys.path.insert(0, str(SCRIPTS / "torture"))
    from torture_parts import damage, determinism, faults, inputs, kills, load, processes, tally

    yield SimpleNamespace(
        damage=damage,
        determinism=determinism,
        faults=faults,
        inputs=inputs,
        kills=kills,
        load=load,
        processes=processes,
        tally=tally,
    )
    sys.path.remove(str(SCRIPTS / "torture"))


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ("nothing", None),
        ("trusts what is there", "exit code 0 and another result"),
        ("leaves a process", "an orphan after"),
        ("leaves a file", "left behind after"),
    ],
)
def test_what_a_kill_loses_or_leaves_is_seen(parts, tmp_path, monkeypatch, wrong, found):
    monkeypatch.setattr(parts.kills, "PAUSES", (0.3, 0.1))
    monkeypatch.setattr(parts.processes.Run.orphans, "__defaults__", (0.5,))
    case = parts.kills.Case("sham", lambda out: ["-c", SHAM, str(out), wrong], ("[0-9]",))
    (tmp_path / "whole").mkdir()
    whole = case.run(tmp_path / "whole" / "out", tmp_path / "log")
    assert whole.wait(60) == 0
    whole.end()
    expected = case.result(tmp_path / "whole" / "out")
    assert len(expected) == 5
    tally = parts.tally.Tally("a")
    parts.kills.torture(tally, case, tmp_path / "try", 2, random.Random(3), expected)
    if found is None:
        assert tally.failures == [] and tally.tries == 2
    else:
        assert any(found in failure for failure in tally.failures), tally.failures
    for folder in (tmp_path / "try", tmp_path / "whole"):
        assert not any("sleep(30)" in line and str(folder) in line for line in whole.members().values())


def test_a_command_is_known_with_all_that_it_starts_and_ends_with_it(parts, tmp_path):
    run = parts.processes.Run(["-c", SHAM, str(tmp_path / "out"), "leaves a process"], tmp_path / "log")
    while len(run.members()) < 2:
        time.sleep(0.01)
    assert run.kill("worker", random.Random(0)) == "worker" and run.kill("fork server", random.Random(0)) is None
    assert run.wait(60) == 0 and run.orphans(5) == []
    hung = parts.processes.Run(["-c", "import time; time.sleep(60)"], tmp_path / "log")
    assert hung.wait(0.2) is None and hung.members() == {}


@pytest.mark.parametrize(
    ("program", "problems"),
    [
        ("import sys; sys.exit('error: cannot write it')", []),
        ("raise ValueError('cannot write it')", ["a trace"]),
        ("print('cannot write it')", ["exit code 0 and not 1"]),
        ("import sys; sys.exit('error: no')", ["does not say 'cannot write'"]),
        ("f = open('/dev/shm/no/such', 'w')", ["a trace", "does not say"]),
    ],
)
def test_a_command_that_ends_in_another_way_is_seen(parts, tmp_path, program, problems):
    found = parts.faults.expect(parts.processes.Run(["-c", program], tmp_path / "log"), 1, "cannot write")
    assert len(found) == len(problems)
    assert all(problem in each for problem, each in zip(problems, found, strict=True))


def test_a_small_disk_is_small(parts, tmp_path):
    program = f"open({str(tmp_path / 'file')!r}, 'wb').write(bytes(100_000))"
    run = parts.processes.Run(["-c", program], tmp_path / "log", file_limit=8192)
    assert run.wait(60) == 1 and "File too large" in run.said() and (tmp_path / "file").stat().st_size == 8192


def test_45_damaged_files_that_are_no_shapes(parts, tmp_path):
    tally = parts.tally.Tally("c")
    parts.damage.read_damaged(tally, 0, 45, tmp_path / "sound")
    assert tally.tries == 45 and tally.failures == []


def test_a_reader_that_fails_hangs_or_ends_its_process_is_seen(parts, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(bytes(1000))
    readers = {
        "a": lambda path: path.read_bytes(),
        "b": lambda path: {}["no"],
        "c": lambda path: sys.modules["os"]._exit(3) if path.parent != tmp_path else None,
        "d": lambda path: time.sleep(60) if path.parent != tmp_path else None,
    }
    monkeypatch.setattr(parts.damage, "DEADLINE", 3.0)
    sound = {name: (tmp_path / "file", read) for name, read in readers.items() if name != "b"}
    sound["b"] = (tmp_path / "file", lambda path: None if path.parent == tmp_path else readers["b"](path))
    monkeypatch.setattr(parts.damage, "readers", lambda folder: sound)
    tally = parts.tally.Tally("c")
    parts.damage.read_damaged(tally, 0, 5, tmp_path)
    assert tally.tries == 5
    assert [failure.partition(": ")[2] for failure in tally.failures] == [
        "KeyError: 'no'",
        "ended the process (3)",
        "hung",
    ]


def test_clients_that_get_wrong_answers_are_seen(parts):
    def slowly(problem):
        def answer(rng):
            time.sleep(0.02)
            return [problem] if problem != "fails" else {}["x"]

        return answer

    kinds = {"right": lambda rng: time.sleep(0.02) or [], "wrong": slowly("another answer"), "fails": slowly("fails")}
    tally = parts.tally.Tally("d")
    parts.load.together(tally, 0, 0.5, kinds, lambda: [parts.load._own()])
    assert set(tally.failures) == {"wrong: another answer", "fails: KeyError: 'x'"}
    assert tally.tries > 20 and tally.memory > 2**20


@pytest.mark.parametrize(("most", "failures"), [(200, 0), (500, 1)])
def test_memory_that_grows_under_load_is_seen(parts, monkeypatch, most, failures):
    caller, levels = threading.current_thread(), [most, 100]  # clients read it as well, and that is for the tally

    def level(pids):
        return (levels.pop() if threading.current_thread() is caller else 100) * 2**20

    monkeypatch.setattr(parts.load, "memory_of", level)
    tally = parts.tally.Tally("d")
    parts.load.together(tally, 0, 0.2, {"right": lambda rng: time.sleep(0.05) or []}, list)
    assert len(tally.failures) == failures and not levels


def test_two_runs_that_differ_are_seen(parts, tmp_path):
    same, other = WRITES.format("'x'"), WRITES.format("str(__import__('os').getpid())")
    twice = parts.determinism._twice
    assert twice("same", ["-c", same, "OUT"], ("*",), tmp_path) == []
    assert twice("other", ["-c", other, "OUT"], ("*",), tmp_path) == ["the two differ"]
    assert twice("none", ["-c", "", "OUT"], ("*",), tmp_path) == ["nothing was written"]
    assert "exit code 3" in twice("fails", ["-c", "import sys; sys.exit(3)"], (), tmp_path)[0]


def test_four_threads_embed_as_one_does(parts, tmp_path):
    parts.inputs.write_shapes(tmp_path / "shapes", 8)
    parts.inputs.write_encoder(tmp_path / "encoder")
    assert parts.determinism.by_threads(tmp_path) == []


def test_the_table_has_a_row_for_each_part_and_all_that_failed(parts):
    first, second = parts.tally.Tally("a: kills"), parts.tally.Tally("b: faults")
    first.add("index, 2 kills", [], 3.25, 2**21)
    with second.trying("full disk") as problems:
        problems.append("the old index is gone")
        raise OSError("no more")
    second.skip("clock", "the time was up")
    table = parts.tally.as_markdown([first, second])
    assert "| a: kills | 1 | 0 | 3.2 | 2 |" in table and "| b: faults | 1 | 2 | 0.0 | - |" in table
    assert re.search(r"Failed:\n\n- b: faults: full disk: the old index is gone\n- .*OSError: no more", table)
    assert "- b: faults: clock: the time was up" in table
