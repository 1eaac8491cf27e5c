"""Where a glTF scene puts its meshes: node transforms, instances, skins and morph weights.

Source: the glTF 2.0 specification, section 3.5 (scenes and nodes) and 3.7.3 (skins), EXT_mesh_gpu_instancing and
KHR_node_visibility.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .gltf_document import GltfDocument
from .gltf_extensions import INSTANCING, LOD, VISIBILITY
from .shape_limits import MAX_DEPTH, MAX_VISITS


# Names are kept of so many nodes above a mesh.
MAX_GROUPS = 32


@dataclass(frozen=True)
class PlacedMesh:
    """A mesh and where it is.

    Args:
        mesh (`int`): Its index.
        name (`str`): The node's, or the mesh's.
        groups (tuple of `str`): Names of the nodes above it, the next `MAX_GROUPS`, its own and the mesh's.
        transforms (`np.ndarray` of shape `(num_instances, 4, 4)`): Of column vectors. Unused where it has a skin.
        joints (`np.ndarray` of shape `(num_joints, 4, 4)`, *optional*): What each joint of its skin does to a point.
        weights (sequence of `float`, *optional*): Of the morph targets; without them the mesh's own hold.
    """

    mesh: int
    name: str
    groups: tuple[str, ...]
    transforms: np.ndarray
    joints: np.ndarray | None = None
    weights: list[float] | None = None


def placed_meshes(document: GltfDocument) -> Iterator[PlacedMesh]:
    """The meshes of the file's scene: of its default one, else of the first, else of all root nodes.

    Raises:
        ValueError: Nodes are nested in a circle or without end, or name what does not exist.
    """
    nodes = document.items("nodes")
    if not nodes:
        for index, mesh in enumerate(document.items("meshes")):
            name = str(mesh.get("name") or "")
            yield PlacedMesh(index, name, (name,) if name else (), np.eye(4)[None])
        return
    worlds: dict[int, np.ndarray] = {}
    locals_: dict[int, np.ndarray] = {}
    skins: dict[int, np.ndarray] = {}
    placed = []
    # (node, transform of its parent, depth, visible, names above); depth first, in the order of the file
    waiting: list[tuple[int, np.ndarray, int, bool, tuple[str, ...]]] = []
    visited = 0

    def wait(found: list[int], parent: np.ndarray, depth: int, visible: bool, groups: tuple[str, ...]) -> None:
        nonlocal visited
        visited += len(found)
        if found and (depth > MAX_DEPTH or visited > MAX_VISITS * len(nodes)):
            raise ValueError(f"nodes are nested in a circle, or more than {MAX_DEPTH} deep")
        document.budget.take("placed nodes", len(found))
        waiting.extend((index, parent, depth, visible, groups) for index in reversed(found))

    wait(_roots(document), np.eye(4), 0, True, ())
    while waiting:
        index, parent, depth, visible, groups = waiting.pop()
        node = document.item("nodes", index)
        if index not in locals_:
            locals_[index] = _local_transform(node, index)
        world = parent @ locals_[index]
        worlds[index] = world
        extensions = node.get("extensions") or {}
        visible = visible and extensions.get(VISIBILITY, {}).get("visible", True)
        if node.get("name"):
            groups = (*groups[-MAX_GROUPS:], str(node["name"]))
        if "mesh" in node and visible:
            placed.append((node, world, groups))
        wait(node.get("children") or [], world, depth + 1, visible, groups)
    parents = {child: parent for parent, node in enumerate(nodes) for child in node.get("children") or []}
    for node, world, groups in placed:
        mesh = node["mesh"]
        its_name = str(document.item("meshes", mesh).get("name") or "")
        name = str(node.get("name") or its_name)
        groups = (*groups, its_name) if its_name else groups
        weights = node.get("weights")
        if "skin" in node:
            skin = node["skin"]
            if skin not in skins:
                skins[skin] = _joint_matrices(document, skin, worlds, parents)
            yield PlacedMesh(mesh, name, groups, world[None], skins[skin], weights)
            continue
        instances = (node.get("extensions") or {}).get(INSTANCING)
        transforms = np.eye(4)[None] if instances is None else _instance_transforms(document, instances)
        yield PlacedMesh(mesh, name, groups, world @ transforms, None, weights)


def hidden_meshes(document: GltfDocument) -> int:
    """How many meshes the scene does not show, but for those that show the same in less detail."""
    nodes = document.items("nodes")
    if not nodes or any(LOD in (node.get("extensions") or {}) for node in nodes):
        return 0
    shown: set[int] = set()
    waiting = _roots(document)
    seen: set[int] = set()
    while waiting:
        index = waiting.pop()
        if index not in seen:
            seen.add(index)
            node = document.item("nodes", index)
            shown.update([node["mesh"]] if "mesh" in node else [])
            waiting += node.get("children") or []
    return len(set(range(len(document.items("meshes")))) - shown)


def _roots(document: GltfDocument) -> list[int]:
    scenes = document.items("scenes")
    if scenes:
        scene = document.item("scenes", document.json.get("scene", 0))
        return list(scene.get("nodes") or [])
    nodes = document.items("nodes")
    below = {child for node in nodes for child in node.get("children") or []}
    for node in nodes:  # the same once more, in less detail
        below.update((node.get("extensions") or {}).get(LOD, {}).get("ids") or [])
    return [index for index in range(len(nodes)) if index not in below]


def _local_transform(node: dict[str, Any], index: int) -> np.ndarray:
    try:
        if not node.keys() & {"matrix", "translation", "rotation", "scale"}:
            return np.eye(4)
        if "matrix" in node:
            matrix = np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T  # stored by columns
        else:
            matrix = _compose(
                np.array(node.get("translation", (0, 0, 0)), dtype=np.float64).reshape(1, 3),
                np.array(node.get("rotation", (0, 0, 0, 1)), dtype=np.float64).reshape(1, 4),
                np.array(node.get("scale", (1, 1, 1)), dtype=np.float64).reshape(1, 3),
            )[0]
    except (TypeError, ValueError):
        raise ValueError(f"nodes {index}: its matrix, translation, rotation or scale is no list of numbers") from None
    if not np.isfinite(matrix).all():
        raise ValueError(f"nodes {index}: its transform is not finite")
    return matrix


def _compose(translations: np.ndarray, rotations: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Matrices, `(count, 4, 4)`, that scale, then rotate by quaternions (x, y, z, w), then translate."""
    length = np.linalg.norm(rotations, axis=1, keepdims=True)
    # A quaternion of zeros turns nothing; viewers differ, and this shows the shape.
    x, y, z, w = np.where(length > 0, rotations / np.where(length > 0, length, 1), (0, 0, 0, 1)).T
    matrices = np.zeros((len(x), 4, 4))
    matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 0, 2] = (
        1 - 2 * (y * y + z * z),
        2 * (x * y - z * w),
        2 * (x * z + y * w),
    )
    matrices[:, 1, 0], matrices[:, 1, 1], matrices[:, 1, 2] = (
        2 * (x * y + z * w),
        1 - 2 * (x * x + z * z),
        2 * (y * z - x * w),
    )
    matrices[:, 2, 0], matrices[:, 2, 1], matrices[:, 2, 2] = (
        2 * (x * z - y * w),
        2 * (y * z + x * w),
        1 - 2 * (x * x + y * y),
    )
    matrices[:, :3, :3] *= scales[:, None, :]
    matrices[:, :3, 3] = translations
    matrices[:, 3, 3] = 1
    return matrices


