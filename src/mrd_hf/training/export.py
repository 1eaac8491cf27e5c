"""Writing the trained encoder's folder: what `AutoModel.from_pretrained` loads."""

import os
import platform
from collections import Counter
from pathlib import Path
from typing import Any

import accelerate
import torch
import transformers
from datasets import Dataset
from transformers import ProcessorMixin

from ..encoder import recorded_teacher
from ..files.atomic_folder import atomic_folder
from ..hub.model_card import write_model_card, write_results
from ..models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from ..models.modeling_mrd import MRDForPretraining
from ..models.mrd_objective import MAX_LOGIT_SCALE
from ..models.processing_mrd import MRDProcessor
from ..models.teacher_folder import is_folder_revision
from ..teacher import Teacher


# As cards call them; those of users by their class.
ENCODER_NAMES = {"point_bert": "PointBERT", "uni3d": "Uni3D"}


def export_encoder(
    model: MRDForPretraining,
    extractor: PointCloudFeatureExtractor,
    folder: Path,
    facts: dict[str, Any],
    report: dict[str, Any] | None = None,
    picture: Path | None = None,
    teacher: Teacher | None = None,
) -> None:
    """Write the encoder, its feature extractor or processor, and a model card; the folder is complete or not there.

    Args:
        model ([`MRDForPretraining`]): The trained model, whose scale of cosines the encoder's configuration keeps.
        extractor ([`PointCloudFeatureExtractor`])
        folder (`Path`): Replaced if it exists.
        facts (`dict`): The template's variables, as far as they are not read off the encoder and the machine.
        report (`dict`, *optional*), picture (`Path`, *optional*):
            The evaluation's, see [`mrd_hf.hub.model_card.write_results`].
        teacher ([`Teacher`], *optional*): Whose tokenizer and image processor go with it, if transformers loads them.
    """
    encoder = model.encoder
    encoder.config.logit_scale = model.objective.log_logit_scale.exp().clamp(max=MAX_LOGIT_SCALE).item()
    with atomic_folder(folder) as temporary:
        encoder.save_pretrained(temporary)
        if teacher is not None and isinstance(teacher.processor, ProcessorMixin):
            # A folder that was loaded needs not be told from others once more.
            revision = None if is_folder_revision(teacher.revision) else teacher.revision
            MRDProcessor.from_teacher(extractor, teacher.model_id, revision).save_pretrained(temporary)
        extractor.save_pretrained(temporary)
        write_model_card(
            temporary,
            teacher=recorded_teacher(encoder.config),
            text_tower=encoder.config.text_tower_id,
            parameters=f"{sum(p.numel() for p in encoder.parameters()) / 1e6:.1f}M",
            width=encoder.config.embedding_dim,
            num_points=extractor.num_points,
            kind=ENCODER_NAMES.get(encoder.config.model_type, type(encoder).__name__),
            num_patches=encoder.config.to_dict().get("num_patches"),  # which one of a user's need not have
            hardware=_hardware(encoder.device),
            software=f"torch {torch.__version__}, transformers {transformers.__version__}, accelerate "
            f"{accelerate.__version__}, Python {platform.python_version()}",
            **facts,
        )
        if report is not None:
            write_results(temporary / "README.md", report, picture)


def last_losses(log: list[dict[str, float]]) -> dict[str, str]:
    """The losses of the last step in a training log, and the scales and weights they were taken with, for a card."""
    steps = [line for line in log if "loss" in line]
    shown = ("loss", "alignment_loss", "relation_loss", "relation_weights/", "logit_scale", "temperature")
    return {
        name.replace("_", " ").replace("/", ": "): f"{value:.4g}"
        for name, value in (steps[-1] if steps else {}).items()
        if any(part in name for part in shown)
    }


def count_licenses(shapes: Dataset) -> dict[str, int]:
    """How many of a dataset's shapes have each licence, the most frequent first; empty where it does not say."""
    if "license" not in shapes.column_names:
        return {}
    licenses = shapes.select_columns(["license"])[:]["license"]
    return dict(Counter(license or "unknown" for license in licenses).most_common())


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores)"
