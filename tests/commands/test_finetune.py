"""`mrd-hf finetune` as it is typed: classes of shapes, parts of objects, and what it leaves."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from huggingface_hub import metadata_load
from matplotlib.colors import to_hex
from PIL import Image
from scipy.spatial import cKDTree
from support.composed_objects import write_composed_objects
from support.published_layouts import write_off_modelnet, write_scanobjectnn
from support.tiny_encoders import tiny_encoder
from support.tiny_finetuning import TINY_POINT_CONFIG, finetune_tiny, write_classes
from transformers import AutoFeatureExtractor, AutoModelForSemanticSegmentation

from mrd_hf import PointBertForPartSegmentation, PointBertForShapeClassification, PointCloudFeatureExtractor
from mrd_hf.cli.drawing.object_parts import _part_colors, find_parts
from mrd_hf.errors import UserError
from mrd_hf.evaluation.benchmarks.shapenet_part import open_shapenet_part
from mrd_hf.evaluation.comparison import compare_evaluations
from mrd_hf.evaluation.scores.part_iou import part_iou
from mrd_hf.models.shapes import ColoredPoints, PointCloud
from mrd_hf.training.finetuning.arguments import parse_finetuning
from mrd_hf.training.recipe_files import FINETUNING_RECIPES, recipe_names
from mrd_hf_cli.main import run
from mrd_hf_cli.parser import parse


def metrics_of(folder):
    report = json.loads((folder / "evaluation" / "report.json").read_text())
    return {metric["key"]: metric for metric in report["metrics"]}


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("classes") / "shapes", train=16, test=8)


@pytest.fixture(scope="module")
def classified(classes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classified") / "run"
    return finetune_tiny(folder, classes, num_train_steps=80, save_steps=75, votes=3, label_smoothing=0.1)


def test_learns_classes_and_reports_as_an_evaluation_does(classified, classes):
    metrics = metrics_of(classified)
    assert {"fine_tuned_top1", "fine_tuned_class_mean", "fine_tuned_3_votes_top1"} <= set(metrics)
    top1 = metrics["fine_tuned_top1"]
    assert top1["chance"] == top1["majority"] == pytest.approx(1 / 3) and top1["num_shapes"] == 24
    assert top1["value"] > 0.8
    assert {"confusion.png", "scores.png", "outcomes.parquet"} <= {
        file.name for file in (classified / "evaluation").iterdir()
    }
    assert compare_evaluations(classified / "evaluation", classified / "evaluation", seed=0)
    card = (classified / "model" / "README.md").read_text()
    assert "fine-tuned top-1" in card and "random weights" in card
    assert "name: point cloud classification" in card and "embedding" not in card.partition("\n# ")[0]
    # The folder alone says the same as the report.
    model = PointBertForShapeClassification.from_pretrained(classified / "model").eval()
    extractor = AutoFeatureExtractor.from_pretrained(classified / "model")
    right = 0
    for file in sorted((classes / "test").rglob("*.npy")):
        label = model(**extractor(str(file))).logits.argmax().item()
        right += model.config.id2label[label] == file.parent.name
    assert right / 24 == pytest.approx(top1["value"])


def test_resumes_at_its_last_checkpoint(classified, classes, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(classified, folder)
    for name in ("model", "evaluation", "checkpoint-80"):
        shutil.rmtree(folder / name)
    options = {"num_train_steps": 80, "save_steps": 75, "votes": 3, "label_smoothing": 0.1}
    with pytest.raises(UserError, match="has a run in it already"):
        finetune_tiny(folder, classes, **options)
    finetune_tiny(folder, classes, **options, resume_from_checkpoint="latest")
    weights = [(run / "model" / "model.safetensors").read_bytes() for run in (classified, folder)]
    assert weights[0] == weights[1]
    assert metrics_of(folder) == metrics_of(classified)


def test_a_run_does_not_resume_on_other_classes_or_shapes(classes, tmp_path, capsys):
    few = {"num_train_steps": 2, "save_steps": 1}
    finetune_tiny(tmp_path / "run", classes, **few)
    before = (tmp_path / "run" / "labels.json").read_bytes()
    shutil.copytree(classes, tmp_path / "renamed")
    for split in ("train", "test"):  # as many classes, in another order
        (tmp_path / "renamed" / split / "chair").rename(tmp_path / "renamed" / split / "seat")
    shutil.copytree(classes, tmp_path / "fewer")
    for split in ("train", "test"):
        shutil.rmtree(tmp_path / "fewer" / split / "table")
    shutil.copytree(classes, tmp_path / "moved")
    (tmp_path / "moved" / "train" / "chair" / "0.npy").rename(tmp_path / "moved" / "train" / "lamp" / "moved.npy")
    more = {**few, "num_train_steps": 3, "resume_from_checkpoint": "latest"}
    for data, message in (
        ("renamed", "checkpoint-2: learned other classes \\('chair', where the data has 'lamp'\\)"),
        ("fewer", "checkpoint-2: learned other classes \\(3 names, where the data has 2\\)"),
        ("moved", "checkpoint-2: learned from other shapes"),
    ):
        with pytest.raises(UserError, match=message):
            finetune_tiny(tmp_path / "run", tmp_path / data, **more)
    with pytest.raises(UserError, match="checkpoint-1: learned from other shapes"):
        earlier = {"resume_from_checkpoint": tmp_path / "run" / "checkpoint-1"}
        finetune_tiny(tmp_path / "run", tmp_path / "moved", **more | earlier)
    assert (tmp_path / "run" / "checkpoint-2").is_dir()
    assert (tmp_path / "run" / "labels.json").read_bytes() == before
    assert "note: the run is resumed" not in capsys.readouterr().err
    (tmp_path / "run" / "labels.json").unlink()  # as earlier versions left a run
    finetune_tiny(tmp_path / "run", classes, **more, votes=2)
    assert (tmp_path / "run" / "labels.json").read_bytes() == before
    assert "than it was last told: num_train_steps 2 -> 3." in capsys.readouterr().err
    finetune_tiny(tmp_path / "run", classes, **more | earlier)
    assert sorted(path.name for path in (tmp_path / "run").glob("*checkpoint-*")) == [
        "abandoned-checkpoint-2",
        "abandoned-checkpoint-3",
        "checkpoint-1",
        "checkpoint-2",
        "checkpoint-3",
    ]


def test_half_precision_that_a_cpu_does_not_compute_in_is_refused_before_the_data_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        with pytest.raises(UserError, match="mixed_precision fp16 needs a GPU: .* give bf16, or leave it out"):
            finetune_tiny(tmp_path / "run", tmp_path / "nowhere", mixed_precision="fp16")
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert not (tmp_path / "run").exists()


def test_ends_early_with_a_checkpoint_and_a_report(classes, tmp_path, capsys):
    finetune_tiny(tmp_path / "run", classes, num_train_steps=9, max_train_minutes=1e-9)
    assert "ended by max_train_minutes after 1 of 9 steps" in capsys.readouterr().err
    assert (tmp_path / "run" / "checkpoint-1").is_dir() and "fine_tuned_top1" in metrics_of(tmp_path / "run")


def test_starts_from_an_encoder_with_its_extractor(classes, tmp_path):
    encoder = tiny_encoder("openshape", patch_radius=0.6)
    encoder.save_pretrained(tmp_path / "encoder")
    PointCloudFeatureExtractor(num_points=100, default_color=0.2).save_pretrained(tmp_path / "encoder")
    (tmp_path / "encoder" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# An encoder\n")
    changes = {"model": tmp_path / "encoder", "num_points": None, "num_train_steps": 1, "learning_rate": 1e-9}
    finetune_tiny(tmp_path / "run", classes, **changes, point_config={"drop_path_rate": 0.1}, ema_decay=0.5)
    model = PointBertForShapeClassification.from_pretrained(tmp_path / "run" / "model")
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "run" / "model")
    assert (extractor.num_points, extractor.default_color) == (100, 0.2)
    assert model.config.patch_radius == 0.6 and model.config.drop_path_rate == 0.1
    expected = encoder.layers[0].mlp.fc1.weight
    torch.testing.assert_close(model.point_bert.layers[0].mlp.fc1.weight, expected, atol=1e-6, rtol=0)
    assert metadata_load(tmp_path / "run" / "model" / "README.md")["license"] == "cc-by-nc-4.0"
    with pytest.raises(UserError, match="do not fit point_config"):
        finetune_tiny(tmp_path / "other", classes, **changes | {"point_config": {"hidden_size": 64}})
    with pytest.raises(UserError, match="unknown key 'patch_radios'"):
        finetune_tiny(tmp_path / "other", classes, point_config={"patch_radios": 1})
    with pytest.raises(UserError, match="num_points is 20, fewer than the encoder's 32 patches"):
        finetune_tiny(tmp_path / "other", classes, num_points=20)
    with pytest.raises(UserError, match="shapenetpart has no variants, so no 'obj_bg'"):
        finetune_tiny(tmp_path / "other", classes, benchmark="shapenetpart", variant="obj_bg")
    with pytest.raises(UserError, match="there is no 'modelnet'; known are modelnet40"):
        finetune_tiny(tmp_path / "other", classes, benchmark="modelnet")
    assert not (tmp_path / "other").exists()


class Seen(Exception):
    """What a run would begin with."""


@pytest.mark.parametrize(
    ("own", "told", "expected"), [(None, {}, 0.4), (None, {"default_color": 0.6}, 0.6), (0.2, {}, 0.2)]
)
def test_no_color_is_one_grey_in_training_and_after_it(classes, tmp_path, monkeypatch, own, told, expected):
    def begin(model, clouds, training, accelerator, augmentation, *_):
        raise Seen(augmentation.default_color, clouds.default_color)

    monkeypatch.setattr("mrd_hf.commands.finetune.Finetuning", begin)
    changes = {}
    if own is not None:
        tiny_encoder("openshape").save_pretrained(tmp_path / "encoder")
        PointCloudFeatureExtractor(num_points=100, default_color=own).save_pretrained(tmp_path / "encoder")
        changes = {"model": tmp_path / "encoder", "num_points": None, "point_config": {"drop_path_rate": 0.1}}
    with pytest.raises(Seen) as seen:
        finetune_tiny(tmp_path / "run", classes, augmentation={"color_dropout": 0.5, **told}, **changes)
    assert seen.value.args == (expected, expected)


def test_learns_from_the_layouts_that_evaluation_reads(tmp_path):
    few = {"num_train_steps": 1, "num_points": 8, "point_config": {**TINY_POINT_CONFIG, "num_patches": 4}}
    few |= {"allow_partial": True, "per_device_batch_size": 3}
    for split in ("train", "test"):
        write_off_modelnet(tmp_path / "modelnet", ["chair", "table", "lamp"], split)
    finetune_tiny(tmp_path / "a", tmp_path / "modelnet", benchmark="modelnet40", **few)
    assert metrics_of(tmp_path / "a")["fine_tuned_top1"]["num_shapes"] == 3
    scans = tmp_path / "scans"
    (scans / "main_split").mkdir(parents=True)
    for name in ("training", "test"):
        write_scanobjectnn(scans / "main_split" / f"{name}_objectdataset.h5", 30)
    finetune_tiny(tmp_path / "b", scans, benchmark="scanobjectnn", variant="obj_bg", **few)
    names = PointBertForShapeClassification.from_pretrained(tmp_path / "b" / "model").config.id2label
    assert len(names) == 15 and names[14] == "toilet"


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    counts = {"train": 40, "test": 10}
    return write_composed_objects(tmp_path_factory.mktemp("objects") / "set", counts, num_points=512)


@pytest.fixture(scope="module")
def segmented(objects, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmented") / "run"
    options = {"benchmark": "shapenetpart", "allow_partial": True, "per_device_batch_size": 16, "warmup_steps": 5}
    return finetune_tiny(folder, objects, num_train_steps=160, save_steps=200, logging_steps=50, **options)


def nearest_labeled_points(objects):
    """mIoU of what a table of all training points would say: the part of the nearest, of the object's class."""
    training, test = (open_shapenet_part(objects, split, allow_partial=True) for split in ("train", "test"))
    extractor = PointCloudFeatureExtractor(num_points=512)

    def read(benchmark):
        shapes = [benchmark.read(row) for row in range(len(benchmark))]
        values = extractor([shape.xyz for shape in shapes], return_tensors="np")["point_values"][..., :3]
        return values, np.stack([shape.parts for shape in shapes])

    points, parts = read(training)
    tests, true = read(test)
    predicted = np.empty_like(true)
    for label in range(3):
        of_class = training.labels == label
        tree = cKDTree(points[of_class].reshape(-1, 3))
        for row in np.flatnonzero(test.labels == label):
            predicted[row] = parts[of_class].reshape(-1)[tree.query(tests[row])[1]]
    return part_iou(list(predicted), list(true), test.labels, list(test.object_parts.values()))


