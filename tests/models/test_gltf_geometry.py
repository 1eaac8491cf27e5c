"""Where glTF puts things: modes, scenes, nodes, instances, skins and morph targets, with corners by hand."""

import math

import numpy as np
import pytest
from support.gltf_seen import area, bounds, color, corners, read
from support.gltf_writer import BYTE, FLOAT, SHORT, SQUARE, UBYTE, USHORT, Gltf
from support.posed_gltf import morphed, skinned


UNIT = [[0, 0, 0], [1, 1, 0]]
# A band of squares for strips: 0 2 4 above 1 3 5.
BAND = [(0, 1, 0), (0, 0, 0), (1, 1, 0), (1, 0, 0), (2, 1, 0), (2, 0, 0)]


def test_triangles_without_indices():
    file = Gltf()
    file.show_mesh({"attributes": {"POSITION": file.accessor(SQUARE[:3] + SQUARE[1:])}})
    assert area(file) == 1.0 and bounds(file) == UNIT


def test_a_strip_shows_one_side_in_all_its_triangles():
    file = Gltf()
    file.show_mesh({"attributes": {"POSITION": file.accessor(BAND)}, "mode": 5})
    first, second, third = corners(file).transpose(1, 0, 2)
    normals = np.cross(second - first, third - first)
    assert normals.tolist() == [[0, 0, 1]] * 4
    assert area(file) == 2.0


def test_a_strip_that_goes_on_elsewhere_by_triangles_without_area():
    """Two squares, x from 0 to 1 and from 5 to 6, joined as exporters do: the corners beside the gap come twice."""
    file = Gltf()
    points = BAND[:4] + [(x + 5, y, z) for x, y, z in BAND[:4]]
    file.show_mesh(
        {
            "attributes": {"POSITION": file.accessor(points)},
            "indices": file.accessor([0, 1, 2, 3, 3, 4, 4, 5, 6, 7], UBYTE),
            "mode": 5,
        }
    )
    assert area(file) == 2.0
    assert not ((corners(file).mean(axis=1)[:, 0] > 1) & (corners(file).mean(axis=1)[:, 0] < 5) & areas(file)).any()


def areas(file: Gltf) -> np.ndarray:
    """Which triangles have an area."""
    first, second, third = corners(file).transpose(1, 0, 2)
    return np.linalg.norm(np.cross(second - first, third - first), axis=1) > 0


def test_a_fan_is_around_its_first_corner():
    file = Gltf()
    file.show_mesh({"attributes": {"POSITION": file.accessor([(0, 0, 0), *SQUARE[1:], (-1, 1, 0)])}, "mode": 6})
    assert area(file) == 1.5 and len(corners(file)) == 3


@pytest.mark.parametrize("mode", [1, 2, 3])
def test_lines_are_left_out_and_a_file_of_lines_alone_is_an_error(mode):
    file = Gltf()
    lines = {"attributes": {"POSITION": file.accessor(SQUARE)}, "mode": mode}
    assert read(file.show_mesh(lines, file.square())).warnings == ["1 sets of lines left out"]
    file = Gltf()
    with pytest.raises(ValueError, match="only lines"):
        read(file.show_mesh({"attributes": {"POSITION": file.accessor(SQUARE)}, "mode": mode}))


def test_an_unknown_mode_is_an_error():
    file = Gltf()
    with pytest.raises(ValueError, match="meshes 0, primitives 0: mode 7"):
        read(file.show_mesh(file.square(mode=7)))


