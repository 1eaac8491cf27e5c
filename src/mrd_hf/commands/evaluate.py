r"""Score an encoder on a benchmark: one command, one table, one report that repeats to the last digit.

    mrd-hf evaluate --model outputs/demo/encoder --dataset scripts/demo_data \
        --class-texts scripts/demo_data/class_texts.parquet --output outputs/demo/evaluation
    mrd-hf evaluate --model org/encoder --benchmark modelnet40 --dataset ModelNet40 --linear-probe --robustness
    mrd-hf evaluate --compare outputs/a/evaluation outputs/b/evaluation --output outputs/a_against_b

On several devices, or CPU processes (ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2), put accelerate's or torch's
launcher in front: they share the shapes out, and the figures stay the same.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from datasets import Dataset
from transformers import FeatureExtractionMixin, PreTrainedModel

from ..data.class_texts import CLASS_TEXTS_FILE, read_class_texts
from ..data.embedding.cached_teacher import (
    are_one,
    origins_in_dataset,
    split_identifier,
    the_teacher,
)
from ..data.loading import load_triplets
from ..encoder import load_encoder, recorded_teacher, weights_sha256
from ..errors import UserError
from ..evaluation.benchmarks.opening import BENCHMARKS, open_benchmark
from ..evaluation.classes.class_embeddings import class_embeddings
from ..evaluation.classes.prompt_templates import TEMPLATES
from ..evaluation.comparison import compare_evaluations, comparisons_as_dict, format_comparison
from ..evaluation.embedding_cache import cached_embeds
from ..evaluation.encoding import CloudReader, dataset_clouds, encode_clouds
from ..evaluation.held_out import HeldOutSet, classify_labeled, evaluate_held_out
from ..evaluation.plots.confusion_plot import write_confusion_matrix
from ..evaluation.plots.contact_sheet import write_contact_sheet
from ..evaluation.plots.embedding_map import dataset_pictures, write_embedding_map
from ..evaluation.plots.interval_plot import write_interval_bars, write_robustness_bars
from ..evaluation.report import EvaluationReport, Score, check_replaceable, format_table
from ..evaluation.scores.corruptions import CORRUPTIONS, corrupt
from ..evaluation.scoring import (
    few_shot_scores,
    few_shot_settings,
    linear_probe_is_possible,
    linear_probe_scores,
    under_corruption,
)
from ..files.atomic_file import check_vacant
from ..files.atomic_folder import check_writable
from ..files.digests import state_of_files
from ..hub.model_card import write_results
from ..models.model_sources import text_tower_of
from ..models.teacher_folder import is_folder_revision
from ..teacher import folder_identifier
from ..training.distributed import set_cpu_threads
from .arguments import CommandParser


DEFAULT_TEMPLATES = "openshape64"
# What --compare has no use for.
NOT_COMPARED = ["model", "dataset", "class_texts", "teacher", "templates"]
NOT_COMPARED += ["linear_probe", "few_shot", "robustness", "map", "write_card"]
# What is reported of corrupted shapes, as far as the data allows.
ROBUSTNESS_KEYS = ("zero_shot_top1", "shape_to_image_recall_at_1")


@dataclass(frozen=True)
class Shapes:
    """The shapes of a split, and what they are scored against."""

    name: str
    split: str
    read: CloudReader
    up_axis: Literal["y", "z"]
    held_out: HeldOutSet
    fingerprint: str  # of the files
    templates: str | None  # of the class names; None where their embeddings were given
    dataset: Dataset | None = None  # of triplets with cached embeddings


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(prog="mrd-hf evaluate", description=__doc__)
    parser.add_argument("--model", help="the encoder: a folder or an id on the Hub")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="folder of report.json, outcomes.parquet and pictures"
    )
    data = parser.add_argument_group("the shapes")
    data.add_argument(
        "--benchmark", choices=list(BENCHMARKS), default="triplets", help="what --dataset is (default: triplets)"
    )
    data.add_argument("--dataset", help="the benchmark's folder; of triplets also an id on the Hub")
    data.add_argument("--split", default="test", help="split to score on (default: test)")
    data.add_argument("--variant", help="of scanobjectnn: obj_only, obj_bg, pb_t50_rs or openshape")
    data.add_argument("--up-axis", choices=["y", "z"], help="which axis is up, where the benchmark does not say")
    data.add_argument("--allow-partial", action="store_true", help="take a part of a published split as well")
    texts = parser.add_argument_group("the classes' embeddings, by default those published with the benchmark, if any")
    texts.add_argument(
        "--class-texts",
        help="file of classes and embeddings: .parquet, as mrd-hf embed-teacher --class-texts makes it, or "
        "OpenShape's .npy",
    )
    texts.add_argument("--teacher", "--text-tower", help="embeds the class names (default: the encoder's own)")
    texts.add_argument(
        "--templates",
        choices=list(TEMPLATES),
        help=f"prompts to embed the class names with (default: {DEFAULT_TEMPLATES})",
    )
    more = parser.add_argument_group("more than zero-shot and retrieval")
    more.add_argument("--linear-probe", action="store_true", help="logistic regression on the split train")
    more.add_argument("--few-shot", action="store_true", help="N-way K-shot accuracies, 10 draws each")
    more.add_argument(
        "--robustness", action="store_true", help="colors dropped, points thinned, jittered, rotated, cut"
    )
    more.add_argument("--map", action="store_true", help="also an HTML page to look around in, map.html")
    more.add_argument("--write-card", action="store_true", help="put the results into the model's README.md")
    more.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help="two --output folders, of one split")
    parser.add_argument("--batch-size", type=int, default=64, help="shapes encoded at once (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of intervals, draws and corruptions (default: 0)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a report of another model, or on other shapes, in --output"
    )
    arguments = parser.parse_args(argv)
    if arguments.compare is None and (arguments.model is None or arguments.dataset is None):
        parser.error("give --model and --dataset, or two evaluations to --compare")
    if arguments.compare is not None:
        # They would be passed over otherwise.
        others = [name for name in NOT_COMPARED if getattr(arguments, name)]
        if others:
            parser.error(f"--compare takes two finished evaluations, so no --{others[0].replace('_', '-')}")
    if arguments.variant is not None and arguments.benchmark != "scanobjectnn":
        parser.error(f"--variant is of scanobjectnn, and the --benchmark is {arguments.benchmark}")
    if arguments.class_texts is not None and arguments.templates is not None:
        parser.error("--templates embeds class names, and --class-texts has their embeddings; give one of the two")
    if arguments.batch_size < 1:
        parser.error(f"--batch-size must be at least 1, not {arguments.batch_size}")
    if arguments.seed < 0:
        parser.error(f"--seed must be at least 0, not {arguments.seed}")
    if arguments.linear_probe and arguments.split == "train":
        parser.error("--linear-probe learns from the split train; score it on another one")
    if arguments.write_card and not (Path(arguments.model or "") / "README.md").is_file():
        parser.error("--write-card needs a local --model with a README.md")
    return arguments


def teacher_of(arguments: argparse.Namespace, model: PreTrainedModel) -> str:
    """The identifier of the teacher whose space the encoder is in: the one that is given, or else its own."""
    return _teacher(arguments.model, arguments.teacher, recorded_teacher(model.config))


@cache  # a folder is read in whole
def _teacher(model_name: str, given: str | None, own: str | None) -> str:
    if given is None:
        if own is None:
            raise UserError(f"{model_name} does not say whose embedding space it is in; give --teacher.")
        return own
    teacher = folder_identifier(given)
    folders = own is not None and all(is_folder_revision(split_identifier(name)[1]) for name in (teacher, own))
    if own is not None and folders and not are_one(teacher, own):
        raise UserError(
            f"--teacher {given}: the folder's content is {teacher.rpartition('@')[2]}, and {model_name}'s teacher "
            f"is {own}; give that one's folder."
        )
    return teacher


def text_tower(arguments: argparse.Namespace, model: PreTrainedModel) -> tuple[str, str | None]:
    """Name and revision of what embeds the class names."""
    if arguments.teacher is None:
        name, revision = text_tower_of(model.config)
        return name or teacher_of(arguments, model), revision
    teacher_of(arguments, model)  # of a folder: whether it is the one
    return split_identifier(arguments.teacher)


def check_teacher(arguments: argparse.Namespace, model: PreTrainedModel, dataset: Dataset) -> None:
    """Raise a [`UserError`] if a dataset's embeddings are of another teacher than the encoder's."""
    found, expected = the_teacher([origins_in_dataset(dataset)], arguments.dataset), teacher_of(arguments, model)
    if not are_one(found, expected):
        raise UserError(
            f"{arguments.dataset}: its embeddings are those of the teacher {found}, and {arguments.model} is in the "
            f"space of {expected}; embed it with that by mrd-hf embed-teacher, or say --teacher {found} if the "
            "two are one."
        )


def open_shapes(arguments: argparse.Namespace, model: PreTrainedModel) -> Shapes:
    """The split, with its classes' embeddings."""
    path = Path(arguments.dataset)
    if arguments.benchmark == "triplets":
        dataset = load_triplets(arguments.dataset, arguments.split)
        fingerprint = state_of_files(path) if path.exists() else dataset._fingerprint
        if "image_embeds" in dataset.features:
            held_out = HeldOutSet.from_dataset(dataset, arguments.class_texts, name=arguments.dataset)
            check_teacher(arguments, model, dataset)
            if (
                arguments.class_texts is None
                and (path / CLASS_TEXTS_FILE).is_file()
                and PartialState().is_main_process
            ):
                print(f"no zero-shot scores without --class-texts {path / CLASS_TEXTS_FILE}", file=sys.stderr)
            if arguments.templates is not None:
                raise UserError(
                    f"{arguments.dataset}: has cached embeddings, so --templates has nothing to embed; make class "
                    f"texts by mrd-hf embed-teacher --class-texts --class-templates {arguments.templates}, and give "
                    "them by --class-texts."
                )
            up_axis: Literal["y", "z"] = arguments.up_axis or "y"
            read = dataset_clouds(dataset)
            return Shapes(path.name, arguments.split, read, up_axis, held_out, fingerprint, None, dataset)
    else:
        fingerprint = state_of_files(path)
    benchmark = open_benchmark(
        arguments.benchmark, path, arguments.split, arguments.variant, arguments.up_axis, arguments.allow_partial
    )
    # Published embeddings are of use for encoders of the teacher that made them, if no other prompts are wanted.
    published = benchmark.class_embeddings if arguments.templates is None else None
    if published is not None and benchmark.class_teacher is not None:
        published = published if are_one(benchmark.class_teacher, teacher_of(arguments, model)) else None
    texts, templates = arguments.class_texts or published, None
    if texts is not None:
        _, embeds = read_class_texts(texts, benchmark.class_names)
    else:
        templates = arguments.templates or DEFAULT_TEMPLATES
        teacher, revision = text_tower(arguments, model)
        try:
            embeds = class_embeddings(
                benchmark.class_names, teacher, revision, templates, device=model.device, progress=True
            )
        except UserError as error:
            hint = " Give it by --teacher FOLDER." if is_folder_revision(revision) else ""
            raise UserError(f"{error}{hint}") from None
    held_out = HeldOutSet.from_benchmark(benchmark, embeds)
    return Shapes(
        benchmark.name, benchmark.split, benchmark.shapes, benchmark.up_axis, held_out, fingerprint, templates
    )


