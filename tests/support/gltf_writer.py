"""A glTF file put together piece by piece, by `struct` alone, for tests that know by hand what it shows."""

import io
import json
import struct
from typing import Any

from PIL import Image

from .tiny_gltf import as_glb, data_uri


FORMATS = {5120: "b", 5121: "B", 5122: "h", 5123: "H", 5124: "i", 5125: "I", 5126: "f", 5130: "d", 5131: "e"}
KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
BYTE, UBYTE, SHORT, USHORT, UINT, FLOAT = 5120, 5121, 5122, 5123, 5125, 5126
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
# A square from (0, 0, 0) to (1, 1, 0), with its upper left corner at the texture's, whose v points down.
SQUARE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]
SQUARE_UV = [(0, 1), (1, 1), (1, 0), (0, 0)]
SQUARE_INDICES = [0, 1, 2, 0, 2, 3]


def png(image: Image.Image, **options: Any) -> bytes:
    """A picture as a PNG file."""
    return encoded(image, "PNG", **options)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as a file of a kind that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def four_quarters(size: int = 8) -> Image.Image:
    """Upper row red and green, lower row blue and yellow."""
    image = Image.new("RGB", (size, size), RED)
    half = size // 2
    image.paste(GREEN, (half, 0, size, half))
    image.paste(BLUE, (0, half, half, size))
    image.paste(YELLOW, (half, half, size, size))
    return image


class Gltf:
    """A file in the making; `json` may be changed at will before `gltf()` or `glb()`."""

    def __init__(self) -> None:
        self.json: dict[str, Any] = {"asset": {"version": "2.0"}}
        self.buffer = bytearray()

    def add(self, kind: str, **item: Any) -> int:
        """An entry of a top-level list; its index."""
        self.json.setdefault(kind, []).append(item)
        return len(self.json[kind]) - 1

    def view(self, data: bytes, **more: Any) -> int:
        self.buffer += bytes(-len(self.buffer) % 4)
        start = len(self.buffer)
        self.buffer += data
        return self.add("bufferViews", buffer=0, byteOffset=start, byteLength=len(data), **more)

    def accessor(self, rows: list, component: int = FLOAT, **more: Any) -> int:
        """Rows of numbers, or numbers, tightly packed."""
        rows = [row if isinstance(row, tuple) else (row,) for row in rows]
        code = f"<{len(rows[0])}{FORMATS[component]}"
        view = self.view(b"".join(struct.pack(code, *row) for row in rows))
        return self.add(
            "accessors", bufferView=view, componentType=component, count=len(rows), type=KINDS[len(rows[0])], **more
        )

    def square(self, **primitive: Any) -> dict[str, Any]:
        """A primitive, the square, of which `primitive` replaces entries and adds attributes."""
        attributes = {"POSITION": self.accessor(SQUARE), **primitive.pop("attributes", {})}
        return {"attributes": attributes, "indices": self.accessor(SQUARE_INDICES, USHORT), **primitive}

    def texture(self, image: bytes, **sampler: int) -> int:
        """A texture of an encoded picture inside the file."""
        texture = {"source": self.add("images", bufferView=self.view(image), mimeType="image/png")}
        if sampler:
            texture["sampler"] = self.add("samplers", **sampler)
        return self.add("textures", **texture)

    def material(self, base: dict[str, Any] | None = None, **material: Any) -> int:
        """A material with `base` as its metallic-roughness."""
        return self.add("materials", **({} if base is None else {"pbrMetallicRoughness": base}), **material)

    def mesh(self, *primitives: dict[str, Any], **mesh: Any) -> int:
        return self.add("meshes", primitives=list(primitives), **mesh)

    def show(self, *nodes: dict[str, Any]) -> "Gltf":
        """Nodes in the file's only scene."""
        self.json["scenes"] = [{"nodes": [self.add("nodes", **node) for node in nodes]}]
        self.json["scene"] = 0
        return self

    def show_mesh(self, *primitives: dict[str, Any], **mesh: Any) -> "Gltf":
        """One node with a mesh of these primitives."""
        return self.show({"mesh": self.mesh(*primitives, **mesh)})

    def gltf(self) -> bytes:
        header = self.json
        if self.buffer:
            uri = data_uri(bytes(self.buffer))
            header = {**self.json, "buffers": [{"byteLength": len(self.buffer), "uri": uri}]}
        return json.dumps(header).encode()

    def glb(self) -> bytes:
        header = {**self.json, "buffers": [{"byteLength": len(self.buffer)}]}
        return as_glb(json.dumps(header).encode(), bytes(self.buffer) + bytes(-len(self.buffer) % 4))
