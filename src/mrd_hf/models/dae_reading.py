"""COLLADA (.dae) into coloured triangles, by the package pycollada.

Colours follow the same rules as in OBJ: a texture replaces the diffuse colour, and vertex colours do where there is no
texture. Skinned meshes are as they were when they were bound to their bones. Files that are named are read from the
mesh's own folder; pycollada itself opens none.

Source: the COLLADA specification 1.4.1.
"""

import io
import itertools
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import numpy as np

from .polygons import cut_holes, triangulate
from .shape_limits import ShapeBudget
from .shapes import DEFAULT_COLOR, ColorSource, MeshPart, TexturedMesh, UpAxis, Wrap
from .textures import Textures
from .xml_text import check_xml


MAX_DEPTH = 200
# (x, y, z) to (-y, x, z): x pointed up, and y to the left.
X_UP_TO_Y_UP = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
WRAPS: dict[str, Wrap] = {"WRAP": "repeat", "MIRROR": "mirror", "CLAMP": "clamp", "BORDER": "clamp", "NONE": "clamp"}


def read_dae(data: bytes, get: Callable[[str], bytes]) -> TexturedMesh:
    """Read a COLLADA file.

    Args:
        data (`bytes`): The file.
        get (`Callable[[str], bytes]`): Content of a file that it names. Raises `FileNotFoundError`.

    Raises:
        ValueError: It cannot be read, or pycollada is missing; the message says why.
    """
    collada = load_collada()
    if zipfile.is_zipfile(io.BytesIO(data)):  # pycollada would unpack it, whatever comes of it
        raise ValueError("it is a zip file, or ends in one; unpack it, or rename it to .zip")
    check_xml(data)
    common = collada.common
    try:
        document = collada.Collada(
            io.BytesIO(data),
            ignore=[common.DaeUnsupportedError, common.DaeBrokenRefError],
            aux_file_loader=lambda _: None,
        )
        reader = _Reader(document, get, ShapeBudget(len(data)))
        reader.read()
    except RecursionError:
        raise ValueError("its nodes are nested too deep, or in a circle") from None
    except common.DaeError as error:
        raise ValueError(f"damaged: {error}") from error
    up_axis: UpAxis = "z" if document.assetInfo.upaxis == "Z_UP" else "y"
    mesh = TexturedMesh(reader.parts, list(dict.fromkeys(reader.warnings)), up_axis)
    return mesh.rotated(X_UP_TO_Y_UP) if document.assetInfo.upaxis == "X_UP" else mesh


def load_collada() -> Any:
    """The package collada.

    Raises:
        ValueError: It is missing.
    """
    try:
        import collada
    except ImportError as error:
        raise ValueError(f"COLLADA needs pycollada: pip install 'mrd-hf[formats]' ({error})") from error
    return collada


