"""What looks like a face or a colour and is not understood is a warning or an error; what is harmless is neither."""

import io
import re
import struct

import numpy as np
import pytest
import trimesh
from support.tiny_gltf import gltf

from mrd_hf.models.shape_colors import names_like_colors
from mrd_hf.models.shape_files import read_shape
from mrd_hf.models.shapes import PointCloud, TexturedMesh
from mrd_hf.models.trimesh_shapes import convert_shape


XYZ = ["float x", "float y", "float z"]
TRIANGLE = ["0 0 0", "1 0 0", "0 1 0"]
FACE = {"face": (["list uchar int vertex_indices"], ["3 0 1 2"])}


def ply(properties=(), values="", comment=None, **others) -> bytes:
    """Three vertices with further properties, and further elements: their properties and rows."""
    elements = {"vertex": ([*XYZ, *properties], [f"{row} {values}" for row in TRIANGLE]), **others}
    lines = ["ply", "format ascii 1.0", *([f"comment {comment}"] if comment else [])]
    for name, (its_properties, rows) in elements.items():
        lines += [f"element {name} {len(rows)}", *(f"property {each}" for each in its_properties)]
    return "\n".join([*lines, "end_header", *(row for _, rows in elements.values() for row in rows), ""]).encode()


def off(header="OFF", vertices=TRIANGLE, faces=("3 0 1 2",), more=()) -> bytes:
    return "\n".join([header, f"3 {len(faces)} 0", *vertices, *faces, *more, ""]).encode()


def stl(spares, header=b"") -> bytes:
    facet = struct.pack("<12f", 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0)
    return header.ljust(80, b"\0") + struct.pack("<I", len(spares)) + b"".join(
        facet + struct.pack("<H", spare) for spare in spares
    )  # fmt: skip


def pcd(fields: str, row: str, sizes: str | None = None, kinds: str | None = None) -> bytes:
    count = len(fields.split())
    sizes, kinds = sizes or "4 " * count, kinds or "F " * count
    lines = [f"FIELDS {fields}", f"SIZE {sizes}", f"TYPE {kinds}", f"COUNT {'1 ' * count}", "WIDTH 2", "HEIGHT 1"]
    return "\n".join([*lines, "DATA ascii", row, row, ""]).encode()


def npz(**arrays) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


def triangle(*names: str, mode: int = 4) -> dict:
    """A glTF mesh whose attributes, all three numbers a vertex, have these names."""
    return {"primitives": [{"attributes": dict.fromkeys(names or ("POSITION",), 0), "mode": mode}]}


