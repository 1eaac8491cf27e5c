"""Pictures on meshes as texels, and the way between sRGB and linear light."""

import numpy as np

from .shape_limits import check_image


# This file travels with checkpoints, whose other code does not need it: guarded, transformers does not ask for it.
try:
    from PIL import Image
except ImportError as error:
    raise ImportError(f"Reading meshes needs trimesh and Pillow: pip install trimesh pillow ({error}).") from error

# Beyond this many texels a side a texture holds more detail than ten thousand surface points can show.
MAX_TEXTURE_SIZE = 1024


def texture_to_rgba(image: Image.Image) -> np.ndarray:
    """Pixels of an image of any Pillow mode as uint8 RGBA of shape `(height, width, 4)`.

    Grey-scale of 16 bits is scaled down to 8. The longer side is reduced to `MAX_TEXTURE_SIZE`.

    Raises:
        ValueError: It has more than `MAX_TEXELS` pixels, or a format that is not decoded here.
    """
    check_image(image)
    image.draft(None, (MAX_TEXTURE_SIZE, MAX_TEXTURE_SIZE))  # JPEG decodes straight to about the size needed
    if image.mode == "F":
        image = Image.fromarray(np.round(np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8))
    elif image.mode.startswith("I"):
        image = Image.fromarray((np.clip(np.asarray(image).astype(np.int64), 0, 65535) // 257).astype(np.uint8))
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    image = image.convert("RGBA")
    image.thumbnail((MAX_TEXTURE_SIZE, MAX_TEXTURE_SIZE))
    return np.array(image)


def srgb_to_linear(srgb: np.ndarray) -> np.ndarray:
    """Of values in 0..1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """Of values in 0..1, as uint8."""
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.clip(linear, 0, None) ** (1 / 2.4) - 0.055)
    return np.round(np.clip(srgb, 0, 1) * 255).astype(np.uint8)
