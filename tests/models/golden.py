"""Recorded inputs and outputs of the original networks, and the originals' names for our tensors.

The recordings (`tests/golden/*.safetensors`) were made by the original code with weights drawn by
`tests/golden/checkpoint_rule.py`; they list the originals' tensor names and shapes.
"""

import json
import re
import runpy
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file


FOLDER = Path(__file__).parent.parent / "golden"

OPENSHAPE_NAMES = (
    (r"^(?:module|pc_encoder)\.", ""),
    (r"^proj\.", "projection."),
    (r"^ppat\.cls_token$", "embeddings.cls_token"),
    (r"^ppat\.sa\.mlp_convs\.", "embeddings.patch_network.linears."),
    (r"^ppat\.sa\.mlp_bns\.", "embeddings.patch_network.norms."),
    (r"^ppat\.lift\.0\.", "embeddings.patch_projection."),
    (r"^ppat\.lift\.2\.", "embeddings.patch_norm."),
    (r"^ppat\.transformer\.layers\.(\d+)\.0\.norm\.", r"layers.\1.layer_norm1."),
    (r"^ppat\.transformer\.layers\.(\d+)\.0\.fn\.to_qkv\.", r"layers.\1.self_attn.qkv."),
    (r"^ppat\.transformer\.layers\.(\d+)\.0\.fn\.to_out\.0\.", r"layers.\1.self_attn.out_proj."),
    (r"^ppat\.transformer\.layers\.(\d+)\.1\.norm\.", r"layers.\1.layer_norm2."),
    (r"^ppat\.transformer\.layers\.(\d+)\.1\.fn\.net\.0\.", r"layers.\1.mlp.fc1."),
    (r"^ppat\.transformer\.layers\.(\d+)\.1\.fn\.net\.3\.", r"layers.\1.mlp.fc2."),
)


def recording(name: str) -> dict[str, torch.Tensor]:
    """Inputs and outputs of one original network."""
    return load_file(FOLDER / f"{name}.safetensors")


def original_weights(name: str) -> dict[str, torch.Tensor]:
    """The weights the recording was made with, under our names."""
    rule = runpy.run_path(str(FOLDER / "checkpoint_rule.py"))
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        shapes = json.loads(file.metadata()["shapes"])
    weights = {}
    for original, array in rule["weights"](shapes).items():
        key, tensor = original, torch.from_numpy(array)
        for pattern, replacement in OPENSHAPE_NAMES:
            key = re.sub(pattern, replacement, key)
        if ".qkv." in key:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                weights[key.replace("qkv", f"{letter}_proj")] = part
        elif "linears" in key or "patch_projection" in key:  # 1x1 convolutions
            weights[key] = tensor.flatten(1) if tensor.ndim > 1 else tensor
        else:
            weights[key] = tensor
    return weights
