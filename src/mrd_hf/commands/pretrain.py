r"""Pretrain an encoder, PointBERT if not said otherwise, by Multi-modal Relation Distillation.

    mrd-hf pretrain --config demo
    accelerate launch --quiet -m mrd_hf.commands.pretrain --config demo

With --quiet the launcher adds no traceback of its own to a message. Several GPUs or nodes: --config_file and one of
training/recipes/accelerate before -m. On two CPU processes (accelerate's own --cpu starts one):

    ACCELERATE_USE_CPU=true accelerate launch --config_file scripts/recipes/accelerate/ddp.yaml --num_processes 2 \
        scripts/pretrain.py --config demo
"""

import dataclasses
import importlib.util
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, set_seed
from datasets import Dataset, DatasetDict
from safetensors.torch import save_file

from .. import PointCloudFeatureExtractor
from ..data.embedding.cached_teacher import check_class_texts_are_of, check_same_teacher
from ..data.embedding.teacher_embedding import embed_dataset
from ..data.loaders.augmentation import AugmentationConfig
from ..data.loaders.choices import ChoiceConfig
from ..data.loaders.hard_negatives import NEIGHBORS, NEIGHBORS_FILE
from ..data.loaders.triplet_dataset import TripletDataset
from ..data.loaders.triplet_shards import parquet_files
from ..data.loading import load_all_splits, pick_split
from ..encoder import trained_up_axis
from ..errors import UserError, is_first_process
from ..evaluation.during_training import HeldOutEvaluation
from ..evaluation.held_out import HeldOutSet
from ..evaluation.plots.interval_plot import write_interval_bars
from ..evaluation.report import metrics_table
from ..files.run_lock import check_not_running, only_run
from ..hub.card_license import license_fields
from ..hub.model_card import card_title, on_hub
from ..hub.pushing import check_login, push_folder
from ..teacher import Teacher
from ..training.arguments import DataArguments, as_recipe, parse_arguments
from ..training.checkpoints import check_output_dir, list_checkpoints, prepare_output_dir, step_of
from ..training.distributed import set_cpu_threads, start_accelerator
from ..training.export import count_licenses, export_encoder, last_losses
from ..training.loop.courses import abandon_others
from ..training.loop.freed_memory import keep_freed_memory
from ..training.loop.resumed_arguments import check_resumed, keep_arguments
from ..training.loop.run_arguments import RunArguments
from ..training.loop.stopping import Ending
from ..training.model_building import build_model
from ..training.pretraining import LOG_FILE, Pretraining
from ..training.recipe_files import parse_config, parse_mapping
from ..training.tracking import start_trackers
from ..training.training_data import check_hard_negatives, check_points, find_neighbors, open_training_shapes
from ..training.training_log import plot_log, read_log
from .termination import TERMINATED, tell_early_end


def open_output_dir(
    accelerator: Accelerator, output_dir: Path, training: RunArguments, until: ExitStack
) -> Path | None:
    """Prepare the run's folder, which no other run has until `until` ends.

    Returns:
        The checkpoint to resume from, which all processes have from the main one.
    """
    chosen: list[Path | None] = [None]
    if accelerator.is_main_process:
        resume = training.resume_from_checkpoint
        output_dir.mkdir(parents=True, exist_ok=True)
        until.enter_context(only_run(output_dir))
        chosen = [prepare_output_dir(output_dir, resume, training.overwrite_output_dir)]
        if resume is not None and chosen == [None]:
            print(f"note: no checkpoint in {output_dir} yet; training starts from the beginning.", file=sys.stderr)
    return broadcast_object_list(chosen)[0]


def open_held_out(
    data: DataArguments, splits: DatasetDict | None, teacher: Teacher | None, teacher_id: str, batch_size: int
) -> Dataset:
    """The split to evaluate on, embedded by the teacher that the run is of."""
    split = str(data.eval_split)
    if splits is None:
        # Of this split alone: to load the dataset is to make a copy of all of it.
        dataset = Dataset.from_parquet(parquet_files(data.dataset, split))
    else:
        dataset = pick_split(splits, data.dataset, split)
    if teacher is not None:
        return embed_dataset(dataset, teacher, batch_size, data.dataset)
    check_same_teacher(dataset, teacher_id, f"{data.dataset} ({split})")
    return dataset


