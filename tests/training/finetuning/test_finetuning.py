"""The loop of fine-tuning: the loss that it minimises, and that a resumed run is the uninterrupted one."""

import dataclasses
import math
import os
import signal

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from support.tiny_encoders import TINY

from mrd_hf import (
    PointBertConfig,
    PointBertForPartSegmentation,
    PointBertForShapeClassification,
    PointCloudFeatureExtractor,
)
from mrd_hf.data.loaders.augmentation import AugmentationConfig
from mrd_hf.data.loaders.batch_sampler import ShuffledBatchSampler
from mrd_hf.errors import UserError
from mrd_hf.models.shapes import ColoredPoints
from mrd_hf.training.checkpoints import list_checkpoints, save_checkpoint
from mrd_hf.training.finetuning import finetuning
from mrd_hf.training.finetuning.arguments import FinetuningArguments
from mrd_hf.training.finetuning.finetuning import Finetuning, to_device
from mrd_hf.training.finetuning.labeled_clouds import LabeledClouds, prepare_clouds
from mrd_hf.training.loop.stopping import Ending


SMALL = {**TINY, "num_hidden_layers": 1, "drop_path_rate": 0.3, "classifier_dropout": 0.2}


def tiny_clouds(parts=False, count=24):
    rng = np.random.default_rng(0)
    points = [rng.normal(size=(80, 3)).astype(np.float32) * 0.4 for _ in range(count)]
    labels = np.arange(count) % 3
    of_points = [
        (cloud[:, 0] > 0).astype(np.int64) + 2 * (label > 0) for cloud, label in zip(points, labels, strict=True)
    ]
    return LabeledClouds([f"shape{i}" for i in range(count)], labels, points, of_points if parts else None, 0.4)


def tiny_run(folder, parts=False, evaluate=lambda model: {"top1": 0.5}, clouds=None, **changes):
    AcceleratorState._reset_state()
    torch.manual_seed(0)
    model = PointBertForShapeClassification(PointBertConfig(**SMALL, num_labels=3))
    if parts:
        names = {"a": [0, 1], "b": [2, 3], "c": [2, 3]}
        config = PointBertConfig(**SMALL, num_labels=4, object_parts=names, part_hidden_size=16)
        model = PointBertForPartSegmentation(config)
    fields = {"num_train_steps": 6, "per_device_batch_size": 8, "warmup_steps": 1, "logging_steps": 1}
    fields |= {"save_total_limit": 0, "ema_decay": 0.5, "learning_rate": 1e-3, **changes}
    arguments = FinetuningArguments(output_dir=str(folder), **fields)
    folder.mkdir(parents=True, exist_ok=True)
    augmentation = AugmentationConfig(point_dropout=0.3)
    clouds = tiny_clouds(parts) if clouds is None else clouds
    return Finetuning(model, clouds, arguments, Accelerator(cpu=True), augmentation, 40, evaluate)


