"""What an earlier version made is read by this one: encoder, training run, index, datasets and reports."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from support.forked_processes import run_command
from support.paths import SCRIPTS
from support.tiny_encoders import TINY, TINY_CONFIGS, tiny_encoder
from support.tiny_mrd import tiny_mrd
from transformers import AutoFeatureExtractor, AutoModel

from mrd_hf import PointBertConfig, PointBertForPartSegmentation, PointBertForShapeClassification, PointBertModel
from mrd_hf.data.loading import load_triplets
from mrd_hf.encoder import load_encoder, weights_sha256
from mrd_hf.evaluation.comparison import compare_evaluations
from mrd_hf.evaluation.encoding import encode_dataset
from mrd_hf.search import ShapeIndex


MADE = Path(__file__).with_name("earlier_artifacts")
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def made(tmp_path) -> Path:
    return Path(shutil.copytree(MADE, tmp_path / "made"))


def run_script(name: str, *arguments: str, folder: Path) -> str:
    finished = run_command([SCRIPTS / name, *arguments], cwd=folder, env=ENVIRONMENT)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_an_encoder_embeds_as_it_did(made):
    model = AutoModel.from_pretrained(made / "run" / "encoder")
    extractor = AutoFeatureExtractor.from_pretrained(made / "run" / "encoder")
    assert isinstance(model, PointBertModel) and model.config.teacher_id == "a-teacher"
    embeds = encode_dataset(model.eval(), extractor, load_triplets(made / "dataset", "test"))
    recorded = load_file(made / "run" / "evaluation" / "point_embeds.safetensors")["point_embeds"]
    assert torch.allclose(embeds, recorded, atol=1e-7) and recorded.abs().max() > 1e-3


def test_models_have_the_tensors_that_they_had(made):
    """By their names and shapes: those of a file that a later version cannot load would not be."""
    labeled = PointBertConfig(**TINY, num_labels=4, object_parts={"chair": [0, 1], "mug": [2, 3]})
    models = {kind: tiny_encoder(kind) for kind in TINY_CONFIGS}
    models |= {
        "shape classification": PointBertForShapeClassification(labeled),
        "part segmentation": PointBertForPartSegmentation(labeled),
        "pretraining": tiny_mrd(),
    }
    found = {
        kind: {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
        for kind, model in models.items()
    }
    assert found == json.loads((made / "tensors.json").read_text())


def test_its_weights_have_the_digests_that_were_recorded(made):
    encoder = load_encoder(str(made / "run" / "encoder"))
    assert ShapeIndex.open(made / "index").model_sha256 == encoder.sha256
    report = json.loads((made / "run" / "evaluation" / "report.json").read_text())
    assert report["model"]["sha256"] == weights_sha256(encoder.model)


def test_a_run_resumes_and_ends_as_it_did(made):
    recorded = load_file(made / "run" / "encoder" / "model.safetensors")
    at_three = load_file(made / "run" / "checkpoint-3" / "ema.safetensors")
    shutil.rmtree(made / "run" / "encoder")
    arguments = ("--config", "recipe.yaml", "--output_dir", "run", "--resume_from_checkpoint", "latest")
    run_script("pretrain.py", *arguments, folder=made)
    weights = load_file(made / "run" / "encoder" / "model.safetensors")
    assert weights.keys() == recorded.keys()
    for name, tensor in recorded.items():
        # A live batch norm takes away what these add: their gradients are rounding, which Adam makes whole steps of.
        if not re.search(r"patch_network\.(linears\.\d\.bias|norms\.\d\.running_mean)", name):
            assert torch.allclose(weights[name], tensor, atol=1e-5), name
    # It had not ended at the checkpoint.
    token = "embeddings.cls_token"
    assert not torch.allclose(at_three[f"module.point_bert.{token}"], recorded[token], atol=1e-5)


def test_an_index_finds_what_it_holds(made):
    index = ShapeIndex.open(made / "index")
    embeds = np.load(made / "index" / "embeds.npy")
    assert len(index) == len(embeds) == 24
    hits = index.search(embeds, k=1)
    assert [hit.row for (hit,) in hits] == list(range(24))
    ids = load_triplets(made / "dataset", "test")["id"][:]
    assert {hit.item["id"] for (hit,) in hits} >= set(ids)


def test_a_finished_dataset_stays_finished_and_its_embeddings_have_their_teacher(made):
    file = next((made / "prepared" / "data").glob("*.parquet"))
    before = file.read_bytes()
    shutil.copytree(SCRIPTS / "demo_data" / "shapes", made / "shapes")
    settings = ("--num_points", "256", "--num_views", "1", "--resolution", "32", "--num_workers", "1")
    said = run_script("prepare_dataset.py", "meshes", "shapes", "--out", "prepared", *settings, folder=made)
    assert "2 shapes prepared, 0 skipped" in said and file.read_bytes() == before

    embedded = load_triplets(made / "embedded", "train")
    assert embedded["id"][:] == ["chair.glb", "chair.obj"]
    assert set(embedded["teacher"][:]) == {"clip@sha256:b27c0efc3674a27e"}


def test_reports_are_compared(made):
    """With one of nothing but zeros: the difference is what the report says, and is of the shapes' own figures."""
    folder, zeros = made / "run" / "evaluation", made / "zeros"
    shutil.copytree(folder, zeros)
    outcomes = pq.read_table(folder / "outcomes.parquet")
    figures = [name for name in outcomes.column_names if name not in ("id", "label")]
    for name in figures:
        values = pa.array([None if value is None else 0.0 for value in outcomes[name].to_pylist()], pa.float64())
        outcomes = outcomes.set_column(outcomes.column_names.index(name), name, values)
    pq.write_table(outcomes, zeros / "outcomes.parquet")
    report = json.loads((folder / "report.json").read_text())
    found = {comparison.key: comparison.paired.difference for comparison in compare_evaluations(folder, zeros)}
    assert set(found) == set(figures)
    assert found == pytest.approx({m["key"]: m["value"] for m in report["metrics"] if m["key"] in figures})