class _Reader:
    """Collects triangles, node by node."""

    def __init__(self, document: Any, get: Callable[[str], bytes], budget: ShapeBudget) -> None:
        self.document = document
        self.budget = budget
        self.get = budget.counted(get)
        self.parts: list[MeshPart] = []
        self.warnings = [f"{str(error).strip()[:100]}" for error in document.errors]
        self.pictures = Textures(budget, self.warnings)
        self.textures: dict[str, np.ndarray | None] = {}
        self.opaque: dict[int, np.ndarray] = {}  # of textures, by where their texels lie
        self.num_lines = 0
        # Of primitives and sources, which may be placed often: once each, by where they lie.
        self._holed: dict[int, list[list[np.ndarray]]] = {}
        self._values: dict[int, np.ndarray] = {}

    def read(self) -> None:
        scene = self.document.scene
        if scene is None and self.document.scenes:
            scene = self.document.scenes[0]
        if scene is None:
            for geometry in self.document.geometries:
                self._add_geometry(geometry, {}, np.eye(4), ())
        else:
            for node in scene.nodes:
                self._add_node(node, np.eye(4), (), 0)
        if self.num_lines:
            self.warnings.append(f"{self.num_lines} sets of lines left out")

    def _add_node(self, node: Any, above: np.ndarray, groups: tuple[str, ...], depth: int) -> None:
        collada = load_collada()
        self.budget.take("placed nodes", 1)
        if depth > MAX_DEPTH:
            raise ValueError(f"its nodes are nested in a circle, or more than {MAX_DEPTH} deep")
        if isinstance(node, collada.scene.NodeNode):
            self._add_node(node.node, above, groups, depth + 1)
        elif isinstance(node, collada.scene.Node):
            name = str(node.name or "")
            here = (*groups, name) if name else groups
            for child in node.children:
                self._add_node(child, above @ node.matrix.astype(np.float64), here, depth + 1)
        elif isinstance(node, collada.scene.GeometryNode):
            self._add_geometry(node.geometry, _materials(node), above, groups)
        elif isinstance(node, collada.scene.ControllerNode):
            skin = node.controller
            if isinstance(skin, collada.controller.Skin):  # bones, not the node, say where it is
                above = np.asarray(skin.bind_shape_matrix, dtype=np.float64).reshape(4, 4)
                self.warnings.append("skinned meshes are read as they were bound, not as their bones stand")
                self._add_geometry(skin.geometry, _materials(node), above, groups)
            elif isinstance(skin, collada.controller.Morph):
                self._add_geometry(skin.source_geometry, _materials(node), above, groups)

    def _add_geometry(
        self, geometry: Any, materials: dict[str, Any], transform: np.ndarray, groups: tuple[str, ...]
    ) -> None:
        collada = load_collada()
        names = (*groups, geometry.name) if geometry.name else groups
        for primitive in geometry.primitives:
            if isinstance(primitive, collada.lineset.LineSet):
                self.num_lines += 1
            elif len(primitive.index) or self._holed_polygons(primitive):
                part = self._part(primitive, materials.get(primitive.material), transform)
                own_name = groups[-1] if groups else geometry.name or ""
                self.parts.append(replace(part, name=own_name, groups=names))

    def _part(self, primitive: Any, material: Any, transform: np.ndarray) -> MeshPart:
        collada = load_collada()
        index = np.asarray(primitive.index, dtype=np.int64).reshape(-1, primitive.nindices)
        count = len(index)
        sizes = np.full(count // 3, 3)
        if isinstance(primitive, collada.polylist.Polylist):
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
        color, texture = (None, None) if material is None else _look(material.target.effect, self.document)
        shown = DEFAULT_COLOR if color is None else np.round(np.clip(np.nan_to_num(color), 0, 1) * 255)
        corner_colors: np.ndarray = np.broadcast_to(np.array(shown, dtype=np.uint8), triangles.shape)
        source: ColorSource | None = None if color is None else "material"
        texels = None if texture is None else self._texels(texture, material.target.effect)
        if texels is not None and texture is not None:
            chosen = _set_of(primitive, material, texture.texcoord)
            if chosen is not None:
                uv, places = self._rows(primitive, "TEXCOORD", index, 2, chosen)
                uv = np.nan_to_num(uv, posinf=0.0, neginf=0.0)[places[corners]]
                return MeshPart(triangles, corner_colors, texels, uv, "texture", None, self._wrap(texture))
            self.warnings.append(f"texture without coordinates: material {material.target.name or material.target.id}")
        if primitive.sources.get("COLOR"):
            rgb, places = self._rows(primitive, "COLOR", index, 3)
            corner_colors = np.round(np.clip(np.nan_to_num(rgb), 0, 1) * 255).astype(np.uint8)[places[corners]]
            source = "vertex colours"
        return MeshPart(triangles, corner_colors, color_source=source)

    def _holed_polygons(self, primitive: Any) -> list[list[np.ndarray]]:
        if id(primitive) not in self._holed:
            self._holed[id(primitive)] = _holed(primitive, self.document)
        return self._holed[id(primitive)]

    def _rows(
        self, primitive: Any, kind: str, index: np.ndarray, width: int, chosen: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """The values of an input, `(num_values, width)`, and which of them each corner has."""
        offset, _, _, _, values = primitive.sources[kind][chosen]
        if id(values) not in self._values:
            self._values[id(values)] = np.asarray(values.data, dtype=np.float64)
        data = self._values[id(values)]
        rows = index[:, offset]
        if data.ndim != 2 or data.shape[1] < width or not 0 <= rows.min() <= rows.max() < len(data):
            raise ValueError(f"a face names a value of {kind} that does not exist (there are {len(data)})")
        return data[:, :width], rows

    def _texels(self, texture: Any, effect: Any) -> np.ndarray | None:
        collada = load_collada()
        path = texture.sampler.surface.image.path or ""
        if path not in self.textures:
            self.textures[path] = self._decode(path)
        texels = self.textures[path]
        if texels is None or isinstance(effect.transparent, collada.material.Map):
            return texels
        if id(texels) not in self.opaque:
            opaque = texels
            if texels[..., 3].min(initial=255) < 255:  # without <transparent> it means something else
                opaque = self.pictures.copied(texels)
                opaque[..., 3] = 255
            self.opaque[id(texels)] = opaque
        return self.opaque[id(texels)]

    def _decode(self, path: str) -> np.ndarray | None:
        name = unquote(path).removeprefix("file://").removeprefix("./")
        try:
            return self.pictures.decode(self.get(name), name)
        except FileNotFoundError as error:
            self.warnings.append(str(error))
            return None

    def _wrap(self, texture: Any) -> tuple[Wrap, Wrap]:
        found = (texture.sampler.xmlnode.find(f".//{self.document.tag(name)}") for name in ("wrap_s", "wrap_t"))
        u, v = (WRAPS.get((node.text or "").strip() if node is not None else "", "repeat") for node in found)
        return u, v


def _holed(primitive: Any, document: Any) -> list[list[np.ndarray]]:
    """Polygons with holes, which pycollada passes over: rows of indices of the outer corners, then of each hole's."""
    found = []
    for polygon in primitive.xmlnode.findall(document.tag("ph")):
        texts = [ring.text or "" for name in ("p", "h") for ring in polygon.findall(document.tag(name))]
        rows = [np.array(text.split(), dtype=np.int64) for text in texts]
        rings = [row[: len(row) - len(row) % primitive.nindices].reshape(-1, primitive.nindices) for row in rows]
        if rings and len(rings[0]) >= 3:
            found.append([rings[0], *(ring for ring in rings[1:] if len(ring) >= 3)])
    return found


def _materials(node: Any) -> dict[str, Any]:
    return {material.symbol: material for material in node.materials}


def _look(effect: Any, document: Any) -> tuple[np.ndarray | None, Any]:
    """The colour in 0..1 and the texture of an effect: the diffuse ones or, of one that shines alone, those."""
    collada = load_collada()
    kind = "emission" if effect.shadingtype == "constant" else "diffuse"
    value = getattr(effect, kind)
    if effect.xmlnode.find(f".//{document.tag(kind)}") is None or value is None:
        return None, None
    if isinstance(value, collada.material.Map):
        return None, value
    return np.array(value[:3], dtype=np.float64), None


def _set_of(primitive: Any, material: Any, symbol: str) -> int | None:
    """Which of the primitive's texture coordinates a texture uses."""
    inputs = primitive.sources.get("TEXCOORD") or []
    number = next((each[2] for each in material.inputs if each[0] == symbol), None)
    for place, (_, _, _, its_set, _) in enumerate(inputs):
        if number is not None and str(its_set or 0) == str(number):
            return place
    return 0 if inputs else None