def check_trackers(trackers: Sequence[str]) -> None:
    """Raise a [`UserError`] if one is not installed."""
    for tracker in trackers:
        if importlib.util.find_spec(tracker) is None:
            package = "wandb" if tracker == "wandb" else "'mrd-hf[tracking]'"
            raise UserError(f"report_to: {tracker} is not installed; pip install {package}.")


def main(argv: Sequence[str] | None = None) -> None:
    """Train an encoder, evaluate it, and write and upload what came of it, as the options say."""
    with ExitStack() as until:
        _pretrain(list(sys.argv[1:] if argv is None else argv), until)


def _pretrain(argv: list[str], until: ExitStack) -> None:
    data, model_arguments, training = parse_arguments(argv)
    if training.eval_steps is not None and data.eval_split is None:
        raise UserError("eval_steps is of the evaluation on eval_split, and none is given; give it, e.g. test.")
    groups = (data, model_arguments, training)
    told = {k: v for group in groups for k, v in dataclasses.asdict(group).items()}
    check_trackers(training.report_to)
    if training.push_to_hub:
        check_login()
    output_dir = Path(training.output_dir)
    if is_first_process():
        check_not_running(output_dir)
        check_output_dir(output_dir, training.resume_from_checkpoint, training.overwrite_output_dir)
    accelerator = start_accelerator(training.mixed_precision, output_dir)
    told["num_processes"] = accelerator.num_processes  # a launcher says it, and the course depends on it

    if accelerator.device.type == "cpu":
        set_cpu_threads(training.cpu_threads)
        keep_freed_memory()

    # Whatever can be wrong with the input is found before anything is written.
    augmentation = AugmentationConfig(**parse_config(data.augmentation, "augmentation", AugmentationConfig))
    choice = ChoiceConfig(
        parse_mapping(data.text_weights, "text_weights"),
        parse_mapping(data.first_image_probability, "first_image_probability"),
    )
    splits = None if data.streaming else load_all_splits(data.dataset)
    triplets = open_training_shapes(data, splits, choice, training.seed, cached=model_arguments.teacher is None)
    num_neighbors = max(NEIGHBORS, training.hard_negatives or 0)
    if training.hard_negatives is not None:
        check_hard_negatives(triplets, num_neighbors)
    teacher = None
    if model_arguments.teacher is not None:
        name, revision = model_arguments.teacher, model_arguments.teacher_revision
        teacher = Teacher.from_pretrained(name, revision, device=accelerator.device)
        embedding_dim, teacher_id, logit_scale = teacher.embedding_dim, teacher.identifier, teacher.logit_scale
    else:
        embedding_dim, teacher_id, logit_scale = triplets.embedding_dim, str(triplets.teacher), None
    set_seed(training.seed)
    model = build_model(model_arguments, embedding_dim, teacher_id, logit_scale)
    licensed = license_fields(model_arguments.encoder)
    check_points(data, triplets, model.encoder.config.min_points)
    extractor = PointCloudFeatureExtractor(
        num_points=data.num_points or triplets.num_points,
        default_color=augmentation.default_color,
        encoder_up_axis="y" if model_arguments.encoder is None else trained_up_axis(model_arguments.encoder),
    )
    evaluation = None
    if data.eval_split is not None:
        dataset = open_held_out(data, splits, teacher, teacher_id, training.per_device_batch_size)
        if data.class_texts is not None:
            check_class_texts_are_of(data.class_texts, "those of the dataset", teacher_id)
        held_out = HeldOutSet.from_dataset(dataset, data.class_texts, name=data.dataset)
        evaluation = HeldOutEvaluation(dataset, held_out, extractor, training.seed)
    run = Pretraining(
        model,
        triplets,
        training,
        accelerator,
        augmentation,
        num_points=extractor.num_points,
        num_workers=data.num_workers,
        prefetch_factor=data.prefetch_factor,
        teacher=teacher,
        evaluate=evaluation,
        up_axis=extractor.encoder_up_axis,
    )

    checkpoint = open_output_dir(accelerator, output_dir, training, until)
    new_course = False
    if checkpoint is not None:
        changed = check_resumed(checkpoint, told, tell=accelerator.is_main_process)
        run.resume(checkpoint)
        new_course = changed and any(step_of(later) > run.step for later in list_checkpoints(output_dir))
    if accelerator.is_main_process:
        keep_arguments(output_dir, told)
    if training.hard_negatives is not None and isinstance(triplets, TripletDataset):
        run.neighbors = find_neighbors(accelerator, triplets, num_neighbors, output_dir / NEIGHBORS_FILE)
    if training.report_to and accelerator.is_main_process:
        # In the place of init_trackers, which calls a project, a run and a folder by one name.
        resumed_at = run.step if checkpoint is not None else None
        names = (training.project, training.run_name)
        log_file = output_dir / LOG_FILE
        accelerator.trackers = start_trackers(
            training.report_to, output_dir, log_file, *names, resumed_at, told, new_course
        )
    if checkpoint is not None:
        abandon_others(accelerator, output_dir, checkpoint)
    result = run.run()
    # The wrapped model must go before the process group that it holds on to, or its end can hang on gloo's threads.
    del run
    accelerator.free_memory()
    accelerator.end_training()
    if accelerator.is_main_process and result.ending is not Ending.LAST_STEP:
        tell_early_end(result.ending is Ending.SIGTERM, result.steps, training.num_train_steps)
    if result.ending is Ending.SIGTERM:
        sys.exit(TERMINATED)
    if not accelerator.is_main_process:
        return

    # As it will be typed; the repository, where it goes to one.
    name = training.hub_model_id or str(output_dir / "encoder")
    title = training.hub_model_id or card_title(name)
    report, picture = None, None
    if evaluation is not None and evaluation.embeds is not None and data.eval_split is not None:
        (output_dir / "evaluation").mkdir(exist_ok=True)
        save_file({"point_embeds": evaluation.embeds}, output_dir / "evaluation" / "point_embeds.safetensors")
        benchmark = data.dataset if on_hub(data.dataset) else Path(data.dataset).name
        evaluated = evaluation.report(result.model, title, benchmark, data.eval_split)
        evaluated.save(output_dir / "evaluation")
        report, picture = evaluated.as_dict(), output_dir / "evaluation" / "scores.png"
        write_interval_bars(picture, [report])
    log = read_log(output_dir / LOG_FILE)
    if log:  # as it is not where another run's last checkpoint is only exported
        plot_log(log, output_dir / "training_curves.png")
    export_encoder(
        result.model,
        extractor,
        output_dir / "encoder",
        facts={
            "name": name,
            "title": title,
            "dataset": data.dataset,
            "encoder": model_arguments.encoder,
            "licensed": licensed,
            "train_split": data.train_split,
            "num_shapes": len(triplets),
            "steps": result.steps,
            "global_batch_size": training.per_device_batch_size * accelerator.num_processes,
            "num_processes": accelerator.num_processes,
            "mixed_precision": training.mixed_precision,
            "minutes": f"{result.seconds / 60:.1f}",
            "train_loss": f"{result.metrics['train_loss']:.4f}",
            "losses": last_losses(log),
            # A stream's are known only to those who have read all of it.
            "licenses": {} if splits is None else count_licenses(splits[data.train_split]),
            "changed_arguments": as_recipe(groups, only_changed=True),
            "arguments": as_recipe(groups),
        },
        report=report,
        picture=picture,
        teacher=teacher,
    )
    if report is not None:
        print(metrics_table(report["metrics"]))
    print(
        f"final training loss {result.metrics['train_loss']:.4f} after {result.seconds:.0f} s; the encoder is in "
        f"{output_dir / 'encoder'}"
    )
    if training.push_to_hub and training.hub_model_id is not None:
        push = push_folder(
            output_dir / "encoder",
            training.hub_model_id,
            private=training.hub_private,
            revision=training.hub_revision,
            create_pr=training.hub_create_pr,
        )
        print(push.summary())


if __name__ == "__main__":
    from mrd_hf_cli.running import run_script

    run_script(main)
