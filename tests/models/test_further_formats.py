"""COLLADA, 3MF, USD, LAS and zip files of one model: where things are, which colour they have, and what is refused."""

import io
import sys
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image
from support.model_files import (
    AREA,
    CORNERS,
    TRIANGLES,
    as_usdc,
    dae,
    dae_source,
    las,
    object_3mf,
    threemf,
    understated,
    usd_material,
    usda,
    zipped,
)
from support.paths import ROOT

from mrd_hf.models import polygons, shape_limits
from mrd_hf.models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from mrd_hf.models.polygons import cut_holes
from mrd_hf.models.shape_files import colored_points, read_shape
from mrd_hf.models.shape_suffixes import SHAPE_SUFFIXES
from mrd_hf.models.shapes import PointCloud
from mrd_hf.models.zip_members import ZipMembers
from mrd_hf_cli.parser import DESCRIPTION


# The box of 1 x 2 x 3, twice as wide and at x = 10: 2 x (2 x 2 + 2 x 3 + 2 x 3).
PLACED_AREA = 32.0
ORANGE = (255, 128, 0)
LINEAR_ORANGE = "(1, 0.21586, 0)"  # ((128 / 255 + 0.055) / 1.055) ** 2.4


def picture(*columns, mode: str = "RGB") -> bytes:
    """A PNG of one pixel a colour, side by side."""
    image = Image.new(mode, (len(columns), 1))
    image.putdata(columns)
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def read(folder, name, data, **choice):
    (folder / name).write_bytes(data)
    return read_shape(folder / name, **choice)


def facts(shape):
    """Bounding box, area, and mean colour by points of the surface."""
    corners = np.concatenate([part.triangles.reshape(-1, 3) for part in shape.parts])
    xyz, rgb = colored_points(shape, 4000)
    color = None if rgb is None else tuple(np.round(rgb.mean(axis=0)).astype(int).tolist())
    area = sum(float(part.areas.sum()) for part in shape.parts)
    return np.round([corners.min(axis=0), corners.max(axis=0)], 5).tolist(), pytest.approx(area, rel=1e-5), color


PLACED = [[10, 0, 0], [12, 2, 3]]
MATERIAL_3MF = '<basematerials id="1"><base name="paint" displaycolor="#FF8000"/></basematerials>'
BUILT = '<item objectid="2" transform="2 0 0 0 1 0 0 0 1 10 0 0"/>'
BOXES = {
    "a.dae": lambda: dae(),
    "a.3mf": lambda: threemf(MATERIAL_3MF + object_3mf(2, 'pid="1" p1="0"'), BUILT),
    "a.usda": lambda: usda(usd_material(f" = {LINEAR_ORANGE}"), "rel material:binding = </look>"),
    "a.usdc": lambda: as_usdc(BOXES["a.usda"]()),
    "text.usd": lambda: BOXES["a.usda"](),
    "binary.usd": lambda: BOXES["a.usdc"](),
    "a.usdz": lambda: zipped({"a.usdc": BOXES["a.usdc"]()}, 0),
    "a.zip": lambda: zipped({"model/A.DAE": BOXES["a.dae"](), "__MACOSX/model/._a.dae": "x", "readme.txt": "box"}),
}


@pytest.mark.parametrize("name", BOXES)
def test_a_box_in_its_place_in_its_colour_and_the_right_way_up(tmp_path, name):
    shape = read(tmp_path, name, BOXES[name]())
    assert facts(shape) == (PLACED, PLACED_AREA, ORANGE)
    assert shape.up_axis == "z" and shape.warnings == []
    assert {part.color_source for part in shape.parts} == {"material"}
    # Z up is turned to y up: what was 3 high is along y, and what faced -y faces +z.
    extractor = PointCloudFeatureExtractor(num_points=4000, normalize=False)
    values = extractor(tmp_path / name, return_tensors="np")["point_values"][0]
    np.testing.assert_allclose(np.ptp(values[:, :3], axis=0), [2, 3, 2], atol=0.02)
    assert values[:, 2].max() < 0.001
    as_it_is = extractor(tmp_path / name, up_axis="y", return_tensors="np")["point_values"][0]
    np.testing.assert_allclose(np.ptp(as_it_is[:, :3], axis=0), [2, 2, 3], atol=0.02)


@pytest.mark.parametrize("name", BOXES)
def test_damaged_files_are_one_error_that_names_them(tmp_path, name):
    whole = BOXES[name]()
    for data in (whole[: len(whole) // 2], whole[:10], b"", b"\0" * 200, b"<a>" * 200_000):
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            read(tmp_path, name, data)


@pytest.mark.parametrize(
    ("name", "package"), [("a.dae", "collada"), ("a.usda", "pxr"), ("a.usdz", "pxr"), ("a.las", "laspy")]
)
def test_a_missing_package_is_an_error_that_says_what_to_install(tmp_path, monkeypatch, name, package):
    data = las(CORNERS) if name == "a.las" else BOXES[name]()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"{name}: .*pip install 'mrd-hf\[formats\]'"):
        read(tmp_path, name, data)


@pytest.mark.parametrize("name", ["a.3mf", "a.usdz", "a.zip"])
def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, name):
    inner = {"a.3mf": "3D/3dmodel.model", "a.usdz": "a.usda", "a.zip": "a.obj"}[name]
    bomb = zipped({inner: b"#" + b" " * 10_000_000})
    monkeypatch.setattr(shape_limits, "HARMLESS_BYTES", 2**20)
    with pytest.raises(ValueError, match=f"{name}: .*once unpacked"):
        read(tmp_path, name, bomb)


ENTITIES = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_in_any_encoding(tmp_path, encoding):
    head, _, rest = dae().decode().partition("?>")
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n<!-- a -->{ENTITIES}{rest}'.encode(encoding)
    with pytest.raises(ValueError, match="document type"):
        read(tmp_path, "a.dae", text)
    model = f'<?xml version="1.0" encoding="{encoding}"?>{ENTITIES}<model/>'.encode(encoding)
    with pytest.raises(ValueError, match="document type"):
        read(tmp_path, "a.3mf", zipped({"3D/3dmodel.model": model}))


# COLLADA


@pytest.mark.parametrize(
    ("said", "up_axis", "low", "high"),
    [
        ("Z_UP", "z", [10, 0, 0], [12, 2, 3]),
        ("Y_UP", "y", [10, 0, 0], [12, 2, 3]),
        (None, "y", [10, 0, 0], [12, 2, 3]),  # the standard's default
        ("X_UP", "y", [-2, 10, 0], [0, 12, 3]),  # x up, -y to the right
    ],
)
def test_the_up_axis_of_collada(tmp_path, said, up_axis, low, high):
    shape = read(tmp_path, "a.dae", dae(said))
    assert shape.up_axis == up_axis and facts(shape)[0] == [low, high]


