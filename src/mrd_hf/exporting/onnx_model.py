"""An exported encoder in the place of a model, for transformers' pipelines."""

import os
from dataclasses import asdict

import numpy as np
import torch
from torch import nn

from ..models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from .onnx_encoder import OnnxEncoder, open_onnx_encoder


class OnnxModel(nn.Module):
    """Embeds point clouds by onnxruntime; `extractor` is the feature extractor that it needs.

    Args:
        encoder (`str`, `Path` or [`OnnxEncoder`]): An `encoder.onnx` of `mrd-hf export`.

    Example:

    ```python
    >>> from transformers import pipeline
    >>> from mrd_hf.exporting.onnx_model import OnnxModel

    >>> model = OnnxModel("outputs/demo/onnx/encoder.onnx")
    >>> embed = pipeline("point-cloud-feature-extraction", model=model, feature_extractor=model.extractor)
    ```
    """

    input_modalities = ("point_cloud",)

    def __init__(self, encoder: str | os.PathLike | OnnxEncoder) -> None:
        super().__init__()
        self.encoder = encoder if isinstance(encoder, OnnxEncoder) else open_onnx_encoder(encoder)
        self.config = self.encoder.config
        self.extractor = PointCloudFeatureExtractor(**asdict(self.encoder.extractor))
        # Its device and dtype are those of what goes in and comes out.
        self.no_weights = nn.Parameter(torch.empty(0), requires_grad=False)

    @property
    def device(self) -> torch.device:
        return self.no_weights.device

    @property
    def dtype(self) -> torch.dtype:
        return self.no_weights.dtype

    def can_generate(self) -> bool:
        return False

    def get_point_features(self, point_values: torch.Tensor) -> torch.Tensor:
        """Embeddings of `point_values` `(batch, num_points, 6)`, not normalised: `(batch, embedding_dim)`."""
        values = point_values.detach().cpu().numpy().astype(np.float32, copy=False)
        return torch.from_numpy(self.encoder.embed(values)).to(point_values.device)
