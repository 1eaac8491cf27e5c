"""What a glTF primitive is made of: attributes, indices, morph targets, joints' weights and the order of its corners.

Source: the glTF 2.0 specification, sections 3.7.2 (meshes) and 3.7.3 (skins), and KHR_draco_mesh_compression.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .gltf_compression import MissingPackageError
from .gltf_document import COMPONENT_TYPES, GltfDocument, as_float
from .gltf_extensions import DRACO, SPLATS
from .gltf_nodes import PlacedMesh
from .shape_colors import names_like_colors


POINTS, LINES, TRIANGLES, STRIP, FAN = 0, (1, 2, 3), 4, 5, 6


class GltfPrimitive:
    """A primitive, whose arrays are read when they are asked for: what is not used may be damaged.

    Args:
        document (`GltfDocument`)
        primitive (`dict`): Of the file's JSON.

    Raises:
        ValueError: It is compressed, and cannot be decompressed.
    """

    def __init__(self, document: GltfDocument, primitive: dict[str, Any]) -> None:
        self.document = document
        self.json = primitive
        self.mode = primitive.get("mode", TRIANGLES)
        self.names: dict[str, Any] = primitive.get("attributes") or {}
        self._arrays: dict[str, np.ndarray] = {}  # those that had to be decompressed
        self._indices: np.ndarray | None = None
        self._used: np.ndarray | None = None
        self._count: int | None = None
        if "POSITION" not in self:
            return
        packed = (primitive.get("extensions") or {}).get(DRACO)
        if packed is not None:
            self._unpack(packed)
        elif "indices" in primitive:
            self._indices = self.document.stored(primitive["indices"])[:, 0]

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def _unpack(self, packed: dict[str, Any]) -> None:
        ids = {name: number for name, number in (packed.get("attributes") or {}).items() if name in self.names}
        try:
            indices, raw = self.document.draco(packed.get("bufferView"), ids)
        except MissingPackageError:
            # Files for readers without Draco hold the same once more, as it is.
            accessors = [self.document.item("accessors", index) for index in self.names.values()]
            if "indices" in self.json:
                accessors.append(self.document.item("accessors", self.json["indices"]))
            if not all("bufferView" in accessor for accessor in accessors):
                raise
            self._indices = self.document.stored(self.json["indices"])[:, 0] if "indices" in self.json else None
            return
        for name, values in raw.items():
            accessor = self.document.item("accessors", self.names[name])
            if values.dtype.kind in "iu":  # DracoPy gives integers of two bytes as such of four
                values = values.astype(COMPONENT_TYPES.get(accessor.get("componentType", 0), values.dtype))
            self._arrays[name] = as_float(values) if accessor.get("normalized") else values
        if self.mode != POINTS:
            self._indices = indices
            self.mode = TRIANGLES  # which Draco stores, also where they once were a strip

    @cached_property
    def warnings(self) -> list[str]:
        """What of it is left out."""
        others = names_like_colors(name for name in self.names if name != "COLOR_0" and SPLATS not in name)
        return [f"vertex colours left out: {', '.join(others)}; those of COLOR_0 are read"] if others else []

    def indices(self) -> np.ndarray:
        """Which of the vertices that attributes are of the corners or points are, in the order of the file.

        Of a list that many primitives share, as some exporters write it, attributes are of those that are used here.

        Raises:
            ValueError: One does not exist.
        """
        num_vertices = self._num_vertices()
        if self._indices is None:
            return np.arange(num_vertices)
        indices = self._indices
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < num_vertices:
            restart = indices.dtype.kind == "u" and int(indices.max()) == np.iinfo(indices.dtype).max
            hint = "; the highest index, which restarts a strip elsewhere, is not allowed in glTF" if restart else ""
            raise ValueError(f"a face names a vertex that does not exist (there are {num_vertices}){hint}")
        if 2 * len(indices) < num_vertices:
            self._used, indices = np.unique(indices, return_inverse=True)
        return indices.astype(np.int64)

    def _num_vertices(self) -> int:
        if self._count is None:
            packed = self._arrays.get("POSITION")
            self._count = len(self.document.stored(self.names["POSITION"]) if packed is None else packed)
        return self._count

    def attribute(self, name: str, components: Sequence[int], weights: Sequence[float] | None = None) -> np.ndarray:
        """An attribute as float64, of shape `(num_vertices, one of components)`, with its morph targets.

        Args:
            name (`str`): One that the primitive has.
            components (sequence of `int`): How many it may have of each vertex.
            weights (sequence of `float`, *optional*): Of the morph targets; zero where they end.

        Raises:
            ValueError: It does not fit.
        """
        values = self._arrays[name] if name in self._arrays else self.document.stored(self.names[name])
        if values.shape[1] not in components:
            expected = " or ".join(map(str, components))
            raise ValueError(f"{name} has {values.shape[1]} components, expected {expected}")
        if len(values) != self._num_vertices():
            raise ValueError(f"{name} has {len(values)} elements, POSITION {self._num_vertices()}")
        shape = values.shape
        # Some exporters forget to call colours normalised.
        values = self._of_used(values, self.names[name], name.startswith("COLOR_"))
        targets = self.json.get("targets") or []
        self.document.budget.take("placed vertices", len(values) + len(targets))
        values = values.astype(np.float64)
        for number, (target, given) in enumerate(zip(targets, weights or (), strict=False)):
            weight = float(given)
            if weight and name in target:
                moved = self.document.stored(target[name])
                self.document.budget.take("placed vertices", len(values))
                if len(moved) != shape[0] or moved.shape[1] > shape[1]:
                    raise ValueError(f"morph target {number}: {name} has shape {moved.shape}, expected {shape}")
                values[:, : moved.shape[1]] += weight * self._of_used(moved, target[name])
        return values

    def _of_used(self, values: np.ndarray, accessor: Any, is_normalized: bool = False) -> np.ndarray:
        """Of an accessor's elements those that are used, and as what they mean."""
        values = values if self._used is None else values[self._used]
        is_normalized = is_normalized or bool(self.document.item("accessors", accessor).get("normalized"))
        return as_float(values) if is_normalized else values

    def moved(self, positions: np.ndarray, placed: PlacedMesh) -> np.ndarray:
        """Where the node or, of a skinned mesh, its joints put the vertices: `(num_instances * num_vertices, 3)`."""
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is the caller's to drop or report
            sets = [n for n in range(8) if f"JOINTS_{n}" in self and f"WEIGHTS_{n}" in self]
            if placed.joints is None or not sets:
                transforms = placed.transforms
                self.document.budget.take("placed vertices", len(transforms) * len(positions))
                here = positions @ transforms[:, :3, :3].transpose(0, 2, 1) + transforms[:, None, :3, 3]
                return here.reshape(-1, 3)
            count = len(positions)
            self.document.budget.take("placed vertices", 4 * len(sets) * count)
            joints = np.concatenate([self._joints(f"JOINTS_{n}") for n in sets], axis=1)
            weights = np.concatenate([self.attribute(f"WEIGHTS_{n}", (4,)) for n in sets], axis=1)
            joints = np.where(weights == 0, 0, joints)  # unused slots may hold anything
            if joints.size and not 0 <= joints.min() <= joints.max() < len(placed.joints):
                raise ValueError(f"a vertex names a joint that its skin lacks (it has {len(placed.joints)})")
            total = weights.sum(axis=1, keepdims=True)
            weights = np.where(total > 0, weights / np.where(total > 0, total, 1), 0)
            moved = np.zeros_like(positions)
            for slot in range(joints.shape[1]):
                matrices = placed.joints[joints[:, slot]]
                here = np.einsum("nij,nj->ni", matrices[:, :3, :3], positions) + matrices[:, :3, 3]
                moved += weights[:, slot, None] * here
            return np.where(total > 0, moved, positions)

    def _joints(self, name: str) -> np.ndarray:
        values = self._arrays[name] if name in self._arrays else self.document.stored(self.names[name])
        if values.shape != (self._num_vertices(), 4):
            raise ValueError(f"{name} has shape {values.shape}, expected {(self._num_vertices(), 4)}")
        return (values if self._used is None else values[self._used]).astype(np.int64)


def of_instances(vertices: np.ndarray, count: int, num_instances: int) -> np.ndarray:
    """Numbers of vertices, of which a mesh has `count`, once for each of its instances: more rows of the same."""
    if num_instances == 1:
        return vertices
    firsts = np.arange(num_instances).reshape(-1, *(1,) * vertices.ndim) * count
    return (vertices + firsts).reshape(-1, *vertices.shape[1:])


def face_corners(mode: int, count: int) -> np.ndarray:
    """Places of corners, `(num_faces, 3)`, in a list of `count` vertices."""
    if mode == TRIANGLES:
        return np.arange(count - count % 3).reshape(-1, 3)
    first = np.arange(max(count - 2, 0))
    if mode == FAN:
        return np.stack([np.zeros_like(first), first + 1, first + 2], axis=1)
    odd = first % 2
    return np.stack([first, first + 1 + odd, first + 2 - odd], axis=1)
