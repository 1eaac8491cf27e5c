"""`mrd-hf export`: what it writes, and that it is what torch computes."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from exported import LABELS, save_class_texts, save_encoder
from support.tiny_encoders import clouds, tiny_encoder
from support.toy_encoder import ToyConfig, ToyModel

from mrd_hf.commands.export import main
from mrd_hf.encoder import load_encoder
from mrd_hf.errors import UserError
from mrd_hf.exporting import checking, writing
from mrd_hf.exporting.checking import check_files, compare
from mrd_hf.exporting.network_graph import join, network_model, without_metadata
from mrd_hf.exporting.sampling_graph import Sampling, sampling_model
from mrd_hf.exporting.writing import export_encoder


FILES = {"class_embeddings.bin", "encoder.json", "encoder.onnx", "encoder.pt2", "network.onnx", "sampling.onnx"}
SIZES = [(1, 1), (2, 3), (3, 130), (1, 700)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("export")
    save_class_texts(made / "classes.parquet")
    save_encoder(made / "encoder", logit_scale=20.0, teacher_id="org/teacher")
    words = [made / "encoder", "--to", made / "onnx", "--program", "--class-texts", made / "classes.parquet"]
    main([str(word) for word in words])
    return made


def run(model: onnx.ModelProto | str, **inputs: np.ndarray) -> np.ndarray:
    source = model if isinstance(model, str) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, inputs)[0]


def embeddings(model: torch.nn.Module, values: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return model.get_point_features(values).numpy()


def test_the_folder_has_the_files_and_says_what_they_are(folder):
    assert {file.name for file in (folder / "onnx").iterdir()} == FILES
    facts = json.loads((folder / "onnx" / "encoder.json").read_text())
    sizes = {name: (folder / "onnx" / name).stat().st_size for name in FILES - {"encoder.json"}}
    assert facts["files"] == sizes
    assert facts["input"]["num_points"] == 128 and facts["input"]["encoder_up_axis"] == "z"
    assert facts["output"] == {"name": "point_embeds", "embedding_dim": 20, "normalized": False}
    assert facts["sampling"]["num_patches"] == 8 and len(facts["sampling"]["group_channels"]) == 9
    assert facts["logit_scale"] == 20.0 and facts["teacher_id"] == "org/teacher"
    assert facts["classes"]["labels"] == LABELS and facts["classes"]["shape"] == [3, 20]
    assert facts["agreement"]["relative_error"] < 1e-5
    embeds = np.fromfile(folder / "onnx" / "class_embeddings.bin", dtype="<f4").reshape(3, 20)
    np.testing.assert_allclose(embeds, save_class_texts(folder / "again.parquet"), atol=1e-6)


def test_no_path_of_this_machine_is_in_the_files(folder):
    paths = [str(path).encode() for path in (torch.__path__[0], writing.__file__)]
    contents = [file.read_bytes() for file in (folder / "onnx").glob("*.onnx")]
    with zipfile.ZipFile(folder / "onnx" / "encoder.pt2") as archive:
        contents += [archive.read(name) for name in archive.namelist()]
    assert not any(path in content for path in paths for content in contents)


@pytest.mark.parametrize(("batch", "num_points"), SIZES)
def test_files_embed_clouds_of_any_size_as_torch_does(folder, batch, num_points):
    encoder = load_encoder(str(folder / "encoder"))
    values = clouds(batch, num_points, seed=3)
    expected = embeddings(encoder.model, values)
    centers, groups = encoder.model.embeddings.group(values)
    found = {
        "encoder": run(str(folder / "onnx" / "encoder.onnx"), point_values=values.numpy()),
        "network": run(str(folder / "onnx" / "network.onnx"), centers=centers.numpy(), groups=groups.numpy()),
        "program": torch.export.load(folder / "onnx" / "encoder.pt2").module()(values).detach().numpy(),
    }
    for name, embeds in found.items():
        assert compare(embeds, expected).relative_error < 1e-5, name


@pytest.mark.parametrize("kind", ["ulip without colors", "uni3d", "uni3d giant"])
def test_every_kind_of_encoder(kind):
    model = tiny_encoder(kind, num_hidden_layers=1)
    graph = join(sampling_model(Sampling.of(model.config)), without_metadata(network_model(model, 18)))
    for batch, num_points in SIZES:
        values = clouds(batch, num_points, seed=3)
        agreement = compare(run(graph, point_values=values.numpy()), embeddings(model, values))
        assert agreement.relative_error < 1e-5
    assert "group" not in vars(model.embeddings)  # what was in its place is gone


@pytest.mark.parametrize(("dtype", "distance"), [("float16", 1e-5), ("int8", 5e-3)])
def test_lower_precision_is_smaller_and_close(folder, tmp_path, dtype, distance):
    encoder = load_encoder(str(folder / "encoder"))
    written = export_encoder(encoder, tmp_path / dtype, dtype)
    assert written.sizes["encoder.onnx"] < 0.8 * (folder / "onnx" / "encoder.onnx").stat().st_size
    assert 0 < written.agreement.cosine_distance < distance
    graph = onnx.load(tmp_path / dtype / "encoder.onnx").graph
    types = {
        constant.data_type for constant in graph.initializer if "layers" in constant.name or "val_" in constant.name
    }
    assert {"float16": onnx.TensorProto.FLOAT16, "int8": onnx.TensorProto.INT8}[dtype] in types
    # Sampling is in float32 all the same, and so are input and output.
    assert {value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]} == {onnx.TensorProto.FLOAT}


def test_a_file_that_disagrees_is_found(folder, monkeypatch):
    monkeypatch.setattr(checking, "SIZES", [(2, 37)])
    model = load_encoder(str(folder / "encoder")).model
    assert check_files(folder / "onnx", model, exact=True).relative_error < 1e-5
    moved = load_encoder(str(folder / "encoder")).model
    moved.projection.bias.data += 0.1
    with pytest.raises(UserError, match=r"network.onnx disagrees with the encoder by a relative"):
        check_files(folder / "onnx", moved, exact=True)
    monkeypatch.setattr(checking, "sampled_indices", lambda *_: (np.zeros((1, 8)), np.zeros((1, 8, 16))))
    with pytest.raises(UserError, match=r"sampling.onnx picks other points than the encoder"):
        check_files(folder / "onnx", model, exact=True)


def test_what_cannot_be_exported_is_said(folder, tmp_path, monkeypatch):
    encoder = load_encoder(str(folder / "encoder"))
    save_class_texts(tmp_path / "wide.parquet", width=21)
    with pytest.raises(UserError, match="embeddings of width 21, but the encoder's have 20"):
        export_encoder(encoder, tmp_path / "out", class_texts=tmp_path / "wide.parquet")
    record = {"source": "", "settings": {"teacher": "org/another-clip"}, "left_out": []}
    save_class_texts(tmp_path / "classes.parquet")
    table = pq.read_table(tmp_path / "classes.parquet")
    pq.write_table(table.replace_schema_metadata({"mrd_hf.embedded": json.dumps(record)}), tmp_path / "other.parquet")
    encoder.config.teacher_id = "org/clip"
    with pytest.raises(UserError, match="other.parquet are those of the teacher org/another-clip, and those of enc"):
        export_encoder(encoder, tmp_path / "out", class_texts=tmp_path / "other.parquet")
    toy = ToyModel(ToyConfig(projection_dim=20))
    with pytest.raises(UserError, match="is a toy_points, and only PointBERT and Uni3D are exported"):
        export_encoder(replace(encoder, model=toy), tmp_path / "out")
    monkeypatch.setattr(writing, "MAX_PROTOBUF", 1000)
    with pytest.raises(UserError, match="an ONNX file holds at most 2 GB; give a smaller --dtype"):
        export_encoder(encoder, tmp_path / "out")
    with pytest.raises(UserError, match="onnx exists; replace it with --overwrite"):
        main([str(folder / "encoder"), "--to", str(folder / "onnx")])
    monkeypatch.chdir(folder / "onnx")
    with pytest.raises(UserError, match="is the folder that you are in"):
        main([str(folder / "encoder"), "--to", ".", "--overwrite"])
    for place in ("encoder", "."):  # the encoder itself, and the folder that it is in
        with pytest.raises(UserError, match="would be replaced, and .*encoder is read; give another folder to write"):
            main([str(folder / "encoder"), "--to", str(folder / place), "--overwrite"])
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="precious exists and is no exported encoder; it is left as it is"):
        main([str(folder / "encoder"), "--to", str(tmp_path / "precious"), "--overwrite"])
    assert (tmp_path / "precious" / "thesis.txt").is_file() and (folder / "encoder" / "config.json").is_file()
    with pytest.raises(SystemExit):
        main([str(folder / "encoder"), "--to", str(tmp_path / "x"), "--opset", "17"])
    assert not (tmp_path / "out").exists()
