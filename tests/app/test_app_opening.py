"""What the page opens with and offers, for collections and encoders of many kinds."""

from dataclasses import dataclass, field

import pytest
from datasets import Dataset
from support.tiny_triplets import tiny_rows

from mrd_hf.app.collection import Collection
from mrd_hf.app.labels import parse_labels
from mrd_hf.app.opening import LABELS, TRIED, opening_labels, opening_shape
from mrd_hf.app.shape_reading import ShapeReader
from mrd_hf.data.schema import triplet_features


def a_collection(folder, **splits):
    """By split the categories of its shapes, in their order."""
    (folder / "data").mkdir(parents=True)
    features = triplet_features()
    for seed, (split, categories) in enumerate(splits.items()):
        rows = tiny_rows(len(categories), seed=seed)
        rows = [{**row, "category": category} for row, category in zip(rows, categories, strict=True)]
        rows = [{name: row[name] for name in features} for row in rows]
        Dataset.from_list(rows, features).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return Collection(str(folder), folder)


@dataclass
class GivenEngine:
    """Gives each shape, by its row, the label that is said here, and notes what it was asked."""

    collection: Collection
    says: dict[int, str]
    asked: list[int] = field(default_factory=list)
    teacher = None
    is_demo = False

    def classify(self, points, up_axis, labels):
        row = next(row for row in range(len(self.collection)) if (self.collection.shape(row).points == points).all())
        self.asked.append(row)
        best = self.says.get(row, labels[-1])
        return {best: 0.9} | {label: 0.01 for label in labels if label != best}


def test_the_first_held_out_shape_that_is_classified_rightly_opens(tmp_path):
    collection = a_collection(
        tmp_path / "c", train=["chair", "chair"], test=["mug", "table", "chair", None, "chair", "table"]
    )
    # Rows 0 and 1 are of the training split. In turns: chair 4, table 3, chair 6, table 7, and then the others.
    engine = GivenEngine(collection, {0: "chair", 1: "chair", 2: "chair", 3: "chair", 6: "chair", 7: "table"})
    assert opening_labels(collection) == list(LABELS)
    assert opening_shape(engine, list(LABELS)) == 6
    assert engine.asked == [4, 3, 6]


def test_an_encoder_that_errs_on_all_opens_with_a_shape_that_a_label_fits(tmp_path):
    collection = a_collection(tmp_path / "c", train=["sofa"], test=["mug"] * 3 + ["Table"] * (TRIED + 5))
    engine = GivenEngine(collection, {})
    assert opening_shape(engine, list(LABELS)) == 4
    assert len(engine.asked) == TRIED


def test_a_collection_of_other_things_opens_with_labels_of_its_own(tmp_path):
    collection = a_collection(tmp_path / "c", test=["mug", "bowl, large", "jar", None, "mug", "jar", "mug"])
    assert opening_labels(collection) == ["mug", "jar"]  # by how many there are; a comma would make two of one
    engine = GivenEngine(collection, {2: "jar"})
    assert opening_shape(engine, opening_labels(collection)) == 2


@pytest.mark.parametrize("splits", [{"test": [None] * 30}, {"train": [None] * 5, "test": [None] * 25}])
def test_a_collection_without_labels_opens_with_the_usual_ones_and_offers_shapes(tmp_path, splits):
    collection = a_collection(tmp_path / "c", **splits)
    assert opening_labels(collection) == list(LABELS)
    first = 5 if "train" in splits else 0
    assert opening_shape(GivenEngine(collection, {}), list(LABELS)) == first
    assert collection.spread(12) == list(range(first, first + 24, 2))


def test_the_shape_that_opens_is_offered_first_and_once(tmp_path):
    collection = a_collection(tmp_path / "c", train=["bed"] * 3, test=["bed", "chair", "chair", "lamp"])
    from mrd_hf.app.page import Page  # here, since it takes seconds to import

    page = Page(GivenEngine(collection, {5: "chair"}), ShapeReader(64), None)
    assert page.examples == [5, 3, 4, 6, 0, 1, 2]  # then bed, chair and lamp, held-out ones before others
    assert parse_labels(", ".join(page.labels)) == page.labels
