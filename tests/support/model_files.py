"""Small files of formats that packages read, written by hand, and by laspy and usd-core where they are binary."""

import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image


# A box of 1 x 2 x 3 with a corner at the origin: eight corners, and six squares that look outwards.
CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 2) for z in (0, 3)], dtype=float)
SQUARES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
TRIANGLES = [[square[i] for i in corners] for square in SQUARES for corners in ((0, 1, 2), (0, 2, 3))]
AREA = 22.0


def zipped(files: dict[str, bytes | str], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def understated(data: bytes, size: int) -> bytes:
    """A zip file of one file, of which it says that it has `size` bytes: the first of those that it has."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (member,) = archive.infolist()
        checksum = zlib.crc32(archive.read(member)[:size])
    entry = data.rindex(b"PK\1\2")
    said = struct.pack("<I4sI", checksum, data[entry + 20 : entry + 24], size)
    return data[: entry + 16] + said + data[entry + 28 :]


def run_length_bmp() -> bytes:
    """A picture of 8 x 8 pixels that begins with the code to go right by 255 and up by 255."""
    codes, palette = b"\0\2\xff\xff\0\1", bytes(range(256)) * 4
    start = 14 + 40 + len(palette)
    header = struct.pack("<2sI4xI", b"BM", start + len(codes), start)
    return header + struct.pack("<IiiHHI20x", 40, 8, 8, 1, 8, 1) + palette + codes


def ico() -> bytes:
    """An icon of 16 x 16 pixels, which holds a PNG."""
    data = io.BytesIO()
    Image.new("RGB", (16, 16), (1, 2, 3)).save(data, "ICO")
    return data.getvalue()


def numbers(values) -> str:
    return " ".join(f"{value:g}" for value in np.asarray(values).ravel())


def dae(
    up_axis: str | None = "Z_UP",
    effect: str = "<diffuse><color>1 0.5 0 1</color></diffuse>",
    inputs: str = "",
    sources: str = "",
    extra: str = "",
    node: str = "<instance_geometry url='#box'>{bind}</instance_geometry>",
    stride: int = 1,
    params: str = "",
) -> bytes:
    """The box as COLLADA, of squares; further inputs have their own offsets and the corners' own indices."""
    bind = (
        "<bind_material><technique_common><instance_material symbol='m' target='#paint'>"
        "<bind_vertex_input semantic='UVMap' input_semantic='TEXCOORD' input_set='0'/>"
        "</instance_material></technique_common></bind_material>"
    )
    corners = np.repeat(np.array(SQUARES).ravel(), stride)
    axis = f"<up_axis>{up_axis}</up_axis>" if up_axis else ""
    return f"""<?xml version="1.0" encoding="utf-8"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><created>2020-01-01T00:00:00</created><modified>2020-01-01T00:00:00</modified>{axis}</asset>
<library_images><image id="picture"><init_from>skin.png</init_from></image></library_images>
<library_effects><effect id="look"><profile_COMMON>{params}
<technique sid="common"><lambert>{effect}</lambert></technique></profile_COMMON></effect></library_effects>
<library_materials><material id="paint"><instance_effect url="#look"/></material></library_materials>
<library_geometries><geometry id="box" name="crate"><mesh>
<source id="p"><float_array id="pa" count="24">{numbers(CORNERS)}</float_array><technique_common>
<accessor source="#pa" count="8" stride="3"><param name="X" type="float"/><param name="Y" type="float"/>
<param name="Z" type="float"/></accessor></technique_common></source>{sources}
<vertices id="v"><input semantic="POSITION" source="#p"/></vertices>
<polylist material="m" count="6"><input semantic="VERTEX" source="#v" offset="0"/>{inputs}
<vcount>4 4 4 4 4 4</vcount><p>{numbers(corners)}</p></polylist></mesh></geometry></library_geometries>{extra}
<library_visual_scenes><visual_scene id="scene"><node id="n" name="crate node"><translate>10 0 0</translate>
<scale>2 1 1</scale>{node.format(bind=bind)}</node></visual_scene></library_visual_scenes>
<scene><instance_visual_scene url="#scene"/></scene></COLLADA>""".encode()


def dae_source(name: str, values, components: str) -> str:
    values = np.asarray(values, dtype=float)
    params = "".join(f"<param name='{component}' type='float'/>" for component in components)
    return (
        f"<source id='{name}'><float_array id='{name}a' count='{values.size}'>{numbers(values)}</float_array>"
        f"<technique_common><accessor source='#{name}a' count='{len(values)}' stride='{len(components)}'>{params}"
        "</accessor></technique_common></source>"
    )


MODEL_NAMESPACES = (
    'xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02" '
    'xmlns:m="http://schemas.microsoft.com/3dmanufacturing/material/2015/02" '
    'xmlns:p="http://schemas.microsoft.com/3dmanufacturing/production/2015/06"'
)
RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r" '
    'Target="/3D/3dmodel.model" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/></Relationships>'
)


