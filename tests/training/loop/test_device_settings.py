"""How batches come, and what only a GPU has."""

import signal

import pytest
import torch
from support.short_runs import tiny_run
from support.tiny_triplets import save_tiny_triplets

from mrd_hf.errors import UserError
from mrd_hf.training import pretraining


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return save_tiny_triplets(tmp_path_factory.mktemp("data") / "tiny")


def test_batches_are_read_ahead_by_processes_as_told(data, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(pretraining, "DataLoader", lambda source, **settings: told.append(settings) or [])
    for num_workers in (0, 3):
        run = tiny_run(data, tmp_path, num_workers=num_workers)
        run.prefetch_factor = 5
        run.batches()
    assert [settings["prefetch_factor"] for settings in told] == [None, 5]
    assert [settings["num_workers"] for settings in told] == [0, 3]
    assert not told[0]["pin_memory"]


def test_they_are_the_same_whoever_reads_them(data, tmp_path):
    batches = [next(tiny_run(data, tmp_path, num_workers=workers).batches()) for workers in (0, 1)]
    assert batches[0]["ids"] == batches[1]["ids"] and torch.equal(batches[0]["points"], batches[1]["points"])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("setting", ["tf32", "sync_batch_norm"])
def test_what_needs_a_gpu_says_so(data, tmp_path, setting):
    with pytest.raises(UserError, match=f"{setting} needs GPUs; leave it out on CPUs"):
        tiny_run(data, tmp_path, **{setting: True})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.device
def test_tf32_is_switched_on(data, tmp_path):
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        tiny_run(data, tmp_path, cpu=False, tf32=True)
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
