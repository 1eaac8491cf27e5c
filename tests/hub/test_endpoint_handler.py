"""handler.py as an Inference Endpoint runs it: what it answers, what it refuses, and that it outlives its callers."""

import ast
import base64
import importlib.util
import io
import json
import os
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import trimesh
from packaging.requirements import Requirement
from PIL import Image
from safetensors.torch import load_file
from support.false_claims import huge_png, npy_header
from support.model_files import dae, dae_source, object_3mf, threemf, usd_material, usda, zipped
from support.tiny_encoders import tiny_encoder
from support.tiny_gltf import TRIANGLE, as_glb, data_uri, gltf, textured_gltf
from support.tiny_meshes import QUARTERS, glb
from support.tiny_mrd import WIDTH, tiny_mrd
from support.tiny_teachers import CLIP_WIDTH, save_tiny_clip

from mrd_hf import PointBertForShapeClassification, PointCloudFeatureExtractor
from mrd_hf.errors import UserError
from mrd_hf.hub.endpoint import shape_reading
from mrd_hf.hub.endpoint.isolation import IsolatedReader
from mrd_hf.hub.endpoint.shape_reading import Refused, check_url, is_public
from mrd_hf.hub.endpoint.writing import write_handler
from mrd_hf.models.shape_files import read_shape


LABELS = ["chair", "mug", "a lamp"]
SECRET = "the-servers-secret"


