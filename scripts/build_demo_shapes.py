#!/usr/bin/env python
"""Build the shapes in scripts/demo_data/shapes that the README's snippets read: a chair, as .glb and as .obj.

    python scripts/build_demo_shapes.py

Drawn here, of beams and boards, in metres: y up, the front towards +z, on the floor at y = 0. CC0.
"""

import argparse
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np


# sRGB, as pictures have it.
COLORS = {"wood": (0.58, 0.36, 0.19), "dark_wood": (0.36, 0.21, 0.11), "fabric": (0.75, 0.10, 0.12)}
# The sides of a beam, each as seen from outside, of the corners 0 to 3 around its start and 4 to 7 around its end.
SIDES = ((3, 2, 1, 0), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7))


@dataclass(frozen=True)
class Beam:
    """A straight piece with rectangular ends, level ones where it stands.

    Args:
        start, end (`tuple` of 3 `float`): Middle of its ends, in metres.
        start_size, end_size (`tuple` of 2 `float`): Extents of its ends along the axes across it.
        material (`str`): A key of `COLORS`.
    """

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    start_size: tuple[float, float]
    end_size: tuple[float, float]
    material: str

    def corners(self) -> np.ndarray:
        """Float64 of shape `(8, 3)`."""
        start, end = np.array(self.start), np.array(self.end)
        along = int(np.abs(end - start).argmax())
        across = [(along + 1) % 3, (along + 2) % 3]
        # Whichever way it goes, its sides are seen from outside.
        turns = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        if end[along] < start[along]:
            turns = turns[::-1]
        corners = np.empty((8, 3))
        for first, (middle, size) in enumerate(((start, self.start_size), (end, self.end_size))):
            for i, turn in enumerate(turns):
                corners[4 * first + i] = middle
                corners[4 * first + i, across] += np.array(turn) * np.array(size) / 2
        return corners


def chair() -> list[Beam]:
    """A dining chair with a padded seat and back: 0.46 m wide, 0.92 m high."""
    pieces = [
        Beam((0, 0.43, -0.22), (0, 0.43, 0.22), (0.44, 0.03), (0.46, 0.03), "wood"),
        Beam((0, 0.467, -0.19), (0, 0.467, 0.21), (0.39, 0.045), (0.42, 0.045), "fabric"),
    ]
    for side in (-1, 1):
        x = 0.195 * side
        pieces += [
            Beam((1.06 * x, 0, 0.21), (x, 0.42, 0.19), (0.03, 0.03), (0.042, 0.042), "wood"),
            # The rear legs go on as posts of the back, which leans.
            Beam((x, 0, -0.25), (x, 0.45, -0.2), (0.03, 0.03), (0.042, 0.042), "wood"),
            Beam((x, 0.45, -0.2), (x, 0.9, -0.29), (0.042, 0.042), (0.03, 0.03), "wood"),
            Beam((x, 0.39, -0.19), (x, 0.39, 0.18), (0.05, 0.02), (0.05, 0.02), "dark_wood"),
            Beam((x, 0.2, -0.215), (x, 0.2, 0.19), (0.025, 0.02), (0.025, 0.02), "dark_wood"),
        ]
    for z, y in ((0.185, 0.39), (-0.2, 0.39)):
        pieces.append(Beam((-0.19, y, z), (0.19, y, z), (0.05, 0.02), (0.05, 0.02), "dark_wood"))
    pieces += [
        Beam((-0.19, 0.2, 0), (0.19, 0.2, 0), (0.025, 0.02), (0.025, 0.02), "dark_wood"),
        Beam((-0.205, 0.89, -0.287), (0.205, 0.89, -0.287), (0.06, 0.028), (0.06, 0.028), "wood"),
        Beam((-0.18, 0.56, -0.222), (0.18, 0.56, -0.222), (0.04, 0.022), (0.04, 0.022), "wood"),
        Beam((0, 0.57, -0.222), (0, 0.865, -0.281), (0.045, 0.35), (0.04, 0.35), "fabric"),
    ]
    return pieces


def triangles_by_material(pieces: list[Beam]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Corners `(n, 3)` in float32 and triangles `(m, 3)` of the pieces of each material."""
    meshes = {}
    for material in COLORS:
        corners = [piece.corners() for piece in pieces if piece.material == material]
        triangles = [
            8 * i + np.array(triangle)
            for i in range(len(corners))
            for a, b, c, d in SIDES
            for triangle in ((a, b, c), (a, c, d))
        ]
        meshes[material] = np.concatenate(corners).astype(np.float32), np.array(triangles)
    return meshes


def as_obj(pieces: list[Beam], name: str) -> tuple[str, str]:
    """Wavefront OBJ, and the .mtl file of its materials."""
    lines = ["# A chair of the package mrd-hf. CC0-1.0.", f"mtllib {name}.mtl", f"o {name}"]
    first = 1
    for material, (corners, triangles) in triangles_by_material(pieces).items():
        lines += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in corners]
        lines += [f"usemtl {material}", *(f"f {a} {b} {c}" for a, b, c in triangles + first)]
        first += len(corners)
    materials = [f"newmtl {material}\nKd {r} {g} {b}" for material, (r, g, b) in COLORS.items()]
    return "\n".join(lines) + "\n", "\n".join(materials) + "\n"


def as_glb(pieces: list[Beam], name: str) -> bytes:
    """Binary glTF: a mesh with a primitive a material, whose colors are linear as glTF has them."""
    buffer = b""
    views: list[dict] = []
    accessors: list[dict] = []
    primitives = []

    def add(data: np.ndarray, kind: str, component: int, target: int, **bounds: list[float]) -> int:
        nonlocal buffer
        views.append({"buffer": 0, "byteOffset": len(buffer), "byteLength": data.nbytes, "target": target})
        accessors.append(
            {"bufferView": len(views) - 1, "componentType": component, "count": len(data), "type": kind, **bounds}
        )
        buffer += data.tobytes() + b"\0" * (-data.nbytes % 4)
        return len(accessors) - 1

    for place, (corners, triangles) in enumerate(triangles_by_material(pieces).values()):
        bounds = {"min": corners.min(axis=0).tolist(), "max": corners.max(axis=0).tolist()}
        positions = add(corners.astype("<f4"), "VEC3", 5126, 34962, **bounds)
        indices = add(triangles.reshape(-1).astype("<u2"), "SCALAR", 5123, 34963)
        primitives.append({"attributes": {"POSITION": positions}, "indices": indices, "material": place})
    materials = [
        {
            "name": material,
            "pbrMetallicRoughness": {
                "baseColorFactor": [*(round(to_linear(value), 4) for value in color), 1],
                "metallicFactor": 0,
                "roughnessFactor": 0.8,
            },
        }
        for material, color in COLORS.items()
    ]
    header = {
        "asset": {"version": "2.0", "copyright": "CC0-1.0", "generator": "mrd-hf"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
        "meshes": [{"primitives": primitives, "name": name}],
        "materials": materials,
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(buffer)}],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(buffer), b"BIN\0") + buffer
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def to_linear(value: float) -> float:
    """A component of an sRGB color as light adds it up."""
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "demo_data" / "shapes", metavar="DIR")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    obj, mtl = as_obj(chair(), "chair")
    (out / "chair.obj").write_text(obj)
    (out / "chair.mtl").write_text(mtl)
    (out / "chair.glb").write_bytes(as_glb(chair(), "chair"))
    for file in sorted(out.glob("chair.*")):
        print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
