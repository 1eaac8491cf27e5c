"""The gradients of OpenShape's patch network on a CPU, some patches at a time; its forward pass in training with them.

In training, batch norm needs the statistics of all points before the next layer can go on. Blocks are gone through
once a layer, and of all layers only the second's output is kept. The last one's need not be: behind it, a channel's
gradient is that of the one point of a patch that has its maximum, and what batch norm's statistics add to it is linear
in the layer's output, so it goes through that layer as a product of the layer's input with a small matrix.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .pointnet_blocks import Layer, affine_of, blocks_of, encode_patches, fold, layer_of


class _Statistics:
    """Mean and variance over all blocks, of each channel."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.means: list[torch.Tensor] = []
        self.variances: list[torch.Tensor] = []

    def add(self, values: torch.Tensor) -> None:
        mean, variance = torch.batch_norm_update_stats(values, None, None, 0.0)  # in two passes, like batch norm's own
        self.counts.append(len(values))
        self.means.append(mean)
        self.variances.append(variance)

    def joined(self) -> tuple[torch.Tensor, torch.Tensor]:
        """In float64; the variance is that of the points, not of what they are drawn from."""
        shares = torch.tensor(self.counts, dtype=torch.float64)[:, None] / sum(self.counts)
        means = torch.stack(self.means).double()
        mean = (shares * means).sum(dim=0)
        return mean, (shares * (torch.stack(self.variances).double() + (means - mean).square())).sum(dim=0)


class PatchEncoding(torch.autograd.Function):
    """[`encode_patches`] with gradients for the layers, and with the batch's statistics where a layer has none.

    Returns the features, and mean and variance of each layer (in float64).
    """

    @staticmethod
    def forward(ctx: Any, groups: torch.Tensor, constants: list[tuple], *tensors: torch.Tensor) -> tuple:
        layers = _layers(tensors, constants)
        first, second, third = layers
        num_patches, patch_size, _ = groups.shape
        blocks = blocks_of(num_patches, patch_size, len(third.bias))
        num_rows = blocks[0].stop * patch_size
        training = third.mean is None
        # Of channels with a negative scale the least is the largest: with their signs turned, all have a maximum.
        signs = torch.where(third.scale < 0, -1.0, 1.0)
        turned = third._replace(weight=third.weight * signs[:, None], bias=third.bias * signs)
        third_weight = turned.weight.t().contiguous()
        room = [groups.new_empty(num_rows, len(layer.bias)) for layer in layers]

        found: list[tuple[torch.Tensor, torch.Tensor]] = []

        def known(layer: Layer, statistics: _Statistics) -> tuple[torch.Tensor, torch.Tensor]:
            if layer.mean is None or layer.variance is None:
                found.append(statistics.joined())
            else:
                found.append((layer.mean.double(), layer.variance.double()))
            return found[-1]

        statistics = _Statistics()
        if training:
            weight = first.weight.t().contiguous()
            for patches in blocks:
                points = groups[patches].flatten(0, 1)
                statistics.add(torch.addmm(first.bias, points, weight, out=room[0][: len(points)]))
        weight, bias = fold(first, *affine_of(first, *known(first, statistics)))
        statistics, second_weight = _Statistics(), second.weight.t().contiguous()
        kept = groups.new_empty(num_patches * patch_size, len(second.bias))
        for patches in blocks:
            points = groups[patches].flatten(0, 1)
            values = torch.addmm(bias, points, weight, out=room[0][: len(points)]).relu_()
            rows = slice(patches.start * patch_size, patches.stop * patch_size)
            torch.addmm(second.bias, values, second_weight, out=kept[rows])
            if training:
                statistics.add(kept[rows])
        factor, summand = (value.float() for value in affine_of(second, *known(second, statistics)))
        statistics = _Statistics()
        highest = groups.new_empty(num_patches, len(third.bias))
        places = torch.empty(highest.shape, dtype=torch.long)
        for patches in blocks:
            rows = slice(patches.start * patch_size, patches.stop * patch_size)
            values = torch.addcmul(summand, kept[rows], factor, out=room[1][: rows.stop - rows.start]).relu_()
            values = torch.addmm(turned.bias, values, third_weight, out=room[2][: len(values)])
            if training:
                statistics.add(values)
            # As images of one pixel a point, whose maximum pooling also tells where the maximum is, quickly.
            images = values.view(-1, patch_size, 1, values.shape[1]).permute(0, 3, 1, 2)
            peaks, at = nn.functional.max_pool2d(images, (patch_size, 1), return_indices=True)
            highest[patches], places[patches] = peaks[:, :, 0, 0], at[:, :, 0, 0]
        mean, variance = known(third, statistics)
        if not training:
            mean = mean * signs
        found[-1] = (mean * signs, variance)
        factor, summand = affine_of(turned._replace(scale=third.scale.abs()), mean, variance)
        features = torch.addcmul(summand.float(), highest, factor.float()).relu_()
        ctx.save_for_backward(groups, *tensors, kept, highest, places, features, *(v for pair in found for v in pair))
        ctx.constants = constants
        statistics_of_all = [value for pair in found for value in pair]
        ctx.mark_non_differentiable(*statistics_of_all)
        return features, *statistics_of_all

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, *_: torch.Tensor) -> tuple:
        saved = ctx.saved_tensors  # asked for once: a checkpoint computes them then
        groups, *tensors = saved[:13]
        if torch.is_grad_enabled():  # someone wants gradients of gradients: layer by layer
            features = _layer_by_layer(groups, tensors, ctx.constants)
            return None, None, *torch.autograd.grad(features, tensors, gradient, create_graph=True)
        layers = _layers(tensors, ctx.constants)
        return None, None, *_gradients(groups, layers, gradient, *saved[13:])


