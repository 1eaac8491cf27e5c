"""`mrd-hf analyze-gradients` as a user runs it: report, table and pictures of tiny runs, and what it refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny_runs import train_tiny_run
from support.tiny_triplets import WIDTH, save_tiny_triplets

from mrd_hf.commands import analyze_gradients
from mrd_hf.errors import UserError
from mrd_hf.training.replay.replayed_batches import open_triplets, replayed_batches
from mrd_hf.training.replay.run_folder import RunFolder


PICTURES = ("norms.png", "cosines.png", "matrices.png")
TERMS = ["point_image", "point_text", "intra_image", "intra_text", "cross_image_text", "cross_text_image"]
SUMS = ["alignment", "intra", "cross", "relations", "loss"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return save_tiny_triplets(tmp_path_factory.mktemp("data") / "tiny", test=10)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data) -> list[Path]:
    """One by dynamic weights, one of the alignment alone."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        train_tiny_run(folder / "mrd" / "pretrain", data),
        train_tiny_run(
            folder / "contrastive" / "pretrain", data, mrd_config={"loss": "contrastive"}, num_train_steps=2
        ),
    ]


def analyze(out: Path, *words: object, draw: tuple[str, ...] = ()) -> dict:
    """The report; drawing takes most of the time, so pictures that nothing looks at are left out."""
    with pytest.MonkeyPatch.context() as patch:
        for plot in ("norm", "cosine", "matrix"):
            if plot not in draw:
                patch.setattr(analyze_gradients, f"write_{plot}_plot", lambda *_: None)
        analyze_gradients.main([*map(str, words), "--output", str(out), "--batches", "2", "--cpu-threads", "1"])
    return json.loads((out / "report.json").read_text())


@pytest.fixture(scope="module")
def out(tmp_path_factory, runs) -> Path:
    folder = tmp_path_factory.mktemp("out")
    analyze(folder, *runs, draw=("matrix",))
    return folder


def test_a_user_gets_a_report_of_all_checkpoints(out, runs):
    report = json.loads((out / "report.json").read_text())
    assert report["settings"] == {"batches": 2, "seed": 0} and list(report["runs"]) == ["mrd", "contrastive"]
    mrd, contrastive = report["runs"].values()
    assert [c["step"] for c in mrd["checkpoints"]] == [0, 2, 4] and mrd["folder"] == str(runs[0])
    assert [c["step"] for c in contrastive["checkpoints"]] == [0, 2] and contrastive["batch_size"] == 8
    assert all(c["encoder"]["cosines"]["rows"] == [*TERMS, *SUMS] for c in mrd["checkpoints"])
    rows = contrastive["checkpoints"][0]["embeddings"]["cosines"]["rows"]
    assert rows == [*TERMS[:2], "alignment", "loss"]


def test_the_same_again_is_the_same_to_the_last_byte_and_prints_a_table(out, runs, tmp_path, capsys):
    torch.manual_seed(99)
    analyze(tmp_path, *runs, draw=("matrix",))
    for name in ("report.json", "matrices.png"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name
    shown = capsys.readouterr().out
    assert re.search(r"^ +2( +\d+\.\d{3}){4}( +-?\d\.\d\d sd \d\.\d\d \(-?\d\.\d\d\)){2}$", shown, re.MULTILINE)
    assert re.search(r"^contrastive\n +0 +\d+\.\d{3} +- +- +\d+\.\d{3} +- +-$", shown, re.MULTILINE)
    assert "matrices.png" in shown


def test_figures_are_those_of_the_model_on_its_batches(out, runs):
    """By torch's own backward of the whole loss, and the model's own output."""
    checkpoints = json.loads((out / "report.json").read_text())["runs"]["mrd"]["checkpoints"]
    run = RunFolder.open(runs[0])
    triplets = open_triplets(run, run.data.dataset, "train", 0)
    for saved, checkpoint in zip(run.models(WIDTH, "a-teacher"), checkpoints, strict=True):
        model, norms, outputs = saved.load().train(), [], []
        for inputs in replayed_batches(run, triplets, 8, 2, 0):
            outputs.append(model(**inputs))
            model.zero_grad()
            outputs[-1].loss.backward()
            grads = [p.grad for p in model.point_bert.parameters() if p.grad is not None]
            norms.append(np.sqrt(sum(g.double().square().sum().item() for g in grads)))
        assert checkpoint["encoder"]["norms"]["loss"]["mean"] == pytest.approx(np.mean(norms), rel=1e-4)
        losses = [output.loss.item() for output in outputs]
        assert checkpoint["losses"]["loss"]["mean"] == pytest.approx(np.mean(losses), rel=1e-5)
        relations = np.mean([output.relation_losses.tolist() for output in outputs], axis=0)
        assert [checkpoint["losses"][name]["mean"] for name in TERMS[2:]] == pytest.approx(relations, rel=1e-5)
    # Weights begin alike, at 0.3 / 4 each, and are learned.
    first, last = checkpoints[0]["weights"], checkpoints[-1]["weights"]
    assert [first[name] for name in TERMS] == pytest.approx([0.5, 0.5, *4 * [0.075]])
    assert len({last[name] for name in TERMS[2:]}) == 4


def test_where_the_batches_are_from_can_be_said_and_three_pictures_are_drawn(runs, data, tmp_path):
    words = ("--dataset", data, "--split", "test", "--batch-size", 5, "--seed", 3)
    report = analyze(tmp_path, runs[1], *words, draw=("norm", "cosine", "matrix"))
    for name in PICTURES:
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 900 and len(set(picture.convert("L").resize((60, 60)).tobytes())) > 15
    (found,) = report["runs"].values()
    assert (found["dataset"], found["split"], found["batch_size"]) == (str(data), "test", 5)
    other = analyze(tmp_path, runs[1], "--split", "test", "--batch-size", 5, "--overwrite")
    assert found["checkpoints"] != next(iter(other["runs"].values()))["checkpoints"]


def test_what_is_refused(runs, tmp_path):
    with pytest.raises(UserError, match="is no folder of a run"):
        analyze(tmp_path / "new", tmp_path)
    with pytest.raises(UserError, match="a run is given twice"):
        analyze(tmp_path / "new", runs[0], runs[0])
    with pytest.raises(UserError, match="no split 'none'; it has train, test"):
        analyze(tmp_path / "new", runs[0], "--split", "none")
    with pytest.raises(UserError, match="lower per_device_batch_size|fewer than one global batch"):
        analyze(tmp_path / "new", runs[0], "--batch-size", 41)
    assert not (tmp_path / "new").exists()
    (tmp_path / "report.json").write_text("earlier")
    with pytest.raises(UserError, match="report.json exists; replace it with --overwrite"):
        analyze(tmp_path, runs[0])
