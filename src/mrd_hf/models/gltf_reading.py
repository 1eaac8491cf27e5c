"""glTF 2.0 and GLB into coloured triangles or, of a file without any, points.

Read are the default scene's meshes where, and in the pose in which, the file puts them; of materials what
gltf_materials.py says. Animations, cameras, lights and everything that depends on light are left out. An extension
that the file requires and that is not known is an error with its name.

Source: the glTF 2.0 specification, section 3.7 (meshes).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .gltf_compression import decode_draco
from .gltf_document import MESHOPT, GltfDocument
from .gltf_materials import BASIS, IMAGE_EXTENSIONS, SPECULAR_GLOSSINESS, TRANSFORM, GltfMaterials, corner_tints
from .gltf_nodes import INSTANCING, VISIBILITY, PlacedMesh, placed_meshes
from .shape_colors import linear_to_srgb
from .shape_limits import MAX_FACES
from .shapes import ColoredPoints, ColorSource, MeshPart, PointCloud, TexturedMesh


DRACO = "KHR_draco_mesh_compression"
READ = {
    DRACO,
    *MESHOPT,
    INSTANCING,
    VISIBILITY,
    TRANSFORM,
    SPECULAR_GLOSSINESS,
    BASIS,
    *IMAGE_EXTENSIONS,
    "KHR_mesh_quantization",
}
# These change the light, the motion or what is known of a shape, not where it is or its base colour.
HARMLESS = (
    "ADOBE_materials_",
    "CESIUM_primitive_outline",
    "EXT_instance_features",
    "EXT_lights_",
    "EXT_mesh_features",
    "EXT_mesh_manifold",
    "EXT_structural_metadata",
    "KHR_animation_",
    "KHR_audio",
    "KHR_interactivity",
    "KHR_lights_",
    "KHR_materials_",
    "KHR_physics",
    "KHR_xmp",
    "MSFT_packing",
)
POINTS, LINES, TRIANGLES, STRIP, FAN = 0, (1, 2, 3), 4, 5, 6


def read_gltf(data: bytes, get: Callable[[str], bytes]) -> TexturedMesh | PointCloud:
    """Read a glTF or GLB file.

    Args:
        data (`bytes`): The file.
        get (`Callable[[str], bytes]`): Content of a file that it names. Raises `FileNotFoundError`.

    Returns:
        `TexturedMesh`, whose corners may be not finite, as the file says; or `PointCloud`, where there is no face.

    Raises:
        ValueError: It cannot be read; the message says why.
    """
    document = GltfDocument(data, get)
    warnings = _check_extensions(document)
    reader = _Reader(document, warnings)
    for placed in placed_meshes(document):
        reader.add(placed)
    return reader.result()


def _check_extensions(document: GltfDocument) -> list[str]:
    """A warning for each extension that is not read and may change how the shape looks."""
    required = document.json.get("extensionsRequired") or []
    for name in required:
        if name not in READ and not str(name).startswith(HARMLESS):
            raise ValueError(f"it requires the extension {name}, which is not read")
    used = document.json.get("extensionsUsed") or []
    return [
        f"the extension {name} is not read"
        for name in used
        if name not in READ and not str(name).startswith(HARMLESS) and _is_in_the_scene(document, name)
    ]


def _is_in_the_scene(document: GltfDocument, name: str) -> bool:
    """Whether an extension is of something that is seen, not only of the file."""
    of_primitives = (primitive for mesh in document.items("meshes") for primitive in (mesh.get("primitives") or []))
    lists = (document.items(kind) for kind in ("nodes", "meshes", "materials", "textures", "accessors", "bufferViews"))
    things = [thing for found in lists for thing in found]
    return any(name in (thing.get("extensions") or {}) for thing in (*things, *of_primitives))


class _Reader:
    """Collects triangles and points, primitive by primitive."""

    def __init__(self, document: GltfDocument, warnings: list[str]) -> None:
        self.document = document
        self.warnings = warnings
        self.materials = GltfMaterials(document, warnings)
        self.parts: list[MeshPart] = []
        self.clouds: list[PointCloud] = []
        self.num_faces = self.num_lines = 0

    def add(self, placed: PlacedMesh) -> None:
        mesh = self.document.item("meshes", placed.mesh)
        weights = placed.weights if placed.weights is not None else mesh.get("weights")
        for number, primitive in enumerate(mesh.get("primitives") or []):
            try:
                self._add_primitive(primitive, placed, weights)
            except ValueError as error:
                raise ValueError(f"meshes {placed.mesh}, primitives {number}: {error}") from None

    def _add_primitive(self, primitive: dict[str, Any], placed: PlacedMesh, weights: list[float] | None) -> None:
        mode = primitive.get("mode", TRIANGLES)
        if mode in LINES:
            self.num_lines += 1
            return
        if mode not in (POINTS, TRIANGLES, STRIP, FAN):
            raise ValueError(f"mode {mode!r}")
        attributes, indices = self._attributes(primitive)
        if "POSITION" not in attributes:
            return  # nothing is drawn
        positions = _components(attributes, "POSITION", 3).astype(np.float64)
        positions = self._morphed(positions, primitive, weights)
        positions = _moved(positions, attributes, placed)
        colors = None
        if "COLOR_0" in attributes:
            colors = _linear_colors(attributes["COLOR_0"])
            if len(colors) != len(positions):
                raise ValueError(f"COLOR_0 has {len(colors)} elements, POSITION {len(positions)}")
        surface = self.materials.surface(primitive.get("material"))
        if indices is not None and len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < len(positions):
            raise ValueError(f"a face names a vertex that does not exist (there are {len(positions)})")
        if mode == POINTS:
            chosen = np.arange(len(positions)) if indices is None else indices
            light = surface.factor[None, :3] if colors is None else surface.factor[:3] * colors[chosen, :3]
            rgb = np.broadcast_to(linear_to_srgb(light), (len(chosen), 3))
            # Exporters give clouds without colours a white material.
            source: ColorSource | None = "vertex colours" if colors is not None else None
            if source is None and (surface.factor[:3] != 1).any():
                source = "material"
            points = ColoredPoints(positions[chosen], None if source is None else rgb)
            self.clouds.append(PointCloud(points, source))
            return
        faces = _faces(mode, len(positions) if indices is None else len(indices))
        self.num_faces += len(faces)
        if self.num_faces > MAX_FACES:
            raise ValueError(f"{self.num_faces:,} faces; at most {MAX_FACES:,} are read. Simplify the mesh.")
        if indices is not None:
            faces = indices.take(faces)
        texture, uv = surface.texture, None
        if texture is not None:
            name = f"TEXCOORD_{surface.uv_set}"
            if name in attributes:
                uv = _components(attributes, name, 2).astype(np.float64)
                if len(uv) != len(positions):
                    raise ValueError(f"{name} has {len(uv)} elements, POSITION {len(positions)}")
                uv = np.nan_to_num(uv, posinf=0.0, neginf=0.0)
                uv = uv @ surface.uv_transform[:2, :2].T + surface.uv_transform[:2, 2]
                uv = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1).take(faces, axis=0)  # from the lower left
            else:
                self.warnings.append(f"texture without coordinates ({name}): material {primitive.get('material')}")
                surface, texture = replace(surface, texture=None), None
        tint = corner_tints(surface, None if colors is None else colors.take(faces, axis=0))
        shown = np.ones(3) if tint is None else tint[..., :3]
        corner_colors = np.broadcast_to(linear_to_srgb(shown), (len(faces), 3, 3))
        if tint is not None:
            # Of one colour all over and opaque, it says no more than the corners' colours do.
            needed = texture is not None or len(tint) > 1 or surface.alpha != "opaque"
            tint = np.broadcast_to(tint, (len(faces), 3, 4)) if needed else None
        source = "material" if surface.is_colored else None
        if colors is not None:
            source = "vertex colours"
        if texture is not None:
            source = "texture"
        part = MeshPart(
            positions.take(faces, axis=0), corner_colors, texture, uv, source, tint, surface.wrap, placed.name
        )
        self.parts.append(part)

    def _attributes(self, primitive: dict[str, Any]) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Attributes by name, and indices if there are any, decompressed."""
        wanted = {
            name: index
            for name, index in (primitive.get("attributes") or {}).items()
            if name == "POSITION" or name.startswith(("TEXCOORD_", "COLOR_0", "JOINTS_", "WEIGHTS_"))
        }
        packed = (primitive.get("extensions") or {}).get(DRACO)
        attributes: dict[str, np.ndarray] = {}
        indices = None
        if packed is not None:
            ids = {name: number for name, number in (packed.get("attributes") or {}).items() if name in wanted}
            indices, raw = decode_draco(self.document.buffer_view(packed.get("bufferView")), ids)
            for name, values in raw.items():
                accessor = self.document.item("accessors", wanted[name])
                if accessor.get("normalized") and values.dtype.kind in "iu":
                    values = values.astype(np.float32) / np.iinfo(values.dtype).max
                attributes[name] = values
        for name, index in wanted.items():
            if name not in attributes:
                attributes[name] = self.document.accessor(index)
        if packed is None and "indices" in primitive:
            indices = self.document.accessor(primitive["indices"])[:, 0]
        return attributes, None if indices is None else indices.astype(np.int64)

    def _morphed(self, positions: np.ndarray, primitive: dict[str, Any], weights: list[float] | None) -> np.ndarray:
        for number, target in enumerate(primitive.get("targets") or []):
            weight = float(weights[number]) if weights is not None and number < len(weights) else 0.0
            if weight and "POSITION" in target:
                moved = self.document.accessor(target["POSITION"])
                if moved.shape != positions.shape:
                    raise ValueError(f"morph target {number} has {len(moved)} positions, expected {len(positions)}")
                positions = positions + weight * moved
        return positions

    def result(self) -> TexturedMesh | PointCloud:
        if self.num_lines:
            self.warnings.append(f"{self.num_lines} sets of lines left out")
        num_points = sum(len(cloud.points.xyz) for cloud in self.clouds)
        is_cloud = not self.num_faces and num_points > 0
        if num_points and not is_cloud:
            self.warnings.append(f"{num_points} points beside the surface left out")
        warnings = list(dict.fromkeys(self.warnings))
        extensions = sorted(map(str, self.document.json.get("extensionsUsed") or []))
        if is_cloud:
            source = next((cloud.color_source for cloud in self.clouds if cloud.color_source), None)
            return PointCloud(_joined([cloud.points for cloud in self.clouds]), source, warnings, "y", extensions)
        return TexturedMesh(self.parts, warnings, "y", extensions)


