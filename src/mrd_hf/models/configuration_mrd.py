"""MRD pretraining configuration."""

import math
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig

from .configuration_point_bert import PointBertConfig
from .configuration_uni3d import Uni3DConfig
from .relation_distillation import MIN_STUDENT_TEMPERATURE, RELATION_TERMS, is_intra


# These need not be registered, so that a folder's own code can make them where this package is not installed.
OWN_ENCODERS: dict[str, type[PreTrainedConfig]] = {kind.model_type: kind for kind in (PointBertConfig, Uni3DConfig)}


@strict
class MRDConfig(PreTrainedConfig):
    r"""
    Configuration of [`MRDForPretraining`]: the encoder (and with it the teacher whose space it lives in) and the
    objective. The formulas are in `relation_distillation.py` and `relation_weighting.py`.

    Args:
        point_config ([`PointEncoderConfig`] or `dict`, *optional*):
            The encoder's configuration. Of a mapping, `model_type` says which one: `"point_bert"`, if it is left out;
            `"uni3d"`; or what another one is registered by with `AutoConfig`.
        loss (`"mrd"` or `"contrastive"`, defaults to `"mrd"`):
            Alignment and relation distillation, or the alignment alone, which is OpenShape's objective.
        logit_scale_init_value (`float`, defaults to 2.6592):
            Logarithm of the initial scale of the alignment's logits, ln(1 / 0.07).
        mask_duplicates (`bool`, defaults to `True`):
            Whether pairs in a batch whose teacher embeddings coincide are left out of the alignment's negatives: those
            with the same image among images, those with the same text among texts.
        relation_weight (`float`, defaults to 0.3): Weight of the relation loss beside the alignment loss.
        relation_form (`str`, defaults to `"normalized_similarity"`):
            What a relation is: a softmax of similarities; `"euclidean"`, of negative distances; `"partial_order"`,
            which of two samples is the more similar.
        relation_divergence (`str`, defaults to `"jeffrey"`):
            How far the student's relation is from the teacher's: also `"kl"`, `"reverse_kl"`, `"js"`.
        relation_terms (list of `str`, defaults to the four without `_transposed`):
            The relations to distill: `"intra_image"`, `"intra_text"`, `"cross_image_text"`, `"cross_text_image"`,
            and the latter two with the shape in the place of the column, `"cross_image_text_transposed"`,
            `"cross_text_image_transposed"`.
        relation_weighting (`str`, defaults to `"softmax"`):
            How the terms are weighted against each other: `"softmax"`; `"intra_cross"`, those within a modality
            against those across two; `"uncertainty"`; `"target"`, all learned; or `"fixed"`.
        fixed_relation_weights (list of `float`, *optional*):
            One weight a term, with `relation_weighting="fixed"`; default: 1 each.
        weight_entropy (`float`, defaults to 1.0):
            Strength of the entropy term that keeps the relation weights from settling on the easiest relation, in
            units of the relation losses, with `"softmax"`, `"intra_cross"` and `"target"`.
        teacher_temperature (`float`, *optional*, defaults to 0.07):
            Temperature of the teacher's relations. Never trained. None: the teacher's own, `1 / teacher_logit_scale`.
        teacher_logit_scale (`float`, *optional*): The scale that the teacher was trained with; 100 for most CLIPs.
        student_temperature (`float`, defaults to 0.07): Temperature of the 3D relations.
        learn_student_temperature (`bool`, defaults to `False`):
            Whether it is learned, from that value on and not below 0.01.
        mask_self_pairs (`bool`, defaults to `True`):
            Whether a sample's relation to itself is left out of the relations within one modality.
        mask_duplicate_relations (`bool`, defaults to `False`):
            Whether the relations of two samples with the same text or the same image are left out.

    Example:

    ```python
    >>> from mrd_hf import MRDConfig, MRDForPretraining

    >>> model = MRDForPretraining(MRDConfig(point_config={"projection_dim": 512}))
    ```
    """

    model_type = "mrd"
    sub_configs = {"point_config": AutoConfig}

    point_config: dict | PreTrainedConfig | None = None
    loss: Literal["mrd", "contrastive"] = "mrd"
    logit_scale_init_value: float | int = 2.6592
    mask_duplicates: bool = True
    relation_weight: float | int = 0.3
    relation_form: Literal["normalized_similarity", "euclidean", "partial_order"] = "normalized_similarity"
    relation_divergence: Literal["jeffrey", "kl", "reverse_kl", "js"] = "jeffrey"
    relation_terms: list[str] | tuple[str, ...] = (
        "intra_image",
        "intra_text",
        "cross_image_text",
        "cross_text_image",
    )
    relation_weighting: Literal["softmax", "intra_cross", "uncertainty", "target", "fixed"] = "softmax"
    fixed_relation_weights: list[float | int] | None = None
    weight_entropy: float | int = 1.0
    teacher_temperature: float | int | None = 0.07
    teacher_logit_scale: float | int | None = None
    student_temperature: float | int = 0.07
    learn_student_temperature: bool = False
    mask_self_pairs: bool = True
    mask_duplicate_relations: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if not isinstance(self.point_config, PreTrainedConfig):
            self.point_config = _encoder_config(self.point_config or {})
        self.relation_terms = list(self.relation_terms)  # as it comes back from a file
        super().__post_init__(**kwargs)

    @property
    def effective_teacher_temperature(self) -> float:
        """`teacher_temperature`, or the teacher's own."""
        if self.teacher_temperature is not None:
            return float(self.teacher_temperature)
        assert self.teacher_logit_scale is not None  # by validation
        return 1 / float(self.teacher_logit_scale)

    def validate_architecture(self) -> None:
        """Part of `@strict` validation: fields that must fit together."""
        for name in ("teacher_temperature", "teacher_logit_scale", "student_temperature", "weight_entropy"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:  # nor is nan
                raise ValueError(f"{name} must be positive, got {value}.")
        if self.teacher_temperature is None and self.teacher_logit_scale is None:
            raise ValueError(
                "teacher_temperature is None, which means the teacher's own: give its teacher_logit_scale, "
                "exp(model.logit_scale) of a CLIP."
            )
        if self.learn_student_temperature and self.student_temperature < MIN_STUDENT_TEMPERATURE:
            raise ValueError(
                f"student_temperature must be at least {MIN_STUDENT_TEMPERATURE} where it is learned, got "
                f"{self.student_temperature}."
            )
        if not 0 < self.relation_weight < math.inf:
            raise ValueError(
                f"relation_weight must be positive, got {self.relation_weight}; for none, set loss='contrastive'."
            )
        self._validate_relation_terms()

    def _validate_relation_terms(self) -> None:
        terms = list(self.relation_terms)
        unknown = [term for term in terms if term not in RELATION_TERMS]
        if unknown or not terms or len(set(terms)) < len(terms):
            raise ValueError(
                f"relation_terms must be some of {', '.join(RELATION_TERMS)}, each once, got {', '.join(terms)}."
            )
        weights = self.fixed_relation_weights
        if weights is not None and (self.relation_weighting != "fixed" or len(weights) != len(terms)):
            raise ValueError(
                f"fixed_relation_weights has {len(weights)} weights; they need relation_weighting='fixed' and one for "
                f"each of the {len(terms)} relation_terms."
            )
        if weights is not None and not (all(0 <= weight < math.inf for weight in weights) and any(weights)):
            raise ValueError(f"fixed_relation_weights must be at least 0 and not all of them 0, got {weights}.")
        if self.relation_weighting == "intra_cross" and len({is_intra(term) for term in terms}) == 1:
            raise ValueError(
                "relation_weighting='intra_cross' weighs relations within a modality against those across two, so "
                "relation_terms needs some of both, such as intra_image and cross_image_text."
            )
        if self.relation_weighting == "target" and len({RELATION_TERMS[t].student for t in terms}) == len(terms):
            raise ValueError(
                "relation_weighting='target' chooses between teachers of one relation of the student's, so "
                "relation_terms needs two that share one, such as intra_image and intra_text."
            )


def _encoder_config(fields: dict[str, Any]) -> PreTrainedConfig:
    kind = fields.get("model_type", PointBertConfig.model_type)
    if kind in OWN_ENCODERS:
        return OWN_ENCODERS[kind](**fields)
    return AutoConfig.for_model(**fields)


__all__ = ["MRDConfig"]