class Encoder:
    """Encodes splits, once: embeddings are kept beside the report."""

    def __init__(
        self, model: PreTrainedModel, extractor: FeatureExtractionMixin, sha256: str, arguments: argparse.Namespace
    ) -> None:
        self.model = model
        self.extractor = extractor
        self.sha256 = sha256
        self.arguments = arguments
        self.seconds = 0.0

    def __call__(self, shapes: Shapes, corruption: str | None = None) -> np.ndarray:
        """Embeddings of a split's shapes, `(num_shapes, embedding_dim)`; of every process."""
        read, title = shapes.read, f"Encoding {shapes.name} ({shapes.split})"
        if corruption is not None:
            read, title = partial(self._read_corrupted, shapes, corruption), f"{title}, {corruption}"
        ids = shapes.held_out.ids
        facts = {
            "weights": self.sha256,
            "extractor": self.extractor.to_json_string(),
            "data": f"{shapes.fingerprint}, {shapes.name}, {shapes.split}, {len(ids)} shapes, {shapes.up_axis} up",
            "corruption": "none" if corruption is None else f"{corruption}, seed {self.arguments.seed}",
        }

        def compute() -> torch.Tensor:
            started = time.perf_counter()
            embeds = encode_clouds(
                self.model, self.extractor, read, len(ids), shapes.up_axis, self.arguments.batch_size, title
            )
            self.seconds += time.perf_counter() - started
            return embeds

        return cached_embeds(self.arguments.output / "embeddings", facts, len(ids), compute).numpy()

    def leaves_alone(self, shapes: Shapes, corruption: str) -> bool:
        """Whether a corruption does nothing: colors dropped where there are none, thinned to more points than are."""
        ((points, colors),), ((new_points, new_colors),) = (
            shapes.read([0]),
            self._read_corrupted(shapes, corruption, [0]),
        )
        return np.array_equal(points, new_points) and (colors is None) == (new_colors is None)

    def _read_corrupted(self, shapes: Shapes, corruption: str, rows: list[int]) -> list:
        return [
            corrupt(corruption, points.astype(np.float32), colors, shapes.up_axis, self.arguments.seed, row)
            for row, (points, colors) in zip(rows, shapes.read(rows), strict=True)
        ]


