"""The text of a Wavefront OBJ file as arrays: vertices, colours, texture coordinates and polygons.

The numbers of all lines of a kind are parsed at once; a loop sees only the few lines that name materials or objects.

Source: the OBJ specification, appendix B1 of Wavefront's Advanced Visualizer manual. Vertex colours after the
coordinates are MeshLab's and ZBrush's addition.
"""

import re
from dataclasses import dataclass

import numpy as np


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
    text = np.frombuffer(data + b"\n\n", dtype=np.uint8)[:-2]
    padded = np.frombuffer(data + b"\n\n", dtype=np.uint8)
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

    vertices = _numbers(data, text, starts, ends, np.flatnonzero(is_v), 1, "v", 3)
    colors = None
    if vertices.shape[1] >= 6:
        # v x y z r g b; with one number more, the first after z is a weight or the last an opacity: both are rare,
        # and tools that write seven mean x y z r g b a.
        colors = vertices[:, 3:6]
        colors = None if np.isnan(colors).all() else colors
    uvs = _numbers(data, text, starts, ends, np.flatnonzero(is_vt), 2, "vt", 1)
    if uvs.shape[1] == 1:
        uvs = np.pad(uvs, ((0, 0), (0, 1)))
    elif np.isnan(uvs[:, 1]).any():
        raise ValueError("a line 'vt' has one number, and others have two")
    face_lines = np.flatnonzero(is_f)
    corners, sizes = _faces(data, text, starts, ends, face_lines)
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


def _gather(
    data: bytes, text: np.ndarray, starts: np.ndarray, ends: np.ndarray, lines: np.ndarray, skip: int
) -> bytes:
    """The chosen lines, each without its first `skip` characters, with their line ends."""
    marks = np.zeros(len(text) + 1, dtype=np.int8)
    marks[starts[lines] + skip] = 1
    np.subtract.at(marks, ends[lines] + 1, 1)
    return text[np.cumsum(marks[:-1], dtype=np.int8).astype(bool)].tobytes()


def _numbers(
    data: bytes,
    text: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    lines: np.ndarray,
    skip: int,
    kind: str,
    least: int,
) -> np.ndarray:
    """The numbers of lines as rows, which are filled up with nan; at least `least` a line."""
    if not len(lines):
        return np.zeros((0, max(least, 2)))
    gathered = _gather(data, text, starts, ends, lines, skip)
    counts = _count_words(gathered)
    if counts.min() < least:
        number = int(np.argmin(counts))
        raise ValueError(
            f"line {lines[number] + 1}: '{kind}' with {counts[number]} numbers, expected at least {least}"
        )
    values = _parse(gathered, int(counts.sum()), kind)
    width = int(counts.max())
    if counts.min() == width:
        return values.reshape(len(lines), width)
    rows = np.full((len(lines), width), np.nan)
    rows[np.arange(width) < counts[:, None]] = values
    return rows


def _count_words(gathered: bytes) -> np.ndarray:
    """How many words each line has."""
    characters = np.frombuffer(gathered, dtype=np.uint8)
    blank = characters <= SPACE
    begins = ~blank & np.concatenate([[True], blank[:-1]])
    ends = np.flatnonzero(characters == NEWLINE)
    return np.diff(np.concatenate([[0], np.cumsum(begins)[ends]]))


def _parse(gathered: bytes, count: int, kind: str) -> np.ndarray:
    try:
        # Far faster than a loop, and the text holds numbers only.
        values = np.array(gathered.split(), dtype=np.float64) if count < 10_000 else _fast(gathered)
    except (ValueError, DeprecationWarning):
        values = np.empty(0)
    if len(values) != count:
        raise ValueError(f"a '{kind}' line holds what is no number")
    return values


def _fast(gathered: bytes) -> np.ndarray:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.fromstring(gathered, dtype=np.float64, sep=" ")


def _faces(
    data: bytes, text: np.ndarray, starts: np.ndarray, ends: np.ndarray, lines: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Corners as written, `(num_corners, 2)` with 0 for no texture coordinate, and their count in each face."""
    if not len(lines):
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.int64)
    gathered = _gather(data, text, starts, ends, lines, 1)
    if gathered.startswith(b"o"):
        gathered = re.sub(rb"(?m)^o", b"", gathered)
    sizes = _count_words(gathered)
    words = int(sizes.sum())
    slashes, doubled = gathered.count(b"/"), gathered.count(b"//")
    if slashes == 0:
        return np.stack([_whole(gathered, words), np.zeros(words, dtype=np.int64)], axis=1), sizes
    if doubled == words and slashes == 2 * words:
        return np.stack([_whole(gathered.replace(b"//", b" "), 2 * words)[::2], np.zeros(words, np.int64)], 1), sizes
    per_word = slashes // words
    if doubled == 0 and slashes == per_word * words and per_word in (1, 2):
        numbers = _parse_or_none(gathered.replace(b"/", b" "), (per_word + 1) * words)
        if numbers is not None:
            return numbers.reshape(words, per_word + 1)[:, :2], sizes
    # Corners of several kinds.
    corners = np.zeros((words, 2), dtype=np.int64)
    for row, word in enumerate(gathered.split()):
        parts = word.split(b"/")
        try:
            corners[row, 0] = int(parts[0])
            corners[row, 1] = int(parts[1]) if len(parts) > 1 and parts[1] else 0
        except ValueError:
            raise ValueError(f"a face has the corner {word.decode('ascii', 'replace')[:30]!r}") from None
    return corners, sizes


def _parse_or_none(gathered: bytes, count: int) -> np.ndarray | None:
    try:
        return _whole(gathered, count)
    except ValueError:
        return None


def _whole(gathered: bytes, count: int) -> np.ndarray:
    values = _parse(gathered, count, "f")
    if not (np.abs(values) < 2**53).all() or (values != np.trunc(values)).any():
        raise ValueError("a face names a corner by what is no whole number")
    return values.astype(np.int64)


def _absolute(indices: np.ndarray, seen: np.ndarray, count: int, name: str) -> np.ndarray:
    """Rows from 0 of indices from 1; negative ones count back from what was written before, and 0 is `MISSING`."""
    absolute = np.where(indices < 0, seen + indices, indices - 1)
    if len(absolute) and (absolute.max() >= count or (absolute[indices != 0] < 0).any()):
        raise ValueError(f"a face names a {name} that does not exist (there are {count})")
    return np.where(indices == 0, MISSING, absolute)
