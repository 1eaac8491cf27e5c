"""Optimizer, learning rate schedule and the weights' moving average."""

import math
from collections.abc import Sequence

import torch
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import AveragedModel

from ..models.modeling_mrd import MRDForPretraining


def parameter_groups(
    model: MRDForPretraining, learning_rate: float, loss_learning_rate: float, weight_decay: float
) -> list[dict]:
    """Three groups: weight matrices (decayed); biases, norms and the class token; the loss's own parameters.

    The loss's parameters have a rate of their own: at the encoder's, the relation weights hardly move.
    """
    loss_parameters = list(model.objective.parameters())
    encoder = list(model.encoder.parameters())
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


def adamw(
    model: MRDForPretraining, learning_rate: float, loss_learning_rate: float, weight_decay: float, fused: bool
) -> torch.optim.AdamW:
    """AdamW over the [`parameter_groups`].

    Fused it is one pass over all tensors, on CPUs as on GPUs, with the same results up to rounding.
    """
    groups = parameter_groups(model, learning_rate, loss_learning_rate, weight_decay)
    return torch.optim.AdamW(groups, fused=fused or None)


def keep_fused(optimizer: torch.optim.Optimizer) -> None:
    """Make an optimizer fused that has loaded the state of one that was not, and has become like it."""
    for group in optimizer.param_groups:
        group["fused"], group["foreach"] = True, None
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if "step" in state:
                state["step"] = state["step"].to(parameter.device, torch.float32)


def keep_weight_decay(optimizer: torch.optim.Optimizer, of_groups: Sequence[float]) -> None:
    """Give an optimizer that has loaded another one's state its own weight decay again, one for each group."""
    for group, weight_decay in zip(optimizer.param_groups, of_groups, strict=True):
        group["weight_decay"] = weight_decay


class MovingAverage(AveragedModel):
    """An exponential moving average of a model's weights, with the model's own running statistics.

    The decay is lower in the first steps, `(1 + n) / (10 + n)` at the n-th, so that the average soon forgets the
    untrained weights. The batch norms' running statistics are averages already; averaged again they would lag.

    Args:
        model (`torch.nn.Module`): Which is copied.
        decay (`float`)
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        super().__init__(model)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: torch.nn.Module) -> None:
        """Average in the model's weights; all at once, and without waiting for the device, as torch's own does."""
        n = int(self.n_averaged)  # on the CPU, whatever the model's device
        ours, theirs = ([_held(p) for p in part.parameters()] for part in (self.module, model))
        if n == 0:
            torch._foreach_copy_(ours, theirs)
        else:
            torch._foreach_lerp_(ours, theirs, 1 - min(self.decay, (1 + n) / (10 + n)))
        for own, their in zip(self.module.buffers(), model.buffers(), strict=True):
            own.copy_(their)
        self.n_averaged += 1


def _held(parameter: torch.Tensor) -> torch.Tensor:
    """What this process holds of a parameter: all of it, or its shard."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
