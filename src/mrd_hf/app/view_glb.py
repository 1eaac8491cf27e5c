"""What the page shows of a shape: a small GLB that turns.

The upload itself is never sent to a browser. Its triangles, colours and textures are written again, so that every
format is shown alike, and nothing that a file names (textures of another site, say) is asked for by the viewer. A
cloud's points become small balls, since a single pixel a point shows no shape.
"""

import io
import json
import struct
from itertools import combinations
from typing import Any

import numpy as np
from PIL import Image

from ..models.shape_colors import srgb_to_linear
from ..models.shapes import MeshPart, TexturedMesh, Wrap
from ..models.surface_sampling import sample_surface


# Beyond either a mesh is shown by points of its surface: 10 MB would be sent, or 64 MB of texels unpacked.
MAX_FACES = 150_000
MAX_TEXELS = 2**24
MAX_BALLS = 2048
SECONDS_A_TURN = 16
HALF_EXTENT = 0.5
FLOAT, UINT16, UINT32 = 5126, 5123, 5125
WRAPS = {"repeat": 10497, "mirror": 33648, "clamp": 33071}

# An icosahedron whose corners' normals point outwards: shaded, it looks round.
GOLDEN = (1 + 5**0.5) / 2
CORNERS = np.array(
    [[0, a, b] for a in (-1, 1) for b in (-GOLDEN, GOLDEN)]
    + [[a, b, 0] for a in (-1, 1) for b in (-GOLDEN, GOLDEN)]
    + [[b, 0, a] for a in (-1, 1) for b in (-GOLDEN, GOLDEN)],
    dtype=np.float32,
) / np.float32((1 + GOLDEN**2) ** 0.5)
# Triples of neighbours, turned so that they are seen from outside.
FACES = np.array(
    [
        triple if np.linalg.det(CORNERS[list(triple)]) > 0 else triple[::-1]
        for triple in combinations(range(12), 3)
        if all(CORNERS[a] @ CORNERS[b] > 0.4 for a, b in combinations(triple, 2))
    ],
    dtype=np.uint32,
)


def mesh_view(mesh: TexturedMesh, up_axis: str) -> tuple[bytes, bool]:
    """The GLB of a mesh, and whether it shows the surface itself, rather than points of it.

    Args:
        mesh (`TexturedMesh`)
        up_axis (`"y"` or `"z"`): Which axis is up in the file; in the view it is up on the screen.
    """
    textures = {id(part.texture): part.texture for part in mesh.parts if part.texture is not None}
    num_texels = sum(texture.shape[0] * texture.shape[1] for texture in textures.values())
    if sum(len(part.triangles) for part in mesh.parts) > MAX_FACES or num_texels > MAX_TEXELS:
        points, colors = sample_surface(mesh, MAX_BALLS, np.random.default_rng(0))
        return cloud_view(points, colors, up_axis), False
    corners = np.concatenate([part.triangles.reshape(-1, 3) for part in mesh.parts])
    center, scale = _frame(corners)
    glb = _Glb()
    for part in mesh.parts:
        positions = (part.triangles.reshape(-1, 3) - center) * scale
        glb.add_surface(positions, part)
    return glb.to_bytes(up_axis), True


def cloud_view(points: np.ndarray, colors: np.ndarray | None, up_axis: str) -> bytes:
    """The GLB of a point cloud; of more than `MAX_BALLS` points, a fixed random choice.

    Args:
        points (`np.ndarray` of shape `(num_points, 3)`): Finite, in any unit.
        colors (`np.ndarray` of shape `(num_points, 3)`, *optional*): sRGB; integers in 0..255 or floats in 0..1.
        up_axis (`"y"` or `"z"`)
    """
    points = np.asarray(points, dtype=np.float64)
    center, scale = _frame(points)
    chosen = np.random.default_rng(0).permutation(len(points))[:MAX_BALLS]
    shown = ((points[chosen] - center) * scale).astype(np.float32)
    srgb = np.full((len(shown), 3), 0.6)
    if colors is not None:
        srgb = colors[chosen] / (255 if colors.dtype.kind in "iu" else 1)
    radius = ball_radius(shown)
    positions = (shown[:, None] + radius * CORNERS).reshape(-1, 3)
    faces = FACES + (len(CORNERS) * np.arange(len(shown), dtype=np.uint32))[:, None, None]
    glb = _Glb()
    glb.add_balls(positions, np.tile(CORNERS, (len(shown), 1)), np.repeat(srgb, len(CORNERS), axis=0), faces)
    return glb.to_bytes(up_axis)


