"""scripts/evaluate.py as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_triplets import WIDTH, save_tiny_triplets

from mrd_hf import PointBertConfig, PointBertModel, PointCloudFeatureExtractor


SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "evaluate.py"
TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_patches": 8,
    "patch_size": 8,
}


def save_encoder(folder: Path, width: int) -> Path:
    PointBertModel(PointBertConfig(**TINY, projection_dim=width, teacher_id="a-teacher")).save_pretrained(folder)
    PointCloudFeatureExtractor(num_points=64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return save_tiny_triplets(tmp_path_factory.mktemp("data") / "tiny")


def evaluate(model: Path, dataset: Path, out: Path, *arguments: str) -> subprocess.CompletedProcess:
    required = ["--model", str(model), "--dataset", str(dataset), "--out", str(out)]
    return subprocess.run(
        [sys.executable, str(SCRIPT), *required, *arguments],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_prints_a_table_and_writes_the_same_report_for_any_batch_size(dataset, tmp_path):
    encoder = save_encoder(tmp_path / "encoder", WIDTH)
    reports = []
    for batch_size in ("64", "5"):
        out = tmp_path / batch_size
        classes = ("--class_texts", str(dataset / "class_texts.parquet"))
        finished = evaluate(encoder, dataset, out, *classes, "--batch_size", batch_size)
        assert finished.returncode == 0, finished.stderr
        assert "zero-shot top-1 (4 classes)" in finished.stdout
        reports.append(json.loads((out / "report.json").read_text()))
        with Image.open(out / "contact_sheet.png") as sheet:
            assert sheet.width > 1000
    assert reports[0] == reports[1]


def test_an_encoder_of_another_teacher_is_refused(dataset, tmp_path):
    finished = evaluate(save_encoder(tmp_path / "encoder", 20), dataset, tmp_path / "out")
    assert finished.returncode == 2
    assert f"embeds into width 20, the teacher of {dataset} into {WIDTH}" in finished.stderr
    assert "embed_teacher.py" in finished.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_model_is_named(dataset, tmp_path):
    finished = evaluate(tmp_path / "nothing", dataset, tmp_path / "out")
    assert finished.returncode == 2
    assert f"cannot load the model {tmp_path / 'nothing'}" in finished.stderr
    assert "Traceback" not in finished.stderr
