"""Random changes of a batch of point clouds, on the batch's device.

Source of the choices and of the defaults: OpenShape (arXiv 2305.10764). What differs: a dropped point takes its
colour with it, and everything is drawn for the whole batch at once from a given generator.
"""

import math
from dataclasses import dataclass, fields

import torch

from ...errors import UserError
from ...models.shapes import UNCOLORED, UpAxis


@dataclass(frozen=True)
class AugmentationConfig:
    """How much to change a cloud; zero (or a range of 1 to 1) switches a change off.

    Args:
        point_dropout (`float`): Up to this share of a cloud's points is dropped (moved onto its first point).
        scale_min, scale_max (`float`): Range of the factor that scales a cloud.
        shift (`float`): A cloud is moved by up to this along each axis, in units of the sphere's radius.
        jitter_std, jitter_max (`float`): Gaussian noise of each coordinate, and where it is cut off.
        rotate (`bool`): Whether to turn a cloud by any angle about the up axis.
        color_dropout (`float`): Probability that a whole cloud loses its colours.
        default_color (`float`): Grey level that stands for no colour.
    """

    point_dropout: float = 0.875
    scale_min: float = 0.8
    scale_max: float = 1.25
    shift: float = 0.1
    jitter_std: float = 0.06
    jitter_max: float = 0.18
    rotate: bool = True
    color_dropout: float = 0.5
    default_color: float = UNCOLORED

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is bool:
                if not isinstance(value, bool):
                    raise UserError(f"augmentation.{field.name} must be true or false, got {value!r}.")
            elif isinstance(value, bool) or not (isinstance(value, (int, float)) and 0 <= value < math.inf):
                raise UserError(f"augmentation.{field.name} must be a number of at least 0, got {value!r}.")
        for name in ("point_dropout", "color_dropout", "default_color"):
            if getattr(self, name) > 1:
                raise UserError(f"augmentation.{name} is at most 1, got {getattr(self, name)}.")
        if self.scale_min > self.scale_max:
            raise UserError(f"augmentation.scale_min ({self.scale_min}) exceeds scale_max ({self.scale_max}).")


def augment_point_clouds(
    points: torch.Tensor,
    colors: torch.Tensor,
    num_points: int,
    config: AugmentationConfig,
    generator: torch.Generator,
    up_axis: UpAxis = "y",
) -> torch.Tensor:
    """Shuffle, thin, drop, scale, shift, jitter and turn the clouds; drop the colours of some.

    Args:
        points (`torch.Tensor` of shape `(batch, available, 3)`):
            Inside the unit sphere, y up; of any floating dtype.
        colors (`torch.Tensor` of shape `(batch, available, 3)`):
            uint8, or floating in 0..1.
        num_points (`int`): Points to keep of each cloud, at most `available`.
        config (`AugmentationConfig`)
        generator (`torch.Generator`): On the device of `points`; the only source of randomness.
        up_axis (`"y"` or `"z"`, defaults to `"y"`): Which axis points up in what the model takes.

    Returns:
        `torch.Tensor` of shape `(batch, num_points, 6)`: `point_values` for the model, float32.
    """
    order = draw_points(len(points), points.shape[1], num_points, config, generator)
    rows = torch.arange(len(points), device=points.device)[:, None]
    # What is stored in fewer bytes is converted here, where it is on the device and no more than is kept.
    points, colors = points[rows, order].float(), colors[rows, order]
    colors = colors.float() / 255 if colors.dtype == torch.uint8 else colors.float()
    if up_axis == "z":  # a quarter turn about x, as the feature extractor's
        x, y, z = points.unbind(-1)
        points = torch.stack([x, -z, y], dim=-1)
    return change_points(points, colors, config, generator, up_axis)


def draw_points(
    batch: int, available: int, num_points: int, config: AugmentationConfig, generator: torch.Generator
) -> torch.Tensor:
    """Which points of each cloud are kept, in which order; one that is dropped is the first in its place.

    Returns:
        `torch.LongTensor` of shape `(batch, num_points)`: indices, on the generator's device.
    """
    device = generator.device
    # The order matters: it decides the first patch centre and which points a crowded patch takes.
    order = torch.rand(batch, available, device=device, generator=generator).argsort(dim=1)[:, :num_points]
    if config.point_dropout > 0:
        drawn = torch.rand(batch, num_points, device=device, generator=generator)
        dropped = drawn < config.point_dropout * torch.rand(batch, 1, device=device, generator=generator)
        order = torch.where(dropped, order[:, :1], order)
    return order


def change_points(
    points: torch.Tensor,
    colors: torch.Tensor,
    config: AugmentationConfig,
    generator: torch.Generator,
    up_axis: UpAxis = "y",
) -> torch.Tensor:
    """Scale, shift, jitter and turn the clouds, point by point; drop the colours of some.

    Args:
        points, colors (`torch.Tensor` of shape `(batch, num_points, 3)`): float32, colours in 0..1.
        config (`AugmentationConfig`), generator (`torch.Generator`): As for [`augment_point_clouds`].
        up_axis (`"y"` or `"z"`, defaults to `"y"`): Which axis points up in the clouds, which are turned about it.

    Returns:
        `torch.Tensor` of shape `(batch, num_points, 6)`: `point_values` for the model.
    """
    batch = len(points)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, device=points.device, generator=generator)

    points = points * (config.scale_min + (config.scale_max - config.scale_min) * uniform(batch, 1, 1))
    points = points + config.shift * (2 * uniform(batch, 1, 3) - 1)
    if config.jitter_std > 0:
        noise = torch.randn(points.shape, device=points.device, generator=generator) * config.jitter_std
        points = points + noise.clamp_(-config.jitter_max, config.jitter_max)
    if config.rotate:
        angle = 2 * math.pi * uniform(batch, 1)
        cos, sin = angle.cos(), angle.sin()
        x, y, z = points.unbind(-1)
        if up_axis == "y":
            points = torch.stack([cos * x + sin * z, y, cos * z - sin * x], dim=-1)
        else:
            points = torch.stack([cos * x - sin * y, sin * x + cos * y, z], dim=-1)
    if config.color_dropout > 0:
        colorless = uniform(batch, 1, 1) < config.color_dropout
        colors = torch.where(colorless, config.default_color, colors)
    return torch.cat([points, colors], dim=-1)
