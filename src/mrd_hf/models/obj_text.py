"""The text of a Wavefront OBJ file as arrays: vertices, colours, texture coordinates and polygons.

The numbers of all lines of a kind are parsed at once; a loop sees only the few lines that name materials or objects.

Source: the OBJ specification, appendix B1 of Wavefront's Advanced Visualizer manual. Vertex colours after the
coordinates are MeshLab's and ZBrush's addition.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .number_text import parse_integers, parse_numbers, word_places


NEWLINE, SPACE, TAB = b"\n \t"
# A minus sign for texture coordinates that a corner does not have.
MISSING = -1


@dataclass(frozen=True)
class ObjText:
    """What an OBJ file says.

    Args:
        positions (`np.ndarray` of shape `(num_vertices, 3)`): float64.
        colors (`np.ndarray` of shape `(num_vertices, 3)`, *optional*): As written; nan where a vertex has none.
        uvs (`np.ndarray` of shape `(num_uvs, 2)`): float64, (0, 0) at the lower left.
        corners (`np.ndarray` of shape `(num_corners, 2)`): Rows of `positions` and `uvs`, or `MISSING`.
        sizes (`np.ndarray` of shape `(num_polygons,)`): How many corners each polygon has.
        materials (`np.ndarray` of shape `(num_polygons,)`): Index into `material_names` of each, -1 for none.
        objects (`np.ndarray` of shape `(num_polygons,)`): Index into `object_names`, -1 for none.
        material_names, object_names (`list[bytes]`), libraries (`list[bytes]`): As written.
        unread (`dict[str, int]`): How many lines of other elements there are: `l`, `p`, `curv` ...
    """

    positions: np.ndarray
    colors: np.ndarray | None
    uvs: np.ndarray
    corners: np.ndarray
    sizes: np.ndarray
    materials: np.ndarray
    objects: np.ndarray
    material_names: list[bytes]
    object_names: list[bytes]
    libraries: list[bytes]
    unread: dict[str, int]


class _Lines(NamedTuple):
    """A text, and where its lines start and end: at their line feed."""

    text: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def parse_obj(data: bytes) -> ObjText:
    """Parse an OBJ file.

    Raises:
        ValueError: A line is not as it should be; the message has its number where that is known.
    """
    if b"\\" in data:
        data = re.sub(rb"\\[ \t]*\r?\n", b" ", data)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if data[:1] in (b" ", b"\t") or b"\n " in data or b"\n\t" in data:
        data = re.sub(rb"(?m)^[ \t]+", b"", data)
    if b"#" in data:
        data = re.sub(rb"(?m)[ \t]+#.*$", b"", data)
    if not data.endswith(b"\n"):
        data += b"\n"
    padded = np.frombuffer(data + b"\n\n", dtype=np.uint8)
    text = padded[:-2]
    ends = np.flatnonzero(text == NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    first, second, third = padded[starts], padded[starts + 1], padded[starts + 2]

    def is_blank(characters: np.ndarray) -> np.ndarray:
        return (characters == SPACE) | (characters == TAB)

    is_v = (first == ord("v")) & is_blank(second)
    is_vt = (first == ord("v")) & (second == ord("t")) & is_blank(third)
    is_vn = (first == ord("v")) & ((second == ord("n")) | (second == ord("p")))
    is_f = (first == ord("f")) & is_blank(second)
    is_f |= (first == ord("f")) & (second == ord("o")) & is_blank(third)  # its name in old files
    others = np.flatnonzero(~(is_v | is_vt | is_vn | is_f) & (first != NEWLINE) & (first != ord("#")))

    lines = _Lines(text, starts, ends)
    vertices = _numbers(lines, np.flatnonzero(is_v), b"v", 3)
    colors = None
    if vertices.shape[1] >= 6:
        # v x y z r g b; with one number more, the first after z is a weight or the last an opacity: both are rare,
        # and tools that write seven mean x y z r g b a.
        colors = vertices[:, 3:6]
        colors = None if np.isnan(colors).all() else colors
    uvs = _numbers(lines, np.flatnonzero(is_vt), b"vt", 1)
    if uvs.shape[1] == 1:
        uvs = np.pad(uvs, ((0, 0), (0, 1)))
    elif np.isnan(uvs[:, 1]).any():
        raise ValueError("a line 'vt' has one number, and others have two")
    face_lines = np.flatnonzero(is_f)
    corners, sizes = _faces(lines, face_lines)
    if len(corners):
        before_v, before_vt = np.cumsum(is_v)[face_lines], np.cumsum(is_vt)[face_lines]
        corners[:, 0] = _absolute(corners[:, 0], np.repeat(before_v, sizes), len(vertices), "vertex")
        corners[:, 1] = _absolute(corners[:, 1], np.repeat(before_vt, sizes), len(uvs), "texture coordinate")
        if (corners[:, 0] == MISSING).any():
            raise ValueError("a face names a vertex 0; they are counted from 1")

    names: dict[str, list[bytes]] = {"usemtl": [], "o": []}
    changes: dict[str, list[tuple[int, int]]] = {"usemtl": [], "o": []}
    libraries: list[bytes] = []
    unread: dict[str, int] = {}
    for line in others.tolist():
        word, _, rest = data[starts[line] : ends[line]].replace(b"\t", b" ").partition(b" ")
        rest = rest.strip()
        if word == b"mtllib":
            libraries.append(rest)
        elif word in (b"usemtl", b"o", b"g"):
            kind = "usemtl" if word == b"usemtl" else "o"
            if rest not in names[kind]:
                names[kind].append(rest)
            changes[kind].append((line, names[kind].index(rest)))
        elif word not in (b"s", b"usemap", b"lod", b"bevel", b"shadow_obj", b"trace_obj", b"cstype", b"deg", b"end"):
            known = word.decode("ascii", "replace")[:20]
            unread[known] = unread.get(known, 0) + 1
    return ObjText(
        vertices[:, :3],
        colors,
        uvs[:, :2],
        corners,
        sizes,
        _in_force(changes["usemtl"], face_lines),
        _in_force(changes["o"], face_lines),
        names["usemtl"],
        names["o"],
        libraries,
        unread,
    )


def _in_force(changes: list[tuple[int, int]], lines: np.ndarray) -> np.ndarray:
    """For each line, the index that the last change before it set; -1 before the first."""
    if not changes:
        return np.full(len(lines), -1)
    places, indices = np.array(changes).T
    return np.concatenate([[-1], indices])[np.searchsorted(places, lines)]


def _gather(lines: _Lines, chosen: np.ndarray, word: bytes) -> bytes:
    """The chosen lines, each without the word that it begins with, with their line ends."""
    is_chosen = np.zeros(len(lines.starts), dtype=bool)
    is_chosen[chosen] = True
    gathered = lines.text[np.repeat(is_chosen, lines.ends - lines.starts + 1)].tobytes()
    return gathered[len(word) :].replace(b"\n" + word, b"\n")


def _numbers(lines: _Lines, chosen: np.ndarray, word: bytes, least: int) -> np.ndarray:
    """The numbers of lines as rows, which are filled up with nan; at least `least` a line."""
    if not len(chosen):
        return np.zeros((0, max(least, 2)))
    gathered = _gather(lines, chosen, word)
    counts = _count_words(gathered)
    kind = word.decode()
    if counts.min() < least:
        number = int(np.argmin(counts))
        raise ValueError(
            f"line {chosen[number] + 1}: '{kind}' with {counts[number]} numbers, expected at least {least}"
        )
    try:
        values = parse_numbers(gathered)
    except ValueError as error:
        raise ValueError(f"a '{kind}' line: {error}") from None
    width = int(counts.max())
    if counts.min() == width:
        return values.reshape(len(chosen), width)
    rows = np.full((len(chosen), width), np.nan)
    rows[np.arange(width) < counts[:, None]] = values
    return rows


def _count_words(gathered: bytes) -> np.ndarray:
    """How many words each line has."""
    characters = np.frombuffer(gathered, dtype=np.uint8)
    starts, _ = word_places(characters)
    return np.diff(np.searchsorted(starts, np.flatnonzero(characters == NEWLINE)), prepend=0)


def _faces(lines: _Lines, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners as written, `(num_corners, 2)` with 0 for no texture coordinate, and their count in each face."""
    if not len(chosen):
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.int64)
    gathered = _gather(lines, chosen, b"f")
    if b"o" in gathered:
        gathered = re.sub(rb"(?m)^o", b"", gathered)
    sizes = _count_words(gathered)
    words = int(sizes.sum())
    slashes, doubled = gathered.count(b"/"), gathered.count(b"//")
    try:
        if slashes == 0:
            return np.stack([parse_integers(gathered), np.zeros(words, dtype=np.int64)], axis=1), sizes
        if doubled == words and slashes == 2 * words:
            corners = parse_integers(gathered.replace(b"//", b" "))[::2]
            return np.stack([corners, np.zeros(words, dtype=np.int64)], axis=1), sizes
        per_word = slashes // words
        if doubled == 0 and slashes == per_word * words and per_word in (1, 2):
            numbers = parse_integers(gathered.replace(b"/", b" "))
            if len(numbers) == (per_word + 1) * words:
                return numbers.reshape(words, per_word + 1)[:, :2], sizes
    except ValueError as error:
        raise ValueError(f"a face names a corner by what is no whole number: {error}") from None
    # Corners of several kinds.
    corners = np.zeros((words, 2), dtype=np.int64)
    for row, corner in enumerate(gathered.split()):
        parts = corner.split(b"/")
        try:
            corners[row, 0] = int(parts[0])
            corners[row, 1] = int(parts[1]) if len(parts) > 1 and parts[1] else 0
        except ValueError:
            raise ValueError(f"a face has the corner {corner.decode('ascii', 'replace')[:30]!r}") from None
    return corners, sizes


def _absolute(indices: np.ndarray, seen: np.ndarray, count: int, name: str) -> np.ndarray:
    """Rows from 0 of indices from 1; negative ones count back from what was written before, and 0 is `MISSING`."""
    absolute = np.where(indices < 0, seen + indices, indices - 1)
    if len(absolute) and (absolute.max() >= count or (absolute[indices != 0] < 0).any()):
        raise ValueError(f"a face names a {name} that does not exist (there are {count})")
    return np.where(indices == 0, MISSING, absolute)
