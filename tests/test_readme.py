"""The README's Python snippets run as they stand, on a small encoder in the demo's place; its commands are valid."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mrd_hf import PointBertConfig, PointBertModel, PointCloudFeatureExtractor
from mrd_hf.cli.encoder import CONVERT, Encoder
from mrd_hf.conversion.checkpoint_file import SUFFIXES
from mrd_hf.errors import UserError


ROOT = Path(__file__).parent.parent


def test_the_snippets_run(tmp_path):
    snippets = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    assert len(snippets) >= 2
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    encoder = tmp_path / "outputs" / "demo" / "encoder"
    config = PointBertConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_patches=8,
        patch_size=8,
        projection_dim=384,
    )
    PointBertModel(config).save_pretrained(encoder)
    PointCloudFeatureExtractor(num_points=256).save_pretrained(encoder)
    (tmp_path / "chair.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\n")
    subprocess.run(
        [sys.executable, "-c", "\n".join(snippets)],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=True,
        timeout=300,
    )


def commands(text: str) -> list[str]:
    """Those that convert a checkpoint."""
    return re.findall(r"python scripts/convert_checkpoint\.py ([^\n`]+?)(?=\.?(?:\n|`|$))", text)


@pytest.fixture
def convert():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("convert_checkpoint", ROOT / "scripts" / "convert_checkpoint.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_how_to_get_a_strong_encoder_is_said_once_and_works(monkeypatch, convert):
    readme = (ROOT / "README.md").read_text()
    [section] = re.findall(r"^## Which weights\?\n(.*?)^## ", readme, flags=re.DOTALL | re.MULTILINE)
    assert "No weights trained on Objaverse have been published" in section
    assert readme.index("## Two commands") < readme.index("## Which weights?") < readme.index("## Use an encoder")
    assert len(commands(section)) == 3
    for command in commands(readme):
        monkeypatch.setattr(sys, "argv", ["convert_checkpoint.py", *shlex.split(command)])
        arguments = convert.parse_arguments()
        # A repository's name, or a file of a kind that is read.
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", arguments.source) or Path(arguments.source).suffix in SUFFIXES
        assert arguments.to.parts[0] == "models"


def test_the_others_say_the_same_and_where_to_read_it(monkeypatch):
    monkeypatch.delenv("MRD_HF_MODEL", raising=False)
    readme = (ROOT / "README.md").read_text()
    with pytest.raises(UserError) as error:
        Encoder.load(None, None, "cpu")
    said = [str(error.value), (ROOT / "scripts" / "app" / "README.md").read_text()]
    for text in said:
        flat = " ".join(text.split())
        assert "o weights trained on Objaverse have been published with this package yet" in flat
        assert "Which weights?" in flat and "OpenShape's" in flat
    assert CONVERT in said[0] and f"{CONVERT}\n" in readme