TEXTURE = {
    "effect": "<diffuse><texture texture='sampler' texcoord='UVMap'/></diffuse>",
    "params": "<newparam sid='surface'><surface type='2D'><init_from>picture</init_from></surface></newparam>"
    "<newparam sid='sampler'><sampler2D><source>surface</source><wrap_s>CLAMP</wrap_s></sampler2D></newparam>",
    "inputs": "<input semantic='TEXCOORD' source='#uv' offset='1' set='0'/>",
    "stride": 2,
}


def test_textures_of_collada(tmp_path):
    (tmp_path / "skin.png").write_bytes(picture((10, 200, 30), (0, 0, 255)))
    # Beyond the left edge, where clamping shows the first column and repeating the second.
    coordinates = dae_source("uv", np.tile([[-0.25, 0.5]], (8, 1)), "ST")
    shape = read(tmp_path, "a.dae", dae(sources=coordinates, **TEXTURE))
    assert facts(shape) == (PLACED, PLACED_AREA, (10, 200, 30))
    assert shape.parts[0].color_source == "texture" and shape.parts[0].wrap == ("clamp", "repeat")
    (tmp_path / "skin.png").unlink()
    assert read(tmp_path, "a.dae", dae(sources=coordinates, **TEXTURE)).warnings == ["file not found: skin.png"]


def test_parts_of_collada_share_a_texture_that_counts_once_more_as_an_opaque_one(tmp_path, monkeypatch):
    (tmp_path / "skin.png").write_bytes(picture((10, 200, 30, 0), (0, 0, 255, 128), mode="RGBA"))
    coordinates = dae_source("uv", np.zeros((8, 2)), "ST")
    twice = "<instance_geometry url='#box'>{bind}</instance_geometry>" * 2
    data = dae(sources=coordinates, node=twice, **TEXTURE)
    monkeypatch.setitem(shape_limits.ALLOWANCES, "texels", shape_limits.Allowance(4, 0))
    first, second = read(tmp_path, "a.dae", data).parts
    assert first.texture is second.texture
    assert first.texture.tolist() == [[[10, 200, 30, 255], [0, 0, 255, 255]]]
    monkeypatch.setitem(shape_limits.ALLOWANCES, "texels", shape_limits.Allowance(3, 0))
    with pytest.raises(ValueError, match=r"a\.dae: .*4 texels; at most 3"):
        read(tmp_path, "a.dae", data)


def test_only_files_of_its_own_folder_are_opened(tmp_path):
    (tmp_path / "skin.png").write_bytes(picture((10, 200, 30)))
    (tmp_path / "sub").mkdir()
    coordinates = dae_source("uv", np.zeros((8, 2)), "ST")
    for named in ("../skin.png", "file:///etc/passwd", str(tmp_path / "skin.png")):
        data = dae(sources=coordinates, **TEXTURE).replace(b"skin.png", named.encode())
        shape = read(tmp_path / "sub", "a.dae", data)
        assert facts(shape)[2] is None and len(shape.warnings) == 1


def test_vertex_colors_of_collada(tmp_path):
    colors = dae_source("c", np.tile([[0, 0, 1, 1]], (8, 1)), "RGBA")
    shape = read(
        tmp_path,
        "a.dae",
        dae(sources=colors, inputs="<input semantic='COLOR' source='#c' offset='1'/>", stride=2),
    )
    assert facts(shape)[2] == (0, 0, 255) and shape.parts[0].color_source == "vertex colours"


def test_a_colour_that_collada_does_not_say_is_none(tmp_path):
    assert facts(read(tmp_path, "a.dae", dae(effect="")))[2] is None


@pytest.mark.parametrize("beside", [b"", b"<p>0 0 1 1 2 2 3 3</p>"], ids=["alone", "beside others"])
def test_polygons_with_holes_of_collada(tmp_path, beside):
    # A square of 4 in x and z, of which two squares of 1 are missing; a texture that it shows once.
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    rings = [4 * square, square + (0.5, 0.5), square[::-1] + (2.5, 1.5)]
    flat = np.concatenate(rings)
    sources = dae_source("q", np.insert(flat, 1, 7, axis=1), "XYZ") + dae_source("uvs", flat / 4, "ST")
    corners = [" ".join(f"{i} {i}" for i in range(4 * n, 4 * n + 4)) for n in range(3)]
    holed = f"<ph><p>{corners[0]}</p><h>{corners[1]}</h><h>{corners[2]}</h></ph>".encode()
    data = dae(up_axis=None, sources=sources, effect=TEXTURE["effect"], params=TEXTURE["params"])
    data = data.replace(b'semantic="POSITION" source="#p"', b'semantic="POSITION" source="#q"')
    inputs = b'<input semantic="VERTEX" source="#v" offset="0"/><input semantic="TEXCOORD" source="#uvs" offset="1"/>'
    start, end = data.index(b"<polylist"), data.index(b"</polylist>") + len(b"</polylist>")
    data = data[:start] + b'<polygons material="m" count="1">' + inputs + beside + holed + b"</polygons>" + data[end:]
    (tmp_path / "skin.png").write_bytes(picture((255, 0, 0), (0, 0, 255)))
    shape = read(tmp_path, "a.dae", data)
    assert shape.warnings == []
    xyz, rgb = colored_points(shape, 4000)
    place = (xyz[:, [0, 2]] - (10, 0)) / (2, 1)  # as before the node's transform
    assert sum(part.areas.sum() for part in shape.parts) == pytest.approx(2 * (16 * len(beside[:1]) + 16 - 1 - 1))
    if not beside:
        for low in (0.5, 0.5), (2.5, 1.5):
            assert not ((place > low) & (place < np.add(low, 1))).all(axis=1).any()
    clear = np.abs(place[:, 0] - 2) > 1e-3
    assert (rgb[clear, 0] == np.where(place[clear, 0] < 2, 255, 0)).all()


def test_holes_that_cannot_be_cut_are_filled_and_said(monkeypatch):
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=float)
    warnings: list[str] = []
    assert cut_holes([square, square * np.nan], warnings).tolist() == [[0, 1, 2], [0, 2, 3]]
    monkeypatch.setattr(polygons, "MAX_CORNERS", 7)
    assert cut_holes([square, square / 2], warnings).tolist() == [[0, 1, 2], [0, 2, 3]]
    assert warnings == [
        "holes of polygons filled: they cannot be cut",
        "holes of polygons filled: of more than 7 corners",
    ]


