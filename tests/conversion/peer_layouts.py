"""The peers' networks as names and shapes of tensors, written down from their code, and files as they save them."""

import argparse
from pathlib import Path

import numpy as np
import torch
from support.golden import drawn_tensors


Shapes = dict[str, tuple[int, ...]]

# width, layers, inner width, width of the patch feature
SCALINGS = {
    1: (256, 6, 1024, 96),
    2: (512, 6, 1024, 128),
    3: (512, 12, 1024, 128),
    4: (512, 12, 1536, 256),
    5: (768, 12, 2304, 256),
    6: (768, 24, 3072, 256),
}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def batch_norm(name: str, width: int) -> Shapes:
    statistics = {f"{name}.running_mean": (width,), f"{name}.running_var": (width,), f"{name}.num_batches_tracked": ()}
    return {**norm(name, width), **statistics}


def layer(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def openshape(width: int, depth: int, inner: int, feature: int, projection: int | None) -> Shapes:
    """`Projected(PointPatchTransformer)`; without a projection, `PointPatchTransformer` alone."""
    ppat = "" if projection is None else "ppat."
    shapes: Shapes = {f"{ppat}cls_token": (width,)}
    for i, (channels, out) in enumerate([(9, 64), (64, 64), (64, feature)]):
        shapes |= layer(f"{ppat}sa.mlp_convs.{i}", out, channels, 1, 1) | batch_norm(f"{ppat}sa.mlp_bns.{i}", out)
    shapes |= layer(f"{ppat}lift.0", width, 3 + feature, 1) | norm(f"{ppat}lift.2", width)
    for i in range(depth):
        block = f"{ppat}transformer.layers.{i}"
        shapes |= norm(f"{block}.0.norm", width) | norm(f"{block}.1.norm", width)
        shapes |= {f"{block}.0.fn.to_qkv.weight": (3 * width, width)} | layer(f"{block}.0.fn.to_out.0", width, width)
        shapes |= layer(f"{block}.1.fn.net.0", inner, width) | layer(f"{block}.1.fn.net.3", width, inner)
    return shapes if projection is None else shapes | layer("proj", projection, width)


def mini_pointnet(channels: int, feature: int) -> Shapes:
    first, second = "point_encoder.encoder.first_conv", "point_encoder.encoder.second_conv"
    return {
        **layer(f"{first}.0", 128, channels, 1),
        **batch_norm(f"{first}.1", 128),
        **layer(f"{first}.3", 256, 128, 1),
        **layer(f"{second}.0", 512, 512, 1),
        **batch_norm(f"{second}.1", 512),
        **layer(f"{second}.3", feature, 512, 1),
    }


def ulip(depth: int, channels: int, projection: int, width: int = 384) -> Shapes:
    shapes: Shapes = {f"point_encoder.{name}": (1, 1, width) for name in ("cls_token", "cls_pos")}
    shapes |= mini_pointnet(channels, 256) | layer("point_encoder.reduce_dim", width, 256)
    shapes |= layer("point_encoder.pos_embed.0", 128, 3) | layer("point_encoder.pos_embed.2", width, 128)
    for i in range(depth):
        block = f"point_encoder.blocks.blocks.{i}"
        shapes |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width)
        shapes |= {f"{block}.attn.qkv.weight": (3 * width, width)} | layer(f"{block}.attn.proj", width, width)
        shapes |= layer(f"{block}.mlp.fc1", 4 * width, width) | layer(f"{block}.mlp.fc2", width, 4 * width)
    return {**shapes, **norm("point_encoder.norm", width), "pc_projection": (2 * width, projection), "logit_scale": ()}


def uni3d(width: int, depth: int, inner: int, split: bool = False, gated: bool = True) -> Shapes:
    """The trunk is timm's EVA: `split` with q, k, v, gate and value as tensors of their own, and a norm in the MLP."""
    visual = "point_encoder.visual"
    shapes: Shapes = {f"point_encoder.{name}": (1, 1, width) for name in ("cls_token", "cls_pos")}
    shapes |= mini_pointnet(6, 512) | layer("point_encoder.encoder2trans", width, 512)
    shapes |= layer("point_encoder.trans2embed", 1024, width)
    shapes |= layer("point_encoder.pos_embed.0", 128, 3) | layer("point_encoder.pos_embed.2", width, 128)
    shapes |= {f"{visual}.cls_token": (1, 1, width), f"{visual}.pos_embed": (1, 257, width)}
    shapes |= layer(f"{visual}.patch_embed.proj", width, 3, 14, 14) | layer(f"{visual}.head", 1000, width)
    for i in range(depth):
        block = f"{visual}.blocks.{i}"
        shapes |= (
            norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width) | layer(f"{block}.attn.proj", width, width)
        )
        if split:
            shapes |= layer(f"{block}.attn.q_proj", width, width) | layer(f"{block}.attn.v_proj", width, width)
            shapes |= {f"{block}.attn.k_proj.weight": (width, width)} | norm(f"{block}.mlp.norm", inner)
            shapes |= layer(f"{block}.mlp.fc1_g", inner, width) | layer(f"{block}.mlp.fc1_x", inner, width)
        else:
            shapes |= {f"{block}.attn.{name}_bias": (width,) for name in "qv"}
            shapes |= {f"{block}.attn.qkv.weight": (3 * width, width)}
            shapes |= layer(f"{block}.mlp.fc1", 2 * inner if gated else inner, width)
        shapes |= layer(f"{block}.mlp.fc2", width, inner)
    return {**shapes, **norm(f"{visual}.fc_norm", width), "logit_scale": ()}


def prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def empty(shapes: Shapes) -> dict[str, torch.Tensor]:
    """Tensors of these shapes that take no memory."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def drawn(shapes: Shapes) -> dict[str, torch.Tensor]:
    return drawn_tensors({name: list(shape) for name, shape in shapes.items()})


def training_checkpoint(tensors: dict[str, torch.Tensor]) -> dict[str, object]:
    """As OpenShape's training saves it."""
    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.AdamW([weight], lr=1e-3)
    weight.sum().backward()
    optimizer.step()
    return {
        "state_dict": tensors,
        "logit_scale": {"module.logit_scale": torch.tensor(2.66)},
        "text_proj": None,
        "optimizer": optimizer.state_dict(),
        "epoch": 7,
        "step": torch.tensor(900),
        "best_lvis_acc": np.float64(46.8),
    }


def ulip_checkpoint(tensors: dict[str, torch.Tensor]) -> dict[str, object]:
    """As ULIP's training saves it, with its arguments and, for ULIP-2, the teacher."""
    teacher = {"module.open_clip_model.visual.conv1.weight": torch.zeros(4, 3, 2, 2)}
    teacher["module.open_clip_model.attn_mask"] = torch.full((2, 2), -torch.inf)
    arguments = argparse.Namespace(model="ULIP2_PointBERT_Colored", lr=1e-3, output_dir=Path("outputs"))
    return {"epoch": 250, "state_dict": {**tensors, **teacher}, "best_acc1": np.float32(75.6), "args": arguments}
