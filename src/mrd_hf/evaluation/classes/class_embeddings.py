"""Text embeddings of classes: made by a teacher once and kept, or read from a file that others published."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from huggingface_hub import constants, try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tqdm import tqdm

from ...errors import UserError
from ...files.atomic_file import whole_file
from ...files.digests import state_of_files
from ...files.plain_pickle import map_plain_npy
from ...models.model_sources import PACKAGE, find_model
from ...models.text_tower import TextTower
from .class_names import match_names
from .prompt_templates import TEMPLATES


LISTED = 5
# Of what OpenShape's and Uni3D's files have under a class's name, what is averaged over the prompts.
PUBLISHED_FIELDS = ("open_clip_text_feat", "prompt_avg")


def class_embeddings(
    class_names: Sequence[str],
    teacher: str,
    revision: str | None = None,
    templates: str = "openshape64",
    cache_dir: Path | None = None,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
    progress: bool = False,
) -> np.ndarray:
    """The teacher's embedding of each class: the mean of those of its prompts, each normalised, normalised again.

    They are kept by teacher, its commit on the Hub (or, of a folder, the size and time of its files), templates and
    names: the next call with the same reads them, without loading the teacher. A file that is damaged is made anew.

    Args:
        class_names (sequence of `str`): As the prompts shall have them.
        teacher (`str`): A folder or a Hub id, as [`TextTower.from_pretrained`] takes it.
        revision (`str`, *optional*): Branch, tag or commit on the Hub.
        templates (`str`, defaults to `"openshape64"`): Of [`TEMPLATES`].
        cache_dir (`Path`, *optional*): Where they are kept; `mrd_hf/class_embeddings` in Hugging Face's cache without.
        device (`str` or `torch.device`, defaults to `"cpu"`): Where the teacher runs.
        batch_size (`int`, defaults to 64): Prompts that the teacher sees at a time.
        progress (`bool`, defaults to `False`): Whether to show a progress bar while the teacher runs.

    Returns:
        `np.ndarray` of shape `(num_classes, width)`: float32, L2-normalised rows.

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
    embeds = _embed(tower, class_names, TEMPLATES[templates], batch_size, progress)
    commit = _commit(teacher, revision)  # which one it was may be known only now that it is here
    if commit is not None:
        entry = _entry(class_names, teacher, commit, templates)
        with whole_file(_file(folder, entry)) as file:
            file.write(save({"class_embeds": embeds}, metadata=entry))
    return embeds


def load_class_embeddings(path: str | Path, class_names: Sequence[str]) -> np.ndarray:
    """Read the classes' embeddings from a file, and bring them into the order of the classes by their names.

    Args:
        path (`str` or `Path`):
            A parquet file with the columns `label` and `text_embed`; or a .npy file as OpenShape publishes it, which
            is a pickled dictionary of names, or an array with a row a class, in the order of the classes. Nothing in
            it is run.
        class_names (sequence of `str`): The benchmark's; spelling with _ or blanks, capital or small is all one.

    Returns:
        `np.ndarray` of shape `(num_classes, width)`: float32, L2-normalised rows.

    Raises:
        UserError: The file is damaged, of another kind, or lacks classes; the message names them.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected class embeddings, .parquet or .npy.")
    if path.suffix == ".npy":
        names, rows = _read_npy(path, class_names)
    else:
        names, rows = _read_parquet(path)
    places = match_names(class_names, names)
    missing = [name for name, place in zip(class_names, places, strict=True) if place is None]
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing[:LISTED]) + (", ..." if len(missing) > LISTED else "")
        raise UserError(
            f"{path}: has no embedding of {len(missing)} of the {len(class_names)} classes ({listed}); it has "
            f"{len(names)} names, each of which must differ from the others in more than spelling."
        )
    embeds = rows[[place for place in places if place is not None]].astype(np.float32)
    norms = np.linalg.norm(embeds, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise UserError(f"{path}: has embeddings that are zero or not finite; make or download it anew.")
    return embeds / norms


def _embed(
    tower: TextTower, class_names: Sequence[str], templates: Sequence[str], batch_size: int, progress: bool
) -> np.ndarray:
    """Class by class, so that no more prompts than a batch's are in memory."""
    together = max(1, batch_size // len(templates))
    means = []
    for start in tqdm(range(0, len(class_names), together), desc="Embedding classes", disable=not progress):
        names = class_names[start : start + together]
        prompts = [template.replace("{}", name) for name in names for template in templates]
        embeds = tower.embed(prompts, batch_size).cpu().numpy()
        means.append(embeds.reshape(len(names), len(templates), -1).mean(axis=1))
    mean = np.concatenate(means)
    return (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)


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


def _read_parquet(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read as parquet ({error}); expected .parquet or .npy.") from None
    for column in ("label", "text_embed"):
        if column not in table.column_names:
            raise UserError(f"{path}: no column '{column}' (it has {', '.join(table.column_names)}).")
    names = table["label"].to_pylist()
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: column 'label' is of {table['label'].type}; expected text without nulls.")
    return names, _as_rows(table["text_embed"].to_pylist(), path)


def _read_npy(path: Path, class_names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    content = map_plain_npy(path)
    if isinstance(content, np.ndarray):
        if len(content) != len(class_names):
            raise UserError(
                f"{path}: has {content.shape} numbers; expected a row for each of {len(class_names)} classes."
            )
        return list(class_names), _as_rows(content, path)
    if not isinstance(content, dict) or not content:
        raise UserError(
            f"{path}: holds a {type(content).__name__}; expected a dictionary of class names, or an array."
        )
    rows = []
    for name, value in content.items():
        if isinstance(value, dict):
            fields = [field for field in PUBLISHED_FIELDS if field in value]
            if not fields:
                known, found = " or ".join(PUBLISHED_FIELDS), ", ".join(value) or "nothing"
                raise UserError(f"{path}: '{name}' has no {known} (it has {found}).")
            value = value[fields[0]]
        rows.append(np.squeeze(value, axis=0) if np.ndim(value) == 2 and len(value) == 1 else value)
    return list(content), _as_rows(rows, path)


def _as_rows(values: Any, path: Path) -> np.ndarray:
    """Embeddings (n, width)."""
    try:
        rows = np.array(values, dtype=np.float64)
    except (ValueError, TypeError):  # of several widths, or no numbers
        rows = np.zeros(0)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise UserError(f"{path}: its embeddings are no vectors of numbers of one width; make or download it anew.")
    return rows
