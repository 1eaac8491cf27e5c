"""The lowest versions that pyproject.toml allows, extras included: what `make test-lowest` runs."""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from installation.environments import PROJECT, build_wheel, environment_python, install_wheel
from packaging.requirements import Requirement
from packaging.version import Version


ROOT = Path(__file__).parents[2]
DATA = ROOT / "scripts" / "demo_data"
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
TINY |= {"num_patches": 8, "patch_size": 8, "patch_feature_size": 24}


@pytest.fixture(scope="module")
def lowest(tmp_path_factory) -> Path:
    """The interpreter of an environment with the wheel of this code and the lowest of what it may have."""
    python = environment_python("lowest")
    install_wheel(python, build_wheel(tmp_path_factory.mktemp("wheel")))
    return python


def test_the_versions_are_those_promised(run, lowest, tmp_path):
    """Another requirement may need a later one; then the bound here says less than it could, and is to be raised."""
    requirements = [Requirement(line) for line in PROJECT["dependencies"]]
    names = [requirement.name for requirement in requirements]
    code = "import importlib.metadata as m, json, sys; print(json.dumps([m.version(name) for name in sys.argv[1:]]))"
    installed = json.loads(run(lowest, "-c", code, *names, cwd=tmp_path))
    bounds = [spec.version for requirement in requirements for spec in requirement.specifier if spec.operator == ">="]
    higher = [
        (name, found, bound)
        for name, found, bound in zip(names, installed, bounds, strict=True)
        if Version(found) != Version(bound)
    ]
    assert higher == []


def test_the_package_is_imported_without_a_warning(run, lowest, tmp_path):
    run(lowest, "-W", "error", "-c", "import mrd_hf", cwd=tmp_path)


def test_the_commands_run(run, lowest, folder, expected):
    run(lowest, Path(__file__).with_name("plain_commands.py"), folder, cwd=folder)
    table = pq.read_table(folder / "shapes.parquet")
    embedded = dict(zip(table["path"].to_pylist(), table["embedding"].to_pylist(), strict=True))
    assert embedded.keys() == {f"shapes/{name}" for name in expected}
    for name, embed in expected.items():
        np.testing.assert_allclose(embedded[f"shapes/{name}"], embed, rtol=1e-3, atol=1e-4)
    assert [len(result["labels"]) for result in json.loads((folder / "classify.out").read_text())] == [3, 3]
    assert json.loads((folder / "search.out").read_text())["hits"][0]["item"]["path"] == "shapes/box.glb"
    assert (folder / "box.png").stat().st_size > 1000


def test_training_and_evaluation_run(run, lowest, tmp_path):
    options = ["--dataset", DATA, "--point_config", json.dumps(TINY), "--num_points", 64, "--num_train_steps", 4]
    options += ["--save_steps", 2, "--report_to", "tensorboard", "--per_device_batch_size", 8, "--output_dir", "run"]
    run(lowest, ROOT / "scripts" / "pretrain.py", *options, cwd=tmp_path)
    classes = ["--class_texts", DATA / "class_texts.parquet"]
    options = ["--model", "run/encoder", "--data", DATA, *classes, "--out", "evaluation", "--linear_probe", "--map"]
    printed = run(lowest, ROOT / "scripts" / "evaluate.py", *options, "--few_shot", "--robustness", cwd=tmp_path)
    assert "zero-shot top-1" in printed and "linear probe" in printed


def test_this_environment_is_another(run, lowest, tmp_path):
    code = "import importlib.metadata as m; print(m.version('transformers'))"
    assert run(lowest, "-c", code, cwd=tmp_path).strip() != version("transformers")
