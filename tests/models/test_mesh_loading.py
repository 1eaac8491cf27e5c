import io

import numpy as np
import pytest
import trimesh
from PIL import Image
from support.textured_square import textured_square
from support.tiny_gltf import gltf

from mrd_hf.models.mesh_loading import AssetResolver, read_mesh
from mrd_hf.models.shape_files import colored_points, read_shape
from mrd_hf.models.shapes import DEFAULT_COLOR, MeshError, TexturedMesh
from mrd_hf.models.textures import MAX_TEXTURE_SIZE, texture_to_rgba
from mrd_hf.models.trimesh_shapes import convert_shape


QUAD = """mtllib quad.mtl
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl paint
f 1/1 2/2 3/3
f 1/1 3/3 4/4
"""
BARE_QUAD = "mtllib quad.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nusemtl paint\nf 1 2 3 4\n"


def image_bytes(image: Image.Image, image_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format)
    return buffer.getvalue()


def read_obj(obj: str, files: dict[str, bytes | str]):
    contents = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
    return read_mesh(io.BytesIO(obj.encode()), "obj", AssetResolver("", contents.get), "quad.obj")


def test_texture_replaces_a_black_diffuse_color():
    texture = image_bytes(Image.new("RGB", (2, 2), (10, 200, 30)))
    mesh = read_obj(QUAD, {"quad.mtl": "newmtl paint\nKd 0 0 0\nmap_Kd t.png\n", "t.png": texture})
    (part,) = mesh.parts
    assert part.texture is not None and (part.texture == (10, 200, 30, 255)).all()
    assert part.uv.shape == (2, 3, 2) and part.triangles.shape == (2, 3, 3)
    assert mesh.warnings == []


@pytest.mark.parametrize(
    ("mtl", "color"),
    [
        ("newmtl paint\nKd 1 0.5 0\n", (255, 128, 0)),
        ("newmtl paint\nKd 1 0.5 0\nd 0.1\n", (255, 128, 0)),  # glass shows its diffuse color
        ("newmtl paint\nKd 7 -1 0\n", (255, 0, 0)),
        ("newmtl paint\nNs 10\n", DEFAULT_COLOR),
        ("newmtl paint\nKd nan 0 0\n", DEFAULT_COLOR),
        ("newmtl other\nKd 1 0 0\n", DEFAULT_COLOR),
    ],
)
def test_colors_without_a_texture(mtl, color):
    (part,) = read_obj(BARE_QUAD, {"quad.mtl": mtl}).parts
    assert part.texture is None
    assert (part.corner_colors == color).all()


def test_no_material_at_all_is_light_grey():
    (part,) = read_obj("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", {}).parts
    assert (part.corner_colors == DEFAULT_COLOR).all() and min(DEFAULT_COLOR) > 150


def test_several_materials_keep_their_own_textures():
    obj = QUAD.replace("f 1/1 3/3 4/4", "usemtl glaze\nf 1/1 3/3 4/4\nusemtl plain\nf 1 2 4")
    mtl = "newmtl paint\nmap_Kd a.png\nnewmtl glaze\nmap_Kd b.png\nnewmtl plain\nKd 0 1 0\n"
    files = {
        "quad.mtl": mtl,
        "a.png": image_bytes(Image.new("RGB", (2, 2), (255, 0, 0))),
        "b.png": image_bytes(Image.new("RGB", (2, 2), (0, 0, 255))),
    }
    parts = read_obj(obj, files).parts
    shown = sorted(
        tuple(part.corner_colors[0, 0]) if part.texture is None else tuple(part.texture[0, 0, :3]) for part in parts
    )
    assert shown == [(0, 0, 255), (0, 255, 0), (255, 0, 0)]


@pytest.mark.parametrize(
    ("obj", "files", "warning"),
    [
        (QUAD, {}, "file not found: t.png"),
        (QUAD, {"t.png": b"not an image"}, "texture cannot be read: t.png (no picture"),
        (BARE_QUAD, {"t.png": image_bytes(Image.new("RGB", (2, 2)))}, "texture without coordinates: material paint"),
        (
            QUAD,
            {"t.png": image_bytes(Image.new("RGB", (64, 64), 7))[:-40]},
            "texture cannot be read: t.png (image",
        ),
    ],
)
def test_unusable_texture_falls_back_to_the_diffuse_color(obj, files, warning):
    mesh = read_obj(obj, {"quad.mtl": "newmtl paint\nKd 0 0 1\nmap_Kd t.png\n", **files})
    (part,) = mesh.parts
    assert part.texture is None and (part.corner_colors == (0, 0, 255)).all()
    assert len(mesh.warnings) == 1 and mesh.warnings[0].startswith(warning)


