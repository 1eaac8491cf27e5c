"""The scores of a model while it is trained."""

import torch
from datasets import Dataset

from ..encoder import config_sha256, weights_sha256
from ..models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from ..models.modeling_mrd import MRDForPretraining
from .encoding import encode_dataset
from .held_out import HeldOutSet, evaluate_held_out
from .report import EvaluationReport, Score, as_metrics


class HeldOutEvaluation:
    """Scores a model on held-out shapes, as `mrd-hf evaluate` does, and keeps the last embeddings and scores."""

    def __init__(
        self, dataset: Dataset, held_out: HeldOutSet, extractor: PointCloudFeatureExtractor, seed: int
    ) -> None:
        self.dataset = dataset
        self.held_out = held_out
        self.extractor = extractor
        self.seed = seed
        self.embeds: torch.Tensor | None = None
        self.scores: list[Score] = []

    def __call__(self, model: MRDForPretraining) -> dict[str, float]:
        self.embeds = encode_dataset(model.encoder, self.extractor, self.dataset)
        self.scores = evaluate_held_out(self.embeds, self.held_out, self.seed)
        return as_metrics(self.scores)

    def report(self, model: MRDForPretraining, name: str, benchmark: str, split: str) -> EvaluationReport:
        """The last evaluation's, which was of `model`."""
        return EvaluationReport(
            model=name,
            model_sha256=weights_sha256(model.encoder),
            config_sha256=config_sha256(model.encoder.config),
            benchmark=benchmark,
            split=split,
            ids=self.held_out.ids,
            labels=self.held_out.labels,
            num_classes=len(self.held_out.class_names),
            teacher=model.encoder.config.teacher_id,
            templates=None,
            seed=self.seed,
            scores=self.scores,
        )
