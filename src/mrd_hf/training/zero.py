"""DeepSpeed's ZeRO: what it must be told, since it wraps the model, clips the gradients and steps by itself."""

from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn

from ..errors import UserError
from .arguments import PretrainingArguments
from .recipe_files import ACCELERATE_RECIPES


def fit_deepspeed(accelerator: Accelerator, arguments: PretrainingArguments, objective: nn.Module) -> None:
    """Make a run fit DeepSpeed, where accelerate's recipe asks for it. Called before `accelerator.prepare`, which
    would read the batch size off a data loader that it is not given.

    Args:
        accelerator (`Accelerator`): Its DeepSpeed configuration is completed.
        arguments ([`PretrainingArguments`])
        objective (`nn.Module`): Its parameters without dimensions, which DeepSpeed cannot broadcast, become vectors of
            one number.

    Raises:
        UserError: when the recipe or the arguments ask for something that is not supported.
    """
    if accelerator.distributed_type != DistributedType.DEEPSPEED:
        return
    if arguments.mixed_precision != "no":
        raise UserError(
            f"mixed_precision {arguments.mixed_precision} does not go with DeepSpeed, which would halve the whole "
            f"model, batch norm's statistics included; leave it out, or use {ACCELERATE_RECIPES / 'fsdp2.yaml'}."
        )
    config = accelerator.state.deepspeed_plugin.deepspeed_config
    if config["zero_optimization"]["stage"] == 3:
        raise UserError(
            "zero_stage 3 shards the weights themselves, which only FSDP2 does here: use "
            f"{ACCELERATE_RECIPES / 'fsdp2.yaml'}, or zero_stage 2."
        )
    config["train_micro_batch_size_per_gpu"] = arguments.per_device_batch_size
    config["gradient_clipping"] = arguments.max_grad_norm
    for parameter in objective.parameters():
        if parameter.ndim == 0:
            parameter.data = parameter.data.reshape(1)
