"""Small sound files of every format that is read, for mutated_shapes.py to damage.

Each is a folder's content: names and bytes, the shape first. They are written by hand here, but for pictures (Pillow),
arrays (numpy) and what is compressed (DracoPy, meshopt, which are left out where they are not installed).
"""

import base64
import io
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from mutation_parts.further_shape_seeds import Folder, further_folders, zipped


CODES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
FLOAT_COLOR = [(1.0, 0.5, 0.0), (0.0, 1.0, 0.25)]


def sound_folders() -> dict[str, Folder]:
    """Every file, by what it is for: "glb-textured", "ply-ascii", ..."""
    folders = {**_gltf(), **_obj(), **_ply(), **_stl(), **_off(), **_pcd(), **_arrays()}
    for write in (_draco, _meshopt):
        try:
            folders.update(write())
        except ImportError:
            continue
    return {**folders, **further_folders(folders["obj-textured"])}


def bumpy_grid(size: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices `(size ** 2, 3)`, texture coordinates `(size ** 2, 2)` and triangles, a square with hills."""
    row, column = np.mgrid[:size, :size].reshape(2, -1)
    uv = np.stack([column, row], axis=1) / (size - 1)
    vertices = np.concatenate([uv, np.sin(row + 2 * column)[:, None] / 4], axis=1)
    corner = (row * size + column).reshape(size, size)[:-1, :-1].reshape(-1, 1)
    faces = np.concatenate([corner + [0, 1, size], corner + [1, size + 1, size]])
    return vertices.astype("<f4"), uv.astype("<f4"), faces.astype("<u2")


def picture(form: str = "PNG", mode: str = "RGB", size: int = 12) -> bytes:
    pixels = np.arange(size * size * 3, dtype=np.uint8).reshape(size, size, 3) * 7
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, form)
    return buffer.getvalue()


def as_glb(document: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


class Scene:
    """A glTF document of one mesh, to which accessors and images are added."""

    def __init__(self) -> None:
        self.binary = b""
        self.document: dict[str, Any] = {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0, "scale": [1, 2, 1]}],
            "meshes": [{"primitives": [{"attributes": {}}]}],
            "accessors": [],
            "bufferViews": [],
        }
        self.primitive: dict[str, Any] = self.document["meshes"][0]["primitives"][0]

    def view(self, data: bytes) -> int:
        self.document["bufferViews"].append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)})
        self.binary += data + bytes(-len(data) % 4)
        return len(self.document["bufferViews"]) - 1

    def accessor(self, values: np.ndarray, **more: Any) -> int:
        values = values.reshape(len(values), -1)
        accessor = {"componentType": CODES[values.dtype.str[1:]], "count": len(values), "type": TYPES[values.shape[1]]}
        self.document["accessors"].append({"bufferView": self.view(values.tobytes()), **accessor, **more})
        return len(self.document["accessors"]) - 1

    def add_grid(self, with_uv: bool = True) -> None:
        vertices, uv, faces = bumpy_grid()
        self.primitive["attributes"]["POSITION"] = self.accessor(vertices)
        if with_uv:
            self.primitive["attributes"]["TEXCOORD_0"] = self.accessor(uv)
        self.primitive["indices"] = self.accessor(faces.reshape(-1))

    def add_texture(self, image: dict[str, Any]) -> None:
        self.document |= {"images": [image], "samplers": [{"wrapS": 33071}], "textures": [{"source": 0, "sampler": 0}]}
        reference = {"index": 0, "extensions": {"KHR_texture_transform": {"scale": [2, 2], "rotation": 0.3}}}
        factor = [1, 0.5, 1, 1]
        material = {"baseColorTexture": reference, "baseColorFactor": factor}
        self.document["materials"] = [{"pbrMetallicRoughness": material, "alphaMode": "MASK", "alphaCutoff": 0.2}]
        self.document["extensionsUsed"] = ["KHR_texture_transform"]
        self.primitive["material"] = 0

    def glb(self) -> bytes:
        self.document["buffers"] = [{"byteLength": len(self.binary)}]
        return as_glb(self.document, self.binary)

    def gltf(self, uri: str | None = None) -> bytes:
        uri = uri or "data:application/octet-stream;base64," + base64.b64encode(self.binary).decode()
        self.document["buffers"] = [{"byteLength": len(self.binary), "uri": uri}]
        return json.dumps(self.document, indent=1).encode()


def _gltf() -> dict[str, Folder]:
    folders = {}
    for form in ("PNG", "JPEG", "WEBP"):
        scene = Scene()
        scene.add_grid()
        scene.add_texture({"bufferView": scene.view(picture(form)), "mimeType": f"image/{form.lower()}"})
        folders[f"glb-{form.lower()}"] = {"shape.glb": scene.glb()}
    scene = Scene()
    scene.add_grid()
    scene.add_texture({"uri": "skin%20a.png"})
    folders["gltf-files"] = {
        "shape.gltf": scene.gltf("shape.bin"),
        "shape.bin": scene.binary,
        "skin a.png": picture(mode="P"),
    }
    scene = Scene()
    scene.add_grid(with_uv=False)
    indices = {"bufferView": scene.view(np.array([3, 9, 20], "<u2").tobytes()), "componentType": 5123}
    values = {"bufferView": scene.view(np.ones((3, 3), "<f4").tobytes())}
    scene.document["accessors"][0]["sparse"] = {"count": 3, "indices": indices, "values": values}
    colors = scene.accessor(np.tile(np.array([[255, 100, 0, 255]], "<u1"), (64, 1)), normalized=True)
    scene.primitive["attributes"]["COLOR_0"] = colors
    folders["gltf-sparse"] = {"shape.gltf": scene.gltf()}
    folders["glb-posed"] = {"shape.glb": _posed()}
    for name, mode in (("glb-points", 0), ("glb-strip", 5), ("glb-fan", 6)):
        scene = Scene()
        vertices, uv, _ = bumpy_grid()
        scene.primitive["attributes"]["POSITION"] = scene.accessor(np.round(vertices * 90).astype("<i2"))
        scene.primitive["attributes"]["COLOR_0"] = scene.accessor(np.repeat(uv, 2, axis=1)[:, :3].copy())
        scene.primitive["mode"] = mode
        folders[name] = {"shape.glb": scene.glb()}
    return folders


def _posed() -> bytes:
    """A skin, a morph target, instances, nodes below nodes."""
    scene = Scene()
    scene.add_grid(with_uv=False)
    attributes = scene.primitive["attributes"]
    attributes["JOINTS_0"] = scene.accessor(np.tile(np.array([[0, 1, 0, 0]], "<u1"), (64, 1)))
    attributes["WEIGHTS_0"] = scene.accessor(np.tile(np.array([[0.25, 0.75, 0, 0]], "<f4"), (64, 1)))
    scene.primitive["targets"] = [{"POSITION": scene.accessor(np.ones((64, 3), "<f4"))}]
    matrices = scene.accessor(np.tile(np.eye(4, dtype="<f4").reshape(1, 16), (2, 1)))
    places = scene.accessor(np.arange(9, dtype="<f4").reshape(3, 3))
    document = scene.document
    document["meshes"][0]["weights"] = [0.5]
    document["meshes"].append({"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": 4}]})
    document["skins"] = [{"joints": [1, 2], "inverseBindMatrices": matrices}]
    document["nodes"] = [
        {"mesh": 0, "skin": 0, "children": [1], "name": "body"},
        {"children": [2], "translation": [0, 1, 0], "rotation": [0, 0, 0.6, 0.8]},
        {"mesh": 1, "matrix": np.eye(4).reshape(-1).tolist(), "extensions": {}},
    ]
    instances = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": places}}}
    document["nodes"][2]["extensions"] = instances
    document["extensionsUsed"] = document["extensionsRequired"] = ["EXT_mesh_gpu_instancing"]
    return scene.glb()


def _draco() -> dict[str, Folder]:
    import DracoPy

    scene = Scene()
    vertices, _, faces = bumpy_grid()
    packed = DracoPy.encode(vertices, faces.astype(np.uint32), quantization_bits=12)
    extension = {"bufferView": scene.view(packed), "attributes": {"POSITION": 0}}
    scene.document["accessors"] = [
        {"componentType": 5126, "count": len(vertices), "type": "VEC3"},
        {"componentType": 5123, "count": faces.size, "type": "SCALAR"},
    ]
    scene.primitive |= {"attributes": {"POSITION": 0}, "indices": 1}
    scene.primitive["extensions"] = {"KHR_draco_mesh_compression": extension}
    scene.document["extensionsUsed"] = scene.document["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    return {"glb-draco": {"shape.glb": scene.glb()}}


def _meshopt() -> dict[str, Folder]:
    import meshopt

    scene = Scene()
    scene.add_grid(with_uv=False)
    vertices, _, faces = bumpy_grid()
    for view, mode, data, count, stride in (
        (0, "ATTRIBUTES", meshopt.encode_vertex_buffer_level(vertices, 2, 0), len(vertices), 12),
        (1, "TRIANGLES", meshopt.encode_index_buffer(faces.astype(np.uint32)), faces.size, 2),
    ):
        place = scene.document["bufferViews"][scene.view(bytes(data))]
        scene.document["bufferViews"].pop()
        packed = {**place, "count": count, "byteStride": stride, "mode": mode}
        scene.document["bufferViews"][view]["extensions"] = {"EXT_meshopt_compression": packed}
    scene.document["extensionsUsed"] = scene.document["extensionsRequired"] = ["EXT_meshopt_compression"]
    return {"glb-meshopt": {"shape.glb": scene.glb()}}


def _lines(rows: np.ndarray, before: str = "") -> str:
    return "".join(before + " ".join(f"{value:g}" for value in row) + "\n" for row in rows)


def _obj() -> dict[str, Folder]:
    vertices, uv, corners = bumpy_grid(5)
    faces = corners.tolist()
    text = "mtllib shape.mtl\no grid\n" + _lines(vertices, "v ") + _lines(uv, "vt ") + "usemtl skin\n"
    text += "".join("f " + " ".join(f"{corner + 1}/{corner + 1}" for corner in face) + "\n" for face in faces[:20])
    text += "g rest\nusemtl plain\ns 1\n" + "".join(
        "f " + " ".join(str(corner - 25) for corner in face) + "\n" for face in faces[20:]
    )
    library = "newmtl skin\nKd 1 0.5 0.2\nmap_Kd -s 2 2 skin.png\n\nnewmtl plain\nKd 0.3\n"
    colored = np.concatenate([vertices, np.clip(vertices, 0, 1)], axis=1)
    polygons = "f 1 2 7 3 8\nf 1//1 2//1 3//1\nl 1 2\nf 10 11 15 \\\n 12\n"
    return {
        "obj-textured": {"shape.obj": text.encode(), "shape.mtl": library.encode(), "skin.png": picture()},
        "obj-colored": {"shape.obj": (_lines(colored, "v ") + "vn 0 0 1\n" + polygons).encode()},
        "obj-points": {"shape.obj": _lines(vertices, "v ").encode()},
    }


def _ply_header(form: str, elements: dict[str, tuple[int, list[str]]], comment: str = "made here") -> bytes:
    lines = ["ply", f"format {form} 1.0", f"comment {comment}"]
    for name, (count, properties) in elements.items():
        lines += [f"element {name} {count}", *(f"property {each}" for each in properties)]
    return "\n".join([*lines, "end_header\n"]).encode()


def _ply() -> dict[str, Folder]:
    vertices, uv, faces = bumpy_grid(5)
    places, colors = [f"float {axis}" for axis in "xyz"], [f"uchar {name}" for name in ("red", "green", "blue")]
    bytes_of = np.clip(vertices * 255, 0, 255).astype(np.uint8)
    corners = "list uchar int vertex_indices"
    rows = [
        f"{x:g} {y:g} {z:g} {r} {g} {b}\n"
        for (x, y, z), (r, g, b) in zip(vertices.tolist(), bytes_of.tolist(), strict=True)
    ]
    header = _ply_header("ascii", {"vertex": (len(vertices), [*places, *colors]), "face": (len(faces), [corners])})
    folders = {"ply-ascii": {"shape.ply": header + "".join(rows).encode() + _lines(faces, "3 ").encode()}}
    for name, form, order in (("little", "binary_little_endian", "<"), ("big", "binary_big_endian", ">")):
        counts = {
            "vertex": (len(vertices), [*places, "float s", "float t"]),
            "face": (len(faces) + 1, [corners, "uchar red", "uchar green", "uchar blue"]),
            "edge": (1, ["int vertex1", "int vertex2"]),
        }
        body = np.concatenate([vertices, uv], axis=1).astype(f"{order}f4").tobytes()
        for face in [*faces.tolist(), [0, 1, 6, 5]]:
            body += struct.pack(f"{order}B{len(face)}iBBB", len(face), *face, 200, 100, 50)
        comment = "TextureFile skin.png"
        data = _ply_header(form, counts, comment) + body + struct.pack(f"{order}2i", 0, 1)
        folders[f"ply-{name}"] = {"shape.ply": data, "skin.png": picture()}
    values = np.concatenate([vertices, vertices, vertices[:, :1]], axis=1)
    names = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
    header = _ply_header("binary_little_endian", {"vertex": (len(values), [f"float {name}" for name in names])})
    folders["ply-splats"] = {"shape.ply": header + values.tobytes()}
    strip = [0, 5, 1, 6, 2, -1, 10, 15, 11]
    counts = {"vertex": (len(vertices), places), "tristrips": (1, ["list int int vertex_indices"])}
    body = vertices.tobytes() + struct.pack(f"<{len(strip) + 1}i", len(strip), *strip)
    folders["ply-strips"] = {"shape.ply": _ply_header("binary_little_endian", counts) + body}
    return folders


def _stl() -> dict[str, Folder]:
    vertices, _, faces = bumpy_grid(5)
    facets = vertices[faces]
    text = "".join(
        "facet normal 0 0 1\nouter loop\n" + _lines(facet, "vertex ") + "endloop\nendfacet\n" for facet in facets
    )
    header = b"made here COLOR=\x80\x40\x20\xff".ljust(80, b" ")
    body = b"".join(struct.pack("<12fH", 0, 0, 1, *facet.reshape(-1), 0x7C1F) for facet in facets)
    return {
        "stl-ascii": {"shape.stl": f"solid grid\n{text}endsolid grid\n".encode()},
        "stl-binary": {"shape.stl": header + struct.pack("<I", len(facets)) + body},
    }


def _off() -> dict[str, Folder]:
    vertices, uv, faces = bumpy_grid(5)
    colors, fourth = np.round(np.clip(vertices, 0, 1) * 255), np.ones((len(vertices), 1))
    polygons = _lines(faces, "3 ") + "4 0 1 6 5 255 0 0\n5 0 1 2 7 6\n"
    counts = f"{len(vertices)} {len(faces) + 2} 0\n"
    rows = {
        "OFF\n# a comment\n": vertices,
        "COFF\n": np.concatenate([vertices, colors, fourth * 255], axis=1),
        "NOFF ": np.concatenate([vertices, vertices], axis=1),
        "STOFF\n": np.concatenate([vertices, uv], axis=1),
        "4OFF\n": np.concatenate([vertices, fourth], axis=1),
    }
    return {
        f"off-{number}": {"shape.off": (prefix + counts + _lines(table) + polygons).encode()}
        for number, (prefix, table) in enumerate(rows.items())
    }


def _pcd() -> dict[str, Folder]:
    vertices = bumpy_grid(5)[0]
    packed = (np.clip(vertices, 0, 1) * 255).astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    count = len(vertices)

    def header(data: str) -> bytes:
        lines = "VERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1\n"
        return f"{lines}WIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {data}\n".encode()

    text = "".join(f"{x:g} {y:g} {z:g} {c}\n" for (x, y, z), c in zip(vertices.tolist(), packed.tolist(), strict=True))
    colors = packed.astype("<u4")
    records = b"".join(vertices[i].tobytes() + colors[i].tobytes() for i in range(count))
    columns = np.ascontiguousarray(vertices.T).tobytes() + colors.tobytes()
    literals = b"".join(
        bytes([len(columns[i : i + 32]) - 1]) + columns[i : i + 32] for i in range(0, len(columns), 32)
    )
    return {
        "pcd-ascii": {"shape.pcd": header("ascii") + text.encode()},
        "pcd-binary": {"shape.pcd": header("binary") + records},
        "pcd-compressed": {
            "shape.pcd": header("binary_compressed") + struct.pack("<2I", len(literals), len(columns)) + literals
        },
    }


def _arrays() -> dict[str, Folder]:
    vertices = bumpy_grid()[0]
    colored = np.concatenate([vertices, np.clip(vertices, 0, 1)], axis=1)

    def saved(save: Callable, *arguments: Any, **more: Any) -> bytes:
        buffer = io.BytesIO()
        save(buffer, *arguments, **more)
        return buffer.getvalue()

    colors = (colored[:, 3:] * 255).astype(np.uint8)
    archive = zipped({"xyz.npy": saved(np.save, vertices), "rgb.npy": saved(np.save, colors)})
    return {
        "npy": {"shape.npy": saved(np.save, colored)},
        "npy-columns": {"shape.npy": saved(np.save, np.asfortranarray(vertices.astype(np.float64)))},
        "npz": {"shape.npz": archive},
        "xyz": {"shape.xyz": ("x y z r g b\n" + _lines(colored)).encode()},
        "xyz-commas": {"shape.xyz": b"# a comment\n" + _lines(vertices).replace(" ", ", ").encode()},
    }
