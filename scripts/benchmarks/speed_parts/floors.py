"""The least time that an encoder could take: its matrix products at the rate of one large product on the same device.

Sampling, grouping, norms and activations are in no floor, nor is the time of memory.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def product(size: int, device: torch.device, dtype: torch.dtype) -> Callable[[], Any]:
    """A call that multiplies two matrices of `size` by `size`: `2 * size**3` operations.

    It takes no memory, as memory that is given back makes the next call of something else slower.
    """
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    result = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=result)


def product_size(device: torch.device, tiny: bool = False) -> int:
    """Large enough for the highest rate, small enough to be quick."""
    return 128 if tiny else 2048 if device.type == "cpu" else 8192


def counted(call: Callable[[], Any]) -> int:
    """Operations of the matrix products of a call, two for a multiplication with its addition."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def encoder_flops(model: Any, backward: bool) -> dict[str, int]:
    """Of one cloud: the patch network, the trunk (all the rest) and the whole; with their backward pass or without.

    Counted on the meta device by the shapes alone, from layers that do each product once, so that they do not depend
    on how the package does them.
    """
    config = model.config
    with torch.device("meta"):
        embeddings = type(model.embeddings)(config)
        groups = torch.empty(1, config.num_patches, config.patch_size, embeddings.patch_network.linears[0].in_features)
        layers = list(embeddings.patch_network.linears)

        def patch_network() -> None:
            features = groups
            for layer in layers:
                features = layer(features)
            if backward:
                features.sum().backward()

        # As many clouds for the trunk as there are: its tokens come from the patches' features.
        copy = type(model)._from_config(config, attn_implementation="eager")
        features = torch.empty(1, config.num_patches, layers[-1].out_features, requires_grad=backward)

        def trunk() -> None:
            own = copy.embeddings
            tokens = own.patch_projection(torch.cat([torch.empty(1, config.num_patches, 3), features], dim=-1))
            hidden = torch.cat([own.cls_token.expand(1, 1, -1), tokens], dim=1)
            for layer in copy.layers:
                hidden = layer(hidden)
            pooled = hidden[:, 0] if copy.projection is None else copy.projection(hidden[:, 0])
            if backward:
                pooled.sum().backward()

        parts = {"patch network": counted(patch_network), "trunk": counted(trunk)}
    return {**parts, "whole": sum(parts.values())}


def wait(device: torch.device) -> None:
    """Until the device has done what it was told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(call: Callable[[], Any], device: torch.device, clock: Callable[[], float] = time.perf_counter) -> float:
    wait(device)
    started = clock()
    call()
    wait(device)
    return clock() - started