@pytest.mark.parametrize(
    ("node", "expected", "surface"),
    [
        ({"scale": [-2, 1, 1]}, [[-2, 0, 0], [0, 1, 0]], 2.0),
        ({"scale": [1, 3, 0]}, [[0, 0, 0], [1, 3, 0]], 3.0),
        ({"scale": [0, 0, 0], "translation": [1, 2, 3]}, [[1, 2, 3], [1, 2, 3]], 0.0),
        ({"translation": [1, 2, 3], "scale": [2, 2, 2]}, [[1, 2, 3], [3, 4, 3]], 4.0),
        # A quarter turn about z, and about x: y becomes -x, and y becomes z.
        ({"rotation": [0, 0, math.sqrt(0.5), math.sqrt(0.5)]}, [[-1, 0, 0], [0, 1, 0]], 1.0),
        ({"rotation": [math.sqrt(0.5), 0, 0, math.sqrt(0.5)]}, [[0, 0, 0], [1, 0, 1]], 1.0),
        # First scaled, then turned, then moved.
        (
            {"rotation": [0, 0, math.sqrt(0.5), math.sqrt(0.5)], "scale": [3, 1, 1], "translation": [10, 0, 0]},
            [[9, 0, 0], [10, 3, 0]],
            3.0,
        ),
        # Not of length one, which is made so.
        ({"rotation": [0, 0, 5, 5]}, [[-1, 0, 0], [0, 1, 0]], 1.0),
        ({"rotation": [0, 0, 0, 0]}, UNIT, 1.0),
        # By columns: x becomes y of twice the size, y becomes z; moved by (7, 8, 9).
        ({"matrix": [0, 2, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 7, 8, 9, 1]}, [[7, 8, 9], [7, 10, 10]], 2.0),
        # A shear, which no translation, rotation and scale make.
        ({"matrix": [1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}, [[0, 0, 0], [2, 1, 0]], 1.0),
        ({"matrix": None, "translation": None}, UNIT, 1.0),
    ],
)
def test_transforms_of_a_node(node, expected, surface):
    file = Gltf()
    file.show({"mesh": file.mesh(file.square()), **node})
    assert bounds(file) == expected
    assert area(file) == surface


@pytest.mark.parametrize(
    "node", [{"matrix": [1, 2, 3]}, {"rotation": [0, 0, 1]}, {"scale": "big"}, {"translation": [0, 0, float("nan")]}]
)
def test_a_transform_of_other_numbers_is_an_error(node):
    file = Gltf()
    with pytest.raises(ValueError, match="nodes 0: its "):
        read(file.show({"mesh": file.mesh(file.square()), **node}))


def test_children_are_placed_by_all_that_is_above_them():
    """A node turned a quarter about z, of twice the size, at x = 10; below it one moved by (1, 0, 0), and one more."""
    file = Gltf()
    mesh = file.mesh(file.square())
    file.json["nodes"] = [
        {"children": [1], "rotation": [0, 0, math.sqrt(0.5), math.sqrt(0.5)], "scale": [2, 2, 2], "mesh": mesh},
        {"children": [2], "translation": [1, 0, 0]},
        {"mesh": mesh, "scale": [0.5, 1, 1]},
    ]
    file.json["nodes"][0]["translation"] = [10, 0, 0]
    file.json["scenes"] = [{"nodes": [0]}]
    of_parent, of_child = (part.triangles.reshape(-1, 3) for part in read(file).parts)
    np.testing.assert_allclose([of_parent.min(axis=0), of_parent.max(axis=0)], [[8, 0, 0], [10, 2, 0]], atol=1e-6)
    # The child's x from 1 to 1.5 is y from 2 to 3; its y from 0 to 1 is x from 10 to 8.
    np.testing.assert_allclose([of_child.min(axis=0), of_child.max(axis=0)], [[8, 2, 0], [10, 3, 0]], atol=1e-6)


def test_a_deep_hierarchy():
    file = Gltf()
    mesh = file.mesh(file.square())
    file.json["nodes"] = [{"translation": [1, 0, 0], "children": [index + 1]} for index in range(500)] + [
        {"mesh": mesh}
    ]
    file.json["scenes"] = [{"nodes": [0]}]
    assert bounds(file) == [[500, 0, 0], [501, 1, 0]]


def placed(*translations: float) -> Gltf:
    """A square at each of these places along x; none in a scene yet."""
    file = Gltf()
    mesh = file.mesh(file.square())
    file.json["nodes"] = [{"mesh": mesh, "translation": [x, 0, 0]} for x in translations]
    return file


@pytest.mark.parametrize(
    ("scenes", "expected"),
    [
        ({"scene": 1, "scenes": [{"nodes": [0]}, {"nodes": [2]}]}, [20, 21]),
        ({"scene": 0, "scenes": [{"nodes": [0, 1]}, {"nodes": [1, 2]}]}, [0, 11]),
        ({"scenes": [{"nodes": [1]}, {"nodes": [2]}]}, [10, 11]),
        ({}, [0, 21]),
        ({"scenes": []}, [0, 21]),
    ],
)
def test_only_the_scene_is_seen(scenes, expected):
    file = placed(0, 10, 20)
    file.json |= scenes
    low, high = bounds(file)
    assert [low[0], high[0]] == expected


def test_without_nodes_all_meshes_are_seen():
    file = Gltf()
    file.mesh(file.square())
    file.mesh(file.square())
    assert len(read(file).parts) == 2


def test_without_scenes_the_lesser_levels_of_detail_are_not_seen():
    file = placed(0, 10, 20)
    file.json["nodes"][0]["extensions"] = {"MSFT_lod": {"ids": [1, 2]}}
    file.json["extensionsUsed"] = ["MSFT_lod"]
    assert bounds(file) == UNIT and not read(file).warnings


def test_hidden_nodes_hide_what_is_below_them():
    file = placed(0, 10, 20)
    file.json["nodes"][1] |= {"extensions": {"KHR_node_visibility": {"visible": False}}, "children": [2]}
    file.json["scenes"] = [{"nodes": [0, 1]}]
    assert bounds(file) == UNIT


def instanced(attributes: dict[str, int], file: Gltf, **node) -> Gltf:
    extensions = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}
    return file.show({"mesh": file.mesh(file.square()), "extensions": extensions, **node})


