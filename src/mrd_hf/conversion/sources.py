"""Where a checkpoint comes from: a file, a folder or a repository on the Hub."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from ..errors import UserError
from .checkpoint_file import SUFFIXES


@dataclass(frozen=True)
class Source:
    """A checkpoint's file and what to call it.

    Args:
        file (`Path`): On this machine.
        name (`str`): The file's name, after its repository's if it has one; no path of this machine.
        repo_id (`str`, *optional*): The repository it was downloaded from.
    """

    file: Path
    name: str
    repo_id: str | None = None


def find_checkpoint(source: str, filename: str | None) -> Source:
    """Find a checkpoint's file; download it if it is on the Hub.

    Args:
        source (`str`): A file, a folder with one in it, or a repository's id.
        filename (`str`, *optional*): Which file of the folder or repository; needed if more than one may hold weights.

    Raises:
        UserError: when there is no such file, or there are several to choose from, or the Hub cannot be reached.
    """
    path = Path(source)
    if path.is_file():
        if filename is not None:
            raise UserError(f"{source} is a file, so there is none to choose by --filename {filename}; leave it out.")
        return Source(path, path.name)
    if path.is_dir():
        inside = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
        chosen = _choose(source, inside, filename)
        return Source(path / chosen, PurePosixPath(chosen).name)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source) or path.suffix in SUFFIXES:
        raise UserError(f"{source}: there is no such file; expected a checkpoint, or a repository's id like org/name.")
    try:
        chosen = _choose(source, HfApi().list_repo_files(source), filename)
        return Source(Path(hf_hub_download(source, chosen)), f"{source}/{chosen}", source)
    except (HfHubHTTPError, OSError) as error:
        raise UserError(
            f"{source} is no file here, and as a repository on the Hub it cannot be read: "
            f"{str(error).strip().splitlines()[0]}. Check the name, or `hf auth login` if it is private.",
            exit_code=1,
        ) from None


def _choose(source: str, names: list[str], filename: str | None) -> str:
    weights = sorted(name for name in names if PurePosixPath(name).suffix in SUFFIXES)
    if filename is not None:
        if filename not in names:
            raise UserError(f"{source} has no file {filename}; those that may hold weights: {_list(weights)}.")
        return filename
    if len(weights) != 1:
        raise UserError(
            f"{source} has {len(weights)} files that may hold weights: {_list(weights)}; expected one"
            + (", choose it by --filename." if weights else f" that ends in {', '.join(SUFFIXES)}.")
        )
    return weights[0]


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"
