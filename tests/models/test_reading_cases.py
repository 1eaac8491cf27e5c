"""Files that general readers get wrong: the shape and the colours that the format means, or an error that says why."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mrd_hf.models.shape_files import SHAPE_SUFFIXES, colored_points, read_shape
from mrd_hf.models.shapes import MeshError, PointCloud


FOLDER = Path(__file__).with_name("reading_cases")
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
FOUR = (127.5, 127.5, 63.75)  # the mean of a texture of these four
UNIT = ((0, 0, 0), (1, 1, 0))
# Case: (lowest and highest corner of its bounding box, mean colour or None where the file says none).
SHAPES = {
    "01-gltf-texture-transform": (UNIT, RED),
    "03-gltf-uv-normalized-ushort": (UNIT, FOUR),
    "04-gltf-mesh-quantization": (((-1, -1, 0), (3, 1, 0)), None),
    "05-gltf-color0-with-material": (UNIT, RED),
    "06-gltf-color0-linear": (UNIT, (127, 127, 127)),
    "07-gltf-color0-ushort": (UNIT, (255, 188, 0)),
    "08-gltf-sparse-accessor": (((0, 0, 0), (1, 3, 0)), None),
    "12-gltf-gpu-instancing": (((0, 0, 0), (5, 1, 0)), None),
    "19-gltf-no-scenes": (UNIT, None),
    "20-gltf-percent-encoded-texture": (UNIT, FOUR),
    "22-gltf-bom": (UNIT, None),
    "25-gltf-skinned-node-transform": (((0, 0, 0), (3, 1, 0)), None),
    "27-gltf-clamped-sampler": (UNIT, tuple((np.array(GREEN) + YELLOW) / 2)),
    "30-gltf-camera-parent": (((0, 0, 0), (6, 1, 0)), None),
    "31-obj-negative-indices": (((0, 0, 0), (6, 1, 0)), None),
    "32-obj-concave-ngon": (((0, 0, 0), (2, 2, 0)), None),
    "33-obj-vertex-colors-mtl": (UNIT, RED),
    "35-obj-no-usemtl": (UNIT, FOUR),
    "36-obj-two-mtllibs": (UNIT, RED),
    "39-obj-gbk": (UNIT, FOUR),
    "41-obj-kd-one-number": (UNIT, (127, 127, 127)),
    "43-obj-indented": (((0, 0, 0), (6, 1, 0)), None),
    "47-ply-diffuse-red": (UNIT, (200, 100, 50)),
    "51-ply-tristrips": (((0, 0, 0), (6, 1, 0)), None),
    "52-ply-mixed-polygons-binary": (((0, 0, 0), (8, 1.5, 0)), (10, 200, 30)),
    "54-ply-gaussian-splats": (UNIT, (199, 127, 56)),
    "60-stl-trailing-bytes": (UNIT, None),
    "61-stl-end-solid": (UNIT, None),
    "67-off-coff": (UNIT, (200, 100, 50)),
    "71-pcd-count-zero": (UNIT, None),
    "73-pcd-separate-r-g-b": (UNIT, (200, 100, 50)),
}
ERRORS = {
    "09-gltf-draco": r"KHR_draco_mesh_compression.*pip install 'mrd-hf\[formats\]'",
    "10-gltf-draco-partly": r"KHR_draco_mesh_compression.*pip install 'mrd-hf\[formats\]'",
    "11-gltf-meshopt": r"EXT_meshopt_compression.*pip install 'mrd-hf\[formats\]'",
}


def file_of(case: str) -> Path:
    return next(file for file in sorted((FOLDER / case).iterdir()) if file.suffix in SHAPE_SUFFIXES)


def test_every_case_has_its_numbers():
    assert {folder.name for folder in FOLDER.iterdir() if folder.is_dir()} == SHAPES.keys() | ERRORS.keys()


@pytest.mark.parametrize("case", SHAPES)
def test_a_file_is_read_as_its_format_means_it(case):
    (low, high), color = SHAPES[case]
    shape = read_shape(file_of(case))
    points = colored_points(shape, 4000)
    cloud = shape.points.xyz if isinstance(shape, PointCloud) else None
    corners = np.concatenate([part.triangles for part in shape.parts]) if cloud is None else cloud
    np.testing.assert_allclose(corners.reshape(-1, 3).min(axis=0), low, atol=1e-4)
    np.testing.assert_allclose(corners.reshape(-1, 3).max(axis=0), high, atol=1e-4)
    if color is None:
        assert points.rgb is None or len(np.unique(points.rgb, axis=0)) == 1
        return
    np.testing.assert_allclose(points.rgb.astype(float).mean(axis=0), color, atol=4)


@pytest.mark.parametrize("case", ERRORS)
def test_what_needs_a_package_is_said(case, monkeypatch):
    for package in ("DracoPy", "meshopt"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MeshError, match=rf"in\.\w+: .*{ERRORS[case]}"):
        read_shape(file_of(case))


def quarters(case: str) -> dict[tuple[bool, bool], tuple[int, ...]]:
    """The colours on the right or left and the upper or lower half of the unit square."""
    xyz, rgb = colored_points(read_shape(file_of(case)), 4000)
    seen = {}
    for right in (False, True):
        for upper in (False, True):
            here = ((xyz[:, 0] > 0.5) == right) & ((xyz[:, 1] > 0.5) == upper)
            (color,) = np.unique(rgb[here], axis=0)
            seen[right, upper] = tuple(color.tolist())
    return seen


@pytest.mark.parametrize(
    "case", ["03-gltf-uv-normalized-ushort", "20-gltf-percent-encoded-texture", "35-obj-no-usemtl"]
)
def test_a_texture_lies_where_its_coordinates_put_it(case):
    assert quarters(case) == {
        (False, False): BLUE,
        (True, False): YELLOW,
        (False, True): RED,
        (True, True): GREEN,
    }


def test_a_clamped_texture_goes_on_with_its_edge():
    assert quarters("27-gltf-clamped-sampler") == {
        (False, False): YELLOW,
        (True, False): YELLOW,
        (False, True): GREEN,
        (True, True): GREEN,
    }


def test_a_concave_polygon_does_not_cover_its_notch():
    xyz = colored_points(read_shape(file_of("32-obj-concave-ngon")), 4000).xyz
    assert not ((xyz[:, 0] > 1) & (xyz[:, 1] > 1)).any()


@pytest.mark.parametrize("case", ["31-obj-negative-indices", "43-obj-indented", "51-ply-tristrips"])
def test_both_squares_have_half_of_the_points(case):
    xyz = colored_points(read_shape(file_of(case)), 4000).xyz
    assert len(np.unique(xyz, axis=0)) == 4000
    assert abs((xyz[:, 0] < 2).mean() - 0.5) < 0.05
