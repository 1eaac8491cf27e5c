"""An encoder and shapes, as a user of each environment has them."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from installation.shape_files import save_encoder, write_shapes
from transformers import pipeline

from mrd_hf.hub.endpoint.writing import write_handler


# Of this environment; a user's shell has none of it.
HIDDEN = ("PYTHONPATH", "VIRTUAL_ENV", "MRD_MODEL")


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Runs an interpreter in a folder, and returns what it printed."""

    def run(python: Path, *arguments: object, cwd: Path) -> str:
        environment = {name: value for name, value in os.environ.items() if name not in HIDDEN}
        environment |= {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(cwd / "modules")}
        command = [str(argument) for argument in (python, *arguments)]
        result = subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True, timeout=600)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An encoder with its handler, and shapes of every kind."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "names.txt").write_text("\n".join(write_shapes(folder / "shapes")))
    write_handler(save_encoder(folder / "encoder"))
    return folder


@pytest.fixture(scope="module")
def expected(folder) -> dict[str, np.ndarray]:
    """The shapes' embeddings, made here, by file."""
    embed = pipeline("point-cloud-feature-extraction", model=str(folder / "encoder"), device="cpu")
    names = (folder / "names.txt").read_text().splitlines()
    return {name: np.asarray(embed(folder / "shapes" / name)).reshape(-1) for name in names}
