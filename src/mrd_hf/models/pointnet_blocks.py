"""Patch networks on a CPU, some patches at a time, so that what lies between their layers stays in the cache.

In evaluation the batch norms are folded into the linear layers. That takes a few operations on small matrices, and is
repeated in each forward pass, so that there is no copy of the weights that could outlive a change of them.
Gradients are the matter of pointnet_gradients.py.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn


CACHED_FLOATS = 2**19  # of the widest layer's output, for each thread: 2 MiB were the fastest of 0.5 to 4


class Layer(NamedTuple):
    """A linear layer and the batch norm behind it, `(x @ weight.T + bias - mean) * scale + shift`.

    Args:
        weight (`torch.Tensor` of shape `(out_channels, in_channels)`), bias (`torch.Tensor`): Of the linear layer.
        scale, shift (`torch.Tensor` of shape `(out_channels,)`): Of the batch norm.
        epsilon (`float`): The batch norm's.
        mean, variance (`torch.Tensor` of shape `(out_channels,)`, *optional*): Running statistics. None in training.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    scale: torch.Tensor
    shift: torch.Tensor
    epsilon: float
    mean: torch.Tensor | None
    variance: torch.Tensor | None


def works_in_blocks(linears: Sequence[Any], norms: Sequence[Any], groups: torch.Tensor) -> bool:
    """Whether layers and input are such that the functions below do what calling one layer after the other does.

    Not so for layers that someone has replaced or hooked, in graphs, in half precision, on other devices, for
    gradients towards the points, and for batches that batch norm refuses.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled("cpu"):
        return False
    if groups.device.type != "cpu" or groups.dtype != torch.float32 or groups.requires_grad:
        return False
    if groups[..., 0].numel() < 2 or type(groups) is not torch.Tensor:
        return False
    plain = all(type(linear) is nn.Linear for linear in linears) and all(type(n) is nn.BatchNorm1d for n in norms)
    layers = [*linears, *norms]
    if not plain or any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers):
        return False
    tensors: list[torch.Tensor | None] = [tensor for layer in layers for tensor in layer.parameters()]
    tensors += [tensor for norm in norms for tensor in (norm.running_mean, norm.running_var)]
    wanted = (torch.Tensor, nn.Parameter)
    fit = all(
        t is not None and type(t) in wanted and t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors
    )
    return fit and len({norm.training for norm in norms}) == 1 and all(norm.affine for norm in norms)


def affine_of(layer: Layer, mean: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor and summand of a batch norm, in float64."""
    factor = layer.scale.double() / (variance.double() + layer.epsilon).sqrt()
    return factor, layer.shift.double() - mean.double() * factor


def running_affine(layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
    assert layer.mean is not None and layer.variance is not None
    return affine_of(layer, layer.mean, layer.variance)


def fold(layer: Layer, factor: torch.Tensor, summand: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The linear layer that does the batch norm's work as well: transposed weight and bias, in float32."""
    weight = (layer.weight.double() * factor[:, None]).float()
    return weight.t().contiguous(), (layer.bias.double() * factor + summand).float()


def blocks_of(num_patches: int, patch_size: int, widest: int) -> list[slice]:
    """Patches to work on at a time."""
    step = max(1, CACHED_FLOATS * torch.get_num_threads() // (patch_size * widest))
    return [slice(begin, min(begin + step, num_patches)) for begin in range(0, num_patches, step)]


@torch.no_grad()
def encode_patches(groups: torch.Tensor, layers: list[Layer]) -> torch.Tensor:
    """`(num_patches, patch_size, in_channels)` to `(num_patches, out_channels)`, with running statistics."""
    num_patches, patch_size, _ = groups.shape
    folded = [fold(layer, *running_affine(layer)) for layer in layers]
    blocks = blocks_of(num_patches, patch_size, max(len(bias) for _, bias in folded))
    rows = blocks[0].stop * patch_size
    room = [groups.new_empty(rows, len(bias)) for _, bias in folded]
    features = groups.new_empty(num_patches, room[-1].shape[1])
    for patches in blocks:
        values = groups[patches].flatten(0, 1)
        for (weight, bias), out in zip(folded, room, strict=True):
            values = torch.addmm(bias, values, weight, out=out[: len(values)]).relu_()
        torch.amax(values.view(-1, patch_size, values.shape[1]), dim=1, out=features[patches])
    return features


@torch.no_grad()
def mini_pointnet_in_blocks(
    first: Layer, second: nn.Linear, of_patch: nn.Linear, third: Layer, fourth: nn.Linear, groups: torch.Tensor
) -> torch.Tensor:
    """[`encode_patches`] by the layers of a [`MiniPointNet`].

    `third` are the layer on points, which together with `of_patch` is the third, and the batch norm behind both.
    """
    num_patches, patch_size, _ = groups.shape
    first_weight, first_bias = fold(first, *running_affine(first))
    factor, summand = running_affine(third)
    third_weight, third_bias = fold(third, factor, summand)
    patch_weight = (of_patch.weight.double() * factor[:, None]).float().t()
    features = groups.new_empty(num_patches, fourth.out_features)
    for patches in blocks_of(num_patches, patch_size, max(len(third_bias), fourth.out_features)):
        values = torch.addmm(first_bias, groups[patches].flatten(0, 1), first_weight).relu_()
        values = nn.functional.linear(values, second.weight, second.bias)
        highest = values.view(-1, patch_size, values.shape[1]).amax(dim=1)
        values = torch.addmm(third_bias, values, third_weight).view(len(highest), patch_size, -1)
        values = values.add_((highest @ patch_weight)[:, None]).relu_().flatten(0, 1)
        values = nn.functional.linear(values, fourth.weight, fourth.bias)
        torch.amax(values.view(len(highest), patch_size, -1), dim=1, out=features[patches])
    return features


def layer_of(linear: nn.Linear, norm: nn.BatchNorm1d) -> Layer:
    """A linear layer and the batch norm behind it, in training without running statistics."""
    mean, variance = (None, None) if norm.training else (norm.running_mean, norm.running_var)
    return Layer(linear.weight, linear.bias, norm.weight, norm.bias, norm.eps, mean, variance)
