"""What an ablation is: arms, seeds and splits over one dataset, as a YAML recipe has it."""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.errors import StrictDataclassError

from ...data.resplitting.teacher_changes import TeacherChanges
from ...errors import UserError
from ...models.configuration_mrd import MRDConfig
from ..arguments import PretrainingArguments, mapping_to_argv, parse_arguments, read_recipe
from ..model_building import new_encoder_config, parse_mrd_config
from ..recipe_files import RECIPES, changed_recipe, unknown_key_hint


ABLATIONS = RECIPES / "ablation"
# What must be alike in all arms, or is decided for each run.
NOT_FOR_ARMS = (
    "seed",
    "output_dir",
    "overwrite_output_dir",
    "resume_from_checkpoint",
    "dataset",
    "train_split",
    "eval_split",
    "class_texts",
    "cpu_threads",
    "teacher",
    "push_to_hub",
)
ARM_KEYS = ("pretrain", "data", "baseline", "curve")


@dataclass(frozen=True)
class Curve:
    """Where an arm lies on a curve of scores over a setting.

    Args:
        axis (`str`): The setting, such as `temperature`; a picture each.
        at (`float`): The arm's.
        line (`str`): Arms of one line are joined.
    """

    axis: str
    at: float
    line: str = ""


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Args:
        name (`str`): Also the name of its folder.
        pretrain (`dict`): Its whole recipe for `mrd-hf pretrain`, but for what each run has of its own.
        changes ([`TeacherChanges`]): What is done to the teacher's embeddings.
        baseline (`str`, *optional*): The arm that it is compared with; None for one that is compared with none.
        curves (tuple of [`Curve`]): Where it lies on curves.
        steps (`int`), batch_size (`int`): Of its training.
    """

    name: str
    pretrain: dict[str, Any]
    changes: TeacherChanges
    baseline: str | None
    curves: tuple[Curve, ...] = ()
    steps: int = 0
    batch_size: int = 0


@dataclass(frozen=True)
class AblationRecipe:
    """Arms x seeds x splits over one dataset.

    Args:
        dataset (`str`): Triplet dataset with embeddings.
        splits (tuple of `int`), seeds (tuple of `int`): Seeds of the divisions by names, and of training.
        arms (`dict` of [`Arm`]): By name.
        labels, class_texts (`str`, *optional*): See [`resplit_dataset`].
        test_share, validation_share (`float`): See [`resplit_dataset`].
        linear_probe (`bool`): Whether evaluations have one.
    """

    dataset: str
    splits: tuple[int, ...]
    seeds: tuple[int, ...]
    arms: dict[str, Arm] = field(default_factory=dict)
    labels: str | None = None
    class_texts: str | None = None
    test_share: float = 0.3
    validation_share: float = 0.2
    linear_probe: bool = False


# What the file has besides: its arms' common parts.
FILE_KEYS = [f.name for f in fields(AblationRecipe)] + ["baseline", "pretrain"]


def ablation_names() -> list[str]:
    """Names of the recipes of ablations that the package has."""
    return sorted(file.stem for file in ABLATIONS.glob("*.yaml"))


def read_ablation(name: str | Path) -> AblationRecipe:
    """Read and check a recipe of an ablation.

    Args:
        name (`str` or `Path`): Its file, or the name of one that the package has.

    Raises:
        UserError: It cannot be read, or something in it is unknown, missing or does not fit; the message names the
            file and the arm.
    """
    packaged = ABLATIONS / f"{name}.yaml"
    path = packaged if str(name) in ablation_names() and not Path(name).is_file() else Path(name)
    content = _read_mapping(path, f"the package has {', '.join(ablation_names())}")
    _check_keys(content, FILE_KEYS, str(path))
    for key in ("dataset", "splits", "seeds", "arms"):
        if not content.get(key):
            raise UserError(f"{path}: the key '{key}' is missing or empty.")
    common = _common_recipe(_mapping(content.get("pretrain"), f"{path}: pretrain"), f"{path}: pretrain")
    baseline = content.get("baseline")
    arms = {}
    for arm_name, of_arm in _mapping(content["arms"], f"{path}: arms").items():
        arms[str(arm_name)] = _read_arm(str(arm_name), of_arm, common, baseline, f"{path}: the arm '{arm_name}'")
    for arm in arms.values():
        if arm.baseline is not None and arm.baseline not in arms:
            raise UserError(f"{path}: the arm '{arm.name}': its baseline '{arm.baseline}' is no arm.")
    _check_apart(list(arms.values()), path)
    if content.get("linear_probe") and not content.get("class_texts"):
        raise UserError(f"{path}: linear_probe needs class_texts, which say what the classes are.")
    given: dict[str, Any] = {key: value for key, value in content.items() if key not in ("baseline", "pretrain")}
    given |= {key: _whole_numbers(content[key], f"{path}: {key}") for key in ("splits", "seeds")}
    return AblationRecipe(**{**given, "arms": arms})


def joined(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A recipe with some keys changed; of a key that is a mapping in both, the keys in it."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = joined(base[key], value) if both else value
    return result


def _read_arm(name: str, given: Any, common: dict[str, Any], baseline: str | None, where: str) -> Arm:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+=-]*", name):
        raise UserError(f"{where}: is the name of a folder too; take letters, digits and . _ + = - for it.")
    content = _mapping(given, where)
    _check_keys(content, ARM_KEYS, where)
    own = _mapping(content.get("pretrain"), f"{where}: pretrain")
    for key in NOT_FOR_ARMS:
        if key in own:
            raise UserError(f"{where}: '{key}' is not for an arm to set, as all must have the same; leave it out.")
    pretrain = joined(common, own)
    changes = _mapping(content.get("data"), f"{where}: data")
    _check_keys(changes, [f.name for f in fields(TeacherChanges)], f"{where}: data")
    for key, value in changes.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UserError(
                f"{where}: data: {key} is {value!r}; give a number, of which YAML knows 1.0e-4 and not 1e-4."
            )
    try:
        teacher_changes = TeacherChanges(**changes)
        training = check_pretraining(pretrain)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    own_baseline = content.get("baseline", None if name == baseline else baseline)
    of_curves = content.get("curve") or []
    curves = []
    for item in of_curves if isinstance(of_curves, list) else [of_curves]:
        curve = _mapping(item, f"{where}: curve")
        _check_keys(curve, [f.name for f in fields(Curve)], f"{where}: curve")
        if not {"axis", "at"} <= curve.keys():
            raise UserError(f"{where}: curve needs 'axis' and 'at'.")
        try:
            place = float(curve["at"])
        except (TypeError, ValueError):
            raise UserError(f"{where}: curve: at is {curve['at']!r}; give a number.") from None
        curves.append(Curve(str(curve["axis"]), place, str(curve.get("line", ""))))
    size = (training.num_train_steps, training.per_device_batch_size)
    return Arm(name, pretrain, teacher_changes, own_baseline, tuple(curves), *size)


def _check_apart(arms: list[Arm], path: Path) -> None:
    """Two arms at one place of a line would be joined with each other."""
    owners: dict[Curve, str] = {}
    for arm in arms:
        for curve in arm.curves:
            if owners.setdefault(curve, arm.name) != arm.name:
                of_line = f", line '{curve.line}'" if curve.line else ""
                raise UserError(
                    f"{path}: the arm '{arm.name}': has the place of '{owners[curve]}' on the curve: axis "
                    f"'{curve.axis}', at {curve.at:g}{of_line}; give one of the two another 'at' or 'line'."
                )


def check_pretraining(recipe: dict[str, Any]) -> PretrainingArguments:
    """The arguments of training that a recipe gives; a [`UserError`] if one of any kind does not fit."""
    _, model, training = parse_arguments([*mapping_to_argv(recipe, "pretrain"), "--dataset=-", "--output-dir=-"])
    try:
        point_config = new_encoder_config(model.point_config)
        MRDConfig(point_config=point_config, **parse_mrd_config(model.mrd_config))
    except StrictDataclassError as error:
        raise UserError(str(error)) from None
    return training


def _common_recipe(recipe: dict[str, Any], where: str) -> dict[str, Any]:
    """What all arms have alike, with what it takes over from the recipe that its key `config` names, as `mrd-hf
    pretrain` would; but for what is decided for each run."""
    for key in NOT_FOR_ARMS:
        if key in recipe:
            raise UserError(
                f"{where}: '{key}' is not for an ablation's common recipe to set, as each run is given its own; leave "
                "it out."
            )
    base = recipe.pop("config", None)
    if base is None:
        return recipe
    try:
        below = read_recipe(base)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return changed_recipe({key: value for key, value in below.items() if key not in NOT_FOR_ARMS}, recipe)


def _read_mapping(path: Path, hint: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the recipe {path}: {error}; {hint}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    return _mapping(content, str(path))


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{where}: must be a mapping, got {value!r}.")
    return dict(value)


def _whole_numbers(value: Any, where: str) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) else []
    if not numbers or not all(type(n) is int and n >= 0 for n in numbers) or len(set(numbers)) < len(numbers):
        raise UserError(f"{where}: must be a list of different whole numbers from 0, got {value!r}.")
    return tuple(numbers)


def _check_keys(content: dict[str, Any], known: Any, where: str) -> None:
    for key in content:
        if key not in known:
            raise UserError(f"{where}: unknown key '{key}'; {unknown_key_hint(str(key), list(known))}")