def test_parts_are_learned_beyond_two_baselines(segmented, objects):
    metrics = metrics_of(segmented)
    instance, of_classes = metrics["part_instance_miou"], metrics["part_class_miou"]
    nearest = nearest_labeled_points(objects)
    assert instance["majority"] < nearest.instance_miou < instance["value"] - 0.05
    assert of_classes["majority"] < nearest.class_miou < of_classes["value"] - 0.05
    assert {"part_miou/chair", "part_miou/lamp", "part_miou/table"} <= set(metrics)
    card = (segmented / "model" / "README.md").read_text()
    assert "name: point cloud part segmentation" in card and "of a part of shapenetpart (" in card


def test_the_folder_says_parts_by_its_auto_class(segmented, objects):
    model = AutoModelForSemanticSegmentation.from_pretrained(segmented / "model").eval()
    extractor = AutoFeatureExtractor.from_pretrained(segmented / "model")
    assert model.config.object_class_names == ["chair", "lamp", "table"]
    assert model.config.id2label[24] == "lamp 1" and model.config.id2label[0] == "unused"
    test = open_shapenet_part(objects, "test", allow_partial=True)
    shapes = [test.read(row) for row in range(len(test))]
    values = extractor([shape.xyz for shape in shapes])["point_values"]
    chosen = np.random.default_rng(0).permutation(512)[:256]
    true, classes = [shape.parts[chosen] for shape in shapes], torch.from_numpy(test.labels)
    parts = list(test.object_parts.values())
    with torch.no_grad():
        told = model.most_likely_parts(model(values, classes).logits, classes).numpy()
        untold = model.most_likely_parts(model(values).logits).numpy()
    found = part_iou(list(told), true, test.labels, parts)
    assert found.instance_miou == pytest.approx(metrics_of(segmented)["part_instance_miou"]["value"])
    # It was trained with some objects whose class it was not told.
    assert part_iou(list(untold), true, test.labels, parts).instance_miou > 0.8 * found.instance_miou


