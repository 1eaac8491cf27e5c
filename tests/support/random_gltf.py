"""Random glTF scenes, written by hand, with a straightforward computation of what they show.

Every primitive has one colour, so that the mean colour of the surface is that of its areas. Nothing of the reader is
used here: bytes are packed by `struct`, transforms are applied point by point.
"""

import base64
import json
import math
import random
import struct
from dataclasses import dataclass, field
from typing import Any


FORMATS = {5120: "b", 5121: "B", 5122: "h", 5123: "H", 5125: "I", 5126: "f"}
LIMITS = {5120: 127, 5121: 255, 5122: 32767, 5123: 65535}
KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}


@dataclass
class RandomScene:
    """A .gltf file, and what it shows.

    Args:
        data (`bytes`): The file.
        triangles (list of three points each): In the scene's frame.
        colors (list of sRGB colours, 0..255): Of each triangle.
    """

    data: bytes
    triangles: list[list[tuple[float, float, float]]] = field(default_factory=list)
    colors: list[tuple[float, float, float]] = field(default_factory=list)


class _Writer:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.buffer = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, stride: int | None = None) -> int:
        self.buffer += bytes(-len(self.buffer) % 4)
        view = {"buffer": 0, "byteOffset": len(self.buffer), "byteLength": len(data)}
        self.views.append(view | ({"byteStride": stride} if stride else {}))
        self.buffer += data
        return len(self.views) - 1

    def accessor(self, rows: list[tuple[float, ...]], component: int, normalized: bool = False) -> int:
        """Rows as they are to be stored; interleaved with rubbish or sparse, by chance."""
        code, width = FORMATS[component], len(rows[0])
        size = struct.calcsize(f"<{width}{code}")
        accessor: dict[str, Any] = {"componentType": component, "count": len(rows), "type": KINDS[width]}
        if normalized:
            accessor["normalized"] = True
        packed = [struct.pack(f"<{width}{code}", *row) for row in rows]
        if self.rng.random() < 0.3:
            # All but some rows are elsewhere, or zeros.
            places = sorted(self.rng.sample(range(len(rows)), self.rng.randint(1, len(rows))))
            if self.rng.random() < 0.5:
                base = [bytes(size) if place in places else packed[place] for place in range(len(rows))]
                accessor["bufferView"] = self.view(b"".join(base))
            else:
                places = list(range(len(rows)))
            accessor["sparse"] = {
                "count": len(places),
                "indices": {"bufferView": self.view(struct.pack(f"<{len(places)}H", *places)), "componentType": 5123},
                "values": {"bufferView": self.view(b"".join(packed[place] for place in places))},
            }
        elif self.rng.random() < 0.4 and width > 1:
            stride = size + self.rng.choice((4, 8)) + -size % 4
            offset = self.rng.choice((0, 4))
            rows_ = [bytes([7] * offset) + row + bytes([9] * (stride - size - offset)) for row in packed]
            rows_ = rows_ if offset + size <= stride else [row + bytes(stride - size) for row in packed]
            accessor |= {"bufferView": self.view(b"".join(rows_), stride)}
            accessor |= {"byteOffset": offset if offset + size <= stride else 0}
        else:
            # Rows of fewer than four bytes are padded, as the specification wants it of vertices.
            stride = size + -size % 4 if width > 1 else size
            accessor["bufferView"] = self.view(
                b"".join(row + bytes(stride - size) for row in packed), stride if stride != size else None
            )
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def random_scene(seed: int) -> RandomScene:
    """A scene of a few nodes, one below the other or side by side, with meshes of a few primitives."""
    rng = random.Random(seed)
    writer = _Writer(rng)
    materials: list[dict[str, Any]] = []
    meshes, shown = [], []
    for _ in range(rng.randint(1, 3)):
        primitives, faces = [], []
        for _ in range(rng.randint(1, 2)):
            primitive, triangles, color = _primitive(rng, writer, materials)
            primitives.append(primitive)
            faces.append([(triangle, color) for triangle in triangles])
        meshes.append({"primitives": primitives})
        shown.append(faces)
    nodes: list[dict[str, Any]] = []
    scene = RandomScene(b"")
    roots = []
    for _ in range(rng.randint(1, 3)):
        parent: list[list[float]] = _identity()
        above = None
        for _ in range(rng.randint(1, 3)):
            node, local = _node(rng)
            world = _times(parent, local)
            index = len(nodes)
            nodes.append(node)
            if above is None:
                roots.append(index)
            else:
                nodes[above]["children"] = [index]
            if rng.random() < 0.7:
                mesh = rng.randrange(len(meshes))
                node["mesh"] = mesh
                instances = [_identity()]
                if rng.random() < 0.3:
                    moved = [tuple(_float32(rng.uniform(-3, 3)) for _ in range(3)) for _ in range(rng.randint(1, 3))]
                    scales = [tuple(_float32(rng.uniform(0.3, 2)) for _ in range(3)) for _ in moved]
                    attributes = {"TRANSLATION": writer.accessor(moved, 5126), "SCALE": writer.accessor(scales, 5126)}
                    node["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}
                    instances = [
                        [[s[0], 0, 0, t[0]], [0, s[1], 0, t[1]], [0, 0, s[2], t[2]], [0, 0, 0, 1]]
                        for t, s in zip(moved, scales, strict=True)
                    ]
                for faces in shown[mesh]:  # primitive by primitive, as the reader gives them
                    for transform in [_times(world, instance) for instance in instances]:
                        for triangle, color in faces:
                            scene.triangles.append([_moved(transform, point) for point in triangle])
                            scene.colors.append(color)
            parent, above = world, index
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": []}, {"nodes": roots}],
        "scene": 1,
        "nodes": nodes,
        "meshes": meshes,
        "materials": materials,
        "accessors": writer.accessors,
        "bufferViews": writer.views,
        "buffers": [
            {
                "byteLength": len(writer.buffer),
                "uri": "data:application/octet-stream;base64," + base64.b64encode(bytes(writer.buffer)).decode(),
            }
        ],
    }
    if not materials:
        del document["materials"]
    scene.data = json.dumps(document).encode()
    return scene


