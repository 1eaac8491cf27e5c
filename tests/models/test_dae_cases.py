"""COLLADA as exporters write it: what is broken beside the mesh, controllers, instances, textures, exact places."""

import io

import numpy as np
import pytest
from PIL import Image
from support.model_files import AREA, CORNERS, SQUARES, dae, dae_source, numbers

from mrd_hf.models.shape_files import colored_points, read_shape
from mrd_hf.models.xml_text import parse_xml


# The box of `dae()` where its node puts it: twice as wide, at x = 10.
PLACED = CORNERS * (2, 1, 1) + (10, 0, 0)
SURFACE = "<newparam sid='surface'><surface type='2D'><init_from>picture</init_from></surface></newparam>"
SAMPLER = "<newparam sid='sampler'><sampler2D><source>surface</source></sampler2D></newparam>"
TEXTURED = {
    "effect": "<diffuse><texture texture='sampler' texcoord='UVMap'/></diffuse>",
    "params": SURFACE + SAMPLER,
    "sources": dae_source("uv", np.full((8, 2), 0.5), "ST"),
    "inputs": "<input semantic='TEXCOORD' source='#uv' offset='1' set='0'/>",
    "stride": 2,
}
GREEN = (10, 200, 30)
BOUND = "<instance_controller url='#{}'>{{bind}}</instance_controller>"


def changed(data: bytes, *pairs: tuple[str, str]) -> bytes:
    """The file with other words, each of which it has."""
    for old, new in pairs:
        assert old.encode() in data, old
        data = data.replace(old.encode(), new.encode())
    return data


def read(folder, data: bytes):
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1), GREEN).save(buffer, "PNG")
    (folder / "skin.png").write_bytes(buffer.getvalue())
    (folder / "a.dae").write_bytes(data)
    return read_shape(folder / "a.dae")


def color_of(shape) -> tuple | None:
    rgb = colored_points(shape, 100)[1]
    return None if rgb is None else tuple(np.round(rgb.mean(axis=0)).astype(int).tolist())


def corners_of(shape) -> np.ndarray:
    return np.concatenate([part.triangles.reshape(-1, 3) for part in shape.parts])


def check_box(shape, corners=PLACED) -> None:
    found = np.unique(corners_of(shape).round(9) + 0.0, axis=0)  # 0.0, as -0.0 is another row
    assert found.tolist() == np.unique(corners, axis=0).tolist()
    x, y, z = np.ptp(corners, axis=0)
    assert sum(part.areas.sum() for part in shape.parts) == pytest.approx(2 * (x * y + y * z + z * x))


# Broken colours


BROKEN_COLORS = {
    "no material": (dae(), ("target='#paint'", "target='#gone'"), "material not found: gone"),
    "a material of elsewhere": (dae(), ("target='#paint'", "target='b.dae#x'"), "material not found: b.dae#x"),
    "no effect": (dae(), ('url="#look"', 'url="#gone"'), "material without an effect left out: paint"),
    "another effect": (dae(), ("profile_COMMON", "profile_GLSL"), "material without profile_COMMON left out: paint"),
    "no technique": (
        dae(),
        ('<technique sid="common"><lambert><diffuse><color>1 0.5 0 1</color></diffuse></lambert></technique>', ""),
        "material without phong, lambert, blinn, constant left out: paint",
    ),
    "another shading": (
        dae(),
        ("lambert>", "toon>"),
        "material without phong, lambert, blinn, constant left out: paint",
    ),
    "no word": (dae(effect="<diffuse/>"), ("", ""), "colour not understood: <diffuse> of material paint"),
    "no number": (dae(), ("1 0.5 0 1", "1 half 0 1"), "colour not understood: <diffuse> of material paint"),
    "two numbers": (dae(), ("1 0.5 0 1", "1 0.5"), "colour not understood: <diffuse> of material paint"),
    "no parameter": (
        dae(effect="<diffuse><param ref='gone'/></diffuse>"),
        ("", ""),
        "colour not understood: <diffuse> of material paint",
    ),
    "no image": (
        dae(**TEXTURED),
        (">picture<", ">gone<"),
        "texture left out, as it names no picture: sampler of material paint",
    ),
    "no surface": (
        dae(**TEXTURED),
        (">surface<", ">gone<"),
        "texture left out, as it names no picture: sampler of material paint",
    ),
    "a cube": (
        dae(**TEXTURED),
        ("type='2D'", "type='CUBE'"),
        "texture left out, as it names no picture: sampler of material paint",
    ),
    "no sampler, no image": (
        dae(**TEXTURED),
        ("texture='sampler'", "texture='wood.png'"),
        "texture left out, as it names no picture: wood.png of material paint",
    ),
    "an image without a file": (
        dae(**TEXTURED),
        ("<init_from>skin.png</init_from>", ""),
        "texture left out, as it names no picture: sampler of material paint",
    ),
}


