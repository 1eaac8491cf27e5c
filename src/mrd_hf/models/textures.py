"""Pictures on meshes, decoded into texels."""

import io
from typing import Any

import numpy as np

from .shape_limits import MAX_TEXELS, check_image


# This file travels with checkpoints, whose other code does not need it: guarded, transformers does not ask for it.
try:
    from PIL import Image
except ImportError as error:
    raise ImportError(f"Reading meshes needs Pillow: pip install pillow ({error}).") from error

KTX2 = b"\xabKTX 20\xbb\r\n\x1a\n"
# Beyond this many texels a side a texture holds more detail than ten thousand surface points can show.
MAX_TEXTURE_SIZE = 1024


def decode_texture(data: Any, name: str, warnings: list[str]) -> np.ndarray | None:
    """Texels of a picture in a file, as [`texture_to_rgba`] makes them; None, and a warning, if it cannot be read.

    Args:
        data (bytes-like): The file.
        name (`str`): What the warning calls it.
        warnings (list of `str`): Gets the warning.
    """
    try:
        if bytes(data[: len(KTX2)]) == KTX2:
            return texture_to_rgba(_decode_ktx2(bytes(data)))
        with Image.open(io.BytesIO(data)) as picture:
            return texture_to_rgba(picture)
    except Image.UnidentifiedImageError:
        warnings.append(f"texture cannot be read: {name} (no picture that Pillow knows)")
    # Pillow's readers raise errors of many kinds on damaged pictures.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        warnings.append(f"texture cannot be read: {name} ({error})")
    return None


def _decode_ktx2(data: bytes) -> Image.Image:
    """The picture, in a size that is large enough, of a KTX2 file that is compressed by Basis Universal."""
    try:
        import opengl_basisu
    except ImportError:
        raise ValueError("it is stored as KTX2; pip install 'mrd-hf[formats]' to read it") from None
    texture = opengl_basisu.open(data)
    if texture.width * texture.height > MAX_TEXELS:
        raise ValueError(f"{texture.width} x {texture.height} pixels; at most {MAX_TEXELS:,} are read")
    sizes = [texture.level_size(level) for level in range(texture.levels)]
    enough = [level for level, size in enumerate(sizes) if max(size) >= MAX_TEXTURE_SIZE]
    return Image.fromarray(np.asarray(texture.transcode("rgba8", enough[-1] if enough else 0).data))


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
    # Colours apart from opacity: what is transparent has a colour, which shows where opacity does not count.
    has_opacity = image.has_transparency_data
    image = image.convert("RGBA")
    colors, opacity = image.convert("RGB"), image.getchannel("A")
    colors.thumbnail((MAX_TEXTURE_SIZE, MAX_TEXTURE_SIZE))
    if has_opacity:
        opacity.thumbnail((MAX_TEXTURE_SIZE, MAX_TEXTURE_SIZE))
    else:
        opacity = Image.new("L", colors.size, 255)
    return np.dstack([np.asarray(colors), np.asarray(opacity)])
