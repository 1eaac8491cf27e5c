"""Runs where the package and what it requires is installed, and no extra: commands, and what needs an extra.

    python plain_commands.py FOLDER

FOLDER has an encoder, `shapes` and classes.parquet. What is printed goes into files beside them, by the step's name.
"""

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mrd_hf.errors import UserError
from mrd_hf.evaluation.benchmarks.h5_files import open_h5
from mrd_hf.evaluation.plots.embedding_map import project_embeddings
from mrd_hf.evaluation.scores.linear_probe import classify
from mrd_hf_cli.main import main


COMMANDS = {
    "embed": "embed shapes -o shapes.parquet --model encoder",
    "classify": "classify shapes/box.glb shapes/ball.ply --class-embeds classes.parquet --model encoder --json",
    "index": "index shapes.parquet -o shapes-index",
    "search": "search shapes-index --shape shapes/box.glb --model encoder --json",
    "render": "render shapes/box.glb -o box.png",
}
EXTRAS: dict[str, Callable[[], object]] = {
    "benchmarks": lambda: open_h5(Path("clouds.h5")),
    "evaluation": lambda: classify(np.eye(2), np.arange(2), np.eye(2), 1.0),
    "interactive": lambda: project_embeddings({"3D": np.eye(3)}),
}


def run(name: str, step: Callable[[], object]) -> None:
    with open(f"{name}.out", "w") as out, open(f"{name}.err", "w") as err:  # noqa: SIM117
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                step()
            except UserError as error:
                print(error, file=err)
            except SystemExit as end:
                print(f"exit code {end.code}", file=err)


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    for name, arguments in COMMANDS.items():
        run(name, lambda: main(arguments.split()))  # noqa: B023
    for name, step in EXTRAS.items():
        run(name, step)
