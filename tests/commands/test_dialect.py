"""One dialect: what --help shows has hyphens; underscores and earlier names are understood."""

import re

import pytest

from mrd_hf.app import server
from mrd_hf.commands import (
    ablate,
    analyze,
    analyze_gradients,
    convert,
    embed_teacher,
    evaluate,
    export,
    finetune,
    prepare,
    push,
)
from mrd_hf.commands.arguments import CommandParser, positive
from mrd_hf.errors import UserError
from mrd_hf.training.arguments import parse_arguments
from mrd_hf_cli.parser import COMMANDS, LONG_COMMANDS, parse


HELP = {
    "ablate": ablate.main,
    "analyze": analyze.main,
    "analyze-gradients": analyze_gradients.main,
    "app": server.main,
    "convert": convert.main,
    "embed-teacher": embed_teacher.main,
    "evaluate": evaluate.main,
    "export": export.main,
    "finetune": finetune.main,
    "prepare": prepare.main,
    "prepare meshes": prepare.main,
    "prepare resplit": prepare.main,
    "pretrain": parse_arguments,
    "push": push.main,
}


def a_parser() -> CommandParser:
    parser = CommandParser("mrd-hf try")
    parser.add_argument("-o", "--output")
    parser.add_argument("--num-views", type=positive)
    parser.add_argument("--few-shot", action="store_true")
    parser.add_argument("rest", nargs="*")
    return parser


@pytest.mark.parametrize(
    "words",
    [
        ["--output", "o_o", "--num-views", "3", "--few-shot"],
        ["--out", "o_o", "--num_views=3", "--few_shot"],
        ["--to=o_o", "--num-views=3", "--few_shot"],
        ["-o", "o_o", "--num_views", "3", "--few-shot"],
    ],
)
def test_hyphens_underscores_and_earlier_names_are_one(words):
    assert vars(a_parser().parse_args(words)) == {"output": "o_o", "num_views": 3, "few_shot": True, "rest": []}


def test_values_and_what_follows_two_hyphens_stay_as_they_are():
    parsed = a_parser().parse_args(["--output=a_b--num_views", "--", "--few_shot", "--out"])
    assert parsed.output == "a_b--num_views" and parsed.rest == ["--few_shot", "--out"]


@pytest.mark.parametrize("words", [["--outpu", "o"], ["--few"], ["--data", "d"], ["--num-views", "0"]])
def test_beginnings_and_names_of_other_commands_are_refused(words, capsys):
    with pytest.raises(SystemExit) as ended:
        a_parser().parse_args(words)
    assert ended.value.code == 2 and words[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("try --num_view 4", "unrecognized argument: --num_view; did you mean --num-views?"),
        ("try --num-views x", "argument --num-views: expected a whole number from 1, got x"),
        ("try --zzz", "unrecognized argument: --zzz\n"),
        ("evaluate --linear-prob", "unrecognized argument: --linear-prob; did you mean --linear-probe?"),
        ("prepare meshes a --num-view 4", "unrecognized argument: --num-view; did you mean --num-views?"),
        ("prepare meshes a -o b --test-share x", "expected a number above 0 and below 1, got x"),
        ("prepare meshes a -o b --background x", "expected a color's name or #rrggbb, got x"),
        ("prepare meshes a -o b --seed x", "expected a whole number from 0, got x"),
    ],
)
def test_a_mistake_is_told_what_it_is_like_and_what_is_expected(command, message, capsys):
    name, *words = command.split()
    with pytest.raises(SystemExit) as ended:
        a_parser().parse_args(words) if name == "try" else HELP[name](words)
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_a_value_with_spaces_may_begin_with_hyphens():
    assert a_parser().parse_args(["-o", "-- a note"]).output == "-- a note"


def test_an_option_of_that_name_is_not_another():
    parser = CommandParser("mrd-hf try")
    parser.add_argument("--data")
    parser.add_argument("--dataset")
    assert vars(parser.parse_args(["--data", "d"])) == {"data": "d", "dataset": None}


@pytest.mark.parametrize("command", HELP)
def test_help_shows_the_command_as_it_is_typed_and_hyphens_alone(command, capsys):
    with pytest.raises(SystemExit) as ended:
        HELP[command]([*command.split()[1:], "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and shown.startswith(f"usage: mrd-hf {command} ")
    ours = re.sub(r"--(config_file|num_processes|nproc_per_node|multi_gpu)", "", shown)  # of launchers
    assert not re.findall(r"--[a-z]+_[a-z_]+", ours)
    assert not re.search(r"scripts/\w+\.py", ours)


def test_every_long_command_is_among_them_and_in_the_list():
    assert {command.split()[0] for command in HELP} == set(LONG_COMMANDS)
    assert set(LONG_COMMANDS) < {command for group in COMMANDS.values() for command in group}


def test_short_commands_take_the_names_of_others():
    assert parse(["embed", "a", "--out", "e.parquet"]).output == "e.parquet"
    assert parse(["classify", "a", "--class_embeds", "c"]).class_texts == "c"
    assert parse(["classify", "a", "--class-texts", "c"]).class_texts == "c"


def test_pretraining_takes_hyphens_keys_of_recipes_and_the_names_of_others():
    expected = parse_arguments(["--dataset", "d", "--output_dir", "o", "--overwrite_output_dir", "True"])
    assert parse_arguments(["--dataset=d", "-o", "o", "--overwrite"]) == expected
    assert parse_arguments(["--dataset", "d", "--output=o", "--overwrite-output-dir", "true"]) == expected
    with pytest.raises(UserError, match=r"--outputdir; did you mean --output-dir\?"):
        parse_arguments(["--dataset", "d", "--output-dir", "o", "--outputdir", "p"])
