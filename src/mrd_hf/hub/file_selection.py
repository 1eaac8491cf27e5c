"""Which files of a folder go to the Hub: what a checkpoint or a dataset consists of, and nothing else.

An allow-list, since what else lies in a folder (optimizer states, logs, environments, notes) is not for the public.
What is let through is looked into for access tokens first.
"""

import json
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from huggingface_hub import get_token
from safetensors import SafetensorError, safe_open
from transformers.dynamic_module_utils import get_relative_import_files

from ..errors import UserError


RepoType = Literal["model", "dataset"]

WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
WEIGHTS_INDEX = "model.safetensors.index.json"
# Of the encoder, its feature extractor, and the teacher's tokenizer and image processor.
CONFIGURATIONS = {"config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json"}
TOKENIZER_FILES = {
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
}
DOCUMENTS = {"README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "ATTRIBUTION.md", "CITATION.cff"}
GIT_FILES = {".gitattributes"}
PICTURES = re.compile(r"(images/)?[\w.-]+\.(png|jpg|jpeg|webp)")
# Scores by benchmark, which the Hub shows beside a model and on the benchmark's leaderboard.
EVAL_RESULTS = re.compile(r"\.eval_results/[\w.-]+\.yaml")
PARQUET = re.compile(r"([\w-][\w.-]*/)*[\w-][\w.-]*\.parquet")
# Where mrd-hf prepare and embed-teacher write them; `datasets` loads whatever lies there.
DATA_FILES = re.compile(r"data/[^/]+\.parquet")
# What an Inference Endpoint starts; see `mrd_hf.hub.endpoint`.
ENDPOINT_FILES = {"handler.py", "isolation.py", "shape_reading.py", "requirements.txt"}

# Why a file that is left out is, by the first expression that its path matches.
REASONS = (
    (re.compile(r"(.*/)?\.?(env|envrc|netrc)(\..*)?|(.*/)?(token|credentials)(\..*)?"), "may hold secrets"),
    (re.compile(r"(.*/)?\.git/.*"), "a repository's own files"),
    (re.compile(r"(.*/)?(checkpoint-\d+)/.*"), "a training checkpoint"),
    (re.compile(r".*(optimizer|scheduler|random_states|rng_state|scaler|trainer_state|training_args).*"), "training"),
    (re.compile(r".*\.(bin|pt|pth|ckpt|pkl|pickle|npy|joblib|dill)"), "may run code when it is loaded"),
    (re.compile(r".*(\.log|\.jsonl|\.out|\.err)|.*tfevents.*"), "a log"),
)
CHUNK = 2**20
# No token is longer; chunks overlap by as much, so that none falls between two.
LONGEST_TOKEN = 512
SECRETS = {
    "Hugging Face access token": rb"(?<![A-Za-z0-9])((hf|api_org)_[A-Za-z0-9]{30,}|hf_oauth_[\w.-]{30,})",
    "GitHub access token": rb"(?<![A-Za-z0-9])(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{40,})",
    "AWS access key": rb"(?<![A-Za-z0-9])AKIA[A-Z0-9]{16}(?![A-Za-z0-9])",
    "private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY-----",
}


@dataclass(frozen=True)
class Selection:
    """What of a folder goes to the Hub.

    Args:
        files (`list[str]`): Paths within the folder, with slashes, sorted.
        left_out (`dict[str, str]`): Path of every other file, and why it stays.
    """

    files: list[str]
    left_out: dict[str, str]


def select_files(folder: Path, repo_type: RepoType = "model") -> Selection:
    """Choose a folder's files for the Hub, and make sure that they can be published.

    Raises:
        UserError: The folder is no checkpoint or dataset, or not a whole one, or a file holds an access token.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the one that holds the {_what(repo_type)}.")
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    allowed = _model_files(folder, paths) if repo_type == "model" else _dataset_files(paths)
    selection = Selection(
        [path for path in paths if path in allowed],
        {path: _reason(path, repo_type) for path in paths if path not in allowed},
    )
    (_check_model if repo_type == "model" else _check_dataset)(folder, selection)
    for path in selection.files:
        check_for_secrets(folder / path)
    return selection


def superseded_files(there: Iterable[str], files: Iterable[str], repo_type: RepoType) -> list[str]:
    """Which files of a repository would be loaded together with those that are uploaded, or in their place.

    A dataset's `data/*.parquet`, as of another number of shards, if any such are uploaded; and a model's weights and
    their index.

    Args:
        there (iterable of `str`): Files of the repository.
        files (iterable of `str`): What is uploaded.
        repo_type (`str`)
    """
    files = set(files)
    others = set(there) - files
    if repo_type == "dataset":
        has_data = any(DATA_FILES.fullmatch(path) for path in files)
        return sorted(path for path in others if has_data and DATA_FILES.fullmatch(path))
    return sorted(path for path in others if WEIGHTS.fullmatch(path) or path == WEIGHTS_INDEX)


def check_for_secrets(file: Path, made_of: str | None = None) -> None:
    """Raise a [`UserError`] if there is an access token in a file: one of a known form, or the user's own.

    Of weights, the header is looked into.

    Args:
        file (`Path`)
        made_of (`str`, *optional*): What the message names in place of a file that the user has not got.
    """
    patterns = dict(SECRETS)
    own = get_token()
    if own:
        patterns["access token that you are logged in with"] = re.escape(own.encode())
    expressions = {name: re.compile(pattern) for name, pattern in patterns.items()}
    with file.open("rb") as source:
        for start, text in _safetensors_header(source) if file.suffix == ".safetensors" else _chunks(source):
            for name, expression in expressions.items():
                found = expression.search(text)
                if found is not None:
                    shown = found[0][:6].decode("ascii", "replace")
                    place = f", at byte {start + found.start()}" if made_of is None else ""
                    raise UserError(
                        f"{made_of or file}: holds what looks like a {name} ('{shown}...'{place}); "
                        "nothing was uploaded. Remove it, and revoke it if others may have seen it."
                    )


def _model_files(folder: Path, paths: list[str]) -> set[str]:
    allowed = CONFIGURATIONS | TOKENIZER_FILES | DOCUMENTS | GIT_FILES | ENDPOINT_FILES | {WEIGHTS_INDEX}
    allowed |= {path for path in paths if WEIGHTS.fullmatch(path) or PICTURES.fullmatch(path)}
    allowed |= {path for path in paths if EVAL_RESULTS.fullmatch(path)}
    return allowed | code_files(folder)


def _dataset_files(paths: list[str]) -> set[str]:
    return DOCUMENTS | GIT_FILES | {p for p in paths if PARQUET.fullmatch(p) or PICTURES.fullmatch(p)}


def code_files(folder: Path) -> set[str]:
    """The Python files that a checkpoint's configurations name, and those that these import from the folder."""
    modules = set()
    for name in CONFIGURATIONS:
        if not (folder / name).is_file():
            continue
        try:
            configuration = json.loads((folder / name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{folder / name}: is not valid JSON ({error}).") from None
        modules |= set(_named_modules(configuration))
    files = set()
    for module in sorted(modules):
        if not (folder / f"{module}.py").is_file():
            raise UserError(f"{folder}: a configuration names {module}.py, which is not there; save the model again.")
        try:
            imported = get_relative_import_files(folder / f"{module}.py")
        except OSError as error:
            raise UserError(f"{error.filename}: {module}.py imports it, and it is not there.") from None
        files |= {f"{module}.py", *(Path(file).name for file in imported)}
    return files


def _named_modules(node: object) -> Iterator[str]:
    """Modules that an `auto_map`, or the `impl` of a custom pipeline, names anywhere in a configuration.

    Those of another repository, which have its name and `--` in front, are not of the folder.
    """
    if isinstance(node, list):
        for item in node:
            yield from _named_modules(item)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == "auto_map" and isinstance(value, dict):
            classes = [c for entry in value.values() for c in (entry if isinstance(entry, list) else [entry])]
        elif key == "impl":
            classes = [value]
        else:
            yield from _named_modules(value)
            continue
        yield from (c.split(".")[0] for c in classes if isinstance(c, str) and "--" not in c)


def _check_model(folder: Path, selection: Selection) -> None:
    if "config.json" not in selection.files:
        inner = [path.parent.name for path in sorted(folder.glob("*/config.json"))]
        if not inner and any(PARQUET.fullmatch(path) for path in selection.left_out):
            raise UserError(
                f"{folder}: holds no model (config.json) but parquet files; for a dataset add --type dataset."
            )
        hint = f"did you mean {folder / inner[0]}?" if inner else "give the one that save_pretrained wrote."
        raise UserError(f"{folder}: holds no model (config.json); {hint}")
    weights = [path for path in selection.files if WEIGHTS.fullmatch(path)]
    if WEIGHTS_INDEX in selection.files:
        missing = sorted(_shards(folder / WEIGHTS_INDEX) - set(weights))
        if missing:
            raise UserError(f"{folder}: {WEIGHTS_INDEX} names {missing[0]}, which is not there.")
    if not weights:
        raise UserError(f"{folder}: holds no weights as safetensors; save the model again with save_pretrained.")
    for path in weights:
        try:
            with safe_open(folder / path, "np") as file:
                file.keys()
        except SafetensorError as error:
            raise UserError(f"{folder / path}: is no safetensors file, or not a whole one ({error}).") from None
    if "README.md" not in selection.files:
        raise UserError(
            f"{folder}: has no model card (README.md), which says what the model is, its licence and its limits; "
            "pretraining and converting write one."
        )


def _shards(index: Path) -> set[str]:
    """The files that an index of weights names."""
    try:
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        if not all(isinstance(shard, str) for shard in shards):
            raise TypeError("a weight's file is no text")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{index}: is damaged ({type(error).__name__}: {error}); expected a 'weight_map' with the file of each "
            "weight. Save the model again with save_pretrained."
        ) from None
    return set(shards)


def _check_dataset(folder: Path, selection: Selection) -> None:
    from ..data.loading import check_whole  # brings `datasets` along, which models do not need

    if not any(path.endswith(".parquet") for path in selection.files):
        raise UserError(f"{folder}: holds no parquet files; give a dataset's folder (mrd-hf prepare).")
    check_whole(folder)


def _what(repo_type: RepoType) -> str:
    return "checkpoint" if repo_type == "model" else "dataset"


def _reason(path: str, repo_type: RepoType) -> str:
    for expression, reason in REASONS:
        if expression.fullmatch(path):
            return reason
    return f"no part of a {_what(repo_type)}"


def _chunks(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """A file's content in overlapping pieces, each with its place."""
    start, kept = 0, b""
    while read := source.read(CHUNK):
        yield start, kept + read
        tail = (kept + read)[-LONGEST_TOKEN:]
        start += len(kept) + len(read) - len(tail)
        kept = tail


def _safetensors_header(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    length = struct.unpack("<Q", source.read(8))[0]
    yield 8, source.read(length)