def encoder():
    """With weights so wide that embeddings of different shapes differ."""
    return tiny_encoder("openshape", projection_dim=CLIP_WIDTH, initializer_range=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A checkpoint with its handler, and the text tower beside it."""
    folder = tmp_path_factory.mktemp("endpoint") / "repository"
    encoder().save_pretrained(folder)
    PointCloudFeatureExtractor(num_points=64).save_pretrained(folder)
    write_handler(folder)
    save_tiny_clip(folder.parent / "clip")
    return folder


@pytest.fixture(scope="module")
def uploads(folder) -> Path:
    """Where the handler puts what it is sent, each in a folder of its own: with files that uploads may name."""
    uploads = folder.parent / "uploads"
    uploads.mkdir()
    write_secrets(uploads)
    return uploads


@pytest.fixture(scope="module")
def module(folder):
    """As the toolkit imports it: by its file, under a name that nothing else can import."""
    spec = importlib.util.spec_from_file_location("handler.EndpointHandler", folder / "handler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def handler(folder, module, uploads):
    settings = {"MRD_TEXT_TOWER": str(folder.parent / "clip"), "MRD_MAX_BYTES": "2000000", "MRD_TIMEOUT": "10"}
    settings["MRD_MAX_MEMORY"] = str(400 * 2**20)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.setattr(tempfile, "tempdir", str(uploads))
        handler = module.EndpointHandler(str(folder))
        yield handler
    handler.reader.close()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def difference(embed, expected) -> float:
    return float(np.linalg.norm(embed - expected) / np.linalg.norm(expected))


def embedding(handler, inputs, **parameters) -> np.ndarray:
    return np.array(handler({"inputs": inputs, "parameters": parameters})["embedding"])


def test_scores_are_the_softmax_of_cosines_with_the_labels(handler, folder, tmp_path):
    """Against the model, the extractor and the teacher, used by hand."""
    from mrd_hf.teacher import Teacher

    teacher = Teacher.from_pretrained(folder.parent / "clip")
    (tmp_path / "box.glb").write_bytes(glb(Image.fromarray(QUARTERS)))
    extractor = PointCloudFeatureExtractor.from_pretrained(folder)
    with torch.no_grad():
        embed = encoder().get_point_features(**extractor(str(tmp_path / "box.glb")))
    texts = teacher.embed_texts([f"a picture of {label}." for label in LABELS])
    scores = (100 * torch.nn.functional.cosine_similarity(embed, texts)).softmax(dim=0)
    answer = handler(
        {
            "inputs": encoded((tmp_path / "box.glb").read_bytes()),
            "parameters": {"candidate_labels": LABELS, "hypothesis_template": "a picture of {}."},
        }
    )
    assert [row["score"] for row in answer] == sorted((row["score"] for row in answer), reverse=True)
    assert {row["label"]: row["score"] for row in answer} == pytest.approx(
        dict(zip(LABELS, scores.tolist(), strict=True)), abs=1e-4
    )
    assert difference(embedding(handler, (tmp_path / "box.glb").read_bytes()), embed[0].numpy()) < 1e-5
    assert difference(embedding(handler, glb()), embed[0].numpy()) > 0.01  # without its picture
    json.dumps(answer)


def test_colors_as_javascript_writes_them(handler):
    """JSON.stringify writes 1.0 as 1, so that colors of whole numbers look like integers."""
    points = np.random.default_rng(0).standard_normal((64, 3)).round(3).tolist()
    colors = np.random.default_rng(1).integers(0, 2, (64, 3))
    expected = embedding(handler, {"points": points, "colors": colors.astype(float).tolist()})
    assert difference(embedding(handler, {"points": points, "colors": (colors * 255).tolist()}), expected) < 1e-5
    for inputs in (
        {"points": points, "colors": colors.tolist()},
        [[*p, *c] for p, c in zip(points, colors.tolist(), strict=True)],
    ):
        answer = handler({"inputs": inputs})
        assert difference(np.array(answer["embedding"]), expected) < 1e-5
        assert answer["warnings"] == [
            "all colors are 0 or 1, so they were read as numbers in 0..1, not as integers in 0..255"
        ]
    black = {"points": points, "colors": [[0, 0, 0]] * 64}
    assert "warnings" not in handler({"inputs": black})  # the same in both


def test_the_same_shape_in_every_form(handler):
    points = np.random.default_rng(0).standard_normal((64, 3)).round(3)
    colors = np.random.default_rng(1).integers(0, 256, (64, 3))
    ply = trimesh.PointCloud(points, colors=np.c_[colors, np.full(64, 255)].astype(np.uint8)).export(file_type="ply")
    npz = io.BytesIO()
    np.savez(npz, points=points, colors=colors)
    whole = np.c_[points, colors / 255]
    npy = io.BytesIO()
    np.save(npy, whole)
    xyz = "\n".join(" ".join(map(str, [*p, *c])) for p, c in zip(points, colors, strict=True)).encode()
    expected = embedding(handler, {"points": points.tolist(), "colors": colors.tolist()})
    forms = [
        whole.tolist(),
        [[*p, *c] for p, c in zip(points.tolist(), colors.tolist(), strict=True)],
        {"points": points.tolist(), "colors": (colors / 255).tolist()},
        {"file": encoded(ply), "format": "ply"},
        {"file": encoded(npz.getvalue()), "format": ".NPZ"},
        {"file": ply},
        ply,
        bytearray(ply),
        memoryview(npy.getvalue()),
        encoded(ply),
        "data:application/octet-stream;base64," + encoded(ply),
        "\n".join(encoded(ply)[i : i + 76] for i in range(0, len(encoded(ply)), 76)),
        {"file": encoded(xyz), "format": "xyz"},
    ]
    assert difference(embedding(handler, points.tolist()), expected) > 0.01  # without its colors
    for form in forms:
        assert difference(embedding(handler, form), expected) < 1e-4
    assert difference(embedding(handler, xyz, format="xyz"), expected) < 1e-4
    unit = embedding(handler, forms[0], normalize=True)
    assert difference(unit, expected / np.linalg.norm(expected)) < 1e-4
    assert difference(embedding(handler, forms[0], up_axis="z"), expected) > 0.01


def test_which_axis_is_up_is_as_the_request_says_else_as_the_file_says(handler, monkeypatch):
    lines = "0 0 0\n1 2 4\n2 1 8\n-1 0 3"
    files = {kind: {"file": encoded(data), "format": kind} for kind, data in (("glb", glb()), ("xyz", lines.encode()))}
    before = {(kind, axis): embedding(handler, files[kind], up_axis=axis) for kind in files for axis in ("y", "z")}
    monkeypatch.setattr(handler.extractor, "up_axis", "z")
    assert difference(before["glb", "y"], before["glb", "z"]) > 0.01
    for kind, axis in (("glb", "y"), ("xyz", "z")):  # glTF is y-up by its standard; .xyz says nothing
        assert difference(embedding(handler, files[kind]), before[kind, axis]) < 1e-5
        for said in ("y", "z"):
            assert difference(embedding(handler, files[kind], up_axis=said), before[kind, said]) < 1e-5


def test_the_parts_that_are_read_are_those_of_the_extractors_settings(handler, monkeypatch):
    scene = trimesh.Scene()
    for name, place in (("seat", 0), ("UCX_seat", 3)):
        scene.add_geometry(trimesh.creation.box().apply_translation([place, 0, 0]), node_name=name, geom_name=name)
    inputs = {"file": encoded(scene.export(file_type="glb")), "format": "glb"}
    before = embedding(handler, inputs)
    monkeypatch.setattr(handler.extractor, "keep_collision", True)
    assert difference(embedding(handler, inputs), before) > 0.01
    monkeypatch.setattr(handler.extractor, "skip_parts", "^UCX")
    assert difference(embedding(handler, inputs), before) < 1e-5


def test_class_embeddings_and_top_k(handler):
    points = np.random.default_rng(0).standard_normal((64, 3)).tolist()
    embeds = [embedding(handler, points).tolist(), (-embedding(handler, points)).tolist()]
    parameters = {"candidate_labels": ["opposite", "same"], "class_embeds": embeds[::-1], "top_k": 1}
    [row] = handler({"inputs": points, "parameters": parameters})
    assert row["label"] == "same" and row["score"] == pytest.approx(1)
    assert len(handler({"inputs": points, "parameters": {"candidate_labels": "chair, mug"}})) == 2
    odd = ["椅子", "🪑", "а" * 200, "ch\u0000air", "{}", "\u202erights", "é" * 100]
    assert {row["label"] for row in handler({"inputs": points, "parameters": {"candidate_labels": odd}})} == set(odd)


def test_class_embeddings_for_a_whole_model_of_pretraining(module, tmp_path):
    """Whose configuration has the encoder's in it."""
    tiny_mrd().save_pretrained(tmp_path)
    PointCloudFeatureExtractor(num_points=64).save_pretrained(tmp_path)
    handler = module.EndpointHandler(str(tmp_path))
    try:
        parameters = {"candidate_labels": ["a", "b"], "class_embeds": np.eye(2, WIDTH).tolist()}
        rows = handler(
            {"inputs": np.random.default_rng(0).standard_normal((64, 3)).tolist(), "parameters": parameters}
        )
        assert {row["label"] for row in rows} == {"a", "b"}
    finally:
        handler.reader.close()


CUBE = [[float(i & 1), float(i >> 1 & 1), float(i >> 2)] for i in range(8)]


@pytest.mark.parametrize(
    ("data", "message", "status"),
    [
        (None, "expected an object", 400),
        ({}, "inputs must be", 400),
        ({"inputs": 3}, "inputs must be", 400),
        ({"inputs": {}}, "one of file, points and url", 400),
        ({"inputs": {"file": "", "points": CUBE}}, "one of file, points and url", 400),
        ({"inputs": "not base64!"}, "not valid base64", 400),
        ({"inputs": "QUJD=QUJD"}, "not valid base64", 400),
        ({"inputs": "éééé"}, "not valid base64", 400),
        ({"inputs": ""}, "the file is empty", 400),
        ({"inputs": encoded(b"what is this")}, "format is missing", 400),
        ({"inputs": {"file": "QUJD", "format": "exe"}}, "the format 'exe' is not known", 400),
        ({"inputs": {"file": "QUJD", "format": "../../x"}}, "format must be", 400),
        ({"inputs": {"file": "QUJD", "format": 3}}, "format is missing", 400),
        ({"inputs": {"file": "QUJD", "format": "rar"}}, "the format 'rar' is not known", 400),
        ({"inputs": {"file": 3}}, "file must be a string of base64", 400),
        ({"inputs": "A" * 3_000_000}, "more than 2,000,000 bytes", 413),
        ({"inputs": bytes(2_000_001)}, "2,000,001 bytes; at most 2,000,000", 413),
        ({"inputs": []}, "points must be a list", 400),
        ({"inputs": [[]]}, "rows of 3 or 6", 400),
        ({"inputs": [[1, 2]]}, "rows of 3 or 6", 400),
        ({"inputs": [[1, 2, 3], [1, 2]]}, "rows of 3 or 6", 400),
        ({"inputs": [[1, 2, "3"]]}, "must be numbers", 400),
        ({"inputs": [[1, 2, None]]}, "must be numbers", 400),
        ({"inputs": [[1, 2, [3]]]}, "must be numbers", 400),
        ({"inputs": [[1, 2, True]]}, "must be numbers", 400),
        ({"inputs": [[1.0, 2, float("nan")]]}, "not finite", 400),
        ({"inputs": [[1.0, 2, float("inf")]]}, "not finite", 400),
        ({"inputs": [[1, 2, 10**400]]}, "too large", 400),
        ({"inputs": [[1.5, 2, 10**400]]}, "too large", 400),
        ({"inputs": [[0, 0, 1e300], [0, 0, 1]]}, "not finite", 400),
        ({"inputs": [[0, 0, 1]] * 1_000_001}, "at most 1,000,000", 413),
        ({"inputs": {"points": CUBE, "colors": CUBE[:2]}}, "colors", 400),
        ({"inputs": {"points": [[*row, 1, 2, 3] for row in CUBE], "colors": CUBE}}, "given twice", 400),
        ({"inputs": [[*row, 1, 2, 300] for row in CUBE]}, "colors", 400),
        ({"inputs": {"points": CUBE, "colors": [[0.5, 0.5, 2]] * 8}}, "must be integers in 0..255 or floats", 400),
        ({"inputs": CUBE, "parameters": []}, "parameters must be an object", 400),
        ({"inputs": CUBE, "parameters": {"labels": ["a"]}}, "no parameter 'labels'", 400),
        ({"inputs": CUBE, "parameters": {"timeout": 1}}, "no parameter 'timeout'", 400),
        ({"inputs": CUBE, "parameters": {"up_axis": "x"}}, "up_axis must be", 400),
        ({"inputs": CUBE, "parameters": {"top_k": 1}}, "top_k is for candidate_labels", 400),
        ({"inputs": CUBE, "parameters": {"candidate_labels": []}}, "with at least one", 400),
        ({"inputs": CUBE, "parameters": {"candidate_labels": ["a", 3]}}, "strings that are not blank", 400),
        ({"inputs": CUBE, "parameters": {"candidate_labels": ["a", " "]}}, "strings that are not blank", 400),
        ({"inputs": CUBE, "parameters": {"candidate_labels": ["a"] * 10_000}}, "10,000 candidate_labels", 413),
        ({"inputs": CUBE, "parameters": {"candidate_labels": ["a" * 201]}}, "201 characters", 413),
        ({"inputs": CUBE, "parameters": {"candidate_labels": ["\ud800"]}}, "valid Unicode", 400),
        ({"inputs": CUBE, "parameters": {"candidate_labels": ["a"], "top_k": 0}}, "top_k must be", 400),
        ({"inputs": CUBE, "parameters": {"candidate_labels": ["a"], "top_k": "1"}}, "top_k must be", 400),
        ({"inputs": CUBE, "parameters": {"candidate_labels": ["a"], "hypothesis_template": "x"}}, "has no {}", 400),
        ({"inputs": CUBE, "parameters": {"candidate_labels": ["a"], "hypothesis_template": 3}}, "strings", 400),
        (
            {"inputs": CUBE, "parameters": {"candidate_labels": ["a"] * 900, "hypothesis_template": ["{}"] * 900}},
            "labels times templates",
            413,
        ),
        ({"inputs": CUBE, "parameters": {"candidate_labels": ["a"], "class_embeds": [[1.0]]}}, "class_embeds", 400),
        (
            {"inputs": CUBE, "parameters": {"candidate_labels": ["a", "b"], "class_embeds": [[1.0] * CLIP_WIDTH]}},
            "one row for each",
            400,
        ),
        (
            {"inputs": CUBE, "parameters": {"candidate_labels": ["a"], "class_embeds": [[0] * CLIP_WIDTH]}},
            "is zero",
            400,
        ),
        ({"inputs": {"url": "https://example.org/a.glb"}}, "fetches no URLs", 403),
        ({"inputs": "https://example.org/a.glb"}, "fetches no URLs", 403),
        ({"inputs": "file:///etc/passwd"}, "fetches no URLs", 403),
        ({"inputs": "/etc/passwd"}, "not valid base64", 400),
        ({"inputs": "/etc/hosts+"}, "not valid base64|format is missing", 400),
    ],
)
def test_what_is_wrong_is_said(handler, module, data, message, status):
    with pytest.raises(module.RequestError, match=message) as error:
        handler(data)
    assert error.value.status == status
    assert isinstance(error.value, ValueError)  # any exception's text is what an endpoint answers, as status 400


def zip_bomb(_uploads: Path) -> bytes:
    """Unpacks to a gigabyte."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("points.npy", "w") as file:
        file.write(npy_header((2**27 // 3, 3), "<f8"))
        for _ in range(64):
            file.write(bytes(2**24))
    return buffer.getvalue()


def naming(kind: str, way: str, uploads: Path) -> bytes:
    """A file that names another one in such a way."""
    secret, content = NAMING[kind]
    return content(way.format(secret, uploads=uploads.as_posix()))


HUGE = 10**9
# Format, content (or what makes it, told where uploads lie), and what is said of it.
HOSTILE = {
    "glb: a header of 1 GB": (
        "glb",
        struct.pack("<4sIIII", b"glTF", 2, 2**30, 2**30, 0x4E4F534A) + b"{}",
        "within a chunk of 1,073,741,824",
    ),
    "glb: a billion zeros": (
        "glb",
        as_glb(gltf(accessors=[{"componentType": 5126, "count": HUGE, "type": "VEC3"}])),
        "1,000,000,000 elements",
    ),
    "gltf: a buffer of 1 GB": (
        "gltf",
        gltf(bufferViews=[{"buffer": 0, "byteLength": HUGE}]),
        "ends at byte 1,000,000,000",
    ),
    "gltf: a billion points": (
        "gltf",
        gltf(accessors=[{"bufferView": 0, "componentType": 5126, "count": HUGE, "type": "VEC3"}]),
        "ends at byte 12,000,000,000",
    ),
    "gltf: nodes in a circle": ("gltf", gltf(nodes=[{"mesh": 0, "children": [0]}]), "nested in a circle"),
    "gltf: 5,000 nodes deep": (
        "gltf",
        gltf(nodes=[{"children": [i + 1]} for i in range(5000)] + [{"mesh": 0}]),
        "more than 1000 deep",
    ),
    "gltf: nodes that double": (
        "gltf",
        gltf(nodes=[{"children": [i + 1, i + 1]} for i in range(60)] + [{"mesh": 0}]),
        "nested in a circle",
    ),
    "gltf: 100,000 brackets": ("gltf", b"[" * 100_000, "its JSON cannot be read"),
    "gltf: 100,000 brackets inside": ("gltf", b'{"asset":' + b"[" * 100_000, "its JSON cannot be read"),
    "gltf: no object": ("gltf", b"3", "its JSON is no object"),
    "ply: a billion vertices": (
        "ply",
        b"ply\nformat binary_little_endian 1.0\nelement vertex 1000000000\nproperty float x\nproperty float y\n"
        b"property float z\nend_header\n" + bytes(36),
        "announces 1,000,000,000 rows",
    ),
    "ply: a billion vertices in words": (
        "ply",
        b"ply\nformat ascii 1.0\nelement vertex 1000000000\nproperty float x\nproperty float y\nproperty float z\n"
        b"end_header\n0 0 0\n",
        "announces 1,000,000,000 rows",
    ),
    "ply: a list of a billion": (
        "ply",
        b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty float x\nproperty float y\n"
        b"property float z\nelement face 1\nproperty list uint int vertex_indices\nend_header\n"
        + bytes(12)
        + struct.pack("<I", HUGE),
        "a list of 1,000,000,000",
    ),
    "stl: a billion faces": (
        "stl",
        bytes(80) + struct.pack("<I", HUGE) + bytes(50),
        "1,000,000,000 facets that it announces",
    ),
    "off: a billion vertices": ("off", b"OFF\n1000000000 1 0\n0 0 0\n", "1,000,000,000 points; at most"),
    "npy: a billion points": ("npy", npy_header((HUGE, 3), "<f8"), "announces an array of shape .1000000000, 3."),
    "npy: a pickle": (
        "npy",
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }" + b" " * 18,
        "pickled objects are not loaded",
    ),
    "npz: a bomb": ("npz", zip_bomb, "once unpacked"),
    "npz: no archive": ("npz", b"PK\x03\x04 nothing", "File is not a zip file"),
    "pcd: a billion points": (
        "pcd",
        b"VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 1000000000\nHEIGHT 1\n"
        b"POINTS 1000000000\nDATA binary_compressed\n" + struct.pack("<II", 8, HUGE) + bytes(8),
        "1,000,000,000 points; at most",
    ),
    "ply: NaN points": (
        "ply",
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
        b"nan 0 0\n",
        "not finite",
    ),
    "xyz: NaN points": ("xyz", b"0 0 inf\nnan 0 0\n", "not finite"),
    "obj: a face of what is not there": ("obj", b"v 0 0 0\nv 1 0 0\nf 1 2 900\n", "a vertex that does not exist"),
    "obj: empty": ("obj", b"\n", "no faces and no points"),
}
# Files that a file of a shape may name, how it names them, and what is said of that where they may not be read.
UV = dae_source("uv", np.zeros((8, 2)), "ST")
DAE_TEXTURE = {
    "effect": "<diffuse><texture texture='sampler' texcoord='UVMap'/></diffuse>",
    "params": "<newparam sid='surface'><surface type='2D'><init_from>picture</init_from></surface></newparam>"
    "<newparam sid='sampler'><sampler2D><source>surface</source></sampler2D></newparam>",
    "inputs": "<input semantic='TEXCOORD' source='#uv' offset='1' set='0'/>",
    "stride": 2,
}
OBJ = "mtllib {}\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n"
USD_TEXTURE = """
    def Shader "texture"
    {{
        uniform token info:id = "UsdUVTexture"
        asset inputs:file = @{}@
        float3 outputs:rgb
    }}
"""
TEXTURE_3MF = (
    '<m:texture2d id="5" path="{}" contenttype="image/png"/>'
    '<m:texture2dgroup id="6" texid="5"><m:tex2coord u="0.5" v="0.5"/></m:texture2dgroup>'
)


def textured_ply(name: str) -> bytes:
    textured = trimesh.creation.box()
    textured.visual = trimesh.visual.TextureVisuals(uv=np.zeros((8, 2)))
    ply = textured.export(file_type="ply", encoding="ascii", vertex_normal=False)
    return ply.replace(b"\ncomment", f"\ncomment TextureFile {name}\ncomment".encode(), 1)


def textured_usda(name: str) -> bytes:
    material = usd_material(".connect = </look/texture.outputs:rgb>", USD_TEXTURE.format(name))
    return usda(
        material, 'rel material:binding = </look>\ntexCoord2f[] primvars:st = [(0, 0)] (interpolation = "constant")'
    )


def textured_3mf(name: str) -> bytes:
    return threemf(TEXTURE_3MF.format(name) + object_3mf(2, 'pid="6" p1="0"'), '<item objectid="2"/>')


NAMING = {
    "gltf: a buffer": ("secret.bin", lambda name: gltf(buffers=[{"byteLength": 36, "uri": name}])),
    "glb: a picture": ("secret.png", lambda name: as_glb(textured_gltf(name))),
    "obj: materials": ("secret.mtl", lambda name: OBJ.format(name).encode()),
    "ply: a texture": ("secret.png", textured_ply),
    "dae: a texture": ("secret.png", lambda name: dae(sources=UV, **DAE_TEXTURE).replace(b"skin.png", name.encode())),
    "usda: a texture": ("secret.png", textured_usda),
    "usda: a layer": ("secret.usda", lambda name: f"#usda 1.0\n(\nsubLayers = [@{name}@]\n)\n".encode()),
    "usd: a layer": ("secret.usda", lambda name: f"#usda 1.0\n(\nsubLayers = [@{name}@]\n)\n".encode()),
    "3mf: a texture": ("secret.png", textured_3mf),
    "zip: materials": ("secret.mtl", lambda name: zipped({"shape.obj": OBJ.format(name)})),
}
# Beside the upload, where nothing is; above it, by its path, by its address; on the web; as Windows writes it.
WAYS = ("{}", "../{}", "../../uploads/{}", "{uploads}/{}", "file://{uploads}/{}", "http://127.0.0.1:9/{}", "C:\\{}")
OTHERS = "only what is in one file is read, and this one names others"
LAYERS = "only files beside it are read|only files in its folder and below are read|consists of other files as well"
for kind in NAMING:
    for way in WAYS:
        cause = LAYERS if kind.endswith("a layer") else OTHERS
        HOSTILE[f"{kind} at {way}"] = (kind.partition(":")[0], partial(naming, kind, way), cause)


def write_secrets(folder: Path) -> None:
    """What the files of `NAMING` name: had one of these been read, there would be a shape, and no error."""
    (folder / "secret.bin").write_bytes(TRIANGLE)
    Image.new("RGB", (2, 2), (1, 200, 3)).save(folder / "secret.png")
    (folder / f"{SECRET}.png").write_bytes((folder / "secret.png").read_bytes())
    (folder / "secret.mtl").write_text(f"newmtl a\nmap_Kd {SECRET}.png\n")
    (folder / "secret.usda").write_bytes(usda())


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_cost_little_and_the_handler_goes_on(handler, module, uploads, name):
    """And each for the reason that it was made for, by a reader that lives on."""
    file_format, data, cause = HOSTILE[name]
    data = data(uploads) if callable(data) else data  # made here if that takes long, or needs the place
    handler.reader.start()
    reader = handler.reader.process.pid
    started = time.monotonic()
    with pytest.raises(module.RequestError, match=cause) as error:
        handler({"inputs": {"file": encoded(data), "format": file_format}})
    assert error.value.status in (400, 413)
    assert not any(word in str(error.value) for word in ("Traceback", SECRET, "/shape-"))
    assert time.monotonic() - started < 30
    assert len(embedding(handler, glb())) == CLIP_WIDTH
    assert handler.reader.process.pid == reader


@pytest.mark.parametrize("kind", [kind for kind in NAMING if kind.partition(":")[0] not in ("3mf", "zip")])
def test_what_these_files_name_is_read_where_it_may_be(tmp_path, kind):
    """Else they would be refused for another reason than the place. Of 3MF and zip nothing outside is read."""
    write_secrets(tmp_path)
    secret, content = NAMING[kind]
    file = tmp_path / f"shape.{kind.partition(':')[0]}"
    file.write_bytes(content(secret))
    shape = read_shape(file)
    assert shape.parts and shape.warnings == []
    file.write_bytes(content("nowhere" + secret))
    try:
        assert read_shape(file).warnings
    except ValueError as error:
        assert "nowhere" in str(error)


def test_a_picture_too_large_to_decode_is_left_out(handler):
    """Its colours are lost, and its shape is not; the answer says so."""
    bomb = {"file": encoded(textured_gltf(data_uri(huge_png(), "image/png"))), "format": "gltf"}
    assert len(embedding(handler, bomb)) == CLIP_WIDTH
    (warning,) = handler({"inputs": bomb})["warnings"]
    assert re.search("texture cannot be read: .*pixels", warning)
    first, *others = handler({"inputs": bomb, "parameters": {"candidate_labels": LABELS}})
    assert first["warnings"] == [warning] and not any("warnings" in other for other in others)
    assert "warnings" not in handler({"inputs": encoded(glb())})


def test_the_warnings_of_an_answer_are_bounded(handler):
    """However many lines with words of its own a file has."""
    lines = "".join(f"{'x' * 50}{number} 1\n" for number in range(1000))
    obj = f"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n{lines}".encode()
    answer = handler({"inputs": {"file": encoded(obj), "format": "obj"}})
    assert 1 <= len(answer["warnings"]) <= 21 and max(map(len, answer["warnings"])) <= 400


def test_memory_is_bounded_whatever_a_file_asks_for(handler, module):
    data = struct.pack("<I", 10_000_000)
    with pytest.raises(module.RequestError):
        handler({"inputs": {"file": encoded(bytes(80) + data), "format": "stl"}})
    for name in ("ply: a billion vertices", "npy: a billion points", "pcd: a billion points"):
        with pytest.raises(module.RequestError):
            handler({"inputs": {"file": encoded(HOSTILE[name][1]), "format": HOSTILE[name][0]}})
    embedding(handler, glb())
    assert psutil.Process(handler.reader.process.pid).memory_info().rss < 2**30


@pytest.mark.parametrize(("memory", "is_read"), [(0, False), (2**30, True)])
def test_a_file_takes_no_more_memory_than_it_may(handler, folder, module, monkeypatch, memory, is_read):
    """A picture of 25 million pixels in a tenth of a megabyte, whose decoding takes 200."""
    picture = io.BytesIO()
    Image.new("RGB", (5000, 5000), (9, 8, 7)).save(picture, "PNG")
    data = textured_gltf(data_uri(picture.getvalue(), "image/png"))
    reader = IsolatedReader(str(folder / "shape_reading.py"), str(folder), timeout=60, memory=memory)
    monkeypatch.setattr(handler, "reader", reader)
    if is_read:
        points, colors, *_ = handler.read_elsewhere({"format": "gltf"}, data)
        assert points.shape == (64, 3) and colors.tolist() == [[9, 8, 7]] * 64
    else:
        with pytest.raises(module.RequestError, match="takes too much memory") as error:
            handler.read_elsewhere({"format": "gltf"}, data)
        assert error.value.status == 413
        assert handler.read_elsewhere({"format": "glb"}, glb())[0].shape == (64, 3)
    reader.close()


def test_one_that_takes_too_long_is_stopped_and_the_next_is_answered(handler, module, monkeypatch):
    embedding(handler, glb())
    monkeypatch.setattr(handler.reader, "timeout", 1.0)
    process = psutil.Process(handler.reader.process.pid)
    process.suspend()  # what stands for a file that never ends
    started = time.monotonic()
    with pytest.raises(module.RequestError, match="could not be read within 1 s") as error:
        handler({"inputs": glb()})
    assert error.value.status == 408 and time.monotonic() - started < 5
    assert not process.is_running()
    monkeypatch.setattr(handler.reader, "timeout", 20.0)
    assert len(embedding(handler, glb())) == CLIP_WIDTH
    handler.reader.process.kill()  # as the kernel does when memory runs out
    handler.reader.process.wait()
    assert len(embedding(handler, glb())) == CLIP_WIDTH


def test_a_failure_of_its_own_tells_nothing_of_the_server(handler, module, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("/secret/path is broken")

    monkeypatch.setattr(handler.reader, "ask", fail)
    with pytest.raises(module.RequestError, match="^the request failed; the endpoint's log") as error:
        handler({"inputs": glb()})
    assert error.value.status == 500


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://models.example/a.glb", "only https"),
        ("ftp://models.example/a.glb", "only https"),
        ("file:///etc/passwd", "only https"),
        ("https://alice:secret@models.example/a.glb", "only https"),
        ("https://models.example:8443/a.glb", "only https"),
        ("https://models.example:99999/a.glb", "cannot be read"),
        ("https://evil.example/a.glb", "nothing is fetched from evil.example"),
        ("https://models.example.evil.example/a.glb", "nothing is fetched"),
        ("https://127.0.0.1/a.glb", "nothing is fetched"),
        ("https://models.example@evil.example/a.glb", "only https"),
        ("https://evil.example#@models.example/a.glb", "nothing is fetched"),
        ("https://models.example/a.glb\r\nX: y", "blanks, line breaks"),
        ("https://models.example/ä.glb", "letters that must be quoted"),
    ],
)
def test_only_named_hosts_are_asked(url, message):
    with pytest.raises(Refused, match=message):
        check_url(url, ["models.example"])


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1"),
        *("64:ff9b::7f00:1", "2002:7f00:1::", "2001::1", "255.255.255.255", "192.0.0.1"),
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


def test_addresses_that_are_public():
    assert is_public("93.184.216.34") and is_public("2606:2800:220:1:248:1893:25c8:1946")


class FakeConnection:
    """In the place of an https connection: answers from a table."""

    pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
    asked: list[str] = []

    def __init__(self, host, port, timeout):
        self.host = host

    def request(self, method, path, headers):
        self.asked.append(f"https://{self.host}{path}")
        self.status, self.headers, self.content = self.pages[self.asked[-1]]

    def getresponse(self):
        return self

    def read(self, count):
        return self.content[:count]

    def close(self):
        pass


def test_fetching_follows_redirects_only_to_where_it_may(tmp_path, monkeypatch):
    monkeypatch.setattr(shape_reading, "CheckedConnection", FakeConnection)
    monkeypatch.setattr(FakeConnection, "asked", [])
    pages = {
        # As the Hub does: to its storage, where a file has no name.
        "https://a.example/x.glb?v=1": (302, {"Location": "https://b.example/xet/0a1b2c?sig=x.ply"}, b""),
        "https://b.example/xet/0a1b2c?sig=x.ply": (200, {}, b"content"),
        "https://a.example/out.glb": (302, {"Location": "https://evil.example/y.ply"}, b""),
        "https://a.example/plain.glb": (302, {"Location": "http://a.example/y.ply"}, b""),
        "https://a.example/file.glb": (307, {"Location": "file:///etc/passwd"}, b""),
        "https://a.example/loop.glb": (301, {"Location": "/loop.glb"}, b""),
        "https://a.example/big.glb": (200, {}, bytes(100)),
        "https://a.example/gone.glb": (404, {}, b""),
        "https://a.example/nameless": (302, {"Location": "https://b.example/y.ply"}, b""),
    }
    monkeypatch.setattr(FakeConnection, "pages", pages)
    hosts = ["a.example", "b.example"]
    assert shape_reading.fetch("https://a.example/x.glb?v=1", hosts, 99, tmp_path, ["glb", "ply"]) == "glb"
    assert (tmp_path / "shape.glb").read_bytes() == b"content"
    for name, message in {
        "out.glb": "nothing is fetched from evil.example",
        "plain.glb": "only https",
        "file.glb": "only https",
        "loop.glb": "redirects too often",
        "big.glb": "more than 99 bytes",
        "gone.glb": "answers 404",
        "page.html": "must end in the file's name",
        "nameless": "must end in the file's name",
    }.items():
        with pytest.raises(Refused, match=message):
            shape_reading.fetch(f"https://a.example/{name}", hosts, 99, tmp_path, ["glb", "ply"])
    assert not any("evil" in url or url.startswith("http:") for url in FakeConnection.asked)


@pytest.mark.parametrize("listed", ["models.example, Files.Example ,", " ,files.example,,models.example"])
def test_hosts_are_listed_in_any_case_with_spaces(folder, module, monkeypatch, listed):
    monkeypatch.setenv("MRD_URL_HOSTS", listed)
    handler = module.EndpointHandler(str(folder))
    asked = []

    def ask(request):
        asked.append(request)
        return {"error": "enough", "status": 403}

    handler.reader.close()
    monkeypatch.setattr(handler.reader, "ask", ask)
    with pytest.raises(module.RequestError, match="enough"):
        handler({"inputs": {"url": "https://files.example/a.glb"}})
    assert sorted(asked[0]["hosts"]) == ["files.example", "models.example"]


def test_a_named_host_at_a_private_address_is_refused(handler, module, monkeypatch):
    """Through the process, where nothing is put in the connection's place: localhost is a name, and not public."""
    monkeypatch.setattr(handler, "hosts", ["localhost"])
    with pytest.raises(module.RequestError, match="localhost has an address that is not public") as error:
        handler({"inputs": {"url": "https://localhost/a.glb"}})
    assert error.value.status == 403


def test_a_folder_without_a_model_gets_no_handler(tmp_path):
    with pytest.raises(UserError, match="holds no model"):
        write_handler(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="has not this version's code; load the model and save it again"):
        write_handler(tmp_path)


@pytest.mark.parametrize("fine_tuned", [False, True])
def test_the_line_that_puts_the_code_beside_a_model_is_one_that_works(tmp_path, fine_tuned):
    """In its place, with the weights that are loaded from there."""
    model = tiny_encoder("openshape")
    if fine_tuned:
        model = PointBertForShapeClassification(model.config)
    model.save_pretrained(tmp_path)
    PointCloudFeatureExtractor(num_points=64).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    for file in tmp_path.glob("*.py"):
        file.unlink()
    with pytest.raises(UserError, match="save it again") as ended:
        write_handler(tmp_path)
    _, line = str(ended.value).splitlines()
    python, option, code = shlex.split(line)
    assert (python, option) == ("python", "-c")
    exec(code, {})
    write_handler(tmp_path)
    again = load_file(tmp_path / "model.safetensors")
    assert weights.keys() == again.keys() and all((weights[name] == again[name]).all() for name in weights)


def test_a_configuration_from_elsewhere_writes_nothing_into_that_line(tmp_path):
    """It is to be copied into a shell."""
    folder = tmp_path / 'it\'s "here"'
    folder.mkdir()
    for named in ("PointBertModel; import os", 'PointBertModel"; touch stolen; "', "PointBertModel\n  touch stolen"):
        (folder / "config.json").write_text(json.dumps({"architectures": [named]}))
        with pytest.raises(UserError, match="save it again") as ended:
            write_handler(folder)
        _, line = str(ended.value).splitlines()
        *_, code = shlex.split(line)
        assert "stolen" not in code and "os" not in code.split() and "transformers.AutoModel" in code
        assert ast.parse(code).body[1].value.value == str(folder)


def names_required(folder: Path) -> list[str]:
    return [Requirement(line).name for line in (folder / "requirements.txt").read_text().splitlines()]


@pytest.mark.parametrize(
    ("text_tower_id", "package"),
    [
        ("package:tiny-words/model", ["tiny-words"]),
        ("org/words", []),
        (None, []),
        (["package:tiny-words/model"], []),
        ("package:tiny-words\nstolen/model", []),
    ],
)
def test_an_endpoint_gets_the_package_that_embeds_labels(tmp_path, text_tower_id, package):
    (tmp_path / "shape_files.py").touch()
    (tmp_path / "config.json").write_text("{}")
    write_handler(tmp_path)
    plain = names_required(tmp_path)
    assert "transformers" in plain
    (tmp_path / "config.json").write_text(json.dumps({"text_tower_id": text_tower_id}))
    if package:
        with pytest.raises(UserError, match=r"requirements\.txt is there and is not this version's; .*--overwrite"):
            write_handler(tmp_path)
    write_handler(tmp_path, overwrite=bool(package))
    assert names_required(tmp_path) == plain + package
    write_handler(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "\ud800"])
