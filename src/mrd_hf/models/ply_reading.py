"""PLY into coloured triangles or, of a file without any face, points: scans, simulations and Gaussian splats.

Colours are taken by every name in use: `red`, `r`, `diffuse_red`, a packed `rgb`, splats' `f_dc_0`. Their type decides
about their range: bytes 0..255, two bytes 0..65535, floats 0..1. Two mistakes are common enough to be understood: two
bytes of which none is beyond 255 hold bytes, and so do floats that are whole numbers beyond 1.
"""

from collections.abc import Callable

import numpy as np

from .ply_splats import are_visible, is_compressed, splat_colors, unpack_splats
from .ply_text import ListProperty, PlyText, Property, parse_ply
from .ply_textures import NO_TEXTURE, Pictures, place_textures, texture_names
from .polygons import triangulate
from .shape_colors import names_like_colors, stored_colors_as_bytes
from .shape_limits import ShapeBudget
from .shapes import DEFAULT_COLOR, ColoredPoints, ColorSource, MeshPart, PointCloud, TexturedMesh
from .textures import Textures


COLOR_NAMES = (
    ("red", "green", "blue"),
    ("r", "g", "b"),
    ("diffuse_red", "diffuse_green", "diffuse_blue"),
)
SPLAT_NAMES = ("f_dc_0", "f_dc_1", "f_dc_2")
PACKED_NAMES = ("rgb", "rgba")
INDEX_NAMES = ("vertex_indices", "vertex_index", "vertex_indexes", "vertex_list", "vertices", "indices")


def read_ply(data: bytes, get: Callable[[str], bytes]) -> TexturedMesh | PointCloud:
    """Read a PLY file.

    Args:
        data (`bytes`): The file.
        get (`Callable[[str], bytes]`): Content of a texture that it names. Raises `FileNotFoundError`.

    Returns:
        `TexturedMesh`, whose corners may be not finite, as the file says; or `PointCloud`, where there is no face.

    Raises:
        ValueError: It cannot be read; the message says why.
    """
    budget = ShapeBudget(len(data))
    text = parse_ply(data)
    if is_compressed(text.elements):
        text.elements["vertex"] = unpack_splats(text.elements)
        text.elements.pop("chunk")
    vertices = text.elements.get("vertex", {})
    if not all(isinstance(vertices.get(axis), np.ndarray) for axis in "xyz"):
        raise ValueError("its element 'vertex' has no x, y and z")
    left_out: list[str] = []
    polygons = _polygons(text, left_out)
    if polygons is None:
        budget.take("points", _num_rows(vertices))
    positions = np.stack([_numbers(vertices, axis) for axis in "xyz"], axis=1).astype(np.float64)
    warnings = list(text.warnings)
    colors = _colors(vertices, "vertices", warnings)
    warnings += left_out
    if polygons is None:
        if "f_dc_0" in vertices and isinstance(vertices.get("opacity"), np.ndarray):
            visible = are_visible(_numbers(vertices, "opacity"))
            positions, colors = positions[visible], None if colors is None else colors[visible]
        return PointCloud(ColoredPoints(positions, colors), None if colors is None else "vertex colours", warnings)
    corner_vertices, sizes, faces = polygons
    budget.take("faces", int((sizes - 2).clip(0).sum()))
    if len(corner_vertices) and not 0 <= corner_vertices.min() <= corner_vertices.max() < len(positions):
        raise ValueError(f"a face names a vertex that does not exist (there are {len(positions)})")
    if ((sizes > 0) & (sizes < 3)).any():
        warnings.append(f"{int(((sizes > 0) & (sizes < 3)).sum())} faces of fewer than three corners left out")
    corners, owners = triangulate(positions, corner_vertices, sizes, warnings)
    here = corner_vertices.take(corners)
    face_colors = _colors(faces, "faces", warnings)
    source: ColorSource | None = None
    if colors is not None:
        corner_colors, source = colors.take(here, axis=0), "vertex colours"
    elif face_colors is not None:
        corner_colors, source = np.repeat(face_colors[owners][:, None], 3, axis=1), "face colours"
    else:
        corner_colors = np.full((len(here), 3, 3), DEFAULT_COLOR, dtype=np.uint8)
    pictures = Pictures(budget.counted(get), Textures(budget, warnings))
    parts = _parts(text, faces, positions, (corners, owners, here), corner_colors, source, pictures, warnings)
    hidden = [("vertex colours", colors), ("face colours", face_colors)]
    textured = any(part.texture is not None for part in parts)
    above = "a texture" if textured else source
    warnings += [
        f"{name} under {above} left out" for name, of in hidden if of is not None and (textured or name != source)
    ]
    return TexturedMesh(parts, warnings)