@pytest.mark.parametrize("case", BROKEN_COLORS)
def test_a_broken_colour_leaves_the_mesh_without_one(tmp_path, case):
    data, change, warning = BROKEN_COLORS[case]
    shape = read(tmp_path, changed(data, change))
    check_box(shape)
    assert color_of(shape) is None
    assert shape.warnings == [warning]


def test_a_colour_that_a_parameter_has(tmp_path):
    params = "<newparam sid='c'><float3>0 0 1</float3></newparam>"
    shape = read(tmp_path, dae(effect="<diffuse><param ref='c'/></diffuse>", params=params))
    assert color_of(shape) == (0, 0, 255) and shape.warnings == []


@pytest.mark.parametrize("named", ["picture", "skin.png", "Wood"])
def test_a_texture_that_names_the_image_itself(tmp_path, named):
    data = changed(
        dae(**TEXTURED), ("texture='sampler'", f"texture='{named}'"), ('id="picture"', 'id="picture" name="Wood"')
    )
    shape = read(tmp_path, data)
    assert color_of(shape) == GREEN and shape.warnings == []


def test_textures_of_collada_1_5(tmp_path):
    sampler = "<instance_image url='#picture'/><wrap_t>MIRROR</wrap_t>"
    params = f"<newparam sid='sampler'><sampler2D>{sampler}</sampler2D></newparam>"
    data = changed(
        dae(**{**TEXTURED, "params": params}),
        ("http://www.collada.org/2005/11/COLLADASchema", "http://www.collada.org/2008/03/COLLADASchema"),
        ("<init_from>skin.png</init_from>", "<init_from><ref>skin.png</ref></init_from>"),
    )
    shape = read(tmp_path, data)
    check_box(shape)
    assert color_of(shape) == GREEN and shape.warnings == [] and shape.parts[0].wrap == ("repeat", "mirror")


def test_vertex_colours_under_a_texture_are_left_out_with_a_warning(tmp_path):
    colors = dae_source("c", np.zeros((8, 3)), "RGB")
    inputs = TEXTURED["inputs"] + "<input semantic='COLOR' source='#c' offset='1'/>"
    shape = read(tmp_path, dae(**{**TEXTURED, "sources": TEXTURED["sources"] + colors, "inputs": inputs}))
    assert color_of(shape) == GREEN
    assert shape.warnings == ["vertex colours under a texture left out: material paint"]


# What is not read


NORMALS = dae_source("n", np.zeros((1, 3)), "XYZ")
UNREAD = {
    "a camera": {
        "extra": "<library_cameras><camera id='c'><optics><technique_common><perspective/></technique_common></optics>"
        "</camera></library_cameras>",
        "node": "<instance_camera url='#c'/><instance_geometry url='#box'>{bind}</instance_geometry>",
    },
    "a light": {
        "extra": "<library_lights><light id='l'><technique_common><point/></technique_common></light>"
        "</library_lights>",
        "node": "<instance_light url='#l'/><instance_geometry url='#box'>{bind}</instance_geometry>",
    },
    "a camera that looks nowhere": {
        "node": "<node><lookat>0 0 0 0 0 0 0 1 0</lookat></node>"
        "<instance_geometry url='#box'>{bind}</instance_geometry>"
    },
    "an animation": {"extra": "<library_animations><animation><source id='a'/></animation></library_animations>"},
    "clips": {"extra": "<library_animation_clips><animation_clip/></library_animation_clips>"},
    "whole numbers": {"sources": "<source id='i'><int_array id='ia' count='1'>1</int_array></source>"},
    "truths": {"sources": "<source id='i'><bool_array id='ia' count='1'>true</bool_array></source>"},
    "a mesh in no node": {
        "extra": "<library_geometries><geometry id='g'><mesh><triangles count='1'/></mesh></geometry>"
        "</library_geometries>"
    },
    "normals without values": {"inputs": "<input semantic='NORMAL' source='#gone' offset='1'/>", "stride": 2},
    "too few normals": {
        "sources": NORMALS,
        "inputs": "<input semantic='NORMAL' source='#n' offset='1'/>",
        "stride": 2,
    },
    "a cube beside": {"params": "<newparam sid='s'><surface type='CUBE'/></newparam>"},
    "a texture of the highlights": {
        "effect": "<specular><texture texture='gone'/></specular><diffuse><color>1 0.5 0 1</color></diffuse>"
    },
}


