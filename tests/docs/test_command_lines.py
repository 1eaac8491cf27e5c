"""Every command line that the documentation prints is understood by the program that it is for."""

import contextlib
import importlib
import io
import itertools
import re
import shlex
import subprocess
import tomllib

import pytest
from accelerate.commands.launch import launch_command_parser
from support.pages import PAGES, blocks, command_lines, hf_parameters, section
from support.paths import ROOT

from mrd_hf.errors import UserError
from mrd_hf_cli.parser import COMMANDS, LONG_COMMANDS, make_parser, parse


DOCUMENTS = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "RELEASE.md", "scripts/app/README.md"))]
MAKE_TARGETS = set(re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)[1].split())
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
# Scripts that are a long command by another name.
SCRIPTS = {"scripts/app/app.py": "app"} | {
    path.relative_to(ROOT).as_posix(): command
    for command in LONG_COMMANDS
    for path in (ROOT / "scripts").glob("*.py")
    if f'main(["{command}", ' in path.read_text()
}
OF_THE_SHELL = {"export", "git", "source"}


def check_long(command: str, arguments: list[str]) -> None:
    module = importlib.import_module(LONG_COMMANDS[command])
    if command == "app":
        module.make_parser().parse_args(arguments)
    else:
        module.parse_arguments(arguments)


def check_mrd_hf(arguments: list[str]) -> None:
    if arguments[0] in LONG_COMMANDS:
        check_long(arguments[0], arguments[1:])
    else:
        parse(arguments)


def check_script(path: str, arguments: list[str]) -> None:
    assert (ROOT / path).is_file(), path
    if path in SCRIPTS:
        check_long(SCRIPTS[path], arguments)
        return
    code = (ROOT / path).read_text()
    for word in itertools.takewhile(lambda word: word != "--", arguments):  # what follows is another program's
        assert not word.startswith("--") or f'"{word.partition("=")[0]}"' in code, word


def check_launch(arguments: list[str]) -> None:
    launched = launch_command_parser().parse_args(arguments)
    assert launched.config_file is None or (ROOT / launched.config_file).is_file(), launched.config_file
    if not launched.module:
        check_script(launched.training_script, launched.training_script_args)
        return
    commands = {module: name for name, module in LONG_COMMANDS.items()}
    assert launched.training_script in commands, launched.training_script
    check_long(commands[launched.training_script], launched.training_script_args)


def check(words: list[str]) -> None:
    """Fails, by an exception or argparse's exit, on a command line that would not be understood."""
    while "=" in words[0]:
        words = words[1:]  # variables for this command
    program, *arguments = words
    program = program.removeprefix(".venv/bin/")
    if program == "mrd-hf":
        check_mrd_hf(arguments)
    elif program == "accelerate":
        assert arguments[0] == "launch"
        check_launch(arguments[1:])
    elif program == "python" and arguments[0] == "my_mrd_hf.py":  # a user's own, as docs/training.md shows it
        check_mrd_hf(arguments[1:])
    elif program == "python" and arguments[0] != "-m":
        check_script(arguments[0], arguments[1:])
    elif program == "make":
        assert {word for word in arguments if "=" not in word} <= MAKE_TARGETS, words
    elif program == "pip":
        assert arguments[0] == "install"
        named = {extra for word in arguments for part in re.findall(r"\[(.*)\]", word) for extra in part.split(",")}
        assert named <= EXTRAS, words
    elif program == "hf":
        parameters = hf_parameters(arguments)
        if "script" in parameters:
            check_script(parameters["script"], list(parameters["script_args"]))
    elif program == "sbatch":
        check(shlex.split(arguments[arguments.index("--wrap") + 1].replace("$SLURM_ARRAY_TASK_ID", "0")))
    elif program == "python":
        assert arguments[1] == "pytest" and all(
            (ROOT / word).exists() for word in arguments if word.startswith("tests/")
        )
    else:
        assert program in OF_THE_SHELL or program in ("pre-commit", "twine"), words


def lines_of(page) -> list[list[str]]:
    return [words for _, code in blocks(page, "bash") for words in command_lines(code)]


@pytest.mark.parametrize("page", [page for page in DOCUMENTS if lines_of(page)], ids=lambda page: page.name)
def test_the_command_lines_of_a_page_are_understood(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in lines_of(page):
        try:
            check(words)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{page.name}: {shlex.join(words)}") from error


@pytest.mark.parametrize(
    ("line", "offending"),
    [
        ("mrd-hf class chair.glb --labels a", "'class'"),
        ("mrd-hf classify chair.glb --label a", "--label"),
        ("mrd-hf pretrain --dataset a --output-dir b --learning-rat 1", "--learning-rat"),
        ("mrd-hf evaluate --model a --dataset b -o c --linear-prob", "--linear-prob"),
        ("mrd-hf prepare meshes a -o b --test-shar 0.2", "--test-shar"),
        (
            "accelerate launch --quiet scripts/pretrain.py --config scripts/recipes/none.yaml --output-dir b",
            "scripts/recipes/none.yaml",
        ),
        (
            "accelerate launch --config_file scripts/recipes/none.yaml scripts/pretrain.py --dataset a --output-dir b",
            "scripts/recipes/none.yaml",
        ),
        ("accelerate launch -m mrd_hf.commands.none --dataset a", "mrd_hf.commands.none"),
        ("python scripts/order_sensitivity.py --modell a", "--modell"),
        ("make demos", "demos"),
        ("pip install 'mrd-hf[fast]'", "mrd-hf[fast]"),
        ("sbatch --wrap 'mrd-hf prepare nowhere'", "'nowhere'"),
        ("mrd-hg classify", "mrd-hg"),
        ("hf uploads me/my-encoder", "uploads"),
        ("hf upload me/my-encoder . . --privat", "--privat"),
        ("hf jobs uv run -- scripts/hf_job.py --meshs a", "--meshs"),
    ],
)
def test_a_wrong_command_line_is_seen(line, offending, monkeypatch, capsys):
    """And what is said is of the word that is wrong, not of another one or of this test's own reading."""
    monkeypatch.chdir(ROOT)
    with pytest.raises((AssertionError, SystemExit, UserError, ValueError)) as error:
        check(shlex.split(line))
    said = f"{error.value}\n{capsys.readouterr().err}"
    assert re.search(rf"(?<![\w-]){re.escape(offending)}(?![\w-])", said), said


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """What `--help` of each command shows."""
    parser, commands = make_parser()
    helps = {"": parser.format_help()} | {name: command.format_help() for name, command in commands.items()}
    for name in LONG_COMMANDS:
        sources = [[], ["meshes"], ["openshape"], ["resplit"]] if name == "prepare" else [[]]
        for source in sources:
            with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit):
                check_long(name, [*source, "--help"])
            helps[" ".join([name, *source])] = out.getvalue()
    return helps


