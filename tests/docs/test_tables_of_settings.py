"""The tables of settings have the fields of the classes, with their defaults."""

import re
from dataclasses import fields

import pytest
from support.paths import ROOT
from transformers import PreTrainedConfig

from mrd_hf import MRDConfig, PointBertConfig
from mrd_hf.data.loaders.augmentation import AugmentationConfig
from mrd_hf.training.finetuning.arguments import AUGMENTATION


# What is no number or word: the tables tell of these in words.
IN_WORDS = {"relation_terms"}
# Whose space it is, and what fine-tuning sets: nothing to be given by hand.
SET_BY_RUNS = {"teacher_id", "teacher_revision", "text_tower_id", "logit_scale", "object_parts", "part_colors"}
SET_BY_RUNS |= {"semantic_loss_ignore_index"}


def table(page: str, first_field: str) -> dict[str, list[str]]:
    """The other cells of each row of the table whose first row is of that field, by the row's field."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (start,) = [match.start() for match in re.finditer(rf"^\| `{first_field}` \|", text, flags=re.MULTILINE)]
    lines = text[start:].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({name for name, *_ in rows}) == len(rows)
    return {name.strip("`"): cells for name, *cells in rows}


def default(cell: str) -> str:
    """The first word of a cell, which is the default."""
    return re.match(r"`?([\w.-]+)", cell)[1].rstrip(".")


def same(shown: str, value: object) -> bool:
    if isinstance(value, bool) or value is None:
        return shown == {True: "true", False: "false", None: "null"}[value]
    return shown == value if isinstance(value, str) else float(shown) == value


def own_fields(config_class: type) -> set[str]:
    return {field.name for field in fields(config_class)} - {field.name for field in fields(PreTrainedConfig)}


@pytest.mark.parametrize(
    ("page", "first_field", "config", "others"),
    [
        ("objective.md", "loss", MRDConfig(), {"point_config"}),
        ("training.md", "hidden_size", PointBertConfig(), SET_BY_RUNS),
        ("training.md", "point_dropout", AugmentationConfig(), set()),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_a_table_has_the_fields_and_their_defaults(page, first_field, config, others):
    rows = table(page, first_field)
    assert rows.keys() == own_fields(type(config)) - others
    shown = {name: default(cells[0]) for name, cells in rows.items() if name not in IN_WORDS}
    assert [name for name in shown if not same(shown[name], getattr(config, name))] == []


def test_the_defaults_of_fine_tuning_stand_beside_those_of_pretraining():
    told = AugmentationConfig(**AUGMENTATION)
    for name, (_, shown, _) in table("training.md", "point_dropout").items():
        assert same(default(shown), getattr(told, name)), name
