"""The XML of 3MF files: objects, how they are put together, and the colours of their triangles.

Source: the 3MF core specification 1.3, its materials and properties extension, and its production extension. Of the
displacement extension, what is displaced is read.
"""

import re
from array import array
from dataclasses import dataclass, field
from xml.parsers import expat

import numpy as np

from .shape_limits import ShapeBudget
from .xml_text import check_xml


# A property that a triangle does not have.
NONE = -1
MAX_NUMBER = 2**31
MATERIALS = "http://schemas.microsoft.com/3dmanufacturing/material/2015/02"
DISPLACEMENT = "http://schemas.3mf.io/3dmanufacturing/displacement/2023/10"
UNREAD = (
    *("compositematerials", "multiproperties", "beamlattice", "slicestack", "volumetricstack", "volumedata"),
    "displacement2d",
)


@dataclass
class Mesh3mf:
    """An object: triangles, or other objects.

    Args:
        name (`str`), kind (`str`): As written; "model" where no type is.
        vertices (`array` of `float`): Three each.
        triangles (`array` of `int`): Seven each: vertices, then properties of the corners, then whose those are.
        components (`list` of `(path, id, transform)`): Objects that it consists of; the path is "" for this file.
        group, index (`int`): The properties of triangles that have none, or `NONE`.
    """

    name: str = ""
    kind: str = "model"
    vertices: array = field(default_factory=lambda: array("d"))
    triangles: array = field(default_factory=lambda: array("q"))
    components: list[tuple[str, int, np.ndarray]] = field(default_factory=list)
    group: int = NONE
    index: int = NONE


@dataclass
class Model3mf:
    """What one of the XML files says.

    Args:
        objects (`dict[int, Mesh3mf]`): By id.
        colors (`dict[int, list]`): Base materials and colour groups by id: uint8 sRGB and opacity of each entry.
        coordinates (`dict[int, list]`): Texture coordinates by the group's id, (0, 0) the lower left.
        texture_of (`dict[int, int]`): The texture of a group of coordinates.
        textures (`dict[int, (path, tiling in u, tiling in v)]`)
        items (`list` of `(path, id, transform)`): What is built.
        unread (`set[str]`): Kinds of properties that are not read.
    """

    objects: dict[int, Mesh3mf] = field(default_factory=dict)
    colors: dict[int, list[tuple[int, ...]]] = field(default_factory=dict)
    coordinates: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    texture_of: dict[int, int] = field(default_factory=dict)
    textures: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    items: list[tuple[str, int, np.ndarray]] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)


def parse_model(data: bytes, budget: ShapeBudget) -> Model3mf:
    """Parse one of a 3MF file's XML files.

    Args:
        data (`bytes`): It.
        budget (`ShapeBudget`): What the file may hold. What it stores and does not place counts as faces, too.

    Raises:
        ValueError: It is damaged or too large; the message says where.
    """
    check_xml(data)
    reader = _Reader(budget.left("faces"), budget.left("XML elements"))
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = reader.start
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"damaged XML ({error})") from error
    except (KeyError, ValueError, TypeError) as error:
        missing = f"lacks the attribute {error}" if isinstance(error, KeyError) else f"{error}"
        raise ValueError(f"line {parser.CurrentLineNumber} of its XML: {missing}") from error
    budget.take("XML elements", reader.num_elements)
    return reader.model


def parse_transform(text: str | None) -> np.ndarray:
    """A matrix of shape `(4, 3)` for row vectors: of twelve numbers, or the identity."""
    if text is None:
        return np.eye(4, 3)
    numbers = np.array([float(word) for word in text.split()])
    if len(numbers) != 12 or not np.isfinite(numbers).all():
        raise ValueError(f"a transform has {len(numbers)} finite numbers, expected 12")
    return numbers.reshape(4, 3)


class _Reader:
    def __init__(self, most_faces: int, most_elements: int) -> None:
        self.most_faces, self.most_elements = most_faces, most_elements
        self.core = ""
        self.model = Model3mf()
        self.object = Mesh3mf()
        self.colors: list[tuple[int, ...]] = []
        self.coordinates: list[tuple[float, float]] = []
        self.num_faces = 0
        self.num_elements = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        # Extensions have elements of the same names: a slice has vertices, too.
        space, _, name = tag.rpartition(" ")
        if not self.num_elements:
            self.core = space
        self.num_elements += 1
        if self.num_elements > self.most_elements:
            raise ValueError(f"more than {self.most_elements:,} XML elements; simplify the mesh")
        if space in (self.core, DISPLACEMENT):
            self._start_core(name, attributes)
        if space in (self.core, MATERIALS):
            self._start_material(name, attributes)
        if name in UNREAD:
            self.model.unread.add(name)

    def _start_core(self, name: str, attributes: dict[str, str]) -> None:
        get = attributes.get
        if name == "vertex":
            self.object.vertices.extend((float(attributes["x"]), float(attributes["y"]), float(attributes["z"])))
        elif name == "triangle":
            first = _number(get("p1"), self.object.index)
            corners = (_number(attributes["v1"]), _number(attributes["v2"]), _number(attributes["v3"]))
            its_own = (first, _number(get("p2"), first), _number(get("p3"), first))
            self.object.triangles.extend((*corners, *its_own, _number(get("pid"), self.object.group)))
            self.num_faces += 1
            if self.num_faces > self.most_faces:
                raise ValueError(f"more than {self.most_faces:,} faces; simplify the mesh")
        elif name == "object":
            self.object = Mesh3mf(get("name", ""), get("type", "model"))
            self.object.group, self.object.index = _number(get("pid"), NONE), _number(get("pindex"), NONE)
            self.model.objects[_number(attributes["id"])] = self.object
        elif name in ("component", "item"):
            path = next((value for key, value in attributes.items() if key.endswith(" path")), "")
            placed = (path, _number(attributes["objectid"]), parse_transform(get("transform")))
            (self.model.items if name == "item" else self.object.components).append(placed)

    def _start_material(self, name: str, attributes: dict[str, str]) -> None:
        get = attributes.get
        if name in ("basematerials", "colorgroup"):
            self.colors = self.model.colors.setdefault(_number(attributes["id"]), [])
        elif name == "base":
            self.colors.append(_color(attributes["displaycolor"]))
        elif name == "color":
            self.colors.append(_color(attributes["color"]))
        elif name == "texture2d":
            tiling = get("tilestyleu", "wrap"), get("tilestylev", "wrap")
            self.model.textures[_number(attributes["id"])] = (attributes["path"], *tiling)
        elif name == "texture2dgroup":
            self.model.texture_of[_number(attributes["id"])] = _number(attributes["texid"])
            self.coordinates = self.model.coordinates.setdefault(_number(attributes["id"]), [])
        elif name == "tex2coord":
            self.coordinates.append((float(attributes["u"]), float(attributes["v"])))


def _number(text: str | None, default: int | None = None) -> int:
    if text is None:
        if default is None:
            raise ValueError("a number is missing")
        return default
    number = int(text)
    if not 0 <= number < MAX_NUMBER:
        raise ValueError(f"the number {text[:20]} is out of bounds")
    return number


def _color(text: str) -> tuple[int, ...]:
    """uint8 RGBA of #RRGGBB or #RRGGBBAA."""
    if not re.fullmatch("#(?:[0-9A-Fa-f]{2}){3,4}", text.strip()):
        raise ValueError(f"a colour is {text[:20]!r}; expected #RRGGBB or #RRGGBBAA")
    return tuple(bytes.fromhex(text.strip()[1:].ljust(8, "F")))
