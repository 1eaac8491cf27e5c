"""3MF, the format of 3D printing, into coloured triangles: a zip file of XML, which Python's own parsers read.

What is built is read, in its place: the file's items with the objects that they consist of, without supports. Colours
are base materials, colour groups and textures. z points up, as a printer has it.
"""

import posixpath
import re
from dataclasses import replace
from xml.parsers import expat

import numpy as np

from .shape_limits import ShapeBudget
from .shapes import DEFAULT_COLOR, MeshPart, TexturedMesh, Wrap
from .textures import Textures
from .threemf_text import NONE, Mesh3mf, Model3mf, parse_model
from .xml_text import check_xml
from .zip_members import ZipMembers


MODEL_TYPE = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
SUPPORTS = ("support", "solidsupport")
# Objects of objects: real files have two levels.
MAX_DEPTH = 100
WRAPS: dict[str, Wrap] = {"wrap": "repeat", "mirror": "mirror", "clamp": "clamp", "none": "clamp"}


def read_3mf(data: bytes) -> TexturedMesh:
    """Read a 3MF file.

    Args:
        data (`bytes`): The file. It has all that it names in itself.

    Raises:
        ValueError: It cannot be read; the message says why.
    """
    reader = _Reader(ZipMembers(data), ShapeBudget(len(data)))
    path = reader.main_model()
    model = reader.model(path)
    if not model.items:
        raise ValueError("nothing is built: its <build> has no item")
    for other, number, transform in model.items:
        reader.place(_resolved(other, path), number, transform, (), 0)
    for name in sorted({name for each in reader.models.values() for name in each.unread}):
        reader.warnings.append(f"{name} left out")
    return TexturedMesh(reader.parts, list(dict.fromkeys(reader.warnings)), "z")


def _resolved(path: str, beside: str) -> str:
    """A path in the zip file, which begins with / or is relative to a file in it; `beside` itself for none."""
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(beside), path))[1:] if path else beside