@pytest.mark.parametrize("parts", [False, True], ids=["classes", "parts"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(parts, tmp_path):
    whole = tiny_run(tmp_path / "whole", parts, save_steps=4).run()
    first = tiny_run(tmp_path / "again", parts, save_steps=4)
    for rows, _ in zip(first.batches(), range(5), strict=False):  # killed after the fifth step
        first.model.train()
        first.train_step(rows)
        first.step += 1
        if first.step == 4:
            (checkpoint,) = [c for c in list_checkpoints(tmp_path / "whole") if c.name == "checkpoint-4"]
    again = tiny_run(tmp_path / "again", parts, save_steps=4)
    again.resume(checkpoint)
    resumed = again.run()
    assert resumed.steps == whole.steps == 6 and resumed.train_loss == whole.train_loss
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("parts", [False, True], ids=["classes", "parts"])
def test_the_loss_is_the_smoothed_cross_entropy_of_what_the_network_says(parts, tmp_path):
    run = tiny_run(tmp_path, parts, label_smoothing=0.1, ema_decay=0.0)
    rows = list(range(8))
    inputs, targets = run.inputs(rows)
    with torch.no_grad():
        run.model.train()
        logits = run.model(**inputs).logits  # with the dropout that the step draws once more
    log_probabilities = logits.log_softmax(dim=1)
    count = logits.shape[1]
    smoothed = torch.full_like(logits, 0.1 / count)
    smoothed.scatter_add_(1, targets.unsqueeze(1), torch.full_like(targets.unsqueeze(1), 0.9, dtype=torch.float32))
    expected = -(smoothed * log_probabilities).sum(dim=1).mean()
    run.train_step(rows)
    assert run.finite.read() == pytest.approx(expected.item(), rel=1e-5)


def test_what_a_step_draws_is_of_its_seed_and_step(tmp_path):
    drawn = {}
    for seed, step in [(7, 0), (7, 1), (8, 0), (7, 0)]:
        run = tiny_run(tmp_path, seed=seed)
        run.step = step
        draw = (run.inputs(list(range(8)))[0]["point_values"].sum().item(), torch.rand(()).item())
        assert drawn.setdefault((seed, step), draw) == draw
    for numbers in zip(*drawn.values(), strict=True):
        assert len(set(numbers)) == 3
    expected = ShuffledBatchSampler(24, 8, 6, seed=7)
    assert list(tiny_run(tmp_path, seed=7).batches()) == [[index for index, _ in batch] for batch in expected]


def test_steps_are_clipped_scheduled_and_averaged(tmp_path):
    """Against numpy and the formulas: the rate of each layer, the norm that the optimizer sees, the moving average."""
    fields = {"max_grad_norm": 0.01, "learning_rate": 2e-3, "layer_decay": 0.5, "warmup_steps": 2, "ema_decay": 0.5}
    run = tiny_run(tmp_path, **fields)
    average = {name: p.detach().numpy().copy() for name, p in run.model.named_parameters()}
    seen, step = [], run.torch_optimizer.step
    run.torch_optimizer.step = lambda *given: seen.append(norm_of_gradients(run.model)) or step(*given)
    # The only layer is one step from the head, the embeddings are two.
    peaks = {"head": 2e-3, "layer": 1e-3, "embeddings": 0.5e-3}
    for number, rows in enumerate(run.batches()):
        run.model.train()
        run.train_step(rows)
        run.step += 1
        share = [0.5, 1.0, 1.0, 0.5 + 0.5 * math.cos(math.pi / 4), 0.5, 0.5 - 0.5 * math.cos(math.pi / 4)][number]
        rates = sorted({group["lr"] for group in run.optimizer.param_groups}, reverse=True)
        np.testing.assert_allclose(rates, [peak * share for peak in peaks.values()])
        # What transformers and timm do: the average forgets the untrained weights soon.
        decay = min(0.5, (1 + number) / (10 + number))
        for name, parameter in run.model.named_parameters():
            trained = parameter.detach().numpy()
            average[name] = trained.copy() if number == 0 else decay * average[name] + (1 - decay) * trained
    assert len(seen) == 6 and max(seen) == pytest.approx(0.01, rel=1e-3)
    for name, parameter in run.plain_model().named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), average[name], rtol=1e-5, atol=1e-7, err_msg=name)
    assert any(not np.allclose(p.detach().numpy(), average[name]) for name, p in run.model.named_parameters())


def norm_of_gradients(model):
    return math.sqrt(sum(float((p.grad.double() ** 2).sum()) for p in model.parameters() if p.grad is not None))


def test_the_network_trains_in_every_step_whatever_an_evaluation_leaves(tmp_path):
    """Prediction leaves it as it evaluates: without dropout, and with running statistics."""
    modes = []
    run = tiny_run(tmp_path, ema_decay=0.0, eval_steps=2, evaluate=lambda model: model.eval() and {"top1": 0.5})
    run.model.register_forward_pre_hook(lambda model, _: modes.append(model.training))
    run.run()
    assert modes == [True] * 6


def test_parts_go_with_the_points_that_augmentation_keeps(tmp_path):
    run = tiny_run(tmp_path, parts=True)
    run.augmentation = AugmentationConfig(
        point_dropout=0.5, scale_min=1, scale_max=1, shift=0, jitter_std=0, rotate=False
    )
    inputs, targets = run.inputs(list(range(8)))
    x, labels = inputs["point_values"][..., 0], run.clouds.labels[:8]
    expected = (x > 0).long() + 2 * torch.tensor(labels > 0)[:, None]
    assert torch.equal(targets, expected)
    classes = torch.cat([run.inputs(list(range(8)))[0]["object_classes"] for run.step in range(100)])
    assert 0.05 < (classes == -1).float().mean() < 0.15  # a tenth of the objects come without their class