def test_missing_material_library_is_reported():
    mesh = read_obj(QUAD, {})
    assert mesh.warnings == ["file not found: quad.mtl"]
    assert mesh.parts[0].texture is None  # trimesh makes one up
    assert (mesh.parts[0].corner_colors == DEFAULT_COLOR).all()


@pytest.mark.parametrize(
    "reference", ["C:\\models\\t.png", "/home/author/t.png", "-s 1 1 1 -clamp on t.png", "./t.png"]
)
def test_texture_is_found_beside_the_mesh_whatever_the_reference(reference):
    texture = image_bytes(Image.new("RGB", (2, 2), (1, 2, 3)))
    mesh = read_obj(QUAD, {"quad.mtl": f"newmtl paint\nmap_Kd {reference}\n", "t.png": texture})
    assert mesh.parts[0].texture is not None and mesh.warnings == []


def test_resolver_stays_relative_to_its_folder():
    asked: list[str] = []
    resolver = AssetResolver("lib/chair", lambda name: asked.append(name))
    with pytest.raises(FileNotFoundError, match=r"file not found: \.\./common/wood\.png"):
        resolver.get("../common/wood.png")
    assert asked == ["lib/common/wood.png", "lib/chair/wood.png"]


def test_faces_that_are_not_finite_are_dropped():
    mesh = read_obj("v 0 0 0\nv 1 0 0\nv 0 1 0\nv nan 0 0\nv inf 0 0\nf 1 2 3\nf 1 2 4\nf 1 2 5\n", {})
    assert sum(len(part.triangles) for part in mesh.parts) == 1
    assert mesh.warnings == ["2 of 3 faces dropped: vertices that are not finite"]


