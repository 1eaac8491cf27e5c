"""Headers that claim more than there is, for tests of readers that must not believe them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def npy_header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """That of a .npy file, without its numbers."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


def huge_png(side: int = 60_000) -> bytes:
    """A PNG of a few pixels that says it is `side` wide and high; the header's checksum is right."""
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)
