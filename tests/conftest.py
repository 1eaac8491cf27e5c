"""Keeps tests apart from the user's caches and the Hub; fixes property examples; what one leaves reaches no other."""

import gc
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import settings


# Read by `datasets`, `evaluate` and `transformers` when they are imported, here and in the processes that tests start.
_CACHES = tempfile.TemporaryDirectory(prefix="mrd-hf-tests-", ignore_cleanup_errors=True)  # deleted with this process
for _cache in ("HF_DATASETS_CACHE", "HF_EVALUATE_CACHE", "HF_METRICS_CACHE", "HF_MODULES_CACHE"):
    os.environ[_cache] = str(Path(_CACHES.name, _cache.lower()))

# No test asks the Hub, nor anybody as the user. This is read when `huggingface_hub` is imported; where a server is in
# the Hub's place it is lifted, and that server is not asked through a proxy.
os.environ["HF_HUB_OFFLINE"] = "1"
for _setting in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_ETAG_TIMEOUT"):
    os.environ.pop(_setting, None)
for _name in ("NO_PROXY", "no_proxy"):
    os.environ[_name] = ",".join(filter(None, (os.environ.get(_name), "127.0.0.1", "localhost")))

# The kernels are interpreted where there is no GPU to run them. Read when Triton is imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# The same examples on every run, so that a change alone can break a test; and none fails for a busy machine.
settings.register_profile("tests", derandomize=True, deadline=None)
settings.load_profile("tests")

# A shell starts what is in the background with interruptions ignored, and so would be the processes that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

THREADS = torch.get_num_threads()

# Those that take longest begin first, so that no process is left alone with one of them at the end.
SLOW_FIRST = ("installation", "training", "commands", "docs", "hub", "models", "app")


def pytest_collection_finish() -> None:
    """What was imported stays, and is not gone through when garbage is looked for, a seventh of the tests' time."""
    gc.collect()
    gc.freeze()


def pytest_xdist_auto_num_workers() -> int:
    """Of `-n auto`: half as many again as there are cores, as many tests wait for processes, limits and servers."""
    return 3 * (os.cpu_count() or 1) // 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        return SLOW_FIRST.index(folder) if folder in SLOW_FIRST else len(SLOW_FIRST)

    items.sort(key=place)


@pytest.fixture(params=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every device that there is; for tests with the marker of this name."""
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def threads_of_torch_stay_as_they_are():
    """A command that is called in this process may set them, and they change the last digit of a sum."""
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(THREADS)  # for the next module's fixtures, which come before this one


@pytest.fixture(autouse=True)
def import_path_stays_as_it_is():
    """`evaluate` and `transformers` append their caches of modules; a later test would import from an earlier one."""
    before = sys.path.copy()
    yield
    sys.path[:] = before


@pytest.fixture(autouse=True)
def no_signal_handler_is_left_behind():
    """A later test's forked process would have it, and can then lose the signal that is to end it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) == before