@pytest.mark.parametrize("case", UNREAD)
def test_what_is_not_read_may_be_damaged(tmp_path, case):
    shape = read(tmp_path, dae(**UNREAD[case]))
    check_box(shape)
    assert color_of(shape) == (255, 128, 0) and shape.warnings == []


@pytest.mark.parametrize(
    "empty", ["<triangles count='0'/>", "<polygons count='0'><p/></polygons>", "<lines count='0'/>", "<polylist/>"]
)
def test_primitives_of_nothing(tmp_path, empty):
    shape = read(tmp_path, changed(dae(), ("<polylist material", f"{empty}<polylist material")))
    check_box(shape)
    assert shape.warnings == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<p>0 ", "<p>99 ", "go beyond the limits of the source"),
        ("<vcount>4 ", "<vcount>5 ", "a list of polygons has 24 corners, and its counts say 25"),
        ("<polylist material", "<triangles count='3'/><polylist material", "Missing index"),
        ("'POSITION'", "'NORMAL'", "vertices v have no positions"),
        ('source="#p"', 'source="#gone"', "there is no source gone of POSITION"),
        ('source="#v"', 'source="#gone"', "there is no source gone of POSITION"),
        ('stride="3"', 'stride="7"', "source p has 24 numbers, of which its accessor reads 7 at a time"),
        ('stride="3"', 'stride="3" offset="x"', "from x on"),
        ("float_array", "int_array", "source p of POSITION has no float_array"),
        ("<translate>10 0 0", "<translate>10 0", "<translate> has 2 numbers; expected 3"),
        ("<translate>10 0 0", "<translate>10 a 0", "<translate>: 'a' is no number"),
    ],
)
def test_a_damaged_mesh_or_place_is_an_error(tmp_path, old, new, message):
    data = changed(dae(), ('semantic="POSITION"', "semantic='POSITION'"), (old, new))
    with pytest.raises(ValueError, match=rf"a\.dae: .*({message})"):
        read(tmp_path, data)


@pytest.mark.parametrize(
    ("beside", "warnings"),
    [
        ("<linestrips count='1'><input semantic='VERTEX' source='#v' offset='0'/><p>0 1 2</p></linestrips>", 1),
        ("<lines count='1'><input semantic='NORMAL' source='#gone'/><p>0 1</p></lines>", 1),
        ("<blobs/>", "<blobs> of a mesh left out"),
        ("<!-- <triangles/> --><?pi?>", None),
    ],
)
def test_what_lies_beside_the_triangles_of_a_mesh(tmp_path, beside, warnings):
    data = changed(dae(), ("<polylist material", f"{beside}<polylist material"), ("<p>0 1 ", "<p>0 <!-- a -->1 "))
    shape = read(tmp_path, data)
    check_box(shape)
    expected = {1: ["1 sets of lines left out"], None: []}
    assert shape.warnings == expected.get(warnings, [warnings])


def test_xml_is_read_without_namespaces_and_comments():
    """With lxml, pycollada sees comments as elements, and drops a mesh that has one: it is given none."""
    root = parse_xml(b"<a xmlns='urn:x' xmlns:y='urn:y'><!-- b --><y:c>1 <!-- d -->2</y:c></a>")
    assert [(each.tag, each.text) for each in root.iter()] == [("a", None), ("c", "1 2")]


# Controllers


SHIFT = "<bind_shape_matrix>1 0 0 5 0 1 0 0 0 0 1 0 0 0 0 1</bind_shape_matrix>"
MORPH = "<controller id='morph'><morph source='#box'><targets/></morph></controller>"
FAULTY = "<vertex_weights count='8'><vcount>1</vcount><v>9 9 x</v></vertex_weights>"
AS_BOUND = "skinned meshes are read as they were bound, not as their bones stand"
AS_BASE = "meshes with morphs are read in their base shape"


