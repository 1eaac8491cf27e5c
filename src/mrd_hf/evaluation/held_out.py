"""Score shape embeddings on held-out shapes: zero-shot, retrieval and neighbours, beside what they compare with."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset

from ..data.class_texts import check_width, read_class_texts
from ..data.schema import EMBEDDING_COLUMNS, category_names, check_columns, embedding_dim
from ..errors import UserError
from .benchmarks.benchmark import Benchmark, check_each_once
from .report import Score
from .scores.similarity import Embeddings
from .scores.zero_shot import ZeroShotResult, zero_shot_classification
from .scoring import neighbor_scores, retrieval_scores, zero_shot_scores


NO_LABEL = -1


@dataclass(frozen=True)
class HeldOutSet:
    """What shape embeddings are scored against: categories, and the teacher's embeddings.

    Args:
        ids (`list[str]`): One a shape, unique.
        names (`list[str]`): A name for each shape, which may repeat: the text of source `name` or, without one, its
            first text; of a benchmark, the class.
        categories (`list[str | None]`): The class that each shape belongs to; None where it is unknown.
        labels (`np.ndarray` of shape `(num_shapes,)`): Each category's place in `class_names`; -1 where there is none.
        class_names (`list[str]`): The classes of zero-shot classification; empty without class texts.
        class_embeds (`np.ndarray` of shape `(num_classes, embedding_dim)`): The teacher's embedding of each class.
        image_embeds (`np.ndarray` of shape `(num_shapes, embedding_dim)`, *optional*):
            The teacher's embedding of each first image; None where no shape has images.
        name_embeds (`np.ndarray` of shape `(num_shapes, embedding_dim)`, *optional*):
            The teacher's embedding of each name.
    """

    ids: list[str]
    names: list[str]
    categories: list[str | None]
    labels: np.ndarray
    class_names: list[str]
    class_embeds: np.ndarray
    image_embeds: np.ndarray | None = None
    name_embeds: np.ndarray | None = None

    @classmethod
    def from_dataset(
        cls,
        dataset: Dataset,
        class_texts: str | Path | None = None,
        name: str = "the dataset",
        labels_only: bool = False,
    ) -> "HeldOutSet":
        """Read the set from a split of a triplet dataset.

        Args:
            dataset (`datasets.Dataset`):
                With the teacher's embeddings, and optionally a column `category` of class names (null where it is
                unknown), see [`category_names`].
            class_texts (`str` or `Path`, *optional*):
                Parquet file with the columns `label` and `text_embed`, one row a class, for zero-shot classification;
                without it there is none.
            name (`str`):
                What messages call the dataset.
            labels_only (`bool`, defaults to `False`):
                Whether it is a split to learn labels from, whose shapes need neither texts nor images nor categories:
                the set has no embeddings of them, and the names are the ids.

        Raises:
            UserError: If a column is missing, or a shape lacks a text, or an image that others have, or has a category
                that is no class; or an id is there twice; or there are class texts and no categories.
        """
        check_columns(dataset.features, ["id", *(() if labels_only else ("texts",)), *EMBEDDING_COLUMNS], name)
        ids = list(dataset["id"])
        check_each_once(ids, name)
        names, image_embeds, name_embeds = (ids, None, None) if labels_only else _compared_with(dataset, ids, name)
        width = embedding_dim(dataset.features)

        class_names: list[str] = []
        class_embeds = np.zeros((0, width), dtype=np.float32)
        categories = category_names(dataset, name)
        labels = np.full(len(ids), NO_LABEL)
        if class_texts is not None and not labels_only and all(category is None for category in categories):
            lacking = "no shape has a 'category'" if "category" in dataset.features else "no column 'category'"
            raise UserError(
                f"{name}: {lacking} in the split to evaluate, so the classes of {class_texts} have nothing to be "
                "compared with; prepare it with categories, or leave out class_texts."
            )
        if class_texts is not None:
            class_names, class_embeds = read_class_texts(class_texts)
            check_width(class_embeds, width, class_texts, name)
            index_of: dict[str | None, int] = {of_class: index for index, of_class in enumerate(class_names)}
            index_of[None] = NO_LABEL
            for row_index, category in enumerate(categories):
                if category not in index_of:
                    raise UserError(
                        f"{name}: shape '{ids[row_index]}' has the category '{category}', not in {class_texts}; make "
                        "that again with mrd-hf embed-teacher --class-texts."
                    )
                labels[row_index] = index_of[category]
        return cls(
            ids=ids,
            names=names,
            categories=categories,
            labels=labels,
            image_embeds=image_embeds,
            name_embeds=name_embeds,
            class_names=class_names,
            class_embeds=class_embeds,
        )

    @classmethod
    def from_benchmark(cls, benchmark: Benchmark, class_embeds: np.ndarray) -> "HeldOutSet":
        """The set of a benchmark, which has categories and neither images nor names.

        Args:
            benchmark ([`Benchmark`])
            class_embeds (`np.ndarray` of shape `(num_classes, embedding_dim)`): In the order of its classes.
        """
        names = [benchmark.class_names[label] for label in benchmark.labels]
        return cls(
            ids=benchmark.ids,
            names=names,
            categories=list(names),
            labels=benchmark.labels,
            class_names=benchmark.class_names,
            class_embeds=class_embeds,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def embedding_dim(self) -> int | None:
        """Width of the embeddings to compare with; None where there are none."""
        for embeds in (self.image_embeds, self.name_embeds):
            if embeds is not None:
                return embeds.shape[1]
        return self.class_embeds.shape[1] if self.class_names else None

    @property
    def num_embeddings(self) -> int:
        """How many there are of shapes, images and names together."""
        return len(self) * (1 + sum(embeds is not None for embeds in (self.image_embeds, self.name_embeds)))

    @property
    def labeled(self) -> np.ndarray:
        """Row indices of the shapes that have a category among the classes."""
        return np.flatnonzero(self.labels != NO_LABEL)


def evaluate_held_out(point_embeds: Embeddings, held_out: HeldOutSet, seed: int = 0) -> list[Score]:
    """Score shape embeddings on held-out shapes.

    - Zero-shot top-1, 3, 5 and class-mean accuracy, over the shapes with a category.
    - Recall at 1, 5, 10 and median rank from shapes to images and back (only the shape's own image is a match), and
      from shapes to names and back (every shape's name is in the gallery, repeated ones too, and any of the same
      wording is a match).
    - Nearest other shape of the same category, and mean average precision of all others, among the shapes with a
      category, over those that share theirs with another.

    Scores without the data they need (categories, class texts, images, names) are left out.

    Args:
        point_embeds (`torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`):
            In the order of `held_out`; need not be normalised.
        held_out ([`HeldOutSet`]):
            What to score against.
        seed (`int`, defaults to 0):
            Of the intervals' bootstrap.

    Raises:
        ValueError: If the number of embeddings or their width does not fit, or they are not finite.
    """
    if len(point_embeds) != len(held_out):
        raise ValueError(f"got {len(point_embeds)} shape embeddings for {len(held_out)} held-out shapes")
    ids, names, images, texts = held_out.ids, held_out.names, held_out.image_embeds, held_out.name_embeds
    scores: list[Score] = []
    if len(held_out.labeled) and len(held_out.class_names):
        scores += zero_shot_scores(point_embeds, held_out.class_embeds, held_out.labels, images, seed)
    if images is not None:
        scores += retrieval_scores("shape_to_image", "shape to image", point_embeds, images, ids, ids, seed=seed)
        scores += retrieval_scores("image_to_shape", "image to shape", images, point_embeds, ids, ids, seed=seed)
    if texts is not None:
        for name, title, query, gallery, teachers, teachers_gallery in (
            ("shape_to_text", "shape to text", point_embeds, texts, images, texts),
            ("text_to_shape", "text to shape", texts, point_embeds, texts, images),
        ):
            scores += retrieval_scores(name, title, query, gallery, names, names, teachers, teachers_gallery, seed)
    return scores + neighbor_scores(point_embeds, held_out.categories, images, seed)


def classify_labeled(point_embeds: Embeddings, held_out: HeldOutSet) -> ZeroShotResult:
    """Zero-shot classification of the shapes with a category; row i of the result is shape `held_out.labeled[i]`."""
    labeled = held_out.labeled
    return zero_shot_classification(point_embeds[labeled], held_out.class_embeds, held_out.labels[labeled])


def _compared_with(dataset: Dataset, ids: list[str], name: str) -> tuple[list[str], np.ndarray | None, np.ndarray]:
    """Each shape's name, and the teacher's embeddings of first images, None where no shape has one, and of names."""
    embeds = dataset.select_columns(["image_embeds", "text_embeds"]).with_format("numpy")
    names, image_rows, name_rows = [], [], []
    imageless = None
    for id_, texts, row in zip(ids, dataset["texts"], embeds, strict=True):
        if not texts:
            raise UserError(f"{name}: shape '{id_}' has no text; leave it out of the split to evaluate.")
        place = next((place for place, text in enumerate(texts) if text["source"] == "name"), 0)
        names.append(texts[place]["text"])
        name_rows.append(row["text_embeds"][place])
        if len(row["image_embeds"]) == 0:
            imageless = id_
        else:
            image_rows.append(row["image_embeds"][0])
    if imageless is not None and image_rows:
        raise UserError(f"{name}: shape '{imageless}' has no image; leave it out of the split to evaluate.")
    image_embeds = np.asarray(image_rows, dtype=np.float32) if image_rows else None
    return names, image_embeds, np.asarray(name_rows, dtype=np.float32)
