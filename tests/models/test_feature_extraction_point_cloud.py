"""The feature extractor's promises on shapes of every kind, in memory and in files."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from support.textured_square import quarters, textured_square, write_textured_obj
from transformers import AutoFeatureExtractor

from mrd_hf import PointBertConfig, PointCloudFeatureExtractor
from mrd_hf.models.shapes import DEFAULT_COLOR, MeshError


RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((50, 3)) * 7 + 100
COLORS = RNG.integers(0, 256, (50, 3), dtype=np.uint8)


def test_centers_and_scales_into_the_unit_sphere():
    values = PointCloudFeatureExtractor(num_points=50)(POINTS, COLORS)["point_values"]
    assert values.shape == (1, 50, 6)
    assert values.dtype == torch.float32
    xyz = values[0, :, :3].numpy()
    np.testing.assert_allclose(xyz.mean(axis=0), 0, atol=1e-5)
    assert np.linalg.norm(xyz, axis=1).max() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(values[0, :, 3:], COLORS / 255, atol=1e-6)


def test_clouds_of_several_sizes_make_one_batch():
    extractor = PointCloudFeatureExtractor(num_points=30)
    values = extractor([POINTS, POINTS[:10], POINTS[:1]])["point_values"]
    assert values.shape == (3, 30, 6)
    assert torch.isfinite(values).all()
    assert (values[..., 3:] == np.float32(0.4)).all()
    assert torch.equal(values[1, :10], values[1, 10:20])  # a small cloud repeats its points


def test_thinning_keeps_points_with_their_colors_and_is_repeatable():
    extractor = PointCloudFeatureExtractor(num_points=20, normalize=False)
    values = extractor(POINTS, COLORS)["point_values"][0].numpy()
    full = np.concatenate([POINTS, COLORS / 255], axis=1).astype(np.float32)
    rows = [int(np.abs(full - row).sum(axis=1).argmin()) for row in values]
    np.testing.assert_allclose(full[rows], values, atol=1e-5)
    assert len(set(rows)) == 20
    assert torch.equal(extractor(POINTS, COLORS)["point_values"], extractor([POINTS], [COLORS])["point_values"])


def test_thinning_keeps_points_of_all_of_a_scan():
    """Whose points come in rows: the first ones alone would be one end of it."""
    points = np.zeros((1000, 3), dtype=np.float32)
    points[:, 0] = np.linspace(0, 1, 1000)
    kept = PointCloudFeatureExtractor(num_points=100, normalize=False)(points)["point_values"][0, :, 0]
    assert kept.mean().item() == pytest.approx(0.5, abs=0.1) and kept.max() > 0.9 and kept.min() < 0.1


def test_z_up_is_rotated_not_mirrored():
    axes = np.eye(3)
    rotated = PointCloudFeatureExtractor(num_points=3, normalize=False, up_axis="z")(axes)["point_values"][0, :, :3]
    assert rotated[2].tolist() == [0, 1, 0]  # what was up in z is up in y
    assert np.linalg.det(rotated.numpy()) == pytest.approx(1)


def test_float_colors_are_taken_as_they_are():
    extractor = PointCloudFeatureExtractor(num_points=50)
    floats = extractor(POINTS, COLORS / 255.0)["point_values"]
    torch.testing.assert_close(floats, extractor(POINTS, COLORS)["point_values"])


HIGHEST = np.isin(POINTS, POINTS.max())
BOX = trimesh.creation.box()


@pytest.mark.parametrize(
    ("points", "colors", "message"),
    [
        ([POINTS, np.zeros((0, 3))], None, r"points\[1\] must have shape"),
        ([POINTS[:, :2]], None, r"points\[0\] must have shape \(num_points, 3\).*got \(50, 2\)"),
        (POINTS[:, :1], None, r"points\[0\] must have shape"),
        ([POINTS.ravel()], None, r"points\[0\] must have shape"),
        (POINTS[0], None, r"points\[0\] must have shape"),
        ([np.where(POINTS > 100, np.nan, POINTS)], None, r"points\[0\] has \d+ values that are not finite"),
        (
            [POINTS, np.where(HIGHEST, np.inf, POINTS)],
            None,
            r"points\[1\] has 1 values that are not",
        ),
        ([np.where(HIGHEST, -1e39, POINTS)], None, "has 1 values that are not finite"),
        ([POINTS.astype(complex)], None, r"points\[0\] must be an array of numbers.*got ndarray of complex128"),
        ([POINTS > 100], None, "got ndarray of bool"),
        ([None], None, r"points\[0\] must be an array of numbers.*got NoneType"),
        ({"points": POINTS}, None, "got dict"),
        (b"cube.obj", None, "got bytes"),
        ([POINTS.tolist()[:2] + [[1.0]]], None, "got list"),
        ([POINTS, BOX.bounding_sphere.to_dict()], None, r"points\[1\] must be .* got dict"),
        ([], None, "no cloud"),
        (np.zeros((0, 50, 3)), None, "no cloud"),
        ([POINTS], [COLORS[:10]], r"colors\[0\] must have shape \(50, 3\)"),
        (POINTS, np.concatenate([COLORS, COLORS[:, :1]], axis=1), r"got \(50, 4\)"),
        ([POINTS, POINTS], [None, COLORS.astype(float)], r"colors\[1\].*floats in 0..1.*divide by 255"),
        ([POINTS], [COLORS / 255 - 0.01], "floats from -0.01"),
        ([POINTS], [np.where(COLORS > 200, np.nan, COLORS / 255)], "floats in 0..1"),
        ([POINTS], [COLORS + np.int64(256)], r"got integers from \d+ to \d+"),
        ([POINTS], [COLORS - np.int64(256)], r"got integers from -\d+ to -"),
        ([POINTS], [COLORS > 100], r"colors\[0\] must be an array of numbers"),
        ([POINTS, POINTS], [COLORS], "colors has 1 clouds, points has 2"),
        ([POINTS, np.hstack([POINTS, COLORS])], None, r"the colours of points\[1\] must be.*divide by 255"),
        (np.hstack([POINTS, COLORS / 255]), COLORS, r"colors\[0\] is given for points\[0\]"),
        ([BOX], [COLORS], r"colors\[0\] is given for points\[0\]"),
    ],
)
def test_bad_input_is_named(points, colors, message):
    with pytest.raises(ValueError, match=message):
        PointCloudFeatureExtractor()(points, colors)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"up_axis": "x"}, "up_axis"),
        ({"encoder_up_axis": "Z"}, "encoder_up_axis"),
        ({"num_points": 0}, "num_points"),
        ({"default_color": 102}, "default_color"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PointCloudFeatureExtractor(**arguments)
    if "up_axis" in arguments:
        with pytest.raises(ValueError, match=message):
            PointCloudFeatureExtractor()(POINTS, **arguments)


@pytest.fixture
def log(caplog, monkeypatch):
    """What is logged, as text; transformers' loggers and ours do not pass it on by themselves."""
    for name in ("transformers", "mrd_hf"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    return caplog


def test_unknown_settings_are_warned_of(tmp_path, log):
    PointCloudFeatureExtractor(num_points=5).save_pretrained(tmp_path)
    PointCloudFeatureExtractor.from_pretrained(tmp_path)
    assert log.text == ""
    PointCloudFeatureExtractor(num_point=5)
    assert "PointCloudFeatureExtractor has no setting num_point, so it has no effect" in log.text


def test_saves_and_loads_with_its_settings(tmp_path):
    PointBertConfig().save_pretrained(tmp_path)
    extractor = PointCloudFeatureExtractor(
        num_points=77, normalize=False, up_axis="z", encoder_up_axis="z", default_color=0.25
    )
    extractor.save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(loaded) is PointCloudFeatureExtractor
    assert loaded.to_dict() == PointCloudFeatureExtractor.from_pretrained(tmp_path).to_dict() == extractor.to_dict()
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    settings = {"num_points": 77, "normalize": False, "up_axis": "z", "encoder_up_axis": "z", "default_color": 0.25}
    assert saved | settings == saved
    assert AutoFeatureExtractor.from_pretrained(tmp_path, num_points=5).num_points == 5
    assert torch.equal(loaded(POINTS)["point_values"], extractor(POINTS)["point_values"])


# Numbers: what normalisation does and leaves alone.


def normalized(points: np.ndarray) -> np.ndarray:
    """By loops in extended precision, with nothing of numpy's reductions."""
    rows = [[np.longdouble(value) for value in row] for row in points]
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    rows = [[value - center for value, center in zip(row, mean, strict=True)] for row in rows]
    radius = max(sum(value * value for value in row) ** np.longdouble(0.5) for row in rows)
    return np.array([[value / radius for value in row] for row in rows], dtype=np.float64)


def xyz_of(extractor: PointCloudFeatureExtractor, *inputs, **options) -> np.ndarray:
    return extractor(*inputs, return_tensors="np", **options)["point_values"][0, :, :3]


FIFTY = PointCloudFeatureExtractor(num_points=50)


@pytest.mark.parametrize("offset", [0, 1e6, -3e8])
def test_shape_far_from_the_origin_keeps_its_digits(offset):
    points = np.round(POINTS * 1024) / 1024 + offset  # of a few digits, so that the offset rounds none away
    np.testing.assert_allclose(xyz_of(FIFTY, points), normalized(points), atol=1e-7)


@pytest.mark.parametrize("scale", [1e30, 2e36, 1e-30, 1e-44])
def test_sizes_that_float32_cannot_square(scale):
    values = xyz_of(FIFTY, POINTS * scale)
    np.testing.assert_allclose(values, normalized(POINTS), atol=1e-6)


@pytest.mark.parametrize("place", [[0.1, 0.7, -1e5], [3e38, 1e-38, 0.3]])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_points_in_one_place_stay_together(place, dtype):
    assert (xyz_of(FIFTY, np.array([place] * 999, dtype=dtype)) == 0).all()


def test_nothing_is_moved_without_normalize():
    values = xyz_of(PointCloudFeatureExtractor(num_points=50, normalize=False), POINTS)
    assert (values == POINTS.astype(np.float32)).all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3), shift=st.floats(-1e4, 1e4))