def test_nodes_of_nodes_skins_and_circles_of_collada(tmp_path):
    library = (
        "<library_nodes><node id='two'><rotate>0 0 1 90</rotate><instance_geometry url='#box'/></node></library_nodes>"
    )
    shape = read(tmp_path, "a.dae", dae(extra=library, node="<node id='in'><instance_node url='#two'/></node>"))
    # Turned a quarter about z, then twice as wide, then at x = 10.
    assert facts(shape)[:2] == ([[6, 0, 0], [10, 1, 3]], 2 * (4 * 1 + 4 * 3 + 1 * 3))
    skin = (
        "<library_controllers><controller id='skin'><skin source='#box'><bind_shape_matrix>1 0 0 5 0 1 0 0 0 0 1 0 "
        "0 0 0 1</bind_shape_matrix>"
        "<source id='j'><Name_array id='ja' count='1'>bone</Name_array><technique_common><accessor source='#ja' "
        "count='1' stride='1'><param name='JOINT' type='name'/></accessor></technique_common></source>"
        "<source id='b'><float_array id='ba' count='16'>1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1</float_array>"
        "<technique_common><accessor source='#ba' count='1' stride='16'><param name='TRANSFORM' type='float4x4'/>"
        "</accessor></technique_common></source>"
        "<source id='w'><float_array id='wa' count='1'>1</float_array><technique_common><accessor source='#wa' "
        "count='1' stride='1'><param name='WEIGHT' type='float'/></accessor></technique_common></source>"
        "<joints><input semantic='JOINT' source='#j'/><input semantic='INV_BIND_MATRIX' source='#b'/></joints>"
        "<vertex_weights count='8'><input semantic='JOINT' source='#j' offset='0'/><input semantic='WEIGHT' "
        "source='#w' offset='1'/><vcount>1 1 1 1 1 1 1 1</vcount><v>0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0</v>"
        "</vertex_weights></skin></controller></library_controllers>"
    )
    shape = read(
        tmp_path, "a.dae", dae(extra=skin, node="<instance_controller url='#skin'>{bind}</instance_controller>")
    )
    assert facts(shape) == ([[5, 0, 0], [6, 2, 3]], AREA, ORANGE)
    assert shape.warnings == ["skinned meshes are read as they were bound, not as their bones stand"]
    deep = "<node>" * 3000 + "</node>" * 3000
    with pytest.raises(ValueError, match=r"a\.dae: .*nested"):
        read(tmp_path, "a.dae", dae(node=deep))


def test_collada_that_names_what_is_not_there_is_damaged(tmp_path):
    with pytest.raises(ValueError, match=r"a\.dae: "):
        read(tmp_path, "a.dae", dae().replace(b"<p>0 ", b"<p>99 "))
    with pytest.raises(ValueError, match="zip file"):
        read(tmp_path, "a.dae", dae() + zipped({"a.dae": dae()}))


def test_collision_meshes_by_the_names_of_all_formats(tmp_path):
    for name, old, new in (
        ("a.dae", b'name="crate node"', b'name="UCX_crate"'),
        ("a.usda", b'"crate"', b'"colliders"'),
        ("a.3mf", b"", b""),
    ):
        data = BOXES[name]().replace(old, new)
        if name == "a.3mf":
            boxes = object_3mf(2, name="a-col") + object_3mf(3, name="seat")
            data = threemf(boxes, '<item objectid="2"/><item objectid="3"/>')
        shape = read(tmp_path, name, data)
        (warning,) = shape.warnings
        assert len(shape.parts) == 1 and ("left out: a-col" if name == "a.3mf" else "nothing but") in warning
        assert len(read(tmp_path, name, data, keep_collision=True).parts) == (2 if name == "a.3mf" else 1)


# 3MF


def test_colours_and_textures_of_3mf(tmp_path):
    group = '<m:colorgroup id="1"><m:color color="#FF0000FF"/><m:color color="#0000FF"/></m:colorgroup>'
    by_corner = threemf(group + object_3mf(2, 'pid="1" p1="0" p2="1" p3="1"'), '<item objectid="2"/>')
    shape = read(tmp_path, "a.3mf", by_corner)
    assert facts(shape)[:2] == ([[0, 0, 0], [1, 2, 3]], AREA)
    assert shape.parts[0].corner_colors[0].tolist() == [[255, 0, 0], [0, 0, 255], [0, 0, 255]]
    # Of the object, unless a triangle has its own.
    mixed = object_3mf(2, attributes='pid="1" pindex="1"').replace('v3="3" />', 'v3="3" pid="1" p1="0"/>', 1)
    colors = read(tmp_path, "a.3mf", threemf(group + mixed, '<item objectid="2"/>')).parts[0].corner_colors
    assert colors[0, 0].tolist() == [255, 0, 0] and (colors[1:] == [0, 0, 255]).all()
    texture = (
        '<m:texture2d id="5" path="/3D/Textures/skin.png" contenttype="image/png" tilestyleu="clamp"/>'
        '<m:texture2dgroup id="6" texid="5"><m:tex2coord u="-0.25" v="0.5"/></m:texture2dgroup>'
    )
    files = {"3D/Textures/skin.png": picture((10, 200, 30), (0, 0, 255))}
    data = threemf(texture + object_3mf(2, 'pid="6" p1="0"'), '<item objectid="2"/>', files)
    shape = read(tmp_path, "a.3mf", data)
    assert facts(shape)[2] == (10, 200, 30) and shape.parts[0].color_source == "texture"
    shape = read(tmp_path, "a.3mf", threemf(texture + object_3mf(2, 'pid="6" p1="0"'), '<item objectid="2"/>'))
    assert shape.warnings == ["file not found: 3D/Textures/skin.png"] and facts(shape)[2] is None
    assert facts(read(tmp_path, "a.3mf", threemf(object_3mf(2), '<item objectid="2"/>')))[2] is None


def test_3mf_whose_triangles_name_no_colour_or_one_that_is_not_there(tmp_path):
    group = '<m:colorgroup id="1"><m:color color="#FF0000"/><m:color color="#0000FF"/></m:colorgroup>'
    built = '<item objectid="2"/>'
    for box in (object_3mf(2, attributes='pid="1"'), object_3mf(2, 'pid="1"')):
        shape = read(tmp_path, "a.3mf", threemf(group + box, built))
        assert facts(shape) == ([[0, 0, 0], [1, 2, 3]], AREA, (255, 0, 0))
        assert shape.warnings == ["the first of group 1 is taken where a triangle names no entry of it"]
    # Of one triangle a corner's colour is not there; the others keep theirs.
    box = object_3mf(2, 'pid="1" p1="1"').replace('p1="1"', 'p1="1" p2="7"', 1)
    shape = read(tmp_path, "a.3mf", threemf(group + box, built))
    assert sum(part.areas.sum() for part in shape.parts) == AREA
    assert [(len(part.triangles), part.color_source) for part in shape.parts] == [(11, "material"), (1, None)]
    assert (shape.parts[0].corner_colors == [0, 0, 255]).all()
    assert shape.warnings == ["colours left out: 1 triangles name entries that group 1 lacks (it has 2)"]
    shape = read(tmp_path, "a.3mf", threemf(group + object_3mf(2, 'pid="1" p1="7"'), built))
    assert facts(shape) == ([[0, 0, 0], [1, 2, 3]], AREA, None)
    shape = read(tmp_path, "a.3mf", threemf(group + object_3mf(2, 'pid="5" p1="0"'), built))
    assert facts(shape) == ([[0, 0, 0], [1, 2, 3]], AREA, None)
    assert shape.warnings == ["colours of group 5 left out"]


