"""Triton kernels for a GPU that gather the channels of groups of points, forward and backward.

Without Triton this file can be imported, and nothing in it can be called; point_sampling.py decides.
"""

from __future__ import annotations  # the kernels' annotations name Triton's types

import functools
from typing import Any

import torch


def _as_it_is(function: Any) -> Any:
    return function


try:
    import triton
    import triton.language as tl

    # Another number of these is no reason to compile again.
    jit: Any = functools.partial(
        triton.jit, do_not_specialize=["size", "num_points", "num_patches", "patch_size", "num_values"]
    )
except ImportError:
    triton, jit = None, _as_it_is


BLOCK = 1024  # channels of groups that a program copies


@jit
def _gather(
    values, centers, members, groups, size, num_points, num_patches, patch_size, num_values,
    CHANNELS: tl.constexpr, REPEATED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One lane an element of `groups`: xyz relative to the centre, then the values from column `3 - REPEATED` on."""
    element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real = element < size
    row, channel = element // CHANNELS, element % CHANNELS
    patch = row // patch_size
    point = patch // num_patches * num_points + tl.load(members + row, mask=real, other=0)
    column = tl.where(channel < 3, channel, channel - REPEATED)
    value = tl.load(values + point * num_values + column, mask=real, other=0.0)
    center = tl.load(centers + patch * 3 + channel, mask=real & (channel < 3), other=0.0)
    tl.store(groups + element, value - center, mask=real)


@jit
def _scatter(
    gradients, members, sums, size, num_points, num_patches, patch_size, num_values,
    CHANNELS: tl.constexpr, REPEATED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Adds each element of `gradients` (as groups above) to the value that it is the gradient of."""
    element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real = element < size
    row, channel = element // CHANNELS, element % CHANNELS
    point = row // patch_size // num_patches * num_points + tl.load(members + row, mask=real, other=0)
    column = tl.where(channel < 3, channel, channel - REPEATED)
    gradient = tl.load(gradients + element, mask=real, other=0.0)
    tl.atomic_add(sums + point * num_values + column, gradient, mask=real, sem="relaxed")


class _Gather(torch.autograd.Function):
    """Linear in values and centres. Its transpose is `_Scatter`, and the other way round: gradients have gradients."""

    @staticmethod
    def forward(ctx, values, centers, members, channels, repeated):
        ctx.save_for_backward(members)
        ctx.num_points, ctx.num_values, ctx.repeated = values.shape[1], values.shape[2], repeated
        groups = values.new_empty(*members.shape, channels)
        if groups.numel():
            values, centers, members = values.contiguous(), centers.contiguous(), members.contiguous()
            with torch.cuda.device_of(values):
                _gather[(-(-groups.numel() // BLOCK),)](
                    values, centers, members, groups, groups.numel(), *values.shape[1:2], *members.shape[1:],
                    values.shape[2], CHANNELS=channels, REPEATED=repeated, BLOCK=BLOCK,
                )  # fmt: skip
        return groups

    @staticmethod
    def backward(ctx, gradients):
        (members,) = ctx.saved_tensors
        of_values = of_centers = None
        if ctx.needs_input_grad[0]:
            of_values = _Scatter.apply(gradients, members, ctx.num_points, ctx.num_values, ctx.repeated)
        if ctx.needs_input_grad[1]:
            of_centers = gradients[..., :3].sum(dim=2).neg()
        return of_values, of_centers, None, None, None


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gradients, members, num_points, num_values, repeated):
        ctx.save_for_backward(members)
        ctx.channels, ctx.repeated = gradients.shape[-1], repeated
        sums = gradients.new_zeros(len(members), num_points, num_values)
        if gradients.numel():
            gradients, members = gradients.contiguous(), members.contiguous()
            with torch.cuda.device_of(gradients):
                _scatter[(-(-gradients.numel() // BLOCK),)](
                    gradients, members, sums, gradients.numel(), num_points, *members.shape[1:], num_values,
                    CHANNELS=gradients.shape[-1], REPEATED=repeated, BLOCK=BLOCK,
                )  # fmt: skip
        return sums

    @staticmethod
    def backward(ctx, of_sums):
        (members,) = ctx.saved_tensors
        centers = of_sums.new_zeros(*members.shape[:2], 3)
        return _Gather.apply(of_sums, centers, members, ctx.channels, ctx.repeated), None, None, None, None


def copy_groups(
    values: torch.Tensor, centers: torch.Tensor, members: torch.Tensor, positions: bool, colors: bool
) -> torch.Tensor:
    """`point_sampling.gather_groups`; `values` and `centers` in float32.

    Gradients of values are added up in an order that differs from run to run, and with it their last bit.
    """
    repeated = 3 if positions else 0
    return _Gather.apply(values, centers, members, 3 + repeated + (3 if colors else 0), repeated)
