"""OpenShape's PointBERT, `PointPatchTransformer` in its code, which MixCon3D and TAMM have taken over."""

import re

from ..errors import UserError
from ..models.configuration_point_bert import POINT_BERT_PRESETS, PointBertConfig
from .checkpoint_file import Checkpoint
from .renaming import Names, RenamedTensors, bare, rename


NETWORK = "OpenShape's PointBERT"
HEAD_SIZE = 64
_PATCHES = r"^(?:pc_encoder\.)?(?:ppat\.)?"
_LAYER = _PATCHES + r"transformer\.layers\.(\d+)\."
NAMES: Names = (
    (r"^(?:pc_encoder\.)?proj\.", "projection."),
    (_PATCHES + r"cls_token$", "embeddings.cls_token"),
    (_PATCHES + r"sa\.mlp_convs\.", "embeddings.patch_network.linears."),
    (_PATCHES + r"sa\.mlp_bns\.", "embeddings.patch_network.norms."),
    (_PATCHES + r"lift\.0\.", "embeddings.patch_projection."),
    (_PATCHES + r"lift\.2\.", "embeddings.patch_norm."),
    (_LAYER + r"0\.norm\.", r"layers.\1.layer_norm1."),
    (_LAYER + r"0\.fn\.to_qkv\.", r"layers.\1.self_attn.{q,k,v}_proj."),
    (_LAYER + r"0\.fn\.to_out\.0\.", r"layers.\1.self_attn.out_proj."),
    (_LAYER + r"1\.norm\.", r"layers.\1.layer_norm2."),
    (_LAYER + r"1\.fn\.net\.0\.", r"layers.\1.mlp.fc1."),
    (_LAYER + r"1\.fn\.net\.3\.", r"layers.\1.mlp.fc2."),
)
# The losses' temperatures, and layers and adapters on the teacher's side or after the encoder.
LEFT_OUT = re.compile(r"^\w*logit_scale\b|^(?:image|text|pc_img|pc_img_to_text|multi_view)_proj\.|^\w*adapter\w*\.")
_MARK = re.compile(_PATCHES + r"sa\.mlp_convs\.")


def is_point_patch_transformer(checkpoint: Checkpoint) -> bool:
    return any(_MARK.match(bare(name)) for name in checkpoint.tensors)


def rename_tensors(checkpoint: Checkpoint) -> RenamedTensors:
    return rename(NETWORK, checkpoint.tensors, NAMES, LEFT_OUT)


def projection_width(renamed: RenamedTensors) -> int | None:
    return renamed.tensors["projection.weight"].shape[0] if "projection.weight" in renamed.tensors else None


def configuration(
    renamed: RenamedTensors, preset: str | None, teacher_id: str | None, projection_tells: bool = True
) -> PointBertConfig:
    """The configuration for the tensors' shapes. Patches, which have no tensors, are those of the preset that fits.

    Args:
        renamed ([`RenamedTensors`])
        preset (`str`, *optional*): The preset whose patches to take, for sizes that fit several or none.
        teacher_id (`str`, *optional*): The frozen image-text model.
        projection_tells (`bool`, defaults to `True`):
            Whether the projection's width says which of several presets it is.

    Raises:
        UserError: when the patches cannot be told.
    """
    projection = projection_width(renamed)
    sizes = {
        "hidden_size": renamed.size("embeddings.cls_token", 0),
        "intermediate_size": renamed.size("layers.0.mlp.fc1.weight", 0),
        "num_hidden_layers": renamed.num_layers(),
        "num_attention_heads": renamed.size("embeddings.cls_token", 0) // HEAD_SIZE,
        "patch_hidden_size": renamed.size("embeddings.patch_network.linears.0.weight", 0),
        "patch_feature_size": renamed.size("embeddings.patch_network.linears.2.weight", 0),
    }
    fitting = [name for name in presets() if _has_sizes(PointBertConfig.from_preset(name), sizes)]
    exact = [name for name in fitting if PointBertConfig.from_preset(name).projection_dim == projection]
    if preset is not None:
        fitting = [preset]
    elif projection_tells and len(exact) == 1:
        fitting = exact
    if sizes["hidden_size"] % HEAD_SIZE != 0 or not sizes["hidden_size"]:
        raise UserError(
            f"the tensors are {NETWORK}'s, but {sizes['hidden_size']} wide; expected heads of {HEAD_SIZE}."
        )
    if len(fitting) != 1:
        found = ", ".join(f"{name} {value}" for name, value in {**sizes, "projection_dim": projection}.items())
        raise UserError(
            f"the tensors are {NETWORK}'s, but how it cuts a cloud into patches does not follow from their sizes "
            f"({found}): {'several presets fit, ' + ', '.join(fitting) if fitting else 'no preset fits'}; say by "
            f"--preset whose patches it has: {', '.join(presets())}."
        )
    return PointBertConfig.from_preset(fitting[0], **sizes, projection_dim=projection, teacher_id=teacher_id)


def presets() -> list[str]:
    """The presets that are of this network."""
    return [name for name in POINT_BERT_PRESETS if PointBertConfig.from_preset(name).grouping == "ball"]


def _has_sizes(config: PointBertConfig, sizes: dict[str, int]) -> bool:
    return all(getattr(config, name) == size for name, size in sizes.items())
