"""`mrd-hf classify`: what shapes are, among given labels."""

import argparse
import sys
from typing import Any

from ..errors import UserError
from ..exporting.onnx_encoder import OnnxEncoder, read_classes
from ..models.label_ranking import rank_labels
from .encoder import chosen_encoder, embed_files
from .labels import check_class_texts, check_comparable, chosen_templates, embed_labels, read_label_lines, split_labels
from .output import print_json, printable
from .shape_files import find_shapes


def run(options: argparse.Namespace) -> int:
    """Classify files; returns the exit code."""
    files = find_shapes(options.files)
    templates = chosen_templates(options.templates)
    class_embeds = labels = None
    if options.class_texts is not None:
        _check_not_embedded(options, "--class-texts has the labels' embeddings")
        from ..data.class_texts import read_class_texts  # which takes pyarrow

        labels, class_embeds = read_class_texts(options.class_texts)
        check_class_texts(labels, options.class_texts)
    elif options.labels is not None:
        labels = split_labels(options.labels)
    elif options.labels_file is not None:
        labels = read_label_lines(options.labels_file)
    encoder = chosen_encoder(options)
    if labels is None:
        if not isinstance(encoder, OnnxEncoder):
            raise UserError("which labels? Give --labels, --labels-file or --class-texts.")
        _check_not_embedded(options, f"{encoder.name} has labels of its own, with their embeddings")
        labels, class_embeds = read_classes(encoder)
    elif class_embeds is None:
        class_embeds = embed_labels(labels, templates, encoder, options.teacher, options.device)
    else:
        check_comparable(options.class_texts, class_embeds.shape[1], encoder)

    found: dict[str, list[dict[str, Any]]] = {}
    failures: list[dict[str, str]] = []
    as_share = options.scores == "probability"
    # Results that scroll by on a terminal are progress enough.
    quiet = not options.json and sys.stdout.isatty()
    batches = embed_files(
        encoder, files, options.up_axis, options.batch_size, failures, "Classifying shapes", quiet=quiet
    )
    for names, embeds in batches:
        for file, embed in zip(names, embeds, strict=True):
            scale = encoder.config.logit_scale
            found[file] = rank_labels(embed, labels, class_embeds, scale, options.top_k, options.scores)
            if not options.json:
                print(printable(file))
                for label in found[file]:
                    shown = f"{label['score']:7.2%}" if as_share else f"{label['score']:7.3f}"
                    print(f"  {shown}  {printable(label['label'])}")
    if options.json:
        failed = {failure["file"]: failure for failure in failures}
        print_json([{"file": file, "labels": found[file]} if file in found else failed[file] for file in files])
    if failures:
        print(f"{len(failures)} of {len(files)} files failed.", file=sys.stderr)
    return 1 if failures else 0


def _check_not_embedded(options: argparse.Namespace, reason: str) -> None:
    """Raise a [`UserError`] for options of embedding labels where they are embedded already."""
    for name, value in (("--template", options.templates), ("--text-tower", options.teacher)):
        if value is not None:
            raise UserError(f"{reason}; leave out {name}, or give --labels.")
