"""`mrd-hf export`: what it writes, and that it is what torch computes."""

import json
import shutil
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


def check_weights_in_eight_bits(graph: onnx.GraphProto, num_layers: int) -> None:
    """Seven bits of them, a scale for each column, of the blocks' products alone."""
    constants = {constant.name: constant for constant in graph.initializer}
    int8 = [name for name, constant in constants.items() if constant.data_type == onnx.TensorProto.INT8]
    weights = [name for name in int8 if len(constants[name].dims) == 2]
    assert len(weights) == 6 * num_layers  # query, key, value, output, and two of the MLP
    for name in weights:
        values = onnx.numpy_helper.to_array(constants[name]).astype(int)
        assert 32 <= np.abs(values).max() <= 64
        assert constants[name.replace("_quantized", "_scale")].dims == [values.shape[1]]


@pytest.mark.parametrize(("dtype", "distance", "opset"), [("float16", 1e-5, 20), ("int8", 5e-3, 18)])
def test_lower_precision_is_smaller_and_close(folder, tmp_path, dtype, distance, opset):
    encoder = load_encoder(str(folder / "encoder"))
    written = export_encoder(encoder, tmp_path / dtype, dtype, opset)
    assert written.sizes["encoder.onnx"] < 0.8 * (folder / "onnx" / "encoder.onnx").stat().st_size
    assert 0 < written.agreement.cosine_distance < distance
    graph = onnx.load(tmp_path / dtype / "encoder.onnx").graph
    assert json.loads((tmp_path / dtype / "encoder.json").read_text())["opset"] == opset
    for name in ("encoder.onnx", "network.onnx", "sampling.onnx"):
        imported = onnx.load(tmp_path / dtype / name).opset_import
        assert {entry.version for entry in imported if entry.domain == ""} == {opset}, name
    if dtype == "int8":
        check_weights_in_eight_bits(graph, encoder.config.num_hidden_layers)
    types = {
        constant.data_type for constant in graph.initializer if "layers" in constant.name or "val_" in constant.name
    }
    assert {"float16": onnx.TensorProto.FLOAT16, "int8": onnx.TensorProto.INT8}[dtype] in types
    # Sampling is in float32 all the same, and so are input and output.
    assert {value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]} == {onnx.TensorProto.FLOAT}


class Tried(Exception):
    pass


@pytest.mark.parametrize(("dtype", "bytes_each"), [("float32", 4), ("float16", 2), ("int8", 1)])
def test_what_a_file_can_hold_is_counted_in_the_bytes_of_its_type(folder, tmp_path, monkeypatch, dtype, bytes_each):
    def tried(*_):
        raise Tried

    monkeypatch.setattr(writing, "_network", tried)
    encoder = load_encoder(str(folder / "encoder"))
    size = bytes_each * sum(weight.numel() for weight in encoder.model.parameters())
    monkeypatch.setattr(writing, "MAX_PROTOBUF", size)
    with pytest.raises(Tried):
        export_encoder(encoder, tmp_path / "out", dtype)
    monkeypatch.setattr(writing, "MAX_PROTOBUF", size - 1)
    with pytest.raises(UserError, match=f"weights in {dtype}, and an ONNX file holds at most 2 GB"):
        export_encoder(encoder, tmp_path / "out", dtype)


def test_the_worst_of_all_shapes_counts(folder, monkeypatch):
    expected = np.array([[3.0, 4.0], [0.0, 10.0], [1.0, 0.0]])
    found = expected + [[0, 0.5], [3, 0], [0, 0]]  # errors of 0.5 / 5, 3 / 10 and 0
    agreement = compare(found, expected)
    assert agreement.relative_error == pytest.approx(0.3)
    assert agreement.cosine_distance == pytest.approx(1 - 10 / np.hypot(3, 10))
    seen = []

    def compared(*embeds):
        seen.append(compare(*embeds))
        return replace(seen[-1], relative_error=1e-6 * len(seen) % 3e-6, cosine_distance=0.1 * (len(seen) == 2))

    monkeypatch.setattr(checking, "compare", compared)
    monkeypatch.setattr(checking, "SIZES", [(2, 37)])
    worst = check_files(folder / "onnx", load_encoder(str(folder / "encoder")).model, exact=True)
    assert len(seen) == 6  # three files, two clouds
    assert worst.relative_error == pytest.approx(2e-6) and worst.cosine_distance == pytest.approx(0.1)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", ["network.onnx", "encoder.onnx"])
def test_embeddings_that_are_not_finite_are_found_in_any_precision(folder, tmp_path, name, exact):
    shutil.copytree(folder / "onnx", tmp_path / "onnx")
    graph = onnx.load(tmp_path / "onnx" / name)
    (weight,) = (value for value in graph.graph.initializer if value.name.endswith("model.projection.weight"))
    values = onnx.numpy_helper.to_array(weight).copy()
    values[3, 3] = np.nan
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(graph, tmp_path / "onnx" / name)
    with pytest.raises(UserError, match=f"{name} disagrees with the encoder by a relative nan"):
        check_files(tmp_path / "onnx", load_encoder(str(folder / "encoder")).model, exact=exact)


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
    with pytest.raises(UserError, match="--revision is for an encoder on the Hub, and .*encoder is a folder"):
        main([str(folder / "encoder"), "--to", str(tmp_path / "x"), "--revision", "main"])
    with pytest.raises(SystemExit):
        main([str(folder / "encoder"), "--to", str(tmp_path / "x"), "--opset", "17"])
    assert not (tmp_path / "out").exists()