@pytest.mark.parametrize(
    "obj", ["", "v 0 0 0\nv 1 0 0\n", "v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "v 0 0 0\nv 1 0 0\nv nan 0 0\nf 1 2 3\n"]
)
def test_mesh_without_a_surface_is_an_error_that_names_it(obj):
    with pytest.raises(MeshError, match=r"quad\.obj"):
        read_obj(obj, {})


def test_unreadable_files_are_errors_that_name_them(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.obj: no such file"):
        read_shape(tmp_path / "gone.obj")
    (tmp_path / "bad.glb").write_bytes(b"glTF but not really")
    with pytest.raises(MeshError, match=r"bad\.glb: cannot be read as 'glb'"):
        read_shape(tmp_path / "bad.glb")
    (tmp_path / "bad.xyzzy").write_bytes(b"what is this")
    with pytest.raises(ValueError, match=r"bad\.xyzzy: files with the suffix '.xyzzy' are not known"):
        read_shape(tmp_path / "bad.xyzzy")


def test_mesh_on_the_disk_with_its_texture(tmp_path):
    (tmp_path / "quad.obj").write_text(QUAD)
    (tmp_path / "quad.mtl").write_text("newmtl paint\nmap_Kd maps/t.png\n")
    (tmp_path / "maps").mkdir()
    Image.new("RGB", (2, 2), (9, 8, 7)).save(tmp_path / "maps" / "t.png")
    (part,) = read_shape(tmp_path / "quad.obj").parts
    assert tuple(part.texture[0, 0]) == (9, 8, 7, 255)


@pytest.fixture
def outside(tmp_path):
    """A folder for a mesh; beside it, not below, a red texture, an MTL file and a buffer of triangle corners."""
    (tmp_path / "folder" / "maps").mkdir(parents=True)
    Image.new("RGB", (2, 2), (255, 0, 0)).save(tmp_path / "secret.png")
    (tmp_path / "secret.mtl").write_text("newmtl paint\nKd 1 0 0\n")
    (tmp_path / "secret.bin").write_bytes(np.eye(3, dtype="<f4").tobytes())
    return tmp_path


REFERENCES = ["../secret", "maps/../../secret", "{outside}/secret", "..\\secret", "../folder/../secret"]


@pytest.mark.parametrize("reference", REFERENCES)
def test_no_texture_or_material_outside_the_meshs_folder_is_read(outside, monkeypatch, reference):
    reference = reference.format(outside=outside)
    (outside / "folder" / "a.obj").write_text(QUAD)
    (outside / "folder" / "quad.mtl").write_text(f"newmtl paint\nKd 0 0 1\nmap_Kd {reference}.png\n")
    (outside / "folder" / "b.obj").write_text(QUAD.replace("quad.mtl", f"{reference}.mtl"))
    monkeypatch.chdir(outside / "folder")
    for folder in (outside / "folder", "", "../folder"):
        textured, untextured = (read_shape(f"{folder}/{name}" if folder else name) for name in ("a.obj", "b.obj"))
        assert textured.parts[0].texture is None and (textured.parts[0].corner_colors == (0, 0, 255)).all()
        assert not untextured.parts[0].is_colored
        for mesh, suffix in ((textured, "png"), (untextured, "mtl")):
            (warning,) = mesh.warnings
            assert warning.startswith(f"file may not be read: {reference}.{suffix}; only the mesh's own folder")


@pytest.mark.parametrize("reference", REFERENCES)
def test_no_buffer_outside_the_meshs_folder_is_read(outside, reference):
    reference = f"{reference.format(outside=outside)}.bin"
    triangle = gltf(buffers=[{"byteLength": 36, "uri": reference}])
    (outside / "folder" / "a.gltf").write_bytes(triangle)
    with pytest.raises(MeshError, match=r"a\.gltf: cannot be read as 'gltf'"):
        read_shape(outside / "folder" / "a.gltf")
    (outside / "secret.bin").rename(outside / "folder" / "secret.bin")  # beside the mesh, it is found by its name
    assert read_shape(outside / "folder" / "a.gltf").parts[0].triangles.tolist() == [np.eye(3).tolist()]


def test_absolute_reference_falls_back_to_the_file_beside_the_mesh(outside):
    Image.new("RGB", (2, 2), (0, 255, 0)).save(outside / "folder" / "secret.png")
    (outside / "folder" / "a.obj").write_text(QUAD)
    (outside / "folder" / "quad.mtl").write_text(f"newmtl paint\nmap_Kd {outside}/secret.png\n")
    mesh = read_shape(outside / "folder" / "a.obj")
    assert (mesh.parts[0].texture == (0, 255, 0, 255)).all() and mesh.warnings == []


def test_links_within_the_folder_are_followed(outside):
    # The Hub's cache keeps a repository as a folder of links.
    (outside / "quad.mtl").write_text("newmtl paint\nmap_Kd t.png\n")
    (outside / "a.obj").write_text(QUAD)
    for name, target in (("a.obj", "a.obj"), ("quad.mtl", "quad.mtl"), ("t.png", "secret.png")):
        (outside / "folder" / name).symlink_to(outside / target)
    mesh = read_shape(outside / "folder" / "a.obj")
    assert (mesh.parts[0].texture == (255, 0, 0, 255)).all() and mesh.warnings == []


def test_vertex_and_face_colors(tmp_path):
    corners = np.array([[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255]], dtype=np.uint8)
    triangle = {"vertices": [[0, 0, 0], [1, 0, 0], [0, 1, 0]], "faces": [[0, 1, 2]], "process": False}
    trimesh.Trimesh(**triangle, vertex_colors=corners).export(tmp_path / "vertex.ply")
    trimesh.Trimesh(**triangle, face_colors=corners[:1]).export(tmp_path / "face.ply")
    (by_vertex,) = read_shape(tmp_path / "vertex.ply").parts
    (by_face,) = read_shape(tmp_path / "face.ply").parts
    assert (by_vertex.corner_colors[0] == corners[:, :3]).all()
    assert (by_face.corner_colors == (255, 0, 0)).all()


def glb(tmp_path, **material):
    mesh = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False)
    mesh.visual = trimesh.visual.TextureVisuals(
        uv=np.array([[0, 0], [1, 0], [0, 1]]), material=trimesh.visual.material.PBRMaterial(**material)
    )
    scene = trimesh.Scene()
    scene.add_geometry(mesh, transform=trimesh.transformations.translation_matrix([0, 0, 5]))
    scene.export(tmp_path / "mesh.glb")
    (part,) = read_shape(tmp_path / "mesh.glb").parts
    return part


def test_gltf_base_color_is_linear_and_multiplies_the_texture(tmp_path):
    # Half of the light is 188 in sRGB, as the glTF specification has it.
    plain = glb(tmp_path, baseColorFactor=[128, 255, 0, 255])
    assert plain.texture is None
    assert np.abs(plain.corner_colors.astype(int) - (188, 255, 0)).max() <= 1
    textured = glb(
        tmp_path,
        baseColorFactor=[128, 255, 0, 255],
        baseColorTexture=Image.new("RGBA", (2, 2), (255, 188, 99, 0)),
    )
    assert np.abs(textured.texture.astype(int) - (188, 188, 0, 255)).max() <= 1  # opaque unless it says otherwise
    cut_out = glb(tmp_path, alphaMode="MASK", baseColorTexture=Image.new("RGBA", (2, 2), (255, 188, 99, 0)))
    assert (cut_out.texture[..., 3] == 0).all()


def test_scene_transforms_apply(tmp_path):
    assert (glb(tmp_path, baseColorFactor=[1.0, 1.0, 1.0, 1.0]).triangles[..., 2] == 5).all()


def test_rotated():
    mesh = read_obj(BARE_QUAD, {"quad.mtl": "newmtl paint\nKd 1 0 0\n"})
    quarter_turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])  # x becomes y
    corners = {tuple(corner) for part in mesh.rotated(quarter_turn).parts for corner in part.triangles.reshape(-1, 3)}
    assert corners == {(0, 0, 0), (0, 1, 0), (-1, 1, 0), (-1, 0, 0)}


