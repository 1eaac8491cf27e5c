"""`mrd-hf evaluate` as a user runs it."""

import io
import json
import re
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import trimesh
from accelerate import PartialState
from datasets import Dataset
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file
from support.launched import run_as_launched
from support.paths import SCRIPTS
from support.published_layouts import MODELNET40, save_pickled, write_openshape_modelnet
from support.tiny_teachers import CLIP_WIDTH, save_tiny_clip
from support.tiny_triplets import NAMES, WIDTH, save_tiny_triplets

from mrd_hf import PointBertConfig, PointBertModel, PointCloudFeatureExtractor
from mrd_hf.commands.evaluate import main, open_training, parse_arguments
from mrd_hf.data.embedding.cached_teacher import split_identifier
from mrd_hf.data.loading import load_all_splits
from mrd_hf.data.sources.openshape import TEACHER as OPENSHAPES_TEACHER
from mrd_hf.errors import UserError
from mrd_hf.evaluation.scored_shapes import ShapeOptions, open_shapes
from mrd_hf.models.left_out_parts import SEEN
from mrd_hf.teacher import folder_identifier
from mrd_hf_cli.running import run_script


SCRIPT = SCRIPTS / "evaluate.py"
TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_patches": 8,
    "patch_size": 8,
}
MODELNET10_CLASSES = [
    "bathtub",
    "bed",
    "chair",
    "desk",
    "dresser",
    "monitor",
    "night_stand",
    "sofa",
    "table",
    "toilet",
]


