"""Keeps the tests' copies of datasets out of the user's cache, and the other way round; fixes property examples."""

import os
import signal
import tempfile

import pytest
from hypothesis import settings


# Read by `datasets` when it is imported, here and in the processes that tests start.
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="mrd-hf-tests-")

# The same examples on every run, so that a change alone can break a test; and none fails for a busy machine.
settings.register_profile("tests", derandomize=True, deadline=None)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def no_signal_handler_is_left_behind():
    """A later test's forked process would have it, and can then lose the signal that is to end it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) == before