@pytest.fixture(scope="module")
def shown(helps) -> set[str]:
    """The options that `--help` of a command shows."""
    return options_in(" ".join(helps.values()))


def test_the_examples_of_help_are_understood(helps, monkeypatch):
    """Those of `--help`, which are indented lines of their own; one that the usage begins with is none."""
    monkeypatch.chdir(ROOT)
    shows_none = set()
    for command, text in helps.items():
        examples = command_lines(
            "\n".join(re.findall(r"^ +((?:mrd-hf|accelerate) (?:.*\\\n)*.*)", text, re.MULTILINE))
        )
        if not examples:
            shows_none.add(command)
        for words in examples:
            try:
                check(words)
            except (Exception, SystemExit) as error:
                raise AssertionError(f"mrd-hf {command} --help: {shlex.join(words)}") from error
    assert len(shows_none) < 5, shows_none


def test_the_options_that_pages_print_are_those_that_help_shows(shown):
    """Not an earlier name of one, nor one with underscores; apart from those of other programs."""
    others = {"--no-deps", "--config_file", "--quiet", "--num_processes", "--machine_rank", "--main_process_ip"}
    others |= {"--volume", "--work-dir"}
    for page in PAGES:
        text = page.read_text()
        lines = [words for words in lines_of(page) if words[0] == "mrd-hf" or "pretrain" in " ".join(words)]
        printed = options_in(" ".join(word for words in lines for word in words))
        spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
        printed |= options_in(" ".join(spans))
        assert printed <= shown | others, page.name


@pytest.mark.parametrize("arguments", [["demo"], ["demo", "TEACHER=openai/clip-vit-base-patch32"]], ids=" ".join)
def test_the_commands_that_make_runs_are_understood(arguments, monkeypatch):
    monkeypatch.chdir(ROOT)
    shown = subprocess.run(["make", "--dry-run", *arguments], capture_output=True, text=True, check=True).stdout
    own = r"^\.venv/bin/(?:accelerate launch|mrd-hf|python scripts)(?:.*\\\n)*.*"
    lines = command_lines("\n".join(re.findall(own, shown, flags=re.MULTILINE)))
    assert len(lines) == 1 + len(arguments)
    for words in lines:
        check(words)


@pytest.mark.parametrize(
    ("arguments", "collection"),
    [([], []), (["TEACHER=openai/clip-vit-base-patch32"], ["--collection", "outputs/demo_data_teacher"])],
)
def test_the_page_that_make_opens_has_the_encoders_own_collection(arguments, collection):
    """As embedded by its teacher; else the page's default, or what a variable of the environment says."""
    command = ["make", "--dry-run", "app", *arguments]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    (words,) = [words for words in command_lines(shown) if "scripts/app/app.py" in words]
    assert words[1:3] == ["scripts/app/app.py", "--model"] and words[4:] == collection


def test_every_command_is_told_of():
    told = {words[1] for page in PAGES for words in lines_of(page) if words[0] == "mrd-hf"}
    assert told == {name for group in COMMANDS.values() for name in group}


def test_one_process_is_launched_quietly():
    """Else a traceback of the launcher follows each message; for several processes it knows no such option.

    The README has the shortest line that works, and where it writes.
    """
    launched = [words for page in PAGES for words in lines_of(page) if words[:2] == ["accelerate", "launch"]]
    assert len(launched) > 3
    for words in launched:
        several = any(word.endswith("yaml") and "accelerate/" in word for word in words)
        shortest = shlex.split("accelerate launch scripts/pretrain.py --config scripts/recipes/demo.yaml --output-dir")
        assert words[:-1] == shortest or several != ("--quiet" in words), words


def test_fine_tuning_is_told_how_long_by_the_line_or_its_recipe():
    """The default, 100,000 steps, is for no data that a page names."""
    lines = [words for page in PAGES for words in lines_of(page) if words[:2] == ["mrd-hf", "finetune"]]
    assert len(lines) > 3
    for words in lines:
        assert "--config" in words or {"--num-train-steps", "--warmup-steps"} <= set(words), words


def test_every_extra_is_told_of():
    table = section(ROOT / "docs" / "install.md", "Extras")
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, flags=re.MULTILINE)) == EXTRAS
