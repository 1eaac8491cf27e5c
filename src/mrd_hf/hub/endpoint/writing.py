"""Writing the handler for Inference Endpoints into a checkpoint's folder."""

import json
import shlex
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files.atomic_file import atomic_file
from ...models.model_sources import package_of
from ..file_selection import ENDPOINT_FILES


def handler_files(folder: Path, overwrite: bool = False) -> dict[str, bytes]:
    """What [`write_handler`] would write: each file's content, by its name in a checkpoint's folder.

    Raises:
        UserError: when the folder holds no checkpoint of this version, or another file of such a name that may not be
            replaced.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: holds no model (config.json); give the one that save_pretrained wrote.")
    if not (folder / "shape_files.py").is_file():
        raise UserError(
            f"{folder}: has not this version's code; load the model and save it again:\n{_saving_again(folder)}"
        )
    files = {name: Path(__file__).with_name(name).read_bytes() for name in sorted(ENDPOINT_FILES)}
    tower = _configuration(folder).get("text_tower_id")
    if isinstance(tower, str) and (package := package_of(tower)) is not None:
        files["requirements.txt"] += f"{package}\n".encode()
    for name, content in files.items():
        file = folder / name
        if not overwrite and file.exists() and file.read_bytes() != content:
            raise UserError(
                f"{file} is there and is not this version's; replace it with --overwrite, or leave out --handler to "
                "upload it as it is."
            )
    return files


def _configuration(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / 'config.json'}: cannot be read ({error}); save the model again.") from None
    if not isinstance(found, dict):
        raise UserError(f"{folder / 'config.json'}: is no configuration of a model; save the model again.")
    return found


def _saving_again(folder: Path) -> str:
    """The line of a shell that puts the code beside a model of this package."""
    named = str((_configuration(folder).get("architectures") or ["AutoModel"])[0])
    # A file from elsewhere may name anything, and the line is to be copied into a shell.
    ours = named.isidentifier() and named.startswith(("PointBert", "Uni3D", "MRD"))
    model = f"mrd_hf.{named}" if ours else "transformers.AutoModel"
    code = (
        f"import mrd_hf, transformers; d = {str(folder)!r}; {model}.from_pretrained(d).save_pretrained(d); "
        "mrd_hf.PointCloudFeatureExtractor.from_pretrained(d).save_pretrained(d)"
    )
    return f"  python -c {shlex.quote(code)}"


def write_handler(folder: Path, overwrite: bool = False) -> None:
    """Write `handler.py`, what it runs, and `requirements.txt` into a checkpoint's folder.

    The requirements have the Python package, if there is one, whose model embeds labels for this encoder.

    Args:
        folder (`Path`)
        overwrite (`bool`, defaults to `False`): Whether others of these names, as of an earlier version, are replaced.

    Raises:
        UserError: See [`handler_files`].
    """
    for name, content in handler_files(folder, overwrite).items():
        with atomic_file(folder / name) as sink:
            sink.write(content)
