"""What a mesh or a texture may be: what is larger is a mistake or an attack, and would exhaust the memory."""

from typing import Any


# Ten million take about 1.5 GB.
MAX_FACES = 10_000_000
# 8192 x 8192, for which decoding takes 0.5 GB.
MAX_TEXELS = 2**26


# Pillow decodes these itself. Of others it hands some to another program: EPS, which is one itself, to Ghostscript.
# fmt: off
TEXTURE_FORMATS = {
    "AVIF", "BMP", "DDS", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI",
    "SUN", "TGA", "TIFF", "WEBP",
}
# fmt: on


def check_image(image: Any) -> None:
    """Raise a `ValueError` for an opened, not yet decoded Pillow image that is not to be decoded.

    That is one of more than `MAX_TEXELS` pixels, or of a file in another format than `TEXTURE_FORMATS`.
    """
    if image.format is not None and image.format not in TEXTURE_FORMATS:
        raise ValueError(f"pictures of the format {image.format} are not read; convert it to PNG")
    width, height = image.size
    if width * height > MAX_TEXELS:
        raise ValueError(f"{width} x {height} pixels; at most {MAX_TEXELS:,} are read")
