import io

import numpy as np
import pytest
import trimesh
from PIL import Image

from mrd_hf.data.mesh_loading import (
    DEFAULT_COLOR,
    MAX_TEXTURE_SIZE,
    AssetResolver,
    MeshError,
    load_mesh,
    read_mesh,
    texture_to_rgba,
)


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
        (QUAD, {"t.png": b"not an image"}, "file not readable: t.png"),
        (BARE_QUAD, {"t.png": image_bytes(Image.new("RGB", (2, 2)))}, "texture without coordinates: material paint"),
        (QUAD, {"t.png": image_bytes(Image.new("RGB", (64, 64), 7))[:-40]}, "texture cannot be read: material paint"),
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
    with pytest.raises(FileNotFoundError):
        resolver.get("../common/wood.png")
    assert asked == ["lib/common/wood.png", "lib/chair/wood.png"]
    assert resolver.failures == ["file not found: ../common/wood.png"]


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
    with pytest.raises(MeshError, match=r"gone\.obj: no such file"):
        load_mesh(tmp_path / "gone.obj")
    (tmp_path / "bad.glb").write_bytes(b"glTF but not really")
    with pytest.raises(MeshError, match=r"bad\.glb: cannot be read as 'glb'"):
        load_mesh(tmp_path / "bad.glb")
    (tmp_path / "bad.xyzzy").write_bytes(b"what is this")
    with pytest.raises(MeshError, match=r"bad\.xyzzy"):
        load_mesh(tmp_path / "bad.xyzzy")


def test_mesh_on_the_disk_with_its_texture(tmp_path):
    (tmp_path / "quad.obj").write_text(QUAD)
    (tmp_path / "quad.mtl").write_text("newmtl paint\nmap_Kd maps/t.png\n")
    (tmp_path / "maps").mkdir()
    Image.new("RGB", (2, 2), (9, 8, 7)).save(tmp_path / "maps" / "t.png")
    (part,) = load_mesh(tmp_path / "quad.obj").parts
    assert tuple(part.texture[0, 0]) == (9, 8, 7, 255)


def test_vertex_and_face_colors(tmp_path):
    corners = np.array([[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255]], dtype=np.uint8)
    triangle = {"vertices": [[0, 0, 0], [1, 0, 0], [0, 1, 0]], "faces": [[0, 1, 2]], "process": False}
    trimesh.Trimesh(**triangle, vertex_colors=corners).export(tmp_path / "vertex.ply")
    trimesh.Trimesh(**triangle, face_colors=corners[:1]).export(tmp_path / "face.ply")
    (by_vertex,) = load_mesh(tmp_path / "vertex.ply").parts
    (by_face,) = load_mesh(tmp_path / "face.ply").parts
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
    (part,) = load_mesh(tmp_path / "mesh.glb").parts
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
