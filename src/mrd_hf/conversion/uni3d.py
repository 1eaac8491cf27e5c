"""Uni3D (arXiv 2310.06773), tiny to giant."""

import re

from ..errors import UserError
from ..models.configuration_uni3d import UNI3D_PRESETS, Uni3DConfig
from ..models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from .checkpoint_file import Checkpoint
from .peer_encoder import UNKNOWN_TEACHER, PeerEncoder
from .renaming import MINI_POINTNET_NAMES, Names, bare, rename


TEACHER = "timm/eva02_enormous_patch14_plus_clip_224.laion2b_s9b_b144k"
TEACHER_WIDTH = 1024
_BLOCK = r"^point_encoder\.visual\.blocks\.(\d+)\."
NAMES: Names = (
    *MINI_POINTNET_NAMES,
    (r"^point_encoder\.trans2embed\.", "projection."),
    (r"^point_encoder\.encoder2trans\.", "embeddings.patch_projection."),
    (r"^point_encoder\.cls_token$", "embeddings.cls_token"),
    (r"^point_encoder\.cls_pos$", "embeddings.cls_position"),
    (r"^point_encoder\.pos_embed\.0\.", "embeddings.position_embedding.fc1."),
    (r"^point_encoder\.pos_embed\.2\.", "embeddings.position_embedding.fc2."),
    (r"^point_encoder\.visual\.fc_norm\.", "layer_norm."),
    (_BLOCK + r"norm(\d)\.", r"layers.\1.layer_norm\2."),
    (_BLOCK + r"attn\.qkv\.", r"layers.\1.self_attn.{q,k,v}_proj."),
    (_BLOCK + r"attn\.([qv])_bias$", r"layers.\1.self_attn.\2_proj.bias"),
    (_BLOCK + r"attn\.([qkv])_proj\.", r"layers.\1.self_attn.\2_proj."),
    (_BLOCK + r"attn\.proj\.", r"layers.\1.self_attn.out_proj."),
    (_BLOCK + r"mlp\.fc1_g\.", r"layers.\1.mlp.gate_proj."),
    (_BLOCK + r"mlp\.fc1_x\.", r"layers.\1.mlp.up_proj."),
    (_BLOCK + r"mlp\.norm\.", r"layers.\1.mlp.layer_norm."),
    (_BLOCK + r"mlp\.fc2\.", r"layers.\1.mlp.down_proj."),
)
# The gate and what it is multiplied with in one (tiny, small), or no gate (giant).
_PACKED_MLP = (_BLOCK + r"mlp\.fc1\.", r"layers.\1.mlp.{gate,up}_proj.")
_PLAIN_MLP = (_BLOCK + r"mlp\.fc1\.", r"layers.\1.mlp.up_proj.")
# What the vision transformer has for images, and the loss's temperature.
LEFT_OUT = re.compile(r"^point_encoder\.visual\.(?:cls_token|pos_embed|patch_embed|head)\b|^logit_scale$")
_MARK = re.compile(r"^point_encoder\.visual\.blocks\.")


def recognize(checkpoint: Checkpoint, preset: str | None) -> PeerEncoder | None:
    """The encoder, if it is Uni3D's.

    Raises:
        UserError: when it has none of the published sizes, or a preset is given, which nothing is left for to settle.
    """
    if not any(_MARK.match(bare(name)) for name in checkpoint.tensors):
        return None
    if preset is not None:
        raise UserError("the tensors are Uni3D's, which always has the same patches; leave --preset out.")
    shapes = {bare(name): tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    mlp = "point_encoder.visual.blocks.0.mlp."
    hidden, inner = shapes.get(f"{mlp}fc1.weight", ())[:1], shapes.get(f"{mlp}fc2.weight", ())[1:]
    plain = hidden == inner
    renamed = rename("Uni3D", checkpoint.tensors, (*NAMES, _PLAIN_MLP if plain else _PACKED_MLP), LEFT_OUT)
    sizes = {
        "hidden_size": renamed.size("embeddings.patch_projection.weight", 0),
        "intermediate_size": renamed.size("layers.0.mlp.down_proj.weight", 1),
        "num_hidden_layers": renamed.num_layers(),
        "gated_mlp": not plain,
        "mlp_norm": "layers.0.mlp.layer_norm.weight" in renamed.tensors,
    }
    name = next((name for name, fields in UNI3D_PRESETS.items() if sizes.items() <= fields.items()), None)
    if name is None:
        found = ", ".join(f"{field} {value}" for field, value in sizes.items())
        raise UserError(f"the tensors are Uni3D's, but of none of its sizes, {', '.join(UNI3D_PRESETS)} ({found}).")
    projection = renamed.size("projection.weight", 0)
    teacher_id = TEACHER if projection == TEACHER_WIDTH else None
    return PeerEncoder(
        f"Uni3D {name}",
        "2310.06773",
        Uni3DConfig.from_preset(name, projection_dim=projection, teacher_id=teacher_id),
        PointCloudFeatureExtractor(encoder_up_axis="y"),
        renamed,
        notes=[] if teacher_id else [UNKNOWN_TEACHER],
    )
