"""A triangle in glTF, for tests that change a part of its header."""

import base64
import json
import struct
from typing import Any


# Its three points: (1, 0, 0), (0, 1, 0) and (0, 0, 1).
TRIANGLE = struct.pack("<9f", 1, 0, 0, 0, 1, 0, 0, 0, 1)


def data_uri(data: bytes, mime_type: str = "application/octet-stream") -> str:
    return f"data:{mime_type};base64," + base64.b64encode(data).decode()


def gltf(**changes: Any) -> bytes:
    """The triangle with its points in the header, of which `changes` replaces entries."""
    header = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "buffers": [{"byteLength": 36, "uri": data_uri(TRIANGLE)}],
        **changes,
    }
    return json.dumps(header).encode()


def textured_gltf(texture_uri: str | None = None, **changes: Any) -> bytes:
    """The triangle with a texture, missing without `texture_uri`; its texture coordinates are read from its points."""
    parts = {
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0}]}],
        "materials": [{"name": "skin", "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "images": [] if texture_uri is None else [{"uri": texture_uri}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC2"},
        ],
    }
    return gltf(**{**parts, **changes})


def as_glb(header: bytes, body: bytes | None = None, json_length: int | None = None) -> bytes:
    """A .glb of a header and the bytes of its first buffer; `json_length` is what it claims of the header."""
    header += b" " * (-len(header) % 4)
    chunks = struct.pack("<I4s", len(header) if json_length is None else json_length, b"JSON") + header
    if body is not None:
        chunks += struct.pack("<I4s", len(body), b"BIN\0") + body
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
