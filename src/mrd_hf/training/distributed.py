"""Processes that train together: how they start, and join tensors without losing their gradients."""

import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch.autograd.function import FunctionCtx

from ..errors import UserError


# How long processes wait for one that evaluates or reads alone. By default GPUs' would end the run after 10 minutes.
PATIENCE = timedelta(hours=3)


def start_accelerator(mixed_precision: str | None, output_dir: Path) -> Accelerator:
    """The run's accelerator, whose processes have patience with each other.

    Raises:
        UserError: accelerate's environment asks it to accumulate gradients over batches, which no loop here does, or
            float16 is asked for on a CPU, where accelerate leaves the forward pass in float32 without a word.
    """
    waiting = InitProcessGroupKwargs(timeout=PATIENCE)
    accelerator = Accelerator(mixed_precision=mixed_precision, project_dir=output_dir, kwargs_handlers=[waiting])
    if accelerator.gradient_accumulation_steps != 1:
        raise UserError(
            f"accelerate is to accumulate gradients over {accelerator.gradient_accumulation_steps} batches (by "
            "ACCELERATE_GRADIENT_ACCUMULATION_STEPS or its configuration); set it to 1. Relations and negatives are "
            "of one batch; for a large one in little memory give --encoder-batch-size."
        )
    if mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise UserError(
            "mixed_precision fp16 needs a GPU: on a CPU the forward pass would stay in float32; give bf16, or leave it"
            " out."
        )
    return accelerator


def set_cpu_threads(num_threads: int | None) -> None:
    """Let this process compute on `num_threads` threads, by default its share of the machine's cores.

    `accelerate launch` and `torchrun` give each process a single one.
    """
    processes_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(num_threads or max(1, (os.cpu_count() or 1) // processes_here))


class DistributedGather:
    """Joins tensors of all processes along the first dimension, in order of rank, with gradients.

    The gradient that reaches a process's own rows is the sum of all processes' gradients for them. Together with the
    mean that DDP takes over processes, this makes the gradient of the mean of the processes' losses. (accelerate's
    `gather` cuts the graph when there are several processes.) Processes may have different numbers of rows.

    With one process it returns its arguments.

    Args:
        num_rows (`int`, *optional*):
            Rows of every process, where all have as many and it is known: the processes need not ask each other, which
            would wait for a GPU in every step.
    """

    def __init__(self, num_rows: int | None = None) -> None:
        self.num_rows = num_rows
        self.world_size = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if dist.is_initialized() else 0

    def __call__(self, *tensors: torch.Tensor) -> tuple[list[torch.Tensor], int]:
        """
        Args:
            tensors (`torch.Tensor`s of shape `(num_rows, ...)`): Of as many rows each.

        Returns:
            The joined tensors, and the position of this process's first row in them.
        """
        if self.world_size == 1:
            return list(tensors), 0
        sizes = self._sizes(tensors[0])
        return [_AllGather.apply(tensor, self.rank, sizes) for tensor in tensors], sum(sizes[: self.rank])

    def _sizes(self, tensor: torch.Tensor) -> list[int]:
        """How many rows each process has."""
        if self.num_rows is not None:
            if tensor.shape[0] != self.num_rows:
                raise ValueError(f"expected {self.num_rows} rows of every process, got {tensor.shape[0]}.")
            return [self.num_rows] * self.world_size
        own = torch.tensor([tensor.shape[0]], device=tensor.device)
        sizes = [torch.empty_like(own) for _ in range(self.world_size)]
        dist.all_gather(sizes, own)
        return torch.cat(sizes).tolist()


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, tensor: torch.Tensor, rank: int, sizes: list[int]) -> torch.Tensor:
        ctx.rows = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))  # type: ignore[attr-defined]
        # Collectives want tensors of one size: shorter parts are filled up, and cut again.
        part = tensor.new_zeros(max(sizes), *tensor.shape[1:])
        part[: tensor.shape[0]] = tensor
        parts = [torch.empty_like(part) for _ in sizes]
        dist.all_gather(parts, part)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        # All-reduce and not reduce-scatter, which gloo lacks; embeddings are small beside the model's gradients.
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[ctx.rows], None, None  # type: ignore[attr-defined]
