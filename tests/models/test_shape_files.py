"""From files of every kind to points and colours."""

import struct

import numpy as np
import pytest
import trimesh

from mrd_hf.data.sources.meshes.mesh_files import MeshFiles
from mrd_hf.models import shape_limits
from mrd_hf.models.shape_files import SHAPE_SUFFIXES, colored_points, read_shape
from mrd_hf.models.shape_suffixes import MESH_SUFFIXES
from mrd_hf.models.shapes import UNCOLORED, MeshError, PointCloud, TexturedMesh


XYZ = np.array([[0.0, 0, 0], [2, 0, 0], [0, 3, 0], [0, 0, 4]])
RGB = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]], dtype=np.uint8)


def write_cloud(path, rgb):
    """A cloud in any format, by libraries of others."""
    if path.suffix == ".npy":
        np.save(path, XYZ if rgb is None else np.concatenate([XYZ, rgb / 255], axis=1))
    elif path.suffix == ".npz":
        np.savez(path, xyz=XYZ, **({} if rgb is None else {"rgb": rgb}))
    elif path.suffix == ".xyz":
        np.savetxt(path, XYZ if rgb is None else np.concatenate([XYZ, rgb], axis=1), fmt="%d")
    elif path.suffix == ".pcd":
        packed = np.zeros((4, 0), dtype=int) if rgb is None else rgb.astype(int) @ [[2**16], [2**8], [1]]
        rows = np.concatenate([XYZ.astype(int), packed], axis=1)
        fields = ["x", "y", "z", "rgb"][: rows.shape[1]]
        size, kind, count = (" ".join([word] * len(fields)) for word in ("4", "U", "1"))
        path.write_text(
            f"FIELDS {' '.join(fields)}\nSIZE {size}\nTYPE {kind}\nCOUNT {count}\nWIDTH 4\nHEIGHT 1\nDATA ascii\n"
            + "\n".join(" ".join(map(str, row)) for row in rows.tolist())
        )
    else:
        trimesh.PointCloud(XYZ, colors=rgb).export(path)


@pytest.mark.parametrize("rgb", [None, RGB], ids=["bare", "colored"])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".xyz", ".pcd", ".ply", ".glb"])
def test_a_cloud_of_any_format_is_its_points(tmp_path, suffix, rgb):
    write_cloud(tmp_path / f"cloud{suffix}", rgb)
    shape = read_shape(tmp_path / f"cloud{suffix}")
    points = colored_points(shape, num_points=2)
    assert isinstance(shape, PointCloud) and points is shape.points
    assert shape.color_source == (None if rgb is None else "vertex colours")
    np.testing.assert_allclose(points.xyz, XYZ)
    if rgb is None:
        assert points.rgb is None
    elif suffix == ".glb":  # whose colours are linear, and trimesh writes bytes as they are
        light = rgb / 255
        srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        np.testing.assert_allclose(points.rgb / 255, srgb, atol=0.002)
    else:
        np.testing.assert_allclose(points.rgb / (255 if points.rgb.dtype.kind in "iu" else 1), rgb / 255)


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".obj", ".off", ".ply", ".stl"])
def test_a_mesh_of_any_format_is_points_of_its_surface(tmp_path, suffix):
    box = trimesh.creation.box(extents=(2, 4, 6))
    box.export(tmp_path / f"box{suffix}")
    shape = read_shape(str(tmp_path / f"box{suffix}"))
    assert isinstance(shape, TexturedMesh) and not shape.is_colored
    xyz, rgb = colored_points(shape, num_points=3000)
    assert rgb is None  # what stands in for a colour is not handed on
    assert (np.abs(xyz) <= (1.00001, 2.00001, 3.00001)).all()
    on_face = np.isclose(np.abs(xyz), (1, 2, 3), atol=1e-6)
    assert on_face.any(axis=1).all()
    # Of 88 units of area 48 are on the sides across x, 24 across y, 16 across z.
    np.testing.assert_allclose(on_face.mean(axis=0), [48 / 88, 24 / 88, 16 / 88], atol=0.03)
    again, other = colored_points(shape, 3000), colored_points(shape, 3000, np.random.default_rng(1))
    assert (again.xyz == xyz).all() and not (other.xyz == xyz).all()


