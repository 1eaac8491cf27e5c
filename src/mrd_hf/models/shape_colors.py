"""Colours of surfaces: between sRGB and linear light, and where a texture's texels are."""

import re
from collections.abc import Iterable

import numpy as np

from .shapes import COLOR_ROUNDING, Wrap


# How far from a whole number a texture coordinate may be and count as it: the mean of equal corners is not exact.
WHOLE = 1e-6
COLOR_WORD = re.compile(r"(?i)colou?r|rgb|bgr|albedo|(?<![a-z])(red|green|blue|diffuse)(?![a-z])")


def srgb_to_linear(srgb: np.ndarray) -> np.ndarray:
    """Of values in 0..1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """Of values in 0..1, as uint8."""
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.clip(linear, 0, None) ** (1 / 2.4) - 0.055)
    return np.round(np.clip(srgb, 0, 1) * 255).astype(np.uint8)


def texel_rows_and_columns(
    uv: np.ndarray, heights: np.ndarray | int, widths: np.ndarray | int, wrap: tuple[Wrap, Wrap]
) -> tuple[np.ndarray, np.ndarray]:
    """Where texture coordinates, `(num_points, 2)` with (0, 0) at the lower left, lie in textures of these sizes."""
    uv = np.nan_to_num(uv, posinf=0.0, neginf=0.0)  # the sum of large ones, or one that was scaled, may be none
    u, v = _within(uv[:, 0], wrap[0]), 1.0 - _within(uv[:, 1], wrap[1])
    columns = np.minimum((u * widths).astype(np.int64), widths - 1)
    return np.minimum((v * heights).astype(np.int64), heights - 1), columns


def _within(places: np.ndarray, wrap: Wrap) -> np.ndarray:
    """In 0..1, by the wrap mode."""
    if wrap == "clamp":
        return np.clip(places, 0.0, 1.0)
    if wrap == "mirror":
        return 1.0 - np.abs(places % 2.0 - 1.0)
    # Both edges are the picture's own: faces of one colour often lie wholly on 0 or on 1.
    whole = np.round(places)
    return np.where(np.abs(places - whole) < WHOLE, whole == 1.0, places % 1.0)


def tinted(texels: np.ndarray | None, tints: np.ndarray) -> np.ndarray:
    """Texels times tints in linear light, or the tints alone.

    Args:
        texels (`np.ndarray` of shape `(num_points, 4)`, *optional*): uint8 sRGB and opacity.
        tints (`np.ndarray` of shape `(num_points, 4)`): Linear RGB and opacity.

    Returns:
        `np.ndarray` of shape `(num_points, 4)`: uint8 sRGB and opacity.
    """
    light, opacity = tints[:, :3], tints[:, 3]
    if texels is not None:
        light = light * srgb_to_linear(texels[:, :3] / 255)
        opacity = opacity * (texels[:, 3] / 255)
    opacity = np.round(np.clip(opacity, 0, 1) * 255).astype(np.uint8)
    return np.concatenate([linear_to_srgb(light), opacity[:, None]], axis=1)


def names_like_colors(names: Iterable[str]) -> list[str]:
    """Those of the names that look as if they were of colours: `red`, `vertex_color`, `rgba`; `r` where `g` is too."""
    listed = list(names)
    single = [name for name in listed if name.lower() in ("r", "g", "b")]
    return [name for name in listed if COLOR_WORD.search(name) or (len(single) > 1 and name in single)]


def stored_colors_as_bytes(values: np.ndarray) -> np.ndarray:
    """Colours of a file that declares their type, as uint8 sRGB.

    The type says the range: bytes 0..255, two bytes 0..65535, floats 0..1. Two mistakes are common enough to be
    understood: two bytes of which none is beyond 255 hold bytes, and so do floats that are whole numbers beyond 1.

    Args:
        values (`np.ndarray` of shape `(num_rows, 3)`)

    Raises:
        ValueError: They are beyond their range, or not finite.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.int8:  # some writers' name for bytes
        return values.view(np.uint8)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    limit = 255
    if values.dtype.kind == "f":
        if low >= -COLOR_ROUNDING and high <= 1 + COLOR_ROUNDING:
            low, high, limit = 0, 0, 1
            values = np.clip(values, 0, 1)
        elif not (low >= 0 and (values == np.trunc(values)).all()):
            limit = 1
    elif values.dtype == np.uint16 and high > 255:
        limit = 65535
    if not (low >= 0 and high <= limit):  # True for nan as well
        raise ValueError(
            f"colours from {low:g} to {high:g}, stored as {values.dtype}; expected floats in 0..1, ushort in 0..65535 "
            "or uchar in 0..255"
        )
    return np.round(values * (255 / limit)).astype(np.uint8)
