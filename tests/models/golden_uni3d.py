"""Uni3D's names for our tensors. Its fused tensors are split: q, k and v; the gate and what it multiplies; and the
convolution over a patch's maximum and its points' features."""

import json
import re
import runpy

import torch
from golden import FOLDER
from safetensors import safe_open


UNI3D_NAMES = (
    (r"^point_encoder\.", ""),
    (r"^trans2embed\.", "projection."),
    (r"^encoder2trans\.", "embeddings.patch_projection."),
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^cls_pos$", "embeddings.cls_position"),
    (r"^pos_embed\.0\.", "embeddings.position_embedding.fc1."),
    (r"^pos_embed\.2\.", "embeddings.position_embedding.fc2."),
    (r"^encoder\.first_conv\.0\.", "embeddings.patch_network.linear1."),
    (r"^encoder\.first_conv\.1\.", "embeddings.patch_network.norm1."),
    (r"^encoder\.first_conv\.3\.", "embeddings.patch_network.linear2."),
    (r"^encoder\.second_conv\.0\.weight$", "embeddings.patch_network.{patch,point}_linear3.weight"),
    (r"^encoder\.second_conv\.0\.bias$", "embeddings.patch_network.point_linear3.bias"),
    (r"^encoder\.second_conv\.1\.", "embeddings.patch_network.norm3."),
    (r"^encoder\.second_conv\.3\.", "embeddings.patch_network.linear4."),
    (r"^visual\.fc_norm\.", "layer_norm."),
    (r"^visual\.blocks\.(\d+)\.norm(\d)\.", r"layers.\1.layer_norm\2."),
    (r"^visual\.blocks\.(\d+)\.attn\.qkv\.", r"layers.\1.self_attn.{q,k,v}_proj."),
    (r"^visual\.blocks\.(\d+)\.attn\.([qv])_bias$", r"layers.\1.self_attn.\2_proj.bias"),
    (r"^visual\.blocks\.(\d+)\.attn\.([qkv])_proj\.", r"layers.\1.self_attn.\2_proj."),
    (r"^visual\.blocks\.(\d+)\.attn\.proj\.", r"layers.\1.self_attn.out_proj."),
    (r"^visual\.blocks\.(\d+)\.mlp\.fc1\.", r"layers.\1.mlp.{gate,up}_proj."),
    (r"^visual\.blocks\.(\d+)\.mlp\.fc1_g\.", r"layers.\1.mlp.gate_proj."),
    (r"^visual\.blocks\.(\d+)\.mlp\.fc1_x\.", r"layers.\1.mlp.up_proj."),
    (r"^visual\.blocks\.(\d+)\.mlp\.norm\.", r"layers.\1.mlp.layer_norm."),
    (r"^visual\.blocks\.(\d+)\.mlp\.fc2\.", r"layers.\1.mlp.down_proj."),
)
UNUSED = re.compile(r"^point_encoder\.visual\.(cls_token|pos_embed|patch_embed|head)\b")


def uni3d_weights(name: str) -> dict[str, torch.Tensor]:
    """The weights the recording was made with, under our names."""
    rule = runpy.run_path(str(FOLDER / "checkpoint_rule.py"))
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        shapes = json.loads(file.metadata()["shapes"])
    used = {original: shape for original, shape in shapes.items() if not UNUSED.match(original)}
    weights = {}
    for original, array in rule["weights"](used).items():
        key, tensor = original, torch.from_numpy(array)
        for pattern, replacement in UNI3D_NAMES:
            key = re.sub(pattern, replacement, key)
        if "cls_" in key:
            tensor = tensor.flatten()
        elif tensor.ndim == 3:  # 1x1 convolutions
            tensor = tensor.squeeze(2)
        if fused := re.search(r"{(.*)}", key):
            parts = fused[1].split(",")
            # Each output row belongs to one part, but for the convolution: there each input column does.
            for part, piece in zip(parts, tensor.chunk(len(parts), dim=int("linear3" in key)), strict=True):
                weights[key.replace(fused[0], part)] = piece
        else:
            weights[key] = tensor
    return weights
