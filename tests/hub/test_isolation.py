"""Reading in a process of its own: within its time and memory, without secrets, and not longer than its parent."""

import subprocess
import sys
import time

import psutil
import pytest
from support.ended_processes import has_ended

from mrd_hf.hub.endpoint import isolation
from mrd_hf.hub.endpoint.isolation import IsolatedReader


SECRET = "the-servers-secret"
# What is asked of it is what it does.
TARGET = """
import logging, os, sys, time, warnings

def reader(greeting):
    print("a library prints")
    return lambda request: ACTIONS[request["do"]](request, greeting)

def spin(request, greeting):
    while True:
        pass

def take(request, greeting):
    kept = bytearray(request["bytes"])
    return {"taken": len(kept)}

def chatter(request, greeting):
    warnings.warn("a library warns")
    logging.getLogger("library").error("a library logs")
    os.write(2, b"a library in C prints")
    return {}

ACTIONS = {
    "chatter": chatter,
    "greet": lambda request, greeting: (print("more of it"), {"greeting": greeting, "pid": os.getpid()})[1],
    "sleep": lambda request, greeting: time.sleep(60),
    "spin": spin,
    "take": take,
    "crash": lambda request, greeting: os._exit(3),
    "tell": lambda request, greeting: {"environ": dict(os.environ)},
}
"""


@pytest.fixture
def target(tmp_path):
    (tmp_path / "target.py").write_text(TARGET)
    return str(tmp_path / "target.py")


@pytest.fixture
def reader(target):
    reader = IsolatedReader(target, "hello", timeout=3.0, memory=2**26)
    yield reader
    reader.close()


def greeting(reader):
    return reader.ask({"do": "greet"})


def test_one_process_answers_one_request_after_the_other_whatever_it_prints(reader):
    first = greeting(reader)
    assert first["greeting"] == "hello" and first["pid"] == reader.process.pid
    assert greeting(reader) == first


def test_what_libraries_say_of_an_upload_is_not_on_the_servers_stderr_and_a_traceback_is(reader, capfd):
    greeting(reader)
    capfd.readouterr()
    assert reader.ask({"do": "chatter"}) == {}
    assert capfd.readouterr() == ("", "")
    with pytest.raises(EOFError):
        reader.ask({"do": "no such thing"})
    assert "KeyError: 'no such thing'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"do": "sleep"}, TimeoutError),
        ({"do": "spin"}, TimeoutError),
        ({"do": "take", "bytes": 2**29}, MemoryError),
        ({"do": "crash"}, EOFError),
        ({"do": "no such thing"}, EOFError),
    ],
)
def test_one_that_breaks_its_reader_costs_the_next_nothing(reader, request_, error):
    before = greeting(reader)["pid"]
    start = time.monotonic()
    with pytest.raises(error):
        reader.ask(request_)
    assert time.monotonic() - start < 10
    assert not psutil.pid_exists(before)
    assert greeting(reader)["pid"] != before


def test_memory_up_to_the_limit_may_be_taken(reader):
    assert reader.ask({"do": "take", "bytes": 2**26}) == {"taken": 2**26}


def test_a_process_that_was_killed_is_replaced(reader):
    before = greeting(reader)["pid"]
    psutil.Process(before).kill()  # as the kernel does when memory runs out
    reader.process.wait()
    assert greeting(reader)["pid"] != before


def test_the_process_knows_nothing_of_its_parents_secrets(reader, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    found = reader.ask({"do": "tell"})["environ"]
    assert SECRET not in found.values() and "HF_TOKEN" not in found and "PATH" in found
    assert SECRET not in psutil.Process(reader.process.pid).environ().values()


PARENT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("isolation", sys.argv[1])  # as handler.py does it
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
reader = module.IsolatedReader(sys.argv[2], "hello", timeout=3.0, memory=2**26)
print(reader.ask({"do": "greet"})["pid"], flush=True)
if sys.argv[3] == "busy":
    reader.timeout = 600
    reader.ask({"do": "spin"})
sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_no_process_outlives_its_parent(target, state):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, isolation.__file__, target, state],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    parent.communicate()
    psutil.wait_procs([child], timeout=30)  # a busy one has its own time to the end
    assert has_ended(child)
