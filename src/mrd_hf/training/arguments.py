"""What a pretraining run can be told, on the command line or in a YAML recipe."""

import difflib
import json
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import partial, reduce
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser

from ..errors import UserError
from ..hub.pushing import check_target
from .loop.run_arguments import RunArguments, check_least
from .recipe_files import (
    ACCELERATE_RECIPES,
    CHANGES,
    RECIPES,
    changed_mapping,
    changed_recipe,
    find_recipe,
    parse_mapping,
    recipe_names,
    unknown_key_hint,
)
from .tracking import check_name


@dataclass
class DataArguments:
    """Which data to train on."""

    dataset: str = field(metadata={"help": "Triplet dataset: a local folder, or its id on the Hub."})
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    eval_split: str | None = field(default=None, metadata={"help": "Split to evaluate on; default: no evaluation."})
    class_texts: str | None = field(
        default=None,
        metadata={
            "help": "Parquet file of class names and text embeddings (label, text_embed) for zero-shot scores on "
            "eval_split, as mrd-hf embed-teacher --class-texts makes it."
        },
    )
    num_points: int | None = field(default=None, metadata={"help": "Points of a shape to use; default: all."})
    augmentation: str = field(
        default="{}",
        metadata={
            "help": "Changes to the recipe's, or to mrd_hf.data.loaders.augmentation.AugmentationConfig, as JSON (in "
            "a recipe: a mapping)."
        },
    )
    text_weights: str = field(
        default="{}",
        metadata={
            "help": "Weight of each source of texts (name, caption_blip, ...) or kind (caption), as JSON (in a "
            "recipe: a mapping); default: all kinds that a shape has alike, as OpenShape."
        },
    )
    first_image_probability: str = field(
        default="{}",
        metadata={
            "help": "Source of shapes -> probability of their first image, as JSON (in a recipe: a mapping); as "
            'OpenShape: {"objaverse": 0.5}; default: all images of a shape alike.'
        },
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read the parquet files as training goes instead of preparing a copy on disk first. Resumes "
            "exactly with as many processes and num_workers as before."
        },
    )
    shuffle_buffer: int = field(
        default=1024, metadata={"help": "With streaming: shapes that each data process shuffles at a time."}
    )
    num_workers: int = field(default=1, metadata={"help": "Processes that read data, for each training process."})
    prefetch_factor: int = field(default=2, metadata={"help": "Batches that each of them has ready ahead of time."})

    def __post_init__(self) -> None:
        check_least(self, num_points=1, shuffle_buffer=1, num_workers=0, prefetch_factor=1)
        if self.class_texts is not None and self.eval_split is None:
            raise UserError("class_texts are for scores on eval_split, and none is given; give it, e.g. test.")


@dataclass
class ModelArguments:
    """What to train, and towards which teacher."""

    encoder: str | None = field(
        default=None, metadata={"help": "Pretrained encoder to start from: a folder or a Hub id; default: none."}
    )
    point_config: str = field(
        default="{}",
        metadata={
            "help": "Changes to the recipe's, or to the encoder's configuration, PointBertConfig, as JSON (in a "
            'recipe: a mapping); with another model_type, to that of this encoder: {"model_type": "uni3d"}; {}: none.'
        },
    )
    mrd_config: str = field(
        default="{}",
        metadata={"help": "Changes to the recipe's, or to MRDConfig, as JSON (in a recipe: a mapping)."},
    )
    teacher: str | None = field(
        default=None,
        metadata={
            "help": "Image-text model (a folder or a Hub id) that embeds images and texts on the fly; default: the "
            "dataset's cached embeddings."
        },
    )
    teacher_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of the teacher."})
    teacher_id: str | None = field(
        default=None,
        metadata={
            "help": "The teacher that the embeddings must be of: its folder, or a name or name@commit as the "
            "dataset's column 'teacher' has it; default: whichever it is."
        },
    )
    text_towers: str = field(
        default="{}",
        metadata={
            "help": "Teacher -> what embeds texts into its space, a Hub id or package:NAME/FOLDER, as JSON (in a "
            "recipe: a mapping), for teachers that cannot be loaded as a whole. Recorded in the encoder if its "
            "teacher is among them; default: the teacher itself embeds texts."
        },
    )

    def __post_init__(self) -> None:
        if self.teacher_revision is not None and self.teacher is None:
            raise UserError("teacher_revision is one of teacher, which is not given; give it or leave both out.")


