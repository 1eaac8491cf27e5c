"""`mrd-hf classify`: what shapes are, among given labels."""

import argparse
import sys
from pathlib import Path

from transformers import pipeline

from .encoder import Encoder
from .labels import chosen_templates, embed_labels, read_class_embeds, read_labels, split_labels
from .output import print_json, printable, progress, report_failure
from .shape_files import READING_ERRORS, check_size, find_shapes


def run(options: argparse.Namespace) -> int:
    """Classify files; returns the exit code."""
    files = find_shapes(options.files)
    templates = chosen_templates(options.templates)
    class_embeds = None
    if options.class_embeds is not None:
        labels, class_embeds = read_class_embeds(options.class_embeds)
    else:
        labels = split_labels(options.labels) if options.labels is not None else read_labels(options.labels_file)
    encoder = Encoder.load(options.model, options.revision, options.device)
    if class_embeds is None:
        class_embeds = embed_labels(labels, templates, encoder, options.teacher, options.device)
    else:
        read_class_embeds(options.class_embeds, encoder.width)
    classifier = pipeline(
        "zero-shot-point-cloud-classification", model=encoder.model, feature_extractor=encoder.extractor
    )

    results: list[dict] = []
    num_failed = 0
    for file in progress(files, "Classifying shapes", quiet=not options.json and sys.stdout.isatty()):
        try:
            check_size(file)
            found = classifier(
                Path(file),  # a string could be a URL, which the pipeline would fetch
                candidate_labels=labels,
                class_embeds=class_embeds,
                top_k=options.top_k,
                up_axis=options.up_axis,
            )
        except READING_ERRORS as error:
            results.append({"file": file, "error": report_failure(file, error)})
            num_failed += 1
            continue
        results.append({"file": file, "labels": found})
        if not options.json:
            print(printable(file))
            for label in found:
                print(f"  {label['score']:7.2%}  {printable(label['label'])}")
    if options.json:
        print_json(results)
    if num_failed:
        print(f"{num_failed} of {len(files)} files failed.", file=sys.stderr)
    return 1 if num_failed else 0
