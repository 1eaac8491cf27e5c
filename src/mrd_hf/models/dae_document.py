"""COLLADA's elements, by what refers to them: the scene, its nodes and where these are, and which meshes they place.

Only what is looked up here is read. Cameras, lights, animations and the weights of skins may be damaged.

Source: the COLLADA specifications 1.4.1 and 1.5.0.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

import numpy as np

from .number_text import parse_numbers
from .xml_text import parse_xml


# A skin of a morph is two of them; what refers to more does so in a circle.
MAX_CONTROLLERS = 8


@dataclass(frozen=True)
class DaeNode:
    """What a node says itself.

    Args:
        name (`str`)
        matrix (`np.ndarray` of shape `(4, 4)`): Where it is in the node above it, for columns.
        children (list of `Element`): Nodes, also those that it has instances of, and instances of meshes.
    """

    name: str
    matrix: np.ndarray
    children: list[Element]


@dataclass(frozen=True)
class BoundMaterial:
    """A material where a mesh is placed.

    Args:
        url (`str`): Of the material.
        sets (`dict[str, str]`): Numbers of sets of texture coordinates, by what textures call them.
    """

    url: str
    sets: dict[str, str]


@dataclass(frozen=True)
class PlacedMesh:
    """An instance of a mesh.

    Args:
        geometry (`Element`, *optional*): None where it is not there.
        bound (`np.ndarray` of shape `(4, 4)`, *optional*): Where a skin puts it, instead of its node.
        materials (`dict[str | None, BoundMaterial]`): By what the mesh calls them.
    """

    geometry: Element | None
    bound: np.ndarray | None = None
    materials: dict[str | None, BoundMaterial] = field(default_factory=dict)


class DaeDocument:
    """A COLLADA file.

    Args:
        data (`bytes`): The file.

    Raises:
        ValueError: It is no XML, or has a document type.
    """

    def __init__(self, data: bytes) -> None:
        self.root = parse_xml(data)
        self.warnings: list[str] = []
        # Some exporters give a mesh, a node and a material of one name the same id.
        self._by_id = {(each.tag, each.attrib["id"]): each for each in self.root.iter() if "id" in each.attrib}
        # Of nodes and instances, which may be placed often.
        self._nodes: dict[Element, DaeNode] = {}
        self._placed: dict[Element, PlacedMesh] = {}

    @property
    def up_axis(self) -> str:
        return (self.root.findtext("asset/up_axis") or "").strip()

    def named(self, kind: str, url: str | None) -> Element | None:
        """The element of a kind that a reference names, `#id`; None where it is not there, or in another file."""
        return self._by_id.get((kind, (url or "").strip().removeprefix("#")))

    def scene(self) -> Element | None:
        """The scene that is shown, else the first one."""
        shown = self.root.find("scene/instance_visual_scene")
        found = None if shown is None else self.named("visual_scene", shown.get("url"))
        if found is not None:
            return found
        found = self.root.find("library_visual_scenes/visual_scene")
        if shown is not None:
            instead = "each mesh once, without its place," if found is None else "the first one"
            self.warnings.append(f"scene not found: {shown.get('url')}; {instead} is read")
        return found

    def node(self, element: Element) -> DaeNode:
        """What a node says.

        Raises:
            ValueError: Its place is damaged.
        """
        if element not in self._nodes:
            self._nodes[element] = self._read_node(element)
        return self._nodes[element]

    def _read_node(self, element: Element) -> DaeNode:
        matrix = np.eye(4)
        children: list[Element] = []
        for child in element:
            if child.tag in TRANSFORMS:
                count, transform = TRANSFORMS[child.tag]
                matrix = matrix @ transform(numbers(child, count))
            elif child.tag == "skew":
                self.warnings.append("skewing of nodes left out")
            elif child.tag in ("node", "instance_geometry", "instance_controller"):
                children.append(child)
            elif child.tag == "instance_node":
                node = self.named("node", child.get("url"))
                if node is None:
                    self.warnings.append(f"node not found: {child.get('url')}")
                else:
                    children.append(node)
        return DaeNode(element.get("name", element.get("id", "")), matrix, children)

    def placed(self, instance: Element) -> PlacedMesh:
        """What an instance of a mesh, or of what deforms it, places."""
        if instance not in self._placed:
            self._placed[instance] = self._read_instance(instance)
        return self._placed[instance]

    def _read_instance(self, instance: Element) -> PlacedMesh:
        url = instance.get("url")
        if instance.tag == "instance_controller":
            geometry, bound = self._base_mesh(url)
        else:
            geometry, bound = self.named("geometry", url), None
        if geometry is None:
            self.warnings.append(f"mesh not found: {url}")
        materials = {
            each.get("symbol"): BoundMaterial(
                each.get("target", ""),
                {
                    names.get("semantic", ""): names.get("input_set", "")
                    for names in each.iterfind("bind_vertex_input")
                },
            )
            for each in instance.iterfind("bind_material/technique_common/instance_material")
        }
        return PlacedMesh(geometry, bound, materials)

    def _base_mesh(self, url: str | None) -> tuple[Element | None, np.ndarray | None]:
        """The mesh that a controller deforms, and where skins put it: of a skin of a morph, the morph's."""
        bound: np.ndarray | None = None
        for _ in range(MAX_CONTROLLERS):
            controller = self.named("controller", url)
            if controller is None:
                break
            deformer = next((found for kind in ("skin", "morph") for found in controller.iterfind(kind)), None)
            if deformer is None:
                break
            if deformer.tag == "skin":
                self.warnings.append("skinned meshes are read as they were bound, not as their bones stand")
                matrix = deformer.find("bind_shape_matrix")
                own = np.eye(4) if matrix is None else numbers(matrix, 16).reshape(4, 4)
                bound = own if bound is None else bound @ own
            else:
                self.warnings.append("meshes with morphs are read in their base shape")
            url = deformer.get("source")
            geometry = self.named("geometry", url)
            if geometry is not None:
                return geometry, bound
        return None, bound


