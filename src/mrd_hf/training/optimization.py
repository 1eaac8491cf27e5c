"""Optimizer, learning rate schedule and the weights' moving average."""

import math

import torch
from torch.optim.swa_utils import AveragedModel

from ..models.modeling_mrd import MRDForPretraining


def parameter_groups(
    model: MRDForPretraining, learning_rate: float, loss_learning_rate: float, weight_decay: float
) -> list[dict]:
    """Three groups: weight matrices (decayed); biases, norms and the class token; the loss's own parameters.

    The loss's parameters have a rate of their own: at the encoder's, the relation weights hardly move.
    """
    loss_parameters = list(model.objective.parameters())
    encoder = list(model.point_bert.parameters())
    return [
        {"params": [p for p in encoder if p.ndim >= 2], "lr": learning_rate, "weight_decay": weight_decay},
        {"params": [p for p in encoder if p.ndim < 2], "lr": learning_rate, "weight_decay": 0.0},
        {"params": loss_parameters, "lr": loss_learning_rate, "weight_decay": 0.0},
    ]


def warmup_cosine(step: int, warmup_steps: int, num_steps: int) -> float:
    """Share of the peak learning rate at a step: linear from 0 during warm-up, then a half cosine down to 0.

    A function of the step alone, so there is no scheduler whose state could be lost.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def moving_average(model: torch.nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a model's weights, with the model's own running statistics.

    The decay is lower in the first steps, `(1 + n) / (10 + n)` at the n-th, so that the average soon forgets the
    untrained weights. The batch norms' running statistics are averages already; averaged again they would lag.
    """

    def average(old: torch.Tensor, new: torch.Tensor, num_averaged: torch.Tensor | int) -> torch.Tensor:
        n = int(num_averaged)
        return old.lerp(new, 1 - min(decay, (1 + n) / (10 + n)))

    return AveragedModel(model, avg_fn=average)
