"""Recorded inputs and outputs of the original networks, and the weights they were made with.

The recordings (`tests/golden/*.safetensors`) were made by the original code with weights drawn by
`tests/golden/checkpoint_rule.py`; they list the originals' tensor names and shapes.
"""

import json
import runpy
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from mrd_hf.conversion.checkpoint_file import Checkpoint
from mrd_hf.conversion.converting import build_encoder, recognize


FOLDER = Path(__file__).parent.parent / "golden"


def recording(name: str) -> dict[str, torch.Tensor]:
    """Inputs and outputs of one original network."""
    return load_file(FOLDER / f"{name}.safetensors")


def original_shapes(name: str) -> dict[str, list[int]]:
    """Names and shapes of one original network's tensors."""
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        return json.loads(file.metadata()["shapes"])


def drawn_tensors(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """The tensors that the rule draws for names and shapes."""
    rule = runpy.run_path(str(FOLDER / "checkpoint_rule.py"))
    return {name: torch.from_numpy(array) for name, array in rule["weights"](shapes).items()}


def original_weights(name: str) -> dict[str, torch.Tensor]:
    """The weights the recording was made with, under our names."""
    tensors = drawn_tensors(original_shapes(name))
    return build_encoder(recognize(Checkpoint(tensors, entry=None, others=()))).state_dict()
