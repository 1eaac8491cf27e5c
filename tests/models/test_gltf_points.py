"""Points of glTF, where there is no face: plain ones, those of Gaussian splats, and their colours."""

import numpy as np
from support.gltf_seen import colors, read, srgb
from support.gltf_writer import BLUE, GREEN, RED, SQUARE, UBYTE, YELLOW, Gltf, four_quarters, png

from mrd_hf.models.shapes import PointCloud


QUARTERS = [RED, GREEN, BLUE, YELLOW]


def test_points_are_a_cloud_and_those_beside_a_surface_are_left_out():
    file = Gltf()
    points = {"attributes": {"POSITION": file.accessor(SQUARE)}, "mode": 0}
    cloud = read(file.show_mesh(points, {**points, "indices": file.accessor([2], UBYTE)}))
    assert isinstance(cloud, PointCloud)
    assert cloud.points.xyz.tolist() == [list(point) for point in [*SQUARE, SQUARE[2]]]
    file = Gltf()
    points = {"attributes": {"POSITION": file.accessor(SQUARE)}, "mode": 0}
    assert read(file.show_mesh(points, file.square())).warnings == ["4 points beside the surface left out"]


def test_gaussian_splats_are_points_in_the_colour_of_all_sides():
    file = Gltf()
    # 0.5 + 0.2820948 c: white, black and (0.5, 0.782, 0.218); the last hardly shows.
    harmonics = file.accessor([(2, 2, 2), (-2, -2, -2), (0, 1, -1), (2, -2, -2)])
    attributes = {
        "POSITION": file.accessor(SQUARE),
        "KHR_gaussian_splatting:SH_DEGREE_0_COEF_0": harmonics,
        "KHR_gaussian_splatting:OPACITY": file.accessor([1.0, 0.9, 0.5, 0.01]),
    }
    file.json["extensionsUsed"] = file.json["extensionsRequired"] = ["KHR_gaussian_splatting"]
    file.show_mesh({"attributes": attributes, "mode": 0, "extensions": {"KHR_gaussian_splatting": {}}})
    cloud = read(file)
    assert isinstance(cloud, PointCloud)
    assert cloud.points.xyz.tolist() == [list(point) for point in SQUARE[:3]]
    assert np.abs(cloud.points.rgb.astype(int) - [[255] * 3, [0] * 3, [128, 199, 56]]).max() <= 1
    primitive = file.json["meshes"][0]["primitives"][0]
    primitive["extensions"]["KHR_gaussian_splatting"]["colorSpace"] = "lin_rec709_display"
    linear = [srgb(0.5), srgb(0.782), srgb(0.218)]
    assert np.abs(read(file).points.rgb.astype(int) - [[255] * 3, [0] * 3, linear]).max() <= 1


def test_points_take_their_colours_from_factor_and_vertices():
    file = Gltf()
    paint = file.accessor([(1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0)])
    attributes = {"POSITION": file.accessor(SQUARE), "COLOR_0": paint}
    file.show_mesh({"attributes": attributes, "mode": 0, "material": file.material({"baseColorFactor": [1, 1, 0, 1]})})
    assert colors(file) == {(255, 255, 0), (0, 255, 0), (255, 0, 0)}


def test_points_take_the_texture_at_their_coordinates():
    file = Gltf()
    material = file.material({"baseColorTexture": {"index": file.texture(png(four_quarters()))}})
    uv = file.accessor([(0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8)])
    attributes = {"POSITION": file.accessor(SQUARE), "TEXCOORD_0": uv}
    file.show_mesh({"attributes": attributes, "mode": 0, "material": material})
    assert [tuple(row) for row in read(file).points.rgb.tolist()] == QUARTERS


def test_points_that_are_holes_are_left_out():
    file = Gltf()
    paint = file.accessor([(1, 0, 0, 1), (1, 0, 0, 0.2), (1, 0, 0, 0.6), (1, 0, 0, 0)])
    attributes = {"POSITION": file.accessor(SQUARE), "COLOR_0": paint}
    for mode, shown in (("OPAQUE", 4), ("MASK", 2), ("BLEND", 3)):
        material = file.material({}, alphaMode=mode)
        file.json["meshes"] = []
        file.json["nodes"] = []
        file.show_mesh({"attributes": attributes, "mode": 0, "material": material})
        assert len(read(file).points.xyz) == shown, mode
