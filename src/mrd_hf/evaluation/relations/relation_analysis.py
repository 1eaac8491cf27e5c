"""How well shape embeddings keep the teacher's relations, row by row, and how they lie to the teacher's embeddings.

A relation is what one sample's embedding says about all others: a row of similarities. For L2-normalised embeddings
p of shapes, v of images and t of texts, those of distillation are compared:

- `intra_image`: `v_i . v_j` with `p_i . p_j`;
- `intra_text`: `t_i . t_j` with `p_i . p_j`;
- `cross_image_text`: `v_i . t_j` with `p_i . t_j`;
- `cross_text_image`: `t_i . v_j` with `p_i . v_j`.

Rows are taken a block at a time, so that the matrix of all pairs is never held.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from ...models.relation_distillation import RELATION_TERMS, Modality, divergence, normalized_similarity, self_pairs
from ..scores.similarity import Embeddings
from .class_structure import ClassStructure, class_structure
from .embedding_geometry import SIMILARITY_DECIMALS, Measured, linear_cka, pair_alignment, uniformity, unit_embeddings
from .embedding_spectrum import singular_values


RELATIONS = ("intra_image", "intra_text", "cross_image_text", "cross_text_image")
TEACHER_MODALITIES: tuple[Modality, Modality] = ("image", "text")
MODALITIES: tuple[Modality, ...] = ("point", *TEACHER_MODALITIES)
# Embeddings (num_shapes, embedding_dim) of `point`, `image` and `text`, in one order.
ModalityEmbeddings = Mapping[Modality, Embeddings]
# Similarities in a block: 32 MB in float64, and some ten such arrays at once.
BLOCK_SIZE = 2**22


@dataclass(frozen=True)
class KeptRelation:
    """How well each shape's row of one relation is kept; arrays have the shape `(num_shapes,)`.

    Attributes:
        divergence (`np.ndarray`): Jeffrey divergence of the rows as distributions; 0 where they are equal.
        flat_divergence (`np.ndarray`): The same for a row that takes all shapes to be equally similar.
        correlation (`np.ndarray`): Spearman's rank correlation; 0 where a row has no order.
        overlap (`dict[int, np.ndarray]`): By k: share of the teacher's k nearest that are among the k nearest in 3D.
        num_columns (`int`): How many others a row compares with, so that overlap by chance is `k / num_columns`.
    """

    divergence: np.ndarray
    flat_divergence: np.ndarray
    correlation: np.ndarray
    overlap: dict[int, np.ndarray]
    num_columns: int


@dataclass(frozen=True)
class RelationAnalysis:
    """What [`analyze_relations`] found for one encoder.

    Attributes:
        relations (`dict[str, KeptRelation]`): By name, in the order of `RELATIONS`.
        alignment (`dict[str, Measured]`): Of shapes with their images and texts.
        cka (`dict[str, Measured]`): Linear CKA of shapes with images and texts.
        uniformity (`dict[str, float]`): Of each modality, the shapes' among them.
        singular_values (`dict[str, torch.Tensor]`): Of each modality, see [`singular_values`].
        classes (`dict[str, ClassStructure | None]`): Of each modality; None where shapes have no classes.
    """

    relations: dict[str, KeptRelation]
    alignment: dict[Modality, Measured]
    cka: dict[Modality, Measured]
    uniformity: dict[Modality, float]
    singular_values: dict[Modality, torch.Tensor]
    classes: dict[Modality, ClassStructure | None]


def analyze_relations(
    embeds: ModalityEmbeddings,
    ks: tuple[int, ...] = (10,),
    temperature: float = 0.07,
    progress: bool = False,
    classes: Sequence[str | None] | None = None,
) -> RelationAnalysis:
    """Compare all relations of shape embeddings with the teacher's.

    Args:
        embeds (`Mapping` of `torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`):
            Of `point`, `image` and `text`, in one order; need not be normalised.
        ks (`tuple[int, ...]`, defaults to `(10,)`):
            How many of the nearest neighbours to compare.
        temperature (`float`, defaults to 0.07):
            Of the softmax that makes a row of similarities a distribution, before their divergence is taken.
        progress (`bool`, defaults to `False`):
            Whether to show progress bars.
        classes (sequence of `str` or None, *optional*):
            Each shape's class, None where it is unknown; without them there is no class structure.

    Raises:
        ValueError: If the embeddings do not fit together or are malformed, a k is not in 1..num_shapes-1, or the
            temperature is not positive.
    """
    labels = [None] * len(embeds["point"]) if classes is None else classes
    return RelationAnalysis(
        relations={name: compare_relation(name, embeds, ks, temperature, progress) for name in RELATIONS},
        alignment={modality: pair_alignment(embeds["point"], embeds[modality]) for modality in TEACHER_MODALITIES},
        cka={modality: linear_cka(embeds["point"], embeds[modality]) for modality in TEACHER_MODALITIES},
        uniformity={modality: uniformity(embeds[modality]) for modality in MODALITIES},
        singular_values={modality: singular_values(embeds[modality]) for modality in MODALITIES},
        classes={modality: class_structure(embeds[modality], labels) for modality in MODALITIES},
    )


def compare_relation(
    name: str,
    embeds: ModalityEmbeddings,
    ks: tuple[int, ...] = (10,),
    temperature: float = 0.07,
    progress: bool = False,
) -> KeptRelation:
    """Compare one relation, `name` of `RELATIONS`; other arguments and errors as for [`analyze_relations`]."""
    unit = _fitting(embeds)
    num_shapes = len(unit["point"])
    for k in ks:
        if not 1 <= k < num_shapes:
            raise ValueError(f"k must lie in 1..{num_shapes - 1}, got {k}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    term = RELATION_TERMS[name]
    step = max(1, BLOCK_SIZE // num_shapes)
    blocks = []
    for start in tqdm(range(0, num_shapes, step), desc=f"Comparing {name}", disable=not progress):
        rows = slice(start, min(start + step, num_shapes))
        teacher, student = (similarity_rows(unit, pair, rows) for pair in (term.teacher, term.student))
        blocks.append(_compare_rows(teacher, student, ks, temperature))
    joined = {key: torch.cat([block[key] for block in blocks]).numpy() for key in blocks[0]}
    return KeptRelation(
        divergence=joined["divergence"],
        flat_divergence=joined["flat_divergence"],
        correlation=joined["correlation"],
        overlap={k: joined[f"overlap_{k}"] for k in ks},
        num_columns=teacher.shape[1],
    )


def similarity_rows(unit: dict[Modality, torch.Tensor], pair: tuple[Modality, Modality], rows: slice) -> torch.Tensor:
    """Some rows of cosines of one modality to another; within a modality without those of a sample to itself.

    Args:
        unit (`dict` of `torch.Tensor` of shape `(num_shapes, embedding_dim)`): From [`unit_embeddings`].
        pair (tuple of two modalities): The rows' and the columns'.
        rows (`slice`): Which rows.

    Returns:
        `torch.Tensor` of shape `(len(rows), num_shapes)`, or `(len(rows), num_shapes - 1)` within a modality: float64.
    """
    queries, gallery = unit[pair[0]][rows], unit[pair[1]]
    similarities = (queries @ gallery.T).round(decimals=SIMILARITY_DECIMALS)
    if pair[0] != pair[1]:
        return similarities
    others = ~self_pairs(len(queries), len(gallery), rows.start, similarities.device)
    return similarities[others].view(len(queries), len(gallery) - 1)


def average_ranks(rows: torch.Tensor) -> torch.Tensor:
    """Ranks from 1 within each row; equal values share the mean of their places.

    Args:
        rows (`torch.Tensor` of shape `(num_rows, num_columns)`)

    Returns:
        `torch.Tensor` of shape `(num_rows, num_columns)`: float64.
    """
    ordered, order = rows.sort(dim=1)
    group = torch.zeros_like(order)
    group[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).cumsum(dim=1)
    places = torch.arange(1, rows.shape[1] + 1, dtype=torch.float64).expand(rows.shape)
    zeros = torch.zeros(rows.shape, dtype=torch.float64)
    sums, sizes = (zeros.scatter_add(1, group, values) for values in (places, torch.ones_like(places)))
    return zeros.scatter(1, order, (sums / sizes.clamp(min=1)).gather(1, group))


def rank_correlation(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Spearman's correlation of matched rows: Pearson's of their average ranks; 0 where a row's values are all equal.

    Args:
        first (`torch.Tensor` of shape `(num_rows, num_columns)`)
        second (`torch.Tensor` of shape `(num_rows, num_columns)`)

    Returns:
        `torch.Tensor` of shape `(num_rows,)`: float64, in -1..1.
    """
    mean = (first.shape[1] + 1) / 2
    x, y = average_ranks(first) - mean, average_ranks(second) - mean
    scale = (x.square().sum(dim=1) * y.square().sum(dim=1)).sqrt()
    return (x * y).sum(dim=1) / scale.where(scale > 0, 1)


