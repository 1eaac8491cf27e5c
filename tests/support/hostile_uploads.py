"""Files that are made to harm, by name, and what is said of them."""

import io
import struct
import zlib
from functools import cache

import numpy as np

from support.false_claims import npy_header
from support.tiny_gltf import gltf


GIGABYTE = 10**9


@cache
def hostile_files() -> dict[str, tuple[bytes, str]]:
    """By file name: the content, and a pattern of the message."""
    return {
        "claims.glb": (
            struct.pack("<4sIII4s", b"glTF", 2, GIGABYTE, GIGABYTE, b"JSON") + b"{}",
            "cannot be read|no faces",
        ),
        "claims.ply": (
            b"ply\nformat binary_little_endian 1.0\nelement vertex 1000000000\nproperty float x\nproperty float y\n"
            b"property float z\nend_header\n" + bytes(24),
            "cannot be read|more memory",
        ),
        "claims.npy": (npy_header((GIGABYTE, 3), "<f8") + bytes(48), "announces an array of shape .1000000000, 3."),
        "claims.pcd": (
            b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 1000000000\nHEIGHT 1\nPOINTS 1000000000\n"
            b"DATA binary\n" + bytes(12),
            "1,000,000,000 points; at most",
        ),
        "claims.stl": (bytes(80) + struct.pack("<I", GIGABYTE) + bytes(50), "cannot be read|no faces|area"),
        "bomb.npz": (_zip_bomb(), "once unpacked"),
        "zeros.gltf": (
            gltf(accessors=[{"componentType": 5126, "count": GIGABYTE, "type": "VEC3"}]),
            "1,000,000,000 elements",
        ),
        "deep.gltf": (
            gltf(nodes=[{"children": [i + 1]} for i in range(5000)] + [{"mesh": 0}]),
            "more than 1000 deep",
        ),
        "circle.gltf": (gltf(nodes=[{"mesh": 0, "children": [0]}]), "nested in a circle"),
        "nan.npy": (_saved(np.array([[0, 0, np.nan], [1, -np.inf, 1]])), "not finite"),
        "nan.xyz": (b"0 0 nan\n1 inf 1\n", "not finite"),
        "pickle.npy": (_saved(np.array([print], dtype=object)), "pickled objects are not loaded"),
        "empty.ply": (b"", "cannot be read"),
        "text.obj": (b"this is no mesh\n", "no faces and no points|cannot be read"),
    }


def _saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _zip_bomb() -> bytes:
    """Three megabytes that unpack to three gigabytes of zeros."""
    block = zlib.compressobj(9, wbits=-15)
    zeros = block.compress(bytes(2**24)) + block.flush(zlib.Z_FULL_FLUSH)  # to be repeated at will
    head = zlib.compressobj(9, wbits=-15)
    start = npy_header((3 * GIGABYTE // 24, 3), "<f8") + bytes(48)
    packed = head.compress(start) + head.flush(zlib.Z_FULL_FLUSH) + zeros * (3 * GIGABYTE // 2**24) + b"\x03\x00"
    size = len(start) + 2**24 * (3 * GIGABYTE // 2**24)
    name = b"points.npy"
    facts = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(packed), size, len(name), 0)
    local = b"PK\3\4" + facts + name + packed
    central = b"PK\1\2" + struct.pack("<H", 20) + facts + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    return local + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
