"""Wavefront MTL material libraries: diffuse colours, textures and the masks that cut holes.

`d` and `Tr` are left out: glass is a surface like any other, and exporters do not agree about what `Tr` means.

Source: the MTL specification, Wavefront's Advanced Visualizer manual.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from .shapes import Wrap


# Encodings that names are written in, where they are not UTF-8: those of the tools and countries that write OBJ.
# Latin-1 is last, as it reads everything.
ENCODINGS = ("utf-8", "gb18030", "shift_jis", "cp949", "big5", "cp1251", "latin-1")
# How many words each option of a texture takes; of those with two numbers, the second is the most it may take.
OPTIONS = {
    b"-blendu": (1, 1),
    b"-blendv": (1, 1),
    b"-bm": (1, 1),
    b"-boost": (1, 1),
    b"-cc": (1, 1),
    b"-clamp": (1, 1),
    b"-colorspace": (1, 1),
    b"-imfchan": (1, 1),
    b"-mm": (1, 2),
    b"-o": (1, 3),
    b"-s": (1, 3),
    b"-t": (1, 3),
    b"-texres": (1, 1),
    b"-type": (1, 1),
}


@dataclass(frozen=True)
class ObjTexture:
    """A texture as a material names it.

    Args:
        name (`bytes`): As written, without the options.
        scale, offset (pairs of `float`): Texture coordinates are multiplied, then moved.
        wrap (`Wrap`): Beyond its edges.
        folder (`str`): Of its library, which the name may be relative to; "" for the mesh's own.
    """

    name: bytes
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    wrap: Wrap = "repeat"
    folder: str = ""


@dataclass(frozen=True)
class ObjMaterial:
    """A material.

    Args:
        diffuse (`np.ndarray` of shape `(3,)`, *optional*): `Kd`, sRGB in 0..1.
        texture (`ObjTexture`, *optional*): `map_Kd`.
        mask (`ObjTexture`, *optional*): `map_d`, how opaque it is.
    """

    diffuse: np.ndarray | None = None
    texture: ObjTexture | None = None
    mask: ObjTexture | None = None


def parse_mtl(data: bytes, warnings: list[str], folder: str = "") -> dict[bytes, ObjMaterial]:
    """The materials of a library by their names, as written.

    Args:
        data (`bytes`): The file.
        warnings (list of `str`): Gets a line for each colour or texture that is not understood.
        folder (`str`, *optional*): Where it lies, from the mesh's own folder.
    """
    materials: dict[bytes, ObjMaterial] = {}
    unused: dict[bytes, list[str]] = {}
    name: bytes | None = None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", "replace").encode()
    for line in data.removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"\n").replace(b"\t", b" ").split(b"\n"):
        word, _, rest = line.strip().partition(b" ")
        rest = rest.strip()
        keyword = word.lower()
        if keyword == b"newmtl":
            name = rest
            materials.setdefault(name, ObjMaterial())
        elif name is None or not rest:
            continue
        elif keyword == b"kd":
            color = _color(rest)
            if color is None:
                hint = "; decimals have a point, not a comma" if b"," in rest else ""
                warnings.append(f"colour not understood: Kd {readable(rest)} of material {readable(name)}{hint}")
            else:
                if color.max() > 1:
                    warnings.append(f"colour beyond 1 cut to it: Kd {readable(rest)} of material {readable(name)}")
                materials[name] = replace(materials[name], diffuse=np.clip(color, 0, 1))
        elif keyword in (b"map_kd", b"map_d", b"map_opacity"):
            texture = _texture(rest, folder)
            if texture is None:
                warnings.append(f"texture not understood: {readable(line.strip())} of material {readable(name)}")
            elif keyword == b"map_kd":
                materials[name] = replace(materials[name], texture=texture)
            else:
                materials[name] = replace(materials[name], mask=texture)
        elif keyword in (b"map_ka", b"map_ke"):
            unused.setdefault(name, []).append(readable(word))
    for name, words in unused.items():
        if materials[name].texture is None:
            warnings.append(f"texture left out: {' and '.join(words)} without map_Kd, of material {readable(name)}")
    return materials


def spellings(name: bytes) -> Iterator[str]:
    """A name as text, in every encoding that can hold it, the likeliest first."""
    found = set()
    for encoding in ENCODINGS:
        try:
            text = name.decode(encoding)
        except UnicodeDecodeError:
            continue
        if text not in found:
            found.add(text)
            yield text


def readable(name: bytes) -> str:
    """A name for messages."""
    return next(spellings(name))


def _color(rest: bytes) -> np.ndarray | None:
    """Three numbers, or one for all three; None for a spectral file, CIE XYZ or nonsense."""
    words = rest.split(b"#")[0].split()
    try:
        values = np.array([float(word) for word in words[:3]])
    except ValueError:
        return None
    if len(values) == 1:
        values = np.repeat(values, 3)
    if len(values) != 3 or not np.isfinite(values).all():
        return None
    return values


def _texture(rest: bytes, folder: str) -> ObjTexture | None:
    """Options and a file's name, which may have spaces."""
    wrap: Wrap = "repeat"
    pairs = {b"-s": (1.0, 1.0), b"-o": (0.0, 0.0)}
    while rest.startswith(b"-"):
        option, _, after = rest.partition(b" ")
        option = option.lower()
        if option not in OPTIONS:
            break  # a name may begin so
        least, most = OPTIONS[option]
        values: list[bytes] = []
        after = after.lstrip()
        while len(values) < most:
            word, _, remaining = after.partition(b" ")
            # A name may begin with a number: the last word is always of the name.
            if not remaining or (len(values) >= least and not _is_number(word)):
                break
            values.append(word)
            after = remaining.lstrip()
        if option == b"-clamp" and values and values[0].lower() == b"on":
            wrap = "clamp"
        elif option in pairs and values and all(_is_number(value) for value in values):
            default = 1.0 if option == b"-s" else 0.0
            pairs[option] = (float(values[0]), float(values[1]) if len(values) > 1 else default)
        rest = after
    return ObjTexture(rest, pairs[b"-s"], pairs[b"-o"], wrap, folder) if rest else None


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