def open_training(arguments: argparse.Namespace, model: PreTrainedModel, shapes: Shapes) -> Shapes:
    """The split that the linear probe learns from; a [`UserError`] if it has nothing to learn for `shapes`."""
    training = open_shapes(argparse.Namespace(**{**vars(arguments), "split": "train"}), model)
    if not linear_probe_is_possible(training.held_out.labels, shapes.held_out.labels):
        raise UserError(
            f"{arguments.dataset}: --linear-probe needs shapes of two classes in the split train, two of at least "
            f"one, and shapes of them in {arguments.split}; {remedy(arguments)}."
        )
    return training


def remedy(arguments: argparse.Namespace) -> str:
    """What to do about a score that the labels do not allow."""
    # Of a dataset with cached embeddings, the classes are those of the class texts.
    give = arguments.benchmark == "triplets" and arguments.class_texts is None
    return "give the classes by --class-texts, or leave it out" if give else "leave it out"


def further_scores(
    arguments: argparse.Namespace, encoder: Encoder, shapes: Shapes, training: Shapes | None, embeds: np.ndarray
) -> list[Score]:
    """Those that were asked for by flags."""
    labels, seed = shapes.held_out.labels, arguments.seed
    further: list[Score] = []
    if training is not None:
        further += linear_probe_scores(encoder(training), training.held_out.labels, embeds, labels, seed)
    if arguments.few_shot:
        further += few_shot_scores(embeds, labels, seed)
    if arguments.robustness:
        idle = [corruption for corruption in CORRUPTIONS if encoder.leaves_alone(shapes, corruption.name)]
        if idle and PartialState().is_main_process:
            names = ", ".join(corruption.name for corruption in idle)
            print(f"--robustness: without effect on these shapes, so without a row: {names}", file=sys.stderr)
        for corruption in CORRUPTIONS:
            if corruption in idle:
                continue
            corrupted = evaluate_held_out(encoder(shapes, corruption.name), shapes.held_out, seed)
            further += [under_corruption(score, corruption) for score in corrupted if score.key in ROBUSTNESS_KEYS]
    return further