def test_instances_are_scaled_turned_and_moved_below_their_node():
    file = Gltf()
    half = math.sqrt(0.5)
    attributes = {
        "TRANSLATION": file.accessor([(0, 0, 0), (10, 0, 0)]),
        "ROTATION": file.accessor([(0, 0, 0, 1), (0, 0, half, half)]),
        "SCALE": file.accessor([(1, 1, 1), (3, 1, 1)]),
        "_ID": file.accessor([1, 2]),
    }
    (part,) = read(instanced(attributes, file, scale=[2, 2, 2])).parts  # of both instances
    first, second = part.triangles.reshape(2, -1, 3)
    np.testing.assert_allclose([first.min(axis=0), first.max(axis=0)], [[0, 0, 0], [2, 2, 0]], atol=1e-6)
    np.testing.assert_allclose([second.min(axis=0), second.max(axis=0)], [[18, 0, 0], [20, 6, 0]], atol=1e-6)


@pytest.mark.parametrize(("component", "one"), [(BYTE, 127), (SHORT, 32767)])
def test_rotations_of_instances_may_be_normalised_integers(component, one):
    file = Gltf()
    half = round(one * math.sqrt(0.5))
    rotation = file.accessor([(half, 0, 0, half)], component, normalized=True)
    np.testing.assert_allclose(bounds(instanced({"ROTATION": rotation}, file)), [[0, 0, 0], [1, 0, 1]], atol=1e-4)


def test_children_of_a_node_with_instances_are_seen_once():
    file = Gltf()
    instanced({"TRANSLATION": file.accessor([(0, 0, 0), (5, 0, 0), (9, 0, 0)])}, file, children=[1])
    file.add("nodes", mesh=0, translation=[0, 7, 0])
    assert area(file) == 4.0 and bounds(file) == [[0, 0, 0], [10, 8, 0]]


def test_instances_of_different_numbers_are_an_error():
    file = Gltf()
    attributes = {"TRANSLATION": file.accessor([(0, 0, 0)]), "SCALE": file.accessor([(1, 1, 1)] * 2)}
    with pytest.raises(ValueError, match=r"EXT_mesh_gpu_instancing: its attributes have \[1, 2\] elements"):
        read(instanced(attributes, file))


@pytest.mark.parametrize(
    ("component", "one", "half"), [(FLOAT, 1, 0.5), (UBYTE, 254, 127), (USHORT, 65534, 32767), (FLOAT, 6, 3)]
)
def test_joints_move_by_their_weights_which_sum_to_one(component, one, half):
    file = Gltf()
    weights = [(one, 0, 0, 0), (0, one, 0, 0), (half, half, 0, 0), (one, 0, 0, 0)]
    skinned(file, [(0, 1, 0, 0)] * 4, weights, component)
    # (0, 0, 0) by the first joint, (1, 0, 0) by the second, (1, 1, 0) by half of each, (0, 1, 0) by the first.
    expected = [[10, 0, 0], [2, 20, 0], [(11 + 2) / 2, (1 + 22) / 2, 0], [10, 1, 0]]
    np.testing.assert_allclose(corners(file)[[0, 0, 0, 1], [0, 1, 2, 2]], expected, rtol=1e-6)


def test_inverse_bind_matrices_are_by_columns_and_come_first():
    file = Gltf()
    back = (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, -5, 0, 0, 1)  # moves by (-5, 0, 0)
    matrices = file.accessor([back, back])
    skinned(file, [(0, 1, 0, 0)] * 4, [(0, 1, 0, 0)] * 4, inverseBindMatrices=matrices)
    assert bounds(file) == [[-10, 20, 0], [-8, 22, 0]]


def test_a_skeleton_is_placed_by_what_is_above_it_and_may_lie_outside_the_scene():
    file = Gltf()
    skinned(file, [(0, 0, 0, 0)] * 4, [(1, 0, 0, 0)] * 4)
    file.json["nodes"].append({"children": [1], "scale": [3, 3, 3], "translation": [0, 0, 1]})
    for roots in ([0, 3], [0]):
        file.json["scenes"] = [{"nodes": roots}]
        assert bounds(file) == [[30, 0, 1], [33, 3, 1]]


