"""Parameter groups, the schedule and the moving average."""

import copy
import math

import pytest
import torch
from support.tiny_encoders import TINY, TINY_ULIP

from mrd_hf import MRDConfig, MRDForPretraining
from mrd_hf.training.optimization import MovingAverage, adamw, keep_fused, parameter_groups, warmup_cosine


@pytest.mark.parametrize("weighting", ["softmax", "intra_cross", "uncertainty", "target", "fixed"])
@pytest.mark.parametrize("point_config", [TINY, TINY_ULIP], ids=["openshape", "ulip"])
@pytest.mark.parametrize("loss", ["mrd", "contrastive"])
def test_every_parameter_is_in_one_group_with_the_right_decay(loss, point_config, weighting):
    """Those that the loss learns among them: scale, weights, temperature."""
    fields = {"loss": loss, "relation_weighting": weighting, "learn_student_temperature": True}
    model = MRDForPretraining(MRDConfig(point_config=point_config, **fields))
    groups = parameter_groups(model, 1e-3, 1e-2, 0.1)
    grouped = [p for group in groups for p in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped})
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters()}
    settings = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        if name.startswith("objective."):
            expected = (1e-2, 0.0)
        elif name.endswith(".weight") and "norm" not in name:
            expected = (1e-3, 0.1)
        else:  # biases, norms, the class token
            expected = (1e-3, 0.0)
        assert settings[id(parameter)] == expected, name


def test_fused_steps_are_the_others_and_go_on_with_what_those_saved():
    """A checkpoint of an optimizer that was not fused says so, and its count of steps is elsewhere."""
    runs = []
    for fused in (False, True, True):
        torch.manual_seed(0)
        model = MRDForPretraining(MRDConfig(point_config=TINY))
        runs.append((model, adamw(model, 1e-2, 1e-1, 0.1, fused)))
    assert [group["fused"] for group in runs[2][1].param_groups] == [True] * 3
    generator = torch.Generator().manual_seed(1)
    for step in range(6):
        gradients = [torch.randn(p.shape, generator=generator) for p in runs[0][0].parameters()]
        if step == 3:
            (plain, saved), (model, optimizer) = runs[0], runs[2]
            model.load_state_dict(plain.state_dict())
            optimizer.load_state_dict(copy.deepcopy(saved.state_dict()))
            keep_fused(optimizer)
        for model, optimizer in runs:
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
    (plain, _), *others = runs
    for model, optimizer in others:
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter, plain.get_parameter(name), atol=1e-6, rtol=1e-5)
        optimizer.found_inf = torch.ones(())
        before = [parameter.detach().clone() for parameter in model.parameters()]
        optimizer.step()
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_schedule_warms_up_and_falls_like_a_cosine():
    factors = [warmup_cosine(step, 10, 110) for step in range(110)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1
    assert factors[60] == pytest.approx(0.5)
    assert factors[35] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert factors[109] < 1e-3
    assert all(a >= b for a, b in zip(factors[10:-1], factors[11:], strict=True))


def test_schedule_without_warmup_starts_at_the_peak():
    assert warmup_cosine(0, 0, 10) == 1


def test_moving_average_of_weights_with_the_models_running_statistics():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    average = MovingAverage(model, 0.9)
    expected = {}
    for step in range(100):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.add_(1)
        average.update_parameters(model)
        for name, tensor in model.state_dict().items():
            decay = min(0.9, (1 + step) / (10 + step)) if step > 0 and "running" not in name else 0.0
            expected[name] = decay * expected.get(name, 0.0) + (1 - decay) * tensor.double()
    for name, tensor in average.module.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], msg=name)