SIXTEEN_BITS = np.array([[0, 65535], [32896, 257]], dtype=np.uint16)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGB", (2, 2), (1, 2, 3)), (1, 2, 3, 255)),
        (Image.new("RGBA", (2, 2), (1, 2, 3, 4)), (1, 2, 3, 4)),
        (Image.new("L", (2, 2), 77), (77, 77, 77, 255)),
        (Image.new("LA", (2, 2), (77, 5)), (77, 77, 77, 5)),
        (Image.new("1", (2, 2), 1), (255, 255, 255, 255)),
        (Image.new("RGB", (2, 2), (200, 100, 0)).quantize(4), (200, 100, 0, 255)),
        (Image.new("CMYK", (2, 2), (0, 255, 255, 0)), (255, 0, 0, 255)),
        (Image.new("F", (2, 2), 0.5), (128, 128, 128, 255)),
        (Image.fromarray(SIXTEEN_BITS), [[0, 255], [128, 1]]),
        (Image.fromarray(SIXTEEN_BITS.astype(np.int32)), [[0, 255], [128, 1]]),
    ],
    ids=["RGB", "RGBA", "L", "LA", "1", "P", "CMYK", "F", "I;16", "I"],
)
def test_every_image_mode(image, expected):
    pixels = texture_to_rgba(image)
    assert pixels.dtype == np.uint8 and pixels.shape == (2, 2, 4)
    if isinstance(expected, tuple):
        assert np.abs(pixels.astype(int) - expected).max() <= 1
    else:
        assert (pixels[..., 0] == expected).all() and (pixels[..., 3] == 255).all()


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_large_textures_are_reduced(image_format):
    data = image_bytes(Image.new("RGB", (3 * MAX_TEXTURE_SIZE, 10), (50, 60, 70)), image_format)
    pixels = texture_to_rgba(Image.open(io.BytesIO(data)))
    assert pixels.shape[1] == MAX_TEXTURE_SIZE
    assert np.abs(pixels[..., :3].astype(int) - (50, 60, 70)).max() <= 2


PLY = (
    "ply\nformat ascii 1.0\nelement vertex 3\nproperty double x\nproperty double y\nproperty double z\n"
    "property {kind} red\nproperty {kind} green\nproperty {kind} blue\nelement face {faces}\n"
    "property list uchar int vertex_indices\nend_header\n0 0 0 {rows[0]}\n1000000.001 0 0 {rows[1]}\n0 1 0 {rows[2]}\n"
)
BYTES = ("255 0 0", "0 255 0", "1 2 3")


