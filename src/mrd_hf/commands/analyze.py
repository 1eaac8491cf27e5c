"""Show what training changed: the teacher's relations that are kept, and spectrum and classes of the embeddings."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModel

from ..data.loading import load_triplets
from ..encoder import Encoder, load_encoder
from ..errors import UserError
from ..evaluation.embedding_space import check_embeddings_are_of, teacher_of
from ..evaluation.encoding import encode_dataset
from ..evaluation.held_out import HeldOutSet
from ..evaluation.relations.embedding_geometry import unit_embeddings
from ..evaluation.relations.form_behavior import compare_forms
from ..evaluation.relations.geometry_plots import write_form_plot, write_geometry_plot
from ..evaluation.relations.relation_analysis import ModalityEmbeddings, analyze_relations
from ..evaluation.relations.relation_plots import (
    write_divergence_plot,
    write_measures_plot,
    write_similarity_plot,
)
from ..evaluation.relations.relation_report import as_dict, compare_analyses, comparison_table
from ..evaluation.scores.similarity import Embeddings
from ..files.atomic_file import atomic_file, check_vacant
from ..files.atomic_folder import check_writable
from .arguments import CommandParser


UNTRAINED_SEED = 0
PICTURES = ("similarities.png", "measures.png", "divergences.png", "geometry.png", "forms.png")
EXAMPLES = """\
example:
  mrd-hf analyze --model outputs/demo/encoder --dataset scripts/demo_data \\
      --output outputs/demo/relations
  mrd-hf analyze --model outputs/mrd/encoder --before outputs/contrastive/encoder \\
      --dataset scripts/demo_data --k 1 10 50 --output outputs/mrd_against_contrastive

written to --output:
  report.json       every figure of the table
  similarities.png  the teacher's similarity of each pair of shapes against that in 3D
  measures.png      all measures as bars
  divergences.png   how the divergences of single shapes are distributed
  geometry.png      spectrum of the embeddings and, of a dataset with categories, how compact and separable these are
  forms.png         how the three forms of a relation act on these embeddings: entropies, sizes of gradients

