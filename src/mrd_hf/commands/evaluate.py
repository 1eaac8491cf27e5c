r"""Score an encoder on a benchmark: one command, one table, one report that repeats to the last digit.

    mrd-hf evaluate --model outputs/demo/encoder --dataset scripts/demo_data \
        --class-texts scripts/demo_data/class_texts.parquet --output outputs/demo/evaluation
    mrd-hf evaluate --model org/encoder --benchmark modelnet40 --dataset ModelNet40 --linear-probe --robustness \
        --output outputs/modelnet40
    mrd-hf evaluate --compare outputs/a/evaluation outputs/b/evaluation --output outputs/a_against_b

On several devices, or CPU processes (ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2), put accelerate's or torch's
launcher in front: they share the shapes out, and the figures stay the same.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from transformers import PreTrainedModel

from ..encoder import load_encoder, weights_sha256
from ..errors import UserError
from ..evaluation.benchmarks.opening import BENCHMARKS
from ..evaluation.classes.prompt_templates import TEMPLATES
from ..evaluation.comparison import compare_evaluations, comparisons_as_dict, format_comparison
from ..evaluation.held_out import evaluate_held_out
from ..evaluation.plots.embedding_map import LEAST_EMBEDDINGS
from ..evaluation.plots.report_pictures import draw_report
from ..evaluation.report import EvaluationReport, check_replaceable, report_table
from ..evaluation.robustness import robustness_scores
from ..evaluation.scored_shapes import DEFAULT_TEMPLATES, ShapeOptions, Shapes, open_shapes
from ..evaluation.scoring import few_shot_scores, few_shot_settings, linear_probe_is_possible, linear_probe_scores
from ..evaluation.split_encoder import SplitEncoder
from ..files.atomic_file import atomic_file, check_vacant
from ..files.atomic_folder import check_writable
from ..hub.model_card import write_results
from ..models.left_out_parts import PartChoice
from ..teacher import folder_identifier
from ..training.distributed import set_cpu_threads
from .arguments import CommandParser, positive


# What --compare has no use for.
NOT_COMPARED = ["model", "dataset", "class_texts", "teacher", "templates"]
NOT_COMPARED += ["linear_probe", "few_shot", "robustness", "map", "write_card"]


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
    data.add_argument(
        "--up-axis",
        choices=["y", "z"],
        help="which axis is up in its files (default: what each file declares, otherwise y)",
    )
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
    parser.add_argument(
        "--cpu-threads",
        type=positive,
        metavar="N",
        help="threads on CPUs (default: this process's share of the cores)",
    )
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


def open_training(
    arguments: argparse.Namespace, options: ShapeOptions, model: PreTrainedModel, shapes: Shapes, choice: PartChoice
) -> Shapes:
    """The split that the linear probe learns from; a [`UserError`] if it has nothing to learn for `shapes`."""
    of_training = replace(options, split="train")
    training = open_shapes(of_training, arguments.model, model, shapes.splits, choice, labels_only=True)
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


def evaluate(arguments: argparse.Namespace) -> None:
    """Score an encoder, and write the report, its pictures and the embeddings."""
    started = time.perf_counter()
    # Accelerate's own launcher, and what it is told by the environment; its state alone does not ask for that.
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    if state.device.type == "cpu":
        set_cpu_threads(arguments.cpu_threads)
    loaded = load_encoder(arguments.model, device=state.device)
    model, extractor = loaded.model, loaded.extractor
    options = ShapeOptions(**{field.name: getattr(arguments, field.name) for field in fields(ShapeOptions)})
    choice = PartChoice(extractor.keep_collision, extractor.skip_parts)  # so that files are read as everywhere
    shapes = open_shapes(options, arguments.model, model, choice=choice)
    width, expected = model.config.embedding_dim, shapes.held_out.embedding_dim
    if expected is not None and width != expected:
        raise UserError(
            f"{arguments.model} embeds into width {width}, the teacher of {arguments.dataset} into {expected}; "
            f"embed the dataset with the encoder's own teacher, {model.config.teacher_id} (mrd-hf embed-teacher)."
        )
    # Whatever can be wrong with the data is found before the encoding.
    training = open_training(arguments, options, model, shapes, choice) if arguments.linear_probe else None
    if arguments.robustness and shapes.held_out.image_embeds is None and not len(shapes.held_out.labeled):
        raise UserError(
            f"{arguments.dataset}: has no images, so --robustness has nothing to compare; {remedy(arguments)}."
        )
    if arguments.few_shot and not few_shot_settings(shapes.held_out.labels):
        raise UserError(
            f"{arguments.dataset}: has too few shapes a class for --few-shot, which needs five classes of two shapes "
            f"in {arguments.split}; {remedy(arguments)}."
        )
    if arguments.map and shapes.held_out.num_embeddings < LEAST_EMBEDDINGS:
        raise UserError(
            f"{arguments.dataset}: has {len(shapes.held_out)} shapes in {arguments.split}, and --map needs "
            "three embeddings or more; leave it out."
        )
    folder = arguments.output / "embeddings"
    encoder = SplitEncoder(model, extractor, weights_sha256(model), folder, arguments.batch_size)
    if not arguments.overwrite:
        check_replaceable(
            arguments.output,
            encoder.sha256,
            encoder.config_sha256,
            shapes.name,
            shapes.split,
            shapes.held_out.ids,
        )
    embeds = encoder(shapes)
    scores = evaluate_held_out(embeds, shapes.held_out, arguments.seed)
    if training is not None:
        labels = training.held_out.labels
        scores += linear_probe_scores(encoder(training), labels, embeds, shapes.held_out.labels, arguments.seed)
    if arguments.few_shot:
        scores += few_shot_scores(embeds, shapes.held_out.labels, arguments.seed)
    if arguments.robustness:
        scores += robustness_scores(encoder, shapes, arguments.seed)
    state.destroy_process_group()
    if not state.is_main_process:
        return
    report = EvaluationReport(
        model=arguments.model,
        model_sha256=encoder.sha256,
        config_sha256=encoder.config_sha256,
        benchmark=shapes.name,
        split=shapes.split,
        ids=shapes.held_out.ids,
        labels=shapes.held_out.labels,
        num_classes=len(shapes.held_out.class_names),
        teacher=folder_identifier(arguments.teacher) if arguments.teacher else model.config.teacher_id,
        templates=shapes.templates,
        seed=arguments.seed,
        scores=scores,
        is_part=shapes.is_part,
    )
    report.save(arguments.output)
    draw_report(arguments.output, shapes, embeds, report, arguments.robustness, arguments.map)
    print(report_table(report.as_dict()))
    if arguments.write_card:
        write_results(Path(arguments.model) / "README.md", report.as_dict(), arguments.output / "scores.png")
        print(f"the card has the results now: {Path(arguments.model) / 'README.md'}")
    print(f"report, pictures and embeddings: {arguments.output}")
    took = time.perf_counter() - started
    print(f"{took:.1f} s, of which encoding {encoder.seconds:.1f} s", file=sys.stderr)


def compare(arguments: argparse.Namespace) -> None:
    """Compare two evaluations, and write what was found."""
    first, second = arguments.compare
    comparisons = compare_evaluations(first, second, arguments.seed)
    arguments.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(comparisons_as_dict(comparisons), indent=2) + "\n"
    file = arguments.output / "comparison.json"
    if file.exists() and file.read_text() != text:
        check_vacant(file, arguments.overwrite)
    with atomic_file(file) as sink:
        sink.write(text.encode())
    print(f"first: {first}\nsecond: {second}\n{format_comparison(comparisons)}")


def main(argv: Sequence[str] | None = None) -> None:
    """Score an encoder or compare two evaluations, as the options say."""
    arguments = parse_arguments(argv)
    check_writable(arguments.output)
    if arguments.compare is None:
        evaluate(arguments)
    else:
        compare(arguments)


if __name__ == "__main__":
    from mrd_hf_cli.running import run_script

    run_script(main)
