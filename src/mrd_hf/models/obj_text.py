"""The text of a Wavefront OBJ file as arrays: vertices, colours, texture coordinates and polygons.

The numbers of all lines of a kind are parsed at once; a loop sees only the few lines that name materials or objects.

Source: the OBJ specification, appendix B1 of Wavefront's Advanced Visualizer manual. Vertex colours after the
coordinates are MeshLab's addition, those in comments of hexadecimal digits, `#MRGB`, ZBrush's.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .number_text import INFINITE, NOT_A_NUMBER, parse_integers, parse_numbers, word_places


NEWLINE, SPACE, TAB = b"\n \t"
# Numbers in a line v: position, weight, colour and opacity.
MAX_WIDTH = 8
# A minus sign for texture coordinates that a corner does not have.
MISSING = -1
# Lines of these say how something is shown or are about curves, whose own lines are counted.
SILENT = {
    *(b"s", b"mg", b"usemap", b"maplib", b"lod", b"bevel", b"shadow_obj", b"trace_obj", b"c_interp", b"d_interp"),
    *(b"cstype", b"deg", b"end", b"parm", b"step", b"bmat", b"ctech", b"stech", b"trim", b"hole", b"scrv", b"sp"),
}


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
        objects, groups (`np.ndarray` of shape `(num_polygons,)`):
            Index into `object_names` and `group_names`, -1 for none.
        material_names, object_names, group_names (`list[bytes]`), libraries (`list[bytes]`): As written.
        unread (`dict[str, int]`): How many lines of other elements there are: `l`, `p`, `curv` ...
        num_lost_uvs (`int`): Corners that name texture coordinates that do not exist.
    """

    positions: np.ndarray
    colors: np.ndarray | None
    uvs: np.ndarray
    corners: np.ndarray
    sizes: np.ndarray
    materials: np.ndarray
    objects: np.ndarray
    groups: np.ndarray
    material_names: list[bytes]
    object_names: list[bytes]
    group_names: list[bytes]
    libraries: list[bytes]
    unread: dict[str, int]
    num_lost_uvs: int


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
    data = _plain_lines(data)
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
    uvs = _numbers(lines, np.flatnonzero(is_vt), b"vt", 1)
    uvs = np.where(np.isnan(uvs), 0.0, uvs)[:, :2]  # without a second number it is 0
    uvs = np.pad(uvs, ((0, 0), (0, 2 - uvs.shape[1])))
    face_lines = np.flatnonzero(is_f)
    corners, sizes = _faces(lines, face_lines)
    num_lost = 0
    if len(corners):
        before_v, before_vt = np.cumsum(is_v)[face_lines], np.cumsum(is_vt)[face_lines]
        corners[:, 0] = _absolute(corners[:, 0], np.repeat(before_v, sizes))
        corners[:, 1] = _absolute(corners[:, 1], np.repeat(before_vt, sizes))
        if (corners[:, 0] == MISSING).any():
            raise ValueError("a face names a vertex 0; they are counted from 1")
        if not 0 <= corners[:, 0].min() <= corners[:, 0].max() < len(vertices):
            raise ValueError(f"a face names a vertex that does not exist (there are {len(vertices)})")
        lost = (corners[:, 1] < MISSING) | (corners[:, 1] >= len(uvs))
        corners[lost, 1] = MISSING
        num_lost = int(lost.sum())

    names: dict[bytes, dict[bytes, int]] = {b"usemtl": {}, b"o": {}, b"g": {}}
    changes: dict[bytes, list[tuple[int, int]]] = {b"usemtl": [], b"o": [], b"g": []}
    libraries: list[bytes] = []
    unread: dict[str, int] = {}
    for line in others.tolist():
        word, _, rest = data[starts[line] : ends[line]].replace(b"\t", b" ").partition(b" ")
        rest = rest.strip()
        if word == b"mtllib":
            libraries.append(rest)
        elif word in names:
            changes[word].append((line, names[word].setdefault(rest, len(names[word]))))
        elif word not in SILENT:
            known = word.decode("ascii", "replace")[:20]
            unread[known] = unread.get(known, 0) + 1
    return ObjText(
        vertices[:, :3],
        _colors(vertices) if b"#MRGB" not in data else _painted(data, len(vertices)),
        uvs,
        corners,
        sizes,
        _in_force(changes[b"usemtl"], face_lines),
        _in_force(changes[b"o"], face_lines),
        _in_force(changes[b"g"], face_lines),
        list(names[b"usemtl"]),
        list(names[b"o"]),
        list(names[b"g"]),
        libraries,
        unread,
        num_lost,
    )


