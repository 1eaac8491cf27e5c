"""Encoders in ONNX files: on the command line without torch, and in transformers' pipelines."""

import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from exported import LABELS, save_class_texts, save_encoder
from support.tiny_meshes import glb
from transformers import pipeline

from mrd_hf.commands.export import main
from mrd_hf.encoder import load_encoder
from mrd_hf.errors import UserError
from mrd_hf.exporting import sessions
from mrd_hf.exporting.onnx_encoder import open_onnx_encoder, read_classes
from mrd_hf.exporting.onnx_model import OnnxModel
from mrd_hf_cli.main import run
from mrd_hf_cli.parser import parse


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("running")
    save_class_texts(made / "classes.parquet")
    save_encoder(made / "encoder", logit_scale=20.0, num_hidden_layers=1)
    main([str(word) for word in (made / "encoder", "--to", made / "onnx", "--class-texts", made / "classes.parquet")])
    (made / "box.glb").write_bytes(glb())
    np.save(made / "cloud.npy", np.random.default_rng(0).standard_normal((300, 3)))
    return made


def mrd_hf(*arguments: object) -> int:
    return run(parse([str(argument) for argument in arguments]))


def scores(printed: str) -> dict[str, dict[str, float]]:
    return {
        result["file"]: {label["label"]: label["score"] for label in result["labels"]}
        for result in json.loads(printed)
    }


def test_classifies_as_torch_does(folder, capsys):
    shapes = [folder / "box.glb", folder / "cloud.npy"]
    texts = ["--class-texts", folder / "classes.parquet", "--json"]
    assert mrd_hf("classify", *shapes, "--model", folder / "encoder", *texts) == 0
    expected = scores(capsys.readouterr().out)
    for labels in (texts, ["--json"]):  # the same ones lie beside the file
        assert mrd_hf("classify", *shapes, "--model", folder / "onnx" / "encoder.onnx", *labels) == 0
        found = scores(capsys.readouterr().out)
        assert found.keys() == expected.keys()
        for file, labels_of_file in found.items():
            assert labels_of_file == pytest.approx(expected[file], abs=1e-5)


