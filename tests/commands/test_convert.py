"""`mrd-hf convert` as a user runs it."""

import runpy
import sys

import pytest
import torch
from support.golden import drawn_tensors, original_shapes
from support.paths import ROOT
from transformers import AutoModel

from mrd_hf.commands.convert import main


SCRIPT = ROOT / "scripts" / "convert_checkpoint.py"


def test_converts_and_says_what_it_made(tmp_path, capsys):
    tensors = drawn_tensors(original_shapes("openshape_pointbert_scaling1"))
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "model.pt")
    main([str(tmp_path / "model.pt"), "--output", str(tmp_path / "out" / "openshape")])
    table = dict(line.split("  ", maxsplit=1) for line in capsys.readouterr().out.splitlines())
    table = {name.strip(): value.strip() for name, value in table.items()}
    assert table["peer"] == "OpenShape (arXiv 2305.10764)"
    assert table["network"] == "PointBertModel, 6 layers of width 256"
    assert table["parameters"] == "5.1M, float32"
    assert table["patches"] == "64 of 256 points, the first within 0.4 of each center"
    assert table["left out"] == "epoch"
    assert table["up axis"].startswith("z")
    assert table["folder"] == str(tmp_path / "out" / "openshape")
    weight = AutoModel.from_pretrained(tmp_path / "out" / "openshape").projection.weight
    assert torch.equal(weight, tensors["module.proj.weight"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: resnet.pt: the tensors are none of those of"),
        (["--preset", "ulip"], "error: --preset ulip: there is no such preset of OpenShape's PointBERT; choose of"),
        (["--filename", "x.pt"], "leave it out"),
    ],
)
def test_errors_are_one_message_and_code_2(tmp_path, monkeypatch, capsys, arguments, message):
    torch.save({"conv1.weight": torch.zeros(2, 3)}, tmp_path / "resnet.pt")
    command = [str(SCRIPT), str(tmp_path / "resnet.pt"), "--to", str(tmp_path / "out"), *arguments]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert exit.value.code == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert ("conv1.weight (2x3)" in errors) == (arguments == [])
    assert not (tmp_path / "out").exists()


def test_help_names_the_peers_and_gives_examples(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--help"])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert exit.value.code == 0
    shown = capsys.readouterr().out
    assert all(peer in shown for peer in ("OpenShape", "MixCon3D", "TAMM", "ULIP", "ULIP-2", "Uni3D", "examples:"))