def controllers(text: str, name: str) -> bytes:
    return dae(extra=f"<library_controllers>{text}</library_controllers>", node=BOUND.format(name))


def test_a_skin_of_a_morph_is_the_base_mesh_as_bound(tmp_path):
    skin = f"<controller id='skin'><skin source='#morph'>{SHIFT}</skin></controller>"
    shape = read(tmp_path, controllers(skin + MORPH, "skin"))
    check_box(shape, CORNERS + (5, 0, 0))
    assert color_of(shape) == (255, 128, 0) and shape.warnings == [AS_BOUND, AS_BASE]
    assert sum(part.areas.sum() for part in shape.parts) == pytest.approx(AREA)


def test_a_morph_is_its_base_mesh_where_its_node_is(tmp_path):
    shape = read(tmp_path, controllers(MORPH, "morph"))
    check_box(shape)
    assert color_of(shape) == (255, 128, 0) and shape.warnings == [AS_BASE]


def test_the_weights_of_a_skin_may_be_damaged(tmp_path):
    skin = f"<controller id='skin'><skin source='#box'>{FAULTY}</skin></controller>"
    shape = read(tmp_path, controllers(skin, "skin"))
    check_box(shape, CORNERS)
    assert shape.warnings == [AS_BOUND]


@pytest.mark.parametrize("source", ["#gone", "#skin"], ids=["missing", "itself"])
def test_a_controller_without_a_mesh_is_left_out(tmp_path, source):
    skin = f"<controller id='skin'><skin source='{source}'/></controller>"
    data = dae(
        extra=f"<library_controllers>{skin}</library_controllers>",
        node="<instance_controller url='#skin'/><instance_geometry url='#box'>{bind}</instance_geometry>",
    )
    shape = read(tmp_path, data)
    check_box(shape)
    assert shape.warnings[-1] == "mesh not found: #skin"


# Nodes


def test_an_instance_of_a_node_in_a_node(tmp_path):
    library = (
        "<library_nodes><node id='a'><translate>0 0 100</translate><node id='inner'><translate>0 7 0</translate>"
        "<instance_geometry url='#box'/></node></node></library_nodes>"
    )
    # Where the instance is, not where the node above the inner one is.
    check_box(read(tmp_path, dae(extra=library, node="<instance_node url='#inner'/>")), PLACED + (0, 7, 0))


@pytest.mark.parametrize(
    ("instance", "warning"),
    [
        ("<instance_node url='#gone'/>", "node not found: #gone"),
        ("<instance_node url='b.dae#n'/>", "node not found: b.dae#n"),
        ("<instance_geometry url='#gone'/>", "mesh not found: #gone"),
        ("<instance_geometry url='#curve'/>", "geometry that is no mesh left out: curve"),
        ("<skew>45 0 1 0 1 0 0</skew>", "skewing of nodes left out"),
    ],
)
def test_what_a_node_names_in_vain_is_left_out_and_all_else_keeps_its_place(tmp_path, instance, warning):
    curve = "<library_geometries><geometry id='curve'><spline/></geometry></library_geometries>"
    data = dae(extra=curve, node=f"{instance}<instance_geometry url='#box'>{{bind}}</instance_geometry>")
    shape = read(tmp_path, data)
    check_box(shape)
    assert color_of(shape) == (255, 128, 0) and shape.warnings == [warning]


def test_a_node_that_is_in_itself_is_refused(tmp_path):
    node = "<node id='x'><instance_geometry url='#box'/><instance_node url='#x'/></node>"
    with pytest.raises(ValueError, match=r"a\.dae: .*nested in a circle, or more than 200 deep"):
        read(tmp_path, dae(node=node))


def test_a_scene_that_is_not_there_is_said(tmp_path):
    shape = read(tmp_path, changed(dae(), ('url="#scene"', 'url="#gone"')))
    check_box(shape)
    assert shape.warnings == ["scene not found: #gone; the first one is read"]
    data = changed(dae(), ("<visual_scene ", "<extra "), ("</visual_scene>", "</extra>"))
    shape = read(tmp_path, data)
    check_box(shape, CORNERS)
    assert shape.warnings == ["scene not found: #scene; each mesh once, without its place, is read"]


