"""Text embeddings of classes, made by a teacher once and kept."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import constants, try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tqdm import tqdm

from ...errors import UserError
from ...files.atomic_file import atomic_file
from ...files.digests import state_of_files
from ...models.model_sources import PACKAGE, find_model, split_reference
from ...models.text_tower import TextTower
from .prompt_templates import TEMPLATES


# Between two steps of the progress bar.
CLASSES_AT_ONCE = 16


def class_embeddings(
    class_names: Sequence[str],
    teacher: str,
    revision: str | None = None,
    templates: str = "openshape64",
    cache_dir: Path | None = None,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> np.ndarray:
    """The teacher's embedding of each class: the mean of those of its prompts, each normalised, normalised again.

    They are kept by teacher, its commit on the Hub (or, of a folder, the size and time of its files), templates and
    names: the next call with the same reads them, without loading the teacher. A damaged file is regenerated.

    Args:
        class_names (sequence of `str`): As the prompts shall have them.
        teacher (`str`): A folder or a Hub id, as [`TextTower.from_pretrained`] takes it.
        revision (`str`, *optional*): Branch, tag or commit on the Hub.
        templates (`str`, defaults to `"openshape64"`): Of [`TEMPLATES`].
        cache_dir (`Path`, *optional*): Where they are kept; `mrd_hf/class_embeddings` in Hugging Face's cache without.
        device (`str` or `torch.device`, defaults to `"cpu"`): Where the teacher runs.
        progress (`bool`, defaults to `False`): Whether to show a progress bar while the teacher runs.

    Returns:
        `np.ndarray` of shape `(num_classes, embedding_dim)`: float32, L2-normalised rows.

    Raises:
        UserError: There are no such templates, no class, or the teacher does not load.
    """
    if templates not in TEMPLATES:
        raise UserError(f"no prompt templates '{templates}'; known are {', '.join(TEMPLATES)}.")
    if not class_names:
        raise UserError("there is no class to embed; give at least one name.")
    if teacher.startswith(PACKAGE):
        try:
            teacher = find_model(teacher).path
        except ValueError as error:
            raise UserError(str(error)) from None
    if revision is None and not Path(teacher).is_dir():
        teacher, revision = split_reference(teacher)
    folder = Path(constants.HF_HOME) / "mrd_hf" / "class_embeddings" if cache_dir is None else Path(cache_dir)
    commit = _commit(teacher, revision)
    if commit is not None:
        entry = _entry(class_names, teacher, commit, templates)
        embeds = _read_entry(_file(folder, entry), entry, len(class_names))
        if embeds is not None:
            return embeds
    try:
        tower = TextTower.from_pretrained(teacher, revision, device)
    except ValueError as error:
        raise UserError(str(error)) from error
    starts = tqdm(range(0, len(class_names), CLASSES_AT_ONCE), desc="Embedding classes", disable=not progress)
    parts = (tower.embed_classes(class_names[i : i + CLASSES_AT_ONCE], TEMPLATES[templates]) for i in starts)
    embeds = torch.cat(list(parts)).cpu().numpy()
    commit = _commit(teacher, revision)  # which one it was may be known only now that it is here
    if commit is not None:
        entry = _entry(class_names, teacher, commit, templates)
        with atomic_file(_file(folder, entry)) as file:
            file.write(save({"class_embeds": embeds}, metadata=entry))
    return embeds


def _commit(teacher: str, revision: str | None) -> str | None:
    """What tells this state of a teacher from others, as far as that is known without asking the Hub."""
    folder = Path(teacher)
    if folder.is_dir():
        return state_of_files(folder)
    if revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    # The Hub's cache keeps each commit in a folder of that name.
    config_file = try_to_load_from_cache(teacher, "config.json", revision=revision)
    return Path(config_file).parent.name if isinstance(config_file, str) else None


def _entry(class_names: Sequence[str], teacher: str, commit: str, templates: str) -> dict[str, str]:
    """What a file was made of; also its metadata."""
    texts = json.dumps([list(TEMPLATES[templates]), list(class_names)])
    return {
        "teacher": str(Path(teacher).resolve()) if Path(teacher).is_dir() else teacher,
        "revision": commit,
        "templates": templates,
        "texts": hashlib.sha256(texts.encode()).hexdigest(),
    }


def _file(folder: Path, entry: dict[str, str]) -> Path:
    key = hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]
    teacher = re.sub(r"[^\w.-]+", "--", entry["teacher"].rpartition("/")[2])
    return folder / f"{teacher}-{entry['templates']}-{key}.safetensors"


def _read_entry(file: Path, entry: dict[str, str], num_classes: int) -> np.ndarray | None:
    """The embeddings in a file; None if it is not there, damaged, or made of something else."""
    try:
        with safe_open(file, framework="numpy") as content:
            if content.metadata() != entry:
                return None
            embeds = content.get_tensor("class_embeds")
    except (SafetensorError, OSError):
        return None
    if embeds.dtype != np.float32 or embeds.ndim != 2 or len(embeds) != num_classes:
        return None
    return embeds if np.allclose(np.linalg.norm(embeds, axis=1), 1, atol=1e-4) else None  # False for nan as well
