"""Cache a frozen teacher's embeddings of a triplet dataset's images and texts as columns of it."""

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Array2D, Dataset, DatasetDict, Features, Value
from huggingface_hub import DatasetCard
from PIL import Image

from ..errors import UserError
from ..teacher import Teacher
from .dataset_writing import check_vacant
from .loading import load_all_splits
from .triplet_schema import EMBEDDING_COLUMNS, SOURCE_COLUMNS, check_columns


CLASS_TEXTS_FILE = "class_texts.parquet"

Item = TypeVar("Item")


def embed_dataset(dataset: Dataset, teacher: Teacher, batch_size: int = 64, name: str = "the dataset") -> Dataset:
    """Add a teacher's embeddings of all images and texts to a triplet dataset, replacing older ones.

    Args:
        dataset (`datasets.Dataset`):
            Has the columns `images` and `texts` of the triplet schema; its other columns are kept.
        teacher ([`Teacher`]):
            The frozen image-text model.
        batch_size (`int`, defaults to 64):
            How many images, or texts, the teacher embeds at a time.
        name (`str`):
            What messages and the progress bar call the dataset.

    Returns:
        `datasets.Dataset`: With `image_embeds` (num_images, width) and `text_embeds` (num_texts, width), float16 with
        L2-normalised rows, and `teacher`. A text that occurs many times is embedded once.

    Raises:
        UserError: If a column is missing or of another type.
    """
    check_columns(dataset.features, SOURCE_COLUMNS, name)
    dataset = dataset.remove_columns([column for column in EMBEDDING_COLUMNS if column in dataset.features])
    width = teacher.embedding_dim
    known_texts: dict[str, np.ndarray] = {}

    def embed_rows(images: list[list[Image.Image]], texts: list[list[dict[str, str]]]) -> dict[str, list[Any]]:
        flat_images = [image for row in images for image in row]
        image_embeds = _embed_in_batches(teacher.embed_images, flat_images, batch_size, width)
        new_texts = list(
            dict.fromkeys(entry["text"] for row in texts for entry in row if entry["text"] not in known_texts)
        )
        known_texts.update(
            zip(new_texts, _embed_in_batches(teacher.embed_texts, new_texts, batch_size, width), strict=True)
        )
        ends = np.cumsum([len(row) for row in images])[:-1]
        return {
            "image_embeds": np.split(image_embeds, ends),
            "text_embeds": [_stack([known_texts[entry["text"]] for entry in row], width) for row in texts],
            "teacher": [teacher.identifier] * len(images),
        }

    features = Features(
        {
            **dataset.features,
            "image_embeds": Array2D((None, width), "float16"),
            "text_embeds": Array2D((None, width), "float16"),
            "teacher": Value("string"),
        }
    )
    return dataset.map(
        embed_rows,
        batched=True,
        batch_size=batch_size,
        input_columns=list(SOURCE_COLUMNS),
        features=features,
        desc=f"Embedding {name}",
        # Fingerprinting the function would serialise the whole teacher; a fresh name also means: never from the cache.
        new_fingerprint=uuid.uuid4().hex,
    )