def test_moving_a_cloud_moves_its_values(seed, scale, shift):
    generator = np.random.default_rng(seed)
    cloud = generator.standard_normal((50, 3)) * [1, 2, 5]
    rotation, order = Rotation.random(rng=generator), generator.permutation(50)
    values = xyz_of(FIFTY, cloud)
    np.testing.assert_allclose(np.linalg.norm(values, axis=1).max(), 1, atol=1e-6)
    moved = scale * rotation.apply(cloud) + shift * generator.standard_normal(3)
    np.testing.assert_allclose(xyz_of(FIFTY, moved), rotation.apply(values), atol=1e-6)
    np.testing.assert_allclose(xyz_of(FIFTY, cloud[order]), values[order], atol=1e-6)
    # z up is a quarter turn about x, whichever way it is asked for.
    quarter = Rotation.from_euler("x", -90, degrees=True)
    z_up = PointCloudFeatureExtractor(num_points=50, up_axis="z")
    np.testing.assert_allclose(xyz_of(z_up, cloud), quarter.apply(values), atol=1e-6)
    assert (xyz_of(FIFTY, cloud, up_axis="z") == xyz_of(z_up, cloud)).all()
    assert (xyz_of(z_up, cloud, up_axis="y") == values).all()
    # And back, for an encoder that knows z-up shapes.
    z_encoder = PointCloudFeatureExtractor(num_points=50, encoder_up_axis="z")
    np.testing.assert_allclose(xyz_of(z_encoder, cloud), quarter.inv().apply(values), atol=1e-6)
    assert (xyz_of(z_encoder, cloud, up_axis="z") == values).all()


