"""The script that makes a released checkpoint's folder of a run."""

import json
import runpy

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from support.paths import SCRIPTS
from support.tiny_runs import train_tiny_run
from support.tiny_triplets import save_tiny_triplets
from transformers import AutoModel

from mrd_hf.encoder import load_encoder
from mrd_hf.errors import UserError
from mrd_hf.training.arguments import parse_arguments, recipe_to_argv


@pytest.fixture(scope="module")
def release():
    return runpy.run_path(str(SCRIPTS / "release_encoder.py"))["release"]


def test_a_released_folder_loads_and_has_its_card_and_recipe(release, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = save_tiny_triplets(tmp_path / "data")
    run = train_tiny_run(tmp_path / "run", data, eval_split="test", num_train_steps=2)
    for _ in range(2):  # the second takes the place of the first
        release(run, (tmp_path / "cards" / "mine").relative_to(tmp_path))
    folder = tmp_path / "cards" / "mine"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "README.md",
        "config.json",
        "images",
        "model.safetensors",
        "preprocessor_config.json",
        "recipe.yaml",
    }
    assert {t.dtype for t in load_file(folder / "model.safetensors").values()} == {torch.float16, torch.int64}
    assert load_encoder(str(folder)).extractor.num_points == 64
    ours, theirs = (AutoModel.from_pretrained(place).eval() for place in (folder, run / "encoder"))
    assert ours.dtype == torch.float32 and "auto_map" not in json.loads((folder / "config.json").read_text())
    points = torch.rand(2, 64, 6)
    expected = theirs.get_point_features(points)
    assert (ours.get_point_features(points) - expected).norm() < 5e-3 * expected.norm()
    card = ModelCard((folder / "README.md").read_text())
    assert 'AutoModel.from_pretrained("cards/mine")' in card.text and card.text.lstrip().startswith("# mine\n")
    assert "stored in float16" in card.text and card.data.eval_results
    # Both are for those without the package, who have no use for the folder.
    assert "trust_remote_code" not in card.text and "pip install trimesh" not in card.text
    told = [parse_arguments(recipe_to_argv(recipe)) for recipe in (folder / "recipe.yaml",)]
    assert told[0][0].num_points == 64 and told[0][2].num_train_steps == 2
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["point_config"]["num_patches"] == 8


def test_a_run_that_has_not_ended_is_refused(release, tmp_path):
    with pytest.raises(UserError, match="no such file; give the --output-dir of a run that has ended"):
        release(tmp_path, tmp_path / "out")
