"""Uploading a checkpoint, a dataset or a page to the Hub, whole or not at all."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # of whichever HTTP library it is built on
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from ..errors import UserError
from .file_selection import RepoType, select_files, superseded_files
from .model_card import retarget_card


# Of a page in a static Space: an encoder and a collection, which would stay public once they are taken away, and the
# runtime of earlier pages.
OF_A_PAGE = re.compile(r"encoder/.*|collection\.(?:json|bin)|runtime-[cg]pu\.mjs")


@dataclass(frozen=True)
class Target:
    """Where an upload goes; the fields are the arguments of [`push_folder`]."""

    repo_id: str
    repo_type: Literal["model", "dataset", "space"]
    private: bool = False
    revision: str | None = None
    create_pr: bool = False


@dataclass(frozen=True)
class Push:
    """What an upload came to.

    Args:
        url (`str`): Where to see it: the pull request, the branch, or the repository.
        files (`list[str]`): What is there now.
        left_out (`dict[str, str]`): Path of each file of the folder that stayed, and why.
        deleted (`list[str]`): What an earlier upload had and the folder has no more.
    """

    url: str
    files: list[str]
    left_out: dict[str, str]
    deleted: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Lines that say all of it."""
        lines = [f"uploaded to {self.url} ({len(self.files)} files)"]
        lines += [f"  left out: {path} ({reason})" for path, reason in self.left_out.items()]
        lines += [f"  deleted there: {path} (not in the folder any more)" for path in self.deleted]
        return "\n".join(lines)


def push_folder(
    folder: Path,
    repo_id: str,
    private: bool = False,
    repo_type: RepoType = "model",
    revision: str | None = None,
    create_pr: bool = False,
    message: str | None = None,
) -> Push:
    """Upload a folder; creates the repository, and the branch, if there is none.

    All files become visible in one commit, at the end. What has arrived on the Hub's storage, also in an upload that
    broke off, is not uploaded again, and files that have not changed are left as they are. Data and weights of an
    earlier upload that are no longer in the folder are deleted in the same commit, as both would be loaded; see
    [`superseded_files`].

    Args:
        folder (`Path`): With a model and its card, or a dataset. See [`select_files`] for what of it is uploaded. It
            is not changed; a card's examples name `repo_id` once uploaded.
        repo_id (`str`): The repository, such as `org/mrd-pointbert`.
        private (`bool`, defaults to `False`): Whether it is private. One that exists keeps what it is, and is refused
            if it is public and this is `True`.
        repo_type (`str`, defaults to `"model"`): `"model"` or `"dataset"`.
        revision (`str`, *optional*): The branch, or `refs/pr/N` for a pull request that is there; default: main.
        create_pr (`bool`, defaults to `False`): Whether to open a pull request instead, to main.
        message (`str`, *optional*): The commit's.

    Raises:
        UserError: when the folder cannot be published, or the Hub cannot be reached or refuses.
    """
    check_target(repo_id, revision, create_pr)
    selection = select_files(folder, repo_type)
    again = push_command(folder, repo_id, private, repo_type, revision, create_pr, message)
    remedy = f"The files are safe in {folder}; upload again with {again}, which does not repeat what has arrived."
    url, deleted = _upload(
        folder,
        selection.files,
        Target(repo_id, repo_type, private, revision, create_pr),
        message or ("Upload the encoder" if repo_type == "model" else "Upload the dataset"),
        remedy,
    )
    return Push(url, selection.files, selection.left_out, deleted)


def push_page(folder: Path, repo_id: str, private: bool = False) -> Push:
    """Upload a page, as [`write_widget`] wrote it, to a static Space; creates the Space if there is none.

    Args:
        folder (`Path`)
        repo_id (`str`): The Space, such as `org/shapes`.
        private (`bool`, defaults to `False`): As of [`push_folder`].

    Raises:
        UserError: when the Hub cannot be reached or refuses.
    """
    check_target(repo_id)
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    remedy = "Give the same command again; what has arrived is not uploaded once more."
    url, deleted = _upload(folder, files, Target(repo_id, "space", private), "Upload the page", remedy)
    return Push(url, files, {}, deleted)


def _upload(folder: Path, files: list[str], target: Target, message: str, remedy: str) -> tuple[str, list[str]]:
    """Upload a folder's files in one commit, which deletes what they supersede; `remedy` ends a failure's message.

    Returns:
        `tuple[str, list[str]]`: Where to see it, and what was deleted.
    """
    repo_id, repo_type, revision = target.repo_id, target.repo_type, target.revision
    private, create_pr = target.private, target.create_pr
    check_login()
    api = HfApi()
    try:
        sdk = "static" if repo_type == "space" else None
        created = api.create_repo(repo_id, private=private, exist_ok=True, repo_type=repo_type, space_sdk=sdk)
        repo_id = created.repo_id
        if private:
            _refuse_public(api, repo_id, repo_type)
        if revision is not None and not revision.startswith("refs/"):
            api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
        there = api.list_repo_files(repo_id, revision=revision, repo_type=repo_type)
        if repo_type == "space":
            deleted = [path for path in there if OF_A_PAGE.fullmatch(path) and path not in files]
        else:
            deleted = superseded_files(there, files, repo_type)
        commit = api.create_commit(
            repo_id,
            [
                *(_addition(folder, path, repo_id, repo_type) for path in files),
                *(CommitOperationDelete(path) for path in deleted),
            ],
            commit_message=message,
            repo_type=repo_type,
            revision=revision,
            create_pr=create_pr,
        )
    # Hashing, the transfer and the Hub's answers fail in all of these ways.
    except (HfHubHTTPError, HTTPError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"could not upload to {repo_id}: {_explain(error, target)} {remedy}", exit_code=1) from error
    url = f"{api.endpoint}/{'' if repo_type == 'model' else f'{repo_type}s/'}{repo_id}"
    if commit.pr_url is not None:
        url = commit.pr_url
    elif revision is not None:
        url += f"/tree/{revision}"
    return url, deleted