def _plain_lines(data: bytes) -> bytes:
    """UTF-8 without a mark, each statement in one line that begins with its keyword and ends with a line feed."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(b"\xef\xbb\xbf").rstrip(b"\0\x1a")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"\\" in data:
        # Not in comments: those end with paths of folders.
        data = re.sub(rb"(?m)^[ \t]*#.*$", lambda comment: comment[0].rstrip(b"\\ \t"), data)
        # After a byte above 0x80 it is the second one of a letter, as of Shift JIS.
        data = re.sub(rb"(?<![\x81-\xff])\\[ \t]*\n", b" ", data)
    if data[:1] in (b" ", b"\t") or b"\n " in data or b"\n\t" in data:
        data = re.sub(rb"(?m)^[ \t]+", b"", data)
    return data if data.endswith(b"\n") else data + b"\n"


def _colors(vertices: np.ndarray) -> np.ndarray | None:
    """Of lines v x y z r g b, as written.

    A seventh number is an opacity, unless the fourth is a weight of 1 in every line; of eight, the fourth is a weight.
    """
    width = vertices.shape[1]
    if width < 6:
        return None
    full = ~np.isnan(vertices[:, min(width, 8) - 1])
    weighted = width > 7 or (width == 7 and (vertices[full, 3] == 1).all() and (vertices[full, 6] != 1).any())
    colors = vertices[:, 4:7] if weighted else vertices[:, 3:6]
    colors = np.where(np.isnan(colors).any(axis=1, keepdims=True), np.nan, colors)
    return None if np.isnan(colors).all() else colors


def _painted(data: bytes, num_vertices: int) -> np.ndarray | None:
    """Of ZBrush's comments, eight hexadecimal digits a vertex: mask, red, green, blue; in 0..1, nan beyond them."""
    digits = b"".join(re.findall(rb"(?m)^#MRGB[ \t]+([0-9A-Fa-f]+)[ \t]*$", data))
    found = np.frombuffer(bytes.fromhex(digits[: len(digits) // 8 * 8].decode()), np.uint8).reshape(-1, 4)
    found = found[:num_vertices]
    colors = np.full((num_vertices, 3), np.nan)
    colors[: len(found)] = found[:, 1:] / 255
    return colors if len(found) else None


def _in_force(changes: list[tuple[int, int]], lines: np.ndarray) -> np.ndarray:
    """For each line, the index that the last change before it set; -1 before the first."""
    if not changes:
        return np.full(len(lines), -1)
    places, indices = np.array(changes).T
    return np.concatenate([[-1], indices])[np.searchsorted(places, lines)]


def _gather(lines: _Lines, chosen: np.ndarray, word: bytes) -> bytes:
    """The chosen lines, each without the word that it begins with and without comments, with their line ends."""
    is_chosen = np.zeros(len(lines.starts), dtype=bool)
    is_chosen[chosen] = True
    gathered = lines.text[np.repeat(is_chosen, lines.ends - lines.starts + 1)].tobytes()
    gathered = gathered[len(word) :].replace(b"\n" + word, b"\n")
    if b"#" in gathered or b"(" in gathered:
        gathered = re.sub(rb"#.*", b"", INFINITE.sub(b"inf", NOT_A_NUMBER.sub(b"nan", gathered)))
    return gathered


def _numbers(lines: _Lines, chosen: np.ndarray, word: bytes, least: int) -> np.ndarray:
    """The numbers of lines as rows, which are filled up with nan; at least `least` a line."""
    if not len(chosen):
        return np.zeros((0, max(least, 2)))
    gathered = _gather(lines, chosen, word)
    characters = np.frombuffer(gathered, dtype=np.uint8)
    counts = _words_a_line(characters, word_places(characters)[0])
    kind = word.decode()
    if counts.min() < least:
        number = int(np.argmin(counts))
        raise ValueError(
            f"line {chosen[number] + 1}: '{kind}' with {counts[number]} numbers, expected at least {least}"
        )
    try:
        values = parse_numbers(gathered)
    except ValueError as error:
        hint = "; decimals have a point, not a comma" if re.search(rb"\d,\d", gathered) else ""
        raise ValueError(f"a '{kind}' line: {error}{hint}") from None
    width = int(counts.max())
    if counts.min() == width:
        return values.reshape(len(chosen), width)
    # No line means more than so many; a table as wide as one line of very many could not be held.
    width = min(width, MAX_WIDTH)
    given = np.arange(width) < counts[:, None]
    rows = np.full((len(chosen), width), np.nan)
    rows[given] = values[np.repeat(np.cumsum(counts) - counts, given.sum(axis=1)) + np.nonzero(given)[1]]
    return rows


def _words_a_line(characters: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """How many of the words that start at `starts` each line has."""
    return np.diff(np.searchsorted(starts, np.flatnonzero(characters == NEWLINE)), prepend=0)


def _faces(lines: _Lines, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners as written, `(num_corners, 2)` with 0 for no texture coordinate, and their count in each face."""
    if not len(chosen):
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.int64)
    gathered = _gather(lines, chosen, b"f")
    if b"o" in gathered:
        gathered = re.sub(rb"(?m)^o", b"", gathered)
    characters = np.frombuffer(gathered, dtype=np.uint8)
    starts, ends = word_places(characters)
    sizes = _words_a_line(characters, starts)
    words = len(starts)
    slashes, doubled = np.flatnonzero(characters == ord("/")), gathered.count(b"//")
    try:
        if not len(slashes):
            return np.stack([parse_integers(gathered), np.zeros(words, dtype=np.int64)], axis=1), sizes
        # v//vn, v/vt or v/vt/vn. On average alike would not do: v and v/vt/vn by turns are like v/vt then.
        alike = len(slashes) % words == 0
        if alike:
            of_words = slashes.reshape(words, -1)
            alike = bool((of_words[:, 0] > starts).all() and (of_words[:, -1] < ends).all())
        width = 2 if doubled == words and len(slashes) == 2 * words else len(slashes) // words + 1
        if alike and width in (2, 3) and doubled in (0, words):
            numbers = parse_integers(gathered.replace(b"//" if doubled else b"/", b" "))
            if len(numbers) == width * words:  # not so of v// and v/
                numbers = numbers.reshape(words, width)[:, :2]
                return numbers * (1, 0) if doubled else numbers, sizes
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


def _absolute(indices: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Rows from 0 of indices from 1; negative ones count back from what was written before, and 0 is `MISSING`.

    What leads to before the first is below `MISSING`.
    """
    counted_back = seen + indices
    return np.where(indices < 0, np.where(counted_back < 0, MISSING - 1, counted_back), indices - 1)
