"""COLLADA (.dae) into coloured triangles; the package pycollada reads the meshes' indices.

Colours follow the same rules as in OBJ: a texture replaces the diffuse colour, and vertex colours do where there is no
texture. Skinned meshes are as they were when they were bound to their bones. Files that are named are read from the
mesh's own folder; pycollada itself opens none.

A mesh that is damaged is an error. What else is damaged, or names what is not there, is left out with a warning.
"""

import io
import itertools
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from .dae_document import BoundMaterial, DaeDocument
from .dae_materials import DaeMaterials
from .dae_meshes import DaeMeshes, load_collada
from .polygons import cut_holes, triangulate
from .shape_limits import ShapeBudget
from .shapes import DEFAULT_COLOR, ColorSource, MeshPart, TexturedMesh


MAX_DEPTH = 200
# (x, y, z) to (-y, x, z): x pointed up, and y to the left.
X_UP_TO_Y_UP = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def read_dae(data: bytes, get: Callable[[str], bytes]) -> TexturedMesh:
    """Read a COLLADA file.

    Args:
        data (`bytes`): The file.
        get (`Callable[[str], bytes]`): Content of a file that it names. Raises `FileNotFoundError`.

    Raises:
        ValueError: It cannot be read, or pycollada is missing; the message says why.
    """
    load_collada()
    if zipfile.is_zipfile(io.BytesIO(data)):
        raise ValueError("it is a zip file, or ends in one; unpack it, or rename it to .zip")
    reader = _Reader(data, get)
    reader.read()
    said = reader.document.up_axis
    mesh = TexturedMesh(reader.parts, list(dict.fromkeys(reader.warnings)), "z" if said == "Z_UP" else "y")
    return mesh.rotated(X_UP_TO_Y_UP) if said == "X_UP" else mesh


