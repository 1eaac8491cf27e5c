"""Collision meshes, which engines use and nobody sees, and parts that the caller names."""

import json

import numpy as np
import pytest
import trimesh
from support.tiny_gltf import gltf

from mrd_hf.data.sources.meshes.mesh_folder import prepare_mesh_folder
from mrd_hf.errors import UserError
from mrd_hf.models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from mrd_hf.models.left_out_parts import PartChoice
from mrd_hf.models.shape_files import read_shape


# A triangle in the plane x = 0, one at x = 5 that is a collision mesh in most tests, and one at x = 9.
OBJ = """v 0 0 0
v 0 1 0
v 0 0 1
v 5 0 0
v 5 1 0
v 5 0 1
v 9 0 0
v 9 1 0
v 9 0 1
{first}
f 1 2 3
{second}
f 4 5 6
{third}
f 7 8 9
"""


def places(shape):
    """The x coordinates of the triangles."""
    return sorted({x for part in shape.parts for x in part.triangles[..., 0].ravel().tolist()})


def scene(nodes, names=("chair", "more")):
    """glTF whose nodes are given; meshes 0 and 1 are the same triangle, called `names`."""
    meshes = [{"name": name, "primitives": [{"attributes": {"POSITION": 0}}]} for name in names]
    return gltf(nodes=nodes, meshes=meshes, scenes=[{"nodes": [0]}])


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *(
            (name, True)
            for name in ("UCX_chair", "ucx_Chair_01", "UBX_a", "USP_b", "UCP_c", "wall-col", "Wall-COLONLY")
        ),
        *((name, True) for name in ("wall-convcolonly", "ChairCollider", "my_collision_mesh", "COLLISION", " UCX_a ")),
        *((name, False) for name in ("collection", "columns", "protocol", "colored", "Colosseum", "xUCX_a", "UCXa")),
        *((name, False) for name in ("usp_slide", "Usp_match", "ubx_gps", "ucp_panel", "xUSP_a")),
        *((name, False) for name in ("wall-col.001", "wall_col", "-colour", "col", "collide", "collis", "")),
    ],
)
def test_collision_meshes_are_known_by_the_names_that_engines_give_them(tmp_path, name, is_one):
    nodes = [{"mesh": 0, "children": [1]}, {"mesh": 1, "name": name, "translation": [5, 0, 0]}]
    (tmp_path / "a.gltf").write_bytes(scene(nodes))
    shape = read_shape(tmp_path / "a.gltf")
    assert places(shape) == ([0, 1] if is_one else [0, 1, 5, 6])
    assert shape.warnings == ([f"1 collision mesh of 2 parts left out: {name}"] if is_one else [])
    kept = read_shape(tmp_path / "a.gltf", keep_collision=True)
    assert places(kept) == [0, 1, 5, 6] and kept.warnings == []


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ([{"mesh": 0, "children": [1]}, {"mesh": 1, "name": "plain", "translation": [5, 0, 0]}], ("a", "UCX_a")),
        (
            [
                {"children": [1, 2], "name": "root"},
                {"mesh": 0},
                {"name": "Colliders", "translation": [5, 0, 0], "children": [3]},
                {"name": "of the left", "children": [4]},
                {"mesh": 1, "name": "box"},
            ],
            ("a", "b"),
        ),
    ],
)
def test_the_names_of_meshes_and_of_nodes_above_count_too(tmp_path, nodes, names):
    (tmp_path / "a.gltf").write_bytes(scene(nodes, names))
    assert places(read_shape(tmp_path / "a.gltf")) == [0, 1]
    assert places(read_shape(tmp_path / "a.gltf", keep_collision=True)) == [0, 1, 5, 6]


def test_a_file_of_nothing_but_collision_meshes_is_read_and_says_so(tmp_path):
    nodes = [{"mesh": 0, "name": "UCX_a", "children": [1]}, {"mesh": 1, "name": "b-col", "translation": [5, 0, 0]}]
    (tmp_path / "a.gltf").write_bytes(scene(nodes))
    shape = read_shape(tmp_path / "a.gltf")
    assert places(shape) == [0, 1, 5, 6]
    assert shape.warnings == ["nothing but collision meshes, so they are read: UCX_a"]  # b is below it


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        (("o seat", "o UCX_seat", "o legs"), [0, 9]),
        (("g seat", "g colliders", "g legs"), [0, 9]),
        (("o seat", "o UCX_seat\ng default", "o legs"), [0, 9]),  # a group does not end an object
        (("g seat", "g all UCX_seat", "g all legs"), [0, 9]),  # in two groups
        (("usemtl a", "usemtl collision", "usemtl b"), [0, 5, 9]),  # a material is no part
        (("o a", "o a\nusemtl red", "o UCX_b"), [0, 5]),
        (("", "g a-col", ""), [0]),  # and in force until another begins
    ],
)
def test_objects_and_groups_of_obj(tmp_path, lines, left):
    first, second, third = lines
    (tmp_path / "a.obj").write_text(OBJ.format(first=first, second=second, third=third))
    shape = read_shape(tmp_path / "a.obj")
    assert places(shape) == left
    assert ("left out" in "".join(shape.warnings)) == (len(left) < 3)
    assert places(read_shape(tmp_path / "a.obj", keep_collision=True)) == [0, 5, 9]
    num_materials = max(len({line for line in "\n".join(lines).split("\n") if line.startswith("usemtl")}), 1)
    assert len(read_shape(tmp_path / "a.obj", keep_collision=True).parts) in (num_materials, num_materials + 1)


