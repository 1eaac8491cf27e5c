"""Pretraining of encoders other than PointBERT, as a user starts it: Uni3D, a peer's, and a user's own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, load_dataset
from huggingface_hub import metadata_load
from safetensors.torch import load_file
from support import toy_encoder
from support.paths import DEMO_DATA
from support.tiny_encoders import TINY_ULIP, tiny_encoder
from support.tiny_runs import train_tiny_run
from support.tiny_triplets import WIDTH, save_tiny_triplets
from transformers import pipeline

from mrd_hf import PointBertModel, PointCloudFeatureExtractor, Uni3DModel
from mrd_hf.data.loaders.augmentation import augment_point_clouds
from mrd_hf.encoder import load_encoder
from mrd_hf.hub.file_selection import select_files
from mrd_hf.training.replay.replayed_batches import open_triplets, replayed_batches
from mrd_hf.training.replay.run_folder import RunFolder
from mrd_hf.training.training_log import read_log
from mrd_hf_cli.main import run as run_command
from mrd_hf_cli.parser import parse


UNI3D = {
    "model_type": "uni3d",
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_patches": 16,
    "patch_size": 16,
    "patch_hidden_size": 16,
    "patch_feature_size": 48,
    "position_hidden_size": 32,
    "drop_path_rate": 0.1,
    "patch_dropout": 0.25,
}
ON_THE_DEMO = {
    "num_points": 256,
    "num_train_steps": 100,
    "per_device_batch_size": 32,
    "warmup_steps": 10,
    "save_steps": 80,
    "learning_rate": 2e-3,
    "augmentation": {"point_dropout": 0.2, "color_dropout": 0.1},
    "ema_decay": 0.9,
    "point_config": UNI3D,
}


@pytest.fixture(scope="module")
def uni3d_run(tmp_path_factory) -> Path:
    return train_tiny_run(tmp_path_factory.mktemp("uni3d") / "run", DEMO_DATA, **ON_THE_DEMO)


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_log(run / "training_log.jsonl") if "loss" in line]


def test_uni3d_learns_on_the_demo(uni3d_run):
    found = losses(uni3d_run)
    assert sum(found[-10:]) / 10 < sum(found[:10]) / 10 - 0.4
    encoder = load_encoder(str(uni3d_run / "encoder"))
    assert isinstance(encoder.model, Uni3DModel) and encoder.config.logit_scale > 1
    card = (uni3d_run / "encoder" / "README.md").read_text()
    assert "A 3D shape encoder (Uni3D) in the" in card and "points, 16 patches, width 384 |" in card


def test_uni3d_resumes_exactly(uni3d_run, tmp_path):
    resumed = tmp_path / "resumed"
    shutil.copytree(uni3d_run / "checkpoint-80", resumed / "checkpoint-80")
    shutil.copy(uni3d_run / "arguments.json", resumed)
    train_tiny_run(resumed, DEMO_DATA, **ON_THE_DEMO, resume_from_checkpoint="latest")
    assert losses(resumed) == losses(uni3d_run)[80:]
    for file in ("model.safetensors", "ema.safetensors"):
        ours, expected = (load_file(run / "checkpoint-100" / file) for run in (resumed, uni3d_run))
        assert ours.keys() == expected.keys()
        assert all(torch.equal(ours[name], expected[name]) for name in expected), file


@pytest.mark.parametrize("kind", ["ulip", "uni3d"])
def test_a_peers_encoder_goes_on_with_relations(kind, tmp_path):
    data = save_tiny_triplets(tmp_path / "data")
    peer = tiny_encoder(kind, projection_dim=WIDTH, teacher_id="a-teacher")
    peer.save_pretrained(tmp_path / "peer")
    (tmp_path / "peer" / "README.md").write_text("---\nlicense: mit\n---\n# A peer\n")
    run = train_tiny_run(tmp_path / "run", data, point_config={}, encoder=tmp_path / "peer")
    trained = load_encoder(str(run / "encoder")).model
    assert type(trained) is type(peer) is (PointBertModel if kind == "ulip" else Uni3DModel)
    assert trained.config.num_hidden_layers == TINY_ULIP["num_hidden_layers"]
    moved = [name for name, tensor in peer.state_dict().items() if not torch.equal(tensor, trained.state_dict()[name])]
    assert "projection.weight" in moved and len(moved) > len(peer.state_dict()) / 2
    assert f"| started from | `{tmp_path / 'peer'}` |" in (run / "encoder" / "README.md").read_text()
    assert metadata_load(run / "encoder" / "README.md")["license"] == "mit"


def test_an_encoder_goes_on_with_its_own_axis_up(tmp_path, monkeypatch):
    """OpenShape's ViT-bigG encoders were trained on shapes whose z is up; those of triplets have y up."""
    seen = []

    def seen_points(*arguments):
        values = augment_point_clouds(*arguments)
        seen.append(values)
        return values

    monkeypatch.setattr("mrd_hf.training.pretraining.augment_point_clouds", seen_points)
    data = save_tiny_triplets(tmp_path / "data")
    peer = tiny_encoder("openshape", projection_dim=WIDTH, teacher_id="a-teacher")
    peer.save_pretrained(tmp_path / "peer")
    PointCloudFeatureExtractor(num_points=96, encoder_up_axis="z").save_pretrained(tmp_path / "peer")
    still = {"point_dropout": 0, "scale_min": 1, "scale_max": 1, "shift": 0, "jitter_std": 0, "rotate": False}
    options = {"num_points": 96, "eval_split": "test"}
    run = train_tiny_run(
        *(tmp_path / "run", data), **options, point_config={}, encoder=tmp_path / "peer", augmentation=still
    )
    triplets = load_dataset("parquet", data_dir=str(data / "data")).with_format("numpy")
    turned = {tuple(np.sort(-cloud[:, 2].astype(np.float32))) for cloud in triplets["train"]["points"]}
    assert {tuple(np.sort(cloud[:, 1].numpy())) for values in seen for cloud in values} <= turned
    encoder = load_encoder(str(run / "encoder"))
    assert encoder.extractor.encoder_up_axis == "z"
    with torch.no_grad():
        inputs = encoder.extractor(list(triplets["test"]["points"]), colors=list(triplets["test"]["colors"]))
        expected = encoder.model.get_point_features(**inputs)
    found = load_file(run / "evaluation" / "point_embeds.safetensors")["point_embeds"]
    assert torch.allclose(found, expected, atol=1e-5)
    (batch, *_) = replayed_batches(
        opened := RunFolder.open(run), open_triplets(opened, str(data), "train", 0), 8, 1, 0
    )
    assert {tuple(np.sort(cloud[:, 1].numpy())) for cloud in batch["point_values"]} <= turned


