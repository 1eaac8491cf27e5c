"""Compressed glTF geometry: Draco by DracoPy, the extra `formats`, and meshopt by meshoptimizer.

meshoptimizer has no wheels, so that it is in no extra: to install it needs a C++ compiler.

Source: the extensions KHR_draco_mesh_compression and EXT_meshopt_compression.
"""

from typing import Any

import numpy as np


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
    if not (isinstance(count, int) and isinstance(stride, int) and 0 <= count < 2**31 and 0 < stride <= 256):
        raise ValueError(f"{name}: count {count!r}, byteStride {stride!r}")
    source = np.frombuffer(data, dtype=np.uint8)
    try:
        if mode == "ATTRIBUTES":
            values = meshoptimizer.decode_vertex_buffer(count, stride, source, dtype=np.uint8)
        elif mode == "TRIANGLES":
            values = meshoptimizer.decode_index_buffer(count, stride, source)
        elif mode == "INDICES":
            values = meshoptimizer.decode_index_sequence(count, stride, source)
        else:
            raise ValueError(f"mode {mode!r}")
        decode = {
            "OCTAHEDRAL": meshoptimizer.decode_filter_oct,
            "QUATERNION": meshoptimizer.decode_filter_quat,
            "EXPONENTIAL": meshoptimizer.decode_filter_exp,
        }.get(filtered)
        if decode is not None:
            values = decode(values, count, stride)
        return np.ascontiguousarray(values).tobytes()
    except Exception as error:
        raise ValueError(f"its {name} data cannot be decoded ({type(error).__name__}: {error})") from None
