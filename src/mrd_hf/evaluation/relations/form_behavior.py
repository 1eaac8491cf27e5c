"""How the three forms of a relation would act on real embeddings: their entropies, and where their gradients fall.

Taken of the relation of images with images, which the shapes are to have with each other, without self-pairs.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...models.relation_distillation import RelationForm, euclidean, normalized_similarity, partial_order
from .embedding_geometry import unit_embeddings
from .relation_analysis import MODALITIES, ModalityEmbeddings, similarity_rows
from .relation_forms import distances, num_effective_columns, pull_on_embedding, similarity_gradient


FORMS: tuple[RelationForm, ...] = ("normalized_similarity", "euclidean", "partial_order")
# Of more shapes, so many drawn with a fixed seed are taken: a partial order takes some 40 MB of them.
MAX_SHAPES = 512
TEMPERATURES = tuple(float(f"{value:.4g}") for value in np.geomspace(0.01, 1, 21))
# Which share of the columns, nearest for the teacher, is called near in the report.
NEAR = 0.1
DECIMALS = 6


@dataclass(frozen=True)
class FormBehavior:
    """One form on a set of embeddings.

    Attributes:
        teacher_entropy (`np.ndarray` of shape `(len(TEMPERATURES),)`):
            Mean entropy of the teacher's rows, as a share of the largest possible, over the temperatures.
        student_entropy (`np.ndarray` of shape `(len(TEMPERATURES),)`): The same of the shapes' rows.
        gradient (`np.ndarray` of shape `(num_pairs,)`): Size of the gradient with respect to each pair's similarity.
        pull (`np.ndarray` of shape `(num_pairs,)`): How strongly each pair pulls an embedding along the sphere.
        cumulative (`np.ndarray` of shape `(num_columns,)`):
            Share of a row's gradient that falls on the nearest columns by the teacher, 1, 2, ...; mean over rows.
        effective_columns (`float`): Over how many columns a row's gradient is spread, mean over rows.
    """

    teacher_entropy: np.ndarray
    student_entropy: np.ndarray
    gradient: np.ndarray
    pull: np.ndarray
    cumulative: np.ndarray
    effective_columns: float


@dataclass(frozen=True)
class FormComparison:
    """All forms on the same pairs.

    Attributes:
        distances (`np.ndarray` of shape `(num_pairs,)`): Of shapes in 3D, in the order of the gradients.
        variance (`float`): Of the teacher's similarities in a row, mean over rows.
        num_columns (`int`): How many others a row has.
        forms (`dict[str, FormBehavior]`): By name, in the order of `FORMS`.
    """

    distances: np.ndarray
    variance: float
    num_columns: int
    forms: dict[RelationForm, FormBehavior]

    def as_dict(self) -> dict[str, Any]:
        """Everything for JSON but what is of single pairs."""
        near = max(1, round(NEAR * self.num_columns))
        return {
            "num_columns": self.num_columns,
            "temperatures": list(TEMPERATURES),
            "forms": {
                name: {
                    "teacher_entropy": found.teacher_entropy.round(DECIMALS).tolist(),
                    "student_entropy": found.student_entropy.round(DECIMALS).tolist(),
                    "gradient_on_nearest_tenth": round(float(found.cumulative[near - 1]), DECIMALS),
                    "effective_columns": round(found.effective_columns, DECIMALS),
                }
                for name, found in self.forms.items()
            },
        }


def compare_forms(embeds: ModalityEmbeddings, temperature: float) -> FormComparison:
    """What each form would do with these embeddings at a temperature of teacher and student.

    Args:
        embeds (`Mapping` of `torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`):
            Of `point`, `image` and `text`, in one order; need not be normalised.
        temperature (`float`)
    """
    unit = {modality: unit_embeddings(embeds[modality], f"{modality} embeddings") for modality in MODALITIES}
    count = len(unit["point"])
    if count > MAX_SHAPES:
        chosen = np.sort(np.random.default_rng(0).choice(count, MAX_SHAPES, replace=False))
        unit = {modality: rows[chosen] for modality, rows in unit.items()}
    rows = slice(0, len(unit["point"]))
    teacher = similarity_rows(unit, ("image", "image"), rows)
    student = similarity_rows(unit, ("point", "point"), rows)
    return FormComparison(
        distances=distances(student).flatten().numpy(),
        variance=teacher.var(dim=1, correction=0).mean().item(),
        num_columns=teacher.shape[1],
        forms={form: _behavior(form, teacher, student, temperature) for form in FORMS},
    )


def relative_entropy(form: RelationForm, similarities: torch.Tensor, temperature: float) -> float:
    """Mean entropy of rows of a relation, as a share of the largest possible; of a partial order, of its comparisons.

    Args:
        form (`str`): The relation's.
        similarities (`torch.Tensor` of shape `(num_rows, num_columns)`)
        temperature (`float`)
    """
    if form == "partial_order":
        logs = partial_order(similarities, temperature)
    else:
        relation = normalized_similarity if form == "normalized_similarity" else euclidean
        logs = relation(similarities, temperature)
    return -(logs.exp() * logs).sum(dim=-1).mean().item() / math.log(logs.shape[-1])


def _behavior(form: RelationForm, teacher: torch.Tensor, student: torch.Tensor, temperature: float) -> FormBehavior:
    gradient = similarity_gradient(form, teacher, student, temperature, temperature)
    nearest_first = teacher.argsort(dim=1, descending=True, stable=True)
    sizes = gradient.abs().gather(1, nearest_first)
    totals = sizes.sum(dim=1, keepdim=True)
    return FormBehavior(
        teacher_entropy=np.array([relative_entropy(form, teacher, value) for value in TEMPERATURES]),
        student_entropy=np.array([relative_entropy(form, student, value) for value in TEMPERATURES]),
        gradient=gradient.abs().flatten().numpy(),
        pull=pull_on_embedding(gradient, student).flatten().numpy(),
        cumulative=(sizes.cumsum(dim=1) / totals.where(totals > 0, 1)).mean(dim=0).numpy(),
        effective_columns=num_effective_columns(gradient).mean().item(),
    )
