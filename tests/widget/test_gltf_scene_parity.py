"""GLB files whose scene poses, hides or leaves out: the page reads what the Python package reads."""

import json

import numpy as np
import pytest
from support.gltf_writer import SQUARE, UBYTE, USHORT, Gltf
from support.posed_gltf import morphed, skinned
from support.widget_parity import assert_same_answers, assert_same_points, input_settings, write_files


SPLATS = "KHR_gaussian_splatting"
# Of several triangles, so that each is seen where it is.
HALF = [(1, 0, 0, 0), (0, 1, 0, 0), (0.5, 0.5, 0, 0), (1, 0, 0, 0)]


def test_skins(widget, tmp_path):
    back = (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, -5, 0, 0, 1)
    bound = Gltf()
    skinned(bound, [(0, 1, 0, 0)] * 4, HALF, inverseBindMatrices=bound.accessor([back, back]))
    texts = {"bound": bound, "plain": skinned(Gltf(), [(0, 1, 0, 0)] * 4, HALF)}
    texts["bytes"] = skinned(Gltf(), [(0, 1, 0, 0)] * 4, [(254, 0, 0, 0), (127, 127, 0, 0)] * 2, UBYTE)
    texts["unused_slots"] = skinned(Gltf(), [(0, 200, 0, 0)] * 4, [(1, 0, 0, 0)] * 4)
    texts["no_weights"] = skinned(Gltf(), [(0, 1, 0, 0)] * 4, [(0, 0, 0, 0), *HALF[1:]])
    second = skinned(Gltf(), [(0, 0, 0, 0)] * 4, [(0.5, 0, 0, 0)] * 4)
    attributes = second.json["meshes"][0]["primitives"][0]["attributes"]
    attributes["JOINTS_1"] = second.accessor([(1, 0, 0, 0)] * 4, USHORT)
    attributes["WEIGHTS_1"] = second.accessor([(0.5, 0, 0, 0), (0.25, 0, 0, 0)] * 2)
    texts["two_sets"] = second
    for name, roots in (("above", [0, 3]), ("outside", [0])):
        texts[name] = skinned(Gltf(), [(0, 1, 0, 0)] * 4, HALF)
        texts[name].json["nodes"].append({"children": [1], "scale": [3, 3, 3], "translation": [0, 0, 1]})
        texts[name].json["scenes"] = [{"nodes": roots}]
    shared = skinned(Gltf(), [(0, 1, 0, 0)] * 4, HALF)
    shared.json["nodes"].append({"mesh": 0, "skin": 0})
    shared.json["nodes"].append({"mesh": shared.mesh(shared.square()), "skin": 0, "translation": [1, 2, 3]})
    shared.json["scenes"][0]["nodes"] += [3, 4]
    texts["shared_and_without_joints"] = shared
    few = skinned(Gltf(), [(9, 0, 0, 0)] * 8 + [(0, 1, 0, 0)] * 4, [(1, 0, 0, 0)] * 8 + HALF)
    primitive = few.json["meshes"][0]["primitives"][0]
    primitive["attributes"]["POSITION"] = few.accessor([(50, 50, 50)] * 8 + SQUARE)
    primitive["indices"] = few.accessor([8, 9, 10], UBYTE)
    texts["few_of_many_vertices"] = few
    files = write_files(tmp_path, "glb", {name: file.glb() for name, file in texts.items()})
    assert_same_points(widget, files, normalize=False)