def _parts(
    text: PlyText,
    faces: dict[str, Property],
    positions: np.ndarray,
    triangles: tuple[np.ndarray, np.ndarray, np.ndarray],
    colors: np.ndarray,
    source: ColorSource | None,
    pictures: Pictures,
    warnings: list[str],
) -> list[MeshPart]:
    """A part for each texture, and one for what has none."""
    here = triangles[2]
    names = texture_names(text)
    placed = place_textures(text, faces, *triangles)
    if placed is None:
        warnings += [f"texture without coordinates: {name}" for name in names]
    elif not names and source is None:
        warnings.append("texture coordinates without a texture left out")
    if placed is None or not names:
        return [MeshPart(positions.take(here, axis=0), colors, color_source=source)]
    uv, chosen = placed
    beyond = int(((chosen >= len(names)) | (chosen < NO_TEXTURE)).sum())
    if beyond:
        warnings.append(f"textures of {beyond} faces that no comment names")
    parts = []
    chosen = np.where((chosen < 0) | (chosen >= len(names)), len(names), chosen)  # those without one are last
    for number in np.unique(chosen).tolist():
        pictures.textures.budget.take("parts", 1)
        which = chosen == number
        texels = None if number == len(names) else pictures.read(names[number])
        own: ColorSource | None = source if texels is None else "texture"
        corners = positions.take(here[which], axis=0)
        parts.append(MeshPart(corners, colors[which], texels, None if texels is None else uv[which], own))
    return parts


def _numbers(element: dict[str, Property], name: str) -> np.ndarray:
    values = element[name]
    if isinstance(values, ListProperty):
        raise ValueError(f"its property '{name}' is a list, expected a number")
    return values


def _colors(element: dict[str, Property], whose: str, warnings: list[str]) -> np.ndarray | None:
    """uint8 of shape `(num_rows, 3)`; None, and a warning if there is what looks like colours, where there are none.

    Raises:
        ValueError: They are beyond their range.
    """
    for names in COLOR_NAMES:
        if all(isinstance(element.get(name), np.ndarray) for name in names):
            return stored_colors_as_bytes(np.stack([_numbers(element, name) for name in names], axis=1))
    packed = next((element[name] for name in PACKED_NAMES if isinstance(element.get(name), np.ndarray)), None)
    if isinstance(packed, np.ndarray) and packed.dtype.itemsize == 4:
        bits = packed.view(np.uint32)
        return np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=1).astype(np.uint8)
    if all(isinstance(element.get(name), np.ndarray) for name in SPLAT_NAMES):
        return splat_colors(np.stack([_numbers(element, name) for name in SPLAT_NAMES], axis=1))
    unknown = names_like_colors(element)
    if unknown:
        warnings.append(f"colours of {whose} not understood: {', '.join(unknown)}")
    return None


def _polygons(text: PlyText, warnings: list[str]) -> tuple[np.ndarray, np.ndarray, dict[str, Property]] | None:
    """Corners polygon after polygon, the size of each, and the polygons' own properties; None for no faces."""
    read = {"vertex", "face", "tristrips", "range_grid"}
    others = {"camera", "multi_patch"}
    rows = {name: _num_rows(properties) for name, properties in text.elements.items()}
    for name, count in rows.items():
        if count and name not in read and name not in others:
            warnings.append(f"element '{name}' of {count} rows left out")
    faces, strips = (_index_list(text.elements.get(name, {})) for name in ("face", "tristrips"))
    for name, found in (("face", faces), ("tristrips", strips)):
        if found is None and rows.get(name):
            raise ValueError(
                f"its element '{name}' has none of the lists {', '.join(INDEX_NAMES)} (it has "
                f"{', '.join(text.elements[name]) or 'nothing'})"
            )
    if faces is not None and len(faces.values):
        if strips is not None and len(strips.values):
            warnings.append(f"element 'tristrips' of {rows['tristrips']} rows beside faces left out")
        return faces.values.astype(np.int64), faces.lengths, {**text.elements["face"], "": faces}
    if rows.get("face"):
        warnings.append(f"{rows['face']} faces without any corner left out")
    if strips is not None and len(strips.values):
        corners = _from_strips(strips)
        return corners, np.full(len(corners) // 3, 3), {}
    if rows.get("range_grid"):
        warnings.append("element 'range_grid', the order of a scan's points, left out: the points are read")
    return None


def _num_rows(element: dict[str, Property]) -> int:
    return next((len(p.lengths) if isinstance(p, ListProperty) else len(p) for p in element.values()), 0)


def _index_list(element: dict[str, Property]) -> ListProperty | None:
    for name in INDEX_NAMES:
        found = element.get(name)
        if isinstance(found, ListProperty):
            return found
    return None


def _from_strips(strips: ListProperty) -> np.ndarray:
    """Corners of triangles, three each, of strips that end with -1 or with their list."""
    values = strips.values.astype(np.int64)
    ends = np.zeros(len(values), dtype=bool)
    ends[np.cumsum(strips.lengths)[strips.lengths > 0] - 1] = True
    usable = values >= 0
    # A triangle starts where three indices follow each other within a strip.
    starts = np.flatnonzero(usable[:-2] & usable[1:-1] & usable[2:] & ~ends[:-2] & ~ends[1:-1])
    first = np.maximum.accumulate(np.where(~usable | np.r_[False, ends[:-1]], np.arange(len(values)), -1))
    odd = (starts - first[starts]) % 2
    triangles = np.stack([values[starts], values[starts + 1 + odd], values[starts + 2 - odd]], axis=1)
    return triangles.reshape(-1)
