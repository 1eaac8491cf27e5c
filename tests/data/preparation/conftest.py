"""Workers are those of `mrd-hf prepare`, which does without the models: they start in a moment."""

import pytest

from mrd_hf.data.preparation import worker_pool


@pytest.fixture(autouse=True)
def workers_do_without_models(monkeypatch):
    monkeypatch.setattr(worker_pool, "is_without_models", lambda: True)