def test_inputs_are_left_as_they_are():
    points, colors = POINTS.copy(), COLORS.copy()
    for normalize in (True, False):
        PointCloudFeatureExtractor(num_points=50, normalize=normalize, up_axis="z")(points, colors)
    assert (points == POINTS).all() and (colors == COLORS).all()


# Kinds of input.


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int16])
def test_tensors(dtype):
    points = torch.tensor(POINTS).to(dtype)
    expected = FIFTY(points.double().numpy(), COLORS)["point_values"]
    if dtype.is_floating_point:
        points.requires_grad_()
    torch.testing.assert_close(FIFTY(points, torch.tensor(COLORS))["point_values"], expected)


def test_batches_as_arrays_lists_and_tensors():
    batch, colors = np.stack([POINTS, POINTS[::-1]]), np.stack([COLORS, COLORS[::-1]])
    expected = FIFTY(list(batch), list(colors))["point_values"]
    ragged = np.empty(2, dtype=object)
    ragged[:] = list(batch)
    for points, rgb in (
        (batch, colors),
        (torch.tensor(batch), torch.tensor(colors)),
        (tuple(batch), tuple(colors)),
        (ragged, colors),
        (batch.tolist(), colors.tolist()),
    ):
        assert torch.equal(FIFTY(points, rgb)["point_values"], expected)


