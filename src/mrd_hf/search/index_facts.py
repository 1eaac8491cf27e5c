"""What an index says of itself, in `index.json`, and the names of its files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import UserError


VERSION = 1
FACTS, ITEMS, EXACT, APPROXIMATE = "index.json", "items.parquet", "embeds.npy", "embeds.faiss"


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts of the index in a folder: all are there and of their types, though they may not be true.

    Raises:
        UserError: There is no index, or one of another version, or its facts are damaged.
    """
    path = folder / FACTS
    if not path.is_file():
        raise UserError(f"{folder}: no index there ({FACTS} is missing); make one with `mrd-hf index`.")
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); rebuild the index.") from None
    if not isinstance(facts, dict) or type(facts.get("version")) is not int:
        raise UserError(f"{path} cannot be read (it has no version); rebuild the index.")
    if facts["version"] != VERSION:
        raise UserError(f"{path}: version {facts['version']}; this mrd-hf reads version {VERSION}; rebuild the index.")
    missing = [name for name in _FITTING if name not in facts and name not in _NEWER]
    if missing:
        raise UserError(f"{path} is incomplete ({', '.join(missing)} missing); rebuild the index.")
    for name, fits in _FITTING.items():
        if not fits(facts.get(name)):
            raise UserError(f"{path} is damaged: '{name}' is not what an index has there; rebuild the index.")
    return facts


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _are_files(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) not in ({ITEMS, EXACT}, {ITEMS, APPROXIMATE}):
        return False
    return all(isinstance(digest, str) for digest in value.values())


# Which indexes of earlier versions lack.
_NEWER = ("text_tower", "config_sha256", "input")
_FITTING: dict[str, Callable[[Any], bool]] = {
    "model": lambda value: isinstance(value, str),
    "model_sha256": _is_text_or_none,
    "config_sha256": _is_text_or_none,
    "input": lambda value: value is None or isinstance(value, dict),
    "teacher": _is_text_or_none,
    "text_tower": _is_text_or_none,
    "width": _is_count,
    "count": _is_count,
    "files": _are_files,
}
