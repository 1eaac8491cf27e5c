"""Writing the handler for Inference Endpoints into a checkpoint's folder."""

import json
import shlex
from pathlib import Path

from ...errors import UserError
from ...files.atomic_file import atomic_file
from ..file_selection import ENDPOINT_FILES


def handler_files(folder: Path, overwrite: bool = False) -> dict[str, Path]:
    """What [`write_handler`] would write: the file to copy, by its name in a checkpoint's folder.

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
    files = {name: Path(__file__).with_name(name) for name in sorted(ENDPOINT_FILES)}
    for name, source in files.items():
        file = folder / name
        if not overwrite and file.exists() and file.read_bytes() != source.read_bytes():
            raise UserError(
                f"{file} is there and is not this version's; replace it with --overwrite, or leave out --handler to "
                "upload it as it is."
            )
    return files


def _saving_again(folder: Path) -> str:
    """The line of a shell that puts the code beside a model of this package."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = str((config.get("architectures") or ["AutoModel"])[0])
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

    Args:
        folder (`Path`)
        overwrite (`bool`, defaults to `False`): Whether others of these names, as of an earlier version, are replaced.

    Raises:
        UserError: See [`handler_files`].
    """
    for name, source in handler_files(folder, overwrite).items():
        with atomic_file(folder / name) as sink:
            sink.write(Path(source).read_bytes())
