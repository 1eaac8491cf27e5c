"""What the page opens with: the labels in the box, and a shape that one of them fits."""

from collections import Counter

from .collection import UP_AXIS, Collection
from .engine import Engine
from .labels import MAX_LENGTH, SEPARATORS


LABELS = ("chair", "armchair", "sofa", "table", "bed", "lamp", "wardrobe", "bathtub", "plant", "car")
# Shapes that are classified at the start in the search for one that is classified rightly.
TRIED = 30


def opening_labels(collection: Collection) -> list[str]:
    """`LABELS`, where the collection has shapes of one of them; else what most of its shapes are."""
    counts = Counter(category for category in collection.categories if category is not None)
    typable = [category for category in counts if len(category) <= MAX_LENGTH and not SEPARATORS.search(category)]
    if not typable or {category.casefold() for category in typable} & set(LABELS):
        return list(LABELS)
    return sorted(typable, key=lambda category: (-counts[category], category))[: len(LABELS)]


def opening_shape(engine: Engine, labels: list[str]) -> int:
    """The row of the first shape whose category is one of the labels, and the best of them by the encoder's scores.

    Held-out shapes come before others. Where the encoder errs on the first `TRIED`, the first of these; where no
    category is a label, the first shape that is offered.
    """
    collection = engine.collection
    rows = collection.in_turns(labels)[:TRIED]
    for row in rows:
        scores = engine.classify(collection.shape(row).points, UP_AXIS, labels)
        if next(iter(scores)).casefold() == str(collection.categories[row]).casefold():
            return row
    return rows[0] if rows else collection.spread(1)[0]
