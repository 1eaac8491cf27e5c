"""What shapes are scored against: texts, pictures, or embeddings of them."""

import argparse
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...data.class_texts import read_class_texts
from ...data.embedding.cached_teacher import check_class_texts_are_of, split_identifier
from ...errors import UserError
from ...models.model_sources import split_reference
from ..labels import load_text_tower, read_label_lines
from .pairs_table import Pairs
from .pictures import embed_pictures


@dataclass(frozen=True)
class Space:
    """The space that embeddings are in.

    Args:
        model (`str`): The encoder that made them.
        embedding_dim (`int`): Their width.
        teacher (`str`, *optional*), text_tower (`str`, *optional*): What embeds pictures and texts into it.
        logit_scale (`float`, *optional*): What the encoder multiplies cosines with.
        owner (`str`): Whose it is, for messages.
    """

    model: str
    embedding_dim: int
    teacher: str | None
    text_tower: str | None
    logit_scale: float | None
    owner: str


@dataclass(frozen=True)
class Prompts:
    """What shapes are scored against, each once.

    Args:
        names (list of `str`): Texts, or files of pictures.
        kind (`"text"` or `"image"`)
        embeds (`np.ndarray`, *optional*): Where they were given.
    """

    names: list[str]
    kind: Literal["text", "image"]
    embeds: np.ndarray | None = None


def chosen_prompts(options: argparse.Namespace, pairs: Pairs | None) -> Prompts:
    """What the options, or a table of pairs, say.

    Raises:
        UserError: There are none, there are several kinds, or one is blank.
    """
    if options.class_texts is not None and options.teacher is not None:
        raise UserError("--class-texts has the texts' embeddings; leave out --text-tower.")
    given = {name: value for name in ("text", "texts_file", "image") if (value := getattr(options, name))}
    if pairs is not None:
        if given:
            raise UserError(f"--pairs has the prompts; leave out --{next(iter(given)).replace('_', '-')}.")
        names, kind = list(dict.fromkeys(pairs.prompts)), pairs.kind
        return _with_embeds(names, options) if options.class_texts is not None else Prompts(names, kind)
    if len(given) + (options.class_texts is not None) != 1:
        raise UserError("score against what? Give one of --text, --texts-file, --image, --class-texts and --pairs.")
    if options.class_texts is not None:
        labels, embeds = read_class_texts(options.class_texts)
        return Prompts(labels, "text", embeds)
    if options.image:
        return Prompts(list(dict.fromkeys(options.image)), "image")
    texts = read_label_lines(options.texts_file) if options.texts_file else list(dict.fromkeys(options.text))
    if not all(text.strip() for text in texts):
        raise UserError("--text is blank; say what the shape should be.")
    return Prompts(texts, "text")


def _with_embeds(names: list[str], options: argparse.Namespace) -> Prompts:
    _, embeds = read_class_texts(options.class_texts, names)
    return Prompts(names, "text", embeds)


def embed_prompts(prompts: Prompts, space: Space, options: argparse.Namespace) -> np.ndarray:
    """Embeddings of prompts, float32 of shape `(len(prompts.names), embedding_dim)`.

    Raises:
        UserError: The space's teacher is not known or does not load, or embeddings are of another space or
            width.
    """
    if prompts.embeds is not None:
        check_class_texts_are_of(options.class_texts, f"those of {space.owner}", space.teacher, space.text_tower)
        if prompts.embeds.shape[1] != space.embedding_dim:
            raise UserError(
                f"{options.class_texts}: embeddings of width {prompts.embeds.shape[1]}, but those of {space.owner} "
                f"have {space.embedding_dim}; embed the texts with the encoder's own teacher."
            )
        return prompts.embeds
    if options.teacher is not None:
        name, revision = options.teacher, None
    elif prompts.kind == "text" and space.text_tower is not None:
        name, revision = split_reference(space.text_tower)
    elif space.teacher is not None:
        name, revision = split_identifier(space.teacher)
    else:
        raise UserError(
            f"{space.owner} does not say in whose space its embeddings are; give --text-tower, the image-text model "
            "that it was trained with, or --class-texts."
        )
    if prompts.kind == "image":
        return embed_pictures(prompts.names, name, revision, space.embedding_dim, options.device, space.owner)
    return load_text_tower(name, revision, space.embedding_dim, options.device).embed(prompts.names).cpu().numpy()