def save_encoder(folder: Path, width: int, teacher: str | None = "a-teacher") -> Path:
    PointBertModel(PointBertConfig(**TINY, projection_dim=width, teacher_id=teacher)).save_pretrained(folder)
    PointCloudFeatureExtractor(num_points=64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return save_tiny_triplets(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(autouse=True)
def on_cpus(monkeypatch):
    for name, value in {"HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)


def evaluate(model: Path, dataset: Path, out: Path, *arguments: str) -> subprocess.CompletedProcess:
    return run("--model", str(model), "--data", str(dataset), "--out", str(out), *arguments)


def run(*arguments: str) -> subprocess.CompletedProcess:
    """In this process, which need not import torch once more."""
    code, stdout, stderr, threads = 0, io.StringIO(), io.StringIO(), torch.get_num_threads()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        try:
            run_script(lambda: main(arguments))
        except SystemExit as ended:
            code = ended.code
        finally:  # what accelerate keeps for a process
            PartialState._reset_state()
            torch.set_num_threads(threads)
    return subprocess.CompletedProcess(arguments, code, stdout.getvalue(), stderr.getvalue())


def metrics(out: Path) -> dict[str, dict]:
    return {metric["key"]: metric for metric in json.loads((out / "report.json").read_text())["metrics"]}


def test_everything_about_a_triplet_dataset(dataset, tmp_path):
    """A second run, of another batch size, and one of two processes give the same bytes."""
    encoder = save_encoder(tmp_path / "encoder", WIDTH)
    everything = ["--class_texts", str(dataset / "class_texts.parquet"), "--linear_probe"]
    everything += ["--robustness", "--map"]
    for out, batch_size in (("first", "64"), ("second", "5")):
        finished = evaluate(encoder, dataset, tmp_path / out, *everything, "--batch_size", batch_size)
        assert finished.returncode == 0, finished.stderr
        assert "zero-shot top-1 (4 classes)" in finished.stdout
    words = [SCRIPT, "--model", encoder, "--data", dataset, "--out", tmp_path / "third", *everything]
    first, second = run_as_launched("ddp.yaml --num_processes 2", [*words, "--batch_size", "4"], env={})
    assert "zero-shot top-1 (4 classes)" in first and not second
    for file in ("report.json", "outcomes.parquet"):
        contents = {(tmp_path / out / file).read_bytes() for out in ("first", "second", "third")}
        assert len(contents) == 1, file

    found = metrics(tmp_path / "first")
    assert "linear_probe_top1" in found
    corrupted = {key.partition("/")[2] for key in found if "/" in key}
    assert {"no_color", "jitter", "rotate", "cut_50"} <= corrupted
    assert "thin_512" not in corrupted  # of clouds of 96 points
    for picture in ("contact_sheet", "confusion", "scores", "robustness"):
        with Image.open(tmp_path / "first" / f"{picture}.png") as image:
            assert image.width > 500
    assert "<html" in (tmp_path / "first" / "map.html").read_text()[:1000].lower()


def test_a_second_run_does_not_encode_again(dataset, tmp_path):
    encoder = save_encoder(tmp_path / "encoder", WIDTH)
    finished = [evaluate(encoder, dataset, tmp_path / "out") for _ in range(2)]
    assert ["Encoding" in run.stderr for run in finished] == [True, False]
    assert finished[0].stdout == finished[1].stdout


def test_a_dataset_is_known_by_its_folder_or_its_id_on_the_hub_and_by_its_shapes(tmp_path, monkeypatch):
    encoder, out = save_encoder(tmp_path / "encoder", WIDTH), tmp_path / "out"
    first = save_tiny_triplets(tmp_path / "x" / "data", test=12)
    other = save_tiny_triplets(tmp_path / "y" / "data", test=11)
    assert evaluate(encoder, first, out).returncode == 0
    assert json.loads((out / "report.json").read_text())["benchmark"]["name"] == "data"
    refused = evaluate(encoder, other, out)
    assert refused.returncode == 2 and "12 shapes, and this is one of 11" in refused.stderr
    monkeypatch.setattr("mrd_hf.evaluation.scored_shapes.load_all_splits", lambda name: load_all_splits(str(first)))
    model = PointBertModel.from_pretrained(encoder)
    assert open_shapes(ShapeOptions("org/data"), "mine", model).name == "org/data"


def test_another_configuration_of_the_same_weights_encodes_again(dataset, tmp_path):
    encoder, out = save_encoder(tmp_path / "encoder", WIDTH), tmp_path / "out"
    assert evaluate(encoder, dataset, out).returncode == 0
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps(config | {"patch_radius": 0.9, "patch_size": 16}))
    refused = evaluate(encoder, dataset, out)
    assert refused.returncode == 2 and "config.json was another" in refused.stderr
    assert evaluate(encoder, dataset, out, "--overwrite").returncode == 0
    assert evaluate(encoder, dataset, tmp_path / "new").returncode == 0
    assert (out / "report.json").read_bytes() == (tmp_path / "new" / "report.json").read_bytes()


@pytest.mark.parametrize("without", [(), ("image_embeds", "text_embeds", "teacher")])
def test_a_dataset_is_opened_once(tmp_path, monkeypatch, without):
    """With cached embeddings and without, though the probe learns from another split."""
    opened = []
    monkeypatch.setattr(
        "mrd_hf.evaluation.scored_shapes.load_all_splits", lambda name: opened.append(name) or load_all_splits(name)
    )
    data = save_tiny_triplets(tmp_path / "tiny", without=without)
    options = ("--class_texts", str(data / "class_texts.parquet"), "--linear_probe")
    finished = evaluate(save_encoder(tmp_path / "encoder", WIDTH), data, tmp_path / "out", *options)
    assert finished.returncode == 0, finished.stderr
    assert opened == [str(data)]


def test_a_probe_learns_from_shapes_without_images_and_texts(tmp_path):
    """It needs their points and categories alone; those that are scored need more."""
    data = save_tiny_triplets(tmp_path / "tiny")
    file = data / "data" / "train-00000-of-00001.parquet"
    rows = Dataset.from_parquet(str(file), cache_dir=str(tmp_path / "cache"))
    lacking = {3: {"images": [], "image_embeds": []}, 5: {"texts": [], "text_embeds": []}}
    rows.map(lambda row, at: row | lacking.get(at, {}), with_indices=True, features=rows.features).to_parquet(file)
    words = ["--model", "mine", "--dataset", str(data), "--class-texts", str(data / "class_texts.parquet")]
    arguments = parse_arguments([*words, "--linear-probe", "-o", "out"])
    options = ShapeOptions(**{field.name: getattr(arguments, field.name) for field in fields(ShapeOptions)})
    model = PointBertModel.from_pretrained(save_encoder(tmp_path / "encoder", WIDTH))
    training = open_training(arguments, options, model, open_shapes(options, "mine", model), SEEN)
    assert training.split == "train" and training.held_out.ids == rows["id"][:]
    assert [NAMES[label] for label in training.held_out.labels] == rows["category"][:]
    with pytest.raises(UserError, match="'tiny/mug-5' has no text"):
        open_shapes(replace(options, split="train"), "mine", model)


def test_a_published_benchmark_with_published_class_embeddings(tmp_path):
    """ModelNet10 as .off folders of which this is a part, class embeddings from a file."""
    for row, name in enumerate(MODELNET10_CLASSES):
        folder = tmp_path / "ModelNet10" / name / "test"
        folder.mkdir(parents=True)
        for number in range(2):
            trimesh.creation.box((1, 1 + row, 2 + number)).export(folder / f"{name}_{number:04d}.off")
    embeds = np.random.default_rng(0).standard_normal((10, WIDTH))
    labels = pa.table({"label": list(MODELNET10_CLASSES), "text_embed": embeds.tolist()})
    pq.write_table(labels, tmp_path / "classes.parquet")
    encoder = save_encoder(tmp_path / "encoder", WIDTH)
    options = ["--benchmark", "modelnet10", "--class_texts", str(tmp_path / "classes.parquet")]
    refused = evaluate(encoder, tmp_path / "ModelNet10", tmp_path / "out", *options)
    assert refused.returncode == 2
    assert "has 20 shapes" in refused.stderr and "908" in refused.stderr
    finished = evaluate(encoder, tmp_path / "ModelNet10", tmp_path / "out", *options, "--allow_partial", "--few_shot")
    assert finished.returncode == 0, finished.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    counts = {"num_shapes": 20, "num_classes": 10}
    assert report["benchmark"] == {"name": "modelnet10", "split": "test", **counts, "is_part": True}
    assert finished.stdout.startswith("a part of modelnet10, not comparable with")
    assert report["teacher"] == "a-teacher" and report["templates"] is None
    few_shot = {key for key in metrics(tmp_path / "out") if key.startswith("few_shot")}
    assert few_shot == {"few_shot_5_way_1_shot"}  # as there are two shapes a class
    # The figure is that of the embeddings that were written beside it.
    (file,) = (tmp_path / "out" / "embeddings").iterdir()
    points = load_file(file)["point_embeds"].double().numpy()
    rows = pq.read_table(tmp_path / "out" / "outcomes.parquet")
    guesses = (points @ (embeds / np.linalg.norm(embeds, axis=1, keepdims=True)).T).argmax(axis=1)
    assert metrics(tmp_path / "out")["zero_shot_top1"]["value"] == np.mean(guesses == rows["label"].to_numpy())


def test_published_class_embeddings_are_for_encoders_of_their_teacher(tmp_path):
    """OpenShape's files bring bigG's: another teacher's encoder is not scored against them, but asks for its own."""
    write_openshape_modelnet(tmp_path / "modelnet40", categories=list(MODELNET40))
    embeds = np.random.default_rng(0).standard_normal((len(MODELNET40), WIDTH))
    published = dict(zip(MODELNET40, embeds, strict=True))
    save_pickled(tmp_path / "modelnet40" / "cat_name_pt_feat.npy", published)
    options = ["--benchmark", "modelnet40", "--allow_partial"]
    theirs = save_encoder(tmp_path / "theirs", WIDTH, OPENSHAPES_TEACHER)
    finished = evaluate(theirs, tmp_path / "modelnet40", tmp_path / "out", *options)
    assert finished.returncode == 0, finished.stderr
    others = save_encoder(tmp_path / "others", WIDTH, "org/another-teacher")
    refused = evaluate(others, tmp_path / "modelnet40", tmp_path / "out2", *options)
    assert refused.returncode == 2
    assert "org/another-teacher" in refused.stderr and not (tmp_path / "out2").exists()
    # Those that the user gives are taken, of an encoder that names no teacher too.
    given = pa.table({"label": list(MODELNET40), "text_embed": embeds.tolist()})
    pq.write_table(given, tmp_path / "given.parquet")
    nobodys = save_encoder(tmp_path / "nobodys", WIDTH, None)
    options += ["--class_texts", str(tmp_path / "given.parquet")]
    finished = evaluate(nobodys, tmp_path / "modelnet40", tmp_path / "out3", *options)
    assert finished.returncode == 0, finished.stderr
    assert json.loads((tmp_path / "out3" / "report.json").read_text())["teacher"] is None


def test_class_texts_beside_a_dataset_are_for_encoders_of_their_teacher(tmp_path, monkeypatch):
    """Class embeddings without provenance are used as those of the encoder's teacher, and not with --teacher."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    data = save_tiny_triplets(tmp_path / "tiny", without=("image_embeds", "text_embeds", "teacher"))
    encoder = save_encoder(tmp_path / "encoder", CLIP_WIDTH)
    texts = {"label": list(NAMES), "text_embed": np.eye(len(NAMES), CLIP_WIDTH).tolist()}
    clip = save_tiny_clip(tmp_path / "clip")

    def class_embeds(model: Path, *arguments: str) -> np.ndarray:
        arguments = parse_arguments(["--model", str(model), "--dataset", str(data), "-o", "out", *arguments])
        options = ShapeOptions(**{field.name: getattr(arguments, field.name) for field in fields(ShapeOptions)})
        return open_shapes(options, str(model), PointBertModel.from_pretrained(model)).held_out.class_embeds

    for teacher in (None, "a-teacher"):
        record = {"source": "", "settings": {"teacher": teacher}, "left_out": []}
        footer = None if teacher is None else {"mrd_hf.embedded": json.dumps(record)}
        pq.write_table(pa.table(texts).replace_schema_metadata(footer), data / "class_texts.parquet")
        np.testing.assert_array_equal(class_embeds(encoder), texts["text_embed"])
        of_clip = class_embeds(encoder, "--teacher", str(clip))
        assert of_clip.shape == (len(NAMES), CLIP_WIDTH) and not np.allclose(of_clip, texts["text_embed"])
    with pytest.raises(UserError, match="org/another-teacher"):  # which is not there
        class_embeds(save_encoder(tmp_path / "other", CLIP_WIDTH, "org/another-teacher"))


@pytest.mark.parametrize(
    ("flag", "message"),
    [("--few_shot", "too few shapes a class for --few-shot"), ("--linear_probe", "needs shapes of two classes")],
)
def test_what_the_labels_do_not_allow_is_said_before_the_encoding(tmp_path, flag, message):
    data = save_tiny_triplets(tmp_path / "unlabeled", without=("category",))
    finished = evaluate(save_encoder(tmp_path / "encoder", WIDTH), data, tmp_path / "out", flag)
    assert finished.returncode == 2
    assert message in finished.stderr and "Encoding" not in finished.stderr


def test_two_models_are_compared_on_the_same_shapes(dataset, tmp_path):
    for name in ("a", "b"):
        torch.manual_seed(ord(name))
        encoder = save_encoder(tmp_path / f"encoder-{name}", WIDTH)
        assert evaluate(encoder, dataset, tmp_path / name).returncode == 0
    finished = run("--compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "ab"))
    assert finished.returncode == 0, finished.stderr
    comparison = {row["key"]: row for row in json.loads((tmp_path / "ab" / "comparison.json").read_text())}
    first, second = metrics(tmp_path / "a"), metrics(tmp_path / "b")
    for key, row in comparison.items():
        assert row["difference"] == pytest.approx(first[key]["value"] - second[key]["value"])
    assert "shape to image, recall at 1" in finished.stdout
    # Neither an evaluation nor a comparison takes another one's place in silence.
    before = {file: file.read_bytes() for name in ("a", "ab") for file in (tmp_path / name).glob("*.*")}
    refused = evaluate(tmp_path / "encoder-b", dataset, tmp_path / "a")
    assert refused.returncode == 2 and "replace it with --overwrite" in refused.stderr
    again = ["--compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "ab"), "--seed"]
    assert "comparison.json exists; replace it with --overwrite" in run(*again, "1").stderr
    assert before == {file: file.read_bytes() for name in ("a", "ab") for file in (tmp_path / name).glob("*.*")}
    assert run(*again, "0").returncode == 0  # the same again is no loss


def test_results_go_into_the_models_card(dataset, tmp_path):
    encoder = save_encoder(tmp_path / "encoder", WIDTH)
    refused = evaluate(encoder, dataset, tmp_path / "out", "--write_card")
    assert refused.returncode == 2 and "README.md" in refused.stderr
    (encoder / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# encoder\n")
    assert evaluate(encoder, dataset, tmp_path / "out", "--write-card").returncode == 0
    card = ModelCard.load(encoder / "README.md")
    results = {result.metric_type: result for result in card.data.eval_results}
    recall = metrics(tmp_path / "out")["shape_to_image_recall_at_5"]["value"]
    assert results["shape_to_image_recall_at_5"].metric_value == pytest.approx(recall, abs=1e-6)
    assert "shape to image, recall at 5" in card.text
    assert (encoder / re.search(r"!\[.+\]\((.+)\)", card.text)[1]).read_bytes() == (
        tmp_path / "out" / "scores.png"
    ).read_bytes()


def test_a_teacher_in_a_folder_is_named_by_where_it_is_now_and_checked(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    teacher = save_tiny_clip(tmp_path / "here" / "clip")
    other = save_tiny_clip(tmp_path / "there" / "clip")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "logit_scale_init_value": 3.0}))
    name, revision = split_identifier(folder_identifier(str(teacher)))
    own = {"projection_dim": CLIP_WIDTH, "teacher_id": name, "teacher_revision": revision}
    model = PointBertModel(PointBertConfig(**TINY, **own))
    for label in ("box", "ball"):
        (tmp_path / "shapes" / label).mkdir(parents=True)
        trimesh.creation.box().export(tmp_path / "shapes" / label / "one.obj")

    def opened(*arguments: str):
        command = ["--model", "mine", "--out", "out", "--benchmark", "shape-folder"]
        command += ["--data", str(tmp_path / "shapes"), "--up_axis", "y", *arguments]
        arguments = parse_arguments(command)
        options = ShapeOptions(**{field.name: getattr(arguments, field.name) for field in fields(ShapeOptions)})
        return open_shapes(options, arguments.model, model)

    with pytest.raises(UserError, match=rf"'clip' was a local folder .*{revision}.*Give it by --teacher FOLDER"):
        opened()
    (tmp_path / "moved").symlink_to(teacher)
    embeds = opened("--teacher", str(tmp_path / "moved")).held_out.class_embeds
    assert embeds.shape == (2, CLIP_WIDTH)
    with pytest.raises(UserError, match=rf"--teacher {other}: the folder's content is sha256:.*teacher is {name}@"):
        opened("--teacher", str(other))
    monkeypatch.chdir(tmp_path / "here")
    np.testing.assert_array_equal(opened().held_out.class_embeds, embeds)


def test_parts_that_the_encoders_extractor_skips_are_skipped(tmp_path):
    chair, stand = trimesh.creation.box(), trimesh.creation.box((9, 1, 1))
    classes = pa.table({"label": ["a", "b"], "text_embed": np.eye(2, WIDTH).tolist()})
    pq.write_table(classes, tmp_path / "classes.parquet")
    for folder, parts in (("with", {"chair": chair, "stand": stand}), ("without", {"chair": chair})):
        for label in "ab":
            (tmp_path / folder / label).mkdir(parents=True)
            trimesh.Scene(parts).export(tmp_path / folder / label / "one.glb")
    encoder = save_encoder(tmp_path / "encoder", WIDTH)
    PointCloudFeatureExtractor(num_points=64, skip_parts="stand").save_pretrained(encoder)
    options = ["--benchmark", "shape-folder", "--class_texts", str(tmp_path / "classes.parquet")]
    embeds = {}
    for folder in ("with", "without"):
        finished = evaluate(encoder, tmp_path / folder, tmp_path / "out" / folder, *options)
        assert finished.returncode == 0, finished.stderr
        (file,) = (tmp_path / "out" / folder / "embeddings").iterdir()
        embeds[folder] = load_file(file)["point_embeds"]
    assert torch.equal(embeds["with"], embeds["without"])


@pytest.mark.parametrize("embedded", [True, False])
def test_class_texts_of_another_teacher_are_refused(tmp_path, embedded):
    data = save_tiny_triplets(
        tmp_path / "tiny", without=() if embedded else ("image_embeds", "text_embeds", "teacher")
    )
    texts = {"label": list(NAMES), "text_embed": np.eye(len(NAMES), WIDTH).tolist()}
    record = {"source": "", "settings": {"teacher": "org/another-clip"}, "left_out": []}
    table = pa.table(texts).replace_schema_metadata({"mrd_hf.embedded": json.dumps(record)})
    pq.write_table(table, tmp_path / "other.parquet")
    command = [save_encoder(tmp_path / "encoder", WIDTH), data, tmp_path / "out"]
    finished = evaluate(*command, "--class-texts", str(tmp_path / "other.parquet"))
    assert finished.returncode == 2
    assert "other.parquet are those of the teacher org/another-clip, and those of" in finished.stderr
    if not embedded:
        finished = evaluate(
            *command, "--class-texts", str(tmp_path / "other.parquet"), "--teacher", "org/another-clip"
        )
        assert finished.returncode == 0, finished.stderr


def test_an_encoder_of_another_teacher_is_refused(dataset, tmp_path):
    finished = evaluate(save_encoder(tmp_path / "encoder", WIDTH, "clip"), dataset, tmp_path / "out")
    assert finished.returncode == 2
    assert "are those of the teacher a-teacher" in finished.stderr and "in the space of clip" in finished.stderr
    wide = evaluate(save_encoder(tmp_path / "wide", 20), dataset, tmp_path / "out")
    assert wide.returncode == 2
    assert f"embeds into width 20, the teacher of {dataset} into {WIDTH}" in wide.stderr
    assert "mrd-hf embed-teacher" in wide.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_model_is_named(dataset, tmp_path):
    finished = evaluate(tmp_path / "nothing", dataset, tmp_path / "out")
    assert finished.returncode == 2
    assert f"cannot load the encoder '{tmp_path / 'nothing'}'" in finished.stderr
    assert "Traceback" not in finished.stderr