def test_many_parts_of_3mf_with_colours_of_one_large_group_are_read_in_time(tmp_path):
    group = '<m:colorgroup id="1">' + '<m:color color="#FF0000"/>' * 50_000 + "</m:colorgroup>"
    data = threemf(group + object_3mf(2, 'pid="1" p1="49999"'), '<item objectid="2"/>' * 300)
    start = time.process_time()
    shape = read(tmp_path, "a.3mf", data)
    assert time.process_time() - start < 3
    assert len(shape.parts) == 300 and all((part.corner_colors == [255, 0, 0]).all() for part in shape.parts)


def test_what_3mf_builds_is_read_where_it_is_built(tmp_path):
    component = '<component objectid="2" transform="1 0 0 0 1 0 0 0 1 5 0 0"/>'
    moved = f'<object id="4"><components>{component}</components></object>'
    turned = '<item objectid="4" transform="0 1 0 -1 0 0 0 0 1 0 0 7"/>'  # x to y, y to -x, then up
    data = threemf(object_3mf(2) + object_3mf(3, name="not built") + moved, turned)
    shape = read(tmp_path, "a.3mf", data)
    assert facts(shape)[:2] == ([[-2, 5, 7], [0, 6, 10]], AREA)
    supported = object_3mf(2) + object_3mf(3, attributes='type="support"')
    shape = read(tmp_path, "a.3mf", threemf(supported, '<item objectid="2"/><item objectid="3"/>'))
    assert len(shape.parts) == 1 and shape.warnings == ["supports left out"]
    # In a file of its own, as slicers write it.
    other = threemf(object_3mf(9), "")
    model = zipfile.ZipFile(io.BytesIO(other)).read("3D/3dmodel.model")
    data = threemf("", '<item objectid="9" p:path="/3D/Objects/o.model"/>', {"3D/Objects/o.model": model})
    assert facts(read(tmp_path, "a.3mf", data))[:2] == ([[0, 0, 0], [1, 2, 3]], AREA)


EXTENSIONS_3MF = {
    "slicestack": (
        "http://schemas.microsoft.com/3dmanufacturing/slice/2015/07",
        '<x:slicestack id="7"><x:slice ztop="1"><x:vertices><x:vertex x="0" y="0"/></x:vertices>'
        '<x:polygon startv="0"><x:segment v2="0"/></x:polygon></x:slice></x:slicestack>',
    ),
    "volumedata": (
        "http://schemas.3mf.io/3dmanufacturing/volumetric/2022/01",
        '<x:volumedata id="8"><x:color functionid="3"/></x:volumedata>',
    ),
    "beamlattice": (
        "http://schemas.microsoft.com/3dmanufacturing/beamlattice/2017/02",
        '<x:beamlattice><x:beams><x:beam v1="0" v2="1"/></x:beams></x:beamlattice>',
    ),
}


@pytest.mark.parametrize("name", EXTENSIONS_3MF)
@pytest.mark.parametrize("place", ["before", "within", "after"])
def test_extensions_of_3mf_that_have_elements_of_the_same_names_are_left_out(tmp_path, name, place):
    space, text = EXTENSIONS_3MF[name]
    text = text.replace(f"<x:{name}", f'<x:{name} xmlns:x="{space}"', 1)
    box = MATERIAL_3MF + object_3mf(2, 'pid="1" p1="0"')
    resources = {
        "before": text + box,
        "within": box.replace("</vertices>", f"</vertices>{text}"),
        "after": box + text,
    }[place]
    shape = read(tmp_path, "a.3mf", threemf(resources, BUILT))
    assert facts(shape) == (PLACED, PLACED_AREA, ORANGE) and shape.warnings == [f"{name} left out"]


def test_3mf_of_no_namespace_another_or_what_is_displaced(tmp_path):
    core = 'xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02"'
    data = BOXES["a.3mf"]()
    model = zipfile.ZipFile(io.BytesIO(data)).read("3D/3dmodel.model").decode()
    assert core in model
    displacement = "http://schemas.3mf.io/3dmanufacturing/displacement/2023/10"
    displaced = model.replace("<mesh>", f'<d:displacementmesh xmlns:d="{displacement}">')
    displaced = displaced.replace("</mesh>", "</d:displacementmesh>")
    for each in ("vertices", "vertex", "triangles", "triangle"):
        displaced = displaced.replace(f"<{each} ", f"<d:{each} ").replace(f"<{each}>", f"<d:{each}>")
        displaced = displaced.replace(f"</{each}>", f"</d:{each}>")
    for changed in (model.replace(core, ""), model.replace(core, 'xmlns="urn:older"'), displaced):
        shape = read(tmp_path, "a.3mf", zipped({"3D/3dmodel.model": changed}))
        assert facts(shape) == (PLACED, PLACED_AREA, ORANGE) and shape.warnings == []


@pytest.mark.parametrize("name", ["3D/3dmodel.model", "_rels/.rels"])
def test_many_xml_elements_of_few_bytes_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.setitem(shape_limits.ALLOWANCES, "XML elements", shape_limits.Allowance(60_000, 6))
    with zipfile.ZipFile(io.BytesIO(BOXES["a.3mf"]())) as archive:
        files = {each: archive.read(each).decode() for each in archive.namelist()}
    end = files[name].rindex("</")
    for count in (59_000, 61_000):
        data = zipped({**files, name: files[name][:end] + "<a/>" * count + files[name][end:]})
        if count == 59_000:
            assert read(tmp_path, "a.3mf", data).parts
            continue
        with pytest.raises(ValueError, match=r"a\.3mf: .*\d\d,\d\d\d XML elements"):
            read(tmp_path, "a.3mf", data)


def test_3mf_that_is_not_as_it_should_be(tmp_path, monkeypatch):
    circle = '<object id="4"><components><component objectid="4"/><component objectid="4"/></components></object>'
    for data, message in (
        (threemf(circle, '<item objectid="4"/>'), "of themselves"),
        (threemf(object_3mf(2), '<item objectid="3"/>'), "no object 3"),
        (threemf(object_3mf(2), ""), "no item"),
        (threemf(object_3mf(2).replace('v1="0"', 'v1="8"', 1), '<item objectid="2"/>'), "vertex that does not exist"),
        (threemf(object_3mf(2).replace('v1="0"', 'v1="-1"', 1), '<item objectid="2"/>'), "out of bounds"),
        (threemf(object_3mf(2).replace('x="0', 'y="0', 1), '<item objectid="2"/>'), "damaged XML"),
        (threemf(MATERIAL_3MF.replace("#FF8000", "orange"), ""), "expected #RRGGBB"),
        (zipped({"a.txt": ""}), "no 3MF file"),
    ):
        with pytest.raises(ValueError, match=rf"a\.3mf: .*{message}"):
            read(tmp_path, "a.3mf", data)
    monkeypatch.setitem(shape_limits.ALLOWANCES, "faces", shape_limits.Allowance(len(TRIANGLES) + 1, 0))
    assert read(tmp_path, "a.3mf", threemf(object_3mf(2), '<item objectid="2"/>')).parts
    with pytest.raises(ValueError, match=r"a\.3mf: .*24 faces; at most 13 are read"):
        read(tmp_path, "a.3mf", threemf(object_3mf(2), '<item objectid="2"/>' * 2))


