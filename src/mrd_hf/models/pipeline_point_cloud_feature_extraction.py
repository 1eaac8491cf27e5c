"""The pipeline `point-cloud-feature-extraction`: shapes into embeddings."""

from typing import Any

import torch

from .pipeline_point_cloud import PointCloudPipeline


class PointCloudFeatureExtractionPipeline(PointCloudPipeline):
    """Embeddings of shapes in the teacher's space.

    Example:

    ```python
    >>> import mrd_hf
    >>> from transformers import pipeline

    >>> embed = pipeline("point-cloud-feature-extraction", model="outputs/demo/encoder")
    >>> embedding = embed("chair.glb", normalize=True)
    ```
    """

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Embed shapes.

        Args:
            inputs (a shape, or several):
                See [`PointCloudPipeline`].
            normalize (`bool`, defaults to `False`):
                Whether embeddings are scaled to length 1.
            up_axis (`"y"` or `"z"`, *optional*):
                Which axis points up in what is given; default: as its file says, else as the feature extractor has it.
            return_tensors (`bool`, defaults to `False`):
                Whether to return tensors instead of lists of numbers.
            batch_size (`int`, defaults to 1):
                How many shapes the model sees at a time.
            timeout (`float`, *optional*, defaults to 60):
                Seconds that a shape given as a URL may take.
            allow_http (`bool`, defaults to `False`):
                Whether URLs may be plain http.

        Returns:
            For one shape a list of floats, or a float32 tensor of shape `(embedding_dim,)`; for several a list of
            them, and an iterator over them where `inputs` is a dataset or is not of known length.

        Raises:
            ValueError: when a shape cannot be read; the message names it by its position, file or URL.
            FileNotFoundError: when there is no such file.
        """
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, **parameters: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess = self._preprocess_parameters(parameters)
        unknown = sorted(set(parameters) - {"normalize", "return_tensors"})
        if unknown:
            raise TypeError(f"{type(self).__name__} has no parameter {', '.join(unknown)}.")
        return preprocess, {}, parameters

    def postprocess(
        self, model_outputs: dict[str, torch.Tensor], normalize: bool = False, return_tensors: bool = False
    ) -> torch.Tensor | list[float]:
        embed = model_outputs["point_embeds"][0]
        embed = torch.nn.functional.normalize(embed, dim=-1) if normalize else embed
        return embed if return_tensors else embed.tolist()


__all__ = ["PointCloudFeatureExtractionPipeline"]
