"""The shapes of a split, of a triplet dataset or a benchmark, and what their embeddings are scored against."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from accelerate import PartialState
from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel

from ..data.class_texts import CLASS_TEXTS_FILE, read_class_texts, readable
from ..data.embedding.cached_teacher import are_one, check_class_texts_are_of
from ..data.loading import load_all_splits, pick_split
from ..encoder import recorded_teacher
from ..errors import UserError
from ..files.digests import state_of_files
from ..models.left_out_parts import SEEN, PartChoice
from ..models.teacher_folder import is_folder_revision
from .benchmarks.benchmark import Benchmark
from .benchmarks.opening import open_benchmark
from .benchmarks.triplets import labeled_triplets
from .classes.class_embeddings import class_embeddings
from .embedding_space import check_embeddings_are_of, teacher_of, text_tower
from .encoding import CloudReader, dataset_clouds
from .held_out import HeldOutSet


DEFAULT_TEMPLATES = "openshape64"


@dataclass(frozen=True)
class ShapeOptions:
    """Which shapes are scored, and against which classes, as `mrd-hf evaluate` has it on its command line."""

    dataset: str
    benchmark: str = "triplets"
    split: str = "test"
    variant: str | None = None
    up_axis: Literal["y", "z"] | None = None
    allow_partial: bool = False
    class_texts: str | None = None
    teacher: str | None = None
    templates: str | None = None


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
    splits: DatasetDict | None = None  # of triplets
    is_part: bool = False  # of a published benchmark


def open_shapes(
    options: ShapeOptions,
    model_name: str,
    model: PreTrainedModel,
    splits: DatasetDict | None = None,
    choice: PartChoice = SEEN,
    labels_only: bool = False,
) -> Shapes:
    """Open a split, with its classes' embeddings.

    Args:
        options ([`ShapeOptions`])
        model_name (`str`), model (`PreTrainedModel`): The encoder to score.
        splits (`DatasetDict`, *optional*): The dataset's, of triplets, where it is open already.
        choice (`PartChoice`, *optional*): Which parts of meshes the encoder's extractor reads.
        labels_only (`bool`, defaults to `False`): Whether shapes need no images and texts, as those to learn from.

    Raises:
        UserError: There is no such split, it lacks what it is scored against, or it is of another teacher.
    """
    # A benchmark is opened in the user's own folder too.
    name, path = options.dataset, Path(options.dataset).expanduser()
    if options.benchmark == "triplets":
        splits = load_all_splits(name) if splits is None else splits
        dataset = pick_split(splits, name, options.split)
        fingerprint = state_of_files(path) if path.exists() else dataset._fingerprint
        if "image_embeds" in dataset.features:
            return _embedded_triplets(options, model_name, model, dataset, fingerprint, splits, labels_only)
        benchmark = labeled_triplets(splits, name, options.split, options.up_axis or "y")
    else:
        # Files that say where up is are turned, unless the option says it.
        fingerprint = state_of_files(path) + (f", {options.up_axis} up as told" if options.up_axis else "")
        benchmark = open_benchmark(
            options.benchmark, path, options.split, options.variant, options.up_axis, options.allow_partial, choice
        )
    return _labeled_shapes(options, model_name, model, benchmark, fingerprint, splits)


def _embedded_triplets(
    options: ShapeOptions,
    model_name: str,
    model: PreTrainedModel,
    dataset: Dataset,
    fingerprint: str,
    splits: DatasetDict,
    labels_only: bool,
) -> Shapes:
    name, path = options.dataset, Path(options.dataset)
    _check_class_texts(options, model_name, model)
    held_out = HeldOutSet.from_dataset(dataset, options.class_texts, name, labels_only)
    check_embeddings_are_of(teacher_of(model_name, model.config, options.teacher), dataset, name, model_name)
    class_texts = path / CLASS_TEXTS_FILE
    if options.class_texts is None and class_texts.is_file() and PartialState().is_main_process:
        print(f"no zero-shot scores without --class-texts {class_texts}", file=sys.stderr)
    if options.templates is not None:
        raise UserError(
            f"{name}: has cached embeddings, so --templates has nothing to embed; make class texts by mrd-hf "
            f"embed-teacher --class-texts --class-templates {options.templates}, and give them by --class-texts."
        )
    read, up_axis = dataset_clouds(dataset), options.up_axis or "y"
    name = path.resolve().name if path.is_dir() else name  # of the Hub the whole id
    return Shapes(name, options.split, read, up_axis, held_out, fingerprint, None, dataset, splits)


def _check_class_texts(options: ShapeOptions, model_name: str, model: PreTrainedModel) -> None:
    """Raise a [`UserError`] if the given class texts are neither of the encoder's teacher nor of the given one."""
    if options.class_texts is not None:
        towers = (options.teacher, recorded_teacher(model.config), model.config.text_tower_id)
        check_class_texts_are_of(options.class_texts, f"those of {model_name}", *towers)


def _labeled_shapes(
    options: ShapeOptions,
    model_name: str,
    model: PreTrainedModel,
    benchmark: Benchmark,
    fingerprint: str,
    splits: DatasetDict | None,
) -> Shapes:
    # Published embeddings are of use for encoders of the teacher that made them, if neither others nor other
    # prompts are wanted.
    published = benchmark.class_embeddings if options.templates is None and options.class_texts is None else None
    if published is not None and benchmark.class_teacher is not None:
        own = teacher_of(model_name, model.config, options.teacher)
        published = published if are_one(benchmark.class_teacher, own) else None
    elif options.teacher is not None:  # theirs is not known, and this one is asked for
        published = None
    texts, templates = options.class_texts or published, None
    _check_class_texts(options, model_name, model)
    if texts is not None:
        _, embeds = read_class_texts(texts, benchmark.class_names)
    else:
        templates = options.templates or DEFAULT_TEMPLATES
        tower, revision = text_tower(model_name, model.config, options.teacher)
        names = [readable(name) for name in benchmark.class_names]  # labels of triplets are as their dataset has them
        try:
            embeds = class_embeddings(names, tower, revision, templates, device=model.device, progress=True)
        except UserError as error:
            hint = " Give it by --teacher FOLDER." if is_folder_revision(revision) else ""
            raise UserError(f"{error}{hint}") from None
    return Shapes(
        name=benchmark.name,
        split=benchmark.split,
        read=benchmark.shapes,
        up_axis=benchmark.up_axis,
        held_out=HeldOutSet.from_benchmark(benchmark, embeds),
        fingerprint=fingerprint,
        templates=templates,
        splits=splits,
        is_part=benchmark.is_part,
    )