RGB = ["uchar red", "uchar green", "uchar blue"]
POINTS = np.eye(3)
# File: (content, what its one warning says)
WARNED = {
    "two-of-three.ply": (ply(RGB[:2], "255 0"), "colours of vertices not understood: red, green$"),
    "packed.ply": (ply(["uint64 rgba"], "4278190335"), "colours of vertices not understood: rgba$"),
    "other-names.ply": (ply(["float Col_R", "float vertexColor"], "1 0"), "not understood: vertexcolor$"),
    "single.ply": (ply(["float r", "float g"], "1 0", **FACE), "colours of vertices not understood: r, g$"),
    "corner-colors.ply": (
        ply(face=(["list uchar int vertex_indices", "list uchar float color"], ["3 0 1 2 3 1 0 0"])),
        "colours of faces not understood: color$",
    ),
    "both.ply": (
        ply(RGB, "255 0 0", face=(["list uchar int vertex_indices", *RGB], ["3 0 1 2 0 255 0"])),
        "face colours under vertex colours left out$",
    ),
    "strips.ply": (
        ply(**FACE, tristrips=(["list int int vertex_indices"], ["3 0 1 2"])),
        "element 'tristrips' of 1 rows beside faces left out$",
    ),
    "materials.ply": (ply(**FACE, material=(RGB, ["255 0 0"])), "element 'material' of 1 rows left out$"),
    "no-corners.ply": (ply(face=(FACE["face"][0], ["0", "0"])), "2 faces without any corner left out$"),
    "palette.off": (off(faces=["3 0 1 2 7"]), "colours of 1 faces left out: numbers of a colour map$"),
    "some.off": (off(vertices=[*TRIANGLE[:2], "0 1 0 255 0 0 255"]), "up to 4 numbers after some vertices left out"),
    "one-more.off": (off(vertices=[f"{row} 0.5" for row in TRIANGLE]), "up to 1 numbers after vertices left out"),
    "unannounced.off": (off(faces=[], more=["3 0 1 2", "3 0 2 1"]), "2 lines after the last vertex left out$"),
    "one-face-more.off": (off(more=["3 0 2 1"]), "1 lines after the last face left out$"),
    "dialect.stl": (stl([0, 31, 992]), "spare bytes of facets are not understood"),
    "colors-in-words.stl": (
        b"solid a\nfacet normal 0 0 1\ncolor 1 0 0\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\n"
        b"endfacet\nendsolid a\n",
        "colours in an ASCII file are no part of the format",
    ),
    "two-fields.pcd": (pcd("x y z r g", "1 2 3 255 0"), "colours not understood: fields r, g$"),
    "other-fields.pcd": (pcd("x y z color intensity", "1 2 3 255 0"), "colours not understood: fields color$"),
    "arrays.npz": (npz(points=POINTS, faces=POINTS, colours=POINTS, normals=POINTS), "out: faces, colours$"),
    "two-names.npz": (npz(points=POINTS, xyz=POINTS), "arrays left out: xyz$"),
    "second-colors.gltf": (
        gltf(meshes=[triangle("POSITION", "COLOR_0", "COLOR_1", "_RGB", "NORMAL")]),
        "vertex colours left out: COLOR_1, _RGB; those of COLOR_0 are read$",
    ),
    "nowhere.gltf": (
        gltf(meshes=[triangle(), triangle("NORMAL")], nodes=[{"mesh": 0, "children": [1]}, {"mesh": 1}]),
        "primitives without positions left out$",
    ),
    "other-scene.gltf": (
        gltf(
            meshes=[triangle(), triangle(), triangle()],
            scenes=[{"nodes": [0]}, {"nodes": [1]}],
            nodes=[{"mesh": 0}, {"mesh": 1}],
        ),
        "2 of 3 meshes left out: they are not in the scene$",
    ),
    "no-library.obj": (
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl a\nf 1 2 3\nusemtl b\nf 1 3 2\n",
        "2 materials without colours: no mtllib names a file of them$",
    ),
    "statements.obj": (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nvc 1 0 0\nf 1 2 3\n", "1 elements 'vc' left out$"),
    "many.npz": (npz(points=POINTS, **{f"a{number}": POINTS for number in range(20)}), "a7, ...$"),
}  # fmt: skip
ERRORS = {
    "no-list.ply": (
        ply(face=(["list uchar int corners", "uchar flags"], ["3 0 1 2 0"])),
        r"'face' has none of the lists vertex_indices.*\(it has corners, flags\)",
    ),
    "no-strip.ply": (ply(tristrips=(["list int int strip"], ["3 0 1 2"])), r"'tristrips' has none .*\(it has strip\)"),
    "wide.pcd": (pcd("x y z rgb", "1 2 3 255", "4 4 4 2", "F F F U"), "colours are of type uint16; expected 4 bytes"),
}
HARMLESS = {
    "normals.ply": ply(["float nx", "float ny", "float nz", "float quality"], "0 0 1 0.5", **FACE),
    "radius.ply": ply(["float r"], "0.5"),
    "radius.pcd": pcd("x y z r", "1 2 3 0.5"),
    "scored.ply": ply(["float scored", "float label", "float greenness"], "1 2 3"),
    "opaque.ply": ply([*RGB, "uchar alpha", "uchar ambient_red"], "255 0 0 255 9", **FACE),
    "none.ply": ply(face=(["list uchar int corners"], [])),
    "normals.gltf": gltf(meshes=[triangle("POSITION", "COLOR_0", "NORMAL", "_FEATURE_ID_0")]),
    "less-detail.gltf": gltf(
        meshes=[triangle(), triangle()],
        nodes=[{"mesh": 0, "extensions": {"MSFT_lod": {"ids": [1]}}}, {"mesh": 1}],
        extensionsUsed=["MSFT_lod"],
    ),
    "library.obj": b"v 0 0 0 1 0 0\nv 1 0 0 1 0 0\nv 0 1 0 1 0 0\nvn 0 0 1\nusemtl a\ns 1\ng b\nf 1//1 2//1 3//1\n",
    "normals.off": off("NOFF", [f"{row} 0 0 1" for row in TRIANGLE]),
    "colors.off": off(vertices=[f"{row} 255 0 0 255" for row in TRIANGLE], faces=["3 0 1 2 0 255 0"]),
    "magics.stl": stl([0, 31], b"COLOR=\xff\x00\x00\xff"),
    "viscam.stl": stl([0, 2**15 + 31]),
    "zeros.stl": stl([0, 0]),
    "intensity.pcd": pcd("x y z intensity label normal_x", "1 2 3 0.5 7 0"),
    "normals.npz": npz(points=POINTS, Normals=POINTS),
}


def read(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    return read_shape(tmp_path / name)


@pytest.mark.parametrize("name", WARNED)
def test_what_is_not_understood_is_said(name, tmp_path):
    content, expected = WARNED[name]
    (warning,) = read(tmp_path, name, content).warnings
    assert re.search(expected, warning), warning


@pytest.mark.parametrize("name", ERRORS)
def test_faces_that_are_not_understood_are_no_cloud(name, tmp_path):
    content, expected = ERRORS[name]
    with pytest.raises(ValueError, match=f"{name}: .*{expected}"):
        read(tmp_path, name, content)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_harmless_is_not_spoken_of(name, tmp_path):
    assert read(tmp_path, name, HARMLESS[name]).warnings == []


def test_faces_are_no_cloud_and_colors_are_those_of_the_vertices(tmp_path):
    mesh = read(tmp_path, "both.ply", WARNED["both.ply"][0])
    assert isinstance(mesh, TexturedMesh) and mesh.parts[0].corner_colors.tolist() == [[[255, 0, 0]] * 3]
    cloud = read(tmp_path, "no-corners.ply", WARNED["no-corners.ply"][0])
    assert isinstance(cloud, PointCloud) and len(cloud.points.xyz) == 3


@pytest.mark.parametrize(
    ("names", "like"),
    [
        (["red"], ["red"]),
        (["scalar_Red", "Green2", "x"], ["scalar_Red", "Green2"]),
        (["colour", "vertexColor", "packed_rgb", "BGRA"], ["colour", "vertexColor", "packed_rgb", "BGRA"]),
        (["r"], []),
        (["b", "x", "g"], ["b", "g"]),
        (["scored", "filtered", "blueprint", "bigr", "normal"], []),
    ],
)
def test_names_that_look_like_colors(names, like):
    assert names_like_colors(names) == like


def test_names_in_warnings_are_bounded_and_harmless(tmp_path):
    (warning,) = read(tmp_path, "a.npz", npz(points=POINTS, **{"\x1b[2J": POINTS, "x" * 1000: POINTS})).warnings
    assert warning.isprintable() and len(warning) <= 400 and "x" * 300 in warning


def test_objects_of_trimeshs_say_what_is_left_out_and_where_colors_are_from():
    box, cloud = trimesh.creation.box(), trimesh.PointCloud(np.eye(3))
    path = trimesh.load_path(np.array([[[0, 0, 0], [1, 1, 1]]]))
    mesh = convert_shape(trimesh.Scene([box, cloud, path]), "scene")
    assert mesh.warnings == ["1 paths left out", "1 sets of points beside the surface left out"]
    assert convert_shape(trimesh.Scene([cloud, path]), "scene").warnings == ["1 paths left out"]
    assert convert_shape(trimesh.Scene([box]), "scene").warnings == []
    for kind, source in (("vertex_colors", "vertex colours"), ("face_colors", "face colours")):
        colored = trimesh.creation.box()
        setattr(colored.visual, kind, [255, 0, 0, 255])
        (part,) = convert_shape(colored, "box").parts
        assert part.color_source == source and (part.corner_colors == [255, 0, 0]).all()