def test_render_draws_parts_in_their_colours(segmented, objects, tmp_path, capsys):
    test = open_shapenet_part(objects, "test", allow_partial=True)
    row = int(np.flatnonzero(test.labels == 1)[0])
    np.save(tmp_path / "lamp.npy", test.read(row).xyz)
    command = ["render", str(tmp_path / "lamp.npy"), "--part-model", str(segmented / "model"), "--views", "1"]
    options = ["--size", "96", "-o", str(tmp_path / "lamp.png"), "--object-class", "Lamp"]
    assert run(parse([*command, *options])) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == str(tmp_path / "lamp.png") and len(shown) > 2
    assert run(parse([*command, *options, "--overwrite", "--json"])) == 0
    told = json.loads(capsys.readouterr().out)
    assert {part["name"] for part in told["parts"]} <= {f"lamp {number}" for number in range(1, 5)}
    assert sum(part["share"] for part in told["parts"]) == pytest.approx(1)
    shares = [part["share"] for part in told["parts"]]
    assert shares == sorted(shares, reverse=True)
    # The hue of each large part is in the picture; discs are shaded, so brightness is not compared.
    pixels = np.asarray(Image.open(tmp_path / "lamp.png").convert("HSV"), dtype=int).reshape(-1, 3)
    hues = pixels[pixels[:, 1] > 60, 0]
    for part in told["parts"]:
        if part["share"] > 0.2:
            hue = np.asarray(Image.new("RGB", (1, 1), part["color"]).convert("HSV"), dtype=int)[0, 0, 0]
            assert (np.abs(hues - hue) <= 6).mean() > 0.05
    for words, message in (
        (["--object-class", "boat"], "knows no 'boat', but chair, lamp, table"),
        (["--part-model", str(tmp_path)], "cannot load the network of --part-model"),
    ):
        assert run(parse([*command, "-o", str(tmp_path / "other.png"), *words])) == 2
        assert message in capsys.readouterr().err
    assert run(parse([*command[:2], "--object-class", "lamp"])) == 2
    assert "--object-class is of --part-model" in capsys.readouterr().err


