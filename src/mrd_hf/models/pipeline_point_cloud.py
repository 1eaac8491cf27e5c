"""What the pipelines for point clouds share: shapes of any kind in, embeddings out."""

import os
import sys
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedConfig
from transformers.pipelines import Pipeline

from .shape_downloads import downloaded_shape, is_url
from .shape_limits import DEFAULT_TIMEOUT


# Networks that were fine-tuned on classes or parts: saved without a projection into their teacher's space.
FINETUNED = ("PointBertForShapeClassification", "PointBertForPartSegmentation")


class PointCloudPipeline(Pipeline):
    """Reads shapes and embeds them; what becomes of an embedding is its children's.

    A shape is anything that [`PointCloudFeatureExtractor`] takes (a path, an array, a tensor, an object of trimesh's),
    the URL of such a file, or a dict (a row of a dataset) with `points` and possibly `colors`. Several come as a list,
    an array with a further dimension, a datasets column, a dataset of dicts, a `KeyDataset`, or anything to iterate.
    """

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = True
    _load_tokenizer = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.feature_extractor is None:
            raise ValueError("give feature_extractor=PointCloudFeatureExtractor(...) with a model that is an object.")
        if not hasattr(self.model, "get_point_features"):
            raise ValueError(
                f"{type(self.model).__name__} does not embed point clouds; give an encoder, as AutoModel loads it."
            )
        finetuned = [name for name in getattr(self.model.config, "architectures", None) or () if name in FINETUNED]
        # A projection that its folder lacks, which transformers has drawn at random.
        if finetuned and getattr(self.model, "projection", None) is not None:
            raise ValueError(
                f"the model was saved as {finetuned[0]}, which was fine-tuned and has no projection into its "
                "teacher's space; give the encoder that it was made of, or load it by that class."
            )
        self.model.eval()

    @property
    def encoder_config(self) -> PreTrainedConfig:
        """The encoder's own configuration, of a model in pretraining as well."""
        return self.model.config.point_config if self.model.config.model_type == "mrd" else self.model.config

    @property
    def dtype(self) -> torch.dtype:
        """The encoder's precision: the lowest of its weights, as some are in float32 in any case."""
        floats = (parameter.dtype for parameter in self.model.parameters() if parameter.dtype.is_floating_point)
        return min(floats, key=lambda dtype: dtype.itemsize)

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Run on one shape, or on several: see the children."""
        if _is_shape(inputs):
            return super().__call__(inputs, **kwargs)
        if isinstance(inputs, (np.ndarray, torch.Tensor, Sequence)):
            return list(super().__call__(_Shapes(inputs), **kwargs))
        if isinstance(inputs, Sized) and isinstance(inputs, (Dataset, Iterable)):
            return super().__call__(_Shapes(inputs), **kwargs)
        if isinstance(inputs, Iterable):
            return super().__call__((_Numbered(i, shape) for i, shape in enumerate(inputs)), **kwargs)
        raise ValueError(f"a shape must be a path, a URL, an array or an object of trimesh's, got {type(inputs)}.")

    def _preprocess_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Take those of [`preprocess`] out of a call's; `up_axis=None` means what files say, like none."""
        return {name: parameters.pop(name) for name in ("up_axis", "timeout", "allow_http") if name in parameters}

    def preprocess(
        self,
        input_: Any,
        up_axis: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        allow_http: bool = False,
    ) -> dict[str, torch.Tensor]:
        shape, name = (input_.shape, f"shapes[{input_.index}]") if isinstance(input_, _Numbered) else (input_, "shape")
        colors = None
        if isinstance(shape, dict):
            if "points" not in shape:
                raise ValueError(f"{name} is a dict without 'points' (it has {', '.join(map(str, shape))}).")
            shape, colors = shape["points"], shape.get("colors")
        if isinstance(shape, str) and is_url(shape):
            with downloaded_shape(shape, timeout, allow_http) as file:
                return self._extract(str(file), colors, up_axis, str(file), shape)
        return self._extract(shape, colors, up_axis, "points[0]", name)

    def _extract(self, shape: Any, colors: Any, up_axis: str | None, its_name: str, name: str) -> dict[str, Any]:
        """`point_values` of one shape, which messages call `name` instead of `its_name`."""
        try:
            return dict(self.feature_extractor([shape], None if colors is None else [colors], up_axis=up_axis))
        except ValueError as error:
            message = str(error).replace(its_name, name).replace("colors[0]", f"the colors of {name}")
            raise ValueError(message) from error

    def _forward(self, input_tensors: dict[str, torch.Tensor], **forward_parameters: Any) -> dict[str, torch.Tensor]:
        embeds = self.model.get_point_features(**input_tensors).float()
        if not embeds.isfinite().all():
            raise ValueError(f"an embedding is not finite in {self.dtype}; try dtype=torch.float32.")
        return {"point_embeds": embeds}


@dataclass(frozen=True)
class _Numbered:
    """A shape and which of several it is, for messages."""

    index: int
    shape: Any


class _Shapes(Dataset):
    """Several shapes as the base class wants them, so that it neither copies nor looks for chats in them."""

    def __init__(self, shapes: Any) -> None:
        self.shapes = shapes

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> _Numbered:
        return _Numbered(index, self.shapes[index])


def _is_shape(inputs: Any) -> bool:
    """Whether this is one shape rather than several."""
    if isinstance(inputs, (np.ndarray, torch.Tensor)):
        return inputs.ndim <= 2 and inputs.dtype != object
    trimesh = sys.modules.get("trimesh")  # where it was never imported, no object is of its making
    kinds = () if trimesh is None else (trimesh.Trimesh, trimesh.Scene, trimesh.PointCloud)
    return isinstance(inputs, (str, os.PathLike, dict, *kinds))
