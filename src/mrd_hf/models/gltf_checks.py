"""Look into a glTF file before trimesh does, for what that takes in silence.

trimesh drops a base colour texture that it cannot open without a word, follows nodes that are nested without end,
and makes up as many zeros as an accessor without data asks for.
"""

import base64
import io
import json
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

from .shape_limits import MAX_FACES


# This file travels with checkpoints, whose other code does not need it: guarded, transformers does not ask for it.
try:
    from PIL import Image
except ImportError as error:
    raise ImportError(f"Reading meshes needs trimesh and Pillow: pip install trimesh pillow ({error}).") from error

# Real scenes are a dozen nodes deep; trimesh's time grows with the square.
MAX_DEPTH = 1000


def check_gltf(file: BinaryIO, file_type: str, get: Callable[[str], bytes]) -> list[str]:
    """Check a glTF file's structure and embedded textures.

    Args:
        file (`BinaryIO`): The file, at its start; it is left there.
        file_type (`str`): "glb" or "gltf".
        get (`Callable[[str], bytes]`): Content of a file that it names.

    Returns:
        `list[str]`: A line for each base colour texture inside the file that cannot be used.

    Raises:
        ValueError: Nodes are nested too deep or in a circle, or it asks for too many zeros.
    """
    header, binary_start = _read_header(file, file_type)
    _check_nodes(header)
    zeros = sum(accessor["count"] for accessor in header.get("accessors", []) if "bufferView" not in accessor)
    if zeros > 3 * MAX_FACES:
        raise ValueError(f"accessors without data have {zeros:,} elements")
    warnings = []
    for number in _base_color_images(header):
        try:
            image = header["images"][number]
            if not image.get("uri", "data:").startswith("data:"):
                continue  # of its own file, so the resolver speaks for it
            if "bufferView" in image:
                view = header["bufferViews"][image["bufferView"]]
                buffer = header["buffers"][view["buffer"]]
                start = view.get("byteOffset", 0)
                if "uri" not in buffer:
                    file.seek(binary_start + start)
                    data = file.read(view["byteLength"])
                else:
                    uri = buffer["uri"]
                    data = _decode(uri) if uri.startswith("data:") else get(uri)
                    data = data[start : start + view["byteLength"]]
            else:
                data = _decode(image["uri"])
            Image.open(io.BytesIO(data))  # the header only
        except Exception as error:
            # Of whatever kind: what matters here is that the texture will be missing.
            why = "neither PNG nor JPEG" if isinstance(error, Image.UnidentifiedImageError) else str(error)
            warnings.append(f"texture cannot be read: image {number} inside the file ({why})")
    file.seek(0)
    return warnings


def _read_header(file: BinaryIO, file_type: str) -> tuple[dict[str, Any], int]:
    """The JSON part, empty where trimesh will refuse the file, and where the binary part's content starts."""
    header: dict[str, Any] = {}
    binary_start = 0
    if file_type == "gltf":
        header = json.loads(file.read())
    else:
        start = file.read(20)
        if len(start) == 20 and start.startswith(b"glTF"):
            length = struct.unpack_from("<I", start, 12)[0]
            header = json.loads(file.read(length))
            binary_start = 20 + length + 8
    file.seek(0)
    return header, binary_start


def _check_nodes(header: dict[str, Any]) -> None:
    nodes = header.get("nodes", [])
    level = {root for scene in header.get("scenes", []) for root in scene.get("nodes", [])}
    for _ in range(MAX_DEPTH):
        level = {child for node in level for child in nodes[node].get("children", [])}
        if not level:
            return
    raise ValueError(f"nodes are nested in a circle, or more than {MAX_DEPTH} deep")


def _base_color_images(header: dict[str, Any]) -> list[int]:
    """Indices of the images that are base colours, in order, those of texture extensions among them."""
    used: set[int] = set()
    for material in header.get("materials", []):
        # What is not as it should be is for trimesh to judge, which reads much that is broken.
        with suppress(KeyError, IndexError, TypeError, AttributeError):
            texture = header["textures"][material["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
            extended = [value["source"] for value in texture.get("extensions", {}).values() if "source" in value]
            used.update(extended or [texture["source"]])
    return sorted(used)


def _decode(uri: str) -> bytes:
    return base64.b64decode(uri.partition(",")[2])
