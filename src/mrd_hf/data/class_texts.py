"""Names of classes, and files of them with their text embeddings: our own `class_texts.parquet`, and others' .npy."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UserError
from ..files.plain_pickle import map_plain_npy


# Beside a dataset's folder `data`.
CLASS_TEXTS_FILE = "class_texts.parquet"
LISTED = 5
MIN_NUMBERS = 2**24  # that a file may always have
# Of what OpenShape's and Uni3D's files have under a class's name, what is averaged over the prompts.
PUBLISHED_FIELDS = ("open_clip_text_feat", "prompt_avg")


def read_class_texts(path: str | Path, class_names: Sequence[str] | None = None) -> tuple[list[str], np.ndarray]:
    """Read classes and their embeddings, or bring the embeddings into the order of known classes by their names.

    Args:
        path (`str` or `Path`):
            A parquet file with the columns `label` and `text_embed`; or a .npy file as OpenShape publishes it, which
            is a pickled dictionary of names, or an array with a row a class, in the order of the classes. Nothing in
            it is run.
        class_names (sequence of `str`, *optional*):
            The classes to read, however they are spelled there (see [`match_names`]); default: all, in the file's
            order.

    Returns:
        `tuple(list[str], np.ndarray)`: the classes' names, and float32 embeddings `(num_classes, embedding_dim)` with
        L2-normalised rows.

    Raises:
        UserError: The file is damaged, of another kind, or lacks classes; the message names them.
    """
    path = Path(path)
    if path.suffix == ".npy":
        names, values = _read_npy(path, class_names)
    else:
        table = _read_table(path, ("label", "text_embed"))
        names, values = _labels(table, path), table["text_embed"].to_pylist()
    rows = _as_rows(values, path)
    if class_names is not None:
        places = match_names(class_names, names)
        missing = [name for name, place in zip(class_names, places, strict=True) if place is None]
        if missing:
            listed = ", ".join(f"'{name}'" for name in missing[:LISTED]) + (", ..." if len(missing) > LISTED else "")
            raise UserError(
                f"{path}: has no embedding of {len(missing)} of the {len(class_names)} classes ({listed}); it has "
                f"{len(names)} names, each of which must differ from the others in more than spelling."
            )
        names, rows = list(class_names), rows[[place for place in places if place is not None]]
    embeds = rows.astype(np.float32)
    norms = np.linalg.norm(embeds, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise UserError(f"{path}: has embeddings that are zero or not finite; make or download it again.")
    return names, embeds / norms


def read_class_names(path: Path) -> list[str]:
    """The classes of a parquet file of class texts, in its order; it need not have embeddings.

    Raises:
        UserError: It cannot be read, or its labels are not each a text of its own.
    """
    return _labels(_read_table(path, ("label",)), path)


def has_class_embeddings(path: Path) -> bool:
    """Whether a parquet file of class texts that [`read_class_names`] reads has embeddings too."""
    return "text_embed" in pq.read_schema(path).names


def check_width(class_embeds: np.ndarray, width: int, class_texts: str | Path, name: str) -> None:
    """Raise a [`UserError`] if classes and the shapes of a dataset, `name`, are not embedded into one width."""
    if class_embeds.shape[1] != width:
        raise UserError(
            f"{class_texts}: its embeddings have width {class_embeds.shape[1]}, those of {name} {width}; make both "
            "with the same teacher (mrd-hf embed-teacher)."
        )


def readable(name: str) -> str:
    """A class's name as a prompt has it: "night_stand" is "night stand"; capitals and brackets stay."""
    return " ".join(name.replace("_", " ").split())


def spelling_key(name: str) -> str:
    """The same for names that differ in spelling alone: "night_stand", "night stand" and "Night Stand"."""
    return readable(name).casefold()


def match_names(wanted: Sequence[str], found: Sequence[str]) -> list[int | None]:
    """Find classes by name, however a file spells them: "night_stand", "night stand" and "Night Stand" are one.

    Args:
        wanted (sequence of `str`): Names to look up.
        found (sequence of `str`): Names among which to look.

    Returns:
        `list[int | None]`: for each wanted name its place in `found`; None where it is not there, or where several
        names there differ in spelling alone and none is spelled as it is.
    """
    exact = {name: place for place, name in enumerate(found)}
    counts = Counter(map(spelling_key, found))
    alike = {spelling_key(name): place for place, name in enumerate(found) if counts[spelling_key(name)] == 1}
    return [exact.get(name, alike.get(spelling_key(name))) for name in wanted]


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; expected class texts: .parquet, as mrd-hf embed-teacher --class-texts makes "
            "it, or .npy."
        )


def _read_table(path: Path, columns: Sequence[str]) -> pa.Table:
    _check_file(path)
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read as parquet ({error}); expected .parquet or .npy.") from None
    for column in columns:
        if column not in table.column_names:
            raise UserError(f"{path}: no column '{column}' (it has {', '.join(table.column_names)}).")
    return table


def _labels(table: pa.Table, path: Path) -> list[str]:
    labels = table["label"].to_pylist()
    if not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
        kind = table["label"].type
        raise UserError(f"{path}: column 'label' is of {kind}; expected text without nulls, each class once.")
    return labels


def _read_npy(path: Path, class_names: Sequence[str] | None) -> tuple[list[str], Any]:
    _check_file(path)
    content = map_plain_npy(path)
    if isinstance(content, np.ndarray):
        if class_names is None or len(content) != len(class_names):
            expected = "names" if class_names is None else f"a row for each of {len(class_names)} classes"
            raise UserError(f"{path}: has {content.shape} numbers; expected {expected}.")
        return list(class_names), content
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
    # A crafted file may name one array again and again, which takes no room in it, and much as a row each.
    if len(rows) * max(np.size(rows[0]), 1) > max(path.stat().st_size, MIN_NUMBERS):
        raise UserError(f"{path}: has fewer bytes than its {len(rows)} embeddings have numbers; download it again.")
    return list(content), rows


def _as_rows(values: Any, path: Path) -> np.ndarray:
    """Embeddings, float64 (n, embedding_dim)."""
    try:
        rows = np.array(values, dtype=np.float64)
    except (ValueError, TypeError):  # of several widths, or no numbers
        rows = np.zeros(0)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise UserError(f"{path}: its embeddings are no vectors of numbers of one width; make or download it again.")
    return rows
