"""What was pushed loads by its name, where the package is not installed: model, processor, pipelines, card, data."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from card_facts import FACTS, REPORT
from datasets import load_dataset
from huggingface_hub import ModelCard, constants
from support.hub_server import environment, in_the_hubs_place
from support.paths import ROOT
from support.tiny_encoders import tiny_encoder
from support.tiny_meshes import glb
from support.tiny_teachers import CLIP_WIDTH, save_tiny_clip
from support.tiny_triplets import save_tiny_triplets
from transformers import pipeline

from mrd_hf import PointCloudFeatureExtractor
from mrd_hf.hub.endpoint.writing import write_handler
from mrd_hf.hub.model_card import write_model_card, write_results
from mrd_hf.hub.pushing import push_folder
from mrd_hf.models.processing_mrd import MRDProcessor


LABELS = ["chair", "mug", "lamp"]

# Its arguments: a mesh, revisions, and where to write what it found.
STRANGER = """
import json, sys

sys.modules["mrd_hf"] = None  # as if it were not installed: importing it raises ModuleNotFoundError

import numpy as np
import transformers
from datasets import load_dataset
from huggingface_hub import ModelCard

mesh, *revisions, output = sys.argv[1:]
name, trust = "org/mrd-tiny", {"trust_remote_code": True}
model = transformers.AutoModel.from_pretrained(name, **trust)
extractor = transformers.AutoFeatureExtractor.from_pretrained(name, **trust)
processor = transformers.AutoProcessor.from_pretrained(name, **trust)
classify = transformers.pipeline("zero-shot-point-cloud-classification", model=name, **trust)
embed = transformers.pipeline("point-cloud-feature-extraction", model=name, **trust)
inputs = processor(points=mesh, text=["a chair"])
shapes = load_dataset("org/shapes", split="test")
json.dump(
    {
        "embedding": model.get_point_features(**extractor(mesh))[0].tolist(),
        "processed": model.get_point_features(inputs["point_values"])[0].tolist(),
        "tokens": inputs["input_ids"][0].tolist(),
        "scores": classify(mesh, candidate_labels=["chair", "mug", "lamp"]),
        "piped": embed(mesh),
        "points": np.asarray(shapes[0]["points"]).tolist(),
        "ids": shapes["id"][:],
        "scales": [transformers.AutoConfig.from_pretrained(name, revision=r, **trust).logit_scale for r in revisions],
        "license": ModelCard.load(name).data.license,
        "classes": [type(x).__module__.split(".")[0] for x in (model, extractor, processor, classify, embed)],
    },
    open(output, "w"),
)
assert not any(module.startswith("mrd_hf.") for module in sys.modules)
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, in_the_hubs_place(patch, tmp_path_factory.mktemp("hub")) as server:
        yield server


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """A checkpoint with all that it can have, its teacher, and a dataset."""
    folder = tmp_path_factory.mktemp("folders")
    encoder, extractor = (
        tiny_encoder("openshape", projection_dim=CLIP_WIDTH, initializer_range=0.3),
        folder / "encoder",
    )
    save_tiny_clip(folder / "clip")
    (folder / "clip" / "README.md").write_text("---\nlicense: mit\n---\n# A teacher\n")
    encoder.config.teacher_id, encoder.config.logit_scale = "org/clip", 30.0
    encoder.save_pretrained(folder / "encoder")
    extractor = PointCloudFeatureExtractor(num_points=64)
    MRDProcessor.from_teacher(extractor, str(folder / "clip")).save_pretrained(folder / "encoder")
    extractor.save_pretrained(folder / "encoder")
    write_model_card(folder / "encoder", teacher="org/clip", **FACTS)
    write_results(folder / "encoder" / "README.md", REPORT)
    write_handler(folder / "encoder")
    save_tiny_triplets(folder / "shapes", train=4, test=3)
    (folder / "shapes" / "class_texts.parquet").unlink()
    (folder / "shapes" / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# Shapes\n")
    (folder / "box.glb").write_bytes(glb())
    return folder


def test_a_stranger_loads_it_by_its_name(hub, folders, tmp_path):
    push_folder(folders / "clip", "org/clip")
    push_folder(folders / "shapes", "org/shapes", repo_type="dataset", private=True)
    assert push_folder(folders / "encoder", "org/mrd-tiny", private=True).left_out == {}
    other = tmp_path / "other"
    shutil.copytree(folders / "encoder", other)
    config = json.loads((other / "config.json").read_text())
    revisions = ["main"]
    for scale, how in ((20.0, {"revision": "v2"}), (10.0, {"create_pr": True})):
        (other / "config.json").write_text(json.dumps({**config, "logit_scale": scale}))
        push = push_folder(other, "org/mrd-tiny", **how)
        revisions.append(how.get("revision", f"refs/pr/{push.url.rpartition('/')[2]}"))
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, folders / "box.glb", *revisions, tmp_path / "found.json"],
        capture_output=True,
        text=True,
        env=environment(constants.ENDPOINT, tmp_path / "home"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["scales"] == [30.0, 20.0, 10.0]
    assert set(found["classes"]) == {"transformers_modules"} and found["license"] == "apache-2.0"
    embed = pipeline("point-cloud-feature-extraction", model=str(folders / "encoder"))
    classify = pipeline(
        "zero-shot-point-cloud-classification", model=str(folders / "encoder"), text_tower=str(folders / "clip")
    )
    mesh = str(folders / "box.glb")
    for name in ("embedding", "processed", "piped"):
        np.testing.assert_allclose(found[name], embed(mesh), rtol=1e-4, atol=1e-5)
    expected = classify(mesh, candidate_labels=LABELS)
    assert [row["label"] for row in found["scores"]] == [row["label"] for row in expected]
    assert [row["score"] for row in found["scores"]] == pytest.approx([row["score"] for row in expected], abs=1e-4)
    processor = MRDProcessor.from_teacher(PointCloudFeatureExtractor(num_points=64), str(folders / "clip"))
    assert found["tokens"] == processor(text=["a chair"])["input_ids"][0].tolist()
    shapes = load_dataset(str(folders / "shapes"), split="test")
    assert found["ids"] == shapes["id"][:] and found["points"] == np.asarray(shapes[0]["points"]).tolist()


def test_a_cards_snippets_run_as_they_are_pasted(hub, folders, tmp_path):
    """By one who has the package and nothing else, from the card as it is on the Hub."""
    push_folder(folders / "clip", "org/clip")
    push_folder(folders / "encoder", "org/carded")
    card = hub.repository("org/carded").files()["README.md"].decode()
    snippets = re.findall(r"^```python\n(.*?)^```", card, flags=re.DOTALL | re.MULTILINE)
    assert len(snippets) == 2 and "# org/carded\n" in card
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*snippets, "print(tuple(embeds.shape))"])],
        capture_output=True,
        text=True,
        env=environment(constants.ENDPOINT, tmp_path / "home"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "'label': 'table top'" in done.stdout and f"(1, {CLIP_WIDTH})" in done.stdout


def test_pretraining_pushes_what_it_made(hub, folders, tmp_path):
    """The script as a user runs it, with a teacher on the fly, to a pull request."""
    data = save_tiny_triplets(tmp_path / "shapes", train=8, test=4)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    small |= {"num_patches": 8, "patch_radius": 0.4, "patch_size": 8, "patch_feature_size": 16}
    arguments = {
        "dataset": data,
        "eval_split": "test",
        "teacher": folders / "clip",
        "output_dir": tmp_path / "run",
        "num_train_steps": 2,
        "per_device_batch_size": 4,
        "warmup_steps": 1,
        "num_points": 48,
        "num_workers": 0,
        "cpu_threads": 1,
        "point_config": json.dumps(small),
        "push_to_hub": True,
        "hub_model_id": "org/trained",
        "hub_private": True,
        "hub_create_pr": True,
    }
    command = [sys.executable, str(ROOT / "scripts" / "pretrain.py")]
    done = subprocess.run(
        [*command, *(f"--{name}={value}" for name, value in arguments.items())],
        capture_output=True,
        text=True,
        env={**environment(constants.ENDPOINT, tmp_path / "home"), "ACCELERATE_USE_CPU": "true"},
    )
    assert done.returncode == 0, done.stderr
    repository = hub.repository("org/trained")
    [reference] = [ref for ref in repository.refs if ref.startswith("refs/pr/")]
    files = repository.files(reference)
    assert f"/org/trained/discussions/{reference.removeprefix('refs/pr/')}" in done.stdout and repository.private
    assert {"model.safetensors", "processor_config.json", "tokenizer.json", "preprocessor_config.json"} <= set(files)
    assert not any("checkpoint" in name or name.endswith((".bin", ".jsonl", ".pkl")) for name in files)
    config = json.loads(files["config.json"])
    assert config["logit_scale"] == pytest.approx(np.exp(2.6592), rel=0.05)  # two steps from where it started
    card = ModelCard(files["README.md"].decode())
    assert {result.metric_type for result in card.data.eval_results} >= {"shape_to_image_recall_at_1"}
    assert all(result.dataset_name == "shapes" for result in card.data.eval_results)
    for line in ("| CC0-1.0 | 8 |", "| logit scale |", 'from_pretrained("org/trained")', "| final training loss |"):
        assert line in card.text
    assert "Not evaluated" not in card.text
    assert "images/scores-shapes-test.png" in files and "](images/scores-shapes-test.png)" in card.text
    assert card.data.language == ["en"] and card.data.datasets is None


def test_pretraining_that_could_not_push_does_not_begin(hub, monkeypatch, tmp_path, capsys):
    script = str(ROOT / "scripts" / "pretrain.py")
    arguments = [f"--dataset={tmp_path}", f"--output_dir={tmp_path / 'run'}", "--push_to_hub"]
    monkeypatch.setattr(sys, "argv", [script, *arguments, "--hub_model_id=org/trained"])
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(script, run_name="__main__")
    assert exit.value.code == 2 and "not logged in" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
