"""Joining tensors over processes without losing their gradients."""

import os

import torch
import torch.distributed as dist
from torch.autograd.function import FunctionCtx


def set_cpu_threads(num_threads: int | None) -> None:
    """Let this process compute on `num_threads` threads, by default its share of the machine's cores.

    `accelerate launch` and `torchrun` give each process a single one.
    """
    processes_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(num_threads or max(1, (os.cpu_count() or 1) // processes_here))


class DistributedGather:
    """Joins equally sized tensors of all processes along the first dimension, in order of rank, with gradients.

    The gradient that reaches a process's own rows is the sum of all processes' gradients for them. Together with the
    mean that DDP takes over processes, this makes the gradient of the mean of the processes' losses. (accelerate's
    `gather` cuts the graph when there are several processes.)

    With one process it returns its argument.
    """

    def __init__(self) -> None:
        self.world_size = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if dist.is_initialized() else 0

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if self.world_size == 1 else _AllGather.apply(tensor, self.rank, self.world_size)


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, tensor: torch.Tensor, rank: int, world_size: int) -> torch.Tensor:
        ctx.rank, ctx.num_rows = rank, tensor.shape[0]  # type: ignore[attr-defined]
        parts = [torch.empty_like(tensor) for _ in range(world_size)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        # All-reduce and not reduce-scatter, which gloo lacks; embeddings are small beside the model's gradients.
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        first = ctx.rank * ctx.num_rows  # type: ignore[attr-defined]
        return gradient[first : first + ctx.num_rows], None, None  # type: ignore[attr-defined]