def test_a_damaged_configuration_is_named(tmp_path, content):
    (tmp_path / "shape_files.py").touch()
    (tmp_path / "config.json").write_text(content, errors="surrogatepass")
    with pytest.raises(UserError, match=r"config\.json: "):
        write_handler(tmp_path)


# What the toolkit does with a repository's handler.py, where the package is not installed.
TOOLKIT = """
import importlib.util, json, sys

sys.modules["mrd_hf"] = None  # importing it raises ModuleNotFoundError
folder, file = sys.argv[1:]
sys.path.insert(0, folder)
spec = importlib.util.spec_from_file_location("handler.EndpointHandler", f"{folder}/handler.py")
module = importlib.util.module_from_spec(spec)
sys.modules["handler.EndpointHandler"] = module
spec.loader.exec_module(module)
handler = module.EndpointHandler(folder)
answer = handler({"inputs": open(file, "rb").read(), "parameters": {"candidate_labels": ["chair", "mug"]}})
assert not any(name.startswith("mrd_hf.") for name in sys.modules)
print(json.dumps(answer))
"""


def test_it_runs_where_the_package_is_not_installed(handler, folder, tmp_path):
    (tmp_path / "box.glb").write_bytes(glb())
    done = subprocess.run(
        [sys.executable, "-I", "-c", TOOLKIT, folder, tmp_path / "box.glb"],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "HF_MODULES_CACHE": str(tmp_path / "modules"),
            "HF_HUB_OFFLINE": "1",
            "MRD_TEXT_TOWER": str(folder.parent / "clip"),
        },
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    expected = handler({"inputs": glb(), "parameters": {"candidate_labels": ["chair", "mug"]}})
    assert [row["label"] for row in answer] == [row["label"] for row in expected]
    assert [row["score"] for row in answer] == pytest.approx([row["score"] for row in expected], abs=1e-4)
