"""A furniture library of a few objects, small enough to be made in a test."""

import io
import zipfile
from pathlib import Path

from PIL import Image


BOX = """mtllib box.mtl
v 0 0 0
v 2 0 0
v 2 1 0
v 0 1 0
v 0 0 4
v 2 0 4
v 2 1 4
v 0 1 4
usemtl paint
f 1 2 3 4
f 5 6 7 8
f 1 2 6 5
f 4 3 7 8
f 1 4 8 5
f 2 3 7 6
"""
PAINT = "newmtl paint\nKd 1 0.5 0\n"
TEXTURED_PAINT = "newmtl paint\nKd 0 0 1\nmap_Kd gone.png\n"

CATALOG = r"""# a comment
id=tiny
license=Creative Commons Attribution 3.0 license  © 2003-2008 Ann Author
name#1=Bo\u00eete 5\u20ac
tags#1=Blend Swap, Crate, \
       Storage
category#1=Kitchen
icon#1=/tiny/box.png
model#1=/tiny/box/box.obj
creator#1=Bob
name#2=Turned box
tags#2=
category#2=Kitchen
icon#2=/tiny/box.png
model#2=/tiny/turned/box.obj
modelRotation#2=0 1 0 -1 0 0 0 0 1
creator#2=Ann Author
name#3=Nothing
category#3=Kitchen
icon#3=/tiny/box.png
model#3=/tiny/empty/empty.obj
name#4=Bare box
category#4=Kitchen
icon#4=/tiny/box.png
model#4=/tiny/bare/box.obj
"""


def png(color: tuple[int, ...] = (255, 0, 0), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (4, 4), color).save(buffer, "PNG")
    return buffer.getvalue()


def tiny_files() -> dict[str, bytes]:
    """Three boxes, one of them turned and one with a texture that is not there, and an object without a surface."""
    return {
        "PluginFurnitureCatalog.properties": CATALOG.encode("latin-1"),
        "LICENSE.TXT": b"see http://creativecommons.org/licenses/by/3.0/us/ for more",
        "tiny/box.png": png(),
        "tiny/box/box.obj": BOX.encode(),
        "tiny/box/box.mtl": PAINT.encode(),
        "tiny/turned/box.obj": BOX.encode(),
        "tiny/turned/box.mtl": PAINT.encode(),
        "tiny/empty/empty.obj": b"v 0 0 0\nv 1 0 0\nv 1 1 0\n",
        "tiny/bare/box.obj": BOX.encode(),
        "tiny/bare/box.mtl": TEXTURED_PAINT.encode(),
    }


def write_library(path: Path, files: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as library:
        for name, content in (tiny_files() if files is None else files).items():
            library.writestr(name, content)
    return path
