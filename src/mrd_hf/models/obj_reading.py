"""Wavefront OBJ into coloured triangles.

Colours follow the format's convention: a texture replaces the diffuse colour Kd, as a black Kd under a texture must
not blacken it; vertex colours replace Kd where the vertex has one. Holes are cut by `map_d` or by the texture's own
opacity.
"""

import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from .obj_materials import ObjMaterial, ObjTexture, parse_mtl, readable, spellings
from .obj_text import MISSING, ObjText, parse_obj
from .polygons import triangulate
from .shape_limits import ShapeBudget
from .shapes import DEFAULT_COLOR, ColoredPoints, ColorSource, MeshPart, PointCloud, TexturedMesh
from .textures import Textures


# Elements whose shape would have to be computed.
CURVED = {"curv", "curv2", "surf"}
# How far colours may be beyond 0..1.
ROUNDING = 0.01


def read_obj(
    data: bytes, get: Callable[..., bytes], leaves_out: Callable[[Sequence[str]], bool] | None = None
) -> TexturedMesh | PointCloud:
    """Read an OBJ file.

    Args:
        data (`bytes`): The file.
        get (`Callable[[str], bytes]` or `Callable[[str, str], bytes]`):
            Content of a file that it names, or that a library in another folder does: its name and that folder.
            Raises `FileNotFoundError`.
        leaves_out (`Callable[[Sequence[str]], bool]`, *optional*):
            Whether an object or group of this name may be left out. Its faces are parts of their own; others are
            joined by their materials, whatever their object.

    Returns:
        `TexturedMesh`, whose corners may be not finite, as the file says; or `PointCloud`, where there is no face.

    Raises:
        ValueError: It cannot be read; the message says why.
    """
    budget = ShapeBudget(len(data))
    get = budget.counted(get)
    text = parse_obj(data)
    if not len(text.sizes):
        budget.take("points", len(text.positions))
    colors = _vertex_colors(text)
    unread = dict(text.unread)
    if not len(text.sizes):
        if not unread.keys().isdisjoint(CURVED):
            raise ValueError("it has curves or curved surfaces (NURBS) and no face; export it as polygons")
        unread.pop("p", None)  # points, which is what is read
    warnings = [f"{count} elements '{name}' left out" for name, count in sorted(unread.items())]
    if text.num_lost_uvs:
        warnings.append(f"texture coordinates that do not exist: {text.num_lost_uvs} corners")
    if (text.sizes < 3).any():
        warnings.append(f"{int((text.sizes < 3).sum())} faces of fewer than three corners left out")
    if not len(text.sizes):
        rgb = None if colors is None else _filled(colors, DEFAULT_COLOR)
        source: ColorSource | None = None if rgb is None else "vertex colours"
        return PointCloud(ColoredPoints(text.positions, rgb), source, warnings)
    budget.take("faces", int((text.sizes - 2).clip(0).sum()))
    corners, polygons = triangulate(text.positions, text.corners[:, 0], text.sizes, warnings)
    before = len(warnings)
    library = _read_libraries(text, get, warnings)
    are_read = len(warnings) == before  # else it has been said what is missing
    chosen = text.materials[polygons]
    names: list[bytes | None] = [None, *text.material_names]
    if not text.material_names and len(library) == 1 and len(text.uvs):
        names[0] = next(iter(library))  # as MeshLab does
        warnings.append("no usemtl: the library's one material is used")
    if colors is None and not text.libraries and any(text.material_names):
        warnings.append(f"{len(text.material_names)} materials without colours: no mtllib names a file of them")
    materials = _by_text(library)
    textures = _Textures(get, warnings, Textures(budget, warnings))
    apart, groups = _apart(text, leaves_out)
    pieces = chosen + 1 if apart is None else chosen + 1 + (apart[polygons] + 1) * len(names)
    parts: list[MeshPart] = []
    used, counts = np.unique(pieces, return_counts=True)
    budget.take("parts", len(used))
    ends = np.cumsum(counts)
    by_piece = np.argsort(pieces, kind="stable")
    for piece, start, end in zip(used.tolist(), (ends - counts).tolist(), ends.tolist(), strict=True):
        group, index = divmod(piece, len(names))
        name = names[index]
        material = ObjMaterial() if not name else library.get(name) or _find_material(materials, name)
        if material is None:
            if text.libraries and are_read:
                warnings.append(f"material not found: {readable(name or b'')}")
            material = ObjMaterial()
        here = corners if len(used) == 1 else corners[by_piece[start:end]]
        found = _parts(text, here, material, name or b"", colors, textures, warnings)
        parts += [replace(part, groups=groups[group - 1]) for part in found] if group else found
    return TexturedMesh(parts, list(dict.fromkeys(warnings)))


