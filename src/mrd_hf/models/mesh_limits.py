"""How large a mesh or a texture may be: what is larger is a mistake or an attack, and would exhaust the memory."""

from typing import Any


# Ten million take about 1.5 GB.
MAX_FACES = 10_000_000
# 8192 x 8192, for which decoding takes 0.5 GB.
MAX_TEXELS = 2**26


def check_image_size(image: Any) -> None:
    """Raise a `ValueError` if an opened, not yet decoded Pillow image has more than `MAX_TEXELS` pixels."""
    width, height = image.size
    if width * height > MAX_TEXELS:
        raise ValueError(f"{width} x {height} pixels; at most {MAX_TEXELS:,} are read")