def draw(arguments: argparse.Namespace, shapes: Shapes, embeds: np.ndarray, report: EvaluationReport) -> None:
    """The pictures beside the report."""
    out, held_out = arguments.output, shapes.held_out
    write_interval_bars(out / "scores.png", [report.as_dict()])
    if arguments.robustness:
        write_robustness_bars(out / "robustness.png", [report.as_dict()])
    if len(held_out.labeled) and held_out.class_names:
        result = classify_labeled(embeds, held_out)
        write_confusion_matrix(out / "confusion.png", result.confusion, held_out.class_names)
        if shapes.dataset is not None:
            write_contact_sheet(out / "contact_sheet.png", shapes.dataset, embeds, held_out)
    if arguments.map:
        modalities = {"3D": embeds, "image": held_out.image_embeds, "text": held_out.name_embeds}
        write_embedding_map(
            out / "map.html",
            shapes.read,
            {name: values for name, values in modalities.items() if values is not None},
            held_out.ids,
            held_out.names,
            held_out.labels,
            held_out.class_names,
            held_out.class_embeds if held_out.class_names else None,
            dataset_pictures(shapes.dataset) if shapes.dataset is not None else None,
            shapes.up_axis,
            title=f"{arguments.model} on {shapes.name} ({shapes.split})",
            seed=arguments.seed,
        )