# LAS


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("stored", "read_as"),
    [
        ([[65535, 32896, 0], [257, 0, 65535]], [[255, 128, 0], [1, 0, 255]]),
        ([[255, 128, 0], [1, 0, 255]], [[255, 128, 0], [1, 0, 255]]),  # bytes in fields of 16 bits
        ([[256, 128, 0], [1, 0, 255]], [[1, 0, 0], [0, 0, 1]]),  # one beyond a byte
        ([[0, 0, 0], [0, 0, 0]], None),
        (None, None),
    ],
)
def test_laser_scans(tmp_path, compress, stored, read_as):
    xyz = np.array([[500_000.125, 4_000_000.25, 100.5], [500_001.0, 4_000_000.0, 103.0]])
    cloud = read(tmp_path, "a.laz" if compress else "a.las", las(xyz, stored, compress))
    assert isinstance(cloud, PointCloud) and cloud.up_axis == "z" and cloud.warnings == []
    assert cloud.points.xyz.dtype == np.float64
    np.testing.assert_allclose(cloud.points.xyz, xyz, atol=1e-6, rtol=0)
    assert (None if cloud.points.rgb is None else cloud.points.rgb.tolist()) == read_as
    assert cloud.color_source == (None if read_as is None else "vertex colours")


def test_points_of_a_scan_that_are_withheld_are_left_out(tmp_path):
    cloud = read(tmp_path, "a.las", las(CORNERS, withheld=[0, 0, 0, 0, 0, 0, 1, 1]))
    assert len(cloud.points.xyz) == 6 and cloud.warnings == ["2 of 8 points left out: withheld"]