def ball_radius(points: np.ndarray) -> float:
    """A radius at which balls at most of the points touch: from the distances to their fourth-nearest neighbours."""
    if len(points) < 6:
        return 0.05 * HALF_EXTENT
    few = points[:512].astype(np.float32)  # the median of more would be the same
    square = (points**2).sum(axis=1)
    distances = np.maximum((few**2).sum(axis=1)[:, None] + square - 2 * few @ points.T, 0)
    spacing = np.sqrt(np.median(np.partition(distances, 4, axis=1)[:, 4]))
    return float(np.clip(0.55 * spacing, 0.003, 0.1) if np.isfinite(spacing) else 0.01)


def _frame(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre of the box around the points, and the factor that brings the box's half diagonal to `HALF_EXTENT`."""
    low, high = points.min(axis=0), points.max(axis=0)
    half = float(np.linalg.norm((high - low) / 2))
    return (low + high) / 2, HALF_EXTENT / half if half > 0 else 1.0


def _to_linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB in 0..1 to the linear, opaque uint16 RGBA that glTF has at corners."""
    rgba = np.full((len(srgb), 4), 65535, dtype=np.uint16)
    rgba[:, :3] = np.round(np.clip(srgb_to_linear(srgb), 0, 1) * 65535)
    return rgba


def _to_uint16(tints: np.ndarray) -> np.ndarray:
    """Linear RGB and opacity in 0..1 or beyond, as glTF has it at corners."""
    return np.round(np.clip(tints, 0, 1) * 65535).astype(np.uint16)


class _Glb:
    """Collects buffers and what refers to them, and writes a file of version 2.0."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.materials: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self.primitives: list[dict[str, Any]] = []
        self.samplers: list[dict[str, Any]] = []
        self.textures: list[dict[str, Any]] = []
        self.image_of_texture: dict[int, int] = {}
        self.known_materials: dict[tuple, int] = {}

    def add_surface(self, positions: np.ndarray, part: MeshPart) -> None:
        attributes = {"POSITION": self._array(positions.astype(np.float32), FLOAT, "VEC3", bounds=True)}
        if part.texture is not None and part.uv is not None:
            # glTF counts from the texture's top; a float32 far from zero would lose the place within it.
            uv = part.uv.reshape(-1, 2) * (1, -1) + (0, 1)
            shift = np.where(np.array(part.wrap) == "clamp", 0, 2 * np.floor(uv.min(axis=0) / 2))
            attributes["TEXCOORD_0"] = self._array((uv - shift).astype(np.float32), FLOAT, "VEC2")
            has_holes = bool((part.texture[..., 3] < 128).any())
            if part.tint is not None:
                attributes["COLOR_0"] = self._array(_to_uint16(part.tint.reshape(-1, 4)), UINT16, "VEC4")
                has_holes = has_holes or bool((part.tint[..., 3] < 1).any())
            material = self._material(has_holes, part.texture, part.wrap)
        elif part.tint is not None:
            attributes["COLOR_0"] = self._array(_to_uint16(part.tint.reshape(-1, 4)), UINT16, "VEC4")
            material = self._material(bool((part.tint[..., 3] < 1).any()))
        else:
            attributes["COLOR_0"] = self._array(_to_linear(part.corner_colors.reshape(-1, 3) / 255), UINT16, "VEC4")
            material = self._material()
        self.primitives.append({"attributes": attributes, "material": material})

    def add_balls(self, positions: np.ndarray, normals: np.ndarray, srgb: np.ndarray, faces: np.ndarray) -> None:
        attributes = {
            "POSITION": self._array(positions, FLOAT, "VEC3", bounds=True),
            "NORMAL": self._array(normals, FLOAT, "VEC3"),
            "COLOR_0": self._array(_to_linear(srgb), UINT16, "VEC4"),
        }
        indices = self._array(faces.reshape(-1), UINT32, "SCALAR")
        self.primitives.append({"attributes": attributes, "indices": indices, "material": self._material()})

    def to_bytes(self, up_axis: str) -> bytes:
        quarters = np.arange(5) * np.pi / 2
        turn = np.stack([0 * quarters, np.sin(quarters / 2), 0 * quarters, np.cos(quarters / 2)], axis=1)
        times = self._array(np.linspace(0, SECONDS_A_TURN, 5, dtype=np.float32), FLOAT, "SCALAR", bounds=True)
        rotations = self._array(turn.astype(np.float32), FLOAT, "VEC4")
        shape: dict[str, Any] = {"mesh": 0}
        if up_axis == "z":
            shape["rotation"] = [-(0.5**0.5), 0, 0, 0.5**0.5]
        header: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "mrd_hf"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"name": "turntable", "children": [1]}, shape],
            "meshes": [{"primitives": self.primitives}],
            "materials": self.materials,
            "animations": [
                {
                    "channels": [{"sampler": 0, "target": {"node": 0, "path": "rotation"}}],
                    "samplers": [{"input": times, "output": rotations}],
                }
            ],
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.data)}],
        }
        if self.images:
            header["images"] = self.images
            header |= {"textures": self.textures, "samplers": self.samplers}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        return b"".join(
            [
                struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(self.data)),
                struct.pack("<I4s", len(text), b"JSON") + text,
                struct.pack("<I4s", len(self.data), b"BIN\0") + bytes(self.data),
            ]
        )

    def _array(self, values: np.ndarray, component: int, kind: str, bounds: bool = False) -> int:
        accessor = {"bufferView": self._view(values.tobytes()), "componentType": component, "type": kind}
        accessor["count"] = len(values)
        if component == UINT16:
            accessor["normalized"] = True
        if bounds:
            rows = values.reshape(len(values), -1)
            accessor |= {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def _view(self, data: bytes) -> int:
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)})
        self.data += data + bytes(-len(data) % 4)
        return len(self.views) - 1

    def _material(
        self,
        has_holes: bool = False,
        texture: np.ndarray | None = None,
        wrap: tuple[Wrap, Wrap] = ("repeat", "repeat"),
    ) -> int:
        look = (has_holes, None if texture is None else id(texture), wrap)
        if look not in self.known_materials:
            surface: dict[str, Any] = {"metallicFactor": 0, "roughnessFactor": 0.9}
            if texture is not None:
                self.samplers.append({"wrapS": WRAPS[wrap[0]], "wrapT": WRAPS[wrap[1]]})
                self.textures.append({"source": self._image(texture), "sampler": len(self.samplers) - 1})
                surface["baseColorTexture"] = {"index": len(self.textures) - 1}
            # What is drawn in a file is often one-sided, its faces in any order.
            material = {"pbrMetallicRoughness": surface, "doubleSided": True}
            self.materials.append(material | ({"alphaMode": "MASK"} if has_holes else {}))
            self.known_materials[look] = len(self.materials) - 1
        return self.known_materials[look]

    def _image(self, texture: np.ndarray) -> int:
        if id(texture) not in self.image_of_texture:
            has_holes = bool((texture[..., 3] < 128).any())
            file = io.BytesIO()
            if has_holes:
                Image.fromarray(texture).save(file, "PNG", compress_level=1)
            else:
                Image.fromarray(np.ascontiguousarray(texture[..., :3])).save(file, "JPEG", quality=88)
            mime = "image/png" if has_holes else "image/jpeg"
            self.images.append({"bufferView": self._view(file.getvalue()), "mimeType": mime})
            self.image_of_texture[id(texture)] = len(self.images) - 1
        return self.image_of_texture[id(texture)]