def evaluate(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    # Accelerate's own launcher, and what it is told by the environment; its state alone does not ask for that.
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    if state.device.type == "cpu":
        set_cpu_threads(None)
    loaded = load_encoder(arguments.model, device=state.device)
    model, extractor = loaded.model, loaded.extractor
    shapes = open_shapes(arguments, model)
    width, expected = model.config.embedding_dim, shapes.held_out.embedding_dim
    if expected is not None and width != expected:
        raise UserError(
            f"{arguments.model} embeds into width {width}, the teacher of {arguments.dataset} into {expected}; "
            f"embed the dataset with the encoder's own teacher, {model.config.teacher_id} (mrd-hf embed-teacher)."
        )
    # Whatever can be wrong with the data is found before the encoding.
    training = open_training(arguments, model, shapes) if arguments.linear_probe else None
    if arguments.robustness and shapes.held_out.image_embeds is None and not len(shapes.held_out.labeled):
        raise UserError(
            f"{arguments.dataset}: has no images, so --robustness has nothing to compare; {remedy(arguments)}."
        )
    if arguments.few_shot and not few_shot_settings(shapes.held_out.labels):
        raise UserError(
            f"{arguments.dataset}: has too few shapes a class for --few-shot, which needs five classes of two shapes "
            f"in {arguments.split}; {remedy(arguments)}."
        )
    encoder = Encoder(model, extractor, weights_sha256(model), arguments)
    if not arguments.overwrite:
        check_replaceable(arguments.output, encoder.sha256, shapes.name, shapes.split)
    embeds = encoder(shapes)
    scores = evaluate_held_out(embeds, shapes.held_out, arguments.seed)
    scores += further_scores(arguments, encoder, shapes, training, embeds)
    state.destroy_process_group()
    if not state.is_main_process:
        return
    report = EvaluationReport(
        model=arguments.model,
        model_sha256=encoder.sha256,
        benchmark=shapes.name,
        split=shapes.split,
        ids=shapes.held_out.ids,
        labels=shapes.held_out.labels,
        num_classes=len(shapes.held_out.class_names),
        teacher=folder_identifier(arguments.teacher) if arguments.teacher else str(model.config.teacher_id),
        templates=shapes.templates,
        seed=arguments.seed,
        scores=scores,
    )
    report.save(arguments.output)
    draw(arguments, shapes, embeds, report)
    print(format_table(report.as_dict()["metrics"]))
    if arguments.write_card:
        write_results(Path(arguments.model) / "README.md", report.as_dict(), arguments.output / "scores.png")
        print(f"the card has the results now: {Path(arguments.model) / 'README.md'}")
    print(f"report, pictures and embeddings: {arguments.output}")
    took = time.perf_counter() - started
    print(f"{took:.1f} s, of which encoding {encoder.seconds:.1f} s", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    check_writable(arguments.output)
    if arguments.compare is not None:
        comparisons = compare_evaluations(arguments.compare[0], arguments.compare[1], arguments.seed)
        arguments.output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(comparisons_as_dict(comparisons), indent=2) + "\n"
        file = arguments.output / "comparison.json"
        if file.exists() and file.read_text() != text:
            check_vacant(file, arguments.overwrite)
        file.write_text(text)
        print(f"first: {arguments.compare[0]}\nsecond: {arguments.compare[1]}\n{format_comparison(comparisons)}")
        return
    evaluate(arguments)


if __name__ == "__main__":
    from mrd_hf_cli.running import run_script

    run_script(main)
