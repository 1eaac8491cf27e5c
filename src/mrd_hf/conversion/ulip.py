"""The PointBERTs of ULIP (arXiv 2212.05171) and ULIP-2 (arXiv 2305.08275)."""

import re

from ..errors import UserError
from ..models.configuration_point_bert import PointBertConfig
from ..models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from .checkpoint_file import Checkpoint
from .peer_encoder import CLIP_BIG_G, UNKNOWN_TEACHER, PeerEncoder
from .renaming import MINI_POINTNET_NAMES, Names, bare, rename


HEAD_SIZE = 64
# By the width of the projection. ULIP's is no repository of the Hub.
TEACHERS = {1280: CLIP_BIG_G, 512: "SLIP ViT-B/16 (slip_base_100ep)"}
_BLOCK = r"^point_encoder\.blocks\.blocks\.(\d+)\."
NAMES: Names = (
    *MINI_POINTNET_NAMES,
    (r"^pc_projection$", "projection.weight"),
    (r"^point_encoder\.cls_token$", "embeddings.cls_token"),
    (r"^point_encoder\.cls_pos$", "embeddings.cls_position"),
    (r"^point_encoder\.reduce_dim\.", "embeddings.patch_projection."),
    (r"^point_encoder\.pos_embed\.0\.", "embeddings.position_embedding.fc1."),
    (r"^point_encoder\.pos_embed\.2\.", "embeddings.position_embedding.fc2."),
    (r"^point_encoder\.norm\.", "layer_norm."),
    (_BLOCK + r"norm(\d)\.", r"layers.\1.layer_norm\2."),
    (_BLOCK + r"attn\.qkv\.", r"layers.\1.self_attn.{q,k,v}_proj."),
    (_BLOCK + r"attn\.proj\.", r"layers.\1.self_attn.out_proj."),
    (_BLOCK + r"mlp\.(fc\d)\.", r"layers.\1.mlp.\2."),
)
# The teacher, in full, and a head for fine-tuning.
LEFT_OUT = re.compile(
    r"^(?:visual|transformer|ln_final|open_clip_model|point_encoder\.cls_head_finetune)\."
    r"|^(?:token_embedding\.weight|positional_embedding|image_projection|text_projection|logit_scale)$"
)
_MARK = re.compile(r"^point_encoder\.blocks\.blocks\.")


def recognize(checkpoint: Checkpoint, preset: str | None) -> PeerEncoder | None:
    """The encoder, if it is a PointBERT of ULIP's.

    Raises:
        UserError: when a preset is given, which nothing is left for to settle.
    """
    if not any(_MARK.match(bare(name)) for name in checkpoint.tensors):
        return None
    if preset is not None:
        raise UserError("the tensors are ULIP's PointBERT's, which always has the same patches; leave --preset out.")
    renamed = rename("ULIP's PointBERT", checkpoint.tensors, NAMES, LEFT_OUT)
    projection = renamed.size("projection.weight", 1)
    colors = renamed.size("embeddings.patch_network.linear1.weight", 1) == 6
    hidden_size = renamed.size("embeddings.patch_projection.weight", 0)
    if hidden_size % HEAD_SIZE != 0 or not hidden_size:
        raise UserError(f"the tensors are ULIP's PointBERT's, but {hidden_size} wide; expected heads of {HEAD_SIZE}.")
    config = PointBertConfig.from_preset(
        "ulip-2" if colors else "ulip",
        hidden_size=hidden_size,
        intermediate_size=renamed.size("layers.0.mlp.fc1.weight", 0),
        num_hidden_layers=renamed.num_layers(),
        num_attention_heads=hidden_size // HEAD_SIZE,
        projection_dim=projection,
        teacher_id=TEACHERS.get(projection),
    )
    # Theirs stands after the embedding, not before it as a linear layer's.
    renamed.tensors["projection.weight"] = renamed.tensors["projection.weight"].transpose(0, 1)
    second = colors or projection == 1280
    notes = [] if config.teacher_id else [UNKNOWN_TEACHER]
    if not colors:
        notes.append("it does not see colours")
    return PeerEncoder(
        "ULIP-2" if second else "ULIP",
        "2305.08275" if second else "2212.05171",
        config,
        PointCloudFeatureExtractor(num_points=10_000 if colors else 8192, encoder_up_axis="y"),
        renamed,
        notes=notes,
    )
