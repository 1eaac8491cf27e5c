"""Score shape embeddings on held-out shapes: zero-shot, retrieval and neighbours, beside what they compare with."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from datasets import Dataset

from ..data.triplet_schema import EMBEDDING_COLUMNS, check_columns
from ..errors import UserError
from .retrieval import retrieval_recall, same_category_neighbor
from .similarity import Embeddings
from .zero_shot import ZeroShotResult, zero_shot_classification


TOP_K = (1, 5)
RECALL_AT = (1, 5, 10)
NO_LABEL = -1


@dataclass(frozen=True)
class HeldOutSet:
    """What shape embeddings are scored against: a split of a triplet dataset with cached teacher embeddings.

    Args:
        ids (`list[str]`): One a shape, unique.
        names (`list[str]`): The text of source `name` of each shape; names may repeat.
        categories (`list[str | None]`): The source's category of each shape.
        labels (`np.ndarray` of shape `(num_shapes,)`): Index into `class_names`; -1 where a shape has no label.
        image_embeds (`np.ndarray` of shape `(num_shapes, width)`): The teacher's embedding of each first image.
        name_embeds (`np.ndarray` of shape `(num_shapes, width)`): The teacher's embedding of each name.
        class_names (`list[str]`): The classes of zero-shot classification; empty without labels.
        class_embeds (`np.ndarray` of shape `(num_classes, width)`): The teacher's embedding of each class.
    """

    ids: list[str]
    names: list[str]
    categories: list[str | None]
    labels: np.ndarray
    image_embeds: np.ndarray
    name_embeds: np.ndarray
    class_names: list[str]
    class_embeds: np.ndarray

    @classmethod
    def from_dataset(
        cls, dataset: Dataset, class_texts: str | Path | None = None, name: str = "the dataset"
    ) -> "HeldOutSet":
        """Read the set from a split of a triplet dataset.

        Args:
            dataset (`datasets.Dataset`):
                With the teacher's embeddings, and optionally a column `label` of class names (null where a shape has
                none).
            class_texts (`str` or `Path`, *optional*):
                Parquet file with the columns `label` and `text_embed`, one row a class. Without it there is no
                zero-shot classification.
            name (`str`):
                What messages call the dataset.

        Raises:
            UserError: If a column is missing, or a shape lacks an image, a name or a known label.
        """
        check_columns(dataset.features, ["id", "texts", *EMBEDDING_COLUMNS], name)
        ids = list(dataset["id"])
        embeds = dataset.select_columns(["image_embeds", "text_embeds"]).with_format("numpy")
        names, image_rows, name_rows = [], [], []
        for id_, texts, row in zip(ids, dataset["texts"], embeds, strict=True):
            place = next((place for place, text in enumerate(texts) if text["source"] == "name"), None)
            if place is None or len(row["image_embeds"]) == 0:
                lacking = "image" if place is not None else "text of source 'name'"
                raise UserError(f"{name}: shape '{id_}' has no {lacking}; leave it out of the split to evaluate.")
            names.append(texts[place]["text"])
            image_rows.append(row["image_embeds"][0])
            name_rows.append(row["text_embeds"][place])
        width = dataset.features["image_embeds"].shape[1]

        class_names: list[str] = []
        class_embeds = np.zeros((0, width), dtype=np.float32)
        labels = np.full(len(ids), NO_LABEL)
        if class_texts is not None and "label" in dataset.features:
            class_names, class_embeds = _read_class_texts(Path(class_texts), width)
            index_of: dict[str | None, int] = {label: index for index, label in enumerate(class_names)}
            index_of[None] = NO_LABEL
            for row_index, label in enumerate(dataset["label"]):
                if label not in index_of:
                    raise UserError(f"{name}: shape '{ids[row_index]}' has the label '{label}', not in {class_texts}.")
                labels[row_index] = index_of[label]
        return cls(
            ids=ids,
            names=names,
            categories=list(dataset["category"]) if "category" in dataset.features else [None] * len(ids),
            labels=labels,
            image_embeds=np.asarray(image_rows, dtype=np.float32),
            name_embeds=np.asarray(name_rows, dtype=np.float32),
            class_names=class_names,
            class_embeds=class_embeds,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labeled(self) -> np.ndarray:
        """Row indices of the shapes that have a label."""
        return np.flatnonzero(self.labels != NO_LABEL)


@dataclass(frozen=True)
class MetricRow:
    """One metric, beside what it compares with.

    Args:
        key (`str`): Name for a tracker, e.g. `zero_shot_top1`.
        title (`str`): Name for a reader.
        num_shapes (`int`): How many shapes it is a share of.
        value (`float`): In 0..1.
        chance (`float`): Exact expectation of a random guess.
        majority (`float`, *optional*): Of always guessing the most frequent classes, where that is defined.
        teacher (`float`, *optional*): The same metric with the teacher's image embedding in the shape's place, where
            that says something.
    """

    key: str
    title: str
    num_shapes: int
    value: float
    chance: float
    majority: float | None = None
    teacher: float | None = None


@dataclass(frozen=True)
class HeldOutReport:
    """What [`evaluate_held_out`] found: its rows, in the order to show them."""

    rows: list[MetricRow]


def evaluate_held_out(point_embeds: Embeddings, held_out: HeldOutSet) -> HeldOutReport:
    """Score shape embeddings on held-out shapes.

    - Zero-shot top-1 and top-5, over the shapes with a label.
    - Recall at 1, 5, 10 from shapes to images (only the shape's own image is a match) and from shapes to names (every
      shape's name is in the gallery, repeated ones too, and any of the same wording is a match).
    - Nearest other shape of the same category, over the shapes with a category.

    Rows without the data they need (labels, categories) are left out.

    Args:
        point_embeds (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, width)`):
            In the order of `held_out`; need not be normalised.
        held_out ([`HeldOutSet`]):
            What to score against.

    Raises:
        ValueError: If the number of embeddings or their width does not fit, or they are not finite.
    """
    if len(point_embeds) != len(held_out):
        raise ValueError(f"got {len(point_embeds)} shape embeddings for {len(held_out)} held-out shapes")
    rows: list[MetricRow] = []

    labeled = held_out.labeled
    if len(labeled):
        ours = classify_labeled(point_embeds, held_out)
        teacher = classify_labeled(held_out.image_embeds, held_out)
        rows += [
            MetricRow(
                key=f"zero_shot_top{k}",
                title=f"zero-shot top-{k} ({len(held_out.class_names)} classes)",
                num_shapes=len(labeled),
                value=ours.accuracy[k],
                chance=ours.chance[k],
                majority=ours.majority[k],
                teacher=teacher.accuracy[k],
            )
            for k in TOP_K
        ]

    to_image = retrieval_recall(point_embeds, held_out.image_embeds, held_out.ids, held_out.ids, RECALL_AT)
    to_name = retrieval_recall(point_embeds, held_out.name_embeds, held_out.names, held_out.names, RECALL_AT)
    teacher_to_name = retrieval_recall(
        held_out.image_embeds, held_out.name_embeds, held_out.names, held_out.names, RECALL_AT
    )
    rows += [
        MetricRow(
            key=f"shape_to_image_recall_at_{k}",
            title=f"shape to image, recall at {k}",
            num_shapes=len(held_out),
            value=to_image.recall[k],
            chance=to_image.chance[k],
        )
        for k in RECALL_AT
    ]
    rows += [
        MetricRow(
            key=f"shape_to_text_recall_at_{k}",
            title=f"shape to text, recall at {k}",
            num_shapes=len(held_out),
            value=to_name.recall[k],
            chance=to_name.chance[k],
            teacher=teacher_to_name.recall[k],
        )
        for k in RECALL_AT
    ]

    with_category = [row for row, category in enumerate(held_out.categories) if category is not None]
    if len(with_category) > 1:
        categories = [category for category in held_out.categories if category is not None]
        value, chance = same_category_neighbor(point_embeds[with_category], categories)
        rows.append(
            MetricRow(
                key="same_category_neighbor",
                title="nearest shape of the same category",
                num_shapes=len(with_category),
                value=value,
                chance=chance,
                teacher=same_category_neighbor(held_out.image_embeds[with_category], categories)[0],
            )
        )
    return HeldOutReport(rows)


def classify_labeled(point_embeds: Embeddings, held_out: HeldOutSet) -> ZeroShotResult:
    """Zero-shot classification of the shapes with a label; row i of the result is shape `held_out.labeled[i]`."""
    labeled = held_out.labeled
    return zero_shot_classification(point_embeds[labeled], held_out.class_embeds, held_out.labels[labeled], TOP_K)


def as_metrics(report: HeldOutReport) -> dict[str, float]:
    """The model's figures under flat names, for a tracker."""
    return {row.key: row.value for row in report.rows}


def as_dict(report: HeldOutReport) -> dict[str, dict[str, Any]]:
    """The whole report for JSON: a dictionary of each row's fields, by the row's key."""
    return {row.key: {field: value for field, value in asdict(row).items() if field != "key"} for row in report.rows}


def format_table(report: HeldOutReport) -> str:
    """The report as an aligned plain-text table, in percent; "-" where a comparison is not defined."""
    header = ("metric", "shapes", "model", "chance", "majority", "teacher")
    body = [
        (row.title, str(row.num_shapes), *map(_percent, (row.value, row.chance, row.majority, row.teacher)))
        for row in report.rows
    ]
    widths = [max(len(line[column]) for line in (header, *body)) for column in range(len(header))]
    lines = [
        _align(header, widths),
        "  ".join("-" * width for width in widths),
        *(_align(row, widths) for row in body),
    ]
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _align(cells: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join((cells[0].ljust(widths[0]), *numbers))


def _read_class_texts(path: Path, width: int) -> tuple[list[str], np.ndarray]:
    """Class names and their embeddings (num_classes, width), float32."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; it holds the classes' text embeddings, columns label and text_embed.")
    table = pq.read_table(path)
    for column in ("label", "text_embed"):
        if column not in table.column_names:
            raise UserError(f"{path}: no column '{column}' (it has {', '.join(table.column_names)}).")
    embeds = np.array(table["text_embed"].to_pylist(), dtype=np.float32)
    if embeds.ndim != 2 or embeds.shape[1] != width:
        raise UserError(
            f"{path}: text_embed has shape {embeds.shape}, the dataset's embeddings have width {width}; "
            "make both with the same teacher (scripts/embed_teacher.py)."
        )
    return table["label"].to_pylist(), embeds