def _parts(
    text: ObjText,
    corners: np.ndarray,
    material: ObjMaterial,
    name: bytes,
    colors: np.ndarray | None,
    textures: "_Textures",
    warnings: list[str],
) -> list[MeshPart]:
    """The triangles of one material, without and with its texture; `corners` are rows of the file's corners."""
    texels, placed = _texture_of(material, textures, warnings)
    untextured = np.ones(len(corners), dtype=bool)
    if texels is not None and placed is not None:
        untextured = (text.corners[corners, 1] == MISSING).any(axis=1)
        if untextured.any():
            few = "" if untextured.all() else f"{int(untextured.sum())} triangles of "
            warnings.append(f"texture without coordinates: {few}material {readable(name)}")
    parts = []
    if untextured.any():
        parts.append(_plain_part(text, corners[untextured], material, name, colors))
    if texels is None or placed is None or untextured.all():
        return parts
    if colors is not None:
        warnings.append(f"vertex colours under a texture left out: material {readable(name)}")
    here = corners[~untextured]
    triangles = text.positions.take(text.corners[:, 0].take(here), axis=0)
    uv = (
        np.nan_to_num(text.uvs.take(text.corners[:, 1].take(here), axis=0), posinf=0.0, neginf=0.0) * placed.scale
        + placed.offset
    )
    diffuse: np.ndarray = np.broadcast_to(_diffuse(material), triangles.shape)
    wrap = (placed.wrap, placed.wrap)
    return [*parts, MeshPart(triangles, diffuse, texels, uv, "texture", wrap=wrap, name=readable(name))]


def _plain_part(
    text: ObjText, corners: np.ndarray, material: ObjMaterial, name: bytes, colors: np.ndarray | None
) -> MeshPart:
    vertices = text.corners[:, 0].take(corners)
    triangles = text.positions.take(vertices, axis=0)  # three times as fast as by an index
    corner_colors: np.ndarray = np.broadcast_to(_diffuse(material), triangles.shape)
    source: ColorSource | None = None if material.diffuse is None else "material"
    if colors is not None:
        own = colors.take(vertices, axis=0)
        given = ~np.isnan(own)
        corner_colors = np.where(given, np.round(np.nan_to_num(own) * 255), corner_colors).astype(np.uint8)
        source = "vertex colours" if given.any() else source
    return MeshPart(triangles, corner_colors, None, None, source, name=readable(name))


def _diffuse(material: ObjMaterial) -> np.ndarray:
    return np.array(DEFAULT_COLOR if material.diffuse is None else np.round(material.diffuse * 255), dtype=np.uint8)