def _joined(points: list[ColoredPoints]) -> ColoredPoints:
    xyz = np.concatenate([each.xyz for each in points])
    if all(each.rgb is None for each in points):
        return ColoredPoints(xyz, None)
    white = [np.full(each.xyz.shape, 255, dtype=np.uint8) if each.rgb is None else each.rgb for each in points]
    return ColoredPoints(xyz, np.concatenate(white))


def _components(attributes: dict[str, np.ndarray], name: str, count: int) -> np.ndarray:
    values = attributes[name]
    if values.shape[1] != count:
        raise ValueError(f"{name} has {values.shape[1]} components, expected {count}")
    return values


def _linear_colors(values: np.ndarray) -> np.ndarray:
    """COLOR_0, which is linear, of shape `(num_vertices, 3 or 4)`."""
    if values.shape[1] not in (3, 4):
        raise ValueError(f"COLOR_0 has {values.shape[1]} components, expected 3 or 4")
    if values.dtype.kind in "iu":  # without `normalized`, as some exporters forget
        values = values.astype(np.float32) / np.iinfo(values.dtype).max
    return np.nan_to_num(values, nan=1.0)


def _moved(positions: np.ndarray, attributes: dict[str, np.ndarray], placed: PlacedMesh) -> np.ndarray:
    """Vertices where the node or, of a skinned mesh, its joints put them."""
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is the caller's to drop or report
        if placed.joints is None or "JOINTS_0" not in attributes or "WEIGHTS_0" not in attributes:
            transform = placed.transform
            return positions @ transform[:3, :3].T + transform[:3, 3]
        sets = [n for n in range(8) if f"JOINTS_{n}" in attributes and f"WEIGHTS_{n}" in attributes]
        joints = np.concatenate([attributes[f"JOINTS_{n}"] for n in sets], axis=1).astype(np.int64)
        weights = np.concatenate([attributes[f"WEIGHTS_{n}"] for n in sets], axis=1).astype(np.float64)
        if len(joints) != len(positions) or joints.shape != weights.shape:
            raise ValueError(
                f"JOINTS and WEIGHTS have {len(joints)} and {len(weights)} elements, POSITION {len(positions)}"
            )
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


def _faces(mode: int, count: int) -> np.ndarray:
    """Places of corners, `(num_faces, 3)`, in a list of `count` vertices."""
    if mode == TRIANGLES:
        return np.arange(count - count % 3).reshape(-1, 3)
    first = np.arange(max(count - 2, 0))
    if mode == FAN:
        return np.stack([np.zeros_like(first), first + 1, first + 2], axis=1)
    odd = first % 2
    return np.stack([first, first + 1 + odd, first + 2 - odd], axis=1)
