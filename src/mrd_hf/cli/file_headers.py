"""What a shape file says of itself: format, version, encoding, and what wrote it; also of files that cannot be read.

Only the beginning is looked at or, of glTF, the JSON.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


BEGINNING = 2**16
# Of glTF; with embedded buffers it is as large as the file, and to parse it takes several times the memory.
MAX_JSON = 2**26
GLB_HEADER_SIZE, CHUNK_HEADER_SIZE = 12, 8
MAX_GENERATOR = 200
# Where the header of a laser scan names the software that made it.
LAS_SOFTWARE = slice(58, 90)
USDC = b"PXR-USDC"


@dataclass(frozen=True)
class FileHeader:
    """What the beginning of a file says.

    Args:
        format (`str`): The suffix in capitals, as "GLB".
        version (`str`, *optional*): Of the format.
        encoding (`str`, *optional*): As "ascii", "binary", "binary_compressed".
        generator (`str`, *optional*): What wrote it: glTF's generator, else the header's first comment.
        extensions (`list[str]`): That a glTF file uses.
    """

    format: str
    version: str | None = None
    encoding: str | None = None
    generator: str | None = None
    extensions: list[str] = field(default_factory=list)


def read_header(path: Path) -> FileHeader:
    """Read the header of a file that may be damaged: what is not understood stays None.

    Args:
        path (`Path`): Its suffix says the format.

    Raises:
        OSError: There is no such file, or it may not be read.
    """
    name = path.suffix[1:].upper()
    with path.open("rb") as file:
        beginning = file.read(BEGINNING)
        if name in ("GLB", "GLTF"):
            text = beginning + file.read(MAX_JSON)
            return _gltf(name, text)
    if name == "PLY":
        return _ply(name, beginning)
    if name == "STL":
        is_ascii = beginning.lstrip()[:5].lower() == b"solid" and b"vertex" in beginning.lower()
        first = beginning.splitlines()[0] if is_ascii else beginning[:80].split(b"\0")[0]
        return FileHeader(name, None, "ascii" if is_ascii else "binary", _text(first))
    if name == "OFF":
        found = re.match(rb"\s*(\w*OFF)\b\s*(BINARY)?", _without_comments(beginning))
        encoding = None if found is None else "binary" if found[2] else "ascii"
        return FileHeader(name, None, encoding, _comment(beginning, rb"#(.*)"))
    if name == "PCD":
        version, encoding = (_found(word, beginning) for word in (rb"(?m)^VERSION\s+(\S+)", rb"(?m)^DATA\s+(\w+)"))
        return FileHeader(name, version, encoding, _comment(beginning, rb"#(.*)"))
    if name == "OBJ":
        return FileHeader(name, None, "ascii", _comment(beginning, rb"#(.*)"))
    if name == "NPY" and beginning.startswith(np.lib.format.MAGIC_PREFIX) and len(beginning) > 8:
        return FileHeader(name, f"{beginning[6]}.{beginning[7]}", "binary")
    if name == "DAE":
        tool = _found(rb"<authoring_tool>([^<]*)<", beginning)
        return FileHeader(name, _found(rb"<COLLADA[^>]*\sversion=[\"']([^\"']*)", beginning), "xml", tool)
    if name in ("LAS", "LAZ") and beginning.startswith(b"LASF") and len(beginning) > LAS_SOFTWARE.stop:
        software = _text(beginning[LAS_SOFTWARE].split(b"\0")[0])
        return FileHeader(name, f"{beginning[24]}.{beginning[25]}", "binary", software)
    if name in ("USD", "USDA", "USDC"):
        if beginning.startswith(USDC) and len(beginning) > len(USDC) + 3:
            return FileHeader(name, ".".join(map(str, beginning[len(USDC) : len(USDC) + 3])), "binary")
        return FileHeader(name, _found(rb"^#usda\s+(\S+)", beginning), "ascii")
    return FileHeader(name, None, "zip" if beginning.startswith(b"PK\3\4") else None)


def _gltf(name: str, data: bytes) -> FileHeader:
    encoding = "binary" if data.startswith(b"glTF") else "json"
    if encoding == "binary":
        start = GLB_HEADER_SIZE + CHUNK_HEADER_SIZE
        version = str(int.from_bytes(data[4:8], "little"))
        data = data[start : start + int.from_bytes(data[GLB_HEADER_SIZE : GLB_HEADER_SIZE + 4], "little")]
    else:
        version = None
    try:
        parsed = json.loads(data.decode("utf-8-sig").rstrip("\0 \t\r\n"))
    except (ValueError, RecursionError):
        return FileHeader(name, version, encoding)
    parsed = parsed if isinstance(parsed, dict) else {}
    asset = parsed.get("asset")
    asset = asset if isinstance(asset, dict) else {}
    used = parsed.get("extensionsUsed")
    extensions = sorted({str(extension) for extension in used}) if isinstance(used, list) else []
    return FileHeader(
        name, _string(asset.get("version")) or version, encoding, _string(asset.get("generator")), extensions
    )


def _ply(name: str, beginning: bytes) -> FileHeader:
    header = beginning.partition(b"end_header")[0].replace(b"\r", b"\n")
    return FileHeader(
        name,
        _found(rb"(?m)^format[ \t]+\w+[ \t]+(\S+)", header),
        _found(rb"(?m)^format[ \t]+(\w+)", header),
        _comment(header, rb"(?:comment|obj_info)[ \t](.*)"),
    )


def _without_comments(data: bytes) -> bytes:
    return re.sub(rb"#[^\n\r]*", b"", data)


def _comment(data: bytes, pattern: bytes) -> str | None:
    """The first comment that says something."""
    found = (_text(comment) for comment in re.findall(rb"(?m)^[ \t]*" + pattern, data.replace(b"\r", b"\n")))
    return next((text for text in found if text is not None and re.search(r"\w", text)), None)


def _found(pattern: bytes, data: bytes) -> str | None:
    found = re.search(pattern, data)
    return None if found is None else _text(found[1])


def _text(data: bytes) -> str | None:
    return _string(data.decode("utf-8", "replace"))


def _string(value: Any) -> str | None:
    """In one line, without blanks around it, of bearable length; None for nothing."""
    text = " ".join(str(value).split()) if isinstance(value, (str, int, float)) else ""
    return text[:MAX_GENERATOR] or None
