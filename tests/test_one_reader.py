"""Every way into the package reads a file alike: the same points, warnings, and errors.

Those ways are the feature extractor, the command line, the Space, the endpoint, an evaluation's folder of shapes, and
preparing a dataset.
"""

import base64
import io
import json
import logging
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from support.model_files import as_usdc, dae, las, object_3mf, threemf, usda, zipped
from support.tiny_meshes import QUARTERS, glb

import mrd_hf.models
from mrd_hf import PointCloudFeatureExtractor
from mrd_hf.app.shape_reading import _read_into_folder, read_upload
from mrd_hf.cli.encoder import embed_files
from mrd_hf.data.sources.meshes.mesh_folder import prepare_mesh
from mrd_hf.data.sources.meshes.mesh_jobs import mesh_jobs
from mrd_hf.errors import UserError
from mrd_hf.evaluation import encoding
from mrd_hf.evaluation.benchmarks import shape_folder
from mrd_hf.hub.endpoint import shape_reading as endpoint
from mrd_hf.models.shape_files import colored_points, read_shape
from mrd_hf.models.shape_suffixes import MESH_SUFFIXES
from mrd_hf.models.surface_sampling import normalize_points
from mrd_hf_cli.main import run
from mrd_hf_cli.parser import parse


NUM_POINTS = 200
XYZ = np.random.default_rng(0).normal(size=(NUM_POINTS, 3)).round(3)
RGB = np.random.default_rng(1).integers(0, 256, (NUM_POINTS, 3)).astype(np.uint8)
PLY = b"ply\nformat ascii 1.0\nelement vertex %d\nproperty float x\nproperty float y\nproperty float z\n"
FIELDS = "FIELDS x y z r g b\nSIZE 4 4 4 1 1 1\nTYPE F F F U U U\nCOUNT 1 1 1 1 1 1\n"
OBJ = b"v 0 0 0 1 0 0\nv 2 0 0 0 1 0\nv 0 3 0 0 0 1\nv 0 0 4 1 1 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"


def in_memory(save, *arrays, **named) -> bytes:
    sink = io.BytesIO()
    save(sink, *arrays, **named)
    return sink.getvalue()


def sound() -> dict[str, bytes]:
    """A file of each kind, and clouds in formats that may hold a mesh."""
    rows = "".join(f"{' '.join(map(str, [*p, *c]))}\n" for p, c in zip(XYZ.tolist(), RGB.tolist(), strict=True))
    textured = trimesh.load(io.BytesIO(glb(Image.fromarray(QUARTERS))), file_type="glb")
    ball = trimesh.creation.icosphere(subdivisions=1)
    ball.visual.vertex_colors = np.arange(4 * len(ball.vertices)).reshape(-1, 4) % 256
    embedded = json.loads(textured.export(file_type="gltf")["model.gltf"])
    for buffer, (_, data) in zip(embedded["buffers"], _buffers(textured), strict=True):
        buffer["uri"] = f"data:;base64,{base64.b64encode(data).decode()}"
    return {
        "a.glb": glb(Image.fromarray(QUARTERS)),
        "b.gltf": json.dumps(embedded).encode(),
        "c.obj": OBJ,
        "d.off": ball.export(file_type="off").encode(),
        "e.ply": ball.export(file_type="ply"),
        "f.stl": ball.export(file_type="stl"),
        "g.npy": in_memory(np.save, np.concatenate([XYZ, RGB / 255], axis=1)),
        "h.npz": in_memory(np.savez, points=XYZ.astype(np.float32), colors=RGB),
        "i.pcd": f"{FIELDS}WIDTH {NUM_POINTS}\nHEIGHT 1\nDATA ascii\n{rows}".encode(),
        "j.xyz": rows.encode(),
        "k.ply": trimesh.PointCloud(XYZ, colors=RGB).export(file_type="ply"),
        "l.obj": "".join(f"v {x} {y} {z}\n" for x, y, z in XYZ.tolist()).encode(),
        # In these z points up.
        "m.dae": dae(),
        "n.3mf": threemf(object_3mf(2), '<item objectid="2"/>'),
        "o.usda": usda(),
        "p.usdz": zipped({"a.usdc": as_usdc(usda())}, 0),
        "q.laz": las(XYZ, RGB, compress=True),
        "r.zip": zipped({"a/b.dae": dae()}),
    }


def _buffers(scene: trimesh.Scene) -> list[tuple[str, bytes]]:
    return [item for item in scene.export(file_type="gltf").items() if item[0] != "model.gltf"]


