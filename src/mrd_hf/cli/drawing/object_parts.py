"""The parts of a shape's object, as a fine-tuned network says them, in colours."""

from typing import NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import hsv_to_rgb, to_hex
from transformers import AutoConfig

from ...data.class_texts import match_names
from ...encoder import LOADING_ERRORS
from ...errors import UserError
from ...evaluation.plots.point_drawing import MAX_POINTS
from ...models.configuration_point_bert import PointBertConfig
from ...models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from ...models.model_sources import find_model
from ...models.modeling_point_bert_parts import PointBertForPartSegmentation
from ...models.point_sampling import knn_query
from ...models.shape_files import colored_points
from ...models.shapes import ColoredPoints, PointCloud, TexturedMesh, UpAxis


CANNOT_LOAD = "cannot load the network of --part-model"
# One after the other, for objects of more than ten parts.
PALETTES = ("tab10", "tab20b", "tab20c")


class FoundPart(NamedTuple):
    """A part that some of a shape's points belong to.

    Args:
        name (`str`): The network's.
        share (`float`): Of the drawn points.
        color (`str`): As `#1f77b4`.
    """

    name: str
    share: float
    color: str


def find_parts(
    shape: TexturedMesh | PointCloud, model_name: str, object_class: str | None, up_axis: UpAxis | None
) -> tuple[PointCloud, list[FoundPart]]:
    """A shape's points in the colours of their parts, and what the colours say, the largest part first.

    Args:
        shape (`TexturedMesh` or `PointCloud`)
        model_name (`str`): A folder that `mrd-hf finetune` wrote, or an id on the Hub.
        object_class (`str`, *optional*): What the shape is: one of the network's classes of objects.
        up_axis (`"y"` or `"z"`, *optional*): Which axis points up, whatever the shape says.

    Raises:
        UserError: There is no such network, it says no parts, or it does not know the class.
    """
    model, extractor = _load(model_name)
    label = _class_label(model, object_class, model_name)
    up_axis = up_axis or shape.up_axis
    points = colored_points(shape, MAX_POINTS)
    # Colours are shown to networks that learned from shapes with colours only; to others they would be noise.
    known = points if model.config.part_colors else ColoredPoints(points.xyz, None)
    # Both from all the points, so that they are centred and scaled alike.
    (seen,) = _values(extractor, extractor.num_points, known, up_axis)
    (drawn,) = _values(extractor, len(points.xyz), known, up_axis)
    classes = None if label is None else torch.tensor([label])
    with torch.inference_mode():
        logits = model(seen[None], object_classes=classes).logits
        found = model.most_likely_parts(logits, classes)[0]
        nearest = knn_query(drawn[None, :, :3], seen[None, :, :3], 1)[0, :, 0]
    parts = found[nearest].numpy()
    labels, counts = np.unique(parts, return_counts=True)
    colors = dict(zip(labels.tolist(), _part_colors(len(labels)), strict=True))
    rgb = np.round(255 * np.array([colors[int(part)] for part in parts])).astype(np.uint8)
    listed = [
        FoundPart(model.config.id2label[int(part)], float(count / len(parts)), to_hex(colors[int(part)]))
        for count, part in sorted(zip(counts, labels, strict=True), key=lambda pair: -pair[0])
    ]
    cloud = PointCloud(ColoredPoints(points.xyz, rgb), warnings=shape.warnings, up_axis=shape.up_axis)
    return cloud, listed


def _part_colors(count: int) -> list[tuple[float, float, float]]:
    """So many different colours: ten that are told apart at once, then forty more, then hues at equal distances."""
    listed = list(dict.fromkeys(color for name in PALETTES for color in colormaps[name].colors))  # type: ignore[attr-defined]
    if count <= len(listed):
        return listed[:count]
    return [tuple(hsv_to_rgb((place / count, 0.8, 0.9))) for place in range(count)]


def _values(
    extractor: PointCloudFeatureExtractor, num_points: int, points: ColoredPoints, up_axis: UpAxis | None
) -> torch.Tensor:
    sized = PointCloudFeatureExtractor(**{**extractor.to_dict(), "num_points": num_points})
    return sized(points.xyz, points.rgb, up_axis=up_axis)["point_values"]


def _load(name: str) -> tuple[PointBertForPartSegmentation, PointCloudFeatureExtractor]:
    try:
        source = find_model(name, None, CANNOT_LOAD)
        config = AutoConfig.from_pretrained(source.path, **source.arguments)
        if not isinstance(config, PointBertConfig) or PointBertForPartSegmentation.__name__ not in (
            config.architectures or []
        ):
            raise UserError(
                f"{CANNOT_LOAD} '{name}': it does not say parts; give one that mrd-hf finetune made of parts."
            )
        model = PointBertForPartSegmentation.from_pretrained(source.path, use_safetensors=True, **source.arguments)
        return model.eval(), PointCloudFeatureExtractor.from_pretrained(source.path, **source.arguments)
    except LOADING_ERRORS as error:
        raise UserError(f"{CANNOT_LOAD} '{name}': {error}") from None


def _class_label(model: PointBertForPartSegmentation, object_class: str | None, name: str) -> int | None:
    if object_class is None:
        return None
    known = model.config.object_class_names
    (label,) = match_names([object_class], known)
    if label is None:
        raise UserError(f"--object-class: {name} knows no '{object_class}', but {', '.join(known) or 'no class'}.")
    return label
