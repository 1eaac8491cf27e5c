"""A run ends after a step when its time is over or SIGTERM comes, and resumes to the same weights."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import psutil
import pytest
import torch
import torch.distributed as dist
from support.ended_processes import has_ended
from support.short_runs import tiny_run, weights
from support.tiny_triplets import save_tiny_triplets

from mrd_hf.training.checkpoints import list_checkpoints
from mrd_hf.training.loop.stopping import Ending, StopRequest
from mrd_hf.training.pretraining import LOG_FILE
from mrd_hf.training.training_log import read_log


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return save_tiny_triplets(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Weights of a run that nothing ended early."""
    run = tiny_run(data, tmp_path_factory.mktemp("whole"))
    result = run.run()
    assert (result.ending, result.steps) == (Ending.LAST_STEP, 6)
    return weights(run)


def stopped_run(data, folder, monkeypatch, ending, **settings):
    """A run that is to end after its second step."""
    evaluated = []
    run = tiny_run(data, folder, evaluate=lambda model: evaluated.append(run.step) or {"score": 1.0}, **settings)
    agreed = run.stop.agreed

    def after_two():
        if run.step == 2 and ending is Ending.SIGTERM:
            os.kill(os.getpid(), signal.SIGTERM)
        if run.step == 2 and ending is Ending.TIME:
            run.stop.began -= 61
        return agreed()

    monkeypatch.setattr(run.stop, "agreed", after_two)
    return run, evaluated


@pytest.mark.parametrize(("ending", "evaluations"), [(Ending.TIME, [2]), (Ending.SIGTERM, [])])
def test_it_ends_with_a_checkpoint_and_resumes_to_the_bit(data, whole, tmp_path, monkeypatch, ending, evaluations):
    run, evaluated = stopped_run(data, tmp_path, monkeypatch, ending, max_train_minutes=1.0)
    before = signal.getsignal(signal.SIGTERM)
    result = run.run()
    assert signal.getsignal(signal.SIGTERM) is before
    assert (result.ending, result.steps, evaluated) == (ending, 2, evaluations)
    assert ("eval/score" in result.metrics) is (ending is Ending.TIME)
    [checkpoint] = list_checkpoints(tmp_path)
    assert checkpoint.name == "checkpoint-2"
    resumed = tiny_run(data, tmp_path, max_train_minutes=60.0)
    resumed.resume(checkpoint)
    assert resumed.run().steps == 6
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(resumed).items())


@pytest.mark.parametrize(("during", "step"), [("save", 2), ("save", 6), ("evaluation", 6)])
def test_told_to_end_in_a_save_or_in_the_last_evaluation_it_ends_after_it(data, tmp_path, during, step):
    """At the last step the default of the signal would hold again, and whoever sent it wait for the export."""
    run, evaluated = tiny_run(data, tmp_path, save_steps=1, eval_steps=2), []
    save = run.save

    def tell(of):
        if (of, run.step) == (during, step):
            os.kill(os.getpid(), signal.SIGTERM)

    run.evaluate = lambda _: evaluated.append(run.step) or tell("evaluation") or {"score": 1.0}
    run.save = lambda: save() or tell("save")
    result = run.run()
    assert (result.ending, result.steps) == (Ending.SIGTERM, step)
    # Whoever sends the signal waits for no evaluation that has not begun.
    assert evaluated == [number for number in (2, 4, 6) if number < step + (during == "evaluation")]
    assert list_checkpoints(tmp_path)[-1].name == f"checkpoint-{step}"


def test_an_evaluation_that_fails_leaves_the_checkpoint_and_is_made_again(data, whole, tmp_path):
    """As a kill between them would, or GPUs' process group that has lost patience."""

    def fail(model):
        raise RuntimeError("out of memory")

    steps = {"eval_steps": 2, "save_steps": 2}
    run = tiny_run(data, tmp_path, evaluate=fail, **steps)
    with pytest.raises(RuntimeError, match="out of memory"):
        run.run()
    [checkpoint] = list_checkpoints(tmp_path)
    assert checkpoint.name == "checkpoint-2"

    def resumed_from(step):
        evaluated = []
        run = tiny_run(data, tmp_path, evaluate=lambda _: evaluated.append(run.step) or {"score": 1.0}, **steps)
        run.resume(tmp_path / f"checkpoint-{step}")
        assert run.run().metrics["eval/score"] == 1.0
        assert [line["step"] for line in read_log(tmp_path / LOG_FILE) if "eval/score" in line] == [2, 4, 6]
        assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(run).items())
        return evaluated

    assert resumed_from(2) == [2, 4, 6]
    assert resumed_from(4) == [6]  # what is logged of a step on the way stays
    assert resumed_from(6) == [6]  # for the report


def test_time_counts_from_the_first_step_on():
    stop = StopRequest(max_minutes=1.0)
    stop.began -= 3600  # as if to load the data had taken an hour
    with stop.listening():
        assert stop.agreed() is None
        stop.began -= 60
        assert stop.agreed() is Ending.TIME
    assert StopRequest(None).agreed() is None


PROGRAM = """
import os, time, torch
from mrd_hf.training.loop.stopping import StopRequest, outlive_sigterm


class Slow(torch.utils.data.Dataset):
    def __len__(self):
        return 10**6

    def __getitem__(self, index):
        return os.getpid()


with StopRequest(None).listening():
    loader = torch.utils.data.DataLoader(Slow(), batch_size=None, num_workers=2, worker_init_fn=outlive_sigterm)
    for number, worker in enumerate(loader):
        time.sleep(0.02)
        if number < 20:
            print(int(worker), flush=True)
        if number == 150:
            break
    print("all read", flush=True)
    raise SystemExit(3)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who sent a signal")
def test_processes_that_read_data_outlive_the_signal_and_not_their_parent():
    """As a cluster sends it, to every process; and the program still ends, by an error with the loader at work."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    workers = {psutil.Process(int(process.stdout.readline())) for _ in range(20)}
    assert len(workers) == 2
    for told in (*workers, process):
        os.kill(told.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert said == "all read\n" and process.returncode == 3
    deadline = time.monotonic() + 20
    while not all(has_ended(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_group_that_agrees_on_it_waits_as_long_as_the_others(monkeypatch):
    """For a process whose loader stalls; gloo's own patience is half an hour."""
    asked = {}
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "new_group", lambda **options: asked.update(options))
    StopRequest(None)
    assert asked == {"backend": "gloo", "timeout": timedelta(hours=3)}
