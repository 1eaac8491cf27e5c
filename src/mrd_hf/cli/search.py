"""`mrd-hf search`: the shapes of an index that are nearest to a text, a picture or a shape."""

import argparse
import sys
from typing import Any

import numpy as np

from ..data.embedding.cached_teacher import are_one, split_identifier
from ..errors import UserError
from ..models.model_sources import split_reference
from ..search import Hit, ShapeIndex
from ..teacher import folder_identifier
from .encoder import MODEL_OPTIONS, READING_OPTIONS, check_unused, chosen_encoder, embed, prepare
from .labels import load_text_tower
from .output import one_line, print_json, printable
from .prompts.pictures import embed_pictures
from .shape_files import READING_ERRORS


# What a hit is called, the first that it has.
NAME_FIELDS = ("path", "name", "id")


def run(options: argparse.Namespace) -> int:
    """Search an index; returns the exit code."""
    given = {kind: value for kind in ("text", "image", "shape") if (value := getattr(options, kind)) is not None}
    if len(given) != 1:
        raise UserError(f"searching for {' and '.join(given) or 'nothing'}; give one of TEXT, --image and --shape.")
    ((kind, query),) = given.items()
    if kind == "shape":
        check_unused(options, ("teacher",), "for words and pictures")
    else:
        check_unused(options, (*MODEL_OPTIONS, *READING_OPTIONS), "for --shape")
    index = ShapeIndex.open(options.index)
    embed = {"text": _embed_text, "image": _embed_image, "shape": _embed_shape}[kind]
    (hits,) = index.search(embed(query, index, options), options.k)
    if options.json:
        print_json({kind: query, "hits": [{"score": hit.score, "row": hit.row, "item": hit.item} for hit in hits]})
        return 0
    for rank, hit in enumerate(hits, start=1):
        print(f"{rank:4}  {hit.score:6.3f}  {_describe(hit)}")
    return 0


def _describe(hit: Hit) -> str:
    """The item's names, as far as they differ."""
    values: list[Any] = [hit.item.get(field) for field in NAME_FIELDS]
    names = dict.fromkeys(str(value) for value in values if value is not None)
    path, *others = map(printable, names)
    return f"{path}  ({', '.join(others)})" if others and others[0] not in path else path


def _embed_text(text: str, index: ShapeIndex, options: argparse.Namespace) -> np.ndarray:
    if not text.strip():
        raise UserError("the text to search for is empty.")
    if options.teacher is None and index.text_tower is not None:
        name, revision = split_reference(index.text_tower)
    else:
        name, revision = _teacher(index, options)
    return load_text_tower(name, revision, index.embedding_dim, options.device).embed([text]).cpu().numpy()


def _embed_image(path: str, index: ShapeIndex, options: argparse.Namespace) -> np.ndarray:
    return embed_pictures([path], *_teacher(index, options), index.embedding_dim, options.device, options.index)


def _embed_shape(path: str, index: ShapeIndex, options: argparse.Namespace) -> np.ndarray:
    encoder = chosen_encoder(options)
    if index.model_sha256 is not None and encoder.sha256 != index.model_sha256:
        raise UserError(
            f"{options.index} was made by the encoder {index.model} (weights {index.model_sha256[:12]}), and "
            f"{encoder.name} has other weights ({encoder.sha256[:12]}): their embeddings cannot be compared. Give its "
            "encoder as --model, or rebuild the index with this one."
        )
    if None not in (index.config_sha256, encoder.config_sha256) and encoder.config_sha256 != index.config_sha256:
        raise UserError(
            f"{options.index} was made by the encoder {index.model} with another config.json than {encoder.name} has: "
            "their embeddings cannot be compared. Give its encoder as --model, or rebuild the index with this one."
        )
    for name, value in (index.input or {}).items():
        if (own := getattr(encoder.extractor, name, value)) != value:
            raise UserError(
                f"{options.index} was made with {name} = {value} in preprocessor_config.json, and {encoder.name} has "
                f"{own}: their embeddings cannot be compared. Give its encoder as --model, or rebuild the index with "
                "this one."
            )
    try:
        values = prepare(encoder, path, options.up_axis)
    except READING_ERRORS as error:
        raise UserError(one_line(str(error))) from None
    return embed(encoder, values)


def _teacher(index: ShapeIndex, options: argparse.Namespace) -> tuple[str, str | None]:
    """Id and revision of what words and pictures are to be embedded with."""
    if options.teacher is None and index.teacher is None:
        raise UserError(
            f"{options.index} does not say in whose space its embeddings are; give as --teacher the model that its "
            f"encoder {index.model} was trained with."
        )
    if options.teacher is not None:
        known = [split_identifier(name)[0] for name in (index.teacher, index.text_tower) if name is not None]
        same = index.teacher is not None and are_one(folder_identifier(options.teacher), index.teacher)
        if known and options.teacher not in known and not same:
            print(
                f"note: the index's embeddings are in the space of {printable(str(index.teacher))}; make sure that "
                f"{printable(options.teacher)} is the same model.",
                file=sys.stderr,
            )
        return options.teacher, None
    return split_identifier(str(index.teacher))
