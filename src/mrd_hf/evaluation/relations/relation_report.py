"""Two analyses of kept relations side by side: before and after training, as rows, a table and JSON."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...models.relation_distillation import Modality
from .embedding_spectrum import effective_rank, participation_ratio
from .relation_analysis import MODALITIES, RELATIONS, TEACHER_MODALITIES, KeptRelation, RelationAnalysis


GROUPS = {
    "intra_image": "image to image (v.v in 3D's p.p)",
    "intra_text": "text to text (t.t in p.p)",
    "cross_image_text": "image to text (v.t in p.t)",
    "cross_text_image": "text to image (t.v in p.v)",
    "image": "shapes and their images",
    "text": "shapes and their texts",
    "spread": "spread over the sphere",
    "classes_point": "classes of shapes",
    "classes_image": "the same classes of their images",
    "classes_text": "the same classes of their texts",
}
MODALITY_TITLES: dict[Modality, str] = {"point": "shapes", "image": "images", "text": "texts"}
# Of a class structure's fields, with the best value where there is one.
CLASS_MEASURES = {
    "own_centroid": ("cosine to own class's centroid", 1.0),
    "other_centroid": ("cosine to nearest other centroid", None),
    "nearest_is_own": ("own centroid is the nearest", 1.0),
    "centroid_distance": ("distance of nearest other centroid", None),
    "between_share": ("share of scatter between classes", 1.0),
    "silhouette": ("silhouette", 1.0),
}
JSON_DECIMALS = 6
NOTE = """\
divergence   Jeffrey divergence of a shape's row of similarities from the teacher's, as distributions; lower is closer.
chance       what knows nothing scores: for divergence, to take all shapes for equally similar (mean or quantile over
             shapes); for neighbours, a random order; for alignment and CKA, the same embeddings with shapes shuffled,
             before / after where they differ.
alignment    mean squared distance of a shape to its own image or text; uniformity: 0 all in one place, -4 spread
             evenly. A shape's uniformity should come near that of images and texts.
directions   effective rank and participation ratio: how many directions the embeddings use, by the shares of their
             variance; the ratio counts strong directions more.
