"""PLY into coloured triangles or, of a file without any face, points: scans, simulations and Gaussian splats.

Colours are taken by every name in use: `red`, `r`, `diffuse_red`, splats' `f_dc_0`. Their type decides about their
range: bytes 0..255, two bytes 0..65535, floats 0..1.
"""

from collections.abc import Callable

import numpy as np

from .ply_text import ListProperty, PlyText, Property, parse_ply
from .polygons import triangulate
from .shape_colors import names_like_colors
from .shape_limits import MAX_FACES
from .shapes import DEFAULT_COLOR, ColoredPoints, ColorSource, MeshPart, PointCloud, TexturedMesh
from .textures import decode_texture


COLOR_NAMES = (
    ("red", "green", "blue"),
    ("r", "g", "b"),
    ("diffuse_red", "diffuse_green", "diffuse_blue"),
)
SPLAT_NAMES = ("f_dc_0", "f_dc_1", "f_dc_2")
UV_NAMES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("tx", "ty"))
INDEX_NAMES = ("vertex_indices", "vertex_index", "vertex_indexes", "indices")
# The first spherical harmonic, a constant: splats store colours as its coefficients around 0.5.
HARMONIC = 0.28209479177387814
# Splats that are fainter hardly show; most of them are left over from fitting.
MIN_SPLAT_OPACITY = 0.1


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
    text = parse_ply(data)
    vertices = text.elements.get("vertex", {})
    if not all(isinstance(vertices.get(axis), np.ndarray) for axis in "xyz"):
        raise ValueError("its element 'vertex' has no x, y and z")
    positions = np.stack([_numbers(vertices, axis) for axis in "xyz"], axis=1).astype(np.float64)
    warnings: list[str] = []
    colors = _colors(vertices, "vertices", warnings)
    polygons = _polygons(text, len(positions), warnings)
    if polygons is None:
        if "f_dc_0" in vertices and isinstance(vertices.get("opacity"), np.ndarray):
            with np.errstate(over="ignore"):
                opaque = 1 / (1 + np.exp(-_numbers(vertices, "opacity"))) >= MIN_SPLAT_OPACITY
            if opaque.any():
                positions, colors = positions[opaque], None if colors is None else colors[opaque]
        return PointCloud(ColoredPoints(positions, colors), None if colors is None else "vertex colours", warnings)
    corner_vertices, sizes, of_faces = polygons
    if int((sizes - 2).clip(0).sum()) > MAX_FACES:
        raise ValueError(f"{int((sizes - 2).sum()):,} faces; at most {MAX_FACES:,} are read. Simplify the mesh.")
    if len(corner_vertices) and not 0 <= corner_vertices.min() <= corner_vertices.max() < len(positions):
        raise ValueError(f"a face names a vertex that does not exist (there are {len(positions)})")
    corners, owners = triangulate(positions, corner_vertices, sizes, warnings)
    here = corner_vertices.take(corners)
    faces = text.elements.get("face", {}) if of_faces else {}
    face_colors = _colors(faces, "faces", warnings)
    if colors is not None:
        corner_colors = colors.take(here, axis=0)
    elif face_colors is not None:
        corner_colors = np.repeat(face_colors[owners][:, None], 3, axis=1)
    else:
        corner_colors = np.full((len(here), 3, 3), DEFAULT_COLOR, dtype=np.uint8)
    texels, uv = _texture(text, get, vertices, faces, corners, here, warnings)
    source: ColorSource | None = None
    if texels is not None:
        source = "texture"
    elif colors is not None:
        source = "vertex colours"
    elif face_colors is not None:
        source = "face colours"
    hidden = [("vertex colours", colors), ("face colours", face_colors)]
    above = "a texture" if source == "texture" else source
    warnings += [f"{name} under {above} left out" for name, of in hidden if of is not None and name != source]
    return TexturedMesh([MeshPart(positions.take(here, axis=0), corner_colors, texels, uv, source)], warnings)


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
            return _as_bytes(np.stack([_numbers(element, name) for name in names], axis=1))
    if all(isinstance(element.get(name), np.ndarray) for name in SPLAT_NAMES):
        values = np.stack([_numbers(element, name) for name in SPLAT_NAMES], axis=1).astype(np.float64)
        shown = np.nan_to_num(0.5 + HARMONIC * values, nan=0.5)
        return np.round(np.clip(shown, 0, 1) * 255).astype(np.uint8)
    unknown = names_like_colors(element)
    if unknown:
        warnings.append(f"colours of {whose} not understood: {', '.join(unknown)}")
    return None


def _as_bytes(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    limit = 1 if values.dtype.kind == "f" else 65535 if values.dtype == np.uint16 else 255
    if values.size and not (values.min() >= 0 and values.max() <= limit):
        raise ValueError(
            f"colours from {values.min():g} to {values.max():g}, stored as {values.dtype}; expected floats in 0..1, "
            "ushort in 0..65535 or uchar in 0..255"
        )
    return np.round(values * (255 / limit)).astype(np.uint8)


def _polygons(text: PlyText, num_vertices: int, warnings: list[str]) -> tuple[np.ndarray, np.ndarray, bool] | None:
    """Corners polygon after polygon, the size of each, and whether they are the element 'face'; None for no faces."""
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
        return faces.values.astype(np.int64), faces.lengths, True
    if rows.get("face"):
        warnings.append(f"{rows['face']} faces without any corner left out")
    if strips is not None and len(strips.values):
        corners = _from_strips(strips)
        return corners, np.full(len(corners) // 3, 3), False
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


def _texture(
    text: PlyText,
    get: Callable[[str], bytes],
    vertices: dict[str, Property],
    faces: dict[str, Property],
    corners: np.ndarray,
    here: np.ndarray,
    warnings: list[str],
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The texture that a comment names, as MeshLab writes it, and the coordinates of each corner."""
    names = [comment.partition(" ")[2].strip() for comment in text.comments if comment.startswith("TextureFile ")]
    if not names:
        return None, None
    if len(names) > 1:
        warnings.append(f"{len(names)} textures; the first is used")
    by_corner = faces.get("texcoord")
    pair = next((pair for pair in UV_NAMES if all(isinstance(vertices.get(name), np.ndarray) for name in pair)), None)
    if isinstance(by_corner, ListProperty) and len(by_corner.values) > int(corners.max(initial=-1)) * 2 + 1:
        uv = by_corner.values.reshape(-1, 2)[corners].astype(np.float64)
    elif pair is not None:
        uv = np.stack([_numbers(vertices, name) for name in pair], axis=1).astype(np.float64)[here]
    else:
        warnings.append(f"texture without coordinates: {names[0]}")
        return None, None
    try:
        texels = decode_texture(get(names[0]), names[0], warnings)
    except FileNotFoundError as error:
        warnings.append(str(error))
        texels = None
    return texels, None if texels is None else np.nan_to_num(uv, posinf=0.0, neginf=0.0)
