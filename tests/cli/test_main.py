"""How the command ends: help at once, exit codes, interruptions, pipes that nobody reads to the end."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_commands import save_tiny_encoder, write_shapes

from mrd_hf.cli import classify, output
from mrd_hf.cli.output import one_line, printable
from mrd_hf_cli import parser
from mrd_hf_cli.main import main, run
from mrd_hf_cli.parser import make_parser


COMMANDS = ("classify", "embed", "index", "search", "render")


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
        make_parser().parse_args(["--help"])
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert f"  mrd-hf {command} " in shown
    assert all(len(line) < 120 for line in shown.splitlines())


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"\n  mrd-hf {command} " in shown and "--json" in shown


def test_examples_are_understood():
    for text in (parser.DESCRIPTION, parser.CLASSIFY, parser.EMBED, parser.INDEX, parser.SEARCH, parser.RENDER):
        for line in re.findall(r"^  mrd-hf (.*)$", text, re.MULTILINE):
            words = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', line)]
            assert make_parser().parse_args(words).command == words[0]


@pytest.mark.parametrize(
    "arguments", [[], ["embed", "a"], ["classify", "a"], ["render", "a", "--views", "0"], ["fly"]]
)
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args(arguments)
    assert ended.value.code == 2 and "usage: mrd-hf" in capsys.readouterr().err


def test_an_interruption_ends_with_130(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(classify, "run", interrupted)
    monkeypatch.setattr(output, "set_up_logging", lambda: None)  # the test run's logging stays as it is
    with pytest.raises(SystemExit) as ended:
        main(["classify", "a", "--labels", "b"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


# The command, in which the second file takes forever.
WAITING = """
import time
from mrd_hf.cli import classify
from mrd_hf_cli.main import main
check_size = classify.check_size
classify.check_size = lambda path: time.sleep(600) if path.endswith("cloud.npy") else check_size(path)
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


def test_a_closed_pipe_is_no_accident(monkeypatch):
    def prints(options):
        print("a line")
        return 0

    monkeypatch.setattr(classify, "run", prints)
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does when it has seen enough
    with open(writing, "w", buffering=1) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert run(make_parser().parse_args(["classify", "a", "--labels", "b"])) == 141
        monkeypatch.undo()
    # and closing it, as Python does at its end, raised nothing


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
