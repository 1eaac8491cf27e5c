"""OFF, the Object File Format, with its prefixes, into coloured triangles or points.

`[ST][C][N][4][n]OFF`: texture coordinates, colours, normals, a fourth coordinate, or n coordinates a vertex. Counts
may follow the first word without a space, as in ModelNet.

Source: Geomview's manual. MeshLab writes a vertex' colour before its normal, the manual after it: where a file has
both, the numbers of length 1 are the normal.
"""

import re
from dataclasses import dataclass

import numpy as np

from .number_text import NOT_A_NUMBER, parse_numbers, word_places
from .polygons import triangulate
from .shape_limits import ShapeBudget
from .shapes import DEFAULT_COLOR, ColoredPoints, ColorSource, MeshPart, PointCloud, TexturedMesh


HEADER = re.compile(rb"\s*((?:ST|C|N|4|n)*)(?:OFF|off)(?![A-Za-z])")
COUNTS = re.compile(rb"\s*\d+[ \t]+\d+([ \t]+\d+)?[ \t]*[\r\n]")
NEWLINE = ord("\n")
# How far colours may be beyond 0..1, and normals from a length of 1.
ROUNDING, NORMAL_ROUNDING = 0.01, 0.1


@dataclass(frozen=True)
class _Rows:
    """The numbers of lines that are not empty: `sizes[i]` of them from `values[firsts[i]]` on."""

    values: np.ndarray
    firsts: np.ndarray
    sizes: np.ndarray

    def __getitem__(self, lines: slice) -> "_Rows":
        return _Rows(self.values, self.firsts[lines], self.sizes[lines])

    def __len__(self) -> int:
        return len(self.sizes)

    def table(self, width: int) -> np.ndarray:
        """The first numbers of each line, `(num_lines, width)`."""
        return self.values[self.firsts[:, None] + np.arange(width)]


@dataclass(frozen=True)
class _Layout:
    """What the line of a vertex has: numbers of coordinates, and of texture coordinates; whether normal and colour."""

    size: int
    has_normals: bool
    is_colored: bool
    num_uvs: int


def read_off(data: bytes) -> TexturedMesh | PointCloud:
    """Read an OFF file.

    Raises:
        ValueError: It cannot be read; the message says why.
    """
    layout, rest, warnings = _header(data)
    num_vertices, num_faces, rows = _counts(rest)
    budget = ShapeBudget(len(data))
    budget.take("faces", num_faces)
    budget.take("points", num_vertices)
    split = _by_lines(rows, num_vertices, num_faces)
    vertex_rows, face_rows = split or _by_words(rows, num_vertices, num_faces, layout)
    positions, colors = _vertices(vertex_rows, layout, warnings)
    beyond = len(rows) - num_vertices - num_faces
    if split and beyond > 0:
        warnings.append(f"{beyond} lines after the {'last face' if num_faces else 'last vertex'} left out")
    if not num_faces:
        return PointCloud(ColoredPoints(positions, colors), None if colors is None else "vertex colours", warnings)
    vertices, sizes, face_colors = _faces(face_rows, warnings)
    if len(vertices) and not 0 <= vertices.min() <= vertices.max() < num_vertices:
        raise ValueError(f"a face names a vertex that does not exist (there are {num_vertices})")
    if (sizes < 3).any():
        warnings.append(f"{int((sizes < 3).sum())} faces of fewer than three corners left out")
    corners, owners = triangulate(positions, vertices, sizes, warnings)
    here = vertices[corners]
    grey = np.full((len(here), 3, 3), DEFAULT_COLOR, dtype=np.uint8)
    corner_colors = grey if colors is None else colors.take(here, axis=0)
    source: ColorSource | None = None if colors is None else "vertex colours"
    if face_colors is not None:
        own = face_colors[owners]
        own_corners = np.broadcast_to(np.nan_to_num(own)[:, None], corner_colors.shape)
        corner_colors = np.where(np.isnan(own[:, :1, None]), corner_colors, own_corners).astype(np.uint8)
        source = "face colours"
    return TexturedMesh([MeshPart(positions.take(here, axis=0), corner_colors, color_source=source)], warnings)


