"""The Python snippets of the README and of docs/ run as they stand, page by page, and print what they say they print.

They run in a folder like a clone's after `make demo`, with an encoder that was fitted in a second in the demo's place.
"""

import contextlib
import io
import re

import pytest
import yaml
from datasets import load_dataset
from support.fitted_encoder import save_fitted_encoder
from support.pages import PAGES, blocks, command_lines
from support.paths import DEMO_DATA, ROOT
from support.tiny_open_clip import add_tokenizer, save_tiny_open_clip

from mrd_hf.training.recipe_files import RECIPES
from mrd_hf_cli.main import run
from mrd_hf_cli.parser import parse


NAMES = set(load_dataset(str(DEMO_DATA), split="test")["name"])
LABELS = {"a table", "a chair", "a lamp", "a car", "a plant"}
WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]
# The long commands train, fetch and send; tests of their own run them.
SHORT = ("classify", "score", "embed", "index", "search", "render", "inspect")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clone")
    for name in ("scripts", "src", "model_cards"):
        (folder / name).symlink_to(ROOT / name)
    ((teacher, text_tower),) = yaml.safe_load((RECIPES / "demo.yaml").read_text())["text_towers"].items()
    save_fitted_encoder(
        folder / "outputs" / "demo" / "encoder", load_dataset(str(DEMO_DATA), split="test"), teacher, text_tower
    )
    # In the place of a model of 20 GB on the Hub, a tiny one of open_clip's.
    uni3ds_teacher = folder / "timm" / "eva02_enormous_patch14_plus_clip_224.laion2b_s9b_b144k"
    save_tiny_open_clip(uni3ds_teacher, "open_clip_custom_text", vocab_size=add_tokenizer(uni3ds_teacher))
    return folder


@pytest.fixture(autouse=True)
def offline_in_the_clone(clone, monkeypatch):
    monkeypatch.chdir(clone)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def run_snippet(code: str, names: dict) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, "snippet", "exec"), names)
    return out.getvalue()


def check_hits(printed: list[str]) -> None:
    """Three hits a query, the best first; the first of the words' is a chair."""
    assert printed and len(printed) % 3 == 0
    for start in range(0, len(printed), 3):
        hits = [line.partition(" ") for line in printed[start : start + 3]]
        scores = [float(score) for score, _, _ in hits]
        assert {name for _, _, name in hits} <= NAMES and scores == sorted(scores, reverse=True)
    assert "chair" in hits[0][2].lower()


def promised(code: str) -> list[str]:
    """What the prints of a snippet say that they print."""
    return re.findall(r"^print\(.*\)  # (.*)$", code, flags=re.MULTILINE)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_the_snippets_of_a_page_run_in_order_and_print_what_they_say(page):
    names: dict = {}
    for _, code in blocks(page, "python"):
        # transformers' Trainer says on stdout what it took.
        printed = [line for line in run_snippet(code, names).splitlines() if not line.startswith("{'train_")]
        if "hit.item" in code:
            check_hits(printed)
            continue
        assert printed == promised(code), code
        assert len(re.findall(r"print\(", code)) == len(printed), code


def test_what_a_print_says_is_compared():
    """With a wrong promise the comparison above fails."""
    code = "print(1 + 1)  # 2\nprint([3])  # [3]\n"
    assert run_snippet(code, {}).splitlines() == promised(code) == ["2", "[3]"]
    assert run_snippet(code.replace("1 + 1", "1 + 2"), {}).splitlines() != promised(code)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "export MRD_MODEL" in page.read_text()], ids=lambda p: p.name
)
def test_the_short_commands_of_a_page_run(page, clone, capsys, monkeypatch):
    pytest.importorskip("embreex")
    (code,) = [code for _, code in blocks(page, "bash") if "export MRD_MODEL" in code]
    commands = command_lines(code)
    assert commands[0] == ["export", "MRD_MODEL=outputs/demo/encoder"]
    monkeypatch.setenv("MRD_MODEL", "outputs/demo/encoder")
    for program, *arguments in commands[1:]:
        assert program == "mrd-hf" and arguments[0] in SHORT and run(parse(arguments)) == 0, arguments
        out = capsys.readouterr().out
        if arguments[0] == "classify":
            assert sorted(re.findall(r"%  (.*)", out)) == sorted(LABELS)
            assert re.search(r"%  (.*)", out)[1] == "a chair"
        if arguments[0] == "search":
            assert len(out.splitlines()) == 5 and all(any(name in line for name in NAMES) for line in out.splitlines())
        if arguments[0] == "render":
            assert (clone / "outputs" / "demo" / "chair.png").stat().st_size > 1000


def test_the_pages_with_snippets_are_those_expected():
    assert {page.name for page in WITH_PYTHON} >= {"README.md", "serving.md", "finetuning.md", "evaluation.md"}
