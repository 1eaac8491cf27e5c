"""Writing the handler for Inference Endpoints into a checkpoint's folder."""

import shutil
from pathlib import Path

from ..errors import UserError
from ..hub_files import ENDPOINT_FILES


def write_handler(folder: Path) -> None:
    """Write `handler.py`, what it runs, and `requirements.txt` into a checkpoint's folder, replacing those there.

    Raises:
        UserError: when the folder holds no checkpoint.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: holds no model (config.json); give the one that save_pretrained wrote.")
    for name in sorted(ENDPOINT_FILES):
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
