"""Make the folder of a released checkpoint of a training run: its card, its recipe, and its weights in float16.

    python scripts/release_encoder.py outputs/demo -o model_cards/mrd-pointbert-demo

Loaded, the weights are float32 again. The folder has no code in it, so it is for those who have the package; for the
Hub, push the run's own `encoder` folder.
"""

import argparse
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from mrd_hf.errors import UserError
from mrd_hf.files.atomic_folder import atomic_folder
from mrd_hf.hub.model_card import retarget_card
from mrd_hf.training.arguments import ARGUMENT_CLASSES, as_recipe
from mrd_hf.training.checkpoints import ARGUMENTS_FILE
from mrd_hf_cli.running import run_script


CONFIGURATIONS = ("config.json", "preprocessor_config.json")
# Which code a folder brings along.
OF_CODE = ("auto_map", "custom_pipelines")
WEIGHTS = "model.safetensors"
ABOUT_CODE = re.compile(r"Without the package, leave out .*? trimesh pillow`\.", flags=re.DOTALL)
ABOUT_WEIGHTS = (
    "The weights are stored in float16 and computed with in float32. The folder has no code: it needs the package."
)


def release(run: Path, folder: Path) -> None:
    """Write the folder, which is replaced if it is there.

    Args:
        run (`Path`): A training run's `--output-dir`.
        folder (`Path`): As users of a clone will type it.

    Raises:
        UserError: when the run has no trained encoder.
    """
    encoder = run / "encoder"
    for file in (encoder / WEIGHTS, encoder / "README.md", run / ARGUMENTS_FILE):
        if not file.is_file():
            raise UserError(f"{file}: no such file; give the --output-dir of a run that has ended.")
    with atomic_folder(folder) as temporary:
        for name in CONFIGURATIONS:
            content = json.loads((encoder / name).read_text(encoding="utf-8"))
            kept = {key: value for key, value in content.items() if key not in OF_CODE}
            (temporary / name).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        halved = {
            key: tensor.half() if tensor.dtype == torch.float32 else tensor
            for key, tensor in load_file(encoder / WEIGHTS).items()
        }
        # The configuration's dtype, float32, is what they are loaded in.
        save_file(halved, temporary / WEIGHTS, metadata={"format": "pt"})
        (temporary / "recipe.yaml").write_text(recipe(run) + "\n", encoding="utf-8")
        card = retarget_card((encoder / "README.md").read_text(encoding="utf-8"), folder.as_posix())
        card = card.replace(f"\n# {folder.as_posix()}\n", f"\n# {folder.name}\n", 1)
        (temporary / "README.md").write_text(ABOUT_CODE.sub(ABOUT_WEIGHTS, card), encoding="utf-8")
        if (encoder / "images").is_dir():
            shutil.copytree(encoder / "images", temporary / "images")


def recipe(run: Path) -> str:
    """What a run was told, as far as it differs from the defaults: a recipe that makes it again."""
    told = json.loads((run / ARGUMENTS_FILE).read_text(encoding="utf-8"))
    groups = [kind(**{f.name: told[f.name] for f in fields(kind) if f.name in told}) for kind in ARGUMENT_CLASSES]
    return as_recipe(groups, only_changed=True)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a training run's --output-dir")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to make; replaced if it is there")
    arguments = parser.parse_args(argv)
    release(arguments.run, arguments.output)
    size = (arguments.output / WEIGHTS).stat().st_size
    print(f"{arguments.output}: {size / 1e6:.2f} MB of weights")


if __name__ == "__main__":
    run_script(main)
