"""Files that hold a point cloud and nothing else."""

import io
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from support.model_files import understated, zipped

from mrd_hf.models.point_cloud_files import load_point_cloud


XYZ = np.array([[0, 0.5, 1], [2, -3, 4e-3]])
RGB = np.array([[255, 0, 10], [1, 2, 3]], dtype=np.uint8)


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "f2"])
def test_npy(tmp_path, dtype):
    np.save(tmp_path / "cloud.npy", XYZ.astype(dtype))
    points, colors = load_point_cloud(tmp_path / "cloud.npy").points
    assert (points == XYZ.astype(dtype)).all() and colors is None


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(("points_key", "colors_key"), [("points", "colors"), ("xyz", "rgb"), ("xyz", None)])
def test_npz(tmp_path, save, points_key, colors_key):
    arrays = {points_key: XYZ, "labels": np.zeros(2)} | ({colors_key: RGB} if colors_key else {})
    save(tmp_path / "CLOUD.NPZ", **arrays)
    (tmp_path / "CLOUD.NPZ.npz").rename(tmp_path / "CLOUD.NPZ")
    points, colors = load_point_cloud(tmp_path / "CLOUD.NPZ").points
    assert (points == XYZ).all()
    assert colors is None if colors_key is None else (colors == RGB).all() and colors.dtype == np.uint8


@pytest.mark.parametrize(
    "text",
    [
        "0 0.5 1\n2 -3 4e-3\n",
        "0,0.5,1\r\n2, -3, 0.004",
        "\ufeff# by hand\n// X Y Z\n\n0;0.5;1\n  # two\n\t2;-3;+.004\n\n",
        "x y z\n0 0.5 1\n2 -3 4e-3",
    ],
)
def test_xyz_without_colors(tmp_path, text):
    (tmp_path / "cloud.xyz").write_bytes(text.encode())
    points, colors = load_point_cloud(tmp_path / "cloud.xyz").points
    assert (points == XYZ).all() and colors is None


@pytest.mark.parametrize(
    ("rows", "kind", "colors"),
    [
        ("255 0 10|1 2 3", "i", RGB),
        ("1 0 0|0 1 1", "i", [[1, 0, 0], [0, 1, 1]]),  # written as integers, so out of 255
        ("1.0 0 0|0 1 0.25", "f", [[1, 0, 0], [0, 1, 0.25]]),
        ("1e0 0 0|0 1 1", "f", [[1, 0, 0], [0, 1, 1]]),
    ],
)
def test_how_colors_are_written_decides_their_range(tmp_path, rows, kind, colors):
    first, second = rows.split("|")
    (tmp_path / "cloud.xyz").write_text(f"//X Y Z R G B\n0 0.5 1 {first}\n2 -3 4e-3 {second}\n")
    points, found = load_point_cloud(tmp_path / "cloud.xyz").points
    assert (points == XYZ).all() and found.dtype.kind == kind and (found == colors).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read: the file is empty"),
        ("# nothing\n", "has no points"),
        ("x y z\n", "has no points"),
        ("1 2\n3 4\n", "line 1 has 2 columns; expected 3 .*, 6"),
        ("1 2 3 4 5\n", "its lines have 5 columns"),
        ("#\n1 2 3\n1 2 3 4 5 6\n", "line 3 has 6 columns"),
        ("1 2 3\n4 5 C6\n", "line 2 has 'C6'; expected a number"),
        ("2\nwater\nO 0 0 0\nH 1 0 0\n", "line 3 has 'O'; expected a number"),  # a molecule
    ],
)
def test_text_that_is_no_point_cloud(tmp_path, text, message):
    (tmp_path / "cloud.xyz").write_text(text)
    with pytest.raises(ValueError, match=rf"cloud\.xyz: {message}"):
        load_point_cloud(tmp_path / "cloud.xyz")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "object.npy", np.array([Bomb()]), allow_pickle=True)
    np.savez(tmp_path / "object.npz", points=np.array([Bomb()]))
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(Bomb()))
    for name in ("object.npy", "object.npz", "plain.npy"):
        with pytest.raises(ValueError, match=f"{name}: .*pickled objects are not loaded"):
            load_point_cloud(tmp_path / name)