def test_ply_without_faces_is_its_points(tmp_path):
    (tmp_path / "a.ply").write_text(PLY.format(kind="uchar", faces=0, rows=BYTES))
    xyz, rgb = read_shape(tmp_path / "a.ply").points
    assert xyz.tolist() == [[0, 0, 0], [1000000.001, 0, 0], [0, 1, 0]]
    assert rgb.tolist() == [[255, 0, 0], [0, 255, 0], [1, 2, 3]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n"),
        ("a.off", "OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n"),
        ("a.ply", "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
                  "end_header\n0 0 0\n1 0 0\n0 1 0\n"),
    ],
)  # fmt: skip
def test_points_without_colors(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    xyz, rgb = read_shape(tmp_path / name).points
    assert xyz.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]] and rgb is None
    with (tmp_path / name).open("rb") as file, pytest.raises(MeshError, match=f"{name}: 3 points and no face"):
        read_mesh(file, name[2:], AssetResolver("", lambda _: None), name)


def test_points_of_a_glb_are_placed_and_keep_their_colors(tmp_path):
    scene = trimesh.Scene()
    colors = np.array([[255, 0, 0, 255], [0, 0, 255, 255]], dtype=np.uint8)
    scene.add_geometry(trimesh.PointCloud([[0, 0, 0], [1, 0, 0]], colors=colors))
    scene.add_geometry(
        trimesh.PointCloud([[0, 0, 1.0]]), transform=trimesh.transformations.translation_matrix([0, 0, 5])
    )
    scene.export(tmp_path / "a.glb")
    # What says no colour is white by glTF's specification, and grey elsewhere.
    shapes = ((read_shape(tmp_path / "a.glb"), (255, 255, 255)), (convert_shape(scene, "scene"), DEFAULT_COLOR))
    for cloud, default in shapes:
        xyz, rgb = cloud.points
        rows = {(*point, *color) for point, color in zip(xyz.tolist(), rgb.tolist(), strict=True)}
        assert rows == {(0, 0, 0, 255, 0, 0), (1, 0, 0, 0, 0, 255), (0, 0, 6, *default)}


