"""Wavefront OBJ into coloured triangles.

Colours follow the format's convention: a texture replaces the diffuse colour Kd, as a black Kd under a texture must
not blacken it; vertex colours replace Kd where the vertex has one.
"""

from collections.abc import Callable

import numpy as np

from .obj_materials import ObjMaterial, ObjTexture, parse_mtl, readable, spellings
from .obj_text import MISSING, ObjText, parse_obj
from .polygons import triangulate
from .shape_limits import MAX_FACES
from .shapes import DEFAULT_COLOR, ColoredPoints, ColorSource, MeshPart, PointCloud, TexturedMesh
from .textures import decode_texture


def read_obj(data: bytes, get: Callable[[str], bytes]) -> TexturedMesh | PointCloud:
    """Read an OBJ file.

    Args:
        data (`bytes`): The file.
        get (`Callable[[str], bytes]`): Content of a file that it names. Raises `FileNotFoundError`.

    Returns:
        `TexturedMesh`, whose corners may be not finite, as the file says; or `PointCloud`, where there is no face.

    Raises:
        ValueError: It cannot be read; the message says why.
    """
    text = parse_obj(data)
    colors = _vertex_colors(text)
    warnings = [f"{count} elements '{name}' left out" for name, count in sorted(text.unread.items())]
    if not len(text.sizes):
        rgb = None if colors is None else _filled(colors, DEFAULT_COLOR)
        source: ColorSource | None = None if rgb is None else "vertex colours"
        return PointCloud(ColoredPoints(text.positions, rgb), source, warnings)
    if int((text.sizes - 2).clip(0).sum()) > MAX_FACES:
        raise ValueError(f"{int((text.sizes - 2).sum()):,} faces; at most {MAX_FACES:,} are read. Simplify the mesh.")
    corners, polygons = triangulate(text.positions, text.corners[:, 0], text.sizes, warnings)
    before = len(warnings)
    library = _read_libraries(text, get, warnings)
    are_read = len(warnings) == before  # else it has been said what is missing
    chosen = text.materials[polygons]
    names: list[bytes | None] = [None, *text.material_names]
    if not text.material_names and len(library) == 1 and len(text.uvs):
        names[0] = next(iter(library))  # as MeshLab does
        warnings.append("no usemtl: the library's one material is used")
    textures = _Textures(get, warnings)
    parts = []
    for index in np.unique(chosen).tolist():
        name = names[index + 1]
        material = ObjMaterial() if name is None else library.get(name)
        if material is None:
            if text.libraries and are_read:
                warnings.append(f"material not found: {readable(name or b'')}")
            material = ObjMaterial()
        here = corners[chosen == index] if len(names) > 1 else corners
        parts.append(_part(text, here, material, name or b"", colors, textures, warnings))
    return TexturedMesh(parts, list(dict.fromkeys(warnings)))


def _part(
    text: ObjText,
    corners: np.ndarray,
    material: ObjMaterial,
    name: bytes,
    colors: np.ndarray | None,
    textures: "_Textures",
    warnings: list[str],
) -> MeshPart:
    """The triangles of one material; `corners` are rows of the file's corners, `(num_faces, 3)`."""
    vertices, uvs = text.corners[:, 0].take(corners), text.corners[:, 1].take(corners)
    triangles = text.positions.take(vertices, axis=0)  # three times as fast as by an index
    color = DEFAULT_COLOR
    if material.diffuse is not None:
        color = tuple(np.round(material.diffuse * 255).astype(int).tolist())
    texels = None if material.texture is None else textures.read(material.texture)
    if texels is not None and (not len(text.uvs) or (uvs == MISSING).all()):
        warnings.append(f"texture without coordinates: material {readable(name)}")
        texels = None
    corner_colors: np.ndarray = np.broadcast_to(np.array(color, dtype=np.uint8), triangles.shape)
    source: ColorSource | None = None if material.diffuse is None else "material"
    if colors is not None:
        if texels is not None:
            warnings.append(f"vertex colours under a texture left out: material {readable(name)}")
        else:
            here = colors.take(vertices, axis=0)
            corner_colors = np.where(np.isnan(here), np.array(color) / 255, here)
            corner_colors = np.round(corner_colors * 255).astype(np.uint8)
            if not np.isnan(here).all():
                source = "vertex colours"
    if texels is None or material.texture is None:
        return MeshPart(triangles, corner_colors, None, None, source, name=readable(name))
    placed = np.where(uvs[..., None] == MISSING, 0.0, text.uvs.take(uvs, axis=0))
    placed = np.nan_to_num(placed, posinf=0.0, neginf=0.0) * material.texture.scale + material.texture.offset
    wrap = material.texture.wrap
    return MeshPart(triangles, corner_colors, texels, placed, "texture", wrap=(wrap, wrap), name=readable(name))


def _vertex_colors(text: ObjText) -> np.ndarray | None:
    """In 0..1, nan where a vertex has none.

    Raises:
        ValueError: They are neither in 0..1 nor in 0..255.
    """
    if text.colors is None:
        return None
    low, high = np.nanmin(text.colors), np.nanmax(text.colors)
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"vertex colours from {low:g} to {high:g}; expected floats in 0..1 (divide by 255 if they are in 0..255)"
        )
    return text.colors


def _filled(colors: np.ndarray, default: tuple[int, int, int]) -> np.ndarray:
    return np.round(np.where(np.isnan(colors), np.array(default) / 255, colors) * 255).astype(np.uint8)


def _read_libraries(text: ObjText, get: Callable[[str], bytes], warnings: list[str]) -> dict[bytes, ObjMaterial]:
    """The materials of all libraries; of two of one name, the first counts."""
    found: dict[bytes, ObjMaterial] = {}
    for line in text.libraries:
        # A line may name several, and a name may have spaces.
        several = len(line.split()) > 1
        data = _find(line, get, None if several else warnings)
        contents = [data] if data is not None or not several else [_find(word, get, warnings) for word in line.split()]
        for content in contents:
            if content is not None:
                found = {**parse_mtl(content, warnings), **found}
    return found


def _find(name: bytes, get: Callable[[str], bytes], warnings: list[str] | None = None) -> bytes | None:
    """Content of a file whose name may be in any encoding; None, and a warning, where there is none."""
    reason = ""
    for spelling in spellings(name):
        try:
            return get(spelling)
        except FileNotFoundError as error:
            reason = reason or str(error)
    if warnings is not None:
        warnings.append(reason)
    return None


class _Textures:
    """Textures by their names, each decoded once."""

    def __init__(self, get: Callable[[str], bytes], warnings: list[str]) -> None:
        self.get = get
        self.warnings = warnings
        self._texels: dict[bytes, np.ndarray | None] = {}

    def read(self, texture: ObjTexture) -> np.ndarray | None:
        """Texels, or None and a warning."""
        if texture.name not in self._texels:
            self._texels[texture.name] = self._decode(texture.name)
        return self._texels[texture.name]

    def _decode(self, name: bytes) -> np.ndarray | None:
        data = _find(name, self.get, self.warnings)
        return None if data is None else decode_texture(data, readable(name), self.warnings)
