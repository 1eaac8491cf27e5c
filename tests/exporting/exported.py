"""Tiny encoders, exported once for all tests that look at the files."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.tiny_encoders import tiny_encoder

from mrd_hf import PointCloudFeatureExtractor


LABELS = ["chair", "mug", "lamp"]


def save_encoder(folder: Path, kind: str = "openshape", **changes: object) -> Path:
    """An encoder with its extractor, in a folder."""
    tiny_encoder(kind, **changes).save_pretrained(folder)
    PointCloudFeatureExtractor(num_points=128, encoder_up_axis="z").save_pretrained(folder)
    return folder


def save_class_texts(file: Path, width: int = 20) -> np.ndarray:
    """Labels and embeddings that are not normalised; returns them normalised."""
    embeds = np.random.default_rng(0).standard_normal((len(LABELS), width)).astype(np.float32)
    pq.write_table(pa.table({"label": LABELS, "text_embed": list(3 * embeds)}), file)
    return embeds / np.linalg.norm(embeds, axis=1, keepdims=True)