@dataclass
class PretrainingArguments(RunArguments):
    """How to train."""

    encoder_batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Gradient cache: shapes that the encoder sees at a time, for batches that do not fit into memory; "
            "the loss still sees all of them. Costs one more forward pass. Default: all at once."
        },
    )
    gradient_checkpointing: bool = field(
        default=False,
        metadata={
            "help": "Keep of each transformer block its input alone and compute the rest again in the backward pass: "
            "less memory, more time."
        },
    )
    compile: bool = field(
        default=False,
        metadata={
            "help": "Compile the encoder by torch.compile, in the first step. On CPUs this needs a C++ compiler, on "
            "GPUs Triton."
        },
    )
    tf32: bool = field(
        default=False, metadata={"help": "Round the inputs of float32 products to TF32, 10 bits (GPUs only)."}
    )
    learning_rate: float = field(default=5e-4, metadata={"help": "Peak learning rate of the encoder."})
    loss_learning_rate: float = field(
        default=5e-3, metadata={"help": "Peak learning rate of the loss's own parameters (scale, relation weights)."}
    )
    sync_batch_norm: bool = field(
        default=False, metadata={"help": "Batch norm over the batches of all processes (GPUs only)."}
    )
    hard_negatives: int | None = field(
        default=None,
        metadata={
            "help": "Make batches of random shapes, each with this many of the 31 that are nearest by the teacher's "
            "text embeddings. OpenShape does so only once training has converged: resume such a run. Default: all at "
            "random."
        },
    )
    profile: int | None = field(
        default=None,
        metadata={"help": "Record n steps, after the first three, by torch's profiler into output_dir/profile."},
    )
    report_to: list[str] = field(
        default_factory=list,
        metadata={"help": "Trackers: tensorboard, trackio, wandb.", "choices": ["tensorboard", "trackio", "wandb"]},
    )
    project: str | None = field(
        default=None,
        metadata={"help": "Project that the trackers put the run into; default: mrd. A resumed run keeps its own."},
    )
    run_name: str | None = field(
        default=None,
        metadata={
            "help": "What the trackers call the run, unique in its project; default: output_dir's name and six random "
            "characters. A resumed run continues the tracker's run, which it need not be told again."
        },
    )
    push_to_hub: bool = field(default=False, metadata={"help": "Whether to upload the trained encoder at the end."})
    hub_model_id: str | None = field(default=None, metadata={"help": "Repository on the Hub, e.g. org/mrd-pointbert."})
    hub_private: bool = field(default=False, metadata={"help": "Whether the repository is to be private."})
    hub_revision: str | None = field(default=None, metadata={"help": "Branch to upload to; default: main."})
    hub_create_pr: bool = field(default=False, metadata={"help": "Whether to open a pull request instead."})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, encoder_batch_size=1, hard_negatives=1, profile=1, learning_rate=0, loss_learning_rate=0)
        check_name(self.project, "project")
        check_name(self.run_name, "run_name")
        if self.push_to_hub and not self.hub_model_id:
            raise UserError("push_to_hub needs hub_model_id, e.g. --hub-model-id org/mrd-pointbert.")
        if self.hub_model_id is not None:
            check_target(self.hub_model_id, self.hub_revision, self.hub_create_pr)


ARGUMENT_CLASSES = (DataArguments, ModelArguments, PretrainingArguments)


# By what other commands call the same.
FOR_SHORT = {
    **dict.fromkeys(("-o", "--output", "--out"), "--output-dir"),
    "--overwrite": "--overwrite-output-dir",
}


