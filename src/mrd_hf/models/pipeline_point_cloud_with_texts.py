"""What the pipelines share that compare shapes with texts: the text tower, loaded when it is first needed."""

import os
from typing import Any

import numpy as np
import torch

from .model_sources import text_tower_of
from .pipeline_point_cloud import PointCloudPipeline
from .text_tower import TextTower


class PointCloudWithTextsPipeline(PointCloudPipeline):
    """Embeds shapes, and has what embeds texts into the same space.

    Args:
        text_tower ([`TextTower`], `str` or `Path`, *optional*):
            What embeds texts: one that is loaded, or what [`TextTower.from_pretrained`] takes. Default: the text
            tower that the encoder's configuration names, or else its teacher. It is loaded once, when first needed, on
            the pipeline's device in its dtype.
    """

    # What a call takes in the place of texts.
    embeds_parameter: str

    def __init__(self, *args: Any, text_tower: TextTower | str | os.PathLike | None = None, **kwargs: Any) -> None:
        self._text_tower = text_tower
        super().__init__(*args, **kwargs)
        if text_tower is not None and not isinstance(text_tower, (str, os.PathLike)):
            check_width(text_tower.embedding_dim, self.encoder_config.embedding_dim, "the text tower")

    @property
    def text_tower(self) -> TextTower:
        """What embeds texts, loaded if it is not yet.

        Raises:
            ValueError: If the encoder names no teacher, it cannot be loaded, or its embeddings are of another width.
        """
        remedy = f"give pipeline(..., text_tower=) a folder or Hub id, or {self.embeds_parameter}="
        if self._text_tower is None or isinstance(self._text_tower, (str, os.PathLike)):
            config = self.encoder_config
            name, revision = self._text_tower, None
            if name is None:
                name, revision = text_tower_of(config)
            if name is None:
                raise ValueError(f"the encoder's configuration has no teacher_id to embed texts by: {remedy}.")
            try:
                tower = TextTower.from_pretrained(os.fspath(name), revision, device=self.device, dtype=self.dtype)
            except ValueError as error:
                raise ValueError(f"{error} To compare its shapes with texts, {remedy}.") from error
            check_width(tower.embedding_dim, config.embedding_dim, f"the text tower '{name}'")
            self._text_tower = tower
        return self._text_tower


def check_width(found: int, expected: int, name: str) -> None:
    """Raise a `ValueError` for embeddings of another width than the encoder's."""
    if found != expected:
        raise ValueError(
            f"the embeddings of {name} are {found} wide and the encoder's {expected}; both must be of one teacher."
        )


def normalized_embeds(embeds: Any, embedding_dim: int, name: str) -> torch.Tensor:
    """Embeddings that a call gives in the place of texts, normalised, in float32 on the CPU.

    Raises:
        ValueError: They are of another shape or width, or one is zero or not finite.
    """
    embeds = embeds if isinstance(embeds, torch.Tensor) else torch.as_tensor(np.asarray(embeds))
    embeds = embeds.detach().float().cpu()
    if embeds.ndim != 2:
        raise ValueError(f"{name} must have shape (number of texts, {embedding_dim}), got {tuple(embeds.shape)}.")
    check_width(embeds.shape[1], embedding_dim, name)
    norms = embeds.norm(dim=1, keepdim=True)
    if not (norms.isfinite() & (norms > 0)).all():
        row = int((~(norms.isfinite() & (norms > 0))).nonzero()[0, 0])
        raise ValueError(f"{name}[{row}] is zero or not finite.")
    return embeds / norms


__all__ = ["PointCloudWithTextsPipeline", "check_width", "normalized_embeds"]
