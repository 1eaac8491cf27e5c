"""Copies of a model as DataParallel makes them."""

from torch import nn


def replica(module: nn.Module) -> nn.Module:
    """What torch's DataParallel, by which Trainer uses several GPUs of one process, makes for each of them."""
    copy = module._replicate_for_data_parallel()
    for name, child in module.named_children():
        copy._modules[name] = replica(child)
    for name, parameter in module._parameters.items():
        if parameter is None:
            copy._parameters[name] = None
        else:
            setattr(copy, name, parameter.detach().clone())  # a plain attribute
    copy._buffers = {name: buffer.clone() for name, buffer in module.named_buffers(recurse=False)}
    return copy
