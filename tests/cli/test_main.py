"""How the command ends: help at once, exit codes, interruptions, pipes that nobody reads to the end."""

import logging
import os
import re
import runpy
import signal
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.paths import ROOT
from tiny_commands import save_tiny_encoder, write_shapes
from tqdm import tqdm

import mrd_hf
from mrd_hf.cli import classify, output
from mrd_hf.cli.output import one_line, printable
from mrd_hf_cli import parser
from mrd_hf_cli.encoder_choice import ENCODER_COMMANDS
from mrd_hf_cli.main import main
from mrd_hf_cli.parser import make_parser, parse
from mrd_hf_cli.running import run_script


COMMANDS = ("classify", "embed", "index", "search", "render", "inspect")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "shown"), [(["--help"], 0, "mrd-hf classify"), (["classify", "a"], 2, "--labels")]
)
def test_help_and_mistyped_options_do_not_wait_for_torch(arguments, exit_code, shown):
    code = """
import atexit, sys
atexit.register(lambda: print("imported:", {"torch", "transformers", "numpy", "mrd_hf"} & set(sys.modules)))
from importlib.metadata import entry_points
(command,) = entry_points(group="console_scripts", name="mrd-hf")
command.load()()
"""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == exit_code, done.stderr
    assert shown in done.stdout + done.stderr and "imported: set()" in done.stdout


