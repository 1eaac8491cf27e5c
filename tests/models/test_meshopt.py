"""Meshopt's buffers come back as they were packed, and what does not fit is refused before the library sees it."""

import numpy as np
import pytest

from mrd_hf.models.gltf_compression import decode_meshopt
from mrd_hf.models.shape_limits import ShapeBudget


meshopt = pytest.importorskip("meshopt")
NAME = "EXT_meshopt_compression"
VERTICES = np.random.default_rng(0).random((500, 3)).astype("<f4")
TRIANGLES = np.random.default_rng(0).integers(0, 500, (333, 3)).astype("<u4")


def unpacked(data: bytes, **packed) -> bytes:
    return decode_meshopt(memoryview(data), packed, NAME, ShapeBudget(len(data)))


def test_vertices_come_back():
    data = meshopt.encode_vertex_buffer_level(VERTICES, 2, 0)
    assert unpacked(data, count=500, byteStride=12, mode="ATTRIBUTES") == VERTICES.tobytes()


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_triangles_come_back_at_both_widths(dtype):
    data = meshopt.encode_index_buffer(TRIANGLES)
    width = np.dtype(dtype).itemsize
    found = np.frombuffer(unpacked(data, count=999, byteStride=width, mode="TRIANGLES"), dtype).reshape(-1, 3)
    # A triangle may come back turned: it begins with another of its corners.
    turned = [np.roll(found, shift, axis=1) for shift in range(3)]
    assert (np.stack([(each == TRIANGLES).all(axis=1) for each in turned]).any(axis=0)).all()


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_sequences_come_back_at_both_widths(dtype):
    indices = TRIANGLES.reshape(-1)
    data = meshopt.encode_index_sequence(indices)
    packed = {"count": 999, "byteStride": np.dtype(dtype).itemsize, "mode": "INDICES"}
    assert unpacked(data, **packed) == indices.astype(dtype).tobytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"count": -1},
        {"count": 500.5},
        {"count": 10**12},
        {"byteStride": 0},
        {"byteStride": 6},
        {"byteStride": 260},
        {"mode": None},
        {"mode": "TRIANGLES", "byteStride": 4},  # 500 is no multiple of three
        {"mode": "INDICES", "byteStride": 1},
        {"filter": "QUATERNION"},  # writes eight bytes an element
        {"filter": "OCTAHEDRAL"},
        {"filter": "OTHER"},
        {"mode": "INDICES", "byteStride": 4, "filter": "EXPONENTIAL"},
    ],
)
def test_what_does_not_fit_is_refused(changes, monkeypatch):
    monkeypatch.setattr(meshopt, "decode_gltf_buffer", lambda *arguments: pytest.fail("was called"))
    data = meshopt.encode_vertex_buffer_level(VERTICES, 2, 0)
    with pytest.raises(ValueError, match=NAME):
        unpacked(data, **{"count": 500, "byteStride": 12, "mode": "ATTRIBUTES", **changes})


def test_data_that_is_cut_off_is_an_error():
    data = meshopt.encode_vertex_buffer_level(VERTICES, 2, 0)
    with pytest.raises(ValueError, match="cannot be decoded"):
        unpacked(data[:-20], count=500, byteStride=12, mode="ATTRIBUTES")