def _header(data: bytes) -> tuple[_Layout, bytes, list[str]]:
    """What the first word says, what comes after it without comments, and warnings."""
    text = re.sub(rb"#[^\n\r]*", b"", data.removeprefix(b"\xef\xbb\xbf"))
    found = HEADER.match(text)
    if not found and not COUNTS.match(text):  # the word may be missing
        raise ValueError("it does not begin with OFF")
    prefixes = re.findall(rb"ST|C|N|4|n", found[1]) if found else []
    rest = text[found.end() :] if found else text
    if re.match(rb"\s*BINARY", rest):
        raise ValueError("binary OFF is not read; convert it to ASCII or PLY")
    if b"n" in prefixes:
        raise ValueError("nOFF, of any number of coordinates, is not read")
    warnings = ["texture coordinates without a texture left out"] if b"ST" in prefixes else []
    layout = _Layout(4 if b"4" in prefixes else 3, b"N" in prefixes, b"C" in prefixes, 2 if b"ST" in prefixes else 0)
    return layout, rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\0\x1a"), warnings


def _counts(rest: bytes) -> tuple[int, int, _Rows]:
    """How many vertices and faces there are, and the lines after those counts."""
    if b"(" in rest:
        rest = NOT_A_NUMBER.sub(b"nan", rest)
    try:
        values = parse_numbers(rest)
    except ValueError as error:
        raise ValueError(f"a line after its first word: {error}") from None
    characters = np.frombuffer(rest + b"\n", dtype=np.uint8)
    starts, _ = word_places(characters)
    sizes = np.diff(np.searchsorted(starts, np.flatnonzero(characters == NEWLINE)), prepend=0)
    sizes = sizes[sizes > 0]
    if not len(sizes):
        raise ValueError("it ends after its first word")
    # All counts in a line, or one in each of two or three.
    lines, counted = 1, int(sizes[0])
    while counted < 3 and sizes[0] == 1 and lines < len(sizes) and sizes[lines] == 1:
        lines, counted = lines + 1, counted + 1
    counts = values[: max(min(counted, 2), 1)]
    if not ((counts >= 0) & (counts < 2**53) & (counts == np.trunc(counts))).all():
        raise ValueError("the counts of vertices and faces are no numbers")
    firsts = np.cumsum(sizes) - sizes
    if counted > 3:  # vertices follow in the same line
        rows = _Rows(values[3:], np.zeros(1, dtype=np.int64), np.array([len(values) - 3]))
    else:
        rows = _Rows(values, firsts[lines:], sizes[lines:])
    return int(counts[0]), int(counts[1]) if len(counts) > 1 else 0, rows


def _by_lines(rows: _Rows, num_vertices: int, num_faces: int) -> tuple[_Rows, _Rows] | None:
    """Vertices and faces that have a line each; None where the lines are otherwise."""
    if num_vertices + num_faces > len(rows):
        return None
    faces = rows[num_vertices : num_vertices + num_faces]
    if (rows.values[faces.firsts] >= faces.sizes).any():
        return None
    return rows[:num_vertices], faces


def _by_words(rows: _Rows, num_vertices: int, num_faces: int, layout: _Layout) -> tuple[_Rows, _Rows]:
    """Vertices and faces that are not told apart by lines; they have no colours of their own then.

    Raises:
        ValueError: There are more or fewer numbers than of as many vertices and faces.
    """
    values = rows.values[int(rows.firsts[0]) :] if len(rows) else rows.values[:0]
    announced = f"it announces {num_vertices:,} vertices and {num_faces:,} faces, and has {len(rows):,} lines"
    width = layout.size + 3 * layout.has_normals + 4 * layout.is_colored + layout.num_uvs
    place = num_vertices * width
    firsts = []
    for _ in range(num_faces if place <= len(values) else 0):
        if place >= len(values) or not values[place] >= 0:
            break
        firsts.append(place)
        place += int(min(values[place], len(values))) + 1
    if place != len(values) or len(firsts) != num_faces:
        raise ValueError(announced)
    starts = np.array(firsts, dtype=np.int64)
    vertices = _Rows(values, np.arange(num_vertices) * width, np.full(num_vertices, width))
    return vertices, _Rows(values, starts, values[starts].astype(np.int64) + 1)


