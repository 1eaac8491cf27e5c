"""`mrd-hf index`: an index of a folder of shapes, of embeddings, or of a triplet dataset."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from ..data.loading import load_all_splits, load_triplets
from ..data.schema import EMBEDDING_COLUMNS, TEACHER_COLUMNS
from ..errors import UserError
from ..evaluation.encoding import dataset_clouds
from ..files.atomic_file import check_vacant
from ..files.atomic_folder import check_replaceable, check_writable
from ..search import ShapeIndex
from ..search.index_facts import FACTS
from .embeddings.embedding_table import EmbeddingFacts, open_embeddings
from .encoder import (
    MODEL_OPTIONS,
    READING_OPTIONS,
    Shape,
    check_unused,
    chosen_encoder,
    embed_files,
    embed_shapes,
    prepare,
)
from .output import print_json, printable
from .shape_files import as_text, check_no_dataset, find_shapes


# What is large, or the same in every row; `mesh` is of `mrd-hf prepare meshes --keep-mesh`.
LEFT_OUT = ("schema_version", "points", "colors", "images", "texts", "mesh", *EMBEDDING_COLUMNS, *TEACHER_COLUMNS)


def run(options: argparse.Namespace) -> int:
    """Build an index; returns the exit code."""
    source = options.source
    output = Path(options.output or _beside(source))
    failures: list[dict[str, str]] = []
    if options.split is not None and not options.dataset:
        raise UserError("--split is for a --dataset.")
    if options.dataset or source.lower().endswith(".parquet"):
        check_unused(options, READING_OPTIONS, "for a folder of shapes")
    if not options.dataset and source.lower().endswith(".parquet"):
        check_unused(options, MODEL_OPTIONS, "for shapes, and these are embedded")
    check_replaceable(output, (FACTS,), "index", (source, options.model or os.environ.get("MRD_MODEL")))
    check_vacant(output, options.overwrite)
    check_writable(output.parent)
    if options.dataset:
        index = _index_dataset(source, output, options, failures)
    elif source.lower().endswith(".parquet"):
        facts, count, rows = open_embeddings(Path(source))
        index = _index_rows(rows, count, _items_of, output, facts)
    elif Path(source).is_dir():
        check_no_dataset(source, "add --dataset")
        files = find_shapes([source])
        encoder = chosen_encoder(options)
        facts = EmbeddingFacts.of(encoder)
        rows = embed_files(encoder, files, options.up_axis, options.batch_size, failures)
        index = _index_rows(rows, len(files), partial(_items_of, folder=Path(source)), output, facts)
    else:
        raise UserError(
            f"{source}: no such folder of shapes, and no .parquet file of `mrd-hf embed`; for a triplet dataset on "
            "the Hub add --dataset."
        )
    if options.json:
        print_json({"output": str(output), "model": index.model, "count": len(index), "failed": failures})
    else:
        print(f"{len(index)} shapes of {printable(source)} in the index {printable(str(output))}.")
    if failures:
        what = "shapes" if options.dataset else "files"
        print(f"{len(failures)} of {len(index) + len(failures)} {what} failed.", file=sys.stderr)
    return 1 if failures else 0


def _beside(source: str) -> str:
    """The index of a source by default: beside it, under its name."""
    path = Path(source)
    # A folder by its own name, where the user says "here" or "above".
    path = path.resolve() if path.name in ("", "..") else path
    return f"{str(path).removesuffix('.parquet')}-index"


def _index_dataset(
    source: str, output: Path, options: argparse.Namespace, failures: list[dict[str, str]]
) -> ShapeIndex:
    if options.split is not None:
        dataset = load_triplets(source, options.split)
    else:
        dataset = concatenate_datasets(list(load_all_splits(source).values()))
    encoder = chosen_encoder(options)
    read_clouds = dataset_clouds(dataset)
    ids = dataset.with_format(None)["id"]

    def read(row: int) -> np.ndarray:
        ((points, colors),) = read_clouds([row])
        return prepare(encoder, points, "y", colors)

    def name_of(row: int) -> str:
        return f"{source}, shape {ids[row]!r}"

    rows = embed_shapes(encoder, range(len(dataset)), read, name_of, options.batch_size, failures)
    columns = dataset.remove_columns([column for column in LEFT_OUT if column in dataset.column_names])
    return _index_rows(rows, len(dataset), columns.select, output, EmbeddingFacts.of(encoder))


def _items_of(files: list[str], folder: Path | None = None) -> list[dict[str, Any]]:
    """What an index knows of files; the id of each is its path in `folder`, if that is given."""
    names = [Path(file).relative_to(folder) if folder is not None else Path(file) for file in files]
    return [{"id": as_text(name), "path": as_text(file)} for name, file in zip(names, files, strict=True)]


def _index_rows(
    rows: Iterator[tuple[list[Shape], np.ndarray]],
    most: int,
    items_of: Callable[[list[Shape]], Dataset | list[dict[str, Any]]],
    output: Path,
    facts: EmbeddingFacts,
) -> ShapeIndex:
    """Build an index of at most `most` embedded shapes, of which `items_of` tells what is known."""
    output.absolute().parent.mkdir(parents=True, exist_ok=True)
    # On the disk, as a million embeddings take 5 GB.
    with tempfile.TemporaryFile(dir=output.absolute().parent) as file:
        shapes: list[Shape] = []
        for embedded, embeds in rows:
            file.write(np.ascontiguousarray(embeds, dtype=np.float32).data)
            shapes += embedded
        if not shapes:
            raise UserError(f"none of {most} shapes could be embedded, so {output} is not made.", exit_code=1)
        file.flush()
        stored = np.memmap(file, dtype=np.float32, mode="r", shape=(len(shapes), facts.width))
        return ShapeIndex.build(output, stored, items_of(shapes), **facts.for_index())
