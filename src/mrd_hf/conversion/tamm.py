"""TAMM (arXiv 2402.18490): OpenShape's PointBERT without a projection, followed by adapters."""

from ..models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from .checkpoint_file import Checkpoint
from .peer_encoder import PeerEncoder
from .point_patch_transformer import configuration, is_point_patch_transformer, projection_width, rename_tensors
from .renaming import bare


def recognize(checkpoint: Checkpoint, preset: str | None) -> PeerEncoder | None:
    """The encoder, if there are adapters, or neither a projection nor OpenShape's prefix of its published files."""
    if not is_point_patch_transformer(checkpoint):
        return None
    renamed = rename_tensors(checkpoint)
    adapters = any("adapter" in name for name in (*checkpoint.tensors, *checkpoint.others))
    published = any(bare(name).startswith("pc_encoder.") for name in checkpoint.tensors)
    if projection_width(renamed) is not None or (published and not adapters):
        return None
    return PeerEncoder(
        "TAMM",
        "2402.18490",
        configuration(renamed, preset, teacher_id=None, projection_tells=False),
        PointCloudFeatureExtractor(encoder_up_axis="z"),  # OpenShape's loader, which exchanges y and z
        renamed,
        notes=[
            "its adapters, which lead from the class token into the teacher's space, are left out: the embedding is "
            "the class token, for use as a feature, and teacher_id is empty"
        ],
    )
