"""Telling a teacher in a local folder from others by what is in the folder, wherever that lies."""

import hashlib
import json
import os
import re
from pathlib import Path


# In the place of a commit: 64 bits of a SHA-256, enough to tell one's teachers apart.
FOLDER_REVISION = re.compile(r"sha256:[0-9a-f]{16}")
# What decides an embedding: weights, configurations of model, images and texts, and vocabularies.
DECISIVE = re.compile(
    r"(model|pytorch_model)[\w.-]*\.(safetensors|bin)"
    r"|(config|preprocessor_config|processor_config|tokenizer_config|special_tokens_map|added_tokens)\.json"
    r"|tokenizer\.(json|model)|vocab\.(json|txt)|merges\.txt|spiece\.model|sentencepiece\.bpe\.model"
)
# The same of a model that only open_clip loads.
OF_OPEN_CLIP = re.compile(r"open_clip_(model\.safetensors|config\.json)")
# Of a configuration, which version wrote it.
INDIFFERENT = ("transformers_version",)
BLOCK = 2**20


def folder_revision(folder: str | os.PathLike) -> str:
    """A digest of a teacher's weights and configurations, which stands where a teacher on the Hub has its commit.

    The folder's place, its name, times and other files do not count. Reads all of it: some seconds for 10 GB.
    """
    digest = hashlib.sha256()
    files = [path for path in sorted(Path(folder).iterdir()) if path.is_file()]
    decisive = [path for path in files if DECISIVE.fullmatch(path.name)]
    others_weights = any(path.suffix in (".safetensors", ".bin") for path in decisive)
    if not others_weights or _is_open_clips(Path(folder)):
        decisive = [path for path in files if path in decisive or OF_OPEN_CLIP.fullmatch(path.name)]
    for file in decisive:
        digest.update(f"{file.name}\n".encode())
        if file.name.endswith("config.json"):
            digest.update(_configuration(file))
            continue
        with file.open("rb") as source:
            while block := source.read(BLOCK):
                digest.update(block)
    return f"sha256:{digest.hexdigest()[:16]}"


def is_folder_revision(revision: str | None) -> bool:
    """Whether a teacher's revision is the digest of a local folder."""
    return revision is not None and FOLDER_REVISION.fullmatch(revision) is not None


def check_folder(name: str, revision: str) -> None:
    """Make sure that a folder holds the teacher that was recorded by this name and this digest.

    Raises:
        ValueError: If there is no such folder here, or another one of its name.
    """
    if not os.path.isdir(name):
        raise ValueError(
            f"the teacher '{name}' was a local folder (its content: {revision}), and no folder '{name}' is here; name "
            "the folder that it is in."
        )
    found = folder_revision(name)
    if found != revision:
        raise ValueError(
            f"the folder '{name}' is not the teacher of that name: its content is {found}, and the teacher's was "
            f"{revision}; name the folder that the teacher is in."
        )


def _is_open_clips(folder: Path) -> bool:
    """Whether open_clip's files are those that are loaded, though timm's, say, lie beside them."""
    if not (folder / "open_clip_config.json").is_file():
        return False
    try:
        return "model_type" not in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _configuration(file: Path) -> bytes:
    """A configuration without what does not matter; as it is if it is no mapping."""
    content = file.read_bytes()
    try:
        values = json.loads(content)
    except ValueError:
        return content
    if not isinstance(values, dict):
        return content
    return json.dumps({k: v for k, v in values.items() if k not in INDIFFERENT}, sort_keys=True).encode()
