"""Compressed glTF geometry: Draco by DracoPy, the extra `formats`, and meshopt by meshoptimizer.

meshoptimizer has no wheels, so that it is in no extra: to install it needs a C++ compiler.

Source: the extensions KHR_draco_mesh_compression and EXT_meshopt_compression.
"""

from typing import Any

import numpy as np


# Bytes of an element, by what the elements are, and which each filter takes; as the extension has it.
MESHOPT_STRIDES = {"ATTRIBUTES": range(4, 257, 4), "TRIANGLES": (2, 4), "INDICES": (2, 4)}
FILTER_STRIDES = {
    "NONE": range(257),
    "OCTAHEDRAL": (4, 8),
    "QUATERNION": (8,),
    "EXPONENTIAL": range(4, 257, 4),
}
# meshopt makes at best 64 bytes into one.
MESHOPT_RATIO = 256


def decode_draco(data: memoryview, attributes: dict[str, int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Indices, of shape `(num_indices,)`, and attributes by name, of a Draco buffer.

    Args:
        data (`memoryview`): The buffer view.
        attributes (`dict[str, int]`): Draco's ids of the attributes by glTF's names.

    Raises:
        ValueError: It cannot be decoded.
    """
    try:
        import DracoPy
    except ImportError:
        raise ValueError(
            "it is compressed by KHR_draco_mesh_compression (Draco); pip install 'mrd-hf[formats]' to read it"
        ) from None
    try:
        mesh = DracoPy.decode(bytes(data))
        found = {}
        for name, unique_id in attributes.items():
            attribute = mesh.get_attribute_by_unique_id(unique_id)
            values = np.asarray(attribute["data"])
            found[name] = values.reshape(len(values), -1)
        return np.asarray(mesh.faces).reshape(-1), found
    except Exception as error:  # of many kinds in damaged data
        raise ValueError(f"its Draco data cannot be decoded ({type(error).__name__}: {error})") from None


def decode_meshopt(data: memoryview, packed: dict[str, Any], name: str) -> bytes:
    """The bytes of a buffer view that meshopt has compressed.

    Args:
        data (`memoryview`): The compressed bytes.
        packed (`dict`): What the extension says of them.
        name (`str`): The extension's.

    Raises:
        ValueError: It cannot be decoded.
    """
    try:
        import meshoptimizer
    except ImportError:
        raise ValueError(f"it is compressed by {name} (meshopt); pip install --pre meshoptimizer to read it") from None
    count, stride = packed.get("count", 0), packed.get("byteStride", 0)
    mode, filtered = packed.get("mode"), packed.get("filter", "NONE")
    # The library writes beyond its arrays' ends where these do not fit each other.
    fits = isinstance(count, int) and isinstance(stride, int) and count >= 0
    fits = fits and stride in MESHOPT_STRIDES.get(str(mode), ())
    if not fits or (mode == "TRIANGLES" and count % 3) or count * stride > MESHOPT_RATIO * max(len(data), 16):
        raise ValueError(f"{name}: mode {mode!r}, count {count!r} and byteStride {stride!r} do not fit its data")
    if str(filtered) not in FILTER_STRIDES or (mode != "ATTRIBUTES" and filtered != "NONE"):
        raise ValueError(f"{name}: filter {filtered!r} of mode {mode!r} is not known")
    if stride not in FILTER_STRIDES[filtered]:
        raise ValueError(f"{name}: filter {filtered!r} does not fit byteStride {stride!r}")
    source = np.frombuffer(data, dtype=np.uint8)
    try:
        if mode == "ATTRIBUTES":
            values = meshoptimizer.decode_vertex_buffer(count, stride, source)
        else:
            decode = meshoptimizer.decode_index_buffer if mode == "TRIANGLES" else meshoptimizer.decode_index_sequence
            # Into an array of four bytes an index, which those of two fill half of.
            values = decode(count, stride, source)
        if filtered != "NONE":
            names = {"OCTAHEDRAL": "oct", "QUATERNION": "quat", "EXPONENTIAL": "exp"}
            values = getattr(meshoptimizer, f"decode_filter_{names[filtered]}")(values, count, stride)
        return np.ascontiguousarray(values).tobytes()[: count * stride]
    except Exception as error:
        raise ValueError(f"its {name} data cannot be decoded ({type(error).__name__}: {error})") from None
