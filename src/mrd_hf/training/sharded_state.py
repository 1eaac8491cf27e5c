"""Saving and loading a sharded run's weights, optimizer and moving average: each process its own shards.

By torch's distributed checkpoints, in safetensors (torch's own format is a pickle). They know where in the whole a
shard belongs, so that any number of processes can load what another number saved.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict
from torch.optim.swa_utils import AveragedModel

from ..errors import UserError
from ..models.modeling_mrd import MRDForPretraining
from .sharding import broadcast_from_first


@dataclass(frozen=True)
class ShardedState:
    """What there is to save of a sharded run.

    Args:
        model (`MRDForPretraining`): Sharded.
        optimizer (`torch.optim.Optimizer`): Of its parameters; torch's own, not accelerate's wrapper.
        average (`AveragedModel`, *optional*): Sharded as the model is.
    """

    model: MRDForPretraining
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None

    def save(self, folder: Path) -> None:
        """Write all into a folder. Called by all processes."""
        # As with DDP, the first process's running statistics count; a shared tensor is written by any of them.
        broadcast_from_first(self.model.buffers())
        if self.average is not None:
            # Not its number of steps, which is the same everywhere, and on the CPU, whence NCCL sends nothing.
            broadcast_from_first(self.average.module.buffers())
        dcp.save(self.tensors(), storage_writer=dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True))

    def load(self, folder: Path) -> None:
        """Take all from a folder. Called by all processes.

        Raises:
            UserError: when something of it is not there.
        """
        tensors = self.tensors()
        reader = dcp.HuggingFaceStorageReader(str(folder))
        missing = sorted(tensors.keys() - reader.read_metadata().state_dict_metadata.keys())
        if missing and all(name.startswith("average.") for name in missing):
            raise UserError(f"{folder} has no moving average; resume with --ema-decay 0.")
        if missing:
            raise UserError(f"{folder} has no {missing[0]}: it was saved by a run with another model.")
        # Read into place: these are the model's, the optimizer's and the average's own tensors.
        dcp.load(tensors, storage_reader=reader)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All there is to save, by name. (What is no tensor, rates and decays, the run's arguments say.)"""
        # Before the optimizer's first step torch makes the state that it is going to have.
        options = StateDictOptions(flatten_optimizer_state_dict=True)
        optimizer = get_optimizer_state_dict(self.model, self.optimizer, options=options)
        parts = {"model": self.model.state_dict(), "optimizer": optimizer}
        if self.average is not None:
            parts["average"] = self.average.state_dict()
        return {
            f"{part}.{name}": tensor
            for part, state in parts.items()
            for name, tensor in state.items()
            if isinstance(tensor, torch.Tensor)
        }
