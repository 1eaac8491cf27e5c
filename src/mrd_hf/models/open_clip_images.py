"""A teacher of open_clip's as a whole: open_clip embeds its images, and transformers' CLIP its texts.

Needs open_clip, the extra `open-clip`, which brings torchvision and timm.
"""

from typing import Any

import torch
from transformers import BatchFeature, CLIPModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .model_sources import ModelSource, named_loading_errors
from .open_clip_texts import CONFIG_FILE, load_open_clip_texts, open_clip_file


class OpenClipModel(CLIPModel):
    """A CLIP whose image half is open_clip's; [`load_open_clip`] makes it."""

    def get_image_features(self, pixel_values: torch.Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """Image embeddings, not normalised, as `pooler_output` of shape `(batch, projection_dim)`."""
        return BaseModelOutputWithPooling(pooler_output=self.visual(pixel_values.to(self.dtype)))


class OpenClipImageProcessor:
    """Images into what the image half takes, by open_clip's own transform."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __call__(self, images: list[Any], return_tensors: str = "pt") -> BatchFeature:
        return BatchFeature({"pixel_values": torch.stack([self.transform(image) for image in images])})


def load_open_clip(source: ModelSource, dtype: torch.dtype) -> tuple[OpenClipModel, OpenClipImageProcessor]:
    """A model of open_clip's and what makes its images' inputs.

    Raises:
        ValueError: If open_clip is not installed, or the model cannot be read.
    """
    model = load_open_clip_texts(source, dtype, OpenClipModel)
    try:
        import open_clip
    except (ImportError, RuntimeError) as error:  # the latter of a torchvision that does not fit torch
        raise ValueError(
            f"teacher '{source.reference}': its images are embedded by open_clip, which cannot be imported ({error}); "
            "pip install 'mrd-hf[open-clip]'. Its texts need nothing."
        ) from error
    folder = open_clip_file(source, CONFIG_FILE)
    assert folder is not None  # or its texts would not have been read
    with named_loading_errors(source):
        whole, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder.parent}")
    model.visual = whole.visual.to(dtype)
    return model, OpenClipImageProcessor(transform)


__all__ = ["OpenClipImageProcessor", "OpenClipModel", "load_open_clip"]
