"""The pipeline `point-cloud-similarity`: how well shapes fit texts."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import normalize

from .label_ranking import DEFAULT_LOGIT_SCALE
from .pipeline_point_cloud_with_texts import PointCloudWithTextsPipeline, normalized_embeds


class PointCloudSimilarityPipeline(PointCloudWithTextsPipeline):
    """Scores shapes against texts, such as the prompts that they were generated from.

    A score is the cosine of the two embeddings, or, scaled, that times the `logit_scale` of the encoder: what a CLIP
    score is for pictures. Arguments as for [`PointCloudWithTextsPipeline`].

    Example:

    ```python
    >>> import mrd_hf
    >>> from transformers import pipeline

    >>> score = pipeline("point-cloud-similarity", model="outputs/demo/encoder")
    >>> score("chair.glb", texts=["a red armchair", "a mug"])
    ```
    """

    embeds_parameter = "text_embeds"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._latest: tuple[tuple[str, ...], torch.Tensor] | None = None
        super().__init__(*args, **kwargs)

    def __call__(self, inputs: Any, texts: str | Sequence[str] | None = None, **kwargs: Any) -> Any:
        """Score shapes.

        Args:
            inputs (a shape, or several):
                See [`PointCloudPipeline`].
            texts (`str` or sequence of `str`, *optional*):
                What to compare them with, as they are: no template is put around them.
            text_embeds (array or tensor of shape `(num_texts, embedding_dim)`, *optional*):
                Embeddings in the teacher's space, of texts or of pictures, instead; no text tower is needed.
            scaled (`bool`, defaults to `False`):
                Whether cosines are multiplied with the encoder's `logit_scale` (CLIP's 100, where it has none).
            up_axis (`"y"` or `"z"`, *optional*):
                Which axis points up in what is given; default: as its file says, else as the feature extractor has it.
            batch_size (`int`, defaults to 1):
                How many shapes the model sees at a time.
            timeout (`float`, *optional*, defaults to 60):
                Seconds that a shape given as a URL may take.
            allow_http (`bool`, defaults to `False`):
                Whether URLs may be plain http.

        Returns:
            For one shape its scores, a list of floats in the order of the texts (one float for a single `str`); for
            several a list of them, and an iterator over them where `inputs` is a dataset or is not of known length.

        Raises:
            ValueError: when texts or embeddings are missing or do not fit, the teacher cannot be loaded, or a shape
                cannot be read; the message says which.
            FileNotFoundError: when there is no such file.
        """
        given = (texts is not None) + (kwargs.get("text_embeds") is not None)
        if given > 1 or (given == 0 and "embeds" not in self._postprocess_params):
            raise ValueError("give texts, such as ['a red armchair'], or text_embeds, one of the two.")
        if texts is not None:
            kwargs["texts"] = texts
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, **parameters: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess = self._preprocess_parameters(parameters)
        postprocess: dict[str, Any] = {}
        if "scaled" in parameters:
            postprocess["scaled"] = bool(parameters.pop("scaled"))
        if (texts := parameters.pop("texts", None)) is not None:
            postprocess["single"] = isinstance(texts, str)
            postprocess["embeds"] = self._embed_texts((texts,) if isinstance(texts, str) else _checked(texts))
        if (embeds := parameters.pop("text_embeds", None)) is not None:
            postprocess["single"] = False
            postprocess["embeds"] = normalized_embeds(embeds, self.encoder_config.embedding_dim, "text_embeds")
        if parameters:
            raise TypeError(f"{type(self).__name__} has no parameter {', '.join(sorted(parameters))}.")
        return preprocess, {}, postprocess

    def postprocess(
        self, model_outputs: dict[str, torch.Tensor], embeds: torch.Tensor, single: bool = False, scaled: bool = False
    ) -> list[float] | float:
        scores = embeds @ normalize(model_outputs["point_embeds"][0], dim=-1)
        if scaled:
            scale = self.encoder_config.logit_scale
            scores = scores * (DEFAULT_LOGIT_SCALE if scale is None else scale)
        return scores[0].item() if single else scores.tolist()

    def _embed_texts(self, texts: tuple[str, ...]) -> torch.Tensor:
        """Normalised embeddings, `(len(texts), embedding_dim)`; those of the last call are kept."""
        if self._latest is None or self._latest[0] != texts:
            for text in texts:
                if not text.strip():
                    raise ValueError("a text is blank; say what the shape should be.")
            self._latest = texts, self.text_tower.embed(list(texts)).cpu()
        return self._latest[1]


def _checked(texts: Any) -> tuple[str, ...]:
    if not isinstance(texts, Sequence) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"texts must be a text or a list of at least one, got {texts!r:.80}.")
    return tuple(texts)


__all__ = ["PointCloudSimilarityPipeline"]