def test_a_users_own_encoder_is_trained_and_evaluated(tmp_path):
    data = save_tiny_triplets(tmp_path / "data")
    config = {"model_type": "toy_points", "hidden_size": 24}
    options = {"point_config": config, "num_train_steps": 40, "learning_rate": 0.02, "eval_split": "test"}
    run = train_tiny_run(tmp_path / "run", data, **options, encoder_batch_size=4)
    assert sum(losses(run)[-5:]) < sum(losses(run)[:5])
    encoder = load_encoder(str(run / "encoder"))
    assert type(encoder.model) is toy_encoder.ToyModel and encoder.teacher == "a-teacher"
    assert (run / "evaluation" / "report.json").is_file()
    # Of the package's pipelines, whose files are not in the folder, it says nothing; so it can be pushed.
    assert "custom_pipelines" not in json.loads((run / "encoder" / "config.json").read_text())
    assert {"config.json", "model.safetensors"} <= set(select_files(run / "encoder").files)
    embed = pipeline("point-cloud-feature-extraction", model=str(run / "encoder"), device="cpu")
    assert len(embed(str(DEMO_DATA / "shapes" / "chair.glb"))) == WIDTH
    words = ["embed", str(DEMO_DATA / "shapes" / "chair.glb"), "-o", str(tmp_path / "chair.parquet")]
    assert run_command(parse([*words, "--model", str(run / "encoder")])) == 0
    assert len(Dataset.from_parquet(str(tmp_path / "chair.parquet"))[0]["embedding"]) == WIDTH
    card = (run / "encoder" / "README.md").read_text()
    assert (
        "A 3D shape encoder (ToyModel) in the" in card and "| ToyModel, 0.0M parameters, 64 points, width 12 |" in card
    )