def test_classifies_without_torch(folder):
    code = "import atexit, sys; atexit.register(lambda: print({'torch', 'transformers'} & set(sys.modules)))\n"
    code += "from mrd_hf_cli.main import main; main()"
    words = ["classify", folder / "box.glb", "--model", folder / "onnx" / "encoder.onnx"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file, *lines, imported = done.stdout.splitlines()
    assert file == str(folder / "box.glb") and imported == "set()"
    assert sorted(line.split()[-1] for line in lines) == sorted(LABELS)


def test_embeds_indexes_and_searches(folder, tmp_path, capsys):
    shapes = tmp_path / "shapes"
    shapes.mkdir()
    for name in ("box.glb", "cloud.npy"):
        shutil.copy(folder / name, shapes)
    model = ["--model", folder / "onnx" / "encoder.onnx"]
    assert mrd_hf("embed", shapes, "-o", tmp_path / "e.parquet", *model) == 0
    assert mrd_hf("index", tmp_path / "e.parquet", "-o", tmp_path / "index") == 0
    capsys.readouterr()
    # The weights are those of the encoder that was exported, so that searches it as well.
    for searched_by in (model, ["--model", folder / "encoder"]):
        assert (
            mrd_hf("search", tmp_path / "index", "--shape", shapes / "box.glb", "-k", 1, "--json", *searched_by) == 0
        )
        (hit,) = json.loads(capsys.readouterr().out)["hits"]
        assert hit["item"]["path"] == str(shapes / "box.glb") and hit["score"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_pipelines_take_it_in_the_place_of_a_model(folder, batch_size):
    task, shapes = "zero-shot-point-cloud-classification", [str(folder / "box.glb"), str(folder / "cloud.npy")] * 2
    model = OnnxModel(folder / "onnx" / "encoder.onnx")
    labels = {"candidate_labels": LABELS, "class_embeds": read_classes(model.encoder)[1]}
    found = pipeline(task, model=model, feature_extractor=model.extractor)(shapes, batch_size=batch_size, **labels)
    expected = pipeline(task, model=str(folder / "encoder"))(shapes, **labels)
    for some, others in zip(found, expected, strict=True):
        assert [label["label"] for label in some] == [label["label"] for label in others]
        assert [label["score"] for label in some] == pytest.approx([label["score"] for label in others], abs=1e-5)


def test_a_shapes_embedding_in_int8_does_not_depend_on_the_others(folder, tmp_path):
    main([str(word) for word in (folder / "encoder", "--to", tmp_path / "onnx", "--dtype", "int8")])
    encoder = open_onnx_encoder(tmp_path / "onnx" / "encoder.onnx")
    clouds = np.random.default_rng(0).standard_normal((5, 128, 6)).astype(np.float32) * [
        [[1]],
        [[3]],
        [[9]],
        [[1]],
        [[5]],
    ]
    together, one_by_one = encoder.embed(clouds), [encoder.embed(cloud[None]) for cloud in clouds]
    np.testing.assert_array_equal(together, np.concatenate(one_by_one))
    assert encoder.embed(clouds[:0]).shape == (0, 20)


def test_what_is_wrong_is_said(folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "onnx", tmp_path / "onnx")
    file = tmp_path / "onnx" / "encoder.onnx"
    with pytest.raises(UserError, match=r"network.onnx: not an encoder.onnx that `mrd-hf export` wrote"):
        open_onnx_encoder(tmp_path / "onnx" / "network.onnx")
    with pytest.raises(UserError, match=r"no.onnx: no such file; expected an encoder"):
        open_onnx_encoder(tmp_path / "no.onnx")
    with pytest.raises(UserError, match="cannot compute on the device tpu here; it can on cpu"):
        open_onnx_encoder(file, device="tpu")
    encoder = open_onnx_encoder(file)
    description = tmp_path / "onnx" / "encoder.json"
    right = description.read_text()
    description.write_text(json.dumps(json.loads(right) | {"weights_sha256": "0" * 64, "name": "another"}))
    with pytest.raises(UserError, match=r"encoder.json: is of another encoder \(another\) than encoder.onnx beside"):
        read_classes(encoder)
    description.write_text(right)
    (tmp_path / "onnx" / "class_embeddings.bin").write_bytes(b"12345678")
    with pytest.raises(UserError, match=r"encoder.json: its classes cannot be read \(ValueError"):
        read_classes(encoder)
    (tmp_path / "onnx" / "encoder.json").unlink()
    with pytest.raises(UserError, match="no labels lie beside it; give --labels"):
        read_classes(encoder)

    model = onnx.load(file)
    facts = json.loads(model.metadata_props[0].value)
    assert encoder.config_sha256 == load_encoder(str(folder / "encoder")).config_sha256
    earlier = {name: value for name, value in facts.items() if name != "config_sha256"}  # as versions before wrote it
    model.metadata_props[0].value = json.dumps(earlier)
    onnx.save(model, file)
    assert open_onnx_encoder(file).config_sha256 is None
    for changes, message in (
        ({"format_version": 2}, "of version 2, and 1 is known here; update mrd-hf"),
        ({"format_version": 2, "input": None}, "of version 2, and 1 is known here; update mrd-hf"),
        ({"sampling": None, "input": {"num_points": 0}}, r"its description of the input is damaged \(num_points must"),
        ({"output": []}, r"not an encoder that `mrd-hf export` wrote \(TypeError"),
    ):
        model.metadata_props[0].value = json.dumps({**facts, **changes})
        onnx.save(model, file)
        with pytest.raises(UserError, match=message):
            open_onnx_encoder(file)
    file.write_bytes(b"no model")
    with pytest.raises(UserError, match=r"encoder.onnx: onnxruntime cannot load it"):
        open_onnx_encoder(file)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'mrd-hf\[onnx\]'"):
        sessions.open_session(folder / "onnx" / "encoder.onnx")


def test_a_device_whose_libraries_are_missing_is_not_exchanged_for_another(folder, monkeypatch):
    """onnxruntime itself goes on, on the CPU."""
    monkeypatch.setattr(
        "onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    file = next((folder / "onnx").glob("*.onnx"))
    with pytest.raises(UserError, match="has CUDAExecutionProvider but cannot load its libraries here"):
        sessions.open_session(file, "cuda")