def check_target(repo_id: str, revision: str | None = None, create_pr: bool = False) -> None:
    """Raise a [`UserError`] if nothing can be uploaded like that, whatever it is."""
    if create_pr and revision is not None:
        raise UserError(
            "a pull request is opened to main: leave out the revision, or give the revision refs/pr/N of one that is "
            "there and no new one."
        )
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"'{repo_id}' cannot be a repository's name: {error}") from None


def check_login() -> None:
    """Raise a [`UserError`] if there is no access token, or the Hub is not to be used."""
    if constants.HF_HUB_OFFLINE:
        raise UserError("HF_HUB_OFFLINE is set, so that nothing can be uploaded; unset it.")
    if get_token() is None:
        raise UserError(
            f"not logged in to {constants.ENDPOINT}: run `hf auth login`, or set HF_TOKEN to a token that may write."
        )


def check_private(repo_id: str) -> None:
    """Raise a [`UserError`] if a model's repository is there and public, or the Hub does not say."""
    try:
        _refuse_public(HfApi(), repo_id, "model")
    except RepositoryNotFoundError:
        pass  # it is yet to be made
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        reason = _explain(error, Target(repo_id, "model"))
        raise UserError(f"cannot see whether {repo_id} is private: {reason}", exit_code=1) from error


def _refuse_public(api: HfApi, repo_id: str, repo_type: str) -> None:
    if not api.repo_info(repo_id, repo_type=repo_type).private:
        raise UserError(
            f"{repo_id} exists and is public, and the upload is to be private; nothing was uploaded. Make it private "
            "in its settings, or give another name."
        )


def push_command(
    folder: Path,
    repo_id: str,
    private: bool = False,
    repo_type: RepoType = "model",
    revision: str | None = None,
    create_pr: bool = False,
    message: str | None = None,
) -> str:
    """The command that uploads a folder."""
    words = [f"`mrd-hf push {_quoted(str(folder))} {repo_id}"]
    words += ["--type dataset"] if repo_type == "dataset" else []
    words += ["--private"] if private else []
    words += [f"--revision {_quoted(revision)}"] if revision is not None else []
    words += ["--create-pr"] if create_pr else []
    words += [f"--message {_quoted(message)}"] if message is not None else []
    return " ".join(words) + "`"


def _quoted(word: str) -> str:
    """As this machine's command line takes it."""
    return subprocess.list2cmdline([word]) if sys.platform == "win32" else shlex.quote(word)


def _addition(folder: Path, path: str, repo_id: str, repo_type: str) -> CommitOperationAdd:
    if path == "README.md" and repo_type == "model":
        card = retarget_card((folder / path).read_text(encoding="utf-8"), repo_id)
        # Arguments have paths in them, and the name of whose home it is need not be published.
        home = Path.home()
        if home != Path(home.anchor):
            spellings = "|".join(re.escape(spelling) for spelling in {str(home), home.as_posix()})
            card = re.sub(rf"(?<![\w.~-])(?:{spellings})(?![\w-]|\.\w)", "~", card)
        return CommitOperationAdd(path, card.encode())
    return CommitOperationAdd(path, os.fspath(folder / path))


def _explain(error: Exception, target: Target) -> str:
    """What went wrong, and what to do about it."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, RevisionNotFoundError):
        return f"it has no revision {target.revision}."
    if status == 401 and not isinstance(error, RepositoryNotFoundError):
        return "the access token was not accepted; get a new one and run `hf auth login`, or set HF_TOKEN."
    if status in (401, 404):
        return "there is no such repository that you may see; check the name and who you are (`hf auth whoami`)."
    if status == 403:
        given = "you may not write there; give a token with write access to it (`hf auth whoami` says who you are), "
        if target.repo_type == "space" or target.create_pr:
            return f"{given}or another name."
        elsewhere = ", which goes to main, without --revision" if target.revision is not None else ""
        return f"{given}another name, or propose the files with --create-pr{elsewhere}."
    if status is not None or isinstance(error, ValueError):
        return f"{error}"
    # An upload's own error says which file; what happened is its cause.
    reason = f"{error} {error.__cause__}" if error.__cause__ is not None else f"{error or type(error).__name__}"
    return f"{constants.ENDPOINT} cannot be reached, or the connection broke ({reason.strip()})."