def numbers(element: Element, count: int | None = None) -> np.ndarray:
    """The numbers of an element, float64 of shape `(num_numbers,)`.

    Raises:
        ValueError: Something is no number, or there are not `count` of them.
    """
    try:
        values = parse_numbers((element.text or "").encode())
    except ValueError as error:
        raise ValueError(f"damaged: <{element.tag}>: {error}") from None
    if count is not None and len(values) != count:
        raise ValueError(f"damaged: <{element.tag}> has {len(values)} numbers; expected {count}")
    return values


def _translation(values: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = values
    return matrix


def _rotation(values: np.ndarray) -> np.ndarray:
    """About an axis, by degrees."""
    (x, y, z), angle = values[:3], np.radians(values[3])
    matrix = np.eye(4)
    turned = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    outer = np.outer(values[:3], values[:3])
    matrix[:3, :3] = outer * (1 - np.cos(angle)) + np.eye(3) * np.cos(angle) + turned * np.sin(angle)
    return matrix


def _looking(values: np.ndarray) -> np.ndarray:
    """At a place, which is then along -z; from a place, and with a direction that is then in the plane of y and z."""
    eye, target, up = values.reshape(3, 3)
    matrix = np.eye(4)
    with np.errstate(invalid="ignore", divide="ignore"):  # of a camera that looks nowhere, which places nothing
        back = (eye - target) / np.linalg.norm(eye - target)
        right = np.cross(up, back) / np.linalg.norm(np.cross(up, back))
    matrix[:3] = np.stack([right, np.cross(back, right), back, eye], axis=1)
    return matrix


# How many numbers each has, and what they say.
TRANSFORMS: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    "translate": (3, _translation),
    "rotate": (4, _rotation),
    "scale": (3, lambda values: np.diag([*values, 1.0])),
    "matrix": (16, lambda values: values.reshape(4, 4)),
    "lookat": (9, _looking),
}
