"""Keeps the tests' copies of datasets out of the user's cache, and the other way round; fixes property examples."""

import os
import signal
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import settings


# Read by `datasets` when it is imported, here and in the processes that tests start.
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="mrd-hf-tests-")

# The same examples on every run, so that a change alone can break a test; and none fails for a busy machine.
settings.register_profile("tests", derandomize=True, deadline=None)
settings.load_profile("tests")

THREADS = torch.get_num_threads()

# Those that take longest begin first, so that no process is left alone with one of them at the end.
SLOW_FIRST = ("installation", "training", "commands", "docs", "hub", "models", "app")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        return SLOW_FIRST.index(folder) if folder in SLOW_FIRST else len(SLOW_FIRST)

    items.sort(key=place)


@pytest.fixture(autouse=True)
def threads_of_torch_stay_as_they_are():
    """A command that is called in this process may set them, and they change the last digit of a sum."""
    torch.set_num_threads(THREADS)
    yield


@pytest.fixture(autouse=True)
def no_signal_handler_is_left_behind():
    """A later test's forked process would have it, and can then lose the signal that is to end it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) == before