def test_a_mesh_a_node_and_a_material_of_the_same_id(tmp_path):
    data = changed(dae(), ('id="n"', 'id="box"'), ('id="paint"', 'id="box"'), ("#paint", "#box"))
    shape = read(tmp_path, data)
    check_box(shape)
    assert color_of(shape) == (255, 128, 0)


# Places


def test_places_are_exact(tmp_path):
    """As of georeferenced models, whose coordinates float32 has in steps of a quarter."""
    corners = CORNERS * 0.0625 + (4_400_000.0625, 500_000.03125, 0.1)
    data = changed(
        dae(up_axis=None),
        (f">{numbers(CORNERS)}<", f">{' '.join(map(str, corners.ravel().tolist()))}<"),
        ("<translate>10 0 0</translate>", "<translate>3000000.0625 0 -0.1</translate>"),
        ("<scale>2 1 1</scale>", "<matrix>1 0 0 0.125 0 1 0 0 0 0 1 0 0 0 0 1</matrix>"),
    )
    expected = corners + (3_000_000.0625 + 0.125, 0, -0.1)
    assert np.unique(corners_of(read(tmp_path, data)), axis=0).tolist() == np.unique(expected, axis=0).tolist()


@pytest.mark.parametrize(
    ("transform", "rotation"),
    [
        # Columns: where x, y and z point.
        ("<rotate>0 0 1 90</rotate>", [[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
        ("<rotate>1 0 0 90</rotate>", [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
        ("<rotate>0 1 0 -90</rotate>", [[0, 0, -1], [0, 1, 0], [1, 0, 0]]),
        ("<rotate>0 0 1 90</rotate><rotate>1 0 0 90</rotate>", [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
        ("<lookat>0 0 0 5 0 0 0 0 1</lookat>", [[0, 0, -1], [-1, 0, 0], [0, 1, 0]]),
    ],
)
def test_turned_nodes(tmp_path, transform, rotation):
    data = changed(dae(), ("<translate>10 0 0</translate>", ""), ("<scale>2 1 1</scale>", transform))
    check_box(read(tmp_path, data), CORNERS @ np.array(rotation).T)


def test_values_that_share_an_array(tmp_path):
    """Texture coordinates and places, by turns, in the array of the first source; numbers without a name between."""
    values = np.concatenate([np.full((8, 2), 0.5), np.full((8, 1), 99), CORNERS], axis=1)
    pair, common = "<param name='{}'/><param name='{}'/>", ("<technique_common>", "</technique_common></source>")
    shared = (
        f"<source id='uv'><float_array id='all' count='48'>{numbers(values)}</float_array>{common[0]}"
        f"<accessor source='#all' count='8' stride='6'>{pair.format('S', 'T')}</accessor>{common[1]}"
        f"<source id='q'>{common[0]}<accessor source='#all' count='8' stride='6' offset='2'><param/>"
        f"{pair.format('X', 'Y')}<param name='Z'/></accessor>{common[1]}"
    )
    data = changed(dae(**{**TEXTURED, "sources": shared}), ('"POSITION" source="#p"', '"POSITION" source="#q"'))
    shape = read(tmp_path, data)
    check_box(shape)
    assert color_of(shape) == GREEN and shape.parts[0].uv.min() == shape.parts[0].uv.max() == 0.5


def test_strips_and_fans(tmp_path):
    """The box as a strip of four squares, with a fan of two triangles for each of the other two."""
    inputs = "<input semantic='VERTEX' source='#v' offset='0'/>"
    strip, fans = "0 1 2 3 6 7 4 5 0 1", [SQUARES[4], SQUARES[5]]
    text = (
        f"<tristrips count='1' material='m'>{inputs}<p>{strip}</p></tristrips><trifans count='2' material='m'>{inputs}"
    )
    text += "".join(f"<p>{numbers(fan)}</p>" for fan in fans) + "</trifans>"
    data = dae()
    start, end = data.index(b"<polylist"), data.index(b"</polylist>") + len(b"</polylist>")
    shape = read(tmp_path, data[:start] + text.encode() + data[end:])
    check_box(shape)
    assert [len(part.triangles) for part in shape.parts] == [8, 4] and color_of(shape) == (255, 128, 0)
