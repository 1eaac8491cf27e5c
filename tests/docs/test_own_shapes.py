"""From a folder of meshes to a zero-shot score, by the documentation's own commands."""

import csv
import io
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import trimesh
from datasets import load_dataset
from safetensors.torch import load_file
from support.forked_processes import run_command
from support.pages import blocks, command_lines, section
from support.paths import ROOT
from support.tiny_teachers import save_tiny_clip

from mrd_hf.data import rendering


# What is added to each command: a user's 40 shapes in a test's time.
SMALLER = {
    "prepare": ["--num-points", "256", "--resolution", "32", "--num-workers", "1"],
    "embed-teacher": [],
    "pretrain": [
        *("--num-points", "64", "--num-train-steps", "30", "--warmup-steps", "2", "--num-workers", "0"),
        "--point-config",
        '{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, '
        '"num_patches": 8, "patch_radius": 0.5, "patch_size": 8, "patch_feature_size": 16}',
    ],
    "evaluate": [],
}
PROGRAM = Path(sys.executable).with_name("mrd-hf")
SHAPES = {
    "chair": lambda size: trimesh.creation.box((1, size, 1)),
    "mug": lambda size: trimesh.creation.cylinder(0.5, size),
    "lamp": lambda size: trimesh.creation.cone(0.5, size),
    "ball": lambda size: trimesh.creation.icosphere(1, size),
}


def documented():
    """The page's table, and its commands as they would be typed, without the program's name."""
    text = section(ROOT / "docs" / "data.md", "Your own shapes, to a score")
    (table,) = re.findall(r"```csv\n(.*?)```", text, flags=re.DOTALL)
    (block,) = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    commands = command_lines(block)
    assert {command[0] for command in commands} == {"mrd-hf"}
    return table, [command[1:] for command in commands]


def test_the_readme_has_the_same_commands():
    """They fit forty meshes; then it sends the encoder to the Hub."""
    (block,) = [code for _, code in blocks(ROOT / "README.md", "bash") if "prepare meshes" in code]
    lines = command_lines(block)
    assert [line[:2] for line in (lines[0], lines[-1])] == [["pip", "install"], ["mrd-hf", "push"]]
    assert [line[1:] for line in lines[1:-1]] == documented()[1]


def write_models(folder, table):
    """The page's shapes and others, forty in all, with its columns."""
    header, *rows = csv.reader(io.StringIO(table))
    assert header == ["file_name", "name", "category", "caption"]
    colors = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 220), "grey": (120, 120, 120)}
    number = len(rows)
    while len(rows) < 40:
        category, color = list(SHAPES)[len(rows) % 4], list(colors)[len(rows) // 10]
        rows.append([f"{category}s/{len(rows)}.glb", f"{color} {category} no. {len(rows)} or so", category, ""])
    for number, (file_name, name, category, _) in enumerate(rows):
        mesh = SHAPES[category](0.5 + number / 40)
        mesh.visual.vertex_colors = [*colors.get(name.split()[0], (200, 200, 0)), 255]
        (folder / file_name).parent.mkdir(parents=True, exist_ok=True)
        (folder / file_name).write_bytes(mesh.export(file_type="glb"))
    with open(folder.parent / "captions.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return {row[1]: row[2] for row in rows}


@pytest.mark.skipif(rendering.EmbreeScene is None, reason="needs embreex")
def test_the_documented_commands_lead_from_forty_meshes_to_a_zero_shot_score(tmp_path):
    table, commands = documented()
    category_of = write_models(tmp_path / "my_models", table)
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    save_tiny_clip(tmp_path / "openai" / "clip-vit-base-patch32")  # where the commands look for the real one
    assert [command[0] for command in commands] == list(SMALLER)
    calls = [[PROGRAM, *command, *SMALLER[command[0]]] for command in commands]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    finished = run_command(*calls, cwd=tmp_path, env=environment)
    assert finished.returncode == 0, finished.stdout + finished.stderr

    splits = load_dataset(str(tmp_path / "datasets" / "mine"))
    names = {split: set(splits[split]["name"]) for split in ("train", "test")}
    assert not names["train"] & names["test"] and names["train"] | names["test"] == set(category_of)
    assert 4 <= len(names["test"]) <= 14
    assert all(len(row["images"]) == 4 for row in splits["test"])

    report = json.loads((tmp_path / "outputs" / "mine" / "scores" / "report.json").read_text())
    test = splits["test"]
    assert report["benchmark"]["num_shapes"] == len(test) and report["benchmark"]["num_classes"] == 4
    classes = pq.read_table(tmp_path / "datasets" / "mine-clip" / "class_texts.parquet")
    assert classes["label"].to_pylist() == sorted(SHAPES)
    (file,) = (tmp_path / "outputs" / "mine" / "scores" / "embeddings").iterdir()
    points = load_file(file)["point_embeds"].numpy()
    guesses = (points @ np.array(classes["text_embed"].to_pylist()).T).argmax(axis=1)
    right = [sorted(SHAPES)[guess] == category_of[name] for guess, name in zip(guesses, test["name"], strict=True)]
    (top1,) = (metric for metric in report["metrics"] if metric["key"] == "zero_shot_top1")
    assert top1["value"] == pytest.approx(np.mean(right))
    assert finished.stdout.count("zero-shot top-1 (4 classes)") == 2  # of the training's own evaluation, and evaluate
