"""Keeps the tests' copies of datasets out of the user's cache, and the user's out of the tests."""

import os
import tempfile


# Read by `datasets` when it is imported, here and in the processes that tests start.
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="mrd-hf-tests-")
