"""Any triplet dataset whose shapes have a class, in the column `category`.

A file `class_texts.parquet` beside the data, as the demo data has it, says which classes there are and in which order;
if it has their text embeddings, they are taken. Without it the classes are those of all splits, sorted. Shapes without
a category are left out.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from datasets import DatasetDict

from ...data.class_texts import CLASS_TEXTS_FILE, has_class_embeddings, read_class_names
from ...data.embedding.embedded_files import read_record
from ...data.loaders.arrow_rows import ArrayRows
from ...data.loading import pick_split
from ...data.schema import SHAPE_COLUMNS, category_names, check_columns
from ...errors import UserError
from ...models.shapes import ColoredPoints
from .benchmark import Benchmark


def labeled_triplets(splits: DatasetDict, name: str, split: str, up_axis: Literal["y", "z"] = "y") -> Benchmark:
    """The shapes of a triplet dataset that have a class.

    Args:
        splits (`DatasetDict`): All of the dataset, see [`~mrd_hf.data.loading.load_all_splits`].
        name (`str`): A local folder, or an id on the Hub.
        split (`str`): Of its splits.
        up_axis (`"y"` or `"z"`, defaults to `"y"`): Which axis points up; the schema has y.

    Raises:
        UserError: There is no such split, its shapes have no categories, or one is not in the class texts or no name.
    """
    dataset = pick_split(splits, name, split)
    check_columns(dataset.features, SHAPE_COLUMNS, name)
    of_shapes = category_names(dataset, name)
    if set(of_shapes) <= {None}:
        raise UserError(
            f"{name}: the split '{split}' has no column 'category' with values, the class of each shape (null where "
            "it is unknown); prepare it with categories."
        )
    texts = Path(name) / CLASS_TEXTS_FILE
    if texts.is_file():
        class_names = read_class_names(texts)
    else:
        found = {of_class for part in splits.values() for of_class in category_names(part, name)}
        class_names = sorted(of_class for of_class in found if of_class is not None)
    places: dict[str | None, int] = {of_class: place for place, of_class in enumerate(class_names)}
    kept = [row for row, category in enumerate(of_shapes) if category is not None]
    ids = dataset["id"][:]
    for row in kept:
        if of_shapes[row] not in places:
            raise UserError(f"{name}: shape '{ids[row]}' has the category '{of_shapes[row]}', not in {texts}.")
    try:
        points, colors = (ArrayRows(dataset.data.column(name_of), 3) for name_of in ("points", "colors"))
    except pa.ArrowInvalid as error:
        raise UserError(f"{name}: points or colors have nulls ({error}); prepare it again.") from None

    def read(rows: list[int]) -> list[ColoredPoints]:
        return [ColoredPoints(points[kept[row]].astype(np.float32), colors[kept[row]]) for row in rows]

    return Benchmark(
        name=Path(name).resolve().name if Path(name).is_dir() else name,
        split=split,
        source=name,
        class_names=class_names,
        labels=np.array([places[of_shapes[row]] for row in kept], dtype=np.int64),
        ids=[ids[row] for row in kept],
        up_axis=up_axis,
        read=read,
        class_teacher=_teacher_of(texts),
        class_embeddings=texts if texts.is_file() and has_class_embeddings(texts) else None,
    )


def _teacher_of(texts: Path) -> str | None:
    """The teacher that embedded class texts, as mrd-hf embed-teacher writes into them."""
    record = read_record(texts)
    return None if record is None else record["settings"].get("teacher")
