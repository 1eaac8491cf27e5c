"""One processor for shapes, texts and images: the encoder's feature extractor and the teacher's own processor."""

from typing import Any, Literal, Self

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoProcessor,
    BatchFeature,
    FeatureExtractionMixin,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.image_processing_base import ImageProcessingMixin

from .model_sources import find_model
from .text_tower import leaves_capitals, tells_no_words_apart, text_limits


class MRDProcessor(ProcessorMixin):
    r"""
    Makes the inputs of the encoder (`point_values`) and of its teacher (`input_ids`, `attention_mask`, `pixel_values`
    and whatever else the teacher takes). Build it with [`MRDProcessor.from_teacher`], or load a saved one.

    Args:
        feature_extractor ([`PointCloudFeatureExtractor`]): For shapes.
        tokenizer (`PreTrainedTokenizerBase`): The teacher's.
        image_processor (`ImageProcessingMixin`): The teacher's.
        text_padding (`"longest"` or `"max_length"`, defaults to `"longest"`):
            How far texts are padded. SigLIP's kind cannot tell padding from text and needs one length for all.
        max_text_length (`int`, *optional*):
            How many tokens the teacher takes; longer texts are cut. None: as the tokenizer has it.

    Example:

    ```python
    >>> from mrd_hf import MRDProcessor, PointCloudFeatureExtractor

    >>> processor = MRDProcessor.from_teacher(PointCloudFeatureExtractor(), "openai/clip-vit-base-patch32")
    >>> inputs = processor(points="chair.glb", text=["an armchair", "a mug"])
    ```
    """

    def __init__(
        self,
        feature_extractor: FeatureExtractionMixin,
        tokenizer: PreTrainedTokenizerBase,
        image_processor: ImageProcessingMixin,
        text_padding: Literal["longest", "max_length"] = "longest",
        max_text_length: int | None = None,
    ) -> None:
        super().__init__(feature_extractor, tokenizer, image_processor)
        if text_padding not in ("longest", "max_length"):
            raise ValueError(f"text_padding must be 'longest' or 'max_length', got {text_padding!r}.")
        self.text_padding = text_padding
        self.max_text_length = max_text_length

    @classmethod
    def from_teacher(
        cls, feature_extractor: FeatureExtractionMixin, name_or_path: str, revision: str | None = None
    ) -> Self:
        """Join a feature extractor and a teacher's processor; the teacher's weights are not read.

        Args:
            feature_extractor ([`PointCloudFeatureExtractor`]): The encoder's.
            name_or_path (`str`): The teacher, as for [`TextTower.from_pretrained`].
            revision (`str`, *optional*): Branch, tag or commit on the Hub.

        Raises:
            ValueError: If there is no such teacher, its package is not installed, or it lacks its tokenizer or its
                image processor.
        """
        name = str(name_or_path)
        source = find_model(name, revision)
        try:
            # The PIL backend always, as for training: that of torchvision resizes differently.
            processor = AutoProcessor.from_pretrained(source.path, backend="pil", **source.arguments)
            config = AutoConfig.from_pretrained(source.path, **source.arguments)
        except (OSError, ValueError, ImportError) as error:
            problem = source.problem(error) if source.not_asked is not None else str(error)
            raise ValueError(f"teacher '{name}': its processor or configuration does not load. {problem}") from error
        if not isinstance(processor, ProcessorMixin) or tells_no_words_apart(processor.tokenizer):
            raise ValueError(f"teacher '{name}' lacks its image processor or its tokenizer's vocabulary.")
        with torch.device("meta"):
            max_text_length, text_padding = text_limits(AutoModel.from_config(config), processor.tokenizer)
        return cls(
            feature_extractor,
            processor.tokenizer,
            processor.image_processor,
            text_padding=text_padding,
            max_text_length=max_text_length,
        )

    def __call__(
        self,
        points: Any = None,
        text: str | list[str] | None = None,
        images: Any = None,
        colors: Any = None,
        up_axis: Literal["y", "z"] | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """
        Args:
            points, colors, up_axis: As for [`PointCloudFeatureExtractor`], a shape or a sequence of them.
            text (`str` or `list[str]`, *optional*): As they are; prompt templates are the caller's.
            images (an image or a list of them, *optional*):
                Whatever the teacher's image processor takes. Transparency of Pillow's shows white.
            return_tensors (`str`, defaults to `"pt"`): `"pt"` or `"np"`.

        Returns:
            `BatchFeature` with `point_values`, and the teacher's inputs, of what was given.

        Raises:
            ValueError: when nothing is given, or a shape cannot be read.
        """
        if points is None and text is None and images is None:
            raise ValueError("give points, text or images.")
        inputs: dict[str, Any] = {}
        if points is not None:
            inputs |= self.feature_extractor(points, colors, up_axis=up_axis, return_tensors=return_tensors)
        if text is not None:
            max_length = self.tokenizer.model_max_length if self.max_text_length is None else self.max_text_length
            texts = [text] if isinstance(text, str) else list(text)
            if self.text_padding == "max_length" and leaves_capitals(self.tokenizer):
                texts = [text.lower() for text in texts]
            inputs |= self.tokenizer(
                texts,
                padding=self.text_padding,
                truncation=True,
                max_length=max_length,
                return_tensors=return_tensors,
            )
        if images is not None:
            inputs |= self.image_processor(_on_white(images), return_tensors=return_tensors)
        return BatchFeature(inputs)


def _on_white(images: Any) -> Any:
    """Images of Pillow's as the teacher has seen them in training; others as they are."""
    if isinstance(images, (list, tuple)):
        return [_on_white(image) for image in images]
    try:
        from PIL import Image
    except ImportError:
        return images
    from .image_flattening import flatten_onto_white

    return flatten_onto_white(images) if isinstance(images, Image.Image) else images


__all__ = ["MRDProcessor"]
