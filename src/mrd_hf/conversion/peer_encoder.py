"""What a peer's file says about the encoder whose weights it holds."""

from dataclasses import dataclass, field

from ..models.configuration_point_bert import PointBertConfig
from ..models.configuration_uni3d import Uni3DConfig
from ..models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from .renaming import RenamedTensors


# Teachers on the Hub.
CLIP_BIG_G = "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"
CLIP_L = "openai/clip-vit-large-patch14"
CLIP_B = "openai/clip-vit-base-patch32"
UNKNOWN_TEACHER = "its teacher cannot be told from the width of its projection: teacher_id is empty"


@dataclass(frozen=True)
class PeerEncoder:
    """A peer's encoder, recognised but not yet built.

    Args:
        peer (`str`): Its name.
        paper (`str`): Its number on arXiv.
        config ([`PointBertConfig`] or [`Uni3DConfig`]): Sizes, grouping, teacher.
        extractor ([`PointCloudFeatureExtractor`]): Makes the input it was trained on.
        renamed ([`RenamedTensors`]): Its weights.
        license (`str`, *optional*): Of the published weights, where it is known.
        notes (`list[str]`): Sentences on what its user should know.
    """

    peer: str
    paper: str
    config: PointBertConfig | Uni3DConfig
    extractor: PointCloudFeatureExtractor
    renamed: RenamedTensors
    license: str | None = None
    notes: list[str] = field(default_factory=list)