def test_what_is_no_skin_is_refused(widget, tmp_path):
    lacking = skinned(Gltf(), [(0, 200, 0, 0)] * 4, [(0.5, 0.5, 0, 0)] * 4)
    short = Gltf()
    skinned(short, [(0, 1, 0, 0)] * 4, HALF, inverseBindMatrices=short.accessor([(1, 0, 0, 0) * 4]))
    lost = skinned(Gltf(), [(0, 1, 0, 0)] * 4, HALF)
    lost.json["nodes"][0]["skin"] = 7
    outside = skinned(Gltf(), [(0, 1, 0, 0)] * 4, HALF)
    outside.json["skins"][0]["joints"] = [1, 77]
    files = {"lacking": lacking, "short": short, "lost": lost, "outside": outside}
    refused = assert_same_answers(
        widget, write_files(tmp_path, "glb", {name: file.glb() for name, file in files.items()})
    )
    assert refused.keys() == files.keys()
    assert "a joint that its skin lacks" in refused["lacking"]


def test_morph_targets(widget, tmp_path):
    texts = {
        "none": morphed(Gltf(), {}),
        "of_the_mesh": morphed(Gltf(), {}, weights=[-0.5, 0.25]),
        "of_the_node": morphed(Gltf(), {"weights": [0, 1]}, weights=[1, 0]),
        "fewer": morphed(Gltf(), {}, weights=[0.5]),
        "more": morphed(Gltf(), {}, weights=[0.5, 0.5, 0.5]),
    }
    colored = Gltf()
    targets = [{"COLOR_0": colored.accessor([(0, 0.5, 0)] * 4), "TEXCOORD_0": colored.accessor([(1, 1)] * 4)}]
    attributes = {"COLOR_0": colored.accessor([(1, 0, 0)] * 4)}
    colored.show_mesh(colored.square(attributes=attributes, targets=targets), weights=[0.5])
    texts["colored"] = colored
    files = write_files(tmp_path, "glb", {name: file.glb() for name, file in texts.items()})
    assert_same_points(widget, files, normalize=False)
    short = Gltf()
    targets = [{"POSITION": short.accessor([(0, 0, 1)] * 3)}]
    short.show_mesh(short.square(targets=targets), weights=[1])
    refused = assert_same_answers(widget, write_files(tmp_path, "glb", {"short": short.glb()}))
    assert "does not fit" in refused["short"]


def test_gaussian_splats(widget, tmp_path):
    texts = {}
    for name, space in (("plain", {}), ("linear", {"colorSpace": "lin_rec709_display"})):
        for seen in ((1.0, 0.9, 0.5, 0.01), (0.0, 0.0, 0.01, 0.02)):
            file = Gltf()
            attributes = {
                "POSITION": file.accessor(SQUARE),
                f"{SPLATS}:SH_DEGREE_0_COEF_0": file.accessor([(2, 2, 2), (-2, -2, -2), (0, 1, -1), (2, -2, -2)]),
                f"{SPLATS}:OPACITY": file.accessor(list(seen)),
            }
            file.json["extensionsUsed"] = file.json["extensionsRequired"] = [SPLATS]
            file.show_mesh({"attributes": attributes, "mode": 0, "extensions": {SPLATS: space}})
            texts[f"{name}_{seen[0]}"] = file.glb()
    assert_same_points(widget, write_files(tmp_path, "glb", texts))


def test_nodes_that_would_take_any_memory(widget, tmp_path):
    many, placed = Gltf(), Gltf()
    mesh = many.mesh(many.square())
    many.add("nodes", children=[0] * 1_000_000, mesh=mesh)
    many.json["scenes"] = [{"nodes": [0]}]
    places = placed.add("accessors", componentType=5126, count=50_000, type="VEC3")
    instances = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": places}}}
    mesh = placed.mesh(placed.square())
    placed.show(*[{"mesh": mesh, "extensions": instances}] * 300)
    files = {"children": many.glb(), "instances": placed.glb()}
    refused = assert_same_answers(widget, write_files(tmp_path, "glb", files))
    assert refused == {
        "children": "its nodes are too many, or nested in a circle",
        "instances": "it places meshes 250,000 times",
    }


