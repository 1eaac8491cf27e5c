"""Of every source: what is drawn depends on the seed and on the shape's id alone, and other settings are refused."""

import numpy as np
import pytest
import trimesh
from datasets import load_dataset
from support.tiny_sh3f import write_library
from tiny_openshape import meta_data, shape, write_download, write_meta_data
from tiny_ulip import PLANE, cloud, picture, png
from tiny_ulip import write_download as write_ulip

from mrd_hf.data.sources.meshes.mesh_folder import prepare_mesh_folder
from mrd_hf.data.sources.openshape import prepare_openshape
from mrd_hf.data.sources.sweethome3d import prepare_sweethome3d
from mrd_hf.data.sources.ulip import prepare_ulip
from mrd_hf.errors import UserError


def openshape(folder, names):
    keys = [f"ABO/abo/{name}" for name in names]
    write_download(folder, {key: shape("ABO/abo/a") for key in keys})
    write_meta_data(folder, {**meta_data(keys), **meta_data(keys, split="train_no_lvis")})
    return folder, prepare_openshape


def ulip(folder, names):
    ids = [f"02691156-{name}" for name in names]
    write_ulip(folder, train=ids, test=[PLANE])
    for shape_id in ids:
        np.save(folder / "shapenet_pc" / f"{shape_id}.npy", cloud(0))
        picture(folder, shape_id, 0).write_bytes(png(0))
    return folder, prepare_ulip


def meshes(folder, names):
    folder.mkdir()
    for name in names:
        trimesh.creation.box().export(folder / f"{name}.stl")
    return folder, prepare_mesh_folder


def sweethome3d(folder, names):
    folder.mkdir()
    return [write_library(folder / "Tiny.sh3f")], prepare_sweethome3d


SOURCES = {"openshape": openshape, "ulip": ulip, "meshes": meshes, "sweethome3d": sweethome3d}
MORE = {
    "openshape": {"split": "train_no_lvis"},
    "ulip": {"split": "test"},
    "meshes": {"up_axis": "z"},
    "sweethome3d": {},
}


def points(out):
    data = load_dataset(str(out), split="train")
    return {row["id"].rpartition("-")[2].rpartition("/")[2]: np.array(row["points"]) for row in data}


@pytest.mark.parametrize("source", ["openshape", "ulip", "meshes"])
def test_shapes_of_one_form_are_drawn_each_by_its_id(source, tmp_path):
    both, prepare = SOURCES[source](tmp_path / "both", ["left", "right"])
    prepare(both, tmp_path / "out", num_points=8)
    drawn = points(tmp_path / "out")
    assert not np.array_equal(drawn["left"], drawn["right"])
    alone, _ = SOURCES[source](tmp_path / "alone", ["right"])
    prepare(alone, tmp_path / "one", num_points=8)
    assert np.array_equal(points(tmp_path / "one")["right"], drawn["right"])
    prepare(alone, tmp_path / "other", num_points=8, seed=1)
    assert not np.array_equal(points(tmp_path / "other")["right"], drawn["right"])


@pytest.mark.parametrize("source", SOURCES)
def test_other_settings_are_not_mixed_into_what_is_there(source, tmp_path):
    given, prepare = SOURCES[source](tmp_path / "in", ["left"])
    prepare(given, tmp_path / "out", num_points=16, seed=3)
    for change in ({"seed": 4}, {"num_points": 8}, MORE[source]):
        for name in change:
            with pytest.raises(UserError, match=rf"made with other settings \([^)]*{name} .*--overwrite"):
                prepare(given, tmp_path / "out", **{"num_points": 16, "seed": 3, **change})
    prepare(given, tmp_path / "out", num_points=16, seed=3)
