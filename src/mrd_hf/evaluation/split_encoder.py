"""Encodes splits once: their embeddings are kept beside the report."""

import time
from pathlib import Path

import numpy as np
import torch
from transformers import FeatureExtractionMixin, PreTrainedModel

from ..encoder import config_sha256
from .embedding_cache import cached_embeds
from .encoding import CloudReader, encode_clouds
from .scored_shapes import Shapes


class SplitEncoder:
    """An encoder that keeps what it made in a folder, and knows it again by weights, data and settings.

    Args:
        model (`PreTrainedModel`), extractor (`FeatureExtractionMixin`): The encoder.
        sha256 (`str`): Hash of its weights, see [`~mrd_hf.encoder.weights_sha256`].
        folder (`Path`): Where embeddings are kept.
        batch_size (`int`): Shapes to encode at once.

    Attributes:
        config_sha256 (`str`): Hash of its configuration, see [`~mrd_hf.encoder.config_sha256`].
        seconds (`float`): How long it has encoded.
    """

    def __init__(
        self, model: PreTrainedModel, extractor: FeatureExtractionMixin, sha256: str, folder: Path, batch_size: int
    ) -> None:
        self.model = model
        self.extractor = extractor
        self.sha256 = sha256
        self.config_sha256 = config_sha256(model.config)
        self.folder = folder
        self.batch_size = batch_size
        self.seconds = 0.0

    def __call__(self, shapes: Shapes, corruption: str = "none", read: CloudReader | None = None) -> np.ndarray:
        """Embeddings of a split's shapes, `(num_shapes, embedding_dim)`; of every process.

        Args:
            shapes ([`Shapes`])
            corruption (`str`, defaults to `"none"`), read (`CloudReader`, *optional*): How they are corrupted, and
                what reads them so.
        """
        title = f"Encoding {shapes.name} ({shapes.split})" + (f", {corruption}" if read is not None else "")
        ids = shapes.held_out.ids
        facts = {
            "weights": self.sha256,
            "config": self.config_sha256,
            "extractor": self.extractor.to_json_string(),
            "data": f"{shapes.fingerprint}, {shapes.name}, {shapes.split}, {len(ids)} shapes, {shapes.up_axis} up",
            "corruption": corruption,
        }
        if self.model.device.type != "cpu":  # whose last digits are others
            facts["device"] = self.model.device.type

        def compute() -> torch.Tensor:
            started = time.perf_counter()
            embeds = encode_clouds(
                self.model, self.extractor, read or shapes.read, len(ids), shapes.up_axis, self.batch_size, title
            )
            self.seconds += time.perf_counter() - started
            return embeds

        return cached_embeds(self.folder, facts, len(ids), compute).numpy()