def scene(*names: str, mesh: str = "chair") -> bytes:
    """Squares side by side, of nodes with these names, each the child of the one before."""
    file = Gltf()
    number = file.mesh(file.square(), name=mesh)
    for place, name in enumerate(names):
        below = {"children": [place + 1]} if place + 1 < len(names) else {}
        file.add("nodes", mesh=number, name=name, translation=[2, 0, 0.1 * place], **below)
    file.json["scenes"] = [{"nodes": [0]}]
    return file.glb()


def obj(*lines: str) -> str:
    """Triangles side by side, each after one of the lines."""
    text = "".join(f"v {x} 0 0\nv {x} 1 0\nv {x} 0 1\n" for x in range(len(lines)))
    return text + "".join(f"{line}\nf {3 * i + 1} {3 * i + 2} {3 * i + 3}\n" for i, line in enumerate(lines))


SCENES = {
    "capitals": scene("seat", "UCX_seat"),
    "below": scene("a", "my collider", "b"),
    "suffix": scene("wall-convcolonly", "wall"),
    "nothing_else": scene("UCX_a"),
    "no_collision": scene("collection", "usp_slide", "wall-col.001"),
    "mesh": scene("a", mesh="COLLISION"),
}
OBJECTS = {
    "objects": obj("o seat", "o UCX_seat", "o legs"),
    "groups": obj("g seat", "g colliders", "g legs"),
    "group_in_object": obj("o seat", "o UCX_seat\ng default", "o legs"),
    "two_groups": obj("g seat", "g all UCX_seat", "g all legs"),
    "material": obj("usemtl a", "usemtl collision", "usemtl b"),
    "in_force": obj("", "g a-col", ""),
}


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"keep_collision": True},
        {"skip_parts": "^(seat|b)$"},
        {"skip_parts": "(?i)SEAT"},
        {"skip_parts": "all|^a"},
        {"skip_parts": "^$"},
    ],
)
def test_parts_that_are_left_out(widget, tmp_path, choice):
    files = write_files(tmp_path, "glb", SCENES) + write_files(tmp_path, "obj", OBJECTS)
    found = assert_same_answers(widget, files, **choice)
    # Of some files `skip_parts` leaves nothing.
    assert bool(found) == ("skip_parts" in choice) and len(found) < len(files)
    assert all("matches all its parts" in message for message in found.values())


def test_an_expression_that_is_pythons_alone_leaves_nothing_out(widget, tmp_path):
    (file,) = write_files(tmp_path, "glb", {"a": scene("a", "b")})
    (plain,) = widget.prepare([file], input_settings())
    (kept,) = widget.prepare([file], input_settings(skip_parts="(?P<name>b)"))
    assert (plain == kept).all()
    assert "is not understood here" in widget.warnings[0][0]


def test_classes_of_letters_are_said_where_names_have_others(widget, tmp_path):
    files = write_files(tmp_path, "glb", {"plain": scene("a", "b_ground"), "other": scene("a", "W\u00e4nde_ground")})
    widget.prepare(files, input_settings(skip_parts=r"^\w+_ground$"))
    (left_out,), (first, *_) = widget.warnings
    assert left_out.startswith("1 of 2 parts left out") and "other letters than a to z" in first


def test_instances_are_limited_by_the_files_that_a_file_names_too(widget, tmp_path):
    """As in a GLB, whose size is that of both."""
    placed = Gltf()
    places = np.random.default_rng(0).random((250_000, 3), dtype=np.float32)
    view = placed.view(places.tobytes())
    accessor = placed.add("accessors", bufferView=view, componentType=5126, count=len(places), type="VEC3")
    instances = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": accessor}}}
    placed.show({"mesh": placed.mesh(placed.square()), "extensions": instances})
    (tmp_path / "scene.bin").write_bytes(placed.buffer)
    header = {**placed.json, "buffers": [{"byteLength": len(placed.buffer), "uri": "scene.bin"}]}
    (tmp_path / "scene.gltf").write_text(json.dumps(header))
    assert_same_points(widget, [tmp_path / "scene.gltf"])
