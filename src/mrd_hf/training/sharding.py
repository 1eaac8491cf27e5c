"""FSDP2: weights, gradients, optimizer and moving average of a run, sharded over its processes.

accelerate's recipe says that and how to shard; torch's `fully_shard` does it, not `accelerator.prepare`, which

- is silent about FSDP on CPUs, where it would train by DDP (so none of this could be tested there);
- takes a whole model, while FSDP2 shards no parameters without dimensions, such as the loss's logit scale, and does
  not average the gradients of those that it is told to ignore;
- under mixed precision casts the model's inputs, whose points must stay float32, to half precision.
"""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import accelerate
import torch
import torch.distributed as dist
from accelerate.utils import compare_versions, is_torch_version
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from ..errors import UserError
from ..models.modeling_mrd import MRDForPretraining
from .recipe_files import ACCELERATE_RECIPES


RECIPE = ACCELERATE_RECIPES / "fsdp2.yaml"
# What `accelerate launch` tells its processes: variable, value where it is not set, the one that is supported.
SETTINGS = (
    ("FSDP_VERSION", "1", "2"),
    ("FSDP_AUTO_WRAP_POLICY", "NO_WRAP", "TRANSFORMER_BASED_WRAP"),
    ("FSDP_STATE_DICT_TYPE", "SHARDED_STATE_DICT", "SHARDED_STATE_DICT"),
    ("FSDP_CPU_RAM_EFFICIENT_LOADING", "false", "false"),
    ("FSDP_OFFLOAD_PARAMS", "false", "false"),
    ("FSDP_ACTIVATION_CHECKPOINTING", "false", "false"),
)


@dataclass(frozen=True)
class Sharding:
    """How to shard.

    Args:
        layers (`tuple[str]`): Classes of modules that are gathered as one; empty: those the model names itself.
        reshard_after_forward (`bool`): Whether a layer's weights are freed between its forward and backward pass.
    """

    layers: tuple[str, ...]
    reshard_after_forward: bool


def requested_sharding(mixed_precision: str) -> Sharding | None:
    """What accelerate's recipe asks for: None where that is not FSDP.

    Args:
        mixed_precision (`str`): The run's.

    Raises:
        UserError: when it asks for something that is not supported.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return None
    for variable, default, supported in SETTINGS:
        value = os.environ.get(variable, default)
        if value.lower() != supported.lower():
            raise UserError(
                f"{variable.lower()} must be {supported}, as in {RECIPE}, and accelerate's recipe has {value}."
            )
    if mixed_precision == "fp16":
        raise UserError("mixed_precision fp16 does not go with FSDP2: no loss scaler reads its gradients; use bf16.")
    if not is_torch_version(">=", "2.8"):
        raise UserError(f"FSDP2 needs torch 2.8 or newer for its checkpoints, and this is {torch.__version__}.")
    if not compare_versions("accelerate", ">=", "1.15"):
        raise UserError(
            "FSDP2 needs accelerate 1.15 or newer, which clips sharded gradients and whole ones together, and this is "
            f"{accelerate.__version__}."
        )
    if not dist.is_initialized():
        raise UserError(f"FSDP2 needs processes to shard over: accelerate launch --config_file {RECIPE}, or torchrun.")
    layers = os.environ.get("FSDP_TRANSFORMER_CLS_TO_WRAP", "")
    return Sharding(
        layers=tuple(name.strip() for name in layers.split(",") if name.strip()),
        reshard_after_forward=os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() == "true",
    )


def broadcast_from_first(tensors: Iterable[torch.Tensor]) -> None:
    """Give every process the first one's values."""
    for tensor in tensors:
        dist.broadcast(tensor, src=0)


def shard(model: MRDForPretraining, sharding: Sharding) -> None:
    """Shard a model's encoder over all processes, in place; its parameters are new objects afterwards. The objective,
    a handful of numbers, stays whole on each process (see [`average_gradients`]).

    Args:
        model (`MRDForPretraining`): The same on all processes, on the device to train on.
        sharding ([`Sharding`])

    Raises:
        UserError: when the model has no module of a class to be gathered as one.
    """
    encoder = model.encoder
    layers = sharding.layers or tuple(sorted(encoder._no_split_modules))
    modules = list(encoder.modules())
    for name in layers:
        if name not in {type(module).__name__ for module in modules}:
            raise UserError(f"fsdp_transformer_layer_cls_to_wrap: the encoder has no module {name}; see {RECIPE}.")
    # torch warns of outputs that are views: in-place operations on them would go wrong. There are none on ours.
    warnings.filterwarnings("ignore", message=".*FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(encoder.device.type, (dist.get_world_size(),))
    # Inner modules first: a module takes the parameters that no module within it has taken.
    for module in reversed(modules[1:]):
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh, reshard_after_forward=sharding.reshard_after_forward)
    fully_shard(encoder, mesh=mesh)


def average_gradients(module: nn.Module) -> None:
    """Average the gradients of a module that is whole on each process, as DDP would. Called by all processes."""
    for parameter in module.parameters():
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()


def whole_model(model: MRDForPretraining) -> MRDForPretraining:
    """A copy of a sharded model that is not sharded. Called by all processes.

    On the first process its running statistics are those that count (see [`mrd_hf.training.sharded_state`]).
    """
    weights = {
        name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.clone()
        for name, tensor in model.state_dict().items()
    }
    with torch.device("meta"):
        whole = MRDForPretraining(model.config)
    whole.load_state_dict(weights, assign=True)
    return whole
