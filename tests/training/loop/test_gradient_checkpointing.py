"""Blocks that are computed twice: the same gradients from fewer numbers in memory."""

import pytest
import torch
from support.short_runs import tiny_run, train, weights
from support.tiny_triplets import save_tiny_triplets


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return save_tiny_triplets(tmp_path_factory.mktemp("data") / "tiny")


def kept_by_a_step(run) -> int:
    """Bytes that the forward pass of a step keeps for the backward pass, without the weights."""
    parameters = {parameter.data_ptr() for parameter in run.model.parameters()}
    kept = {}

    def keep(tensor):
        if tensor.data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    run.model.train()
    inputs = run.model_inputs(next(run.batches()))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run.model(**inputs)
    return sum(kept.values())


@pytest.mark.parametrize("settings", [{}, {"encoder_batch_size": 3}], ids=["whole", "parts"])
def test_it_trains_to_the_same_weights(data, tmp_path, settings):
    """Stochastic depth, which draws at random, among it; to the bit, as all that is computed twice is the same."""
    runs = [
        tiny_run(data, tmp_path / str(checkpointed), gradient_checkpointing=checkpointed, **settings)
        for checkpointed in (False, True)
    ]
    for run in runs:
        train(run, 3)
    expected = weights(runs[0])
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(runs[1]).items())


def test_less_is_kept(data, tmp_path):
    kept = [
        kept_by_a_step(tiny_run(data, tmp_path, gradient_checkpointing=checkpointed)) for checkpointed in (False, True)
    ]
    assert kept[1] < 0.8 * kept[0]


def test_the_average_is_a_copy_that_does_neither(data, tmp_path):
    run = tiny_run(data, tmp_path, gradient_checkpointing=True)
    assert run.model.point_bert.layers[0].gradient_checkpointing
    assert not run.average.module.point_bert.layers[0].gradient_checkpointing
