"""MixCon3D (arXiv 2311.01734): OpenShape's PointBERT, scaling 3, and its moving average."""

from ..models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from .checkpoint_file import Checkpoint
from .peer_encoder import CLIP_BIG_G, UNKNOWN_TEACHER, PeerEncoder
from .point_patch_transformer import configuration, is_point_patch_transformer, projection_width, rename_tensors


def recognize(checkpoint: Checkpoint, preset: str | None) -> PeerEncoder | None:
    """The encoder, if the file also has what only MixCon3D's training keeps."""
    kept = {checkpoint.entry, *checkpoint.others}
    if not is_point_patch_transformer(checkpoint) or not kept & {"state_dict_ema", "pc_img_proj"}:
        return None
    renamed = rename_tensors(checkpoint)
    teacher_id = CLIP_BIG_G if projection_width(renamed) == 1280 else None
    notes = [] if teacher_id else [UNKNOWN_TEACHER]
    if checkpoint.entry == "state_dict_ema" and "state_dict" in checkpoint.others:
        notes.append("the weights are the moving average (state_dict_ema), not those of the last step (state_dict)")
    if "text_proj" in checkpoint.others:
        notes.append("it was trained against texts passed through text_proj, which is left out")
    return PeerEncoder(
        "MixCon3D",
        "2311.01734",
        configuration(renamed, preset, teacher_id),
        PointCloudFeatureExtractor(encoder_up_axis="z"),  # OpenShape's loader, which exchanges y and z
        renamed,
        notes=notes,
    )