class _Parser(HfArgumentParser):
    """Ends with one message, without the usage, which is some hundred lines long."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the arguments.")


def recipe_to_argv(
    name: str | Path,
    of: tuple[Path, ...] = (),
    classes: Sequence[type] = ARGUMENT_CLASSES,
    folder: Path = RECIPES,
) -> list[str]:
    """A YAML recipe as command-line arguments, so that both are checked by the same parser.

    Its key `config` names another recipe, of which it changes what it has itself, see [`changed_mapping`]; null is for
    the default.

    Args:
        name (`str` or `Path`): Its file, or the name of one that the package has.
        of (tuple of `Path`): The recipes that name it, from the first.
        classes (sequence of dataclasses): Whose fields the arguments are.
        folder (`Path`): Where the package has its recipes of these.

    Raises:
        UserError: when the file is missing, not a YAML mapping, names itself or has an unknown key; the message names
            the file.
    """
    return mapping_to_argv(read_recipe(name, of, classes, folder), str(name), classes)


def read_recipe(
    name: str | Path,
    of: tuple[Path, ...] = (),
    classes: Sequence[type] = ARGUMENT_CLASSES,
    folder: Path = RECIPES,
) -> dict[str, Any]:
    """A YAML recipe as a mapping, with what it takes over from another one; see [`recipe_to_argv`]."""
    path = find_recipe(name, folder)
    if path in of:
        raise UserError(f"{path}: its key 'config' leads back to itself; leave it out.")
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"the recipe {path} is no text in UTF-8; save it so.") from None
    except OSError as error:
        names = ", ".join(recipe_names(folder))
        raise UserError(f"cannot read the recipe {path}: {error.strerror}; the package has {names}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(recipe, dict):
        raise UserError(f"{path} must be a YAML mapping of argument names to values, got {type(recipe).__name__}.")
    base = recipe.pop("config", None)
    mapping_to_argv(recipe, str(path), classes)  # whose mistakes are this file's
    if base is None:
        return recipe
    return changed_recipe(read_recipe(base, (*of, path), classes, folder), recipe)


def mapping_to_argv(recipe: dict[str, Any], where: str, classes: Sequence[type] = ARGUMENT_CLASSES) -> list[str]:
    """Names of arguments and their values as command-line arguments; a [`UserError`] if there is no such argument.

    Null and an empty list are for the default.
    """
    known = [f.name for arguments in classes for f in fields(arguments)]
    argv: list[str] = []
    for key, value in recipe.items():
        if key not in known:
            raise UserError(f"{where}: unknown key '{key}'; {unknown_key_hint(str(key), known)}")
        if isinstance(value, dict):
            argv += [f"--{key}", json.dumps(value)]
        elif isinstance(value, list):
            argv += [f"--{key}", *map(str, value)] if value else []
        elif value is not None:
            argv += [f"--{key}={value}"]
    return argv


def parse_arguments(argv: list[str]) -> tuple[DataArguments, ModelArguments, PretrainingArguments]:
    """Arguments from `--config RECIPE` and the rest of the command line, which has the last word.

    Raises:
        UserError: when the recipe cannot be read, an argument is unknown or missing, or its value is out of range.
    """
    return parse_recipe_and_options(
        argv,
        ARGUMENT_CLASSES,
        RECIPES,
        prog="mrd-hf pretrain",
        description="Pretrain a shape encoder by Multi-modal Relation Distillation.",
        epilog="Example: mrd-hf pretrain --config demo --seed 1. Several GPUs: accelerate launch --config_file FILE "
        f"-m mrd_hf.commands.pretrain ..., with a file of your own or of {ACCELERATE_RECIPES}.",
    )


def parse_recipe_and_options(argv: list[str], classes: Sequence[type], folder: Path, **texts: str) -> tuple[Any, ...]:
    """An object of each of some dataclasses, from `--config RECIPE` and the rest of the command line.

    Args:
        argv (`list[str]`)
        classes (sequence of dataclasses): Whose fields are the options.
        folder (`Path`): Where the package has its recipes of these.
        **texts: prog, description and epilog of the parser.

    Raises:
        UserError: As of [`parse_arguments`].
    """
    # No abbreviations, as a beginning is often a mistake, and may become ambiguous.
    parser = _Parser(classes, allow_abbrev=False, **texts)
    parser.add_argument(
        "--config",
        help="YAML recipe of these arguments, a file or one of the package "
        f"({', '.join(recipe_names(folder))}); the command line overrides it.",
    )
    config_parser = ArgumentParser(add_help=False, allow_abbrev=False)
    config_parser.add_argument("--config")
    config, rest = config_parser.parse_known_args(argv)
    if config.config is not None:
        argv = _with_changes([*recipe_to_argv(config.config, (), classes, folder), *rest], classes)
    for action in parser._actions:  # which also takes them with underscores, as the keys of recipes have
        action.option_strings = [name for name in action.option_strings if "_" not in name]
    pieces = (word.partition("=") for word in argv)
    argv = [FOR_SHORT.get(name, name) + equals + value for name, equals, value in pieces]
    *parsed, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    if unknown:
        known = ["config", *(f.name for arguments in classes for f in fields(arguments))]
        name = unknown[0].partition("=")[0]
        close = difflib.get_close_matches(name.lstrip("-").replace("-", "_"), known, n=1)
        hint = (
            f"did you mean --{close[0].replace('_', '-')}?"
            if close and name.startswith("-")
            else "--help lists the arguments."
        )
        raise UserError(f"unrecognized argument: {name}; {hint}")
    return tuple(parsed[: len(classes)])


def _with_changes(argv: list[str], classes: Sequence[type]) -> list[str]:
    """A command line that has each of [`CHANGES`] once, where it has one several times."""
    names = [f.name for arguments in classes for f in fields(arguments) if f.name in CHANGES]
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(f"--{name}", f"--{name.replace('_', '-')}", action="append", default=[])
    given, rest = parser.parse_known_args(argv)
    for name in names:
        mappings = [parse_mapping(text, name) for text in getattr(given, name)]
        if mappings:
            rest.append(f"--{name}={json.dumps(reduce(partial(changed_mapping, name), mappings))}")
    return rest


def as_recipe(arguments: Sequence[Any], only_changed: bool = False) -> str:
    """Arguments as a YAML recipe, from which [`recipe_to_argv`] makes the same again.

    Args:
        arguments (sequence of `ARGUMENT_CLASSES`)
        only_changed (`bool`, defaults to `False`): Whether to leave out those that are as they are by default.
    """
    recipe = {}
    for group in arguments:
        for argument in fields(group):
            value = getattr(group, argument.name)
            factory = argument.default_factory
            if only_changed and value == (argument.default if factory is MISSING else factory()):
                continue
            # Mappings come as JSON.
            recipe[argument.name] = json.loads(value) if isinstance(value, str) and value.startswith("{") else value
    return yaml.safe_dump(recipe, sort_keys=False, width=110, allow_unicode=True).rstrip()