class _Reader:
    """Collects triangles, node by node."""

    def __init__(self, data: bytes, get: Callable[[str], bytes]) -> None:
        self.document = DaeDocument(data)
        self.budget = ShapeBudget(len(data))
        self.warnings = self.document.warnings
        self.meshes = DaeMeshes(self.document)
        self.materials = DaeMaterials(self.document, get, self.budget)
        self.parts: list[MeshPart] = []
        self.num_lines = 0
        self._holed: dict[int, list[list[np.ndarray]]] = {}  # of primitives, which may be placed often

    def read(self) -> None:
        scene = self.document.scene()
        if scene is None:
            for geometry in self.document.root.iterfind("library_geometries/geometry"):
                self._add_mesh(geometry, {}, np.eye(4), ())
        else:
            for node in scene.iterfind("node"):
                self._add_node(node, np.eye(4), (), 0)
        if self.num_lines:
            self.warnings.append(f"{self.num_lines} sets of lines left out")

    def _add_node(self, element: Element, above: np.ndarray, groups: tuple[str, ...], depth: int) -> None:
        self.budget.take("placed nodes", 1)
        if depth > MAX_DEPTH:
            raise ValueError(f"its nodes are nested in a circle, or more than {MAX_DEPTH} deep")
        node = self.document.node(element)
        here = (*groups, node.name) if node.name else groups
        with np.errstate(invalid="ignore", over="ignore"):  # as of the vertices that this places
            place = above @ node.matrix
        for child in node.children:
            if child.tag == "node":
                self._add_node(child, place, here, depth + 1)
                continue
            self.budget.take("placed nodes", 1)
            placed = self.document.placed(child)
            if placed.geometry is not None:
                # Bones, not the node, say where a skin is.
                bound = place if placed.bound is None else placed.bound
                self._add_mesh(placed.geometry, placed.materials, bound, here)

    def _add_mesh(
        self,
        geometry: Element,
        materials: dict[str | None, BoundMaterial],
        transform: np.ndarray,
        groups: tuple[str, ...],
    ) -> None:
        mesh = self.meshes.mesh(geometry)
        self.num_lines += mesh.num_lines
        names = (*groups, mesh.name) if mesh.name else groups
        for primitive in mesh.primitives:
            if len(primitive.index) or self._holed_polygons(primitive):
                part = self._part(primitive, materials.get(primitive.material), transform)
                own_name = groups[-1] if groups else mesh.name
                self.parts.append(replace(part, name=own_name, groups=names))

    def _part(self, primitive: Any, material: BoundMaterial | None, transform: np.ndarray) -> MeshPart:
        index = np.asarray(primitive.index, dtype=np.int64).reshape(-1, primitive.nindices)
        count = len(index)
        sizes = np.full(count // 3, 3)
        if isinstance(primitive, load_collada().polylist.Polylist):
            sizes = np.asarray(primitive.vcounts, dtype=np.int64)
        if (sizes < 0).any() or sizes.sum() > count:
            raise ValueError(f"a list of polygons has {count} corners, and its counts say {sizes.sum()}")
        holed = self._holed_polygons(primitive)
        index = np.concatenate([index, *(ring for rings in holed for ring in rings)])
        positions, vertices = self._rows(primitive, "VERTEX", index, 3)
        self.budget.take("parts", 1)
        self.budget.take("placed vertices", len(positions))
        self.budget.take("faces", int((sizes - 2).clip(0).sum()) + sum(2 * sum(map(len, rings)) for rings in holed))
        cut = [triangulate(positions, vertices[:count], sizes, self.warnings)[0]]
        for rings in holed:
            ends = count + np.cumsum([0, *map(len, rings)])
            ring_corners = [positions[vertices[start:end]] for start, end in itertools.pairwise(ends)]
            cut.append(count + cut_holes(ring_corners, self.warnings))
            count = int(ends[-1])
        corners = np.concatenate(cut)
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is dropped or reported later
            placed = positions @ transform[:3, :3].T + transform[:3, 3]
        triangles = placed[vertices[corners]]
        look = None if material is None else self.materials.look(material.url)
        color = None if look is None else look.color
        shown = DEFAULT_COLOR if color is None else np.round(np.clip(np.nan_to_num(color), 0, 1) * 255)
        corner_colors: np.ndarray = np.broadcast_to(np.array(shown, dtype=np.uint8), triangles.shape)
        source: ColorSource | None = None if color is None else "material"
        if material is not None and look is not None and look.texels is not None:
            chosen = _set_of(primitive, material.sets.get(look.texcoord))
            if chosen is not None:
                uv, places = self._rows(primitive, "TEXCOORD", index, 2, chosen)
                uv = np.nan_to_num(uv, posinf=0.0, neginf=0.0)[places[corners]]
                if primitive.sources.get("COLOR"):
                    self.warnings.append(f"vertex colours under a texture left out: material {look.name}")
                return MeshPart(triangles, corner_colors, look.texels, uv, "texture", None, look.wrap)
            self.warnings.append(f"texture without coordinates: material {look.name}")
        if primitive.sources.get("COLOR"):
            rgb, places = self._rows(primitive, "COLOR", index, 3)
            corner_colors = np.round(np.clip(np.nan_to_num(rgb), 0, 1) * 255).astype(np.uint8)[places[corners]]
            source = "vertex colours"
        return MeshPart(triangles, corner_colors, color_source=source)

    def _holed_polygons(self, primitive: Any) -> list[list[np.ndarray]]:
        if id(primitive) not in self._holed:
            self._holed[id(primitive)] = _holed(primitive)
        return self._holed[id(primitive)]

    def _rows(
        self, primitive: Any, kind: str, index: np.ndarray, width: int, chosen: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """The values of an input, `(num_values, width)`, and which of them each corner has."""
        offset, _, _, _, values = primitive.sources[kind][chosen]
        data, rows = values.data, index[:, offset]
        if data.ndim != 2 or data.shape[1] < width or not 0 <= rows.min() <= rows.max() < len(data):
            raise ValueError(f"a face names a value of {kind} that does not exist (there are {len(data)})")
        return data[:, :width], rows


def _holed(primitive: Any) -> list[list[np.ndarray]]:
    """Polygons with holes, which pycollada passes over: rows of indices of the outer corners, then of each hole's."""
    found = []
    for polygon in primitive.xmlnode.iterfind("ph"):
        texts = [ring.text or "" for name in ("p", "h") for ring in polygon.iterfind(name)]
        rows = [np.array(text.split(), dtype=np.int64) for text in texts]
        rings = [row[: len(row) - len(row) % primitive.nindices].reshape(-1, primitive.nindices) for row in rows]
        if rings and len(rings[0]) >= 3:
            found.append([rings[0], *(ring for ring in rings[1:] if len(ring) >= 3)])
    return found


def _set_of(primitive: Any, number: str | None) -> int | None:
    """Which of the primitive's texture coordinates a texture uses: those of a set, else the first."""
    inputs = primitive.sources.get("TEXCOORD") or []
    for place, (_, _, _, its_set, _) in enumerate(inputs):
        if number and str(its_set or 0) == number:
            return place
    return 0 if inputs else None