@pytest.mark.parametrize(("up_axis", "up"), [("y", 1), ("z", 2)])
def test_shapes_are_turned_about_the_axis_that_is_up_for_the_encoder(up_axis, up, tmp_path):
    shapes = [(ColoredPoints(cloud, None), None) for cloud in tiny_clouds().points]
    extractor = PointCloudFeatureExtractor(num_points=80, encoder_up_axis=up_axis)
    labels = np.zeros(len(shapes), dtype=np.int64)
    run = tiny_run(tmp_path, clouds=prepare_clouds(shapes, tiny_clouds().ids, labels, extractor, "y", 40))
    still = AugmentationConfig(point_dropout=0, scale_min=1, scale_max=1, shift=0, jitter_std=0, rotate=False)
    turned = []
    for run.augmentation in (still, dataclasses.replace(still, rotate=True)):
        turned.append(run.inputs(list(range(8)))[0]["point_values"][..., :3].numpy())
    before, after = turned
    np.testing.assert_allclose(after[..., up], before[..., up], atol=1e-6)
    for cloud, rotated in zip(before, after, strict=True):
        rotation = np.linalg.lstsq(cloud, rotated, rcond=None)[0]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-4)
        assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-4) and np.trace(rotation) < 2.999


def test_evaluates_and_logs_on_the_way(tmp_path):
    seen = []
    run = tiny_run(tmp_path, evaluate=lambda model: seen.append(model.training) or {"top1": 0.25}, eval_steps=2)
    run.run()
    assert len(seen) == 2  # not at the end, where the command reports
    lines = (tmp_path / "training_log.jsonl").read_text()
    assert lines.count('"eval/top1": 0.25') == 2 and lines.count('"loss"') == 6


def test_an_evaluation_that_fails_costs_no_step_and_comes_after_resuming(tmp_path):
    def fail(model):
        raise LookupError("no disk")

    with pytest.raises(LookupError):
        tiny_run(tmp_path, evaluate=fail, eval_steps=2, save_steps=2).run()
    (checkpoint,) = list_checkpoints(tmp_path)
    assert checkpoint.name == "checkpoint-2"
    evaluations = []
    for _ in range(2):  # the second one finds the scores of step 2 in the log
        run = tiny_run(tmp_path, evaluate=lambda model: evaluations.append(model) or {"top1": 0.25}, eval_steps=2)
        run.resume(checkpoint)
        run.run()
    assert len(evaluations) == 2 + 1
    assert (tmp_path / "training_log.jsonl").read_text().count('"eval/top1": 0.25') == 2


@pytest.mark.parametrize("step", [2, 6])
def test_told_to_end_in_a_save_it_ends_after_it(tmp_path, monkeypatch, step):
    """Not after an evaluation that is due then; and at the last step the command does not go on to its own."""
    evaluated, run = [], tiny_run(tmp_path, save_steps=2, eval_steps=2)
    run.evaluate = lambda _: evaluated.append(run.step) or {"top1": 0.25}

    def told_in_between(*given):
        saved = save_checkpoint(*given)
        if run.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return saved

    monkeypatch.setattr(finetuning, "save_checkpoint", told_in_between)
    result = run.run()
    assert (result.ending, result.steps) == (Ending.SIGTERM, step)
    assert evaluated == [number for number in (2, 4) if number < step]
    assert list_checkpoints(tmp_path)[-1].name == f"checkpoint-{step}"


def test_what_cannot_be_trained_is_said(tmp_path):
    with pytest.raises(UserError, match="lower per_device_batch_size"):
        tiny_run(tmp_path, per_device_batch_size=25)
    run = tiny_run(tmp_path)
    run.accelerator.unwrap_model(run.model).classifier.weight.data[0] = torch.inf
    with pytest.raises(UserError, match=r"at step 1;.*shape3"):
        run.train_step(list(range(8)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_decay": 0}, "layer_decay must be above 0"),
        ({"layer_decay": 1.5}, "layer_decay must be above 0"),
        ({"label_smoothing": 1}, r"label_smoothing must be in \[0, 1\)"),
        ({"votes": 0}, "votes must be at least 1"),
        ({"learning_rate": -1}, "learning_rate must be at least 0"),
    ],
)
def test_options_out_of_range_are_refused(changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        tiny_run(tmp_path, **changes)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.device
def test_inputs_reach_a_gpu_without_waiting_for_it():
    values = np.arange(6.0, dtype=np.float32)
    torch.cuda.set_sync_debug_mode("error")
    try:
        there = to_device(values, torch.device("cuda"))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert there.is_cuda and np.array_equal(there.cpu().numpy(), values)


def test_inputs_that_stay_are_not_copied():
    values = np.arange(6.0)
    assert to_device(values, torch.device("cpu")).data_ptr() == values.ctypes.data
