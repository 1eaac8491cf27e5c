"""What a file of a shape may be and hold: what is more is a mistake or an attack, and would exhaust memory or time.

Every limit of reading shapes stands here. A small file may hold a harmless number of each thing, and a larger one as
many as its bytes can be the reason of: a [`ShapeBudget`] counts them, before memory is taken for them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


MAX_FILE_BYTES = 2**31
# Compressing a cloud makes it a tenth as large, at best: what unpacks to more than this many times its size, and to
# more than a harmless size, was made to fill the memory.
MAX_RATIO = 50
HARMLESS_BYTES = 2**26
# Ten million faces take about 1.5 GB, fifty million points 5 GB.
MAX_FACES = 10_000_000
MAX_POINTS = 50_000_000
# 8192 x 8192, for which decoding takes 0.3 GB.
MAX_TEXELS = 2**26
# A picture of one colour has 300 pixels a byte and more; one of many pixels that shows something has fewer.
MAX_PIXELS_A_BYTE, HARMLESS_PIXELS = 128, 2**25
# What Pillow decodes by Python takes 3 microseconds a pixel, a hundred times as long as the rest: 1024 x 1024 at most,
# of which each counts for many.
SLOW_DECODERS, MAX_SLOW_PIXELS, SLOWNESS = {"SGI16", "dds_rgb", "ppm", "ppm_plain", "qoi"}, 2**20, 128
# Real scenes are a dozen nodes deep.
MAX_DEPTH = 1000
# A node is the child of one other; files that share nodes are read, but not those that double them level by level.
MAX_VISITS = 16
# Bytes of a PLY file's header.
MAX_HEADER = 2**20
# Files of a folder that are looked through for one in other letter case.
MAX_ENTRIES = 10_000
# Chunks of a GLB: the two that count come first, extensions may add some.
MAX_CHUNKS = 100
# Corners of a concave polygon that is split well; the time for it grows with their square, at worst.
MAX_CORNERS = 5000
# Scans of a progressive JPEG, each of which passes over the whole picture; there are ten in most.
MAX_SCANS = 64
MAX_WARNINGS = 20
MAX_MESSAGE = 400
# What is fetched from a URL: bytes, and seconds for the whole of it.
MAX_DOWNLOAD_BYTES = 256 * 2**20
DEFAULT_TIMEOUT = 60.0
# Where a file is read in a process of its own, on the Space and in the endpoint's handler: seconds, and bytes.
TIME_LIMIT = 20.0
SPACE_MEMORY, ENDPOINT_MEMORY = 2 * 2**30, 3 * 2**30


# Pillow decodes these itself. Of others it hands some to another program: EPS, which is one itself, to Ghostscript.
# fmt: off
TEXTURE_FORMATS = {
    "AVIF", "BMP", "DDS", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI",
    "SUN", "TGA", "TIFF", "WEBP",
}
# fmt: on


@dataclass(frozen=True)
class Allowance:
    """How much of something a file may hold.

    Args:
        harmless (`int`): In any file.
        for_a_byte (`float`): In a larger one, for each of its bytes, those of the files that it names included.
        most (`int`, *optional*): In none more than this.
    """

    harmless: int
    for_a_byte: float
    most: int | None = None


# By the words of the message. Compressed meshes have two faces a byte, at best; parts have dozens of bytes each.
ALLOWANCES = {
    "faces": Allowance(1_000_000, 2, MAX_FACES),
    "points": Allowance(1_500_000, 1, MAX_POINTS),
    # What Draco's buffers hold, whether it is placed or not.
    "decoded faces": Allowance(1_000_000, 2, MAX_FACES),
    "decoded points": Allowance(1_500_000, 1, MAX_POINTS),
    # Counted each time that a part places them, and for each joint that moves them.
    "placed vertices": Allowance(10_000_000, 4),
    "parts": Allowance(10_000, 1 / 50),
    "instances": Allowance(200_000, 1 / 10),
    "placed nodes": Allowance(50_000, 1 / 20),
    "JSON values": Allowance(1_500_000, 1 / 8),
    # Of 3MF, by its packed bytes. A face takes one and a half, or four where it shares no vertex.
    "XML elements": Allowance(3_000_000, 6),
    "files": Allowance(1_000, 1 / 50),
    # Of pictures as they are stored, and of textures as they are kept.
    "pixels of pictures": Allowance(2**27, 64),
    "texels": Allowance(2**25, 4),
}


@dataclass
class ShapeBudget:
    """What a file has taken of what it may hold.

    Args:
        size (`int`): Of the file, in bytes; [`ShapeBudget.counted`] adds the files that it names.
        taken (`dict[str, int]`, *optional*): By the keys of `ALLOWANCES`.
        unpacked (`int`, *optional*): Bytes that packed data in it were unpacked to.
    """

    size: int
    taken: dict[str, int] = field(default_factory=dict)
    unpacked: int = 0

    def limit(self, what: str) -> int:
        """How many the file may hold."""
        allowance = ALLOWANCES[what]
        limit = max(allowance.harmless, int(allowance.for_a_byte * self.size))
        return limit if allowance.most is None else min(limit, allowance.most)

    def left(self, what: str) -> int:
        """How many more the file may hold."""
        return self.limit(what) - self.taken.get(what, 0)

    def take(self, what: str, count: int) -> None:
        """Count what is about to be read.

        Args:
            what (`str`): A key of `ALLOWANCES`.
            count (`int`): How many more of it.

        Raises:
            ValueError: They are more than a file of this size may hold.
        """
        total = self.taken.get(what, 0) + count
        limit = self.limit(what)
        if total > limit:
            raise ValueError(
                f"{total:,} {what}; at most {limit:,} are read of a file of {self.size:,} bytes. Simplify the shape"
            )
        self.taken[what] = total

    def unpack(self, num_bytes: int) -> None:
        """Count bytes that data in the file are about to be unpacked to.

        Raises:
            ValueError: They are more than a file of this size may unpack to.
        """
        self.unpacked += num_bytes
        check_size(self.size, self.unpacked)

    def counted(self, get: Callable[..., bytes]) -> Callable[..., bytes]:
        """A function that gets the content of a file by its name, so that what it gets is counted."""

        def get_and_count(name: str, *folder: str) -> bytes:
            self.take("files", 1)
            content = get(name, *folder)
            self.size += len(content)
            check_size(self.size)
            return content

        return get_and_count


def check_image(image: Any) -> None:
    """Raise a `ValueError` for an opened, not yet decoded Pillow image that is not to be decoded.

    That is one of more than `MAX_TEXELS` pixels, or of a file in another format than `TEXTURE_FORMATS`, or a BMP file
    that is run-length encoded, as Pillow takes any time and memory for some of a few bytes.
    """
    if image.format is not None and image.format not in TEXTURE_FORMATS:
        raise ValueError(f"pictures of the format {image.format} are not read; convert it to PNG")
    if any(tile[0] == "bmp_rle" for tile in getattr(image, "tile", ())):
        raise ValueError("BMP files that are run-length encoded are not read; convert it to PNG")
    width, height = image.size
    if is_slow(image) and width * height > MAX_SLOW_PIXELS:
        raise ValueError(
            f"{width} x {height} pixels; of a {image.format} file of this kind at most {MAX_SLOW_PIXELS:,} are read; "
            "convert it to PNG"
        )
    check_pixels(width, height)


def is_slow(image: Any) -> bool:
    """Whether an opened, not yet decoded Pillow image is one that Pillow decodes by Python."""
    return any(tile[0] in SLOW_DECODERS for tile in getattr(image, "tile", ()))


def check_pixels(width: int, height: int, num_bytes: int | None = None) -> None:
    """Raise a `ValueError` for a picture of more pixels than are decoded, at all or of so few bytes."""
    if width * height > MAX_TEXELS:
        raise ValueError(f"{width} x {height} pixels; at most {MAX_TEXELS:,} are read")
    if num_bytes is not None and width * height > max(HARMLESS_PIXELS, MAX_PIXELS_A_BYTE * num_bytes):
        raise ValueError(f"{width} x {height} pixels of {num_bytes:,} bytes, too many for what it shows; reduce it")


def check_size(size: int, unpacked: int = 0) -> None:
    """Raise a `ValueError` for a file that is too large to be read, packed or unpacked; both sizes are in bytes."""
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{size / 2**30:.1f} GiB; files of at most {MAX_FILE_BYTES // 2**30} GiB are read")
    if unpacked > MAX_FILE_BYTES or unpacked > max(HARMLESS_BYTES, MAX_RATIO * size):
        raise ValueError(
            f"{unpacked / 2**20:,.0f} MiB once unpacked, of {size / 2**20:,.1f} MiB; this is no shape, or too large a "
            "one: thin it out"
        )


def cut_message(text: str) -> str:
    """What a file made a message of, in a line of `MAX_MESSAGE` printable characters."""
    shown = "".join(each if each.isprintable() else " " for each in text[: MAX_MESSAGE + 1])
    return shown if len(shown) <= MAX_MESSAGE else shown[: MAX_MESSAGE - 3] + "..."


def few_warnings(warnings: list[str]) -> list[str]:
    """Each once, in a line, and of many the first `MAX_WARNINGS` and a count."""
    found = list(dict.fromkeys(map(cut_message, warnings)))
    rest = len(found) - MAX_WARNINGS
    # The count is a warning itself, and a check may add another: what was cut once is not cut again.
    return found if rest <= 2 else [*found[:MAX_WARNINGS], f"{rest:,} more warnings of these kinds"]


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error is one of memory or was raised because of one, as that of a reader that cannot go on."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__
    return error is not None
