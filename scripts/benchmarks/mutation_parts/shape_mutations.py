"""Ways to damage a shape file, for mutated_shapes.py: by bytes, by numbers and words, and within containers."""

import io
import json
import math
import random
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mutation_parts.shape_seeds import Folder


# fmt: off
NUMBERS = (
    0, 1, -1, 2, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63, 10**30, -(2**31), 0.5, 1e38, 1e308, -1e-308,
)
VALUES: tuple[Any, ...] = (*NUMBERS, None, True, "", "x", "\0", [], {}, [[]], math.nan, math.inf, -math.inf, [0] * 100)
# What lies outside the folder, by names that might lead there.
PATHS = ("../outside", "../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "..\\outside", "%2e%2e/outside", "")
TOKENS = (
    "nan", "inf", "-", "1e999", "0x10", "9" * 400, "1.#QNAN", "\0", "é", "nan(" * 50, " " * 300, "/" * 30, "#", "",
)
# fmt: on
# A number in a text, whole or not.
NUMBER = re.compile(rb"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")


def mutated(number: int, folders: dict[str, Folder]) -> tuple[str, Folder]:
    """File `number`: the name of the sound one, and the folder after up to four mutations."""
    rng = random.Random(number)
    name = sorted(folders)[number % len(folders)]
    folder = dict(folders[name])
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        # The shape itself most of the time, else what it names.
        target = next(iter(folder)) if rng.random() < 0.85 else rng.choice(sorted(folder))
        # Within the container some of the time, so that more than the container's reader is tried.
        within = WITHIN.get(Path(target).suffix)
        change = damaged if within is None or rng.random() < 0.2 else within
        folder[target] = change(folder[target], rng)
    return name, folder


def damaged(data: bytes, rng: random.Random) -> bytes:
    mutations = (_bits, _cut, _inserted, _removed, _repeated, _numbers, _numbers, _words)
    return rng.choice(mutations)(data, rng)


def _place(data: bytes, rng: random.Random) -> int:
    """Most often near the beginning, where headers are."""
    return min(int(rng.random() ** rng.choice((1, 4)) * len(data)), max(len(data) - 1, 0))


def _bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 8, 64)) if data else 0):
        changed[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _inserted(data: bytes, rng: random.Random) -> bytes:
    place = _place(data, rng)
    new = rng.choice((rng.randbytes(4), rng.randbytes(300), bytes(8), b"\xff" * 4, b"\n"))
    return data[:place] + new + data[place:]


def _removed(data: bytes, rng: random.Random) -> bytes:
    place = _place(data, rng)
    return data[:place] + data[place + rng.choice((1, 4, 12, 200)) :]


def _repeated(data: bytes, rng: random.Random) -> bytes:
    place = _place(data, rng)
    return data[:place] + data[place : place + rng.choice((1, 12, 200, 2000))] * rng.choice((2, 3, 50)) + data[place:]


def _numbers(data: bytes, rng: random.Random) -> bytes:
    """Numbers of a text replaced by others, or those that binary counts and offsets are."""
    found = list(NUMBER.finditer(data[:20_000]))
    if not found or rng.random() < 0.3:
        place = _place(data, rng) // 4 * 4
        size, form = rng.choice(((1, "<B"), (2, "<H"), (4, "<I"), (4, ">I"), (4, "<f"), (8, "<Q")))
        value: float = rng.choice((0, 1, 127, 255)) if size == 1 else rng.choice((0, 1, 2**15, 2**16 - 1))
        if size >= 4:
            value = rng.choice((0, 1, 2**16, 10**6, 10**7, 2**31 - 1, 2**31, 2**32 - 1))
        if form == "<f":
            value = rng.choice((math.nan, math.inf, -math.inf, 3e38, 1e-45))
        return data[:place] + struct.pack(form, value) + data[place + size :]
    # The first ones are counts, more often than not.
    match = found[min(int(rng.random() ** 3 * len(found)), len(found) - 1)]
    new = rng.choice((*map(repr, NUMBERS), *TOKENS, *map(str, (10**6, 10**7, 10**9))))
    return data[: match.start()] + new.encode() + data[match.end() :]


def _words(data: bytes, rng: random.Random) -> bytes:
    """A word of a text replaced by a token, a path, or another of its words."""
    found = list(re.finditer(rb"[^\s\0]+", data[:20_000]))
    if not found:
        return data + b"x"
    match = found[min(int(rng.random() ** 2 * len(found)), len(found) - 1)]
    new = rng.choice((*(each.encode() for each in (*TOKENS, *PATHS)), rng.choice(found).group()))
    return data[: match.start()] + new + data[match.end() :]


def _within_glb(data: bytes, rng: random.Random) -> bytes:
    """A GLB with another JSON or other binary data, and lengths that fit."""
    if len(data) < 20 or not data.startswith(b"glTF"):
        return damaged(data, rng)
    end = 20 + int(struct.unpack_from("<I", data, 12)[0])
    text, binary = data[20:end], data[end + 8 :]
    if rng.random() < 0.6:
        text = changed_json(text, rng)
    else:
        binary = rng.choice((_bits, _bits, _numbers, _inserted, _removed, _cut))(binary, rng)
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _within_zip(data: bytes, rng: random.Random) -> bytes:
    """An archive with a file that is damaged before it is packed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {member.filename: archive.read(member) for member in archive.infolist()}
    except Exception:  # of many kinds in what an earlier mutation left
        return damaged(data, rng)
    name = rng.choice(sorted(members) or [""])
    members[rng.choice((name, name, name, "points.npy", "../outside.obj"))] = damaged(members.get(name, b""), rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def changed_json(data: bytes, rng: random.Random) -> bytes:
    """A glTF's JSON with a value replaced, a key removed or an entry repeated."""
    try:
        document = json.loads(data)
    except ValueError:
        return damaged(data, rng)
    for _ in range(rng.choice((1, 1, 1, 3))):
        containers = [each for each in _containers(document) if each]
        if not containers:
            break
        container: Any = rng.choice(containers)
        key = rng.choice(sorted(container)) if isinstance(container, dict) else rng.randrange(len(container))
        value, how = container[key], rng.randrange(6)
        if how == 0:
            del container[key]
        elif how == 1 and isinstance(container, list):
            container[:] = container * rng.choice((2, 10, 1000 if len(container) < 10 else 2))
        elif how < 4 and isinstance(value, (int, float)) and math.isfinite(value):
            # Another index or count that may well be there.
            near = (value + 1, value - 1, value + 4, value * 2, -value, value + 10**6, value * 10**5)
            container[key] = rng.choice(near)
        elif how == 4 and isinstance(value, (dict, list)):
            container[key] = rng.choice([each for each in _containers(document) if type(each) is type(value)])
            document = json.loads(json.dumps(document)) if _is_finite(document) else json.loads(data)
        elif isinstance(value, str):
            container[key] = rng.choice((*PATHS, *VALUES))
        else:
            container[key] = rng.choice(VALUES)
    return json.dumps(document).encode()


def _is_finite(document: Any) -> bool:
    """Whether nothing contains itself."""
    try:
        json.dumps(document)
    except ValueError:
        return False
    return True


def _containers(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, (dict, list)):
            yield each
            waiting += each.values() if isinstance(each, dict) else each


WITHIN = {".glb": _within_glb, ".gltf": changed_json, **dict.fromkeys((".npz", ".zip", ".3mf", ".usdz"), _within_zip)}
