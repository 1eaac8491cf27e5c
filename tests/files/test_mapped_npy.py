"""Pickled files of many clouds: the same values as numpy reads, nothing run, and no more memory than is looked at."""

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from support.published_layouts import Code, clouds, object_array

from mrd_hf.errors import UserError
from mrd_hf.files.plain_pickle import map_plain_npy


DTYPES = [np.float32, np.float64, np.uint8, np.int64]


def save_with(file, array, protocol):
    """As numpy 1 (protocol 3) and numpy 2 (4) save it, and any other protocol."""
    with file.open("wb") as sink:
        np.lib.format.write_array_header_1_0(sink, np.lib.format.header_data_from_array_1_0(array))
        pickle.dump(array, sink, protocol=protocol)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_an_array_of_objects_is_a_list(tmp_path, protocol):
    # Above and below the size from which bytes stay in the file.
    rows = [{"xyz": cloud, "rgb": np.full((len(cloud), 3), 100), "name": f"shape {len(cloud)}"} for cloud in clouds(3)]
    rows.append({"xyz": clouds(1, 500)[0].astype(np.float64), "rgb": None, "name": "é"})
    save_with(tmp_path / "x.npy", object_array(rows), protocol)
    found = map_plain_npy(tmp_path / "x.npy")
    assert isinstance(found, list) and [row["name"] for row in found] == [row["name"] for row in rows]
    for row, expected in zip(found, rows, strict=True):
        assert row["xyz"].dtype == expected["xyz"].dtype and np.array_equal(row["xyz"], expected["xyz"])
        assert (row["rgb"] is None) if expected["rgb"] is None else np.array_equal(row["rgb"], expected["rgb"])


@given(
    arrays=st.lists(
        st.sampled_from(DTYPES).flatmap(lambda dtype: npst.arrays(dtype, st.tuples(st.integers(0, 400), st.just(3)))),
        min_size=2,
        max_size=4,
    ),
    fortran=st.booleans(),
    nested=st.booleans(),
)
def test_reads_what_numpy_reads(tmp_path_factory, arrays, fortran, nested):
    file = tmp_path_factory.mktemp("any") / "x.npy"
    arrays = [np.asfortranarray(array) if fortran else array for array in arrays]
    value = {"xyz": object_array(arrays)} if nested else object_array(arrays)
    np.save(file, value, allow_pickle=True)
    expected = np.load(file, allow_pickle=True)
    expected = expected.item()["xyz"] if nested else expected
    found = map_plain_npy(file)
    found = found["xyz"] if nested else found
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f")


def test_other_files_are_read_as_elsewhere(tmp_path):
    np.save(tmp_path / "plain.npy", clouds(2))
    assert np.array_equal(map_plain_npy(tmp_path / "plain.npy"), clouds(2))
    np.save(tmp_path / "dict.npy", {"label": [np.int64(3)]}, allow_pickle=True)
    assert map_plain_npy(tmp_path / "dict.npy") == {"label": [3]}


def test_memory_is_that_of_what_is_looked_at(tmp_path):
    points = clouds(100, 10_000)  # 12 MB
    np.save(tmp_path / "x.npy", object_array([{"xyz": cloud} for cloud in points]), allow_pickle=True)
    tracemalloc.start()
    found = map_plain_npy(tmp_path / "x.npy")
    assert np.array_equal(found[57]["xyz"], points[57])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < points.nbytes / 10


@pytest.mark.parametrize("wrap", [lambda code: object_array([code]), lambda code: {"xyz": [code]}])
def test_code_is_refused_and_not_run(tmp_path, wrap):
    np.save(tmp_path / "x.npy", wrap(Code(tmp_path / "ran")), allow_pickle=True)
    with pytest.raises(UserError, match=r"x\.npy: asks for posix\.system, which could run code"):
        map_plain_npy(tmp_path / "x.npy")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", [np.dtype("f4"), np.ndarray])
def test_what_is_no_value_is_refused(tmp_path, value):
    np.save(tmp_path / "x.npy", object_array([{"xyz": value}]), allow_pickle=True)
    with pytest.raises(UserError, match=r"x\.npy: has a bare (dtype|ndarray) where a value belongs"):
        map_plain_npy(tmp_path / "x.npy")


def test_one_array_of_objects_in_two_places(tmp_path):
    array = object_array(list(clouds(2)))
    np.save(tmp_path / "x.npy", {"xyz": array, "same": array}, allow_pickle=True)
    found = map_plain_npy(tmp_path / "x.npy")
    assert isinstance(found["same"], list) and np.array_equal(found["same"][1], array[1])


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.999])
def test_a_file_cut_off_is_an_error_that_names_it(tmp_path, kept):
    np.save(tmp_path / "x.npy", object_array([{"xyz": cloud} for cloud in clouds(3, 900)]), allow_pickle=True)
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match=r"x\.npy: "):
        map_plain_npy(tmp_path / "x.npy")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"no\.npy: cannot be read .*No such file"):
        map_plain_npy(tmp_path / "no.npy")


@given(position=st.integers(0, 2000), byte=st.integers(0, 255))
def test_no_changed_byte_is_worse_than_an_error(tmp_path_factory, position, byte):
    file = tmp_path_factory.mktemp("broken") / "x.npy"
    np.save(file, object_array([{"xyz": cloud} for cloud in clouds(6, 20)]), allow_pickle=True)
    content = bytearray(file.read_bytes())
    content[position % len(content)] = byte
    file.write_bytes(content)
    try:
        map_plain_npy(file)
    except UserError as error:
        assert str(error).startswith(str(file))
