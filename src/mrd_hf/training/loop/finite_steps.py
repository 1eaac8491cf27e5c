"""The watch over losses and gradients that are not finite: read in each step or, from a GPU, when a step is logged."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from ...errors import UserError
from ..checkpoints import list_checkpoints


LOSS, NORM = "loss", "gradient's norm"


@dataclass
class _Step:
    """A step's batch, and what of it has not been read yet."""

    number: int
    ids: list[str]
    unread: list[tuple[str, torch.Tensor]] = field(default_factory=list)


class FiniteSteps:
    """Ends a run at the first step whose loss or gradient is not finite, with the weights of the step before.

    Reading a number waits for a GPU that has not computed it yet, and then the GPU for the next step. So there it is
    read by [`read`] alone, which is to be called whenever a step is logged, and before weights are evaluated or saved.
    Until then a flag on the device keeps the optimizer from changing the weights, from the first such step on.

    Args:
        output_dir (`Path`): The run's folder, whose last checkpoint the error names.
        at_once (`bool`): Whether to read each number in its step, as is free on CPUs.
        device (`torch.device`)
    """

    def __init__(self, output_dir: Path, at_once: bool, device: torch.device) -> None:
        self.output_dir = output_dir
        self.at_once = at_once
        self.steps: list[_Step] = []
        self.last_loss = math.nan
        # 1 once something was not finite; of the kind and size that optimizers expect of a loss scaler's.
        self.fault = torch.zeros((), device=device)

    def begin(self, number: int, ids: list[str]) -> None:
        """Begin a step, from 1, on the batch of these ids."""
        self.steps.append(_Step(number, ids))

    def watch(self, name: str, value: torch.Tensor) -> None:
        """Watch a number of the step, the same on all processes.

        Raises:
            UserError: when it is not finite, and numbers are read at once.
        """
        value = value.detach()
        if isinstance(value, DTensor):
            value = value.full_tensor()
        self.steps[-1].unread.append((name, value))
        if self.at_once:
            self.read()
        else:
            torch.maximum(self.fault, (~value.isfinite()).to(self.fault.dtype), out=self.fault)

    def guard(
        self, loss: torch.Tensor, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None
    ) -> torch.Tensor:
        """The loss to go backward from, so that a number that is not finite and was not read yet changes no weights.

        Args:
            loss (`torch.Tensor`)
            optimizer (`torch.optim.Optimizer`): The one that steps, fused.
            scaler (`GradScaler`, *optional*): Of the loss, where there is one.
        """
        if self.at_once:
            return loss
        if scaler is None:
            self.hold(optimizer)
            return loss
        return self.spoil(loss)

    def hold(self, optimizer: torch.optim.Optimizer) -> None:
        """Let a fused optimizer leave the weights alone once the flag is up, as a loss scaler's flag makes it."""
        optimizer.found_inf = self.fault  # type: ignore[attr-defined]

    def spoil(self, loss: torch.Tensor) -> torch.Tensor:
        """The same loss, whose gradients are not finite once the flag is up: a loss scaler skips such steps."""
        return loss * torch.where(self.fault > 0, torch.nan, 1.0)

    def read(self) -> float:
        """The last step's loss. Called by all processes.

        Raises:
            UserError: when a number since the last call was not finite; for the first of them.
        """
        unread = [(step, name, value) for step in self.steps for name, value in step.unread]
        numbers = torch.stack([value for *_, value in unread]).tolist() if unread else []
        for (step, name, _), number in zip(unread, numbers, strict=True):
            if not math.isfinite(number):
                raise self._error(step, name, number)
            if name == LOSS:
                self.last_loss = number
        del self.steps[:-1]
        for step in self.steps:
            step.unread.clear()
        return self.last_loss

    def _error(self, step: _Step, name: str, value: float) -> UserError:
        checkpoints = list_checkpoints(self.output_dir)
        last_good = f"the last good checkpoint is {checkpoints[-1]}" if checkpoints else "there is no checkpoint yet"
        return UserError(
            f"the {name} is {value} at step {step.number}; training stopped before the weights changed, and "
            f"{last_good}. The batch's ids: {', '.join(step.ids)}. Look for embeddings or points that are not finite, "
            "or lower learning_rate.",
            exit_code=1,
        )
