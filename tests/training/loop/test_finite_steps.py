"""A loss or a gradient that is not finite ends a run with the last good weights, read in its step or later.

What is read later on a GPU is read later here as well: the runs are told so, on a CPU.
"""

import math

import pytest
import torch
from support.short_runs import tiny_run, train, weights
from support.tiny_triplets import save_tiny_triplets, tiny_rows
from torch.overrides import TorchFunctionMode

from mrd_hf.data.loaders.batch_sampler import ShuffledBatchSampler
from mrd_hf.errors import UserError
from mrd_hf.training.checkpoints import list_checkpoints
from mrd_hf.training.loop.finite_steps import LOSS, FiniteSteps


RARELY = {"logging_steps": 6, "save_steps": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return save_tiny_triplets(tmp_path_factory.mktemp("data") / "tiny")


def assert_same_weights(run, expected):
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(run).items())


@pytest.mark.parametrize("at_once", [True, False])
def test_a_loss_that_is_not_finite_is_named_with_its_step_and_batch(data, tmp_path, at_once):
    third_batch = list(ShuffledBatchSampler(40, 8, 3, seed=0))[2]
    broken = save_tiny_triplets(tmp_path / "broken", broken=third_batch[0][0])
    good = tiny_run(data, tmp_path / "good", **RARELY)
    train(good, 2)
    run = tiny_run(broken, tmp_path / "run", **{**RARELY, "save_steps": 2})
    run.finite.at_once = at_once
    with pytest.raises(UserError, match=r"the loss is nan at step 3; .* before the weights changed, and the last goo"):
        run.run()
    # The next step's batch is good, and was trained on unless the error came at once.
    assert run.step == (2 if at_once else 4)
    assert_same_weights(run, weights(good))
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["checkpoint-2"]
    ids = [row["id"] for row in tiny_rows(40)]
    with pytest.raises(UserError, match=", ".join(ids[index] for index, _ in third_batch)):
        run.finite.read()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_point_that_is_not_finite_is_named_by_its_batch(data, tmp_path, at_once, value):
    good = tiny_run(data, tmp_path / "good", **RARELY)
    train(good, 1)
    run = tiny_run(data, tmp_path / "run", **RARELY)
    run.finite.at_once = at_once
    batches = list(run.batches())
    batches[1]["points"][3, 7, 2] = value
    run.batches = lambda: iter(batches)
    with pytest.raises(UserError, match=r"the loss is nan at step 2; .*Look for embeddings or points") as refused:
        run.run()
    assert f"ids: {', '.join(batches[1]['ids'])}." in str(refused.value)
    assert_same_weights(run, weights(good))


@pytest.mark.parametrize("at_once", [True, False])
def test_a_gradient_that_is_not_finite_is_named_too(data, tmp_path, at_once):
    good = tiny_run(data, tmp_path / "good", **RARELY)
    train(good, 1)
    run = tiny_run(data, tmp_path / "run", **RARELY)
    run.finite.at_once = at_once
    run.model.point_bert.projection.weight.register_hook(lambda g: g * (math.inf if run.step == 1 else 1))
    with pytest.raises(UserError, match=r"the gradient's norm is (inf|nan) at step 2; .*there is no checkpoint yet"):
        run.run()
    assert_same_weights(run, weights(good))


def test_what_is_read_later_is_what_is_read_at_once(data, tmp_path):
    runs = [tiny_run(data, tmp_path / name, logging_steps=2) for name in ("at-once", "later")]
    runs[1].finite.at_once = False
    results = [run.run() for run in runs]
    assert results[0].metrics == results[1].metrics
    assert_same_weights(runs[1], weights(runs[0]))


def test_a_loss_scalers_steps_are_skipped_as_well(tmp_path):
    """In fp16 the scaler reads the gradients; those of steps after a fault are spoiled, so that it skips them."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    scaler = torch.amp.GradScaler("cpu")
    finite = FiniteSteps(tmp_path, at_once=False, device=torch.device("cpu"))
    seen = []
    for number, size in enumerate((1.0, 2.0, math.inf, 1.0), start=1):
        finite.begin(number, [f"shape-{number}"])
        loss = layer(size * torch.ones(2, 3)).square().mean()
        finite.watch(LOSS, loss)
        scaler.scale(finite.spoil(loss)).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        seen.append(layer.weight.detach().clone())
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], seen[2]) and torch.equal(seen[1], seen[3])
    with pytest.raises(UserError, match=r"the loss is (inf|nan) at step 3; .*The batch's ids: shape-3\."):
        finite.read()


READING = ("item", "tolist", "cpu", "__bool__", "__int__", "__float__", "__index__", "nonzero")


class Readings(TorchFunctionMode):
    """Counts the numbers that Python is given, for which it would wait for a GPU; `at_home` is on the CPU anyway."""

    def __init__(self, at_home):
        super().__init__()
        self.count, self.at_home = 0, at_home.data_ptr()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        read = function.__name__ in READING
        self.count += read and args[0].data_ptr() != self.at_home
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("settings", [{}, {"encoder_batch_size": 3}], ids=["whole", "parts"])
def test_nothing_of_a_step_is_read_until_it_is_asked_for(data, tmp_path, settings):
    run = tiny_run(data, tmp_path, **settings)
    run.finite.at_once = False
    batches = list(run.batches())
    run.model.train()
    run.train_step(batches[0])
    with Readings(run.average.n_averaged) as readings:
        run.train_step(batches[1])
        assert readings.count == 0
        run.finite.at_once = True
        run.train_step(batches[2])
        assert readings.count > 0  # or there would be nothing to see


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.device
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_no_step_waits_for_a_gpu(data, tmp_path, precision):
    """By torch's own guard against it."""
    run = tiny_run(data, tmp_path, cpu=False, mixed_precision=precision)
    batches = [{k: v.pin_memory() if isinstance(v, torch.Tensor) else v for k, v in b.items()} for b in run.batches()]
    run.model.train()
    for batch in batches[:2]:
        run.train_step(batch)
        run.step += 1
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.train_step(batches[2])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    run.read_loss()
