"""The recipes that come with the package, those of pretraining by their names and accelerate's by their paths; and the
mappings that recipes hold."""

import difflib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import UserError


RECIPES = Path(__file__).parent / "recipes"
ACCELERATE_RECIPES = RECIPES / "accelerate"
FINETUNING_RECIPES = RECIPES / "finetuning"


def find_recipe(name: str | Path, folder: Path = RECIPES) -> Path:
    """The file of a recipe that is given by its path or, one of the package, by its name."""
    packaged = folder / f"{name}.yaml"
    return packaged if str(name) in recipe_names(folder) and not Path(name).is_file() else Path(name)


def recipe_names(folder: Path = RECIPES) -> list[str]:
    """Names of the recipes that the package has in a folder, by default those of pretraining."""
    return sorted(file.stem for file in folder.glob("*.yaml"))


# Characters of what is no mapping that a message shows: it may be a whole file.
SHOWN = 200


# Arguments that are changes to what has a value for every key.
CHANGES = ("augmentation", "mrd_config", "point_config")


def unknown_key_hint(key: str, known: list[str]) -> str:
    """What to say of a key that does not exist: the closest one that does, or all of them."""
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}."


def parse_mapping(text: str, name: str) -> dict[str, Any]:
    """The JSON mapping given for argument `name`.

    Raises:
        UserError: when it is no mapping.
    """
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    try:
        mapping = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{name} is not valid JSON ({error}): {shown}") from None
    if not isinstance(mapping, dict):
        raise UserError(f"{name} must be a mapping, got {shown}.")
    return mapping


def parse_config(text: str, name: str, config_class: type) -> dict[str, Any]:
    """The JSON mapping given for argument `name`: fields of `config_class`, a dataclass, and their values.

    Raises:
        UserError: when it is no mapping, or has a key that is no field.
    """
    mapping = parse_mapping(text, name)
    check_fields(mapping, name, config_class)
    return mapping


def check_fields(mapping: dict[str, Any], name: str, config_class: type) -> None:
    """Raise a [`UserError`] for the first key of a mapping that is no field of a dataclass."""
    known = [f.name for f in fields(config_class)]
    for key in mapping:
        if key not in known:
            raise UserError(f"{name}: unknown key '{key}'; {unknown_key_hint(key, known)}")


def changed_mapping(name: str, base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The mapping given for argument `name`, over one that was given before it, in the recipe that it changes.

    Of [`CHANGES`] it changes the keys that it has; an empty one, or one for another kind of encoder, replaces it, as
    all other mappings do.
    """
    kinds = [mapping.get("model_type", "point_bert") for mapping in (base, {**base, **changes})]
    return {**base, **changes} if name in CHANGES and changes and kinds[0] == kinds[1] else changes


def changed_recipe(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A recipe with the keys that another one has itself, which builds on it."""
    mappings = [key for key in changes if isinstance(changes[key], dict) and isinstance(base.get(key), dict)]
    return {**base, **changes, **{key: changed_mapping(key, base[key], changes[key]) for key in mappings}}
