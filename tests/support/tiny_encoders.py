"""Small encoders of every kind, and clouds for them."""

from typing import Any

import torch

from mrd_hf import PointBertConfig, PointBertModel, Uni3DConfig, Uni3DModel


TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_patches": 8,
    "patch_radius": 0.4,
    "patch_size": 16,
    "patch_feature_size": 24,
    "projection_dim": 20,
}
TINY_ULIP = {
    **TINY,
    "grouping": "nearest",
    "patch_positions": False,
    "patch_network": "mini_pointnet",
    "patch_hidden_size": 8,
    "position_embedding": "every_block",
    "position_hidden_size": 12,
    "final_norm": True,
    "pooling": "cls_max",
    "projection_bias": False,
}
TINY_UNI3D = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_patches": 8,
    "patch_size": 16,
    "patch_hidden_size": 8,
    "patch_feature_size": 24,
    "position_hidden_size": 12,
    "projection_dim": 20,
}
TINY_CONFIGS = {
    "openshape": (PointBertConfig, TINY),
    "ulip": (PointBertConfig, TINY_ULIP),
    "ulip without colors": (PointBertConfig, {**TINY_ULIP, "patch_colors": False}),
    "uni3d": (Uni3DConfig, TINY_UNI3D),
    "uni3d giant": (Uni3DConfig, {**TINY_UNI3D, "gated_mlp": False, "mlp_norm": False, "hidden_act": "gelu"}),
}


def tiny_encoder(kind: str, **changes: Any) -> PointBertModel | Uni3DModel:
    """An encoder in evaluation mode; `kind` is a key of `TINY_CONFIGS`. Always the same weights."""
    config_class, fields = TINY_CONFIGS[kind]
    torch.manual_seed(0)
    model_class = PointBertModel if config_class is PointBertConfig else Uni3DModel
    return model_class(config_class(**{**fields, **changes})).eval()


def clouds(batch: int = 3, num_points: int = 200, seed: int = 0) -> torch.Tensor:
    """Points on the unit sphere with random colours, `(batch, num_points, 6)`."""
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.nn.functional.normalize(torch.randn(batch, num_points, 3, generator=generator), dim=-1)
    return torch.cat([xyz, torch.rand(batch, num_points, 3, generator=generator)], dim=-1)