def test_damaged_scans(tmp_path, monkeypatch):
    many = np.random.default_rng(0).random((3000, 3))
    for name, whole in (("a.las", las(many)), ("a.laz", las(many, compress=True))):
        for data in (whole[: len(whole) // 2], whole[:100], b"LASF", b""):
            with pytest.raises(ValueError, match=rf"{name}: "):
                read(tmp_path, name, data)
        promise = whole[:107] + (2_000_000_000).to_bytes(4, "little") + whole[111:]  # the number of points
        with pytest.raises(ValueError, match=rf"{name}: .*(once unpacked|cut off|at most)"):
            read(tmp_path, name, promise)
    records = whole[:100] + (2**32 - 1).to_bytes(4, "little") + whole[104:]
    table = int.from_bytes(whole[321:329], "little")
    chunks = whole[: table + 4] + (2**32 - 1).to_bytes(4, "little") + whole[table + 8 :]
    for data in (records, chunks):  # laspy would look for them for minutes, and lazrs end the process
        with pytest.raises(ValueError, match=r"a\.laz: damaged: 4,294,967,295"):
            read(tmp_path, "a.laz", data)
    laspy = pytest.importorskip("laspy")
    monkeypatch.setattr(laspy.LazBackend, "is_available", lambda backend: False)
    with pytest.raises(ValueError, match=r"LAZ needs lazrs: pip install 'mrd-hf\[formats\]'"):
        read(tmp_path, "a.laz", whole)


# USD

TEXTURED = usd_material(
    ".connect = </look/skin.outputs:rgb>",
    """def Shader "skin" {
        uniform token info:id = "UsdUVTexture"
        asset inputs:file = @textures/skin.png@
        token inputs:wrapS = "clamp"
        float4 inputs:scale = (1, 1, 1, 1)
        float2 inputs:st.connect = </look/moved.outputs:result>
        float3 outputs:rgb
        float outputs:a
    }
    def Shader "moved" {
        uniform token info:id = "UsdTransform2d"
        float2 inputs:in.connect = </look/reader.outputs:result>
        float2 inputs:translation = (-1, 0)
        float2 outputs:result
    }
    def Shader "reader" {
        uniform token info:id = "UsdPrimvarReader_float2"
        string inputs:varname = "UVMap"
        float2 outputs:result
    }""",
)
BOUND = "rel material:binding = </look>\n"
COORDINATES = 'texCoord2f[] primvars:UVMap = [(0.75, 0.5)] (interpolation = "constant")'


@pytest.mark.parametrize("binary", [False, True])
def test_textures_of_usd_in_a_folder_and_in_a_package(tmp_path, binary):
    scene = usda(TEXTURED, BOUND + COORDINATES)
    scene = as_usdc(scene) if binary else scene
    skin = picture((10, 200, 30), (0, 0, 255))  # 0.75 - 1 is beyond the left edge, where the first column is
    (tmp_path / "textures").mkdir()
    (tmp_path / "textures" / "skin.png").write_bytes(skin)
    kind = "usdc" if binary else "usda"
    package = zipped({f"a.{kind}": scene, "textures/skin.png": skin}, 0)
    for name, data in ((f"a.{kind}", scene), ("a.usdz", package)):
        shape = read(tmp_path, name, data)
        assert facts(shape) == (PLACED, PLACED_AREA, (10, 200, 30)) and shape.warnings == []
        assert shape.parts[0].color_source == "texture"
    (tmp_path / "textures" / "skin.png").unlink()
    assert read(tmp_path, f"a.{kind}", scene).warnings == ["file not found: textures/skin.png"]


def test_materials_of_usd_share_a_texture_and_what_they_make_of_it_counts(tmp_path, monkeypatch):
    (tmp_path / "textures").mkdir()
    (tmp_path / "textures" / "skin.png").write_bytes(picture((10, 200, 30, 0), (0, 0, 255, 128), mode="RGBA"))
    subset = (
        'def GeomSubset "front" (prepend apiSchemas = ["MaterialBindingAPI"])\n{\n'
        'uniform token familyName = "materialBind"\nuniform token elementType = "face"\n'
        "int[] indices = [0, 1]\nrel material:binding = </other>\n}\n"
    )

    def scene(other):
        other = other.replace("/look", "/other").replace('"look"', '"other"')
        return usda(TEXTURED + other, BOUND + COORDINATES + "\n" + subset)

    monkeypatch.setitem(shape_limits.ALLOWANCES, "texels", shape_limits.Allowance(4, 0))
    first, second = read(tmp_path, "a.usda", scene(TEXTURED)).parts
    assert first.texture is second.texture
    assert first.texture.tolist() == [[[10, 200, 30, 255], [0, 0, 255, 255]]]
    opacity = "token outputs:surface\nfloat inputs:opacity.connect = </look/skin.outputs:a>\n"
    cut = TEXTURED.replace("token outputs:surface\n", opacity, 1)
    raw = TEXTURED.replace("token inputs:wrapS", 'token inputs:sourceColorSpace = "raw"\ntoken inputs:wrapS')
    # As linear light, 10 is (1.055 * (10 / 255) ** (1 / 2.4) - 0.055) * 255 = 56.
    for other, shown in ((cut, [10, 200, 30, 0]), (raw, [56, 229, 96, 255])):
        monkeypatch.setitem(shape_limits.ALLOWANCES, "texels", shape_limits.Allowance(6, 0))
        found = {str(part.texture.tolist()) for part in read(tmp_path, "a.usda", scene(other)).parts}
        assert found == {str([[shown, [0, 0, 255, 255]]]), str(first.texture.tolist())}
        monkeypatch.setitem(shape_limits.ALLOWANCES, "texels", shape_limits.Allowance(5, 0))
        with pytest.raises(ValueError, match=r"a\.usda: .*6 texels; at most 5"):
            read(tmp_path, "a.usda", scene(other))


def test_the_scale_of_a_texture_multiplies_in_linear_light(tmp_path):
    (tmp_path / "textures").mkdir()
    (tmp_path / "textures" / "skin.png").write_bytes(picture((255, 255, 255)))
    scene = usda(TEXTURED.replace("(1, 1, 1, 1)", "(1, 0.21586, 0, 1)"), BOUND + COORDINATES)
    assert facts(read(tmp_path, "a.usda", scene))[2] == ORANGE


@pytest.mark.parametrize(
    ("primvar", "color"),
    [
        ('color3f[] primvars:displayColor = [(1, 0.21586, 0)] (interpolation = "constant")', ORANGE),
        (
            "color3f[] primvars:displayColor = [" + ", ".join([LINEAR_ORANGE] * 8) + '] (interpolation = "vertex")',
            ORANGE,
        ),
        (
            # Two of six squares, those of 2 x 3, in red: 12 of 32.
            'color3f[] primvars:displayColor = [(1, 0, 0), (0, 0, 1)] (interpolation = "uniform")\n'
            "int[] primvars:displayColor:indices = [0, 0, 1, 1, 1, 1]",
            (255 * 12 / 32, 0, 255 * 20 / 32),
        ),
        (
            "color3f[] primvars:displayColor = ["
            + ", ".join(["(0, 0, 1)"] * 24)
            + '] (interpolation = "faceVarying")',
            (0, 0, 255),
        ),
        ('color3f[] primvars:displayColor = [(1, 0, 0)] (interpolation = "vertex")', None),
        ("", None),
    ],
)
def test_display_colours_of_usd(tmp_path, primvar, color):
    shape = read(tmp_path, "a.usda", usda(mesh=primvar))
    found = facts(shape)[2]
    assert (found is None) == (color is None)
    if color is not None:
        np.testing.assert_allclose(found, color, atol=6)
    assert shape.warnings == (
        ["displayColor of box left out: 1 values do not fit its vertex"] if "[(1, 0, 0)]" in primvar else []
    )


def test_parts_of_a_mesh_with_materials_of_their_own(tmp_path):
    subset = (
        'def GeomSubset "front" (prepend apiSchemas = ["MaterialBindingAPI"])\n{\n'
        'uniform token familyName = "materialBind"\nuniform token elementType = "face"\n'
        f"int[] indices = [0, 1]\n{BOUND}}}\n"
    )
    blue = 'color3f[] primvars:displayColor = [(0, 0, 1)] (interpolation = "constant")\n'
    shape = read(tmp_path, "a.usda", usda(usd_material(" = (1, 0, 0)"), blue + subset))
    assert [(part.color_source, len(part.triangles)) for part in shape.parts] == [
        ("material", 4),
        ("vertex colours", 8),
    ]
    np.testing.assert_allclose(facts(shape)[2], (255 * 12 / 32, 0, 255 * 20 / 32), atol=6)


@pytest.mark.parametrize(("metadata", "up_axis"), [('upAxis = "Z"', "z"), ('upAxis = "Y"', "y"), ('doc = ""', "y")])
def test_the_up_axis_of_usd(tmp_path, metadata, up_axis):
    assert read(tmp_path, "a.usda", usda(metadata=metadata)).up_axis == up_axis


INSTANCES = """
def PointInstancer "many"
{
    rel prototypes = </many/kinds/box>
    int[] protoIndices = [0, 0, 0]
    int64[] ids = [1, 2, 3]
    int64[] invisibleIds = [3]
    point3f[] positions = [(20, 0, 0), (30, 0, 0), (40, 0, 0)]
    def Scope "kinds"
    {
        def Xform "box"
        {
            double3 xformOp:translate = (0, 0, 5)
            uniform token[] xformOpOrder = ["xformOp:translate"]
            def Mesh "side"
            {
                point3f[] points = [(0, 0, 0), (1, 0, 0), (0, 2, 0)]
                int[] faceVertexCounts = [3]
                int[] faceVertexIndices = [0, 1, 2]
            }
        }
    }
}
def Xform "hidden" { token visibility = "invisible"
    def Mesh "x" { point3f[] points = [(0, 0, 99), (1, 0, 0), (0, 2, 0)]
        int[] faceVertexCounts = [3]
        int[] faceVertexIndices = [0, 1, 2] } }
def Mesh "guide" { uniform token purpose = "guide"
    point3f[] points = [(0, 0, 99), (1, 0, 0), (0, 2, 0)]
    int[] faceVertexCounts = [3]
    int[] faceVertexIndices = [0, 1, 2] }
def Sphere "ball" { }
"""


def spaced(text: str) -> str:
    """A statement a line, as USD wants it."""
    return text.replace("{ ", "{\n").replace(" }", "\n}")


def test_instances_and_what_is_not_seen_in_usd(tmp_path):
    shape = read(tmp_path, "a.usda", usda(spaced(INSTANCES)))
    assert facts(shape)[:2] == ([[10, 0, 0], [31, 2, 5]], PLACED_AREA + 2)
    corners = sorted(part.triangles[0, 0].tolist() for part in shape.parts if part.name == "side")
    np.testing.assert_allclose(corners, [[20, 0, 5], [30, 0, 5]], atol=1e-9)
    assert shape.warnings == ["1 prims of the purpose guide left out", "1 prims of the type Sphere left out"]
    with pytest.raises(ValueError, match=r"a\.usda: .*no mesh \(1 prims of the type Sphere"):
        read(tmp_path, "a.usda", b'#usda 1.0\ndef Sphere "ball"\n{\n}\n')


def test_prototypes_that_usd_does_not_show_in_their_place(tmp_path):
    """Below an over they are seen as instances alone, below a class not at all."""
    over = INSTANCES.replace('def Scope "kinds"', 'over "kinds"')
    shape = read(tmp_path, "a.usda", usda(spaced(over)))
    assert facts(shape)[:2] == ([[10, 0, 0], [31, 2, 5]], PLACED_AREA + 2)
    for changed in (INSTANCES.replace('def Scope "kinds"', 'class "kinds"'), INSTANCES.replace("/box>", "/gone>")):
        shape = read(tmp_path, "a.usda", usda(spaced(changed)))
        assert facts(shape)[:2] == (PLACED, PLACED_AREA)
        assert "nothing to see in /many/kinds/" in shape.warnings[0] and "/many has instances" in shape.warnings[0]


@pytest.mark.parametrize(
    ("bound", "color"),
    [
        ("rel material:binding:preview = </look>", ORANGE),
        ("rel material:binding:full = </look>", ORANGE),
        ("rel material:binding:full = </none>\nrel material:binding = </look>", ORANGE),
        ("rel material:binding:full = </look>\nrel material:binding:preview = </blue>", (0, 0, 255)),
    ],
)
def test_materials_that_usd_binds_for_a_purpose(tmp_path, bound, color):
    looks = usd_material(f" = {LINEAR_ORANGE}") + usd_material(" = (0, 0, 1)").replace("look", "blue")
    assert facts(read(tmp_path, "a.usda", usda(looks, bound)))[2] == color


def test_points_of_usd(tmp_path):
    points = (
        b'#usda 1.0\n(\n upAxis = "Z"\n)\ndef Points "cloud"\n{\npoint3f[] points = [(0, 0, 0), (1, 2, 3)]\n'
        b'color3f[] primvars:displayColor = [(1, 0, 0), (0, 0, 1)] (interpolation = "vertex")\n}\n'
    )
    cloud = read(tmp_path, "a.usda", points)
    assert isinstance(cloud, PointCloud) and cloud.up_axis == "z"
    assert cloud.points.xyz.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert cloud.points.rgb.tolist() == [[255, 0, 0], [0, 0, 255]]


def test_usd_of_several_files(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "box.usda").write_bytes(usda(metadata='defaultPrim = "crate"'))
    scene = b'#usda 1.0\ndef "whole" (prepend references = @./parts/box.usda@)\n{\n}\n'
    assert facts(read(tmp_path, "a.usda", scene))[:2] == (PLACED, PLACED_AREA)
    package = zipped({"a.usda": scene, "parts/box.usda": usda(metadata='defaultPrim = "crate"')}, 0)
    assert facts(read(tmp_path, "a.usdz", package))[:2] == (PLACED, PLACED_AREA)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("{folder}/outside.usda", "only files beside it"),
        ("../outside.usda", "in its folder and below"),
        ("./gone.usda", "file not found"),
        ("https://example.com/a.usda", "only files beside it"),
        ("a.usdz[b.usda]", "only files beside it"),
        ("model.abc", "only .usd"),
    ],
)
@pytest.mark.parametrize("how", ["references", "payload", "subLayers"])
def test_usd_opens_nothing_outside_its_folder(tmp_path, named, message, how):
    (tmp_path / "outside.usda").write_bytes(usda(metadata='defaultPrim = "crate"'))
    (tmp_path / "in").mkdir()
    path = named.format(folder=tmp_path)
    scene = f'#usda 1.0\ndef "whole" (prepend {how} = @{path}@)\n{{\n}}\n'
    if how == "subLayers":
        scene = f"#usda 1.0\n(\nsubLayers = [@{path}@]\n)\n"
    with pytest.raises(ValueError, match=rf"a\.usda: .*{message}"):
        read(tmp_path / "in", "a.usda", scene.encode())


