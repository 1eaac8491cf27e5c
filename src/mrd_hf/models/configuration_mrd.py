"""MRD pretraining configuration."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

from .configuration_point_bert import PointBertConfig


@strict
class MRDConfig(PreTrainedConfig):
    r"""
    Configuration of [`MRDForPretraining`]: the encoder (and with it the teacher whose
    space it lives in) and the objective.

    Args:
        point_config (`PointBertConfig` or `dict`, *optional*): The encoder's configuration.
        logit_scale_init_value (`float`, defaults to 2.6592):
            Logarithm of the initial scale of the alignment's logits, ln(1 / 0.07).
        mask_duplicates (`bool`, defaults to `True`):
            Whether pairs in a batch whose teacher embeddings coincide (the same text, the same image) are left out
            of the alignment's negatives.
        relation_weight (`float`, defaults to 0.3): Weight of the relation loss beside the alignment loss. With 0
            the objective is the contrastive loss alone.
        teacher_temperature (`float`, defaults to 0.07): Temperature of the teacher's relations. Never trained.
        student_temperature (`float`, defaults to 0.07): Temperature of the 3D relations.
        mask_self_pairs (`bool`, defaults to `True`):
            Whether a sample's relation to itself is left out of the relations within one modality.
        weight_entropy (`float`, defaults to 1.0):
            Strength of the entropy term that keeps the relation weights from settling on the easiest relation.

    Example:

    ```python
    >>> from mrd_hf import MRDConfig, MRDForPretraining

    >>> model = MRDForPretraining(MRDConfig(point_config={"projection_dim": 512}))
    ```
    """

    model_type = "mrd"
    sub_configs = {"point_config": PointBertConfig}

    point_config: dict | PointBertConfig | None = None
    logit_scale_init_value: float | int = 2.6592
    mask_duplicates: bool = True
    relation_weight: float | int = 0.3
    teacher_temperature: float | int = 0.07
    student_temperature: float | int = 0.07
    mask_self_pairs: bool = True
    weight_entropy: float | int = 1.0

    def __post_init__(self, **kwargs: Any) -> None:
        if not isinstance(self.point_config, PointBertConfig):
            self.point_config = PointBertConfig(**(self.point_config or {}))
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Part of `@strict` validation: fields that must fit together."""
        for name in ("teacher_temperature", "student_temperature", "weight_entropy"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        if self.relation_weight < 0:
            raise ValueError(f"relation_weight must not be negative, got {self.relation_weight}.")


__all__ = ["MRDConfig"]
