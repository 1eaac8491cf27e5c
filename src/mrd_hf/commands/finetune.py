r"""Fine-tune PointBERT on labels, and report what it learned as `mrd-hf evaluate` reports.

    mrd-hf finetune --model outputs/demo/encoder --dataset my_shapes --output-dir outputs/classes
    mrd-hf finetune --config modelnet40-93.8 --model org/encoder --dataset ModelNet40 --output-dir outputs/modelnet40
    mrd-hf finetune --config shapenetpart-85.6 --model org/encoder --dataset ShapeNetPart --output-dir outputs/parts

Several GPUs: accelerate launch -m mrd_hf.commands.finetune ...
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from accelerate.utils import set_seed
from transformers import PreTrainedModel

from ..data.loaders.augmentation import AugmentationConfig
from ..encoder import config_sha256, weights_sha256
from ..errors import UserError, is_first_process
from ..evaluation.benchmarks.benchmark import Benchmark
from ..evaluation.benchmarks.opening import BENCHMARKS, open_benchmark
from ..evaluation.benchmarks.shapenet_part import PartBenchmark, open_shapenet_part
from ..evaluation.fine_tuned_scores import classification_scores, part_scores
from ..evaluation.plots.confusion_plot import write_confusion_matrix
from ..evaluation.plots.interval_plot import write_interval_bars
from ..evaluation.report import EvaluationReport, Score, as_metrics, report_table
from ..evaluation.scores.part_iou import most_frequent_parts
from ..files.atomic_folder import atomic_folder
from ..files.run_lock import check_not_running
from ..hub.card_license import license_fields
from ..hub.finetuned_card import write_finetuned_card
from ..hub.model_card import card_title, write_results
from ..models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from ..models.modeling_point_bert_parts import PointBertForPartSegmentation
from ..models.shapes import ColoredPoints
from ..training.arguments import as_recipe
from ..training.checkpoints import check_output_dir
from ..training.distributed import set_cpu_threads, start_accelerator
from ..training.finetuning.arguments import (
    AUGMENTATION,
    FinetuningArguments,
    LabeledDataArguments,
    parse_finetuning,
)
from ..training.finetuning.finetuning import Finetuning
from ..training.finetuning.labeled_clouds import LabeledClouds, prepare_clouds
from ..training.finetuning.learned_labels import LearnedLabels
from ..training.finetuning.network_building import Network, build_network
from ..training.finetuning.prediction import class_probabilities, part_predictions
from ..training.loop.courses import abandon_others
from ..training.loop.freed_memory import keep_freed_memory
from ..training.loop.resumed_arguments import check_resumed, keep_arguments
from ..training.loop.stopping import Ending
from ..training.recipe_files import parse_config
from .pretrain import open_output_dir
from .termination import TERMINATED, tell_early_end


SHAPENET_PART = "shapenetpart"
parse_arguments = parse_finetuning
AnyBenchmark = Benchmark | PartBenchmark


def open_split(data: LabeledDataArguments, split: str) -> AnyBenchmark:
    """A split of the data, of shapes with classes or of objects with parts."""
    if data.benchmark == SHAPENET_PART:
        if data.variant is not None:
            raise UserError(f"{SHAPENET_PART} has no variants, so no '{data.variant}'; only scanobjectnn has.")
        return open_shapenet_part(data.dataset, split, data.allow_partial)
    if data.benchmark not in BENCHMARKS:
        raise UserError(
            f"benchmark: there is no '{data.benchmark}'; known are {', '.join([*BENCHMARKS, SHAPENET_PART])}."
        )
    up_axis = data.up_axis if data.up_axis in ("y", "z") else None
    return open_benchmark(data.benchmark, data.dataset, split, data.variant, up_axis, data.allow_partial)  # type: ignore[arg-type]


def read_split(
    benchmark: AnyBenchmark, extractor: PointCloudFeatureExtractor, up_axis: str | None, progress: bool
) -> LabeledClouds:
    """All shapes of a split in memory."""

    def shapes() -> Iterator[tuple[ColoredPoints, np.ndarray | None]]:
        for row in range(len(benchmark)):
            if isinstance(benchmark, PartBenchmark):
                points = benchmark.read(row)
                yield ColoredPoints(points.xyz, None), points.parts
            else:
                yield benchmark.shapes([row])[0], None

    up = benchmark.up_axis if isinstance(benchmark, Benchmark) else "z" if up_axis == "z" else "y"
    title = f"reading {benchmark.split}" if progress else None
    return prepare_clouds(
        shapes(), benchmark.ids, benchmark.labels, extractor, up, extractor.num_points, progress=title
    )


class Scoring:
    """Scores of a network on the held-out split.

    Args:
        benchmark (`Benchmark` or `PartBenchmark`), clouds ([`LabeledClouds`]): Of that split.
        training ([`LabeledClouds`]): What was learned from, whose most frequent labels are the guess to compare with.
        num_points (`int`)
        arguments ([`FinetuningArguments`])
    """

    def __init__(
        self,
        benchmark: AnyBenchmark,
        clouds: LabeledClouds,
        training: LabeledClouds,
        num_points: int,
        arguments: FinetuningArguments,
    ) -> None:
        self.benchmark = benchmark
        self.clouds = clouds
        self.training = training
        self.place = (num_points, arguments.per_device_batch_size)
        self.seed = arguments.seed
        self.confusion: np.ndarray | None = None

    def __call__(self, model: PreTrainedModel) -> dict[str, float]:
        """As a tracker has them, while training runs."""
        return {key: value for key, value in as_metrics(self.scores(model)).items() if "/" not in key}

    def scores(self, model: PreTrainedModel, votes: int = 1) -> list[Score]:
        """Of each shape as it is, or of the mean over several versions."""
        labels = self.benchmark.labels
        if isinstance(model, PointBertForPartSegmentation) and isinstance(self.benchmark, PartBenchmark):
            predicted, true = part_predictions(model, self.clouds, *self.place, votes, self.seed)
            frequent = most_frequent_parts(self.training.parts or [], self.training.labels)
            parts, names = list(self.benchmark.object_parts.values()), self.benchmark.class_names
            return part_scores(list(predicted), list(true), labels, parts, names, frequent, self.seed, votes)
        probabilities = class_probabilities(model, self.clouds, *self.place, votes, self.seed)
        count = probabilities.shape[1]
        pairs = np.bincount(labels * count + probabilities.argmax(axis=1), minlength=count**2)
        self.confusion = pairs.reshape(count, count)
        return classification_scores(probabilities, labels, self.training.labels, self.seed, votes)

    def report(self, model: PreTrainedModel, name: str, votes: int) -> EvaluationReport:
        """The scores as they are, and those by votes if there are to be several."""
        scores = self.scores(model, votes) if votes > 1 else []
        return EvaluationReport(
            model=name,
            model_sha256=weights_sha256(model),
            config_sha256=config_sha256(model.config),
            benchmark=self.benchmark.name,
            split=self.benchmark.split,
            ids=self.benchmark.ids,
            labels=self.benchmark.labels,
            num_classes=len(self.benchmark.class_names),
            teacher=model.config.teacher_id,
            templates=None,
            seed=self.seed,
            scores=[*self.scores(model), *scores],
            is_part=self.benchmark.is_part,
        )

    def save(self, folder: Path, report: EvaluationReport) -> None:
        """Write the report and its pictures."""
        folder.mkdir(exist_ok=True)
        report.save(folder)
        write_interval_bars(folder / "scores.png", [report.as_dict()])
        if self.confusion is not None:
            write_confusion_matrix(folder / "confusion.png", self.confusion, self.benchmark.class_names)


def export(
    model: Network, extractor: PointCloudFeatureExtractor, output_dir: Path, report: EvaluationReport, facts: dict
) -> Path:
    """Write the folder for `from_pretrained`, with a card; it is complete or not there."""
    folder = output_dir / "model"
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary)
        extractor.save_pretrained(temporary)
        write_finetuned_card(
            temporary,
            name=str(folder),
            title=card_title(str(output_dir)),
            parts=isinstance(model, PointBertForPartSegmentation),
            parameters=f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}M",
            num_points=extractor.num_points,
            num_labels=model.num_labels,
            **facts,
        )
        write_results(temporary / "README.md", report.as_dict(), output_dir / "evaluation" / "scores.png")
    return folder


def main(argv: Sequence[str] | None = None) -> None:
    """Fine-tune a network, and report and write what came of it, as the options say."""
    with ExitStack() as until:
        _finetune(list(sys.argv[1:] if argv is None else argv), until)


def _finetune(argv: list[str], until: ExitStack) -> None:
    groups = parse_finetuning(argv)
    data, model_arguments, training = groups
    output_dir = Path(training.output_dir)
    if is_first_process():
        check_not_running(output_dir)
        check_output_dir(output_dir, training.resume_from_checkpoint, training.overwrite_output_dir)
    accelerator = start_accelerator(training.mixed_precision, output_dir)
    if accelerator.device.type == "cpu":
        set_cpu_threads(training.cpu_threads)
        keep_freed_memory()
    # Whatever can be wrong with the input is found before anything is written.
    changes = parse_config(data.augmentation, "augmentation", AugmentationConfig)
    augmentation = AugmentationConfig(**AUGMENTATION | changes)
    learned, held_out = open_split(data, data.train_split), open_split(data, data.eval_split)
    if learned.class_names != held_out.class_names:
        raise UserError(f"{data.dataset}: the splits {data.train_split} and {data.eval_split} have other classes.")
    parts = isinstance(learned, PartBenchmark)
    set_seed(training.seed)
    names = learned.part_names if isinstance(learned, PartBenchmark) else learned.class_names
    object_parts = learned.object_parts if isinstance(learned, PartBenchmark) else None
    labels = LearnedLabels.of(names, object_parts, learned.ids, learned.labels)
    model, extractor = build_network(model_arguments, names, object_parts, data.num_points)
    # The grey of a shape without colours is one, in training and after it: the encoder's, unless another one is told.
    extractor.default_color = changes.get("default_color", extractor.default_color)
    augmentation = dataclasses.replace(augmentation, default_color=extractor.default_color)
    licensed = license_fields(model_arguments.model)
    clouds = read_split(learned, extractor, data.up_axis, accelerator.is_main_process)
    if parts:
        model.config.part_colors = clouds.have_colors
    tests = read_split(held_out, extractor, data.up_axis, accelerator.is_main_process)
    scoring = Scoring(held_out, tests, clouds, extractor.num_points, training)
    run = Finetuning(model, clouds, training, accelerator, augmentation, extractor.num_points, scoring)

    checkpoint = open_output_dir(accelerator, output_dir, training, until)
    told = {k: v for group in groups for k, v in dataclasses.asdict(group).items()}
    told["num_processes"] = accelerator.num_processes  # a launcher says it, and the course depends on it
    if checkpoint is not None:
        labels.check_resumed(checkpoint)
        check_resumed(checkpoint, told, tell=accelerator.is_main_process)
        run.resume(checkpoint)
    if accelerator.is_main_process:
        keep_arguments(output_dir, told)  # first: it makes the folder a run's
        labels.save(output_dir)
    if checkpoint is not None:
        abandon_others(accelerator, output_dir, checkpoint)
    result = run.run()
    # The wrapped model must go before the process group that it holds on to.
    del run
    accelerator.free_memory()
    accelerator.end_training()
    if accelerator.is_main_process and result.ending is not Ending.LAST_STEP:
        tell_early_end(result.ending is Ending.SIGTERM, result.steps, training.num_train_steps)
    if result.ending is Ending.SIGTERM:
        sys.exit(TERMINATED)
    if not accelerator.is_main_process:
        return
    report = scoring.report(result.model, str(output_dir / "model"), training.votes)
    scoring.save(output_dir / "evaluation", report)
    folder = export(
        result.model,
        extractor,
        output_dir,
        report,
        {
            "dataset": data.dataset,
            "train_split": data.train_split,
            "num_shapes": len(clouds),
            "encoder": model_arguments.model,
            "licensed": licensed,
            "steps": result.steps,
            "global_batch_size": training.per_device_batch_size * accelerator.num_processes,
            "train_loss": f"{result.train_loss:.4f}",
            "arguments": as_recipe(groups, only_changed=True),
        },
    )
    print(report_table(report.as_dict()))
    what = "parts" if parts else "classes"
    print(f"final training loss {result.train_loss:.4f}; the network that says {what} is in {folder}")


if __name__ == "__main__":
    from mrd_hf_cli.running import run_script

    run_script(main)
