"""Pictures on meshes, decoded into texels."""

import hashlib
import io
from typing import IO, Any

import numpy as np

from .shape_limits import MAX_SCANS, SLOWNESS, ShapeBudget, check_image, check_pixels, is_slow


# This file travels with checkpoints, whose other code does not need it: guarded, transformers does not ask for it.
try:
    from PIL import Image
except ImportError as error:
    raise ImportError(f"Reading meshes needs Pillow: pip install pillow ({error}).") from error

KTX2 = b"\xabKTX 20\xbb\r\n\x1a\n"
ICO = b"\0\0\1\0"
# Beyond this many texels a side a texture holds more detail than ten thousand surface points can show.
MAX_TEXTURE_SIZE = 1024
# What is decoded is made smaller in bands of about so many pixels, so that no second picture of its size is needed.
BAND = 2**20
# Values of a texture that is not made smaller: 64 x 64 texels.
MIN_TEXTURE = 4 * 64 * 64


class Textures:
    """The pictures of one file; those of the same content are decoded once.

    Args:
        budget (`ShapeBudget`): What the file may hold.
        warnings (list of `str`): Gets a line for each picture that cannot be read.
    """

    def __init__(self, budget: ShapeBudget, warnings: list[str]) -> None:
        self.budget = budget
        self.warnings = warnings
        self._decoded: dict[bytes, np.ndarray | None] = {}

    def decode(self, data: Any, name: str) -> np.ndarray | None:
        """Texels of a picture in a file, as [`texture_to_rgba`] makes them; None, and a warning, if it cannot be read.

        Args:
            data (bytes-like): The file.
            name (`str`): What the warning calls it.
        """
        digest = hashlib.sha256(data).digest()
        if digest not in self._decoded:
            self._decoded[digest] = self._decode(bytes(data), name)
        return self._decoded[digest]

    def fitting(self, texels: np.ndarray) -> np.ndarray:
        """Texels that are to be changed; where the file may not hold as many more of them, in less detail."""
        while texels.size > MIN_TEXTURE and self.budget.left("texels") < texels.size // 4:
            texels = texels[::2, ::2]
        return texels

    def copied(self, texels: np.ndarray) -> np.ndarray:
        """A copy of texels that is to be changed, and counts as a texture of its own; see [`Textures.fitting`]."""
        texels = self.fitting(texels)
        self.budget.take("texels", texels.size // 4)
        return texels.copy()

    def _decode(self, data: bytes, name: str) -> np.ndarray | None:
        try:
            if data.startswith(KTX2):
                texels = texture_to_rgba(self._decode_ktx2(data))
            else:
                with open_picture(io.BytesIO(data)) as picture:
                    # Within a scan no such bytes occur.
                    if picture.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > MAX_SCANS:
                        raise ValueError(f"a JPEG of more than {MAX_SCANS} scans")
                    self._count(*picture.size, len(data), SLOWNESS if is_slow(picture) else 1)
                    texels = texture_to_rgba(picture)
            self.budget.take("texels", texels.shape[0] * texels.shape[1])
            return texels
        except Image.UnidentifiedImageError:
            self.warnings.append(f"texture cannot be read: {name} (no picture that Pillow knows)")
        except MemoryError:
            raise
        except Exception as error:  # of many kinds in damaged pictures
            self.warnings.append(f"texture cannot be read: {name} ({error})")
        return None

    def _count(self, width: int, height: int, num_bytes: int, weight: int = 1) -> None:
        check_pixels(width, height, num_bytes)
        self.budget.take("pixels of pictures", weight * width * height)

    def _decode_ktx2(self, data: bytes) -> Image.Image:
        """The picture, in a size that is large enough, of a KTX2 file that is compressed by Basis Universal."""
        try:
            import opengl_basisu
        except ImportError:
            raise ValueError("it is stored as KTX2; pip install 'mrd-hf[formats]' to read it") from None
        texture = opengl_basisu.open(data)
        self._count(texture.width, texture.height, len(data))
        sizes = [texture.level_size(level) for level in range(texture.levels)]
        enough = [level for level, size in enumerate(sizes) if max(size) >= MAX_TEXTURE_SIZE]
        return Image.fromarray(np.asarray(texture.transcode("rgba8", enough[-1] if enough else 0).data))


def open_picture(file: IO[bytes]) -> Image.Image:
    """An image of which nothing but the header has been read.

    Raises:
        ValueError: It is not to be decoded, see [`check_image`].
        Exception: What Pillow makes of what is no picture.
    """
    if file.read(len(ICO)) == ICO:  # Pillow decodes an icon as it opens it, before its pixels can be counted
        raise ValueError("pictures of the format ICO are not read; convert it to PNG")
    image = Image.open(file)
    check_image(image)
    return image


def texture_to_rgba(image: Image.Image) -> np.ndarray:
    """Pixels of an image of any Pillow mode as uint8 RGBA of shape `(height, width, 4)`.

    Grey-scale of 16 bits is scaled down to 8. The longer side is reduced to `MAX_TEXTURE_SIZE`.

    Raises:
        ValueError: It has more than `MAX_TEXELS` pixels, or a format that is not decoded here.
    """
    check_image(image)
    image.draft(None, (MAX_TEXTURE_SIZE, MAX_TEXTURE_SIZE))  # JPEG decodes straight to about the size needed
    if max(image.size) <= MAX_TEXTURE_SIZE:
        return np.asarray(_rgba(image))
    has_opacity = image.has_transparency_data
    factor = max(image.size) // MAX_TEXTURE_SIZE
    colors, opacity = _channels(image) if factor < 2 else _reduced(image, factor)
    colors.thumbnail((MAX_TEXTURE_SIZE, MAX_TEXTURE_SIZE))
    if has_opacity:
        opacity.thumbnail((MAX_TEXTURE_SIZE, MAX_TEXTURE_SIZE))
    else:
        opacity = Image.new("L", colors.size, 255)
    return np.dstack([np.asarray(colors), np.asarray(opacity)])


def _reduced(image: Image.Image, factor: int) -> tuple[Image.Image, Image.Image]:
    """The channels of a picture whose pixels are the means of `factor` by `factor`."""
    width, height = image.size
    size = (-(-width // factor), -(-height // factor))
    colors, opacity = Image.new("RGB", size), Image.new("L", size)
    rows = max(BAND // width // factor, 1) * factor
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        for whole, part in zip((colors, opacity), _channels(band), strict=True):
            whole.paste(part.reduce(factor), (0, top // factor))
    return colors, opacity


def _channels(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Colours apart from opacity: what is transparent has a colour, which shows where opacity does not count."""
    image = _rgba(image)
    return image.convert("RGB"), image.getchannel("A")


def _rgba(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        image = Image.fromarray(np.round(np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8))
    elif image.mode.startswith("I"):
        image = Image.fromarray((np.clip(np.asarray(image).astype(np.int64), 0, 65535) // 257).astype(np.uint8))
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    elif image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        image.putalpha(255)  # in its place, which takes half the time
        return image
    return image.convert("RGBA")