def object_3mf(number: int, triangle: str = "", attributes: str = "", name: str = "crate") -> str:
    """The box as an object; `triangle` are attributes of all its triangles, with {n} for their numbers."""
    vertices = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in CORNERS)
    faces = "".join(
        f'<triangle v1="{a}" v2="{b}" v3="{c}" {triangle.format(n=n)}/>' for n, (a, b, c) in enumerate(TRIANGLES)
    )
    return (
        f'<object id="{number}" name="{name}" {attributes}><mesh><vertices>{vertices}</vertices>'
        f"<triangles>{faces}</triangles></mesh></object>"
    )


def threemf(resources: str, items: str, files: dict[str, bytes | str] | None = None) -> bytes:
    model = (
        f'<?xml version="1.0" encoding="UTF-8"?><model unit="inch" {MODEL_NAMESPACES}>'
        f"<resources>{resources}</resources><build>{items}</build></model>"
    )
    return zipped({"_rels/.rels": RELATIONS, "3D/3dmodel.model": model, **(files or {})})


def usda(body: str = "", mesh: str = "", metadata: str = 'upAxis = "Z"') -> bytes:
    """The box as text of USD, at x = 10 and twice as wide; `mesh` is said in it, `body` beside it."""
    points = ", ".join(f"({x:g}, {y:g}, {z:g})" for x, y, z in CORNERS)
    indices = ", ".join(map(str, np.array(SQUARES).ravel()))
    return f"""#usda 1.0
(
    {metadata}
)
def Xform "crate"
{{
    double3 xformOp:translate = (10, 0, 0)
    double3 xformOp:scale = (2, 1, 1)
    uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:scale"]
    def Mesh "box" (prepend apiSchemas = ["MaterialBindingAPI"])
    {{
        point3f[] points = [{points}]
        int[] faceVertexCounts = [4, 4, 4, 4, 4, 4]
        int[] faceVertexIndices = [{indices}]
        {mesh}
    }}
}}
{body}
""".encode()


def usd_material(diffuse: str, more: str = "", surface: str = "") -> str:
    """A material at /look."""
    return f"""
def Material "look"
{{
    token outputs:surface.connect = </look/surface.outputs:surface>
    def Shader "surface"
    {{
        uniform token info:id = "UsdPreviewSurface"
        color3f inputs:diffuseColor{diffuse}
        {surface}
        token outputs:surface
    }}
    {more}
}}
"""


def as_usdc(text: bytes) -> bytes:
    from pxr import Sdf

    layer = Sdf.Layer.CreateAnonymous(".usda")
    assert layer.ImportFromString(text.decode())
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.usdc"
        assert layer.Export(str(file))
        return file.read_bytes()


def las(xyz, rgb=None, compress: bool = False, withheld=None) -> bytes:
    """Points in millimetres from an offset; `rgb` as stored, uint16."""
    import laspy

    header = laspy.LasHeader(point_format=0 if rgb is None else 2, version="1.2")
    header.scales, header.offsets = np.full(3, 0.001), np.floor(np.min(xyz, axis=0))
    file = laspy.LasData(header)
    file.x, file.y, file.z = np.asarray(xyz, dtype=float).T
    if rgb is not None:
        file.red, file.green, file.blue = np.asarray(rgb, dtype=np.uint16).T
    if withheld is not None:
        file.withheld = withheld
    data = io.BytesIO()
    file.write(data, do_compress=compress)
    return data.getvalue()
