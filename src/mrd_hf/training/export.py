"""Writing the trained encoder's folder: what `AutoModel.from_pretrained` loads."""

import os
import platform
from pathlib import Path

import accelerate
import torch
import transformers

from ..hub import write_model_card
from ..models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from ..models.modeling_point_bert import PointBertModel
from ..whole_folder import whole_folder


def export_encoder(
    encoder: PointBertModel,
    extractor: PointCloudFeatureExtractor,
    folder: Path,
    card_template: Path,
    facts: dict[str, object],
) -> None:
    """Write the encoder, its feature extractor and a model card; the folder is complete or not there.

    Args:
        encoder ([`PointBertModel`])
        extractor ([`PointCloudFeatureExtractor`])
        folder (`Path`): Replaced if it exists.
        card_template (`Path`): See [`mrd_hf.hub.write_model_card`].
        facts (`dict`): The template's variables, as far as they are not read off the encoder and the machine.
    """
    with whole_folder(folder) as temporary:
        encoder.save_pretrained(temporary)
        extractor.save_pretrained(temporary)
        write_model_card(
            temporary,
            card_template,
            teacher=encoder.config.teacher_id,
            parameters=f"{sum(p.numel() for p in encoder.parameters()) / 1e6:.1f}M",
            num_points=extractor.num_points,
            num_patches=encoder.config.num_patches,
            hardware=_hardware(encoder.device),
            software=f"torch {torch.__version__}, transformers {transformers.__version__}, accelerate "
            f"{accelerate.__version__}, Python {platform.python_version()}",
            **facts,
        )


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores)"