classes      of shapes whose class has another shape. Compact: near to the own centroid, of the others in the class.
             Separable: nearer to it than to any other centroid; silhouette 0 where classes overlap."""


@dataclass(frozen=True)
class ComparisonRow:
    """One measure before and after training.

    Args:
        group (`str`): What it is of, a key of `GROUPS`.
        measure (`str`): Its name within the group, e.g. `divergence_mean` or `overlap_at_10`.
        title (`str`): Name for a reader.
        before (`float`)
        after (`float`)
        best (`float`, *optional*): The best possible, where there is one.
        chance_before (`float`, *optional*): What embeddings that know nothing of the shapes score.
        chance_after (`float`, *optional*): The same; it differs where it depends on the embeddings.
    """

    group: str
    measure: str
    title: str
    before: float
    after: float
    best: float | None = None
    chance_before: float | None = None
    chance_after: float | None = None


def compare_analyses(before: RelationAnalysis, after: RelationAnalysis) -> list[ComparisonRow]:
    """All measures of two encoders on the same shapes, in the order to show them."""
    rows = []
    for name in RELATIONS:
        summaries = _summary(before.relations[name]), _summary(after.relations[name])
        for (measure, title, best), (value, chance) in summaries[0].items():
            after_value, after_chance = summaries[1][measure, title, best]
            rows.append(ComparisonRow(name, measure, title, value, after_value, best, chance, after_chance))
    for modality in TEACHER_MODALITIES:
        for measure, title, best, old, new in (
            ("alignment", "alignment", 0.0, before.alignment[modality], after.alignment[modality]),
            ("cka", "linear CKA", 1.0, before.cka[modality], after.cka[modality]),
        ):
            rows.append(ComparisonRow(modality, measure, title, old.value, new.value, best, old.chance, new.chance))
    for modality, title in MODALITY_TITLES.items():
        values = before.uniformity[modality], after.uniformity[modality]
        rows.append(ComparisonRow("spread", f"uniformity_{modality}", f"uniformity of {title}", *values))
    for measure, name, compute in (
        ("effective_rank", "effective rank", effective_rank),
        ("participation_ratio", "participation ratio", participation_ratio),
    ):
        for modality, title in MODALITY_TITLES.items():
            values = compute(before.singular_values[modality]), compute(after.singular_values[modality])
            rows.append(ComparisonRow("spread", f"{measure}_{modality}", f"{name} of {title}", *values))
    return rows + _class_rows(before, after)


def _class_rows(before: RelationAnalysis, after: RelationAnalysis) -> list[ComparisonRow]:
    """Compactness and separability of classes; none where the shapes have no classes."""
    rows = []
    for modality in MODALITIES:
        old, new = before.classes[modality], after.classes[modality]
        if old is None or new is None:
            continue
        for measure, (title, best) in CLASS_MEASURES.items():
            chance = new.between_share_chance if measure == "between_share" else None
            values = float(getattr(old, measure)), float(getattr(new, measure))
            rows.append(ComparisonRow(f"classes_{modality}", measure, title, *values, best, chance, chance))
    return rows


def _summary(relation: KeptRelation) -> dict[tuple[str, str, float], tuple[float, float]]:
    """Value and chance by (measure, title, best possible)."""
    rows, flat = relation.divergence, relation.flat_divergence
    summary = {("divergence_mean", "divergence, mean", 0.0): (float(rows.mean()), float(flat.mean()))}
    for measure, share, title in (
        ("q1", 0.25, "lower quartile"),
        ("median", 0.5, "median"),
        ("q3", 0.75, "upper quartile"),
    ):
        quantiles = float(np.quantile(rows, share)), float(np.quantile(flat, share))
        summary[f"divergence_{measure}", f"divergence, {title}", 0.0] = quantiles
    summary["spearman", "rank correlation (Spearman)", 1.0] = float(relation.correlation.mean()), 0.0
    for k, overlap in relation.overlap.items():
        chance = k / relation.num_columns
        title = "nearest neighbour kept" if k == 1 else f"{k} nearest neighbours kept"
        summary[f"overlap_at_{k}", title, 1.0] = float(overlap.mean()), chance
    return summary


def as_dict(rows: list[ComparisonRow]) -> dict[str, dict[str, dict[str, Any]]]:
    """The rows for JSON, by group and measure, rounded to what does not depend on the order of summation."""
    report: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        fields = {name: value for name, value in asdict(row).items() if name not in ("group", "measure")}
        rounded = {
            name: round(value, JSON_DECIMALS) + 0.0 if isinstance(value, float) else value
            for name, value in fields.items()
        }
        report.setdefault(row.group, {})[row.measure] = rounded
    return report


def comparison_table(rows: list[ComparisonRow]) -> str:
    """The rows as an aligned plain-text table under a line for each group, with a note on how to read it."""
    header = ("measure", "before", "after", "best", "chance")
    body = [
        (f"  {row.title}", _number(row.before), _number(row.after), _number(row.best), _chance(row)) for row in rows
    ]
    widths = [max(len(line[column]) for line in (header, *body)) for column in range(len(header))]
    widths[0] = max(widths[0], *(len(GROUPS[row.group]) for row in rows))
    lines = [_align(header, widths), "  ".join("-" * width for width in widths)]
    group = None
    for row, cells in zip(rows, body, strict=True):
        if row.group != group:
            group = row.group
            lines.append(GROUPS[group])
        lines.append(_align(cells, widths))
    return "\n".join([*lines, "", NOTE])


def _chance(row: ComparisonRow) -> str:
    before, after = _number(row.chance_before), _number(row.chance_after)
    return before if before == after else f"{before} / {after}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 3) + 0.0:.3f}"  # + 0.0: no -0.000


def _align(cells: tuple[str, ...], widths: list[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join((cells[0].ljust(widths[0]), *numbers))