def damaged() -> dict[str, bytes]:
    """The first half of each file; text that says what is not so; what the readers refuse."""
    halves = {f"half-{name}": content[: len(content) // 2] for name, content in sound().items() if name not in CUT}
    return halves | {
        "empty.glb": b"",
        "beyond.obj": OBJ + b"f 1 2 99\n",
        "flat.off": b"OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n",
        "colors.npy": in_memory(np.save, np.concatenate([XYZ, RGB / 2], axis=1)),
        "nan.xyz": b"0 0 inf\nnan 1 1\n",
        "columns.xyz": b"0 0 0 1 2\n1 1 1 1 2\n",
        "none.npz": in_memory(np.savez, other=XYZ),
        "colors.ply": PLY % 1
        + b"property float red\nproperty float green\nproperty float blue\nend_header\n0 0 0 200.5 0 0\n",
        "nothing.ply": PLY % 0 + b"end_header\n",
    }


# Of these the first half is a shape, too: they have no end.
CUT = ("c.obj", "j.xyz", "l.obj")
WARNED = {
    "collision.obj": b"o box\n" + OBJ + b"o UCX_box\nf 1 2 3\n",
    "lines.obj": OBJ + b"l 1 2\n",
    "more.stl": sound()["f.stl"] + b"xx",
    "edges.ply": PLY % 1 + b"element edge 1\nproperty int vertex1\nproperty int vertex2\nend_header\n0 0 1\n0 0\n",
}


def by_extractor(file, monkeypatch):
    return PointCloudFeatureExtractor(NUM_POINTS, normalize=False)(str(file), return_tensors="np")["point_values"][0]


def by_command_line(file, monkeypatch):
    seen = []

    def encode_shapes(model, batches):
        seen.extend(batches)
        return torch.zeros(len(batches[0]), 1)

    monkeypatch.setattr(encoding, "encode_shapes", encode_shapes)
    failures: list[dict[str, str]] = []
    loaded = SimpleNamespace(model=None, extractor=PointCloudFeatureExtractor(NUM_POINTS, normalize=False))
    list(embed_files(loaded, [str(file)], None, 1, failures))
    if failures:
        raise ValueError(failures[0]["error"])
    return seen[0][0].numpy()


def by_space(file, monkeypatch):
    found = _read_into_folder(NUM_POINTS, "y", {"path": str(file), "up_axis": None, "name": file.name, "folder": "."})
    if "error" in found:
        raise ValueError(found["error"])
    upload = read_upload(file, None, NUM_POINTS)
    points, colors = upload.points[:, :3], upload.points[:, 3:]
    return _values(_y_up(points, upload.up_axis), colors if colors.size else None)


def asked_of_endpoint(file) -> dict:
    """What the endpoint's other process answers about an upload, into whose folder it writes the points."""
    folder = file.parent / "upload"
    folder.mkdir(exist_ok=True)
    (folder / f"shape{file.suffix}").write_bytes(file.read_bytes())
    request = {"folder": str(folder), "format": file.suffix[1:], "num_points": NUM_POINTS, "max_points": 10**6}
    request["parts"] = {}
    return endpoint._answer(mrd_hf.models, request)


def by_endpoint(file, monkeypatch):
    answer = asked_of_endpoint(file)
    if "error" in answer:
        raise ValueError(answer["error"])
    points, colors = (file.parent / "upload" / f"{name}.npy" for name in ("points", "colors"))
    rgb = np.load(colors) if colors.exists() else None
    colors.unlink(missing_ok=True)
    return _values(_y_up(np.load(points), answer["up_axis"]), rgb)


def by_evaluation(file, monkeypatch):
    monkeypatch.setattr(shape_folder, "NUM_POINTS", NUM_POINTS)
    folder = file.parent / "classes" / "things"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file.name).write_bytes(file.read_bytes())
    benchmark = shape_folder.open_shape_folder(folder.parent, "test")
    (place,) = [place for place, name in enumerate(benchmark.ids) if name.endswith(file.name)]
    return _values(*benchmark.shapes([place])[0])


def _y_up(xyz, up_axis):
    """As the extractor turns it, which the Space and the endpoint's handler tell the axis."""
    return np.stack([xyz[:, 0], xyz[:, 2], -xyz[:, 1]], axis=1) if up_axis == "z" else xyz


def _values(xyz, rgb):
    if rgb is None:
        rgb = np.full(xyz.shape, 0.4)
    return np.concatenate([xyz, rgb / 255 if rgb.dtype.kind in "iu" else rgb], axis=1)


READERS = (by_extractor, by_command_line, by_space, by_endpoint, by_evaluation)


def written(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


@pytest.fixture(autouse=True)
def in_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("read", READERS[1:], ids=lambda read: read.__name__)
def test_the_same_points_come_from_every_reader(read, tmp_path, monkeypatch):
    for name, content in sound().items():
        file = written(tmp_path, name, content)
        expected = by_extractor(file, monkeypatch)
        assert expected.shape == (NUM_POINTS, 6) and len(np.unique(expected, axis=0)) == NUM_POINTS
        np.testing.assert_allclose(read(file, monkeypatch), expected, atol=1e-6, err_msg=name)


def prepared(file):
    """What a dataset gets of a mesh, and the generator that its points are drawn by."""
    folder = file.parent / f"meshes-{file.name}"
    folder.mkdir()
    written(folder, file.name, file.read_bytes())
    (job,) = mesh_jobs(folder)
    shape = prepare_mesh(job, NUM_POINTS, 7, None, None)
    return shape, np.random.default_rng([7, zlib.crc32(job.id.encode())])


def test_a_dataset_gets_the_same_points(tmp_path):
    """By a generator of each shape's own, centred and scaled."""
    for name, content in sound().items():
        if name.endswith(MESH_SUFFIXES) and name not in ("k.ply", "l.obj"):
            shape, generator = prepared(written(tmp_path, name, content))
            points = colored_points(read_shape(tmp_path / name).y_up(), NUM_POINTS, generator)
            expected = normalize_points(points.xyz).astype(np.float16)
            np.testing.assert_array_equal(shape.row["points"], expected, err_msg=name)
            np.testing.assert_array_equal(shape.row["colors"], 102 if points.rgb is None else points.rgb)


def error_of(read, file, monkeypatch) -> str:
    """Without the names that a file has."""
    with pytest.raises((ValueError, UserError)) as raised:
        read(file, monkeypatch)
    message = str(raised.value)
    for name in (str(file), f"classes/things: shape 'things/{file.name}'", f"classes/things/{file.name}"):
        message = message.replace(name, "NAME")
    return message.replace(f"{file.parent}/", "").replace("the shape", "NAME").replace(file.name, "NAME")


@pytest.mark.parametrize("name", damaged())
def test_the_same_error_comes_from_every_reader(name, tmp_path, monkeypatch):
    file = written(tmp_path, name, damaged()[name])
    expected = error_of(by_extractor, file, monkeypatch)
    assert expected.startswith("NAME") or " NAME" in expected
    assert {read.__name__: error_of(read, file, monkeypatch) for read in READERS} == {
        read.__name__: expected for read in READERS
    }
    if file.suffix in MESH_SUFFIXES:
        shape, _ = prepared(file)
        assert shape.row is None and shape.skipped.replace(name, "NAME") == expected


@pytest.mark.parametrize("name", WARNED)
def test_the_same_warnings_come_from_every_reader_once(name, tmp_path, monkeypatch, caplog):
    file = written(tmp_path, name, WARNED[name])
    (warning,) = read_shape(file).warnings
    caplog.set_level(logging.WARNING)
    for read in (by_extractor, by_command_line, by_evaluation):
        caplog.clear()
        read(file, monkeypatch)
        (message,) = caplog.messages
        assert message.endswith(f"{name}: {warning}.")
    assert read_upload(file, None, NUM_POINTS).notes == [f"{warning}."]
    assert asked_of_endpoint(file)["warnings"] == [warning]
    if name != "edges.ply":
        assert prepared(file)[0].warnings == [warning]


def test_an_evaluation_that_reads_a_file_again_does_not_warn_again(tmp_path, monkeypatch, caplog):
    file = written(tmp_path, "lines.obj", WARNED["lines.obj"])
    for _ in range(2):
        by_evaluation(file, monkeypatch)
    assert len(caplog.messages) == 1


def test_what_is_drawn_has_its_warnings(tmp_path, caplog):
    """Also a cloud."""
    written(tmp_path, "edges.ply", WARNED["edges.ply"])
    assert run(parse(["render", "edges.ply", "--views", "1", "--size", "64"])) == 0
    assert caplog.messages == ["edges.ply: element 'edge' of 1 rows left out."]
