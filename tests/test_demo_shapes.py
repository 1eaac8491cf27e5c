"""The chair in scripts/demo_data/shapes: a whole one, in both formats, as its script makes it."""

import runpy

import numpy as np
import pytest
import trimesh
from support.paths import SCRIPTS

from mrd_hf import PointCloudFeatureExtractor


SHAPES = SCRIPTS / "demo_data" / "shapes"
FORMATS = ("glb", "obj")


def test_the_script_makes_these_files(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["build_demo_shapes.py", "--out", str(tmp_path)])
    runpy.run_path(str(SCRIPTS / "build_demo_shapes.py"), run_name="__main__")
    assert sorted(file.name for file in SHAPES.iterdir()) == ["chair.glb", "chair.mtl", "chair.obj"]
    for file in SHAPES.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name
        assert file.stat().st_size < 10_000


@pytest.mark.parametrize("suffix", FORMATS)
def test_it_stands_on_the_floor_upright_and_looks_to_the_front(suffix):
    mesh = trimesh.load(SHAPES / f"chair.{suffix}", force="mesh")
    width, height, depth = mesh.extents
    assert 0.4 < width < 0.6 and 0.8 < height < 1 and 0.4 < depth < 0.7 and mesh.bounds[0, 1] == 0
    points = mesh.sample(5000, seed=0)
    back, seat = points[points[:, 1] > 0.55], points[abs(points[:, 1] - 0.46) < 0.04]
    assert back[:, 2].max() < -0.15 < seat[:, 2].mean() and seat[:, 2].max() > 0.15
    assert abs(points[:, 0].mean()) < 0.01
    for piece in mesh.split():
        assert piece.is_watertight and piece.volume > 0  # its sides face outwards


def test_both_formats_show_the_same_colors():
    """Of glTF they are linear, in steps that are coarse where it is dark; of OBJ as pictures have them."""
    found = {}
    for suffix in FORMATS:
        values = PointCloudFeatureExtractor(num_points=4000)(str(SHAPES / f"chair.{suffix}"))["point_values"]
        values = values[0].numpy()
        colors, counts = np.unique((values[:, 3:] * 255).round().astype(int), axis=0, return_counts=True)
        found[suffix] = colors, counts / counts.sum()
    (colors, shares), (other, other_shares) = found.values()
    assert len(colors) == 3
    np.testing.assert_allclose(colors, other, atol=4)
    np.testing.assert_allclose(shares, other_shares, atol=0.03)