def test_colors_of_a_part_are_colors_of_the_mesh(tmp_path):
    (tmp_path / "two.obj").write_text(
        "mtllib two.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nusemtl red\nf 1 2 3\nusemtl bare\nf 1 2 4\n"
    )
    (tmp_path / "two.mtl").write_text("newmtl red\nKd 1 0 0\nnewmtl bare\n")
    rgb = colored_points(read_shape(tmp_path / "two.obj"), 500).rgb
    assert {tuple(row) for row in rgb.tolist()} == {(255, 0, 0), (200, 200, 200)}


@pytest.mark.parametrize("rgb", [None, RGB], ids=["bare", "colored"])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".xyz", ".ply", ".obj", ".pcd"])
def test_points_that_are_not_finite_are_dropped_and_counted(tmp_path, suffix, rgb):
    xyz = np.array([[0, 0, 0], [np.nan, 0, 0], [0, 3, 0], [0, -np.inf, 4], [0, 0, 4], [np.nan] * 3])
    kept = np.isfinite(xyz).all(axis=1)
    colors = None if rgb is None else np.concatenate([rgb, rgb[:2]])
    file = tmp_path / f"cloud{suffix}"
    if suffix == ".npz":
        np.savez(file, xyz=xyz, **({} if rgb is None else {"rgb": colors}))
    elif suffix == ".npy":
        np.save(file, xyz if rgb is None else np.concatenate([xyz, colors / 255], axis=1))
    else:
        prefix = "v " if suffix == ".obj" else ""
        names = ["x", "y", "z"] + ([] if rgb is None else ["red", "green", "blue"])
        rows = zip(xyz.tolist(), [[]] * 6 if rgb is None else colors.tolist(), strict=True)
        header = {
            ".ply": "ply\nformat ascii 1.0\nelement vertex 6\n"
            + "".join(f"property {'float' if len(name) == 1 else 'uchar'} {name}\n" for name in names)
            + "end_header\n",
            ".pcd": f"FIELDS {' '.join(names)}\nSIZE {' '.join('444111'[: len(names)])}\n"
            f"TYPE {' '.join('FFFUUU'[: len(names)])}\nWIDTH 6\nHEIGHT 1\nDATA ascii\n",
        }.get(suffix, "")
        file.write_text(
            header + "".join(prefix + " ".join(map(str, [*point, *color])) + "\n" for point, color in rows)
        )
    shape = read_shape(file)
    np.testing.assert_array_equal(shape.points.xyz, xyz[kept])
    if rgb is None:
        assert shape.points.rgb is None
    else:
        found = shape.points.rgb
        np.testing.assert_allclose(found / (255 if found.dtype.kind in "iu" else 1), colors[kept] / 255)
    count = "2 of 5" if suffix == ".pcd" else "3 of 6"  # pixels without depth are no points
    assert shape.warnings == [f"{count} points dropped: coordinates that are not finite"]


def test_colors_that_are_a_rounding_beyond_their_range_are_cut(tmp_path):
    rgb = np.array([[1 + 1e-7, 0, 0.5], [0.25, -1e-9, 1], [1.004, 0.5, 0], [0, 0, 0]])
    both = np.concatenate([XYZ, rgb], axis=1)
    np.save(tmp_path / "a.npy", both)
    np.savez(tmp_path / "a.npz", points=XYZ, colors=rgb.astype(np.float32))
    np.savetxt(tmp_path / "a.xyz", both, fmt="%.9f")
    np.savetxt(tmp_path / "b.xyz", np.insert(both, 3, 200, axis=1), fmt="%.9f")  # with an intensity
    for name in ("a.npy", "a.npz", "a.xyz", "b.xyz"):
        found = read_shape(tmp_path / name).points.rgb
        assert found.min() == 0 and found.max() == 1, name
        np.testing.assert_allclose(found, rgb, atol=0.005)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".xyz", ".pcd", ".ply", ".glb", ".obj"])
