"""Which way round and which way up `mrd-hf render` draws shapes, and which parts of them."""

import numpy as np
import pytest
import trimesh
from PIL import Image
from support.tiny_meshes import plain_mesh
from tiny_commands import mrd_hf

from mrd_hf.cli.render import _views
from mrd_hf.data.rendering import RenderSettings
from mrd_hf.models.shapes import ColoredPoints, PointCloud


SIZE = 64
UPRIGHT = np.eye(3)
# What the front shows after a quarter of the way around, counter-clockwise seen from above: what was on the right.
QUARTER = np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]])
# Where y was up, z is.
Z_UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])


def tower() -> trimesh.Trimesh:
    """High, with a step at the foot that sticks out to the right and one that sticks out to the front."""
    high, right, front = (trimesh.creation.box(extents=extents) for extents in ((1, 4, 1), (2, 1, 0.5), (0.5, 0.5, 2)))
    right.apply_translation((1, -1.5, 0))
    front.apply_translation((0, -1, 1))
    return trimesh.util.concatenate([high, right, front])


def mesh(rotation=UPRIGHT):
    return plain_mesh(tower(), color=(200, 60, 20)).rotated(rotation)


def cloud(rotation=UPRIGHT, up_axis=None):
    points, _ = trimesh.sample.sample_surface(tower(), 3000, seed=0)
    return PointCloud(ColoredPoints(np.asarray(points) @ rotation.T, None), up_axis=up_axis)


def draw(shape, views=1, up_axis=None):
    return _views("a.glb", shape, RenderSettings(views, SIZE), up_axis).astype(float)


def apart(pictures, others) -> float:
    return float(np.abs(pictures - others).mean())


@pytest.mark.parametrize("shape", [mesh, cloud])
def test_views_go_around_counter_clockwise(shape):
    pytest.importorskip("embreex")
    pictures = draw(shape(), views=4)
    rotation = UPRIGHT
    for picture in pictures:
        assert apart(picture, draw(shape(rotation), views=4)[0]) < 2
        rotation = QUARTER @ rotation
    assert min(apart(pictures[a], pictures[b]) for a in range(4) for b in range(a)) > 8


@pytest.mark.parametrize("shape", [mesh, cloud])
def test_an_option_says_which_axis_is_up(shape):
    pytest.importorskip("embreex")
    upright = draw(shape())
    assert apart(upright, draw(shape(Z_UP), up_axis="z")) < 2
    assert apart(upright, draw(shape(Z_UP))) > 8


def test_a_clouds_file_says_which_axis_is_up_and_the_option_overrules_it():
    upright = draw(cloud())
    assert apart(upright, draw(cloud(Z_UP, up_axis="z"))) < 2
    assert apart(upright, draw(cloud(up_axis="z"), up_axis="y")) < 2
    assert apart(upright, draw(cloud(up_axis="z"))) > 8


def test_parts_are_drawn_or_left_out(tmp_path):
    pytest.importorskip("embreex")
    scene = trimesh.Scene()
    for name, height in (("chair", 1), ("floor", 0.1), ("UCX_chair", 3)):
        box = trimesh.creation.box(extents=(1, height, 1))
        box.visual.vertex_colors = [0, 0, 255, 255]
        scene.add_geometry(box, node_name=name, geom_name=name)
    scene.export(tmp_path / "room.glb")

    def drawn(*options) -> np.ndarray:
        out = tmp_path / "out.png"
        assert (
            mrd_hf("render", tmp_path / "room.glb", "-o", out, "--views", 1, "--size", SIZE, "--overwrite", *options)
            == 0
        )
        return np.asarray(Image.open(out)).astype(float)

    def height(picture: np.ndarray) -> int:
        """Of what is drawn, by its width."""
        rows, columns = np.nonzero((picture < 200).any(axis=-1))
        return np.ptp(rows) / np.ptp(columns)

    whole, flat, high = drawn(), drawn("--skip-parts", "^chair$"), drawn("--keep-collision")
    assert height(flat) < 0.7 * height(whole) < 0.7 * height(high)
    assert apart(whole, drawn("--skip-parts", "floor")) < 2  # the floor is within the chair
