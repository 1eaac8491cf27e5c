"""Where a checkpoint comes from: a file, a folder or a repository on the Hub."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HFValidationError, HTTPError, RemoteEntryNotFoundError

from ..errors import UserError
from ..models.model_sources import split_reference
from .checkpoint_file import SUFFIXES


@dataclass(frozen=True)
class Source:
    """A checkpoint's file and what to call it.

    Args:
        file (`Path`): On this machine.
        name (`str`): The file's name, after its repository's if it has one; no path of this machine.
        repo_id (`str`, *optional*): The repository it was downloaded from.
        commit (`str`, *optional*): Of the repository.
    """

    file: Path
    name: str
    repo_id: str | None = None
    commit: str | None = None


def find_checkpoint(source: str, filename: str | None) -> Source:
    """Find a checkpoint's file; download it if it is on the Hub and not in its cache.

    Args:
        source (`str`): A file, a folder with one in it, or a repository's id, also as `id@revision`.
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
    repo_id, revision = split_reference(source)
    if repo_id.count("/") != 1 or path.suffix in SUFFIXES:
        raise UserError(f"{source}: there is no such file; expected a checkpoint, or a repository's id like org/name.")
    try:
        chosen, file = _download(repo_id, revision, filename)
    # HFValidationError is of ids that cannot be; what a connection fails with is HTTPError or OSError.
    except (HTTPError, HFValidationError, OSError) as error:
        # Without a name its files would have to be listed, which the cache cannot do.
        remedy = "" if filename is not None else ", or name a file that is in the cache by --filename"
        raise UserError(
            f"{source} is no file here, and as a repository on the Hub it cannot be read: "
            f"{(str(error).strip() or type(error).__name__).splitlines()[0]}. Check the name and the connection, "
            f"`hf auth login` if it is private{remedy}.",
            exit_code=1,
        ) from None
    return Source(file, f"{repo_id}/{chosen}", repo_id, _commit(file))


def _download(repo_id: str, revision: str | None, filename: str | None) -> tuple[str, Path]:
    """Name and place of a repository's file; without `filename`, of the only one that may hold weights."""
    if filename is not None:
        try:
            return filename, Path(hf_hub_download(repo_id, filename, revision=revision))
        except RemoteEntryNotFoundError:
            pass  # which of its files there are is told below
    chosen = _choose(repo_id, HfApi().list_repo_files(repo_id, revision=revision), filename)
    return chosen, Path(hf_hub_download(repo_id, chosen, revision=revision))


def _commit(file: Path) -> str | None:
    """The commit of a file in the Hub's cache, which keeps each in a folder of its name."""
    found = re.search(r".*[\\/]snapshots[\\/]([0-9a-f]{40})[\\/]", str(file))
    return found[1] if found is not None else None


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
