"""OFF, the Object File Format, with its prefixes, into coloured triangles or points.

`[ST][C][N][4][n]OFF`: texture coordinates, colours, normals, a fourth coordinate, or n coordinates a vertex. Counts
may follow the first word without a space, as in ModelNet.

Source: Geomview's manual.
"""

import re

import numpy as np

from .polygons import triangulate
from .shape_limits import ShapeBudget
from .shapes import DEFAULT_COLOR, ColoredPoints, ColorSource, MeshPart, PointCloud, TexturedMesh


def read_off(data: bytes) -> TexturedMesh | PointCloud:
    """Read an OFF file.

    Raises:
        ValueError: It cannot be read; the message says why.
    """
    text = re.sub(rb"#[^\n\r]*", b"", data)
    found = re.match(rb"\s*(ST)?(C)?(N)?(4)?(n)?OFF(?![A-Za-z])", text)
    if not found:
        raise ValueError("it does not begin with OFF")
    textured, colored, normals, homogeneous, any_dimension = (found.group(n) is not None for n in range(1, 6))
    rest = text[found.end() :]
    if re.match(rb"\s*BINARY", rest):
        raise ValueError("binary OFF is not read; convert it to ASCII or PLY")
    if any_dimension:
        raise ValueError("nOFF, of any number of coordinates, is not read")
    lines = [words for words in (line.split() for line in rest.splitlines()) if words]
    if not lines:
        raise ValueError("it ends after its first word")
    counts = lines[0]
    try:
        num_vertices, num_faces = int(counts[0]), int(counts[1]) if len(counts) > 1 else 0
    except ValueError:
        raise ValueError("the counts of vertices and faces are no numbers") from None
    rows = lines[1:]
    if not 0 <= num_vertices <= len(rows) or not num_faces >= 0:
        raise ValueError(f"it announces {num_vertices:,} vertices and has {len(rows):,} lines")
    budget = ShapeBudget(len(data))
    budget.take("faces", num_faces)
    budget.take("points", num_vertices)
    size = 4 if homogeneous else 3
    warnings = ["texture coordinates without a texture left out"] if textured else []
    places = (size, 3 if normals else 0, colored, 2 if textured else 0)
    positions, colors = _vertices(rows[:num_vertices], *places, warnings)
    beyond = len(rows) - num_vertices - num_faces
    if beyond > 0:
        warnings.append(f"{beyond} lines after the {'last face' if num_faces else 'last vertex'} left out")
    faces = rows[num_vertices : num_vertices + num_faces]
    if not num_faces:
        return PointCloud(ColoredPoints(positions, colors), None if colors is None else "vertex colours", warnings)
    if len(faces) < num_faces:
        raise ValueError(f"it announces {num_faces:,} faces and has {len(faces):,}")
    vertices, sizes, face_colors = _faces(faces, warnings)
    if len(vertices) and not 0 <= vertices.min() <= vertices.max() < num_vertices:
        raise ValueError(f"a face names a vertex that does not exist (there are {num_vertices})")
    corners, owners = triangulate(positions, vertices, sizes, warnings)
    here = vertices[corners]
    grey = np.full((len(here), 3, 3), DEFAULT_COLOR, dtype=np.uint8)
    corner_colors = grey if colors is None else colors.take(here, axis=0)
    if face_colors is not None:
        own = face_colors[owners]
        corner_colors = np.where(np.isnan(own[:, :1, None]), corner_colors, np.nan_to_num(own)[:, None]).astype(
            np.uint8
        )
    source: ColorSource | None = None
    if face_colors is not None:
        source = "face colours"
    elif colors is not None:
        source = "vertex colours"
    return TexturedMesh([MeshPart(positions.take(here, axis=0), corner_colors, color_source=source)], warnings)


def _vertices(
    rows: list[list[bytes]], size: int, num_normals: int, colored: bool, num_uvs: int, warnings: list[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions, and colours where the prefix says so or every line has as many numbers more as a colour has."""
    width = min((len(row) for row in rows), default=size)
    least = size + num_normals + num_uvs + (3 if colored else 0)
    if width < least:
        raise ValueError(f"a vertex has {width} numbers, expected {least}")
    try:
        table = np.array([row[:width] for row in rows], dtype="S32").astype(np.float64).reshape(len(rows), width)
    except ValueError:
        raise ValueError("a vertex holds what is no number") from None
    positions = table[:, :3]
    if size == 4:
        with np.errstate(divide="ignore", invalid="ignore"):
            positions = positions / table[:, 3:4]
    extra = width - size - num_normals - num_uvs
    if not colored and extra not in (3, 4):
        most = max((len(row) for row in rows), default=width) - size - num_normals - num_uvs
        if most > 0:
            whose = "vertices" if extra == most else "some vertices"
            warnings.append(f"up to {most} numbers after {whose} left out: colours are 3 or 4 of every vertex")
        return positions, None
    start = size + num_normals
    whole = not any(b"." in word for row in rows[:1] for word in row[start : start + 3])
    return positions, _as_bytes(table[:, start : start + 3], whole)


def _as_bytes(values: np.ndarray, whole: bool) -> np.ndarray:
    """Colours in 0..255, or in 0..1 if they are written with a point."""
    limit = 255 if whole or values.max(initial=0) > 1 else 1
    if values.size and not (values.min() >= 0 and values.max() <= limit):
        raise ValueError(f"colours from {values.min():g} to {values.max():g}; expected 0..255, or 0..1 with a point")
    return np.round(values * (255 / limit)).astype(np.uint8)


def _faces(rows: list[list[bytes]], warnings: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Corners polygon after polygon, the size of each, and colours, 0..255 and nan for none, if there are any."""
    try:
        sizes = np.array([int(row[0]) for row in rows])
        if (sizes < 0).any() or any(len(row) <= size for row, size in zip(rows, sizes.tolist(), strict=True)):
            raise ValueError
        words = [row[1 : 1 + size] for row, size in zip(rows, sizes.tolist(), strict=True)]
        vertices = np.array([int(word) for row in words for word in row], dtype=np.int64)
        extras = [row[1 + size :] for row, size in zip(rows, sizes.tolist(), strict=True)]
        by_number = sum(0 < len(extra) < 3 for extra in extras)
        if by_number:
            warnings.append(f"colours of {by_number} faces left out: numbers of a colour map")
        if not any(len(extra) >= 3 for extra in extras):
            return vertices, sizes, None
        colors = np.full((len(rows), 3), np.nan)
        for number, extra in enumerate(extras):
            if len(extra) >= 3:
                colors[number] = [float(word) for word in extra[:3]]
    except ValueError:
        raise ValueError("a face is cut off, or holds what is no number") from None
    whole = not any(b"." in word for extra in extras for word in extra[:3])
    given = ~np.isnan(colors[:, 0])
    colors[given] = _as_bytes(colors[given], whole)
    return vertices, sizes, colors
