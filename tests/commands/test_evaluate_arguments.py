"""What `mrd-hf evaluate` is asked for and cannot give is said, in one message, and nothing is passed over."""

import runpy
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from accelerate import PartialState
from support.paths import SCRIPTS
from support.tiny_triplets import WIDTH, save_tiny_triplets

from mrd_hf import PointBertConfig, PointBertModel, PointCloudFeatureExtractor


SCRIPT = SCRIPTS / "evaluate.py"
TINY = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_patches": 4,
    "patch_size": 4,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return save_tiny_triplets(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "encoder"
    PointBertModel(PointBertConfig(**TINY, projection_dim=WIDTH, teacher_id="a-teacher")).save_pretrained(folder)
    PointCloudFeatureExtractor(num_points=32).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def on_this_process(monkeypatch):
    """What `accelerate` keeps of its state for the process, and threads, are as before afterwards."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    yield
    PartialState._reset_state()


def refused(monkeypatch, capsys, *arguments):
    """The message of a run that fails, on its last line."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compare", "a", "b", "--linear-probe"], "--compare takes two finished evaluations, so no --linear-probe"),
        (
            ["--compare", "a", "b", "--class-texts", "c"],
            "--compare takes two finished evaluations, so no --class-texts",
        ),
        (
            ["--model", "m", "--data", "d", "--variant", "obj_bg"],
            "--variant is of scanobjectnn, and the --benchmark is",
        ),
        (
            ["--model", "m", "--data", "d", "--class-texts", "c", "--templates", "clip"],
            "--class-texts has their embed",
        ),
        (["--model", "m", "--data", "d", "--batch-size", "0"], "--batch-size must be at least 1, not 0"),
        (["--model", "m", "--data", "d", "--seed", "-1"], "--seed must be at least 0, not -1"),
        (["--model", "m"], "give --model and --dataset"),
    ],
)
def test_options_that_do_not_go_together(monkeypatch, capsys, arguments, message):
    assert message in refused(monkeypatch, capsys, *arguments, "--out", "o")


def test_class_texts_need_categories(encoder, tmp_path, monkeypatch, capsys):
    """Neither a column nor, in this split, a value: zero-shot scores were asked for, and cannot be."""
    data = save_tiny_triplets(tmp_path / "bare", without=("category",))
    options = ["--model", encoder, "--data", data, "--class-texts", data / "class_texts.parquet"]
    message = refused(monkeypatch, capsys, *options, "--out", tmp_path / "out")
    assert f"error: {data}: no column 'category'" in message and "class_texts.parquet" in message
    data = save_tiny_triplets(tmp_path / "null")
    file = data / "data" / "test-00000-of-00001.parquet"
    table = pq.read_table(file)
    place = table.column_names.index("category")
    nothing = pa.nulls(len(table), pa.string())
    pq.write_table(table.set_column(place, table.schema.field(place), nothing), file)
    options[3] = data
    message = refused(monkeypatch, capsys, *options, "--out", tmp_path / "out")
    assert f"error: {data}: no shape has a 'category'" in message
    assert not (tmp_path / "out").exists()


def test_templates_have_nothing_to_embed_where_embeddings_are_cached(dataset, encoder, tmp_path, monkeypatch, capsys):
    options = ["--model", encoder, "--data", dataset, "--templates", "clip", "--out", tmp_path / "out"]
    message = refused(monkeypatch, capsys, *options)
    assert "--templates has nothing to embed" in message and "--class-templates clip" in message


@pytest.mark.parametrize("flag", ["--few-shot", "--linear-probe"])
def test_probes_name_the_class_texts_that_they_lack(dataset, encoder, tmp_path, monkeypatch, capsys, flag):
    options = ["--model", encoder, "--data", dataset, flag, "--out", tmp_path / "out"]
    message = refused(monkeypatch, capsys, *options)
    assert flag in message and "give the classes by --class-texts, or leave it out." in message
    if flag == "--few-shot":  # of four classes, which are too few
        message = refused(monkeypatch, capsys, *options, "--class-texts", dataset / "class_texts.parquet")
        assert "needs five classes of two shapes in test; leave it out." in message


def test_robustness_needs_something_to_compare(encoder, tmp_path, monkeypatch, capsys):
    """Neither images nor classes."""
    data = save_tiny_triplets(tmp_path / "bare")
    file = data / "data" / "test-00000-of-00001.parquet"
    table = pq.read_table(file)
    place = table.column_names.index("image_embeds")
    nothing = pa.array([[]] * len(table), table.schema.field(place).type.storage_type)
    pq.write_table(table.set_column(place, table.schema.field(place).with_type(nothing.type), nothing), file)
    options = ["--model", encoder, "--data", data, "--robustness", "--out", tmp_path / "out"]
    message = refused(monkeypatch, capsys, *options)
    assert "has no images, so --robustness has nothing to compare; give the classes by --class-texts" in message


def test_a_map_needs_three_embeddings(encoder, tmp_path, monkeypatch, capsys):
    """Two shapes without images and names are too few; what is refused is refused before the encoding."""
    without = ("image_embeds", "text_embeds", "teacher")
    data = save_tiny_triplets(tmp_path / "two", test=2, without=without)
    options = ["--model", encoder, "--data", data, "--map", "--out", tmp_path / "out"]
    message = refused(monkeypatch, capsys, *options)
    assert f"{data}: has 2 shapes in test, and --map needs three embeddings or more; leave it out." in message
    assert not (tmp_path / "out").exists()


def test_a_split_that_there_is_not(dataset, encoder, tmp_path, monkeypatch, capsys):
    options = ["--model", encoder, "--data", dataset, "--split", "validation", "--out", tmp_path / "out"]
    message = refused(monkeypatch, capsys, *options)
    assert "has no split 'validation'; it has train, test." in message and "--test-share" in message


def test_a_corruption_that_changes_nothing_is_named(dataset, encoder, tmp_path, monkeypatch, capsys):
    options = ["--model", encoder, "--data", dataset, "--robustness", "--out", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, options)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr()
    (line,) = (line for line in printed.err.splitlines() if line.startswith("--robustness: without effect"))
    assert "thin_512" in line and "jitter" not in line  # of 96 points
    assert f"no zero-shot scores without --class-texts {dataset / 'class_texts.parquet'}" in printed.err
    assert "jitter" in printed.out and "thin_512" not in printed.out