def test_a_network_that_saw_no_colours_says_the_same_parts_of_a_coloured_shape(segmented, objects, tmp_path):
    test = open_shapenet_part(objects, "test", allow_partial=True)
    xyz = test.read(int(np.flatnonzero(test.labels == 0)[0])).xyz
    rgb = np.random.default_rng(0).integers(0, 256, xyz.shape).astype(np.uint8)
    grey, coloured = (PointCloud(ColoredPoints(xyz, colors), up_axis="y") for colors in (None, rgb))
    model = PointBertForPartSegmentation.from_pretrained(segmented / "model")
    assert not model.config.part_colors
    plain, _ = find_parts(grey, str(segmented / "model"), "chair", None)
    found, _ = find_parts(coloured, str(segmented / "model"), "chair", None)
    np.testing.assert_array_equal(found.points.rgb, plain.points.rgb)
    model.config.part_colors = True  # as of one that was trained with colours, which then count
    model.save_pretrained(tmp_path)
    AutoFeatureExtractor.from_pretrained(segmented / "model").save_pretrained(tmp_path)
    seen, _ = find_parts(coloured, str(tmp_path), "chair", None)
    assert (seen.points.rgb != plain.points.rgb).any()


@pytest.mark.parametrize("count", [3, 10, 11, 50, 51, 254])
def test_no_two_parts_have_one_colour(count):
    assert len({to_hex(color) for color in _part_colors(count)}) == count


def test_a_network_of_classes_draws_no_parts(classified, tmp_path, capsys):
    np.save(tmp_path / "cloud.npy", np.random.default_rng(0).normal(size=(50, 3)))
    words = ["render", str(tmp_path / "cloud.npy"), "--part-model", str(classified / "model")]
    assert run(parse(words)) == 2
    assert "it does not say parts" in capsys.readouterr().err


@pytest.mark.parametrize("name", recipe_names(FINETUNING_RECIPES))
def test_recipes_are_named_after_the_figure_they_aim_at_and_say_so(name):
    text = (FINETUNING_RECIPES / f"{name}.yaml").read_text()
    benchmark, _, figure = name.partition("-")
    head = text.partition("\nbenchmark:")[0]
    assert figure in head and "NOT YET REPRODUCED HERE" in head
    assert yaml.safe_load(text)["benchmark"] == benchmark
    data, _, training = parse_finetuning(["--config", name, "--dataset", "d", "--output-dir", "o", "--votes", "2"])
    assert data.benchmark == benchmark and training.votes == 2 and training.num_train_steps > 50_000
