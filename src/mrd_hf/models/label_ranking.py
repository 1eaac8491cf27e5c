"""What a shape may be among labels, from its embedding and theirs; by numpy alone."""

from collections.abc import Sequence
from typing import Literal

import numpy as np


DEFAULT_TEMPLATE = "a point cloud model of {}."
# CLIP's, for encoders that say nothing of their own.
DEFAULT_LOGIT_SCALE = 100.0
# So long at least is an embedding that is divided by its length, as in torch's `normalize`.
LEAST_NORM = 1e-12


def rank_labels(
    point_embed: np.ndarray,
    labels: Sequence[str],
    class_embeds: np.ndarray,
    logit_scale: float | None,
    top_k: int | None = None,
    scores: Literal["probability", "cosine"] = "probability",
) -> list[dict[str, str | float]]:
    """What a shape may be, the likeliest label first; in the order of the labels where equal.

    Args:
        point_embed (`np.ndarray` of shape `(embedding_dim,)`): The shape's embedding, float32.
        labels (sequence of `str`)
        class_embeds (`np.ndarray` of shape `(num_labels, embedding_dim)`): Of the labels, L2-normalised float32.
        logit_scale (`float`, *optional*): The encoder's scale of cosines; default: CLIP's.
        top_k (`int`, *optional*): How many labels to return; default: all.
        scores (`"probability"` or `"cosine"`):
            Shares that add up to 1 over all labels, or the cosines themselves, which do not depend on other labels.

    Returns:
        `list` of `{"label": str, "score": float}`.
    """
    # Not by @: BLAS adds up the rows in different orders, so that equal labels would differ in the last bit.
    cosines = np.einsum("ld,d->l", class_embeds, point_embed / max(float(np.linalg.norm(point_embed)), LEAST_NORM))
    order = np.argsort(-cosines, kind="stable")
    values = cosines.astype(np.float64)
    if scores == "probability":
        logits = (DEFAULT_LOGIT_SCALE if logit_scale is None else logit_scale) * values
        weights = np.exp(logits - logits.max())
        values = weights / weights.sum()
    return [{"label": labels[i], "score": float(values[i])} for i in order[:top_k].tolist()]