def embed_dataset_folder(
    folder: Path, out: Path, teacher: Teacher, class_templates: Sequence[str], batch_size: int = 64
) -> DatasetDict:
    """Embed every split of a prepared dataset's folder and write the result as a folder of the same layout.

    `class_texts.parquet` (columns `label`, `text_embed`), where the folder has one, is made anew with the teacher's
    embeddings; `README.md` and `ATTRIBUTION.md` come along.

    Args:
        folder (`Path`): The prepared dataset: `data/<split>-*.parquet`.
        out (`Path`):
            The folder to write; what an earlier call left there is replaced. Files appear under their names only when
            complete. See [`check_folders`] for a check beforehand.
        teacher ([`Teacher`]): The frozen image-text model.
        class_templates (sequence of `str`): Prompt templates, each with one `{}`, for the class texts.
        batch_size (`int`, defaults to 64): How many images, or texts, the teacher embeds at a time.

    Returns:
        `datasets.DatasetDict`: What was written.

    Raises:
        UserError: If the folder is no prepared dataset.
    """
    splits = load_all_splits(folder)
    for split, dataset in splits.items():
        check_columns(dataset.features, SOURCE_COLUMNS, f"{folder} ({split})")
    out_data = out / "data"
    out_data.mkdir(parents=True, exist_ok=True)
    embedded = DatasetDict()
    written = set()
    for split, dataset in splits.items():
        embedded[split] = embed_dataset(dataset, teacher, batch_size, name=f"{folder.name} ({split})")
        target = out_data / f"{split}-00000-of-00001.parquet"
        partial = target.with_suffix(".partial")
        embedded[split].to_parquet(partial)
        os.replace(partial, target)
        written.add(target)
    for stale in set(out_data.glob("*.parquet")) - written:  # of an earlier, other dataset: it would be loaded too
        stale.unlink()
    if (folder / CLASS_TEXTS_FILE).is_file():
        _write_class_texts(folder / CLASS_TEXTS_FILE, out / CLASS_TEXTS_FILE, teacher, class_templates)
    _copy_documents(folder, out)
    return embedded


def embed_class_names(class_names: Sequence[str], teacher: Teacher, templates: Sequence[str]) -> np.ndarray:
    """Class embeddings: the mean over a class's prompts, re-normalised.

    Returns:
        `np.ndarray` of shape `(len(class_names), width)`: float32 with L2-normalised rows.
    """
    rows = []
    for class_name in class_names:
        mean = teacher.embed_texts([template.format(class_name) for template in templates]).mean(dim=0)
        rows.append((mean / mean.norm()).cpu().numpy())
    return np.stack(rows)


def check_folders(folder: Path, out: Path, overwrite: bool) -> None:
    """Refuse a dataset that is not there, and an output folder that is the dataset's or holds a dataset already.

    Raises:
        UserError: With the remedy.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such dataset folder; prepare one with scripts/prepare_dataset.py.")
    if out.resolve() == folder.resolve():
        raise UserError(f"{out}: is the dataset's own folder, which is left as it is; give --out another folder.")
    check_vacant(out, overwrite)


def _embed_in_batches(embed: Any, items: list[Item], batch_size: int, width: int) -> np.ndarray:
    """Embed `items` `batch_size` at a time: (len(items), width) float16."""
    return _stack([row for batch in _batches(items, batch_size) for row in embed(batch).cpu().numpy()], width)


def _batches(items: list[Item], batch_size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), batch_size):
        yield items[start : start + batch_size]


def _stack(rows: list[np.ndarray], width: int) -> np.ndarray:
    return np.array(rows, dtype=np.float16).reshape(len(rows), width)  # also without rows


def _write_class_texts(source: Path, target: Path, teacher: Teacher, templates: Sequence[str]) -> None:
    table = pq.read_table(source)
    if "label" not in table.column_names:
        raise UserError(
            f"{source}: no column 'label' (it has {', '.join(table.column_names)}); the class names go there."
        )
    labels = table["label"].to_pylist()
    embeds = embed_class_names(labels, teacher, templates).astype(np.float16)
    text_embed = pa.FixedSizeListArray.from_arrays(pa.array(embeds.reshape(-1)), embeds.shape[1])
    partial = target.with_suffix(".partial")
    pq.write_table(pa.table({"label": labels, "text_embed": text_embed}), partial)
    os.replace(partial, target)


def _copy_documents(folder: Path, out: Path) -> None:
    if (folder / "ATTRIBUTION.md").is_file():
        shutil.copyfile(folder / "ATTRIBUTION.md", out / "ATTRIBUTION.md")
    if (folder / "README.md").is_file():
        text = (folder / "README.md").read_text(encoding="utf-8")
        if "dataset_info:" in text:
            # A schema in the card's header would be the one without embeddings, and loading would fail on it.
            card = DatasetCard(text)
            card.data.pop("dataset_info", None)
            text = str(card)
        (out / "README.md").write_text(text, encoding="utf-8")