def _primitive(
    rng: random.Random, writer: _Writer, materials: list[dict[str, Any]]
) -> tuple[dict[str, Any], list[list[tuple[float, ...]]], tuple[float, float, float]]:
    count = rng.randint(3, 8)
    component = rng.choice((5126, 5120, 5122, 5121, 5123))
    attributes = {}
    if component == 5126:
        points = [tuple(_float32(rng.uniform(-2, 2)) for _ in range(3)) for _ in range(count)]
        attributes["POSITION"] = writer.accessor(points, component)
    else:
        limit = LIMITS[component]
        stored = [
            tuple(rng.randint(-limit if component in (5120, 5122) else 0, limit) for _ in range(3))
            for _ in range(count)
        ]
        normalized = rng.random() < 0.7
        points = [tuple(value / limit if normalized else float(value) for value in row) for row in stored]
        attributes["POSITION"] = writer.accessor(stored, component, normalized)
    primitive: dict[str, Any] = {"attributes": attributes}
    order = list(range(count))
    if rng.random() < 0.6:
        order = [rng.randrange(count) for _ in range(rng.randint(3, 9))]
        primitive["indices"] = writer.accessor([(index,) for index in order], rng.choice((5121, 5123, 5125)))
    mode = rng.choice((None, 4, 5, 6))
    if mode is not None:
        primitive["mode"] = mode
    if mode == 5:
        # The specification swaps two corners of every other triangle, so that all show the same side.
        corners = [(order[i], order[i + 1 + i % 2], order[i + 2 - i % 2]) for i in range(len(order) - 2)]
    elif mode == 6:
        corners = [(order[0], order[i + 1], order[i + 2]) for i in range(len(order) - 2)]
    else:
        corners = [tuple(order[i : i + 3]) for i in range(0, len(order) - 2, 3)]
    light = [1.0, 1.0, 1.0]
    if rng.random() < 0.6:
        factor = [round(rng.random(), 3) for _ in range(3)]
        primitive["material"] = len(materials)
        materials.append({"pbrMetallicRoughness": {"baseColorFactor": [*factor, 1.0]}})
        light = [a * b for a, b in zip(light, factor, strict=True)]
    if rng.random() < 0.5:
        component = rng.choice((5121, 5123, 5126))
        limit = LIMITS.get(component, 1)
        row = tuple(_float32(rng.random()) if limit == 1 else rng.randint(0, limit) for _ in range(rng.choice((3, 4))))
        attributes["COLOR_0"] = writer.accessor([row] * count, component, limit != 1)
        light = [a * b / limit for a, b in zip(light, row, strict=False)]
    color = tuple(255 * _srgb(value) for value in light)
    return primitive, [[points[index] for index in corner] for corner in corners], (color[0], color[1], color[2])


def _node(rng: random.Random) -> tuple[dict[str, Any], list[list[float]]]:
    if rng.random() < 0.3:
        rows = [[rng.uniform(-1, 1) for _ in range(4)] for _ in range(3)] + [[0.0, 0.0, 0.0, 1.0]]
        return {"matrix": [rows[row][column] for column in range(4) for row in range(4)]}, rows
    node: dict[str, Any] = {}
    local = _identity()
    if rng.random() < 0.7:
        node["translation"] = [rng.uniform(-5, 5) for _ in range(3)]
        for row in range(3):
            local[row][3] = node["translation"][row]
    if rng.random() < 0.6:
        axis, angle = rng.randrange(3), rng.uniform(-math.pi, math.pi)
        node["rotation"] = [math.sin(angle / 2) if i == axis else 0.0 for i in range(3)] + [math.cos(angle / 2)]
        turn = _identity()
        a, b = [(1, 2), (2, 0), (0, 1)][axis]
        turn[a][a] = turn[b][b] = math.cos(angle)
        turn[a][b], turn[b][a] = -math.sin(angle), math.sin(angle)
        local = _times(local, turn)
    if rng.random() < 0.6:
        node["scale"] = [rng.choice((-1, 1)) * rng.uniform(0.2, 3) for _ in range(3)]
        scale = [*node["scale"], 1.0]
        local = _times(local, [[scale[i] if i == j else 0.0 for j in range(4)] for i in range(4)])
    return node, local


def _identity() -> list[list[float]]:
    return [[float(row == column) for column in range(4)] for row in range(4)]


def _times(a: list[list[float]], b: list[list[float]]) -> list[list[float]]:
    return [[sum(a[i][k] * b[k][j] for k in range(4)) for j in range(4)] for i in range(4)]


def _moved(transform: list[list[float]], point: tuple[float, ...]) -> tuple[float, float, float]:
    x, y, z = (sum(transform[i][k] * point[k] for k in range(3)) + transform[i][3] for i in range(3))
    return x, y, z


def _float32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def _srgb(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
