"""Small sound files of the formats that other packages read: COLLADA, 3MF, USD, LAS; and a zip file of one model."""

import io
import zipfile

import numpy as np


Folder = dict[str, bytes]
# A pyramid.
CORNERS = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0.5, 0.5, 1)])
FACES = np.array([(0, 2, 1), (0, 3, 2), (0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4)])


def further_folders(obj: Folder) -> dict[str, Folder]:
    """Every file by what it is for; those whose package is not installed are left out."""
    folders = {"3mf": {"shape.3mf": _threemf()}, "zip": {"shape.zip": zipped(obj)}}
    for write in (_dae, _usd, _las):
        try:
            folders.update(write())
        except ImportError:
            continue
    return folders


def zipped(members: Folder, packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    """With a fixed date, so that the same number always gives the same file."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content, packing)
    return archive.getvalue()


def _words(values: np.ndarray) -> str:
    return " ".join(f"{value:g}" for value in values.reshape(-1))


def _threemf() -> bytes:
    vertices = "".join(f'<vertex x="{x:g}" y="{y:g}" z="{z:g}"/>' for x, y, z in CORNERS.tolist())
    triangles = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in FACES.tolist())
    model = (
        '<?xml version="1.0"?><model unit="millimeter" '
        'xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02"><resources>'
        '<basematerials id="1"><base name="paint" displaycolor="#FF8000"/></basematerials>'
        f'<object id="2" type="model" pid="1" pindex="0"><mesh><vertices>{vertices}</vertices>'
        f"<triangles>{triangles}</triangles></mesh></object></resources>"
        '<build><item objectid="2" transform="2 0 0 0 1 0 0 0 1 3 0 0"/></build></model>'
    )
    return zipped({"3D/3dmodel.model": model.encode()})


def _dae() -> dict[str, Folder]:
    import collada  # noqa: F401

    source = (
        f'<source id="p"><float_array id="a" count="{CORNERS.size}">{_words(CORNERS)}</float_array><technique_common>'
        f'<accessor source="#a" count="{len(CORNERS)}" stride="3"><param name="X" type="float"/>'
        '<param name="Y" type="float"/><param name="Z" type="float"/></accessor></technique_common></source>'
    )
    text = (
        '<?xml version="1.0"?><COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">'
        '<asset><up_axis>Z_UP</up_axis></asset><library_effects><effect id="e"><profile_COMMON>'
        '<technique sid="c"><lambert><diffuse><color>1 0.5 0 1</color></diffuse></lambert></technique>'
        '</profile_COMMON></effect></library_effects><library_materials><material id="m"><instance_effect url="#e"/>'
        f'</material></library_materials><library_geometries><geometry id="g"><mesh>{source}'
        '<vertices id="v"><input semantic="POSITION" source="#p"/></vertices>'
        f'<triangles count="{len(FACES)}" material="paint"><input semantic="VERTEX" source="#v" offset="0"/>'
        f"<p>{_words(FACES)}</p></triangles></mesh></geometry></library_geometries><library_visual_scenes>"
        '<visual_scene id="s"><node><translate>3 0 0</translate><instance_geometry url="#g"><bind_material>'
        '<technique_common><instance_material symbol="paint" target="#m"/></technique_common></bind_material>'
        "</instance_geometry></node></visual_scene></library_visual_scenes>"
        '<scene><instance_visual_scene url="#s"/></scene></COLLADA>'
    )
    return {"dae": {"shape.dae": text.encode()}}


def _usd() -> dict[str, Folder]:
    from pxr import Sdf  # whose files in binary form are its own

    points = ", ".join(f"({x:g}, {y:g}, {z:g})" for x, y, z in CORNERS.tolist())
    text = (
        '#usda 1.0\n(\n    upAxis = "Z"\n)\ndef Xform "whole"\n{\n    double3 xformOp:translate = (3, 0, 0)\n'
        '    uniform token[] xformOpOrder = ["xformOp:translate"]\n    def Mesh "pyramid"\n    {\n'
        f"        int[] faceVertexCounts = {[3] * len(FACES)}\n        int[] faceVertexIndices = "
        f"{FACES.reshape(-1).tolist()}\n        point3f[] points = [{points}]\n"
        "        color3f[] primvars:displayColor = [(1, 0.5, 0)]\n    }\n}\n"
    )
    layer = Sdf.Layer.CreateAnonymous(".usda")
    layer.ImportFromString(text)
    usda = text.encode()
    return {"usda": {"shape.usda": usda}, "usdz": {"shape.usdz": zipped({"a.usda": usda}, zipfile.ZIP_STORED)}}


def _las() -> dict[str, Folder]:
    import laspy

    folders: dict[str, Folder] = {}
    for suffix in ("las", "laz"):
        header = laspy.LasHeader(version="1.2", point_format=2)
        header.scales = np.full(3, 0.001)
        file = laspy.LasData(header)
        file.x, file.y, file.z = np.tile(CORNERS, (8, 1)).T
        file.red, file.green, file.blue = (np.full(8 * len(CORNERS), value, np.uint16) for value in (65535, 32768, 0))
        data = io.BytesIO()
        file.write(data, do_compress=suffix == "laz")
        # Without the day on which it was written: the same number always gives the same file.
        written = bytearray(data.getvalue())
        written[90:94] = bytes(4)
        folders[suffix] = {f"shape.{suffix}": bytes(written)}
    return folders
