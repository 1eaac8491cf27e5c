"""OpenShape (arXiv 2305.10764): its three published PointBERTs and the checkpoints of its training."""

from ..models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from .checkpoint_file import Checkpoint
from .peer_encoder import CLIP_B, CLIP_BIG_G, CLIP_L, UNKNOWN_TEACHER, PeerEncoder
from .point_patch_transformer import configuration, is_point_patch_transformer, projection_width, rename_tensors
from .renaming import bare


# By the width of the projection. The one into CLIP B/32's space has none: its class token is as wide as that.
TEACHERS = {1280: CLIP_BIG_G, 768: CLIP_L, None: CLIP_B}


def recognize(checkpoint: Checkpoint, preset: str | None) -> PeerEncoder | None:
    """The encoder, if the tensors are those of OpenShape's PointBERT and of none of its heirs."""
    if not is_point_patch_transformer(checkpoint):
        return None
    renamed = rename_tensors(checkpoint)
    teacher_id = TEACHERS.get(projection_width(renamed))
    # The training code exchanges y and z of its data, which is y up; the mirroring that comes with it is not repeated
    # here. The two files with another prefix are of models that their authors use with clouds that are y up.
    y_up = any(bare(name).startswith("pc_encoder.") for name in checkpoint.tensors)
    return PeerEncoder(
        "OpenShape",
        "2305.10764",
        configuration(renamed, preset, teacher_id),
        PointCloudFeatureExtractor(encoder_up_axis="y" if y_up else "z"),
        renamed,
        license="mit",
        notes=[] if teacher_id else [UNKNOWN_TEACHER],
    )
