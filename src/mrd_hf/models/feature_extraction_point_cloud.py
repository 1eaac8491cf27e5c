"""Point clouds and meshes of any size, scale and place, in memory or in files, into the model's input."""

from dataclasses import fields
from typing import Any, Literal

from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin
from transformers.utils import TensorType, logging

from .point_preparation import PointPreparation
from .shapes import UNCOLORED


logger = logging.get_logger(__name__)

SETTINGS = tuple(field.name for field in fields(PointPreparation))


class PointCloudFeatureExtractor(FeatureExtractionMixin):
    r"""
    Makes `point_values` of point clouds and meshes: centred, scaled into the unit sphere, up as the encoder has it, a
    fixed number of points, colours in 0..1. Deterministic: the same input always gives the same values.

    Args:
        num_points (`int`, defaults to 10000):
            Points of each output cloud. A larger cloud is thinned by a fixed random choice, a smaller one repeats its
            points, and from a mesh's surface as many are drawn, uniformly by area.
        normalize (`bool`, defaults to `True`): Whether to subtract the mean and divide by the largest norm.
        up_axis (`"y"` or `"z"`, defaults to `"y"`):
            Which axis points up in what does not say it itself. Files of some formats do (glTF is y-up by its
            standard), and are taken at their word; arrays, objects of trimesh's and most scans and CAD files do not.
            See docs/formats.md.
        encoder_up_axis (`"y"` or `"z"`, defaults to `"y"`):
            Which axis pointed up in what the encoder was trained on. Shapes of the other kind are rotated, not
            mirrored.
        default_color (`float`, defaults to 0.4): Grey level, 0..1, of shapes without any colours.
        keep_collision (`bool`, defaults to `False`):
            Whether collision meshes in files are seen: what engines use and nobody sees, known by its name. See
            docs/formats.md.
        skip_parts (`str`, *optional*):
            A regular expression. Of files, parts whose name or whose object's, group's, mesh's or node's name it
            matches somewhere are left out.
    """

    model_input_names = ["point_values"]

    def __init__(
        self,
        num_points: int = 10000,
        normalize: bool = True,
        up_axis: Literal["y", "z"] = "y",
        encoder_up_axis: Literal["y", "z"] = "y",
        default_color: float = UNCOLORED,
        keep_collision: bool = False,
        skip_parts: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        unknown = sorted(set(kwargs) - {"auto_map", "feature_extractor_type", "processor_class"})
        if unknown:  # no error, as a file may come from another version
            logger.warning(f"PointCloudFeatureExtractor has no setting {', '.join(unknown)}, so it has no effect.")
        PointPreparation(  # checks them
            num_points, normalize, up_axis, encoder_up_axis, default_color, keep_collision, skip_parts
        )
        self.num_points = num_points
        self.normalize = normalize
        self.up_axis = up_axis
        self.encoder_up_axis = encoder_up_axis
        self.default_color = default_color
        self.keep_collision = keep_collision
        self.skip_parts = skip_parts

    def __call__(
        self,
        points: Any,
        colors: Any = None,
        up_axis: Literal["y", "z"] | None = None,
        return_tensors: str | TensorType | None = "pt",
    ) -> BatchFeature:
        """
        Args:
            points (a shape, or a sequence of shapes of any kinds and sizes):
                A shape is one of
                - an array or tensor of shape `(num_points, 3)`: xyz, in any unit;
                - one of shape `(num_points, 6)`: xyz and rgb, the latter as `colors` below;
                - a path (`str` or `Path`) of a file whose suffix is one of `SHAPE_SUFFIXES`: a mesh with its textures
                  and colours, or a point cloud, see docs/formats.md;
                - a `trimesh.Trimesh`, `trimesh.Scene` or `trimesh.PointCloud`.
                Arrays and tensors with a further dimension in front are sequences. Meshes need
                `pip install trimesh pillow`.
            colors (array or tensor of shape `(num_points, 3)`, or a sequence of them, *optional*):
                rgb: integers in 0..255, or floats in 0..1; the type decides, never the values. For arrays only, None
                in a sequence for those without: files bring their own.
            up_axis (`"y"` or `"z"`, *optional*):
                Which axis points up in all that is given, whatever a file or the extractor says.
            return_tensors (`str`, defaults to `"pt"`): `"pt"` or `"np"`.

        Returns:
            `BatchFeature` with `point_values`, float32 of shape `(batch, num_points, 6)`.

        Raises:
            ValueError: when a shape is empty, not finite, of another kind, size or file format, or its colours do not
                fit; the message names the shape by its position or its file.
            FileNotFoundError: when there is no such file.
            ImportError: when a mesh is given and trimesh or Pillow is missing.
        """
        # At each call, as the settings may have been changed since.
        preparation = PointPreparation(**{name: getattr(self, name) for name in SETTINGS})
        values = preparation.point_values(points, colors, up_axis)
        return BatchFeature({"point_values": values}, tensor_type=return_tensors)


__all__ = ["PointCloudFeatureExtractor"]
