"""Keeps the tests' copies of datasets out of the user's cache, and the other way round; fixes property examples."""

import os
import tempfile

from hypothesis import settings


# Read by `datasets` when it is imported, here and in the processes that tests start.
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="mrd-hf-tests-")

# The same examples on every run, so that a change alone can break a test; and none fails for a busy machine.
settings.register_profile("tests", derandomize=True, deadline=None)
settings.load_profile("tests")
