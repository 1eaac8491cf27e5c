"""`mrd-hf embed`: shapes into a parquet file. A run that was killed resumes when the same command is given again."""

import argparse
import sys
from pathlib import Path

from ..errors import UserError
from ..files.atomic_file import atomic_file, check_vacant
from ..files.atomic_folder import check_writable
from .embeddings.embedding_table import EmbeddingFacts, EmbeddingWriter
from .embeddings.unfinished_embeddings import UnfinishedEmbeddings
from .encoder import chosen_encoder, embed_files
from .output import print_json, printable
from .shape_files import as_text, check_no_dataset, find_shapes


def run(options: argparse.Namespace) -> int:
    """Embed files; returns the exit code."""
    output = Path(options.output)
    if output.suffix.lower() != ".parquet" or output.is_dir():
        raise UserError(f"--output {output}: expected a file with the suffix .parquet.")
    check_vacant(output, options.overwrite)
    check_writable(output.parent)
    for path in options.files:
        check_no_dataset(path, f"`mrd-hf index {path} --dataset` embeds and indexes it")
    files = find_shapes(options.files)
    encoder = chosen_encoder(options)
    facts = EmbeddingFacts.of(encoder)
    settings = {name: getattr(options, name) for name in ("up_axis", "batch_size", "dtype", "device")}
    extractor = encoder.extractor
    settings |= {"facts": vars(facts), "parts": [extractor.keep_collision, extractor.skip_parts, extractor.up_axis]}
    with UnfinishedEmbeddings(output, settings, files) as unfinished:
        before, failures = unfinished.num_files, unfinished.failures
        if before:
            print(f"resuming: {before} of {len(files)} files were done before.", file=sys.stderr)
        rest = embed_files(
            encoder,
            files[before:],
            options.up_axis,
            options.batch_size,
            failures,
            num_batches=unfinished.num_batches,
        )
        for names, embeds in rest:
            unfinished.add([as_text(name) for name in names], embeds)
        if len(failures) == len(files):
            raise UserError(f"none of {len(files)} files could be embedded, so {output} is not written.", exit_code=1)
        with atomic_file(output) as sink:
            writer = EmbeddingWriter(sink, facts)
            for names, embeds in unfinished.rows():
                writer.write(names, embeds)
            writer.close()
    count = len(files) - len(failures)
    if options.json:
        print_json({"output": options.output, "model": encoder.name, "count": count, "failed": failures})
    else:
        print(f"{count} shapes embedded into {printable(str(output))} (width {encoder.embedding_dim}).")
    if failures:
        print(f"{len(failures)} of {len(files)} files failed.", file=sys.stderr)
    return 1 if failures else 0
