"""Opening a benchmark by its name."""

import numpy as np
import pytest
from support.published_layouts import write_openshape_modelnet

from mrd_hf.errors import UserError
from mrd_hf.evaluation.benchmarks.benchmark import Benchmark
from mrd_hf.evaluation.benchmarks.opening import BENCHMARKS, open_benchmark


@pytest.mark.parametrize("name", ["modelnet40", "modelnet10", "scanobjectnn", "objaverse-lvis", "shape-folder"])
def test_a_folder_of_no_known_layout_is_told_which_are(tmp_path, name):
    with pytest.raises(UserError, match=f"{tmp_path}: ") as caught:
        open_benchmark(name, tmp_path)
    known = {
        "modelnet": ["test_pc.npy", "modelnet40_ply_hdf5_2048", "modelnet40_normal_resampled", ".off"],
        "scanobje": ["xyz_label.npy", "main_split_nobg"],
        "objavers": ["lvis.json", "OpenShape/openshape-training-data"],
        "shape-fo": [".glb", ".npy"],
    }[name[:8]]
    assert all(layout in str(caught.value) for layout in known)
    with pytest.raises(UserError, match="nowhere: no such folder; expected"):
        open_benchmark(name, tmp_path / "nowhere")


def test_a_name_that_is_none(tmp_path):
    with pytest.raises(UserError, match=f"no benchmark 'modelnet'; known are {', '.join(BENCHMARKS)}"):
        open_benchmark("modelnet", tmp_path)
    with pytest.raises(UserError, match="modelnet40 has no variants"):
        open_benchmark("modelnet40", tmp_path, variant="obj_only")
    with pytest.raises(UserError, match="modelnet40 has no split 'val'; it has train and test"):
        open_benchmark("modelnet40", tmp_path, split="val")


def test_what_the_files_say_of_the_axis_can_be_overridden(tmp_path):
    write_openshape_modelnet(tmp_path, ["chair"])
    assert open_benchmark("modelnet40", tmp_path, up_axis="z", allow_partial=True).up_axis == "z"


def test_a_benchmark_without_shapes_or_with_rows_that_do_not_exist():
    def read(rows):
        return [(np.eye(3)[:, :3], None) for _ in rows]

    parts = {"name": "x", "split": "test", "source": "x.h5", "class_names": ["a"], "up_axis": "y", "read": read}
    with pytest.raises(UserError, match=r"x\.h5: has no shape of the split 'test'"):
        Benchmark(labels=np.zeros(0, dtype=np.int64), ids=[], **parts)
    benchmark = Benchmark(labels=np.zeros(2, dtype=np.int64), ids=["a", "b"], **parts)
    assert len(benchmark.shapes([1, 0, 1])) == 3 and benchmark.shapes([]) == []
    for row in (2, -1):
        with pytest.raises(IndexError):
            benchmark.shapes([row])