def test_colors_stay_with_the_parts_that_are_read(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n")
    lines = ("mtllib a.mtl\nusemtl red\no a", "o UCX_a", "usemtl blue\no b")
    (tmp_path / "a.obj").write_text(OBJ.format(first=lines[0], second=lines[1], third=lines[2]))
    parts = read_shape(tmp_path / "a.obj").parts
    colors = {part.triangles[0, 0, 0]: part.corner_colors[0, 0].tolist() for part in parts}
    assert colors == {0: [255, 0, 0], 9: [0, 0, 255]}


def test_skip_parts_is_searched_for_in_names_of_parts_objects_meshes_and_nodes(tmp_path):
    nodes = [
        {"mesh": 0, "name": "seat", "children": [1, 2]},
        {"mesh": 1, "name": "wheel_left", "translation": [5, 0, 0]},
        {"mesh": 1, "name": "UCX_seat", "translation": [9, 0, 0]},
    ]
    (tmp_path / "a.gltf").write_bytes(scene(nodes, ("seat", "round")))
    (tmp_path / "a.obj").write_text(OBJ.format(first="o seat", second="o wheel_left", third="o UCX_seat"))
    for file in (tmp_path / "a.gltf", tmp_path / "a.obj"):
        shape = read_shape(file, skip_parts="^wheel_")
        assert places(shape)[-1] < 2
        assert shape.warnings == [
            "1 of 3 parts left out, as skip_parts says: wheel_left",
            "1 collision mesh of 3 parts left out: UCX_seat",
        ]
        assert places(read_shape(file, skip_parts="(?i)WHEEL", keep_collision=True))[-1] >= 9
        assert 5 in places(read_shape(file, skip_parts="^left"))
        with pytest.raises(ValueError, match=rf"{file.name}: skip_parts '.' matches all its parts \(seat, "):
            read_shape(file, skip_parts=".")
    assert places(read_shape(tmp_path / "a.gltf", skip_parts="^round$")) == [0, 1]  # the mesh's name


def test_a_bad_expression_is_an_error_that_says_so(tmp_path):
    for make in (lambda: PartChoice(skip_parts="a("), lambda: PointCloudFeatureExtractor(skip_parts="a(")):
        with pytest.raises(ValueError, match=r"skip_parts 'a\(' is no regular expression: missing \)"):
            make()
    with pytest.raises(UserError, match="is no regular expression"):
        prepare_mesh_folder(tmp_path, tmp_path / "out", skip_parts="a(")


def test_a_file_of_many_names_lists_the_first(tmp_path):
    nodes = [{"mesh": 0, "children": list(range(1, 9))}, *({"mesh": 1, "name": f"UCX_{n}"} for n in range(8))]
    (tmp_path / "a.gltf").write_bytes(scene(nodes))
    (warning,) = read_shape(tmp_path / "a.gltf").warnings
    assert warning == "8 collision meshes of 9 parts left out: UCX_0, UCX_1, UCX_2, UCX_3, UCX_4 and 3 more"


def test_the_extractor_has_it_as_settings_that_are_saved(tmp_path):
    nodes = [{"mesh": 0, "children": [1]}, {"mesh": 1, "name": "UCX_a", "translation": [5, 0, 0]}]
    (tmp_path / "a.gltf").write_bytes(scene(nodes))
    in_memory = trimesh.Scene()
    in_memory.add_geometry(trimesh.Trimesh(np.eye(3), [[0, 1, 2]], process=False), node_name="a", geom_name="a")
    far = trimesh.Trimesh(np.eye(3) + [5, 0, 0], [[0, 1, 2]], process=False)
    in_memory.add_geometry(far, node_name="UCX_a", geom_name="b")
    for settings, largest in (
        ({}, 1),
        ({"keep_collision": True}, 6),
        ({"keep_collision": True, "skip_parts": "^a$"}, 6),
    ):
        extractor = PointCloudFeatureExtractor(num_points=200, normalize=False, **settings)
        extractor.save_pretrained(tmp_path)
        assert settings.items() <= json.loads((tmp_path / "preprocessor_config.json").read_text()).items()
        loaded = PointCloudFeatureExtractor.from_pretrained(tmp_path)
        for shape in (tmp_path / "a.gltf", in_memory):
            x = loaded(shape, return_tensors="np")["point_values"][0, :, 0]
            assert largest - 1 < x.max() <= largest
        # `a` is the name of a node in memory, and of none in the file.
        assert (x.min() >= 5) == ("skip_parts" in settings)


def test_preparing_leaves_them_out_and_lists_them(tmp_path):
    nodes = [{"mesh": 0, "children": [1]}, {"mesh": 1, "name": "UCX_a", "translation": [5, 0, 0]}]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "chair.gltf").write_bytes(scene(nodes))
    report = prepare_mesh_folder(tmp_path / "in", tmp_path / "out", num_points=200)
    assert report["warnings"] == [{"id": "chair", "why": "1 collision mesh of 2 parts left out: UCX_a"}]
    assert not {"keep_collision", "skip_parts"} & set(report["settings"])
    report = prepare_mesh_folder(tmp_path / "in", tmp_path / "kept", num_points=200, keep_collision=True)
    assert report["warnings"] == [] and report["settings"]["keep_collision"] is True
    report = prepare_mesh_folder(tmp_path / "in", tmp_path / "skipped", num_points=200, skip_parts="UCX")
    assert report["settings"]["skip_parts"] == "UCX"
    assert report["warnings"][0]["why"] == "1 of 2 parts left out, as skip_parts says: UCX_a"
