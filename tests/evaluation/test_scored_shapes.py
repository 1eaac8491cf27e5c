"""What embeddings that are kept are of: the same only where files and reading are; and what classes are called."""

from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset
from support.tiny_triplets import save_tiny_triplets

from mrd_hf.evaluation import scored_shapes
from mrd_hf.evaluation.scored_shapes import ShapeOptions, open_shapes


@pytest.fixture
def fingerprint(tmp_path, monkeypatch):
    """Of a folder of shapes, by its name and options."""
    (tmp_path / "shapes" / "mug").mkdir(parents=True)
    np.save(tmp_path / "shapes" / "mug" / "a.npy", np.zeros((9, 3)))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr(scored_shapes, "_labeled_shapes", lambda *arguments: arguments[4])

    def of(name: str = str(tmp_path / "shapes"), **options: str) -> str:
        return open_shapes(ShapeOptions(name, "shape-folder", **options), "encoder", None)

    return of


def test_an_axis_that_is_told_is_another_reading(fingerprint):
    """Of files that say where up is, which are turned without it."""
    assert len({fingerprint(), fingerprint(up_axis="y"), fingerprint(up_axis="z")}) == 3
    assert fingerprint() == fingerprint()


def test_files_in_the_users_folder_are_looked_at(fingerprint, tmp_path):
    before = fingerprint("~/shapes")
    assert before == fingerprint()
    np.save(tmp_path / "shapes" / "mug" / "a.npy", np.zeros((10, 3)))
    assert fingerprint("~/shapes") != before


def test_prompts_have_names_as_they_are_read_and_labels_stay(tmp_path, monkeypatch):
    """Of triplets without embeddings, as of every other benchmark and of mrd-hf embed-teacher."""
    folder = save_tiny_triplets(tmp_path / "tiny", without=("image_embeds", "text_embeds", "teacher"))
    (folder / "class_texts.parquet").unlink()
    file = folder / "data" / "test-00000-of-00001.parquet"
    rows = Dataset.from_parquet(str(file), cache_dir=str(tmp_path / "cache"))
    named = rows.map(lambda row: {"category": "night_stand" if row["name"] == "mug" else "TV_stand"})
    named.to_parquet(file)
    (folder / "data" / "train-00000-of-00001.parquet").unlink()
    prompted = []

    def embedded(names, *_, **__):
        prompted.extend(names)
        return np.eye(len(names), dtype=np.float32)

    monkeypatch.setattr(scored_shapes, "class_embeddings", embedded)
    monkeypatch.setattr(scored_shapes, "text_tower", lambda *_: ("a-teacher", None))
    held_out = open_shapes(ShapeOptions(str(folder)), "encoder", SimpleNamespace(device="cpu", config=None)).held_out
    assert prompted == ["TV stand", "night stand"]
    assert held_out.class_names == ["TV_stand", "night_stand"]
    assert [held_out.class_names[label] for label in held_out.labels] == named["category"][:]
