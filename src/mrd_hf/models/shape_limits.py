"""What a file of a shape may be: what is larger is a mistake or an attack, and would exhaust the memory."""

from typing import Any


MAX_FILE_BYTES = 2**31
# Compressing a cloud makes it a tenth as large, at best: what unpacks to more than this many times its size, and to
# more than a harmless size, was made to fill the memory.
MAX_RATIO = 50
HARMLESS_BYTES = 2**28
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


def check_size(size: int, unpacked: int = 0) -> None:
    """Raise a `ValueError` for a file that is too large to be read, packed or unpacked; both sizes are in bytes."""
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{size / 2**30:.1f} GiB; files of at most {MAX_FILE_BYTES // 2**30} GiB are read")
    if unpacked > MAX_FILE_BYTES or unpacked > max(HARMLESS_BYTES, MAX_RATIO * size):
        raise ValueError(
            f"{unpacked / 2**20:,.0f} MiB once unpacked, of {size / 2**20:,.1f} MiB; this is no shape, or too large a "
            "one: thin it out"
        )


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error is one of memory or was raised because of one, as that of a reader that cannot go on."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__
    return error is not None