def test_six_columns_are_points_with_colors():
    expected = FIFTY(POINTS, COLORS / 255)["point_values"]
    joined = np.hstack([POINTS, COLORS / 255])
    for points in (joined, [joined], joined[None], torch.tensor(joined)):
        torch.testing.assert_close(FIFTY(points)["point_values"], expected)
    points = POINTS.astype(np.int64)
    integers = np.hstack([points, COLORS])
    assert torch.equal(FIFTY(integers)["point_values"], FIFTY(points, COLORS)["point_values"])


def test_numpy_output():
    values = FIFTY(POINTS, return_tensors="np")["point_values"]
    assert isinstance(values, np.ndarray) and values.dtype == np.float32


@pytest.mark.parametrize(("highest", "warns"), [(0, False), (1, True), (2, False)])
def test_integer_colors_that_look_like_floats_are_warned_of(log, highest, warns):
    clouds = [POINTS] * (2 + highest)  # warned of once a name, so with names of this test's own
    values = FIFTY(clouds, [None] * (1 + highest) + [COLORS * 0 + highest])["point_values"]
    np.testing.assert_allclose(values[-1, :, 3:], highest / 255)
    assert ("nearly black" in log.text) == warns


# Files and objects of trimesh's.


def on_the_box(xyz: np.ndarray) -> bool:
    """Whether all points lie on the surface of the unit cube around the origin, and on every side of it."""
    sides = {(axis, sign) for axis in range(3) for sign in (-1, 1) if (np.abs(xyz[:, axis] - sign / 2) < 1e-6).any()}
    return bool(np.allclose(np.abs(xyz).max(axis=1), 0.5, atol=1e-6)) and len(sides) == 6