def test_file_without_anything_is_an_error_that_names_it(tmp_path):
    (tmp_path / "a.off").write_text("OFF\n0 0 0\n")
    with pytest.raises(MeshError, match=r"a\.off"):
        read_shape(tmp_path / "a.off")
    with pytest.raises(MeshError, match="nothing: no faces and no points"):
        convert_shape(trimesh.Scene(), "nothing")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.ply",
            PLY.format(kind="float", faces=0, rows=("255 0 0", "0 0.5 0", "1 1 1")),
            "0 to 255, stored as float32",
        ),
        ("a.ply", PLY.format(kind="int", faces=0, rows=("65535 0 0", "0 0 0", "1 1 1")), "0 to 65535"),
        ("a.ply", PLY.format(kind="float", faces=1, rows=("0 -1 0", "0 0 0", "1 1 1")) + "3 0 1 2\n", "-1 to 1"),
        ("a.ply", PLY.format(kind="float", faces=1, rows=("0 nan 0", "0 0 0", "1 1 1")) + "3 0 1 2\n", "nan"),
        ("a.obj", "v 0 0 0 255 0 0\nv 1 0 0 0 25.5 0\nv 0 1 0 0 0 255\nf 1 2 3\n", "0 to 255"),
        ("a.OBJ", "v 0 0 0 255 0 0\nv 1 0 0 0 25.5 0\nv 0 1 0 0 0 255\n", "0 to 255"),
    ],
)
def test_colors_beyond_their_range_are_not_clipped(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(MeshError, match=rf"(?i)a\.\w+: .*colours from {message}.*expected (floats|numbers) in 0..1"):
        read_shape(tmp_path / name)


def test_float_vertex_colors(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0 1 0 0\nv 1 0 0 0 0.5 0\nv 0 1 0 0 0 1\nf 1 2 3\n")
    (tmp_path / "a.ply").write_text(PLY.format(kind="float", faces=1, rows=("1 0 0", "0 .5 0", "0 0 1")) + "3 0 1 2\n")
    for name in ("a.obj", "a.ply"):
        (part,) = read_shape(tmp_path / name).parts
        assert part.is_colored and part.corner_colors.tolist() == [[[255, 0, 0], [0, 128, 0], [0, 0, 255]]]


def test_a_mesh_that_says_nothing_of_colors_is_not_colored(tmp_path):
    trimesh.creation.box().export(tmp_path / "a.stl")
    (part,) = read_shape(tmp_path / "a.stl").parts
    assert not part.is_colored and (part.corner_colors == DEFAULT_COLOR).all()
    assert not read_obj(BARE_QUAD, {}).parts[0].is_colored
    assert read_obj(BARE_QUAD, {"quad.mtl": "newmtl paint\nKd .1 .1 .1\n"}).parts[0].is_colored
    texture = image_bytes(Image.new("RGB", (2, 2)))
    assert read_obj(QUAD, {"quad.mtl": "newmtl paint\nmap_Kd t.png\n", "t.png": texture}).parts[0].is_colored


@pytest.mark.parametrize(
    ("material", "color"),
    [
        (trimesh.visual.material.SimpleMaterial(diffuse=[10, 20, 30]), (10, 20, 30)),
        (trimesh.visual.material.SimpleMaterial(), DEFAULT_COLOR),
        (trimesh.visual.material.PBRMaterial(baseColorFactor=[128, 255, 0, 255]), (188, 255, 0)),
        (trimesh.visual.material.PBRMaterial(), DEFAULT_COLOR),
    ],
)
def test_materials_of_objects_in_memory(material, color):
    mesh = trimesh.creation.box()
    mesh.visual = trimesh.visual.TextureVisuals(uv=np.zeros((8, 2)), material=material)
    (part,) = convert_shape(mesh, "box").parts
    assert part.corner_colors[0, 0] == pytest.approx(color, abs=1) and part.texture is None
    assert part.is_colored == (color != DEFAULT_COLOR)


@pytest.mark.parametrize(
    ("mode", "cutoff", "factor", "seen"),
    [
        (None, None, 255, [0, 1, 60, 100, 128, 160, 230, 255]),
        ("OPAQUE", 0.9, 128, [0, 1, 60, 100, 128, 160, 230, 255]),
        ("BLEND", None, 255, [1, 60, 100, 128, 160, 230, 255]),
        ("BLEND", 0.9, 100, [1, 60, 100, 128, 160, 230, 255]),
        ("MASK", None, 255, [128, 160, 230, 255]),
        ("MASK", 0.25, 255, [100, 128, 160, 230, 255]),
        ("MASK", 0.9, 255, [230, 255]),
        ("MASK", 0.25, 128, [128, 160, 230, 255]),
        ("MASK", 0, 255, [0, 1, 60, 100, 128, 160, 230, 255]),
    ],
)
def test_opacity_of_objects_in_memory_is_that_of_their_files(tmp_path, mode, cutoff, factor, seen):
    opacities = np.array([0, 1, 60, 100, 128, 160, 230, 255], dtype=np.uint8)
    texels = np.full((2, 8, 4), 90, dtype=np.uint8)
    texels[..., 3] = opacities
    square = textured_square(Image.fromarray(texels))
    square.visual.material.alphaMode, square.visual.material.alphaCutoff = mode, cutoff
    square.visual.material.baseColorFactor = [255, 255, 255, factor]
    square.export(tmp_path / "a.glb")
    loaded = trimesh.load(tmp_path / "a.glb")
    for shape in (read_shape(tmp_path / "a.glb"), convert_shape(square, "a"), convert_shape(loaded, "a")):
        xyz, _ = colored_points(shape, 1000)
        assert opacities[np.unique((xyz[:, 0] * 8).astype(int))].tolist() == seen


def test_the_callers_texture_is_left_as_it_is():
    image = Image.open(io.BytesIO(image_bytes(Image.new("RGB", (3 * MAX_TEXTURE_SIZE, 16)), "JPEG")))
    mesh = trimesh.creation.box()
    mesh.visual = trimesh.visual.TextureVisuals(uv=np.zeros((8, 2)), image=image)
    shape = convert_shape(trimesh.Scene(mesh), "box")
    assert isinstance(shape, TexturedMesh) and shape.parts[0].texture.shape[1] == MAX_TEXTURE_SIZE
    assert image.size == (3 * MAX_TEXTURE_SIZE, 16) and mesh.visual.material.image is image