def _instance_transforms(document: GltfDocument, extension: dict[str, Any]) -> np.ndarray:
    attributes = extension.get("attributes") or {}
    read = {name: document.accessor(attributes[name]).astype(np.float64) for name in attributes if name in DEFAULTS}
    if not read:
        return np.eye(4)[None]
    counts = {len(values) for values in read.values()}
    if len(counts) > 1:
        raise ValueError(f"{INSTANCING}: its attributes have {sorted(counts)} elements; expected as many each")
    (count,) = counts
    document.budget.take("instances", count)
    filled = {name: read.get(name, np.tile(default, (count, 1))) for name, default in DEFAULTS.items()}
    for name, default in DEFAULTS.items():
        if filled[name].shape[1] != len(default):
            raise ValueError(f"{INSTANCING}: {name} has {filled[name].shape[1]} components, expected {len(default)}")
    return _compose(filled["TRANSLATION"], filled["ROTATION"], filled["SCALE"])


DEFAULTS = {
    "TRANSLATION": np.zeros(3),
    "ROTATION": np.array([0.0, 0.0, 0.0, 1.0]),
    "SCALE": np.ones(3),
}


def _joint_matrices(
    document: GltfDocument, skin_index: Any, worlds: dict[int, np.ndarray], parents: dict[int, int]
) -> np.ndarray:
    """What each joint does to a point of the mesh, in the pose of the file."""
    skin = document.item("skins", skin_index)
    joints = skin.get("joints") or []
    matrices = np.stack([_world(document, joint, worlds, parents) for joint in joints]) if joints else np.eye(4)[None]
    if "inverseBindMatrices" not in skin:
        return matrices
    inverse = document.accessor(skin["inverseBindMatrices"]).astype(np.float64)
    if inverse.shape[1] != 16 or len(inverse) < len(joints):
        raise ValueError(f"skins {skin_index}: {len(inverse)} inverse bind matrices for {len(joints)} joints")
    return matrices @ inverse[: len(matrices)].reshape(-1, 4, 4).transpose(0, 2, 1)


def _world(document: GltfDocument, index: Any, worlds: dict[int, np.ndarray], parents: dict[int, int]) -> np.ndarray:
    """The transform of a node, also of one outside the scene."""
    document.item("nodes", index)
    chain = [index]
    while chain[-1] not in worlds and chain[-1] in parents and len(chain) <= MAX_DEPTH:
        chain.append(parents[chain[-1]])
    world = np.eye(4)
    for node in reversed(chain):
        if node not in worlds:
            worlds[node] = world @ _local_transform(document.item("nodes", node), node)
        world = worlds[node]
    return worlds[index]