def test_a_cloud_of_more_points_than_are_read_is_refused(tmp_path, monkeypatch, suffix):
    if suffix == ".obj":
        (tmp_path / "cloud.obj").write_text("v 0 0 0\n" * 4)
    else:
        write_cloud(tmp_path / f"cloud{suffix}", RGB)
    monkeypatch.setitem(shape_limits.ALLOWANCES, "points", shape_limits.Allowance(4, 0))
    assert len(read_shape(tmp_path / f"cloud{suffix}").points.xyz) == 4
    monkeypatch.setitem(shape_limits.ALLOWANCES, "points", shape_limits.Allowance(3, 0))
    with pytest.raises(ValueError, match=rf"cloud\{suffix}: .*4 points; at most 3 are read"):
        read_shape(tmp_path / f"cloud{suffix}")


def lzf_claim(unpacked):
    """A compressed .pcd file that says it unpacks to so many bytes."""
    return (
        b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 9\nHEIGHT 1\nDATA binary_compressed\n"
        + struct.pack("<II", 8, unpacked)
        + bytes(8)
    )


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("gone.glb", None, FileNotFoundError, "gone.glb: no such file"),
        ("a.txt", b"", ValueError, "a.txt: files with the suffix '.txt' are not known; expected one of .3mf, .dae"),
        ("a.obj", b"hello\n", ValueError, "a.obj: "),
        ("a.pcd", b"hello\n", ValueError, "a.pcd: its header has no line DATA"),
        ("a.xyz", b"0 0 inf\nnan 0 0\n", ValueError, "a.xyz has 2 values that are not finite"),
        ("a.xyz", b"0 0 0 0 0 300\n", ValueError, "the colours of .*a.xyz must be integers in 0..255"),
        ("a.pcd", lzf_claim(360_000_000), ValueError, "a.pcd: 343 MiB once unpacked, of 0.0 MiB"),
    ],
)
def test_what_is_no_shape_is_named(tmp_path, name, content, error, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        read_shape(tmp_path / name)
    with pytest.raises(ValueError, match="is a folder; give the files in it"):
        read_shape(tmp_path)


@pytest.mark.parametrize("suffix", SHAPE_SUFFIXES)
def test_an_empty_file_is_called_that(tmp_path, suffix):
    (tmp_path / f"a{suffix}").touch()
    with pytest.raises(ValueError, match=rf"a\{suffix}: cannot be read( as .*)?: the file is empty\.$"):
        read_shape(tmp_path / f"a{suffix}")
    if suffix in MESH_SUFFIXES:
        with pytest.raises(MeshError, match=rf"^a\{suffix}: cannot be read as '{suffix[1:]}': the file is empty\.$"):
            MeshFiles(tmp_path).load_mesh(f"a{suffix}")


@pytest.mark.parametrize("suffix", SHAPE_SUFFIXES)
def test_files_that_fill_the_memory_are_not_opened(tmp_path, suffix):
    with open(tmp_path / f"large{suffix}", "wb") as file:
        file.truncate(3 * 2**30)  # takes no room on the disk
    with pytest.raises(ValueError, match=rf"large{suffix}: 3.0 GiB; files of at most 2 GiB are read\.$"):
        read_shape(tmp_path / f"large{suffix}")


def test_the_grey_of_what_has_no_colors_is_one():
    from mrd_hf import PointCloudFeatureExtractor
    from mrd_hf.data.loaders.augmentation import AugmentationConfig

    assert UNCOLORED == 0.4  # OpenShape's
    assert PointCloudFeatureExtractor().default_color == AugmentationConfig().default_color == UNCOLORED
    assert (PointCloudFeatureExtractor(num_points=4)(XYZ)["point_values"][..., 3:] == np.float32(0.4)).all()
