"""The README's snippets run as they stand, in order, on a small encoder in the demo's place."""

import ast
import os
import re
import shlex

import pytest
import torch
import yaml
from datasets import load_dataset
from support.paths import ROOT

from mrd_hf import PointBertConfig, PointBertModel, PointCloudFeatureExtractor
from mrd_hf_cli.main import run
from mrd_hf_cli.parser import parse


USE = re.search(r"^## Use an encoder\n(.*?)^## ", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)[1]
NAMES = load_dataset(str(ROOT / "scripts" / "demo_data"), split="test")["name"][:]

LABELS = {"a table", "a chair", "a lamp", "a car", "a plant"}


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", USE, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder like a clone's after `make demo`; the encoder is one that has learned nothing."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "scripts").symlink_to(ROOT / "scripts")
    encoder = folder / "outputs" / "demo" / "encoder"
    ((teacher, text_tower),) = yaml.safe_load((ROOT / "scripts/recipes/demo.yaml").read_text())["text_towers"].items()
    config = PointBertConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_patches=8,
        patch_size=8,
        projection_dim=384,
        teacher_id=teacher,
        text_tower_id=text_tower,
    )
    torch.manual_seed(0)
    PointBertModel(config).save_pretrained(encoder)
    PointCloudFeatureExtractor(num_points=256).save_pretrained(encoder)
    return folder


@pytest.fixture(autouse=True)
def offline_in_the_clone(clone, monkeypatch):
    monkeypatch.chdir(clone)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_the_python_snippets_run(capsys):
    python = snippets("python")
    assert len(python) == 5
    names: dict = {}
    for snippet in python:
        exec(compile(snippet, "README.md", "exec"), names)
    classified, by_shape, by_words = map(ast.literal_eval, capsys.readouterr().out.splitlines())
    assert len(classified) == 3 and {guess["label"] for guess in classified} < LABELS
    for hits in (by_shape, by_words):
        assert len(hits) == 5 and {name for _, name in hits} <= set(NAMES)
    assert by_shape != by_words and names["loss"].isfinite()


def test_the_command_lines_run(clone, capsys, monkeypatch):
    pytest.importorskip("embreex")
    commands = [shlex.split(line) for snippet in snippets("bash") for line in snippet.splitlines()]
    assert [command[1] for command in commands] == [
        "MRD_HF_MODEL=outputs/demo/encoder",
        *("classify", "index", "search", "search", "render"),
    ]
    for command in commands:
        if command[0] == "export":
            monkeypatch.setenv(*command[1].split("="))
            continue
        assert command[0] == "mrd-hf" and run(parse(command[1:])) == 0, command
        out = capsys.readouterr().out
        if command[1] == "classify":
            assert sorted(re.findall(r"%  (.*)", out)) == sorted(LABELS)
        if command[1] == "search":
            assert len(out.splitlines()) == 5 and all(any(name in line for name in NAMES) for line in out.splitlines())
    assert (clone / "outputs" / "demo" / "chair.png").stat().st_size > 1000


def test_what_the_snippets_name_is_in_a_clone_and_there_is_what_they_ask_for():
    named = {path for code in snippets("python") + snippets("bash") for path in re.findall(r"scripts/[\w./-]+", code)}
    assert {os.path.splitext(path)[1] for path in named} == {"", ".glb", ".obj"}
    for path in named:
        assert (ROOT / path).exists(), path
    assert sum("chair" in name.lower() for name in NAMES) >= 10