def _vertices(rows: _Rows, layout: _Layout, warnings: list[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions, and colours where the prefix says so or every line has as many numbers more as a colour has."""
    size, fixed = layout.size, layout.size + 3 * layout.has_normals + layout.num_uvs
    width = int(rows.sizes.min(initial=2**31)) if len(rows) else fixed
    if width < fixed + (3 if layout.is_colored else 0):
        raise ValueError(f"a vertex has {width} numbers, expected {fixed + (3 if layout.is_colored else 0)}")
    table = rows.table(width)
    positions = table[:, :3]
    if size == 4:
        with np.errstate(divide="ignore", invalid="ignore"):
            positions = positions / table[:, 3:4]
    extra = width - fixed
    most = int(rows.sizes.max(initial=0)) - fixed
    colors = table[:, size + 3 * layout.has_normals :][:, :3]
    if layout.has_normals and extra in (3, 4) and _are_normals(table[:, size + extra :][:, :3]):
        colors = colors if _are_normals(table[:, size : size + 3]) else table[:, size : size + 3]
    if not layout.is_colored and (extra not in (3, 4) or (colors < 0).any()):
        if most > 0:
            whose = "vertices" if extra == most else "some vertices"
            warnings.append(f"up to {most} numbers after {whose} left out: colours are 3 or 4 of every vertex")
        return positions, None
    return positions, _as_bytes(colors)


def _are_normals(values: np.ndarray) -> bool:
    return bool(len(values)) and bool((np.abs(np.linalg.norm(values, axis=1) - 1) < NORMAL_ROUNDING).all())


def _as_bytes(values: np.ndarray) -> np.ndarray:
    """Colours in 0..255, or in 0..1 if none is beyond 1."""
    low, high = values.min(initial=0), values.max(initial=0)
    limit = 1 if high <= 1 + ROUNDING else 255
    if not (low >= -ROUNDING and high <= 255 and (limit == 1 or (values == np.trunc(values)).all())):
        raise ValueError(f"colours from {low:g} to {high:g}; expected numbers in 0..1, or whole ones in 0..255")
    return np.round(np.clip(values, 0, limit) * (255 / limit)).astype(np.uint8)


def _faces(rows: _Rows, warnings: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Corners polygon after polygon, the size of each, and colours, 0..255 and nan for none, if there are any."""
    given = rows.values[rows.firsts]
    if not (given == np.trunc(given)).all() or (given < 0).any():
        raise ValueError("the number of a face's corners is no whole number")
    sizes = given.astype(np.int64)
    ends = np.cumsum(sizes)
    places = np.repeat(rows.firsts + 1 - (ends - sizes), sizes) + np.arange(int(sizes.sum()))
    named = rows.values[places]
    if not (named == np.trunc(named)).all():
        raise ValueError("a face names a corner by what is no whole number")
    extras = rows.sizes - 1 - sizes
    by_number = int(((extras > 0) & (extras < 3)).sum())
    if by_number:
        warnings.append(f"colours of {by_number} faces left out: numbers of a colour map")
    has_color = extras >= 3
    if not has_color.any():
        return named.astype(np.int64), sizes, None
    colors = np.full((len(rows), 3), np.nan)
    first = (rows.firsts + 1 + sizes)[has_color]
    colors[has_color] = _as_bytes(rows.values[first[:, None] + np.arange(3)])
    return named.astype(np.int64), sizes, colors
