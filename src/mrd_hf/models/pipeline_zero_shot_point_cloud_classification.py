"""The pipeline `zero-shot-point-cloud-classification`: shapes into scores for labels in words."""

import operator
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .label_ranking import DEFAULT_TEMPLATE, rank_labels
from .pipeline_point_cloud_with_texts import PointCloudWithTextsPipeline, normalized_embeds
from .text_tower import check_templates


# Labels whose embeddings are kept between calls; 1,280 wide they take 100 MB.
KEPT_LABELS = 20_000


class ZeroShotPointCloudClassificationPipeline(PointCloudWithTextsPipeline):
    """Classifies shapes by the cosine of their embedding to that of each label's text.

    A label's score is the softmax, over the labels, of the encoder's `logit_scale` times that cosine.

    Arguments as for [`PointCloudWithTextsPipeline`].

    Example:

    ```python
    >>> import mrd_hf
    >>> from transformers import pipeline

    >>> classify = pipeline("zero-shot-point-cloud-classification", model="org/mrd-pointbert")
    >>> classify("chair.glb", candidate_labels=["armchair", "mug", "floor lamp"], top_k=2)
    ```
    """

    embeds_parameter = "class_embeds"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # By label and templates, the latest used last.
        self._label_embeds: OrderedDict[tuple[str, tuple[str, ...]], torch.Tensor] = OrderedDict()
        self._latest: tuple[tuple[str, ...], tuple[str, ...], torch.Tensor] | None = None
        super().__init__(*args, **kwargs)

    def __call__(self, inputs: Any, candidate_labels: Sequence[str] | None = None, **kwargs: Any) -> Any:
        """Classify shapes.

        Args:
            inputs (a shape, or several):
                See [`PointCloudPipeline`].
            candidate_labels (sequence of `str`):
                What they may be, in any number and language that the text tower knows.
            hypothesis_template (`str` or a sequence of them, defaults to `"a point cloud model of {}."`):
                What is said of a shape with a label, which takes the place of `{}`. Of several, the embeddings are
                averaged.
            class_embeds (array or tensor of shape `(num_labels, embedding_dim)`, *optional*):
                Embeddings of the labels, in their order, instead of texts; no text tower is needed.
            top_k (`int`, *optional*):
                How many labels to return, the highest; default: all.
            up_axis (`"y"` or `"z"`, *optional*):
                Which axis points up in what is given; default: as its file says, else as the feature extractor has it.
            batch_size (`int`, defaults to 1):
                How many shapes the model sees at a time.
            timeout (`float`, *optional*, defaults to 60):
                Seconds that a shape given as a URL may take.
            allow_http (`bool`, defaults to `False`):
                Whether URLs may be plain http.

        Returns:
            For one shape a list of `{"label": str, "score": float}`, highest first (in the order of the labels where
            equal); for several a list of such lists, and an iterator over them where `inputs` is a dataset or is not
            of known length.

        Raises:
            ValueError: when labels, templates or embeddings are missing or do not fit, the teacher cannot be loaded,
                or a shape cannot be read; the message says which.
            FileNotFoundError: when there is no such file.
        """
        if candidate_labels is not None:
            kwargs["candidate_labels"] = candidate_labels
        elif "candidate_labels" not in self._postprocess_params:
            raise ValueError("give candidate_labels, a list such as ['chair', 'mug'].")
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, **parameters: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess = self._preprocess_parameters(parameters)
        postprocess: dict[str, Any] = {}
        if "candidate_labels" in parameters:
            postprocess["candidate_labels"] = _checked_labels(parameters.pop("candidate_labels"))
        if (template := parameters.pop("hypothesis_template", None)) is not None:
            postprocess["templates"] = (template,) if isinstance(template, str) else tuple(template)
            check_templates(postprocess["templates"])
        if (class_embeds := parameters.pop("class_embeds", None)) is not None:
            postprocess["class_embeds"] = normalized_embeds(
                class_embeds, self.encoder_config.embedding_dim, "class_embeds"
            )
        if (top_k := parameters.pop("top_k", None)) is not None:
            if operator.index(top_k) < 1:
                raise ValueError(f"top_k must be at least 1, got {top_k}.")
            postprocess["top_k"] = top_k
        if parameters:
            raise TypeError(f"{type(self).__name__} has no parameter {', '.join(sorted(parameters))}.")
        return preprocess, {}, postprocess

    def postprocess(
        self,
        model_outputs: dict[str, torch.Tensor],
        candidate_labels: tuple[str, ...],
        templates: tuple[str, ...] = (DEFAULT_TEMPLATE,),
        class_embeds: torch.Tensor | None = None,
        top_k: int | None = None,
    ) -> list[dict[str, str | float]]:
        if class_embeds is None:
            class_embeds = self._embed_labels(candidate_labels, templates)
        elif len(class_embeds) != len(candidate_labels):
            raise ValueError(
                f"class_embeds has {len(class_embeds)} rows and there are {len(candidate_labels)} candidate_labels; "
                "give one row for each."
            )
        embed, scale = model_outputs["point_embeds"][0], self.encoder_config.logit_scale
        return rank_labels(embed.cpu().numpy(), candidate_labels, class_embeds.numpy(), scale, top_k)

    def _embed_labels(self, labels: tuple[str, ...], templates: tuple[str, ...]) -> torch.Tensor:
        """Normalised embeddings, `(len(labels), embedding_dim)`, of which only those not yet known are computed."""
        if self._latest is not None and self._latest[:2] == (labels, templates):
            return self._latest[2]
        kept = self._label_embeds
        known = {label: kept[label, templates] for label in labels if (label, templates) in kept}
        new = [label for label in dict.fromkeys(labels) if label not in known]
        if new:
            known |= zip(new, self.text_tower.embed_classes(new, templates).cpu(), strict=True)
        for label, embed in known.items():
            kept[label, templates] = embed
            kept.move_to_end((label, templates))
        while len(kept) > KEPT_LABELS:
            kept.popitem(last=False)
        embeds = torch.stack([known[label] for label in labels])
        self._latest = (labels, templates, embeds)
        return embeds


def _checked_labels(labels: Any) -> tuple[str, ...]:
    if not isinstance(labels, (Sequence, np.ndarray)) or isinstance(labels, (str, bytes)):
        raise ValueError(f"candidate_labels must be a list of strings, got {labels!r}.")
    if len(labels) == 0:
        raise ValueError("candidate_labels is empty; give at least one label.")
    for i, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip():
            raise ValueError(f"candidate_labels[{i}] must be a string that is not blank, got {label!r}.")
    return tuple(labels)


__all__ = ["ZeroShotPointCloudClassificationPipeline"]