def _texture_of(
    material: ObjMaterial, textures: "_Textures", warnings: list[str]
) -> tuple[np.ndarray | None, ObjTexture | None]:
    """Texels of a material, with the holes of its mask, and how they lie."""
    texels = None if material.texture is None else textures.read(material.texture)
    mask = None if material.mask is None else textures.read(material.mask)
    if mask is None or material.mask is None:
        return texels, material.texture
    opacity, is_light = textures.opacity(material.mask, mask)
    if is_light and material.texture is not None and material.texture.name == material.mask.name:
        return texels, material.texture  # a picture without opacity is no mask of itself
    if texels is None or material.texture is None:
        textures.pictures.budget.take("texels", opacity.size)
        color = np.broadcast_to(_diffuse(material), (*opacity.shape, 3))
        return np.concatenate([color, opacity[..., None]], axis=2), material.mask
    if replace(material.texture, name=b"") != replace(material.mask, name=b""):
        warnings.append(f"map_d left out, as it lies otherwise than map_Kd: {readable(material.mask.name)}")
        return texels, material.texture
    height, width = np.maximum(texels.shape[:2], opacity.shape).tolist()
    textures.pictures.budget.take("texels", height * width)
    rows, columns = np.arange(height)[:, None], np.arange(width)
    joined = texels[rows * texels.shape[0] // height, columns * texels.shape[1] // width]
    own = opacity[rows * opacity.shape[0] // height, columns * opacity.shape[1] // width]
    joined[..., 3] = np.minimum(joined[..., 3], own)
    return joined, material.texture


def _apart(
    text: ObjText, leaves_out: Callable[[Sequence[str]], bool] | None
) -> tuple[np.ndarray | None, list[tuple[str, ...]]]:
    """Which of the objects and groups that may be left out each polygon is in, -1 for none; and their names.

    None where there is no such object or group.
    """
    found: list[tuple[str, ...]] = []
    places = []
    for names, words in ((text.object_names, False), (text.group_names, True)):
        here = np.full(len(names) + 1, -1)  # the last for polygons without
        for index, name in enumerate(map(readable, names)):
            known = (name, *name.split()) if words else (name,)  # a polygon may be in several groups
            if leaves_out is not None and leaves_out(known):
                here[index] = len(found)
                found.append(known)
        places.append(here)
    if not found:
        return None, []
    by_object, by_group = places[0][text.objects], places[1][text.groups]
    return np.where(by_object < 0, by_group, by_object), found


def _vertex_colors(text: ObjText) -> np.ndarray | None:
    """In 0..1, nan where a vertex has none.

    Raises:
        ValueError: They are neither in 0..1 nor in 0..255.
    """
    if text.colors is None:
        return None
    low, high = np.nanmin(text.colors), np.nanmax(text.colors)
    if 1 < high <= 255 and low >= 0 and (np.nan_to_num(text.colors) % 1 == 0).all():
        return text.colors / 255
    if not -ROUNDING <= low <= high <= 1 + ROUNDING:
        raise ValueError(f"vertex colours from {low:g} to {high:g}; expected numbers in 0..1, or whole ones in 0..255")
    return np.clip(text.colors, 0, 1)


def _filled(colors: np.ndarray, default: tuple[int, int, int]) -> np.ndarray:
    return np.round(np.where(np.isnan(colors), np.array(default) / 255, colors) * 255).astype(np.uint8)


def _read_libraries(text: ObjText, get: Callable[..., bytes], warnings: list[str]) -> dict[bytes, ObjMaterial]:
    """The materials of all libraries; of two of one name, the first counts."""
    found: dict[bytes, ObjMaterial] = {}
    seen: set[bytes] = set()  # the same library may be named in several ways
    for line in dict.fromkeys(text.libraries):
        # A line may name several, and a name may have spaces.
        several = len(line.split()) > 1
        whole = _find(line, get, None if several else warnings)
        libraries = [whole] if whole or not several else [_find(word, get, warnings) for word in line.split()]
        for library in libraries:
            if library is None or library[1] in seen:
                continue
            path, content = library
            seen.add(content)
            folder = posixpath.dirname(path.replace("\\", "/"))
            for name, material in parse_mtl(content, warnings, folder).items():
                found.setdefault(name, material)
    return found


def _find(
    name: bytes, get: Callable[..., bytes], warnings: list[str] | None = None, folder: str = ""
) -> tuple[str, bytes] | None:
    """A file whose name may be in any encoding: name and content; None, and a warning, where there is none."""
    reason = ""
    for spelling in spellings(name):
        # A number sign may be part of a name, or begin a comment.
        bare = re.sub(r"\s#.*", "", spelling).strip().strip("\"'")
        for candidate in dict.fromkeys((spelling, bare)):
            try:
                return candidate, get(candidate, folder) if folder else get(candidate)
            except FileNotFoundError as error:
                reason = reason or str(error)
    if warnings is not None:
        warnings.append(reason)
    return None


def _by_text(library: dict[bytes, ObjMaterial]) -> dict[str, ObjMaterial]:
    """The materials by their names as text, whatever their encoding, with and without comments."""
    texts = {" ".join(readable(name).split()): material for name, material in library.items()}
    others = {text: material for name, material in library.items() for text in _texts(name) if text not in texts}
    return {**{re.sub(" ?#.*", "", name): material for name, material in (others | texts).items()}, **others, **texts}


def _find_material(materials: dict[str, ObjMaterial], name: bytes) -> ObjMaterial | None:
    """That of a name, which may be in another encoding than in the library."""
    found = (materials.get(text) or materials.get(re.sub(" ?#.*", "", text)) for text in _texts(name))
    return next((material for material in found if material is not None), None)


def _texts(name: bytes) -> list[str]:
    return [" ".join(spelling.split()) for spelling in spellings(name)]


class _Textures:
    """Textures by their names, each decoded once."""

    def __init__(self, get: Callable[..., bytes], warnings: list[str], pictures: Textures) -> None:
        self.get = get
        self.pictures = pictures
        self.warnings = warnings
        self._texels: dict[tuple[str, bytes], np.ndarray | None] = {}
        self._opacity: dict[tuple[str, bytes], tuple[np.ndarray, bool]] = {}

    def read(self, texture: ObjTexture) -> np.ndarray | None:
        """Texels, or None and a warning."""
        place = (texture.folder, texture.name)
        if place not in self._texels:
            found = _find(texture.name, self.get, self.warnings, texture.folder)
            self._texels[place] = None if found is None else self.pictures.decode(found[1], readable(texture.name))
        return self._texels[place]

    def opacity(self, texture: ObjTexture, texels: np.ndarray) -> tuple[np.ndarray, bool]:
        """What a mask says of its opacity, uint8 of the shape `(height, width)`, and whether by its light."""
        place = (texture.folder, texture.name)
        if place not in self._opacity:
            opacity = texels[..., 3]
            is_light = bool((opacity == 255).all())
            if is_light:
                opacity = np.round(texels[..., :3] @ (0.299, 0.587, 0.114)).astype(np.uint8)
            self._opacity[place] = opacity, is_light
        return self._opacity[place]
