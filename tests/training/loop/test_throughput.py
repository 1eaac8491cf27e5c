"""Shapes a second and the share of waiting, by a clock that the test sets; memory; and where all of it goes."""

import json
import sys

import pytest
import torch
from support.short_runs import tiny_run
from support.tiny_triplets import save_tiny_triplets
from tqdm import tqdm

from mrd_hf.training.loop.throughput import Throughput, peak_memory
from mrd_hf.training.training_log import read_log


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_waiting_and_training_are_told_apart_and_pauses_do_not_count():
    clock = Clock()

    def batches():
        while True:
            clock.now += 0.5
            yield None

    throughput = Throughput(batch_size=6, device=torch.device("cpu"), clock=clock)
    seen = []
    for step, _ in enumerate(throughput.timed(batches()), start=1):
        clock.now += 1.5
        if step % 2 == 0:
            metrics = throughput.read()
            seen.append((metrics["shapes_per_second"], metrics["data_waiting_share"]))
            with throughput.pause():
                clock.now += 1000
        if step == 6:
            break
    assert seen == [pytest.approx((2 * 6 / 4, 0.25))] * 3


def test_batches_end_with_their_source():
    assert list(Throughput(1, torch.device("cpu")).timed([1, 2])) == [1, 2]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say")
def test_peak_memory_is_that_of_the_process():
    psutil = pytest.importorskip("psutil")
    held = torch.ones(2**24)  # 64 MiB, all of it written
    peak = peak_memory(torch.device("cpu"))
    now = psutil.Process().memory_info().rss
    assert held.nbytes < 0.95 * now < peak < now + 2**33


def test_the_log_the_trackers_and_the_progress_bar_get_them(tmp_path, monkeypatch):
    data = save_tiny_triplets(tmp_path / "data")
    tracked, shown = [], []
    run = tiny_run(data, tmp_path / "run", logging_steps=3)
    monkeypatch.setattr(run.accelerator, "log", lambda values, step: tracked.append((step, values)))
    monkeypatch.setattr(tqdm, "set_postfix_str", lambda self, text, *_: shown.append(text))
    run.run()
    lines = read_log(tmp_path / "run" / "training_log.jsonl")
    assert [line["step"] for line in lines] == [3, 6]
    for (step, values), line, text in zip(tracked, lines, shown, strict=True):
        assert json.loads(json.dumps({"step": step, **values})) == line
        assert line["shapes_per_second"] > 0 and 0 < line["data_waiting_share"] < 1 and line["peak_memory_gib"] > 0
        share = f"{line['data_waiting_share']:.0%} waiting for data"
        assert text.startswith(f"loss {line['loss']:.3f}, ") and f"shapes/s, {share}, " in text and text[-4:] == " GiB"
