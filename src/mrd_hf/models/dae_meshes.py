"""COLLADA's meshes: values of sources, and the polygons that the package pycollada reads the indices of.

pycollada gets no more than what is read here: it refuses a whole file for a fault in any part of it, and reads values
in float32, in which georeferenced places snap.
"""

from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from .dae_document import DaeDocument, numbers


LINES = ("lines", "linestrips")
UNREAD = " unread"  # no element has a blank in its id
# What of a corner is read, and the coordinates of its values, by the names that pycollada looks for.
COMPONENTS = {"POSITION": ("X", "Y", "Z"), "COLOR": ("R", "G", "B"), "TEXCOORD": ("S", "T")}


@dataclass(frozen=True)
class DaeMesh:
    """A mesh as its file has it.

    Args:
        name (`str`)
        primitives (list of `collada.primitive.Primitive`): Triangles and polygons.
        num_lines (`int`): Sets of lines, which are not read.
    """

    name: str
    primitives: list[Any] = field(default_factory=list)
    num_lines: int = 0


class DaeMeshes:
    """Meshes, each read once.

    Args:
        document (`DaeDocument`): Its warnings get what is left out.

    Raises:
        ValueError: pycollada is missing.
    """

    def __init__(self, document: DaeDocument) -> None:
        self.document = document
        self.collada = load_collada()
        self.reading = self.collada.Collada(ignore=[self.collada.common.DaeUnsupportedError])
        self.reading.tag = str  # the document's elements are named without a namespace
        polygons, triangles = self.collada.polygons.Polygons, self.collada.triangleset.TriangleSet
        self.kinds: dict[str, Any] = {"polylist": self.collada.polylist.Polylist, "polygons": polygons}
        self.kinds |= dict.fromkeys(("triangles", "tristrips", "trifans"), triangles)
        self._read: dict[Element, DaeMesh] = {}

    def mesh(self, geometry: Element) -> DaeMesh:
        """A mesh.

        Raises:
            ValueError: It is damaged.
        """
        if geometry not in self._read:
            try:
                self._read[geometry] = self._read_mesh(geometry)
            except self.collada.common.DaeError as error:
                raise ValueError(f"damaged: {error}") from error
        return self._read[geometry]

    def _read_mesh(self, geometry: Element) -> DaeMesh:
        name, mesh = geometry.get("name", ""), geometry.find("mesh")
        if mesh is None:
            self.document.warnings.append(f"geometry that is no mesh left out: {name or geometry.get('id')}")
            return DaeMesh(name)
        sources = _Sources(self.document, mesh, self.collada.source.FloatSource)
        primitives: list[Any] = []
        num_lines = 0
        for child in mesh:
            if child.tag in (*self.kinds, *LINES) and _is_empty(child):
                continue
            if child.tag in LINES:
                num_lines += 1
            elif child.tag in self.kinds:
                primitives.append(self.kinds[child.tag].load(self.reading, sources.of(child), child))
            elif child.tag not in ("source", "vertices", "extra"):
                self.document.warnings.append(f"<{child.tag}> of a mesh left out")
        return DaeMesh(name, primitives, num_lines)


class _Sources:
    """Those of a mesh that are read, as pycollada looks for them.

    Args:
        document (`DaeDocument`)
        mesh (`Element`)
        make (`type`): pycollada's class of a source of floats.
    """

    def __init__(self, document: DaeDocument, mesh: Element, make: Any) -> None:
        self.document = document
        self.make = make
        self.elements = {each.get("id"): each for each in mesh.iterfind("source")}
        self.vertices = {each.get("id"): each for each in mesh.iterfind("vertices")}
        self.found: dict[str, Any] = {UNREAD: make(UNREAD, np.empty(0), ("X",), mesh)}

    def of(self, primitive: Element) -> dict[str, Any]:
        """The sources that a primitive names. Inputs that are not read keep their places among its indices."""
        for given in primitive.iterfind("input"):
            semantic, name = given.get("semantic"), given.get("source", "").removeprefix("#")
            if semantic == "VERTEX" and name in self.vertices:
                self._take_vertices(name)
            elif semantic == "VERTEX":
                self._take(name, "POSITION")
            elif semantic in COMPONENTS:
                self._take(name, semantic)
            else:  # normals and the like
                given.set("semantic", UNREAD)
                given.set("source", f"#{UNREAD}")
        return self.found

    def _take_vertices(self, name: str) -> None:
        if name not in self.found:
            inputs = {
                each.get("semantic", ""): self._take(
                    each.get("source", "").removeprefix("#"), each.get("semantic", "")
                )
                for each in self.vertices[name].iterfind("input")
                if each.get("semantic") in COMPONENTS
            }
            if "POSITION" not in inputs:
                raise ValueError(f"damaged: vertices {name} have no positions")
            self.found[name] = inputs

    def _take(self, name: str, semantic: str) -> Any:
        if name not in self.found:
            if name not in self.elements:
                raise ValueError(f"damaged: there is no source {name or '(without a name)'} of {semantic}")
            values = self._values(self.elements[name], semantic)
            self.found[name] = self.make(name, values, COMPONENTS[semantic], self.elements[name])
        return self.found[name]

    def _values(self, source: Element, semantic: str) -> np.ndarray:
        """What a source has, float64 of shape `(num_values, num_components)`."""
        accessor, array = source.find("technique_common/accessor"), source.find("float_array")
        if accessor is not None and array is None:
            array = self.document.named("float_array", accessor.get("source"))
        if accessor is None or array is None:
            raise ValueError(f"damaged: source {source.get('id')} of {semantic} has no float_array, or no accessor")
        values, params = numbers(array), accessor.findall("param")
        if not len(values):
            return np.empty((0, len(COMPONENTS[semantic])))
        said = {name: accessor.get(name, "").strip() or "0" for name in ("offset", "stride")}
        offset, stride = (int(number) if number.isdecimal() else -1 for number in said.values())
        stride = max(1, stride, len(params))
        if offset < 0 or stride > len(values) or (not offset and len(values) % stride):
            raise ValueError(
                f"damaged: source {source.get('id')} has {len(values)} numbers, of which its accessor reads {stride} "
                f"at a time, from {said['offset']} on"
            )
        if offset:  # things that share an array: behind the last one, those before it are missing
            values = values[offset:]
            values = np.concatenate([values, np.full(-len(values) % stride, np.nan)])
        # Numbers without a name are not meant, unless too few have one.
        width, named = len(COMPONENTS[semantic]), [place for place, each in enumerate(params) if each.get("name")]
        columns = (named if len(named) >= width else list(range(stride)))[:width]
        if len(columns) < width:
            raise ValueError(f"damaged: source {source.get('id')} has {stride} numbers to a value of {semantic}")
        rows = values.reshape(-1, stride)
        return rows if len(columns) == stride else rows[:, columns]


def _is_empty(primitive: Element) -> bool:
    """Whether a primitive has nothing, and does not say that it has anything."""
    has_corners = any(each.text and not each.text.isspace() for each in primitive.iter("p"))
    return not has_corners and primitive.get("count", "0").strip() == "0"


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
