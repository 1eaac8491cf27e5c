"""A KTX2 file of Basis Universal, put together by `struct` alone."""

import struct


def ktx2(blocks: list[list[tuple[int, int, int, int]]]) -> bytes:
    """A KTX2 file of UASTC blocks of 4 x 4 texels, each of one colour, by hand from the specifications."""
    width, height = 4 * len(blocks[0]), 4 * len(blocks)
    packed = b""
    for row in blocks:
        for red, green, blue, opacity in row:
            bits = 0b10111 | red << 5 | green << 13 | blue << 21 | opacity << 29  # mode 8, then 8 bits a channel
            packed += bits.to_bytes(16, "little")
    # One descriptor of 40 bytes: UASTC, BT.709, sRGB, blocks of 4 x 4 texels and 16 bytes, one sample of 128 bits.
    descriptor = struct.pack("<IIHH4B4B8B", 44, 0, 2, 40, 166, 1, 2, 0, 3, 3, 0, 0, 16, *[0] * 7)
    descriptor += struct.pack("<HBB4BII", 0, 127, 3, 0, 0, 0, 0, 0, 0xFFFFFFFF)
    header = b"\xabKTX 20\xbb\r\n\x1a\n" + struct.pack("<9I", 0, 1, width, height, 0, 0, 1, 1, 0)
    header += struct.pack("<4I2Q", 104, 44, 0, 0, 0, 0)
    start = 104 + 44 + 12  # a multiple of 16
    header += struct.pack("<3Q", start, len(packed), len(packed))
    return header + descriptor + bytes(12) + packed