def test_help_begins_with_examples(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert f"  mrd-hf {command} " in shown
    assert all(len(line) < 120 for line in shown.splitlines())


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        parse([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"\n  mrd-hf {command} " in shown and "--json" in shown


def test_examples_are_understood():
    for text in (
        parser.DESCRIPTION,
        parser.CLASSIFY,
        parser.EMBED,
        parser.INDEX,
        parser.SEARCH,
        parser.RENDER,
        parser.INSPECT,
    ):
        for line in re.findall(r"^  mrd-hf (.*)$", text, re.MULTILINE):
            words = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', line)]
            assert parse(words).command == words[0]


@pytest.mark.parametrize(
    "arguments", [[], ["embed", "a"], ["classify", "a"], ["render", "a", "--views", "0"], ["fly"], ["index", "a", "b"]]
)
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2 and "usage: mrd-hf" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", "a.glb", "--lables", "x,y"], "unrecognized argument: --lables; did you mean --labels?"),
        (["embed", "a", "-o", "b.parquet", "--batchsize=3"], "--batchsize=3; did you mean --batch-size?"),
        (["search", "i", "-x", "t"], "unrecognized argument: -x\n"),
        (["search", "i", "chair", "--text", "chair"], "TEXT is given twice, once as --text\n"),
        (["clasifi", "a.glb"], "no command is called 'clasifi'; did you mean classify? mrd-hf --help lists them\n"),
        (["fly"], "no command is called 'fly'; mrd-hf --help lists them\n"),
        (["pretrian", "a"], "no command is called 'pretrian'; did you mean pretrain? mrd-hf --help lists them\n"),
        (["search", "i", "chair", "-k", "few"], "argument -k/--top-k: expected a whole number from 1, got few\n"),
        (["render", "a.glb", "--skip-parts", "a("], "argument --skip-parts: 'a(' is no regular expression: missing )"),
    ],
)
def test_a_mistyped_option_is_told_what_it_is_like(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2 and message in capsys.readouterr().err


# For each command: the arguments that are no options and keep their order, and options, each with its value.
IN_ANY_ORDER = {
    "classify": (
        ["a.glb", "folder", "-"],
        [["--labels", "x,y"], ["--top-k", "3"], ["--template", "a {}"], ["--batch_size=4"], ["--json"]],
    ),
    "embed": (["a.glb", "folder"], [["-o", "e.parquet"], ["--model", "m"], ["--overwrite"], ["--skip_parts", "^a b"]]),
    "index": (["models"], [["-oi"], ["--split", "test"], ["--dataset"], ["--batch-size", "4"]]),
    "search": (["index", "a red chair"], [["-k", "5"], ["--teacher", "t"], ["--keep-collision"], ["--device", "cpu"]]),
    "render": (["a.glb"], [["--output=a.png"], ["--views", "2"], ["--up-axis", "z"], ["--json"]]),
    "inspect": (["a.glb", "folder"], [["--parts"], ["--json"]]),
}


@pytest.mark.parametrize("command", COMMANDS)
@given(data=st.data())
@hypothesis_settings(max_examples=40)
def test_options_and_other_arguments_come_in_any_order(command, data):
    others, options = IN_ANY_ORDER[command]
    parser = make_parser()[1][command]
    in_order = parser.parse_args([*others, *(word.replace("_", "-") for option in options for word in option)])
    pieces = data.draw(st.permutations([*options, *([None] * len(others))]))
    left = iter(others)
    words = [word for piece in pieces for word in ([next(left)] if piece is None else piece)]
    assert vars(parse([command, *words])) == vars(in_order) | {"command": command}


def test_search_takes_the_options_that_other_commands_have():
    plain = vars(parse(["search", "i", "a chair", "-k", "3"]))
    for words in (["i", "--text", "a chair", "--top-k", "3"], ["--top_k=3", "--text=a chair", "i"]):
        assert vars(parse(["search", *words])) | {"text_option": None} == plain


def test_help_says_which_commands_have_their_encoder_from_the_environment():
    """`app` has a parser of its own, which tests/app/test_app_server.py looks at."""
    told = re.search(r"^The encoder of (.*) is --model or the environment variable MRD_MODEL", parser.EPILOG)
    assert set(re.findall(r"\w+", told[1].replace(" and ", " "))) == {*ENCODER_COMMANDS, "app"}


def test_what_follows_two_hyphens_is_no_option():
    assert parse(["search", "i", "-k", "2", "--", "-k"]).text == "-k"
    assert parse(["search", "--", "-i", "--json"]).index == "-i"
    assert parse(["classify", "--labels", "a_b", "--", "--x_y"]).files == ["--x_y"]


def test_the_version_is_one_everywhere(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out == f"mrd-hf {mrd_hf.__version__}\n"
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == mrd_hf.__version__


def test_the_package_runs_as_the_command_does(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["-m", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("mrd_hf", run_name="__main__", alter_sys=True)
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("usage: mrd-hf ")


def test_an_interruption_ends_with_130(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(classify, "run", interrupted)
    monkeypatch.setattr(output, "set_up_logging", lambda: None)  # the test run's logging stays as it is
    with pytest.raises(SystemExit) as ended:
        main(["classify", "a", "--labels", "b"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


# As a script that imports no torch.
PRINTING = """
from mrd_hf_cli.ending import without_traceback
with without_traceback():
    for number in range(100_000):
        print(number)
"""
# The command, in which the second file takes forever.
WAITING = """
import time
from mrd_hf.models import point_preparation as extraction
from mrd_hf_cli.main import main
read_shape = extraction.read_shape
extraction.read_shape = lambda path, *choice: time.sleep(600) if path.endswith("cloud.npy") else read_shape(path)
main()
"""


def test_a_real_interruption_ends_with_130(tmp_path):
    encoder = save_tiny_encoder(tmp_path / "encoder")
    box, _, cloud, _ = write_shapes(tmp_path / "shapes")
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, "classify", box, cloud, "--labels", "a,b", "--model", encoder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == f"{box}\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and stderr == "interrupted\n"


@contextmanager
def unread_stdout(monkeypatch, **options):
    """A stdout that nobody reads, as `| head` leaves it when it has seen enough; closing it must raise nothing."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", **options) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        yield
        monkeypatch.undo()


def test_a_closed_pipe_is_no_accident(monkeypatch):
    def prints(options):
        print("a line")
        return 0

    monkeypatch.setattr(classify, "run", prints)
    monkeypatch.setattr(output, "set_up_logging", lambda: None)
    with unread_stdout(monkeypatch), pytest.raises(SystemExit) as ended:
        main(["classify", "a", "--labels", "b"])
    assert ended.value.code == 141


@pytest.mark.parametrize("arguments", [["--help"], ["search", "--help"], ["--version"]])
def test_help_into_a_closed_pipe_is_none_either(arguments, monkeypatch):
    with unread_stdout(monkeypatch), pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 141


@pytest.mark.parametrize("buffering", [-1, 1])
def test_nor_is_it_one_of_a_script(buffering, monkeypatch):
    with unread_stdout(monkeypatch, buffering=buffering), pytest.raises(SystemExit) as ended:
        run_script(lambda: print("a line"))
    assert ended.value.code == 141


def test_another_closed_pipe_is_not_taken_for_that_of_the_output():
    def uploads():
        raise BrokenPipeError("the Hub's end")

    with pytest.raises(BrokenPipeError, match="the Hub's end"):
        run_script(uploads)


@pytest.mark.parametrize(
    ("program", "unbuffered"),
    [(["-m", "mrd_hf_cli.main", "--help"], ""), (["-c", PRINTING], ""), (["-c", PRINTING], "1")],
)
def test_a_real_closed_pipe_leaves_stderr_clean(program, unbuffered):
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    process = subprocess.Popen(
        [sys.executable, *program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 141


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("chair", "chair"),
        ("стул 椅子 🪑 ö\u00a0é", "стул 椅子 🪑 ö\u00a0é"),
        ("\x1b[31m\x07\x9b\x7f\r\n\t\0", r"\x1b[31m\x07\x9b\x7f\r\n\t\x00"),
        ("a\u202eb\u2066\u200e\ufeff\u2028", r"a\u202eb\u2066\u200e\ufeff\u2028"),
        ("👩\u200d🚀 می\u200cخواهم", "👩\u200d🚀 می\u200cخواهم"),
        (os.fsdecode(b"\xe9.ply"), r"\udce9.ply"),
    ],
)
def test_what_moves_cursors_is_shown_as_an_escape(text, shown):
    assert printable(text) == shown
    assert one_line(f"  {text}\n{text} ".replace("\r\n\t", "")).count("\n") == 0


def test_paths_of_the_fixture_are_found_as_the_command_finds_them(tmp_path):
    from mrd_hf.cli.shape_files import find_shapes

    files = write_shapes(tmp_path / "shapes")
    assert [Path(file) for file in find_shapes([str(tmp_path / "shapes"), str(files[1])])] == files


def test_shapes_behind_links_are_found_and_hidden_ones_are_not(tmp_path):
    from mrd_hf.cli.shape_files import find_shapes

    expected = write_shapes(tmp_path / "elsewhere")
    for name in ("._a.off", "__MACOSX/a.off", ".cache/a.off"):
        (tmp_path / "shapes" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shapes" / name).write_bytes(expected[0].read_bytes())
    (tmp_path / "shapes" / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    found = [
        Path(file).relative_to(tmp_path / "shapes" / "linked") for file in find_shapes([str(tmp_path / "shapes")])
    ]
    assert found == [file.relative_to(tmp_path / "elsewhere") for file in expected]
    given = str(tmp_path / "shapes" / "._a.off")  # by name
    assert find_shapes([given]) == [given]


def test_a_warning_has_a_line_of_its_own_beside_a_bar(capsys):
    logger = logging.getLogger("test of warnings beside bars")
    logger.propagate = False
    handler = output._BesideBars()
    handler.setFormatter(output._OneLineFormatter())
    logger.addHandler(handler)
    with tqdm(total=2, desc="Reading", file=sys.stderr, mininterval=0) as bar:
        bar.update()
        logger.warning("lines\nleft out")
        bar.update()
    logger.removeHandler(handler)
    shown = re.split(r"[\r\n]", capsys.readouterr().err)
    assert "warning: lines left out" in shown and sum("Reading" in line for line in shown) > 2
