"""Compressed glTF geometry: Draco by DracoPy, and meshopt by the package of that name, both of the extra `formats`.

Source: the extensions KHR_draco_mesh_compression, EXT_meshopt_compression and KHR_meshopt_compression.
"""

from typing import Any

import numpy as np

from .draco_header import take_draco_counts
from .shape_limits import ShapeBudget


class MissingPackageError(ValueError):
    """A package that decompresses is not installed. The message says which."""


# Bytes of an element, by what the elements are, and which each filter takes; as the extension has it.
MESHOPT_STRIDES = {"ATTRIBUTES": range(4, 257, 4), "TRIANGLES": (2, 4), "INDICES": (2, 4)}
FILTER_STRIDES = {
    "NONE": range(257),
    "OCTAHEDRAL": (4, 8),
    "QUATERNION": (8,),
    "EXPONENTIAL": range(4, 257, 4),
    "COLOR": (4, 8),
}
# Of the second version, 256 equal bytes take two bits.
MESHOPT_RATIO = 1024


def decode_draco(
    data: memoryview, attributes: dict[str, int], budget: ShapeBudget
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Indices, of shape `(num_indices,)`, and attributes by name, of a Draco buffer.

    Args:
        data (`memoryview`): The buffer view.
        attributes (`dict[str, int]`): Draco's ids of the attributes by glTF's names.
        budget (`ShapeBudget`): What the file may hold.

    Raises:
        ValueError: It cannot be decoded, or is too large with what was decoded before.
    """
    try:
        import DracoPy
    except ImportError:
        raise MissingPackageError(
            "it is compressed by KHR_draco_mesh_compression (Draco); pip install 'mrd-hf[formats]' to read it"
        ) from None
    try:
        take_draco_counts(bytes(data), budget)
        mesh = DracoPy.decode(bytes(data))
        found = {}
        for name, unique_id in attributes.items():
            attribute = mesh.get_attribute_by_unique_id(unique_id)
            if attribute is None:
                raise ValueError(f"{name}: there is no attribute {unique_id!r}")
            values = np.asarray(attribute["data"])
            found[name] = values.reshape(len(values), -1)
        faces = mesh.faces if isinstance(mesh, DracoPy.DracoMesh) else ()  # a cloud has none
        return np.asarray(faces, dtype=np.int64).reshape(-1), found
    except Exception as error:  # of many kinds in damaged data
        raise ValueError(f"its Draco data cannot be decoded ({type(error).__name__}: {error})") from None


def decode_meshopt(data: memoryview, packed: dict[str, Any], name: str, budget: ShapeBudget) -> bytes:
    """The bytes of a buffer view that meshopt has compressed.

    Args:
        data (`memoryview`): The compressed bytes.
        packed (`dict`): What the extension says of them.
        name (`str`): The extension's.
        budget (`ShapeBudget`): What the file may hold.

    Raises:
        ValueError: It cannot be decoded, or is too large with what was decoded before.
    """
    try:
        import meshopt
    except ImportError:
        raise MissingPackageError(
            f"it is compressed by {name} (meshopt); pip install 'mrd-hf[formats]' to read it"
        ) from None
    count, stride = packed.get("count", 0), packed.get("byteStride", 0)
    mode, filtered = packed.get("mode"), packed.get("filter", "NONE")
    fits = isinstance(count, int) and isinstance(stride, int) and count >= 0
    fits = fits and stride in MESHOPT_STRIDES.get(str(mode), ())
    if not fits or (mode == "TRIANGLES" and count % 3) or count * stride > MESHOPT_RATIO * max(len(data), 16):
        raise ValueError(f"{name}: mode {mode!r}, count {count!r} and byteStride {stride!r} do not fit its data")
    if str(filtered) not in FILTER_STRIDES or (mode != "ATTRIBUTES" and filtered != "NONE"):
        raise ValueError(f"{name}: filter {filtered!r} of mode {mode!r} is not known")
    if stride not in FILTER_STRIDES[filtered]:
        raise ValueError(f"{name}: filter {filtered!r} does not fit byteStride {stride!r}")
    budget.unpack(count * stride)
    try:
        values = meshopt.decode_gltf_buffer(bytes(data), count, stride, mode, filtered)
        return np.ascontiguousarray(values).tobytes()
    except Exception as error:  # of many kinds in damaged data
        raise ValueError(f"its {name} data cannot be decoded ({type(error).__name__}: {error})") from None
