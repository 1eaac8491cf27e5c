"""`mrd-hf analyze` as a user runs it: table, report, pictures, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from sklearn.metrics import silhouette_score
from support.forked_processes import run_command
from support.paths import SCRIPTS
from support.tiny_encoders import tiny_encoder
from support.tiny_triplets import WIDTH, save_tiny_triplets

from mrd_hf import PointCloudFeatureExtractor
from mrd_hf.commands import analyze as analyze_command
from mrd_hf.data.loading import load_triplets
from mrd_hf.encoder import load_encoder
from mrd_hf.errors import UserError
from mrd_hf.evaluation.encoding import encode_dataset


PATH = SCRIPTS / "analyze_relations.py"
PICTURES = ("similarities.png", "measures.png", "divergences.png", "geometry.png", "forms.png")


def save_encoder(
    folder: Path,
    width: int = WIDTH,
    kind: str = "openshape",
    scale: float = 1.0,
    teacher: str | None = "a-teacher",
) -> Path:
    model = tiny_encoder(kind, projection_dim=width, teacher_id=teacher)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    model.save_pretrained(folder)
    PointCloudFeatureExtractor(num_points=64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return save_tiny_triplets(tmp_path_factory.mktemp("data") / "tiny", train=8, test=14)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("models") / "trained", scale=1.7)


def analyze(monkeypatch, model: Path, dataset: Path, out: Path, *arguments: str, draw: tuple[str, ...] = ()) -> dict:
    """The report; drawing takes most of the time, so pictures that nothing looks at are left out."""
    for plot in ("similarity", "measures", "divergence", "geometry", "form"):
        if plot not in draw:
            monkeypatch.setattr(analyze_command, f"write_{plot}_plot", lambda *_: None)
    required = ["--model", str(model), "--dataset", str(dataset), "--out", str(out)]
    analyze_command.main([*required, *arguments])
    return json.loads((out / "report.json").read_text())


def values(report: dict, moment: str) -> list[float]:
    return [row[moment] for group in report["measures"].values() for row in group.values()]


def test_a_user_gets_a_table_a_report_and_pictures_and_the_same_bytes_again(dataset, encoder, tmp_path, monkeypatch):
    command = [PATH, "--model", encoder, "--dataset", dataset, "--k", "3", "5"]
    finished = run_command([*command, "--out", tmp_path / "one"])
    assert finished.returncode == 0, finished.stderr
    assert "14 shapes of" in finished.stdout and "untrained weights, seed 0" in finished.stdout
    lines = finished.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("measure"))
    end = lines.index("", start)
    assert lines[start].split() == ["measure", "before", "after", "best", "chance"]
    cells = [line for line in lines[start:end] if line.startswith("  ")]
    assert len({len(line) for line in cells}) == 1 and len(cells) == 4 * (4 + 1 + 2) + 2 * 2 + 3 * 3 + 3 * 6
    assert any(line.split()[:4] == ["3", "nearest", "neighbours", "kept"] for line in cells)

    torch.manual_seed(99)  # untrained weights are not of this
    analyze(monkeypatch, encoder, dataset, tmp_path / "two", "--k", "3", "5", draw=("form",))
    for name in ("report.json", "forms.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    for name in PICTURES:
        with Image.open(tmp_path / "one" / name) as picture:
            assert picture.width > 1000 and len(set(picture.convert("L").resize((60, 60)).tobytes())) > 20


def test_the_figures_are_those_of_the_encoders_and_their_chance(dataset, encoder, tmp_path, monkeypatch):
    report = analyze(monkeypatch, encoder, dataset, tmp_path, "--k", "3", "--batch_size", "5")
    assert report["settings"] == {
        "dataset": str(dataset),
        "split": "test",
        "num_shapes": 14,
        "before": "untrained weights, seed 0",
        "after": str(encoder),
        "k": [3],
        "temperature": 0.07,
    }
    shapes = load_triplets(dataset, "test")
    images = np.concatenate(shapes.with_format("numpy")["image_embeds"]).astype(np.float64)
    loaded = load_encoder(str(encoder))
    for moment, its in (("before", analyze_command.untrained(loaded)), ("after", loaded)):
        points = encode_dataset(its.model, its.extractor, shapes).double().numpy()
        correlations = []
        for i in range(14):
            others = np.arange(14) != i
            cosines = [(e[others] @ e[i]) / np.linalg.norm(e[others], axis=1) for e in (images, points)]
            correlations.append(spearmanr(*cosines).statistic)
        intra = report["measures"]["intra_image"]
        assert intra["spearman"][moment] == pytest.approx(np.mean(correlations), abs=1e-5)
        assert 0 <= intra["overlap_at_3"][moment] <= 1
    assert intra["overlap_at_3"]["chance_after"] == pytest.approx(3 / 13, abs=1e-6)
    assert report["measures"]["cross_image_text"]["overlap_at_3"]["chance_before"] == pytest.approx(3 / 14, abs=1e-6)
    assert values(report, "before") != values(report, "after")
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    shares = np.linalg.eigvalsh(np.cov(points.T)) / np.trace(np.cov(points.T))
    ratio = report["measures"]["spread"]["participation_ratio_point"]["after"]
    assert ratio == pytest.approx(1 / (shares**2).sum(), rel=1e-4)
    silhouette = report["measures"]["classes_point"]["silhouette"]["after"]
    assert silhouette == pytest.approx(silhouette_score(points, shapes["category"]), abs=1e-4)
    assert set(report["forms"]["forms"]) == {"normalized_similarity", "euclidean", "partial_order"}
    assert report["forms"]["num_columns"] == 13
    assert intra["divergence_q1"]["after"] <= intra["divergence_median"]["after"] <= intra["divergence_q3"]["after"]


def test_without_categories_there_are_no_classes(encoder, tmp_path, monkeypatch):
    data = save_tiny_triplets(tmp_path / "tiny", train=2, test=8, without=("category",))
    report = analyze(monkeypatch, encoder, data, tmp_path / "out", "--k", "3")
    assert {group for group in report["measures"] if "class" in group} == set()
    assert report["measures"]["spread"]["effective_rank_image"]["after"] > 1


def test_before_may_be_another_encoder(dataset, encoder, tmp_path, monkeypatch):
    same = analyze(monkeypatch, encoder, dataset, tmp_path / "same", "--before", str(encoder), "--k", "3")
    assert values(same, "before") == values(same, "after")
    other = save_encoder(tmp_path / "uni3d", kind="uni3d")
    report = analyze(monkeypatch, encoder, dataset, tmp_path / "uni3d_out", "--before", str(other), "--k", "3")
    assert report["settings"]["before"] == str(other)
    assert values(report, "after") == values(same, "after") != values(report, "before")


def test_temperature_and_split_count(dataset, encoder, tmp_path, monkeypatch):
    arguments = ("--k", "3", "--split", "train")
    cold = analyze(monkeypatch, encoder, dataset, tmp_path / "cold", *arguments)
    warm = analyze(monkeypatch, encoder, dataset, tmp_path / "warm", *arguments, "--temperature", "1")
    assert cold["settings"]["num_shapes"] == 8
    for moment in ("before", "after"):
        means = [report["measures"]["intra_image"]["divergence_mean"][moment] for report in (cold, warm)]
        assert means[0] > 5 * means[1] > 0


def test_all_that_can_be_refused_is_refused_before_encoding(dataset, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(analyze_command, "encode_dataset", lambda *_, **__: pytest.fail("encoded"))
    out = tmp_path / "out"
    wide, without = save_encoder(tmp_path / "wide", 20), tmp_path / "without"
    other = save_encoder(tmp_path / "other", teacher="another")
    nobodys = save_encoder(tmp_path / "nobodys", teacher=None)
    save_tiny_triplets(without, without=("image_embeds", "text_embeds", "teacher"))
    imageless = save_tiny_triplets(tmp_path / "imageless", test=14)
    file = next((imageless / "data").glob("test-*"))
    table = pq.read_table(file)
    place = table.schema.get_field_index("image_embeds")
    table = table.set_column(place, table.schema.field(place), pa.array([[]] * 14, table.schema.field(place).type))
    pq.write_table(table, file)
    (tmp_path / "file").write_text("")
    cases = [
        ((wide, dataset), f"{wide} embeds into width 20, the teacher of {dataset} into {WIDTH}.*mrd-hf embed-teacher"),
        ((encoder, dataset, "--before", wide), f"{wide} embeds into width 20"),
        ((other, dataset), f"those of the teacher a-teacher, and {other} is in the space of another; embed it"),
        ((encoder, dataset, "--before", other), f"those of the teacher a-teacher, and {other} is in the space"),
        ((encoder, dataset, "--teacher", "third"), f"those of the teacher a-teacher, and {encoder} is in the space"),
        ((nobodys, dataset), f"{nobodys} does not say whose embedding space it is in; give --teacher"),
        ((encoder, dataset, "--k", 3, 13), "split 'test' has 14 shapes, and --k 13 needs at least 15; give a smaller"),
        ((encoder, dataset, "--k", 0), "--k must be at least 1, got 0"),
        ((encoder, without), f"{without}: no column 'image_embeds'.*mrd-hf embed-teacher"),
        ((encoder, imageless), f"{imageless}: column 'image_embeds' is empty, as no shape of the split has an image"),
        ((encoder, dataset, "--split", "all"), "has no split 'all'; it has train, test"),
        ((encoder, dataset, "--temperature", 0), "--temperature must be a number above 0, got 0.0"),
        ((encoder, dataset, "--temperature", "nan"), "--temperature must be a number above 0, got nan"),
        ((encoder, dataset, "--batch_size", 0), "--batch-size must be at least 1, got 0"),
        ((tmp_path / "no", dataset), f"cannot load the encoder '{tmp_path / 'no'}'"),
        ((encoder, dataset, "--before", tmp_path / "no"), f"cannot load the encoder '{tmp_path / 'no'}'"),
    ]
    for (model, data, *arguments), message in cases:
        with pytest.raises(UserError, match=message):
            analyze(monkeypatch, model, data, out, *map(str, arguments))
        assert not out.exists()
    with pytest.raises(UserError, match="cannot write to .*file: .*file is a file; name another place"):
        analyze(monkeypatch, encoder, dataset, tmp_path / "file", "--k", "3")
    with pytest.raises(pytest.fail.Exception, match="encoded"):
        analyze(monkeypatch, nobodys, dataset, tmp_path / "new", "--teacher", "a-teacher", "--before", str(other))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "report.json").write_text("earlier")
    with pytest.raises(UserError, match=f"{tmp_path / 'old' / 'report.json'} exists; replace it with --overwrite"):
        analyze(monkeypatch, encoder, dataset, tmp_path / "old", "--k", "3")
    assert (tmp_path / "old" / "report.json").read_text() == "earlier"
    with pytest.raises(pytest.fail.Exception, match="encoded"):  # which comes after all that is refused
        analyze(monkeypatch, encoder, dataset, tmp_path / "old", "--k", "3", "--overwrite")


def test_an_encoder_that_diverged_is_named(dataset, encoder, tmp_path, monkeypatch):
    broken = save_encoder(tmp_path / "broken", scale=float("nan"))
    with pytest.raises(UserError, match=f"what {broken} makes of {dataset} holds a NaN.*take a checkpoint that did"):
        analyze(monkeypatch, broken, dataset, tmp_path / "out", "--k", "3")
    assert not (tmp_path / "out" / "report.json").exists()


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit, match="0"):
        analyze_command.main(["--help"])
    shown = capsys.readouterr().out
    assert "mrd-hf analyze --model outputs/demo/encoder" in shown
    assert "--before" in shown and "report.json" in shown
