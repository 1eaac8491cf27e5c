"""glTF files whose geometry is packed by Draco or meshopt."""

import json

from .gltf_writer import USHORT, Gltf
from .tiny_gltf import as_glb


DRACO = "KHR_draco_mesh_compression"


def packed(data: bytes, ids: dict[str, int], kinds: dict[str, tuple[int, str, bool]], **primitive) -> Gltf:
    """The square in Draco: attributes by their ids, and what each is: component type, type and whether normalised."""
    file = Gltf()
    attributes = {
        name: file.add("accessors", componentType=component, count=4, type=kind, normalized=normalized)
        for name, (component, kind, normalized) in kinds.items()
    }
    indices = file.add("accessors", componentType=USHORT, count=6, type="SCALAR")
    extension = {"bufferView": file.view(data), "attributes": ids}
    file.json["extensionsUsed"] = file.json["extensionsRequired"] = [DRACO]
    return file.show_mesh(
        {"attributes": attributes, "indices": indices, "extensions": {DRACO: extension}, **primitive}
    )


def ids_of(data: bytes) -> dict[str, int]:
    """Draco's ids by the kind of the attribute."""
    import DracoPy

    names = {0: "POSITION", 1: "NORMAL", 2: "COLOR_0", 3: "TEXCOORD_0"}
    attributes = DracoPy.decode(data).attributes
    return {
        names[int(each["attribute_type"])]: each["unique_id"] for each in attributes if each["attribute_type"] in names
    }


def meshopt_file(name: str, views: list[tuple[bytes, dict]], fallback: bool = False) -> Gltf:
    """A file whose buffer views are these compressed ones, which lie over a buffer that is not there."""
    file = Gltf()
    for data, what in views:
        view = file.view(data)
        size = what["count"] * what["byteStride"]
        inner = file.json["bufferViews"][view] | what
        file.json["bufferViews"][view] = {"buffer": 1, "byteLength": size, "extensions": {name: inner}}
        if what["mode"] == "ATTRIBUTES":
            file.json["bufferViews"][view]["byteStride"] = what["byteStride"]
    file.json["extensionsUsed"] = file.json["extensionsRequired"] = [name]
    return file


def shown(file: Gltf) -> bytes:
    """The file as a GLB with a second buffer, which has no data."""
    missing = {"byteLength": 10**6, "extensions": {"EXT_meshopt_compression": {"fallback": True}}}
    header = {**file.json, "buffers": [{"byteLength": len(file.buffer)}, missing]}
    return as_glb(json.dumps(header).encode(), bytes(file.buffer) + bytes(-len(file.buffer) % 4))