def test_usd_with_value_clips_is_refused(tmp_path):
    default = "dictionary default = {\nasset[] assetPaths = [@/etc/x.usda@]\n}"
    clips = f'#usda 1.0\ndef "a" (\nclips = {{\n{default}\n}}\n)\n{{\n}}\n'.encode()
    with pytest.raises(ValueError, match=r"a\.usda: .*value clips, which are not read"):
        read(tmp_path, "a.usda", clips)
    variant = variants("a", f'"v" (\nclips = {{\n{default}\n}}\n) {{\n}}')
    with pytest.raises(ValueError, match=r"a\.usda: .*\{kind=v\} has value clips, which are not read"):
        read(tmp_path, "a.usda", f"#usda 1.0\n{variant}".encode())


def variants(name: str, content: str) -> str:
    """A prim of one kind, v."""
    chosen = 'variants = {\nstring kind = "v"\n}\nprepend variantSets = "kind"'
    return f'def "{name}" (\n{chosen}\n)\n{{\nvariantSet "kind" = {{\n{content}\n}}\n}}\n'


def twice(target: str) -> str:
    return "".join(f'def "{name}" (references = <{target}>)\n{{\n}}\n' for name in "xy")


# By what a level is the one below it twice: a level, the last one, and of which layer they are.
DOUBLED = {
    "prims": (lambda n: f'def "a{n}"\n{{\n{twice(f"/a{n + 1}")}}}\n', 'def Mesh "a26"\n{\n}\n', "a.usda"),
    "sublayers": (lambda n: f'def "a{n}"\n{{\n{twice(f"/a{n + 1}")}}}\n', 'def Mesh "a26"\n{\n}\n', "b.usda"),
    "prims in variants": (
        lambda n: variants(f"a{n}", f'"v" {{\n{twice(f"/a{n + 1}")}}}'),
        'def Mesh "a26"\n{\n}\n',
        "a.usda",
    ),
    "variants": (
        lambda n: (
            variants(f"a{n}", f'"v" (references = </b{n}>) {{\n}}') + f'def "b{n}"\n{{\n{twice(f"/a{n + 1}")}}}\n'
        ),
        'def Mesh "a26"\n{\n}\n',
        "a.usda",
    ),
    # /a0/in has nothing of its own: it is there as /a0 is /b0.
    "what is above": (
        lambda n: (
            f'def "a{n}" (references = </b{n}>)\n{{\n}}\n'
            f'def "b{n}"\n{{\ndef "in"\n{{\n{twice(f"/a{n + 1}/in")}}}\n}}\n'
        ),
        'def "a26"\n{\ndef Mesh "in"\n{\n}\n}\n',
        "a.usda",
    ),
}


@pytest.mark.parametrize("how", DOUBLED)
def test_usd_that_refers_to_itself_many_times_over_is_refused_in_time(tmp_path, monkeypatch, how):
    """Of 26 levels, each of which is the one below it twice."""
    pxr = pytest.importorskip("pxr.Usd")
    monkeypatch.setattr(pxr.Stage, "Open", lambda path: pytest.fail("is put together"))
    level, last, layer = DOUBLED[how]
    scene = f"#usda 1.0\n{''.join(map(level, range(26)))}{last}".encode()
    if layer != "a.usda":
        (tmp_path / layer).write_bytes(scene)
        scene = f"#usda 1.0\n(\nsubLayers = [@{layer}@]\n)\n".encode()
    start = time.process_time()
    with pytest.raises(ValueError, match=r"a\.usda: .*more than 1,000,000 prims"):
        read(tmp_path, "a.usda", scene)
    assert time.process_time() - start < 5