def test_damaged_archives(tmp_path):
    np.savez(tmp_path / "whole.npz", points=XYZ)
    np.save(tmp_path / "whole.npy", XYZ)
    contents = {
        "cut.npz": (tmp_path / "whole.npz").read_bytes()[:-30],
        "cut.npy": (tmp_path / "whole.npy").read_bytes(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content[:-5])
        with pytest.raises(ValueError, match=f"{name}: cannot be read"):
            load_point_cloud(tmp_path / name)
    (tmp_path / "empty.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="empty.npy: cannot be read"):
        load_point_cloud(tmp_path / "empty.npy")


def test_keys_found_are_listed(tmp_path):
    np.savez(tmp_path / "cloud.npz", verts=XYZ, faces=XYZ)
    with pytest.raises(ValueError, match=r"cloud\.npz: no array points or xyz \(it has verts, faces\)"):
        load_point_cloud(tmp_path / "cloud.npz")
    with zipfile.ZipFile(tmp_path / "empty.npz", "w"):
        pass
    with pytest.raises(ValueError, match=r"empty\.npz: no array points or xyz \(it has none\)"):
        load_point_cloud(tmp_path / "empty.npz")


def test_wrong_suffix(tmp_path):
    np.savez(tmp_path / "cloud.npz", points=XYZ)
    (tmp_path / "cloud.npz").rename(tmp_path / "cloud.npy")
    with pytest.raises(ValueError, match=r"cloud\.npy: is not what its suffix \.npy says"):
        load_point_cloud(tmp_path / "cloud.npy")


def test_damaged_pcd_names_the_file(tmp_path):
    (tmp_path / "cloud.pcd").write_bytes(b"VERSION 0.7\n")
    with pytest.raises(ValueError, match=r"cloud\.pcd: its header has no line DATA"):
        load_point_cloud(tmp_path / "cloud.pcd")


def test_an_archive_that_unpacks_to_more_than_is_read_is_refused_unread(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", points=np.zeros((1_000_000, 3), dtype=np.float32))
    assert len(load_point_cloud(tmp_path / "bomb.npz").points.xyz) == 1_000_000
    monkeypatch.setattr("mrd_hf.models.shape_limits.HARMLESS_BYTES", 2**23)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *arguments, **options: pytest.fail("was read"))
    with pytest.raises(ValueError, match=r"bomb\.npz: .*11 MiB once unpacked, of 0.0 MiB"):
        load_point_cloud(tmp_path / "bomb.npz")


def npy(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def test_no_more_of_an_archive_is_unpacked_than_it_says_it_has(tmp_path):
    """Nor is what its header announces, or another method's output, which Python does not bound."""
    content = npy(np.zeros((700_000, 3), dtype=np.float32))
    (tmp_path / "little.npz").write_bytes(understated(zipped({"points.npy": content}), 200))
    (tmp_path / "other.npz").write_bytes(zipped({"points.npy": content}, zipfile.ZIP_BZIP2))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"little\.npz: it announces an array of shape \(700000, 3\)"):
            load_point_cloud(tmp_path / "little.npz")
        with pytest.raises(ValueError, match=r"other\.npz: is a damaged archive \(it is not packed by deflate"):
            load_point_cloud(tmp_path / "other.npz")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_an_array_is_checked_whatever_its_name_and_whatever_follows_it(tmp_path):
    """numpy finds an array `points` that lacks .npy, and one that has a zip file behind it."""
    (tmp_path / "bare.npz").write_bytes(zipped({"points": npy(XYZ)}))
    assert (load_point_cloud(tmp_path / "bare.npz").points.xyz == XYZ).all()
    huge = npy(XYZ).replace(b"(2, 3), }" + b" " * 9, b"(2000000000, 3), }")
    (tmp_path / "bare.npz").write_bytes(zipped({"points": huge}))
    with pytest.raises(ValueError, match=r"bare\.npz: it announces an array of shape \(2000000000, 3\)"):
        load_point_cloud(tmp_path / "bare.npz")
    (tmp_path / "both.npy").write_bytes(npy(XYZ) + zipped({"points.npy": npy(XYZ)}))
    with pytest.raises(ValueError, match=r"both\.npy: is not what its suffix \.npy says"):
        load_point_cloud(tmp_path / "both.npy")