def _layers(tensors: Sequence[torch.Tensor], constants: list[tuple]) -> list[Layer]:
    return [Layer(*(*tensors[4 * i : 4 * i + 4], *constants[i])) for i in range(3)]


def _layer_by_layer(groups: torch.Tensor, tensors: list[torch.Tensor], constants: list[tuple]) -> torch.Tensor:
    values = groups.flatten(0, 1)
    for i, (epsilon, mean, variance) in enumerate(constants):
        weight, bias, scale, shift = tensors[4 * i : 4 * i + 4]
        values = nn.functional.linear(values, weight, bias)
        values = nn.functional.batch_norm(values, mean, variance, scale, shift, training=mean is None, eps=epsilon)
        values = values.relu()
    return values.view(*groups.shape[:2], -1).amax(dim=1)


def _gradients(
    groups: torch.Tensor,
    layers: list[Layer],
    gradient: torch.Tensor,
    kept: torch.Tensor,
    highest: torch.Tensor,
    places: torch.Tensor,
    features: torch.Tensor,
    *statistics: torch.Tensor,
) -> list[torch.Tensor]:
    """Of weight, bias, scale and shift of each layer.

    For a batch norm of the batch's statistics with output `h = scale * n + shift`, `n = (y - mean) / deviation`, the
    gradient for its input is `scale / deviation * (dh - mean(dh) - n * mean(dh * n))`.
    """
    first, second, third = layers
    num_patches, patch_size, _ = groups.shape
    blocks, total = blocks_of(num_patches, patch_size, len(third.bias)), len(kept)
    training = third.mean is None
    means, variances = statistics[::2], statistics[1::2]
    inverses = [1 / (v + layer.epsilon).sqrt() for v, layer in zip(variances, layers, strict=True)]
    factors = [layer.scale * inverse for layer, inverse in zip(layers, inverses, strict=True)]
    signs = torch.where(third.scale < 0, -1.0, 1.0)

    def corrections(
        dh_sum: torch.Tensor, dhn_sum: torch.Tensor, i: int, mean: torch.Tensor, factor: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is left of `factor * dh` for the input: minus a constant, and minus a slope times the input."""
        if not training:
            return torch.zeros_like(dh_sum), torch.zeros_like(dh_sum)
        slope = factor * inverses[i] * dhn_sum / total
        return factor * dh_sum / total - slope * mean, slope

    # The third layer, with its signs turned.
    live = gradient.masked_fill(features <= 0, 0.0)
    mean, factor = means[2] * signs, factors[2] * signs
    weight, bias = (third.weight * signs[:, None]), third.bias * signs
    third_shift = live.double().sum(dim=0)
    third_scale = (live.double() * (highest - mean) * inverses[2]).sum(dim=0)
    constant, slope = corrections(third_shift, third_scale, 2, mean, factor)
    through = -(weight.double().t() * slope @ weight.double()).float()  # from the second layer's output to itself
    offset = -((constant + slope * bias) @ weight.double()).float()
    scaled = live * factor.float()
    third_weight = torch.zeros_like(weight)
    product = torch.zeros_like(through)
    input_sum = torch.zeros_like(offset)
    second_factor, second_summand = (v.float() for v in affine_of(second, means[1], variances[1]))
    second_live = torch.empty_like(kept)
    second_shift = torch.zeros_like(means[1])
    second_products = torch.zeros_like(means[1])
    width = kept.shape[1]
    for patches in blocks:
        rows = slice(patches.start * patch_size, patches.stop * patch_size)
        values = torch.addcmul(second_summand, kept[rows], second_factor).relu_()
        at = places[patches] + patch_size * torch.arange(patches.stop - patches.start)[:, None]
        third_weight += nn.functional.embedding_bag(
            at.t().contiguous(), values, mode="sum", per_sample_weights=scaled[patches].t().contiguous()
        )
        if training:
            product.addmm_(values.t(), values)
            input_sum += values.sum(dim=0)
            flow = torch.addmm(offset, values, through)
        else:
            flow = torch.zeros_like(values)
        sent = (scaled[patches, :, None] * weight).view(-1, width)
        flow.scatter_add_(0, at.view(-1, 1).expand(-1, width), sent)
        lively = torch.ops.aten.threshold_backward.grad_input(flow, values, 0, grad_input=second_live[rows])
        second_shift += lively.sum(dim=0)
        second_products += torch.mul(lively, kept[rows], out=flow).sum(dim=0)
    third_weight -= (
        torch.outer(constant + slope * bias, input_sum.double()) + (weight * slope[:, None]) @ product.double()
    ).float()

    # The second and the first.
    second_scale = (second_products - means[1] * second_shift) * inverses[1]
    constant, slope = (v.float() for v in corrections(second_shift, second_scale, 1, means[1], factors[1]))
    second_scaling = factors[1].float()
    first_weight, first_bias = fold(first, *affine_of(first, means[0], variances[0]))
    center = groups.mean(dim=(0, 1)) if training else torch.zeros_like(groups[0, 0])
    second_weight = torch.zeros_like(second.weight)
    first_products = torch.zeros_like(first.weight, dtype=torch.float64)
    first_shift = torch.zeros_like(means[0])
    spread = torch.zeros(groups.shape[-1], groups.shape[-1], dtype=torch.float64)
    for patches in blocks:
        rows = slice(patches.start * patch_size, patches.stop * patch_size)
        points = groups[patches].flatten(0, 1)
        values = torch.addmm(first_bias, points, first_weight).relu_()
        flow = torch.addcmul(-constant, second_live[rows], second_scaling).addcmul_(kept[rows], -slope)
        second_weight.addmm_(flow.t(), values)
        flow = flow @ second.weight
        lively = torch.ops.aten.threshold_backward(flow, values, 0)
        first_shift += lively.sum(dim=0)
        points = points - center
        first_products += lively.t() @ points
        spread += points.t() @ points
    if training:
        first_scale = (first.weight * first_products).sum(dim=1) * inverses[0]
        slope = factors[0] * inverses[0] * first_scale / total
        first_gradient = factors[0][:, None] * first_products - slope[:, None] * (first.weight.double() @ spread)
    else:
        first_scale = ((first.weight * first_products).sum(dim=1) + (first.bias - means[0]) * first_shift) * inverses[
            0
        ]
        first_gradient = factors[0][:, None] * first_products
    shifts = (first_shift, second_shift, third_shift)
    scales = (first_scale, second_scale, third_scale * signs)
    weights = (first_gradient, second_weight, third_weight * signs[:, None])
    gradients: list[torch.Tensor] = []
    for i, layer in enumerate(layers):
        # The batch's mean takes a linear layer's bias away again.
        of_bias = torch.zeros_like(layer.bias) if training else (shifts[i] * factors[i]).float()
        gradients += [weights[i].float(), of_bias, scales[i].float(), shifts[i].float()]
    return gradients


def pointnet_in_blocks(linears: Sequence[Any], norms: Sequence[Any], groups: torch.Tensor) -> torch.Tensor:
    """[`PointNet`] by layers that [`works_in_blocks`] has seen; batch norms in training move their running statistics.

    `(num_patches, patch_size, in_channels)` to `(num_patches, out_channels)`.
    """
    training = norms[0].training
    layers = [layer_of(linear, norm) for linear, norm in zip(linears, norms, strict=True)]
    if not training and not torch.is_grad_enabled():
        return encode_patches(groups, layers)
    constants = [tuple(layer[4:]) for layer in layers]
    features, *statistics = PatchEncoding.apply(groups, constants, *(t for layer in layers for t in layer[:4]))
    if training:
        rows = groups[..., 0].numel()
        for norm, mean, variance in zip(norms, statistics[::2], statistics[1::2], strict=True):
            assert norm.running_mean is not None and norm.running_var is not None
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
            share = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean.float(), share)
            norm.running_var.lerp_((variance * (rows / (rows - 1))).float(), share)
    return features
