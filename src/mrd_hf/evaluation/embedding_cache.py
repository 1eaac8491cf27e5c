"""Embeddings kept on the disk by all that they depend on: encoding is what takes the time."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..files.atomic_file import atomic_file


def cached_embeds(
    folder: Path, facts: dict[str, str], num_shapes: int, compute: Callable[[], torch.Tensor]
) -> torch.Tensor:
    """Embeddings from a file in `folder` if one was made with the same facts, else computed and kept there.

    Processes of one run call it together, and all get all; the first one writes. A damaged file is regenerated.

    Args:
        folder (`Path`): Where the files are; made if need be.
        facts (`dict[str, str]`): All that the embeddings depend on: weights, data, settings.
        num_shapes (`int`): How many rows there are to be.
        compute (`Callable`): Makes the embeddings, float32 `(num_shapes, embedding_dim)`.
    """
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    file = folder / f"{key}.safetensors"
    state = PartialState()
    state.wait_for_everyone()  # until the file is there for all, or for none
    try:
        with safe_open(file, framework="pt") as content:
            if content.metadata() == facts:
                embeds = content.get_tensor("point_embeds")
                if embeds.dtype == torch.float32 and embeds.ndim == 2 and len(embeds) == num_shapes:
                    return embeds
    except (SafetensorError, OSError):
        pass
    embeds = compute()
    if state.is_main_process:
        with atomic_file(file) as sink:
            sink.write(save({"point_embeds": embeds.contiguous()}, metadata=facts))
    return embeds
