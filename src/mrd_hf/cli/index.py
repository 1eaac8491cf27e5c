"""`mrd-hf index`: an index of a folder of shapes, of embeddings, or of a triplet dataset."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from ..data.loading import load_all_splits, load_triplets
from ..data.schema import EMBEDDING_COLUMNS, TEACHER_COLUMNS
from ..errors import UserError
from ..evaluation.encoding import encode_dataset
from ..exporting.onnx_encoder import OnnxEncoder
from ..exporting.onnx_model import OnnxModel
from ..files.atomic_file import check_vacant
from ..files.atomic_folder import check_replaceable, check_writable
from ..search import ShapeIndex
from ..search.index_facts import FACTS
from .embedding_table import EmbeddingFacts, open_embeddings
from .encoder import chosen_encoder, embed_files
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
        for option in ("up_axis", "keep_collision", "skip_parts"):
            if getattr(options, option):
                raise UserError(f"--{option.replace('_', '-')} is for a folder of shapes; leave it out.")
    check_replaceable(output, (FACTS,), "index", (source, options.model or os.environ.get("MRD_MODEL")))
    check_vacant(output, options.overwrite)
    check_writable(output.parent)
    if options.dataset:
        index = _index_dataset(source, output, options)
    elif source.lower().endswith(".parquet"):
        facts, count, rows = open_embeddings(Path(source))
        index = _index_rows(rows, count, None, output, facts)
    elif Path(source).is_dir():
        check_no_dataset(source, "add --dataset")
        files = find_shapes([source])
        encoder = chosen_encoder(options)
        facts = EmbeddingFacts.of(encoder)
        rows = embed_files(encoder, files, options.up_axis, options.batch_size, failures)
        index = _index_rows(rows, len(files), Path(source), output, facts)
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
        print(f"{len(failures)} of {len(index) + len(failures)} files failed.", file=sys.stderr)
    return 1 if failures else 0


def _beside(source: str) -> str:
    """The index of a source by default: beside it, under its name."""
    path = Path(source)
    # A folder by its own name, where the user says "here" or "above".
    path = path.resolve() if path.name in ("", "..") else path
    return f"{str(path).removesuffix('.parquet')}-index"


def _index_dataset(source: str, output: Path, options: argparse.Namespace) -> ShapeIndex:
    if options.split is not None:
        dataset = load_triplets(source, options.split)
    else:
        dataset = concatenate_datasets(list(load_all_splits(source).values()))
    encoder = chosen_encoder(options)
    model = OnnxModel(encoder) if isinstance(encoder, OnnxEncoder) else encoder.model
    extractor = model.extractor if isinstance(model, OnnxModel) else encoder.extractor
    embeds = encode_dataset(model, extractor, dataset, options.batch_size, progress=sys.stderr.isatty()).numpy()
    items: Dataset = dataset.remove_columns([column for column in LEFT_OUT if column in dataset.column_names])
    facts = EmbeddingFacts.of(encoder)
    return ShapeIndex.build(
        output, embeds, items, facts.model, facts.teacher, facts.model_sha256, facts.text_tower, facts.config_sha256
    )


def _index_rows(
    rows: Iterator[tuple[list[str], np.ndarray]], most: int, folder: Path | None, output: Path, facts: EmbeddingFacts
) -> ShapeIndex:
    """Build an index of at most `most` embedded files; an item's id is its path in `folder`, if that is given."""
    output.absolute().parent.mkdir(parents=True, exist_ok=True)
    # On the disk, as a million embeddings take 5 GB.
    with tempfile.TemporaryFile(dir=output.absolute().parent) as file:
        items: list[dict[str, Any]] = []
        for paths, embeds in rows:
            file.write(np.ascontiguousarray(embeds, dtype=np.float32).data)
            for path in paths:
                within = Path(path).relative_to(folder) if folder is not None else Path(path)
                items.append({"id": as_text(within), "path": as_text(path)})
        if not items:
            raise UserError(f"none of {most} shapes could be embedded, so {output} is not made.", exit_code=1)
        file.flush()
        stored = np.memmap(file, dtype=np.float32, mode="r", shape=(len(items), facts.width))
        return ShapeIndex.build(
            output,
            stored,
            items,
            facts.model,
            facts.teacher,
            facts.model_sha256,
            facts.text_tower,
            facts.config_sha256,
        )