The dataset needs cached embeddings of the encoder's teacher (mrd-hf embed-teacher): its first image and its name
stand for a shape.
"""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        prog="mrd-hf analyze",
        description=__doc__,
        epilog=EXAMPLES,
    )
    parser.add_argument("--model", required=True, help="the trained encoder: a folder or an id on the Hub")
    parser.add_argument("--dataset", required=True, help="triplet dataset: a folder or an id on the Hub")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for report.json and the plots")
    parser.add_argument("--overwrite", action="store_true", help="replace the report that --output already has")
    parser.add_argument("--split", default="test", help="split to analyse (default: test)")
    parser.add_argument(
        "--before", help="encoder to compare with (default: the same architecture with untrained weights, fixed seed)"
    )
    parser.add_argument("--teacher", help="whose space the encoders are in (default: what each says itself)")
    parser.add_argument(
        "--k", type=int, nargs="+", default=[10], help="how many nearest neighbours to compare; several (default: 10)"
    )
    parser.add_argument(
        "--temperature", type=float, default=0.07, help="of relations, for their divergence (default: 0.07)"
    )
    parser.add_argument("--batch-size", type=int, default=64, help="shapes to encode at once (default: 64)")
    return parser.parse_args(argv)


def untrained(encoder: Encoder) -> Encoder:
    """The same architecture with fresh weights, the same ones each time."""
    torch.manual_seed(UNTRAINED_SEED)
    return replace(encoder, model=AutoModel.from_config(encoder.config))


def check_arguments(arguments: argparse.Namespace) -> None:
    if not 0 < arguments.temperature < float("inf"):
        raise UserError(f"--temperature must be a number above 0, got {arguments.temperature}.")
    if arguments.batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, got {arguments.batch_size}.")
    if min(arguments.k) < 1:
        raise UserError(f"--k must be at least 1, got {min(arguments.k)}.")


def check_number(arguments: argparse.Namespace, held_out: HeldOutSet) -> None:
    largest = max(arguments.k)
    if len(held_out) < largest + 2:
        raise UserError(
            f"{arguments.dataset}: split '{arguments.split}' has {len(held_out)} shapes, and --k {largest} needs at "
            f"least {largest + 2}; give a smaller --k or a larger --split."
        )


def check_width(name: str, encoder: Encoder, dataset_name: str, held_out: HeldOutSet) -> None:
    width, teacher_width = encoder.embedding_dim, held_out.embedding_dim
    if width != teacher_width:
        raise UserError(
            f"{name} embeds into width {width}, the teacher of {dataset_name} into {teacher_width}; "
            f"embed the dataset with the encoder's own teacher, {encoder.teacher} (mrd-hf embed-teacher)."
        )


def usable(embeds: Embeddings, name: str, remedy: str) -> torch.Tensor:
    """Embeddings with a direction each, as float64; of others the user is told."""
    try:
        return unit_embeddings(embeds, name)
    except ValueError as error:
        raise UserError(f"{error}; {remedy}.") from None


def teacher_embeddings(held_out: HeldOutSet, dataset_name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Of images and of names."""
    remedy = "embed the dataset again with mrd-hf embed-teacher"
    assert held_out.name_embeds is not None  # a triplet dataset has them
    if held_out.image_embeds is None:
        raise UserError(
            f"{dataset_name}: column 'image_embeds' is empty, as no shape of the split has an image, and relations of "
            "images are compared; prepare it with images, and embed it by mrd-hf embed-teacher."
        )
    return (
        usable(held_out.image_embeds, f"{dataset_name}: column 'image_embeds'", remedy),
        usable(held_out.name_embeds, f"{dataset_name}: column 'text_embeds'", remedy),
    )


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    check_arguments(arguments)
    check_vacant(arguments.output / "report.json", arguments.overwrite)
    check_writable(arguments.output)
    ks = tuple(dict.fromkeys(arguments.k))
    after_encoder = load_encoder(arguments.model)
    if arguments.before is None:
        before_name, before_encoder = f"untrained weights, seed {UNTRAINED_SEED}", untrained(after_encoder)
    else:
        before_name, before_encoder = arguments.before, load_encoder(arguments.before)
    dataset = load_triplets(arguments.dataset, arguments.split)
    held_out = HeldOutSet.from_dataset(dataset, name=arguments.dataset)
    check_number(arguments, held_out)
    for name, encoder in ((arguments.model, after_encoder), (before_name, before_encoder)):
        check_width(name, encoder, arguments.dataset, held_out)
        teacher = teacher_of(name, encoder.config, arguments.teacher)
        check_embeddings_are_of(teacher, dataset, arguments.dataset, name)
    image_embeds, text_embeds = teacher_embeddings(held_out, arguments.dataset)
    arguments.output.mkdir(parents=True, exist_ok=True)

    def encoded(name: str, encoder: Encoder) -> ModalityEmbeddings:
        print(f"{name}:", file=sys.stderr)
        points = encode_dataset(
            encoder.model, encoder.extractor, dataset, batch_size=arguments.batch_size, progress=True
        )
        remedy = "take a checkpoint that did not diverge"
        points = usable(points, f"what {name} makes of {arguments.dataset}", remedy)
        return {"point": points, "image": image_embeds, "text": text_embeds}

    before_embeds = encoded(before_name, before_encoder)
    before = analyze_relations(before_embeds, ks, arguments.temperature, True, held_out.categories)
    after_embeds = encoded(arguments.model, after_encoder)
    after = analyze_relations(after_embeds, ks, arguments.temperature, True, held_out.categories)

    rows = compare_analyses(before, after)
    forms = compare_forms(after_embeds, arguments.temperature)
    settings = {
        "dataset": arguments.dataset,
        "split": arguments.split,
        "num_shapes": len(held_out),
        "before": before_name,
        "after": arguments.model,
        "k": ks,
        "temperature": arguments.temperature,
    }
    report = {"settings": settings, "measures": as_dict(rows), "forms": forms.as_dict()}
    with atomic_file(arguments.output / "report.json") as file:
        file.write((json.dumps(report, indent=2) + "\n").encode())
    title = f"{len(held_out)} shapes of {arguments.dataset}. Before: {before_name}. After: {arguments.model}"
    write_similarity_plot(arguments.output / "similarities.png", before_embeds, after_embeds, title)
    write_measures_plot(arguments.output / "measures.png", rows, title)
    write_divergence_plot(arguments.output / "divergences.png", before, after, title)
    write_geometry_plot(arguments.output / "geometry.png", before, after, rows, title)
    of_forms = f"Relations of images with images, which shapes are to have with each other. {title}"
    write_form_plot(arguments.output / "forms.png", forms, arguments.temperature, of_forms)
    print(f"{title}\n\n{comparison_table(rows)}\n")
    print(f"written to {arguments.output}: report.json, {', '.join(PICTURES)}")


if __name__ == "__main__":
    from mrd_hf_cli.running import run_script

    run_script(main)
