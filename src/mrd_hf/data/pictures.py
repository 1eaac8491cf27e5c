"""Pictures of a triplet dataset, which are untrusted input, decoded by Pillow alone."""

import io
import os
import struct
from typing import Any

from PIL import Image, ImageOps
from PIL.ExifTags import Base

from ..models.shape_limits import check_pixels
from ..models.textures import open_picture


def decode_picture(entry: dict[str, Any]) -> Image.Image:
    """A picture of the column `images`, turned the way that its EXIF data says, as `datasets.Image` decodes it.

    Unlike that, it refuses formats that Pillow gives to another program, such as EPS, pictures of more pixels than
    those of textures may have, and addresses.

    Args:
        entry (`dict`): Its `bytes`, or where there are none the `path` of a file.

    Raises:
        ValueError or OSError: It cannot be decoded, or is not to be; or what else Pillow makes of a damaged one.
    """
    content, path = entry["bytes"], entry["path"]
    if content is None and not (path and os.path.isfile(path)):
        raise ValueError(f"has no bytes, and its path {path!r} is no file here")
    with open(path, "rb") if content is None else io.BytesIO(content) as file, open_picture(file) as image:
        check_pixels(*image.size, os.path.getsize(path) if content is None else len(content))
        image.load()
    return turned_upright(image)


def turned_upright(image: Image.Image) -> Image.Image:
    """The picture turned the way that its EXIF data says; as it is where they say nothing, or are damaged."""
    try:
        return ImageOps.exif_transpose(image) if image.getexif().get(Base.Orientation) is not None else image
    # What Pillow makes of them.
    except (struct.error, SyntaxError, ValueError, TypeError, KeyError):
        return image
