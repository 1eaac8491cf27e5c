"""Files that are made to exhaust memory or time, or to have files read that are none of their business."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from support.false_claims import huge_png, npy_header
from support.tiny_gltf import TRIANGLE, as_glb, gltf, textured_gltf


def embedded(**changes: Any) -> bytes:
    """A .glb of one triangle."""
    return as_glb(gltf(**{"buffers": [{"byteLength": 36}], **changes}), TRIANGLE)


def zip_bomb(num_points: int) -> bytes:
    """A .npz of that many points, all zero: a thousandth of their size."""
    buffer = io.BytesIO()
    zeros = bytes(2**20)
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("points.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy_header((num_points, 3)))
        for _ in range(num_points * 12 // len(zeros) + 1):
            member.write(zeros)
    return buffer.getvalue()


def lzf_bomb(num_points: int) -> bytes:
    """A compressed .pcd of zeros, an eightieth of their size."""
    size = num_points * 12
    packed = b"\0\0" + b"\xe0\xff\0" * (size // 264) + b"\0\0" * ((size - 1) % 264)
    head = f"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH {num_points}\nHEIGHT 1\nDATA binary_compressed\n".encode()
    return head + struct.pack("<II", len(packed), size) + packed


def ply(*lines: str, kind: str = "binary_little_endian", body: bytes = b"") -> bytes:
    return "\n".join(["ply", f"format {kind} 1.0", *lines, "end_header", ""]).encode() + body


XYZ = ("property float x", "property float y", "property float z")
FACES = "property list uchar int vertex_indices"
BILLION = 10**9


def claims_and_bombs() -> dict[str, bytes]:
    """By file name: each a few megabytes at most, each to be refused."""
    many_nodes = [{"children": [level + 1, level + 1]} for level in range(60)] + [{"mesh": 0}]
    deep_json = b'{"a":' * 100_000
    return {
        "vertices.ply": ply(f"element vertex {BILLION}", *XYZ, body=bytes(36)),
        "vertices-ascii.ply": ply(f"element vertex {BILLION}", *XYZ, kind="ascii", body=b"0 0 0\n" * 3),
        "faces.ply": ply("element vertex 3", *XYZ, f"element face {BILLION}", FACES, body=TRIANGLE + b"\3"),
        "list.ply": ply(
            "element vertex 3",
            *XYZ,
            "element face 1",
            "property list int int vertex_indices",
            body=TRIANGLE + struct.pack("<i", 2**31 - 1),
        ),
        "triangles.stl": bytes(80) + struct.pack("<I", 2**32 - 1) + bytes(50),
        "vertices.off": f"OFF\n{BILLION} {BILLION} 0\n0 0 0\n".encode(),
        "index.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 999999999\n",
        "array.npy": npy_header((BILLION, 3)) + bytes(36),
        "zip-array.npz": zip_bomb(1)[:-100],
        "bomb.npz": zip_bomb(3 * 10**7),
        "points.pcd": f"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH {BILLION}\nHEIGHT 1\nDATA binary\n".encode(),
        "bomb.pcd": lzf_bomb(2 * 10**6),
        "json-length.glb": as_glb(gltf(), TRIANGLE, json_length=2**32 - 1),
        "length.glb": struct.pack("<4sII", b"glTF", 2, 2**32 - 1) + struct.pack("<I4s", 2**31, b"JSON"),
        "accessor.glb": embedded(
            accessors=[{"bufferView": 0, "componentType": 5126, "count": BILLION, "type": "VEC3"}]
        ),
        "zeros.glb": embedded(accessors=[{"componentType": 5126, "count": BILLION, "type": "VEC3"}]),
        "buffer.glb": embedded(bufferViews=[{"buffer": 0, "byteLength": 2**40}]),
        "sparse.glb": embedded(
            accessors=[
                {
                    "componentType": 5126,
                    "count": 2 * 10**7,
                    "type": "MAT4",
                    "sparse": {
                        "count": 1,
                        "indices": {"bufferView": 0, "componentType": 5125},
                        "values": {"bufferView": 0},
                    },
                }
            ]
        ),
        "deep.glb": embedded(nodes=[{"children": [level + 1]} for level in range(5000)] + [{"mesh": 0}]),
        "circle.glb": embedded(nodes=[{"mesh": 0, "children": [0]}]),
        "doubling.glb": embedded(nodes=many_nodes),
        "deep-json.glb": as_glb(deep_json, TRIANGLE),
        "deep-json.gltf": deep_json,
        "huge-number.xyz": b"1e400 0 0\n0 1e400 0\n",
        "nan.xyz": b"nan nan nan\n" * 9,
        "nan.npy": npy_header((5, 3)) + np.full((5, 3), np.nan, dtype="<f4").tobytes(),
        "nan.ply": ply("element vertex 3", *XYZ, body=np.full((3, 3), np.nan, dtype="<f4").tobytes()),
        "pickle.npy": npy_header((1,), "|O") + b"cos\nsystem\n(S'echo read'\ntR.",
        "empty.glb": b"",
        "texture.glb": with_huge_texture(),
    }


def readers_of(elsewhere: str) -> dict[str, bytes]:
    """By file name: meshes that are sound but for a reference to a file elsewhere, of the path `elsewhere`."""
    shape = b"v 0 0 0 \nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl m\nf 1/1 2/2 3/3\n"
    found = {
        "library.obj": f"mtllib {elsewhere}\n".encode() + shape,
        "texture.obj": b"mtllib texture.mtl\n" + shape,
        "texture.mtl": f"newmtl m\nmap_Kd {elsewhere}\n".encode(),
    }
    for number, uri in enumerate(
        (elsewhere, f"file://{elsewhere}", elsewhere.replace("/", "%2F"), f"https://localhost{elsewhere}")
    ):
        found[f"buffer{number}.gltf"] = gltf(buffers=[{"byteLength": 36, "uri": uri}])
        found[f"image{number}.glb"] = embedded(
            images=[{"uri": uri}],
            textures=[{"source": 0}],
            materials=[{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
            meshes=[{"primitives": [{"attributes": {"POSITION": 0}, "material": 0}]}],
        )
    return found


def with_huge_texture() -> bytes:
    """A .glb of one triangle with a texture of 3.6 billion pixels."""
    image = huge_png()
    header = textured_gltf(
        images=[{"bufferView": 1, "mimeType": "image/png"}],
        bufferViews=[{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": len(image)}],
        buffers=[{"byteLength": 36 + len(image)}],
    )
    return as_glb(header, TRIANGLE + image)


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