def test_usd_layers_that_are_sublayers_many_times_over_or_of_themselves_are_refused(tmp_path):
    for n in range(26):
        (tmp_path / f"l{n}.usda").write_text(f"#usda 1.0\n(\nsubLayers = [@l{n + 1}.usda@, @m{n + 1}.usda@]\n)\n")
        (tmp_path / f"m{n}.usda").write_bytes((tmp_path / f"l{n}.usda").read_bytes())
    for name in ("l26.usda", "m26.usda"):
        (tmp_path / name).write_text("#usda 1.0\n")
    for scene in ((tmp_path / "l0.usda").read_bytes(), b"#usda 1.0\n(\nsubLayers = [@a.usda@]\n)\n"):
        with pytest.raises(ValueError, match=r"a\.usda: .*more than 1000 sublayers, or itself among them"):
            read(tmp_path, "a.usda", scene)


def test_usd_that_moves_prims_of_other_layers_is_refused(tmp_path):
    moved = b'#usda 1.0\n(\nrelocates = {\n</a/x>: </a/z>\n}\n)\ndef "a"\n{\n}\n'
    with pytest.raises(ValueError, match=r"a\.usda: .*relocates prims, which is not read"):
        read(tmp_path, "a.usda", moved)


def test_usd_of_sublayers_and_variants(tmp_path):
    """What a prim of one layer refers to may be in another one of the same stack."""
    box = usda(metadata="").decode().partition('def Xform "crate"')[2]
    (tmp_path / "box.usda").write_text(f'#usda 1.0\nclass Xform "crate"{box}')
    scene = variants("whole", '"v" {\ndef "box" (references = </crate>)\n{\n}\n}')
    data = f'#usda 1.0\n(\nsubLayers = [@box.usda@]\nupAxis = "Z"\n)\n{scene}'.encode()
    assert facts(read(tmp_path, "a.usda", data))[:2] == (PLACED, PLACED_AREA)


def test_usd_that_refers_to_itself_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.usda: .*refers to itself"):
        read(tmp_path, "a.usda", b'#usda 1.0\ndef "a"\n{\ndef "b" (references = </a>)\n{\n}\n}\n')


# Zip files


def test_a_zip_file_of_one_model_with_its_files(tmp_path):
    obj = "mtllib skin.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nusemtl s\nf 1/1 2/1 3/1\n"
    files = {"m/a.obj": obj, "m/skin.mtl": "newmtl s\nmap_Kd skin.png\n", "m/skin.png": picture((10, 200, 30))}
    assert facts(read(tmp_path, "a.zip", zipped(files)))[2] == (10, 200, 30)
    cloud = read(tmp_path, "a.zip", zipped({"scan/a.laz": las(CORNERS, compress=True)}))
    np.testing.assert_allclose(cloud.points.xyz, CORNERS, atol=1e-6)
    assert cloud.up_axis == "z"
    # What lies beside the zip file, or leads out of it, is not looked for.
    (tmp_path / "skin.mtl").write_text("newmtl s\nKd 1 0 0\n")
    for named in ("skin.mtl", "../skin.mtl", str(tmp_path / "skin.mtl")):
        shape = read(tmp_path, "a.zip", zipped({"a.obj": obj.replace("skin.mtl", named)}))
        assert facts(shape)[2] is None and len(shape.warnings) == 1


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("m/A.OBJ", "M/Skin.MTL", "m/SKIN.png"), True),
        (("m\\a.obj", "m\\skin.mtl", "m\\skin.png"), True),
        (("m\\a.obj", "m\\Skin.mtl", "M/skin.PNG"), True),
        (("m/a.obj", "m/SKIN.mtl", "m/Skin.mtl", "m/skin.png"), False),  # which of the two
        (("m/a.obj", "m/SKIN.mtl", "m/skin.mtl", "m/skin.png"), True),  # the one of that very name
    ],
)
def test_names_in_zip_files_as_windows_writes_them(tmp_path, names, found):
    obj = "mtllib skin.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nusemtl s\nf 1/1 2/1 3/1\n"
    content = {".obj": obj, ".mtl": "newmtl s\nmap_Kd skin.png\n", ".png": picture((10, 200, 30))}
    files = {"m\\": "", "m/": "", "__MACOSX\\m\\._a.obj": "x"} if "m\\a.obj" in names else {}
    for name in names:
        files[name] = content[name[-4:].lower()] if name != "m/SKIN.mtl" or not found else "newmtl s\nKd 1 0 0\n"
    assert facts(read(tmp_path, "a.zip", zipped(files)))[2] == ((10, 200, 30) if found else None)


def test_3mf_that_spells_its_model_otherwise(tmp_path):
    """Its .rels says /3D/3DModel.model, as of some exporters."""
    spelled = {"3D/3dmodel.model": "3D/3DModel.model", "_rels/.rels": "_Rels/.rels"}
    with zipfile.ZipFile(io.BytesIO(threemf(object_3mf(2), '<item objectid="2"/>'))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    expected = facts(read(tmp_path, "a.3mf", zipped(files)))
    for names in (("3D/3dmodel.model",), ("_rels/.rels",), tuple(spelled)):
        data = zipped({spelled[n] if n in names else n: content for n, content in files.items()})
        assert facts(read(tmp_path, "a.3mf", data)) == expected


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_no_more_is_unpacked_than_a_zip_file_says_it_has(compression):
    """Python unpacks all that there is, and cuts that to the stated size. It does so by deflate alone in pieces."""
    members = ZipMembers(understated(zipped({"a.obj": bytes(2**23)}, compression), 100))
    tracemalloc.start()
    try:
        if compression == zipfile.ZIP_DEFLATED:
            assert members.read("a.obj") == bytes(100)
        else:
            with pytest.raises(ValueError, match="a.obj in the zip file .*not packed by deflate; pack it again"):
                members.read("a.obj")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_zip_files_of_no_model_or_several(tmp_path):
    several = zipped({"a.obj": "", "b/c.stl": "", "d.npy": "", "x/.hidden.obj": "", "../out.obj": ""})
    with pytest.raises(ValueError, match=r"z\.zip: .*has 3 models \(a\.obj, b/c\.stl, d\.npy\); expected one"):
        read(tmp_path, "z.zip", several)
    with pytest.raises(ValueError, match=r"z\.zip: .*no model; expected one file of \.3mf"):
        read(tmp_path, "z.zip", zipped({"inner.zip": several, "a.txt": ""}))
    with pytest.raises(ValueError, match=r"z\.zip: .*m/a\.glb in the zip file: "):
        read(tmp_path, "z.zip", zipped({"m/a.glb": "glTF"}))


# What is said of them


def test_every_list_of_suffixes_has_them_all():
    documents = [ROOT / "README.md", ROOT / "docs" / "serving.md", ROOT / "docs" / "formats.md"]
    texts = {**{str(file): file.read_text() for file in documents}, "mrd-hf --help": DESCRIPTION}
    missing = {name: [s for s in SHAPE_SUFFIXES if s not in text] for name, text in texts.items()}
    assert not any(missing.values()), missing