OBJ = "\n".join(
    [f"v {x} {y} {z}" for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
    + ["f 1 2 4 3", "f 5 7 8 6", "f 1 5 6 2", "f 3 4 8 7", "f 1 3 7 5", "f 2 6 8 4"]
)
OFF = "OFF 8 6 0\n" + OBJ.replace("v ", "").replace("f", "4")
OFF = "\n".join(
    " ".join(["4", *(str(int(word) - 1) for word in line.split()[1:])]) if line.startswith("4 ") else line
    for line in OFF.splitlines()
)
BARE = PointCloudFeatureExtractor(num_points=600, normalize=False)


@pytest.mark.parametrize("name", ["box.obj", "box.off", "box.stl", "box.ply", "box.glb", "box.gltf", "BOX.OBJ"])
def test_meshes_are_sampled_on_their_surface(tmp_path, name):
    path = tmp_path / name
    if name in ("BOX.OBJ", "box.off"):
        path.write_text(OBJ if name == "BOX.OBJ" else OFF)
    elif name == "box.gltf":
        for file, data in trimesh.exchange.gltf.export_gltf(trimesh.Scene(BOX)).items():
            (tmp_path / file.replace("model.gltf", name)).write_bytes(data)
    else:
        BOX.export(path)
    for shape in (path, str(path), [path]):
        values = BARE(shape)["point_values"][0].numpy()
        assert values.shape == (600, 6) and on_the_box(values[:, :3])
        assert (values[:, 3:] == np.float32(0.4)).all()  # no colours anywhere
    assert (BARE(path)["point_values"].numpy() == values).all()
    np.testing.assert_allclose(
        xyz_of(PointCloudFeatureExtractor(num_points=600), path), normalized(values[:, :3]), atol=1e-6
    )


def test_stl_in_text(tmp_path):
    (tmp_path / "box.stl").write_text(BOX.export(file_type="stl_ascii"))
    assert on_the_box(xyz_of(BARE, tmp_path / "box.stl"))


def quarter_colors(xyz: np.ndarray) -> np.ndarray:
    """The colours that the texture has on the unit square from (0, 0) to (1, 1)."""
    red, green, blue, white = [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]
    right, upper = xyz[:, 0] > 0.5, xyz[:, 1] > 0.5
    return np.array([[blue, white], [red, green]])[upper.astype(int), right.astype(int)]


@pytest.mark.parametrize("kind", ["obj", "glb", "gltf", "Trimesh", "Scene"])
def test_textures_color_the_points(tmp_path, kind):
    square = textured_square(quarters())
    if kind == "obj":
        shape = write_textured_obj(tmp_path)
    elif kind in ("Trimesh", "Scene"):
        shape = square if kind == "Trimesh" else trimesh.Scene(square)
    else:
        for file, data in trimesh.exchange.gltf.export_gltf(trimesh.Scene(square)).items():
            (tmp_path / file).write_bytes(data)
        shape = tmp_path / "model.gltf"
        if kind == "glb":
            shape = tmp_path / "model.glb"
            square.export(shape)
    values = BARE(shape)["point_values"][0].numpy()
    assert (values[:, 3:] == quarter_colors(values[:, :3])).all()
    assert len(np.unique(values[:, 3:], axis=0)) == 4


@pytest.mark.parametrize("suffix", [".ply", ".glb", ".obj", None])
def test_vertex_colors_blend(tmp_path, suffix):
    corners = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    mesh = trimesh.Trimesh(corners, [[0, 1, 2]], process=False, vertex_colors=(corners * 255).astype(np.uint8))
    if suffix is not None:
        mesh.export(tmp_path / f"mesh{suffix}")
    values = BARE(mesh if suffix is None else tmp_path / f"mesh{suffix}")["point_values"][0].numpy()
    expected = values[:, :3]  # a corner's colour is its place
    if suffix == ".glb":  # where it is of light, which the sRGB curve shows
        expected = np.where(expected <= 0.0031308, 12.92 * expected, 1.055 * expected.clip(0) ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(values[:, 3:], expected, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("from_file", [True, False])
def test_face_colors(tmp_path, from_file):
    mesh = BOX.copy()
    mesh.visual.face_colors = np.where(mesh.face_normals[:, :1] > 0, [[9, 8, 7, 255]], [[1, 2, 3, 255]])
    mesh.export(tmp_path / "mesh.ply")
    values = BARE(tmp_path / "mesh.ply" if from_file else mesh)["point_values"][0].numpy()
    expected = np.where(values[:, :1] > 0.5 - 1e-6, [[9, 8, 7]], [[1, 2, 3]])
    np.testing.assert_allclose(values[:, 3:] * 255, expected, atol=1e-4)


def test_mesh_colored_in_part_is_grey_elsewhere():
    scene = trimesh.Scene([BOX, trimesh.creation.box(vertex_colors=[255, 0, 0, 255])])
    colors = {tuple(color) for color in (BARE(scene)["point_values"][0, :, 3:] * 255).round().int().tolist()}
    assert colors == {(255, 0, 0), DEFAULT_COLOR}


CLOUD = np.round(POINTS[:5].astype(np.float32), 3)
CLOUD_COLORS = COLORS[:5] | 2
FIVE = PointCloudFeatureExtractor(num_points=5)


def write_cloud(path: Path, colors: np.ndarray | None) -> None:
    """A file of `CLOUD`, in the format that its suffix says, each by other means than it is read by."""
    joined = CLOUD if colors is None else np.hstack([CLOUD, colors])
    lines = [" ".join(map(str, row)) for row in CLOUD.tolist()]
    if colors is not None:
        lines = [f"{line} {' '.join(map(str, row))}" for line, row in zip(lines, colors.tolist(), strict=True)]
    if path.suffix == ".npy":
        np.save(path, joined if colors is None else np.hstack([CLOUD, colors / 255]))
    elif path.suffix == ".npz":
        np.savez(path, points=CLOUD, **({} if colors is None else {"colors": colors}))
    elif path.suffix == ".xyz":
        path.write_text("\n".join(lines))
    elif path.suffix == ".pcd":
        if colors is not None:
            packed = [red << 16 | green << 8 | blue for red, green, blue in colors.tolist()]
            lines = [" ".join(map(str, [*row, color])) for row, color in zip(CLOUD.tolist(), packed, strict=True)]
        fields = ("x y z", "4 4 4", "F F F") if colors is None else ("x y z rgb", "4 4 4 4", "F F F U")
        path.write_text(
            "FIELDS {}\nSIZE {}\nTYPE {}\nWIDTH 5\nHEIGHT 1\nDATA ascii\n".format(*fields) + "\n".join(lines)
        )
    elif path.suffix == ".ply":
        properties = "".join(f"property float {axis}\n" for axis in "xyz")
        if colors is not None:
            properties += "".join(f"property uchar {channel}\n" for channel in ("red", "green", "blue"))
        path.write_text(f"ply\nformat ascii 1.0\nelement vertex 5\n{properties}end_header\n" + "\n".join(lines) + "\n")
    elif path.suffix == ".obj":
        rgb = [""] * 5 if colors is None else [" ".join(map(str, row)) for row in (colors / 255).tolist()]
        path.write_text("".join(f"v {x} {y} {z} {c}\n" for (x, y, z), c in zip(CLOUD.tolist(), rgb, strict=True)))
    elif path.suffix == ".off":
        path.write_text("OFF\n5 0 0\n" + "\n".join(lines) + "\n")
    else:
        trimesh.PointCloud(CLOUD, colors=colors).export(path)


@pytest.mark.parametrize(
    ("suffix", "colored"),
    [
        (suffix, colored)
        for suffix in (".ply", ".obj", ".off", ".glb", ".npy", ".npz", ".pcd", ".xyz")
        for colored in (True, False)
        if suffix != ".off" or not colored  # trimesh reads no colours of OFF
    ],
)
def test_point_clouds_in_files(tmp_path, suffix, colored):
    colors = CLOUD_COLORS if colored else None
    write_cloud(tmp_path / f"cloud{suffix}", colors)
    values = FIVE(tmp_path / f"cloud{suffix}")["point_values"]
    meant = colors
    if colored and suffix == ".glb":  # whose colours are linear; trimesh writes bytes as they are
        light = colors / 255
        meant = np.round(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))
        meant = meant.astype(np.uint8)
    torch.testing.assert_close(values, FIVE(CLOUD, meant)["point_values"], atol=1e-6, rtol=0)
    assert torch.equal(
        FIVE(trimesh.PointCloud(CLOUD, colors=colors))["point_values"], FIVE(CLOUD, colors)["point_values"]
    )


def test_one_batch_of_everything(tmp_path):
    BOX.export(tmp_path / "box.glb")
    write_cloud(tmp_path / "cloud.xyz", CLOUD_COLORS)
    z_up = {"up_axis": "z"}
    shapes = [tmp_path / "box.glb", POINTS, str(tmp_path / "cloud.xyz"), torch.tensor(CLOUD), BOX, trimesh.Scene(BOX)]
    colors = [None, COLORS, None, None, None, None]
    values = BARE(shapes, colors, **z_up)["point_values"]
    assert values.shape == (6, 600, 6)
    for shape, rgb, found in zip(shapes, colors, values, strict=True):
        assert torch.equal(found, BARE(shape, rgb, **z_up)["point_values"][0])


def test_files_turn_with_up_axis_too(tmp_path):
    mesh = BOX.copy()
    mesh.apply_translation([0, 0, 7])
    for name in ("box.glb", "box.stl"):
        mesh.export(tmp_path / name)
        assert (xyz_of(BARE, tmp_path / name)[:, 2] > 6).all()
        assert (xyz_of(BARE, tmp_path / name, up_axis="z")[:, 1] > 6).all()


def test_which_axis_is_up_is_as_the_call_says_else_as_the_file_says_else_as_the_extractor_has_it(tmp_path):
    mesh = BOX.copy()
    mesh.apply_translation([0, 0, 7])
    for name in ("box.glb", "box.stl"):
        mesh.export(tmp_path / name)
    z_up = PointCloudFeatureExtractor(num_points=600, normalize=False, up_axis="z")
    assert (xyz_of(z_up, tmp_path / "box.glb")[:, 2] > 6).all()  # glTF is y-up by its standard
    assert (xyz_of(z_up, tmp_path / "box.stl")[:, 1] > 6).all()  # STL says nothing
    assert (xyz_of(z_up, mesh)[:, 1] > 6).all()
    both = z_up([tmp_path / "box.glb", tmp_path / "box.stl"], up_axis="z")["point_values"]
    assert (both[..., 1] > 6).all()


def test_mesh_far_from_the_origin_keeps_its_shape():
    mesh = BOX.copy()
    mesh.apply_translation([4e6, -3e6, 2e6])
    extractor = PointCloudFeatureExtractor(num_points=300)
    np.testing.assert_allclose(xyz_of(extractor, mesh), xyz_of(extractor, BOX), atol=1e-7)


def test_replaced_textures_are_reported(tmp_path, log):
    path = write_textured_obj(tmp_path)
    (tmp_path / "paint.png").unlink()
    assert (BARE(path)["point_values"][..., 3:] == 0).all()  # its Kd
    assert f"{path}: file not found: paint.png." in log.text


def test_colors_that_are_a_rounding_beyond_their_range_are_cut():
    rgb = np.tile([1 + 1e-7, -1e-9, 1.009], (len(POINTS), 1))
    for values in (FIVE([POINTS], [rgb]), FIVE([np.hstack([POINTS, rgb])])):
        colors = values["point_values"][0, :, 3:]
        assert colors.min() == 0 and colors.max() == 1


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("cloud.e57", "", ValueError, r"'\.e57' are not known; expected one of .*\.glb, \.gltf, .*\.npy, .*\.xyz"),
        ("cloud", "", ValueError, "suffix '' are not known"),
        ("cloud.npy.gz", "", ValueError, r"suffix '\.gz'"),
        ("folder.obj", None, ValueError, "is a folder"),
        ("cloud.obj", "", MeshError, "cloud.obj"),
        ("cloud.stl", "solid\nendsolid\n", MeshError, "cloud.stl"),
        ("cloud.glb", "not binary", MeshError, "cannot be read as 'glb'"),
        ("cloud.gltf", "{}", MeshError, "cloud.gltf"),
        ("cloud.ply", "ply\n", MeshError, "cannot be read as 'ply'"),
        ("cloud.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n", MeshError, "1 faces .* area 0"),
        ("cloud.obj", "v 0 0 inf\nv 1 nan 0\n", ValueError, "values that are not finite"),
        ("cloud.npy", "not an array", ValueError, "pickled objects are not loaded"),
        ("cloud.xyz", "1 2 3 255.0 0.5 0\n", ValueError, "the colours of .*cloud.xyz must be .* divide by 255"),
        ("cloud.xyz", "1 2 3 -0.5 0 0.1\n", ValueError, "columns 4 to 6 from -0.5.*normals"),
        ("cloud.xyz", "1 2 3 256 0 0\n", ValueError, "integers from 0 to 256"),
        ("cloud.pcd", "", ValueError, "the file is empty"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, error, message):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    with pytest.raises(error, match=f"(?s){name}.*{message}|{message}"):
        FIVE([POINTS, path])
    with pytest.raises(error, match=str(path)):
        FIVE(str(path))


@pytest.mark.parametrize("path", ["gone.obj", "https://example.com/chair.glb", "org/mrd-pointbert"])
def test_missing_files(path):
    with pytest.raises(FileNotFoundError, match=f"{path}: no such file. .*download"):
        FIVE(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points": CLOUD, "colors": CLOUD_COLORS[:4]}, r"the colours of .*\.npz must have shape \(5, 3\)"),
        ({"points": CLOUD, "colors": CLOUD_COLORS + 0.5}, r"the colours of .*\.npz must be integers"),
        ({"points": CLOUD[:, :2]}, r"\.npz must have shape"),
        ({"points": np.array(["a"])}, r"\.npz must have shape .* of <U1"),
        ({"points": CLOUD, "colors": np.array(["a"])}, r"the colours of .*\.npz must have shape"),
        ({"points": CLOUD[:0]}, "at least one point"),
    ],
)
def test_bad_arrays_in_files(tmp_path, arrays, message):
    np.savez(tmp_path / "cloud.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        FIVE(tmp_path / "cloud.npz")


def test_colors_are_not_for_files(tmp_path):
    write_cloud(tmp_path / "cloud.xyz", None)
    with pytest.raises(ValueError, match=r"colors\[0\] is given for .*cloud\.xyz; colors are for arrays"):
        FIVE(tmp_path / "cloud.xyz", CLOUD_COLORS)


WITHOUT_TRIMESH = """
import sys
sys.modules["trimesh"] = None
from mrd_hf_cli.without_models import import_without_models
import_without_models()
from mrd_hf.models.feature_extraction_point_cloud import PointCloudFeatureExtractor
extractor = PointCloudFeatureExtractor(num_points=3)
assert extractor([[[0, 0, 0], [1, 1, 1]], "cloud.xyz"])["point_values"].shape == (2, 3, 6)
try:
    extractor({})
except ValueError as error:
    print(error)
assert extractor("box.obj")["point_values"].shape == (1, 3, 6)
"""


def test_files_need_no_trimesh(tmp_path):
    (tmp_path / "cloud.xyz").write_text("1 2 3\n4 5 6\n")
    (tmp_path / "box.obj").write_text(OBJ)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TRIMESH],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0 and "got dict" in done.stdout, done.stderr