def neighbor_shares(similarities: torch.Tensor, k: int) -> torch.Tensor:
    """How far each column belongs to a row's k nearest: 1 or 0, and of those that tie for the last places an equal
    part.

    The order of the columns would settle ties as well, but alike for teacher and student, which would pass for
    knowledge: names repeat, so text similarities tie often.

    Args:
        similarities (`torch.Tensor` of shape `(num_rows, num_columns)`)
        k (`int`)

    Returns:
        `torch.Tensor` of shape `(num_rows, num_columns)`: float64; each row sums to k.
    """
    last = similarities.topk(k, dim=1).values[:, -1:]
    nearer, tied = similarities > last, similarities == last
    part = (k - nearer.sum(dim=1, keepdim=True)) / tied.sum(dim=1, keepdim=True).double()
    return nearer + tied * part


def _compare_rows(
    teacher: torch.Tensor, student: torch.Tensor, ks: tuple[int, ...], temperature: float
) -> dict[str, torch.Tensor]:
    """The measures of matched rows of similarities `(num_rows, num_columns)`, each `(num_rows,)`."""
    target, found = (normalized_similarity(rows, temperature) for rows in (teacher, student))
    flat = normalized_similarity(torch.zeros_like(teacher), temperature)
    # What two rows share of the k nearest is their smaller parts: 1 for equal rows, however their ties are settled.
    overlaps = {
        f"overlap_{k}": torch.minimum(neighbor_shares(teacher, k), neighbor_shares(student, k)).sum(dim=1) / k
        for k in ks
    }
    return {
        "divergence": divergence("jeffrey", target, found),
        "flat_divergence": divergence("jeffrey", target, flat),
        "correlation": rank_correlation(teacher, student),
        **overlaps,
    }


def _fitting(embeds: ModalityEmbeddings) -> dict[Modality, torch.Tensor]:
    """Unit embeddings of all modalities; a `ValueError` where they differ in number or width."""
    unit = {modality: unit_embeddings(embeds[modality], f"{modality} embeddings") for modality in MODALITIES}
    if len({rows.shape for rows in unit.values()}) > 1:
        found = ", ".join(f"{tuple(rows.shape)} ({modality})" for modality, rows in unit.items())
        raise ValueError(
            f"{len(unit['point'])} shapes with embeddings of {found}; need as many of each modality, of one width"
        )
    return unit