class _Reader:
    def __init__(self, members: ZipMembers, budget: ShapeBudget) -> None:
        self.members = members
        self.budget = budget
        self.models: dict[str, Model3mf] = {}
        self.parts: list[MeshPart] = []
        self.warnings: list[str] = []
        self.pictures = Textures(budget, self.warnings)
        self.textures: dict[str, np.ndarray | None] = {}
        self.tables: dict[tuple[str, int], np.ndarray] = {}  # entries of groups, by the file and the group

    def main_model(self) -> str:
        """The path of the XML file that says what is built."""
        relations = self.members.read("_rels/.rels")
        found: list[str] = []
        if relations is not None:
            check_xml(relations)
            parser = expat.ParserCreate(namespace_separator=" ")

            def start(_: str, attributes: dict[str, str]) -> None:
                self.budget.take("XML elements", 1)
                if attributes.get("Type") == MODEL_TYPE:
                    found.append(_resolved(attributes.get("Target", ""), ""))

            parser.StartElementHandler = start
            try:
                parser.Parse(relations, True)
            except expat.ExpatError as error:
                raise ValueError(f"_rels/.rels: damaged XML ({error})") from error
        if not found:
            found = [name for name in self.members.names() if re.fullmatch(r"(?i)3D/[^/]+\.model", name)]
        if not found:
            raise ValueError("the zip file has no 3D/3dmodel.model; it is no 3MF file")
        return found[0]

    def model(self, path: str) -> Model3mf:
        if path not in self.models:
            data = self.members.read(path)
            if data is None:
                raise ValueError(f"the zip file has no {path}")
            try:
                self.models[path] = parse_model(data, self.budget)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
        return self.models[path]

    def place(self, path: str, number: int, transform: np.ndarray, groups: tuple[str, ...], depth: int) -> None:
        """Add an object, and those that it consists of, where `transform`, `(4, 3)` for row vectors, puts it."""
        self.budget.take("placed nodes", 1)
        if depth > MAX_DEPTH:
            raise ValueError(f"its objects consist of themselves, or of more than {MAX_DEPTH} levels")
        model = self.model(path)
        if number not in model.objects:
            raise ValueError(f"{path}: there is no object {number}")
        found = model.objects[number]
        if found.kind in SUPPORTS:
            self.warnings.append("supports left out")
            return
        groups = (*groups, found.name) if found.name else groups
        if found.triangles:
            self._add_mesh(path, model, found, transform, groups)
        for other, its_number, own in found.components:
            placed = np.concatenate([own[:3] @ transform[:3], own[3:] @ transform[:3] + transform[3:]])
            self.place(_resolved(other, path), its_number, placed, groups, depth + 1)

    def _add_mesh(
        self, path: str, model: Model3mf, mesh: Mesh3mf, transform: np.ndarray, groups: tuple[str, ...]
    ) -> None:
        rows = np.frombuffer(mesh.triangles, dtype=np.int64).reshape(-1, 7)
        vertices = np.frombuffer(mesh.vertices).reshape(-1, 3)
        self.budget.take("faces", len(rows))
        self.budget.take("placed vertices", len(vertices))
        if rows[:, :3].max() >= len(vertices):
            raise ValueError(f"{path}: a triangle names a vertex that does not exist (there are {len(vertices)})")
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is dropped or reported later
            corners = (vertices @ transform[:3] + transform[3])[rows[:, :3]]
        # Sorted once: there may be as many groups as triangles.
        order = np.argsort(rows[:, 6], kind="stable")
        used, starts = np.unique(rows[order, 6], return_index=True)
        for group, here in zip(used.tolist(), np.split(order, starts[1:]), strict=True):
            table: list = model.colors.get(group) or model.coordinates.get(group) or []
            entries = self._entries(rows[here, 3:6], table, group)
            colored = (entries < len(table)).all(axis=1)
            for which, its_group in ((colored, group), (~colored, NONE)):
                if which.any():
                    self.budget.take("parts", 1)
                    part = self._part(path, model, corners[here][which], entries[which], its_group)
                    self.parts.append(replace(part, name=groups[-1] if groups else "", groups=groups))

    def _entries(self, properties: np.ndarray, table: list, group: int) -> np.ndarray:
        """Entries of a group, three a triangle, some of which it may lack; the first where none is named."""
        if group == NONE:
            return properties
        if not table:
            self.warnings.append(f"colours of group {group} left out")
            return np.zeros_like(properties)
        if (properties == NONE).any():  # an object's pid without its pindex; lib3mf reads it so
            self.warnings.append(f"the first of group {group} is taken where a triangle names no entry of it")
        beyond = int((properties >= len(table)).any(axis=1).sum())
        if beyond:
            some = f"{beyond} triangles name entries that group {group} lacks (it has {len(table)})"
            self.warnings.append(f"colours left out: {some}")
        return np.maximum(properties, 0)

    def _part(self, path: str, model: Model3mf, triangles: np.ndarray, entries: np.ndarray, group: int) -> MeshPart:
        """A part, without its name, of triangles whose colours are entries of one group."""
        plain = np.broadcast_to(np.array(DEFAULT_COLOR, dtype=np.uint8), triangles.shape)
        if group == NONE:
            return MeshPart(triangles, plain, color_source=None)
        if (path, group) not in self.tables:
            self.tables[path, group] = np.array(model.colors.get(group) or model.coordinates[group])
        values = self.tables[path, group][entries]
        if group in model.colors:
            return MeshPart(triangles, values[..., :3].astype(np.uint8))
        name, *tiling = model.textures.get(model.texture_of[group], ("", "wrap", "wrap"))
        texels = self._texture(_resolved(name, path))
        if texels is None:
            return MeshPart(triangles, plain, color_source=None)
        u, v = (WRAPS.get(each, "repeat") for each in tiling)
        uv = np.nan_to_num(values, posinf=0.0, neginf=0.0)
        return MeshPart(triangles, plain, texels, uv, "texture", wrap=(u, v))

    def _texture(self, path: str) -> np.ndarray | None:
        if path not in self.textures:
            data = self.members.read(path)
            if data is None:
                self.warnings.append(f"file not found: {path}")
            self.textures[path] = None if data is None else self.pictures.decode(data, path)
        return self.textures[path]
