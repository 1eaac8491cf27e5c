"""The labels to choose from, and their embeddings. Imports torch when it embeds some, and not before."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..evaluation.classes.prompt_templates import TEMPLATES
from ..models.label_ranking import DEFAULT_TEMPLATE
from .encoder import AnyEncoder
from .output import progress


if TYPE_CHECKING:
    from ..models.text_tower import TextTower


MAX_LABELS = 100_000
MAX_LABEL_LENGTH = 1000
MAX_LABELS_FILE = 2**27
# Labels between two steps of the progress bar.
LABELS_AT_ONCE = 64


def split_labels(text: str) -> list[str]:
    """The labels of `--labels`: between commas, without blanks around, each once."""
    return _checked(text.split(","), "--labels")


def read_label_lines(path: str) -> list[str]:
    """The labels of a text file, a line each."""
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{path}: no such file; expected a text file with a label a line.")
    if file.stat().st_size > MAX_LABELS_FILE:
        raise UserError(f"{path}: {file.stat().st_size:,} bytes; a file of labels has at most {MAX_LABELS_FILE:,}.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}).") from None
    return _checked(text.split("\n"), path)


def check_class_texts(labels: list[str], path: str) -> None:
    """Raise a [`UserError`] if the labels of a file with embeddings are none to choose from."""
    if len(_checked(labels, path)) != len(labels):
        raise UserError(f"{path}: a label is empty or there twice.")


def check_comparable(path: str, width: int, encoder: AnyEncoder) -> None:
    """Raise a [`UserError`] if embeddings in a file, of this width, are in another space than the encoder's."""
    from ..data.embedding.cached_teacher import check_class_texts_are_of  # which takes datasets

    check_class_texts_are_of(path, f"those of {encoder.name}", encoder.teacher, encoder.text_tower)
    if width != encoder.embedding_dim:
        raise UserError(
            f"{path}: embeddings of width {width}, but the encoder's have {encoder.embedding_dim}; embed the labels "
            "with the encoder's own teacher."
        )


def chosen_templates(given: list[str] | None) -> tuple[str, ...]:
    """The prompt templates that `--template` names or spells out."""
    templates: list[str] = []
    for template in given or (DEFAULT_TEMPLATE,):
        if template not in TEMPLATES and "{}" not in template:
            raise UserError(
                f"--template {template!r} has no {{}} for the label to stand in, and is none of the sets "
                f"{', '.join(TEMPLATES)}."
            )
        templates += TEMPLATES.get(template, (template,))
    return tuple(templates)


def embed_labels(
    labels: list[str], templates: tuple[str, ...], encoder: AnyEncoder, tower_name: str | None, device: str
) -> np.ndarray:
    """Embed labels with the text tower that the encoder names, its teacher's, or with another that is given.

    Returns:
        `np.ndarray` of shape `(len(labels), embedding_dim)`: float32, L2-normalised.

    Raises:
        UserError: The encoder names no teacher, the text tower does not load, or is of another width.
    """
    from ..models.model_sources import text_tower_of

    name, revision = text_tower_of(encoder.config) if tower_name is None else (tower_name, None)
    if name is None:
        raise UserError(
            f"the encoder {encoder.name} does not say in whose space its embeddings are; give --text-tower, the "
            "image-text model that it was trained with, or --class-texts."
        )
    tower = load_text_tower(name, revision, encoder.embedding_dim, device)
    starts = range(0, len(labels), LABELS_AT_ONCE)
    parts = [
        tower.embed_classes(labels[start : start + LABELS_AT_ONCE], templates).cpu().numpy()
        for start in progress(starts, "Embedding labels")
    ]
    return np.concatenate(parts)


def load_text_tower(name: str, revision: str | None, embedding_dim: int, device: str) -> "TextTower":
    """Load a text tower whose embeddings can be compared with others of this width.

    Raises:
        UserError: It does not load, or is of another width.
    """
    from ..models.text_tower import TextTower

    try:
        tower = TextTower.from_pretrained(name, revision=revision, device=device)
    except (ValueError, OSError) as error:
        remedy = "" if "on the device" in str(error) else " If you have it elsewhere, give its folder as --text-tower."
        raise UserError(f"{error}{remedy}") from None
    if tower.embedding_dim != embedding_dim:
        raise UserError(
            f"the text tower {name} embeds into width {tower.embedding_dim}, but the shapes' embeddings have "
            f"{embedding_dim}; give as --text-tower the image-text model that the encoder was trained with."
        )
    return tower


def _checked(candidates: list[str], source: str) -> list[str]:
    """Labels without blanks around and without repetitions, in their order."""
    labels = list(dict.fromkeys(stripped for label in candidates if (stripped := label.strip())))
    if not labels:
        raise UserError(f"{source}: no label in it; give at least one, better two.")
    if len(labels) > MAX_LABELS:
        raise UserError(f"{source}: {len(labels):,} labels; at most {MAX_LABELS:,} can be given at once.")
    longest = max(labels, key=len)
    if len(longest) > MAX_LABEL_LENGTH:
        raise UserError(f"{source}: a label of {len(longest):,} characters; at most {MAX_LABEL_LENGTH:,} are taken.")
    return labels
