"""An encoder that knows a little, made in seconds: random layers, and a projection fitted by least squares."""

from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from mrd_hf import PointBertConfig, PointBertModel, PointCloudFeatureExtractor


NUM_POINTS = 512
LAYERS = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_patches": 16,
    "patch_radius": 0.4,
    "patch_size": 32,
    "patch_feature_size": 96,
    "projection_dim": 384,
}
RIDGE = 1e-3


def save_fitted_encoder(folder: Path, shapes: Dataset, teacher: str, text_tower: str) -> None:
    """Save an encoder whose embeddings are near the texts of these shapes.

    Args:
        folder (`Path`)
        shapes (`datasets.Dataset`): With `points`, `colors` and `text_embeds`, of width 384.
        teacher (`str`): The id to record.
        text_tower (`str`): That of what embeds texts.
    """
    torch.manual_seed(0)
    model = PointBertModel(
        PointBertConfig(**LAYERS, teacher_id=teacher, text_tower_id=text_tower, logit_scale=20.0)
    ).eval()
    extractor = PointCloudFeatureExtractor(num_points=NUM_POINTS)
    rows = shapes.select_columns(["points", "colors", "text_embeds"]).with_format("numpy")
    pooled, texts = [], []
    with torch.inference_mode():
        for batch in rows.iter(64):
            values = extractor(list(batch["points"]), list(batch["colors"]))["point_values"]
            pooled.append(model(values).pooler_output)
            texts += [embeds.astype(np.float32).mean(axis=0) for embeds in batch["text_embeds"]]
        inputs, targets = torch.cat(pooled).double(), torch.from_numpy(np.stack(texts)).double()
        mean, target_mean = inputs.mean(dim=0), targets.mean(dim=0)
        centered = inputs - mean
        gram = centered.T @ centered
        gram.diagonal().add_(RIDGE * gram.trace() / len(gram))
        weight = torch.linalg.solve(gram, centered.T @ (targets - target_mean)).T
        model.projection.weight.copy_(weight)
        model.projection.bias.copy_(target_mean - weight @ mean)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