def test_a_second_set_of_joints_counts():
    file = Gltf()
    skinned(file, [(0, 0, 0, 0)] * 4, [(0.5, 0, 0, 0)] * 4)
    attributes = file.json["meshes"][0]["primitives"][0]["attributes"]
    attributes["JOINTS_1"] = file.accessor([(1, 0, 0, 0)] * 4, USHORT)
    attributes["WEIGHTS_1"] = file.accessor([(0.5, 0, 0, 0)] * 4)
    # Half of (10, 0, 0) + p and half of (0, 20, 0) + 2 p.
    assert bounds(file) == [[5, 10, 0], [6.5, 11.5, 0]]


def test_joints_are_those_of_the_vertices_that_are_used():
    """The square's corners are the last four of twelve, of which the others hang on another joint."""
    file = Gltf()
    rows = [(50, 50, 50)] * 8 + SQUARE
    skinned(file, [(1, 0, 0, 0)] * 8 + [(0, 0, 0, 0)] * 4, [(1, 0, 0, 0)] * 12)
    primitive = file.json["meshes"][0]["primitives"][0]
    primitive["attributes"]["POSITION"] = file.accessor(rows)
    primitive["indices"] = file.accessor([8, 9, 10], UBYTE)
    assert corners(file).tolist() == [[[10, 0, 0], [11, 0, 0], [11, 1, 0]]]


def test_two_meshes_share_a_skin():
    file = Gltf()
    skinned(file, [(0, 0, 0, 0)] * 4, [(1, 0, 0, 0)] * 4)
    file.json["nodes"].append({"mesh": 0, "skin": 0})
    file.json["scenes"][0]["nodes"].append(3)
    assert area(file) == 2.0 and bounds(file) == [[10, 0, 0], [11, 1, 0]]


def test_a_joint_that_the_skin_lacks_is_an_error_unless_nothing_hangs_on_it():
    file = Gltf()
    skinned(file, [(0, 200, 0, 0)] * 4, [(1, 0, 0, 0)] * 4)
    assert bounds(file) == [[10, 0, 0], [11, 1, 0]]
    file = Gltf()
    skinned(file, [(0, 200, 0, 0)] * 4, [(0.5, 0.5, 0, 0)] * 4)
    with pytest.raises(ValueError, match="a joint that its skin lacks"):
        read(file)


@pytest.mark.parametrize(
    ("mesh", "node", "expected"),
    [
        ({}, {}, UNIT),
        ({"weights": [1, 0]}, {}, [[0, 0, 1], [1, 1, 1]]),
        ({"weights": [-0.5, 0.25]}, {}, [[0, 0, -0.5], [2, 1, -0.5]]),
        ({"weights": [1, 0]}, {"weights": [0, 1]}, [[0, 0, 0], [5, 1, 0]]),
        ({"weights": [1, 1]}, {"weights": [0, 0]}, UNIT),
        ({"weights": [0.5]}, {}, [[0, 0, 0.5], [1, 1, 0.5]]),
    ],
)
def test_morph_targets_count_by_the_weights_of_the_node_or_else_of_the_mesh(mesh, node, expected):
    assert bounds(morphed(Gltf(), node, **mesh)) == expected


def test_animations_do_not_move_what_is_seen():
    file = morphed(Gltf(), {"translation": [1, 0, 0]}, weights=[0, 0])
    times, moves = file.accessor([0.0, 1.0]), file.accessor([(5, 5, 5), (6, 6, 6)])
    channels = [{"sampler": 0, "target": {"node": 0, "path": path}} for path in ("translation", "weights")]
    file.add("animations", samplers=[{"input": times, "output": moves}], channels=channels)
    assert bounds(file) == [[1, 0, 0], [2, 1, 0]]


def test_quantized_positions_are_morphed():
    file = Gltf()
    rows = [tuple(127 * value for value in row) for row in SQUARE]
    position = file.accessor(rows, BYTE, normalized=True)
    moved = file.accessor([(0, 0, 127)] * 4, BYTE, normalized=True)
    primitive = file.square(attributes={"POSITION": position}, targets=[{"POSITION": moved}])
    assert bounds(file.show_mesh(primitive, weights=[0.5])) == [[0, 0, 0.5], [1, 1, 0.5]]


def test_colours_are_morphed():
    file = Gltf()
    paint = file.accessor([(1, 0, 0)] * 4)
    other = file.accessor([(-1, 0, 1)] * 4)
    primitive = file.square(attributes={"COLOR_0": paint}, targets=[{"COLOR_0": other}])
    assert color(file.show_mesh(primitive, weights=[1])) == [0, 0, 255]
