"""What the page in the browser does, run by Node; scripts/widget/tests/tool.ts says how."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from .paths import SCRIPTS


WIDGET = SCRIPTS / "widget"
TIME_LIMIT = 300


def run_node(*arguments: str | Path) -> str:
    """What a program prints, run in the page's folder; an `AssertionError` with what it said if it fails."""
    program = shutil.which("node")
    assert program is not None, "no program 'node'; install Node.js 20 or newer, with npm."
    assert (WIDGET / "node_modules").is_dir(), "the page's packages are missing: make test-widget installs them."
    done = subprocess.run(
        [program, *map(str, arguments)], cwd=WIDGET, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def build_tool() -> Path:
    """The program, bundled beside its packages, where Node finds the runtime."""
    tool = WIDGET / "node_modules/.cache/tool.mjs"
    run_node("build.mjs", "--tool", tool)
    return tool


class WidgetTool:
    """The page's readers, sampling and encoder.

    Args:
        tool (`Path`): As [`build_tool`] makes it.
        folder (`Path`): Empty, for what it writes.
    """

    def __init__(self, tool: Path, folder: Path) -> None:
        self.tool = tool
        self.folder = folder
        # Of the files that were prepared last; of those that were refused none.
        self.warnings: list[list[str]] = []

    def random(self) -> dict[str, list[float]]:
        return json.loads(run_node(self.tool, "random"))

    def picture_sizes(self, files: list[Path]) -> list[list[int] | None]:
        """Width and height, where the files' first bytes say them."""
        return [json.loads(line) for line in run_node(self.tool, "sizes", *files).splitlines()]

    def prepare(self, files: list[Path], settings: dict[str, Any]) -> list[np.ndarray | str]:
        """For each file `point_values`, float32 of shape `(num_points, 6)`, or the message of an error."""
        described = self.folder / "input.json"
        described.write_text(json.dumps(settings))
        found: list[np.ndarray | str] = []
        self.warnings = []
        for number, line in enumerate(run_node(self.tool, "prepare", described, self.folder, *files).splitlines()):
            said = json.loads(line)
            self.warnings.append(said.get("warnings", []))
            if "error" in said:
                assert said["kind"] == "ShapeError", said
                found.append(said["error"])
            else:
                found.append(np.fromfile(self.folder / f"{number}.f32", dtype="<f4").reshape(-1, 6))
        return found

    def embed(self, encoder: Path, values: np.ndarray) -> np.ndarray:
        """Embeddings, `(batch, embedding_dim)`, of `point_values`, `(batch, num_points, 6)`."""
        files = [self.folder / f"{row}.values" for row in range(len(values))]
        for file, row in zip(files, values, strict=True):
            row.astype("<f4").tofile(file)
        run_node(self.tool, "embed", encoder, self.folder, *files)
        return np.stack([np.fromfile(file.with_name(f"{file.name}.embeds"), dtype="<f4") for file in files])
