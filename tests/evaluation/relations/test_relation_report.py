"""Which figure stands in which row: each modality's own, before and after, with its own chance."""

import numpy as np
import pytest
import torch

from mrd_hf.evaluation.relations.class_structure import class_structure
from mrd_hf.evaluation.relations.embedding_geometry import Measured, linear_cka, pair_alignment, uniformity
from mrd_hf.evaluation.relations.embedding_spectrum import singular_values
from mrd_hf.evaluation.relations.relation_analysis import (
    MODALITIES,
    RELATIONS,
    TEACHER_MODALITIES,
    KeptRelation,
    RelationAnalysis,
    analyze_relations,
)
from mrd_hf.evaluation.relations.relation_report import compare_analyses


def test_each_modality_has_the_measures_of_its_own_embeddings():
    generator = np.random.default_rng(0)
    embeds = {name: generator.normal(size=(24, 5)) + [number, 0, 0, 0, 0] for number, name in enumerate(MODALITIES)}
    classes = list("aabbccdd" * 3)
    found = analyze_relations(embeds, classes=classes)
    for name in TEACHER_MODALITIES:
        assert found.alignment[name] == pair_alignment(embeds["point"], embeds[name])
        assert found.cka[name] == linear_cka(embeds["point"], embeds[name])
    for name in MODALITIES:
        assert found.uniformity[name] == uniformity(embeds[name])
        assert torch.equal(found.singular_values[name], singular_values(embeds[name]))
        assert found.classes[name] == class_structure(embeds[name], classes)
    for of in (found.alignment, found.cka, found.uniformity, found.classes):
        assert len({str(value) for value in of.values()}) == len(of)


def analysis(seed: int) -> RelationAnalysis:
    """Numbers that are all different."""
    generator = np.random.default_rng(seed)

    def measured() -> Measured:
        return Measured(*generator.random(2))

    def kept() -> KeptRelation:
        rows = (generator.random(30) ** 3 for _ in range(3))
        return KeptRelation(*rows, {1: generator.random(30), 4: generator.random(30)}, num_columns=29 + seed)

    labels = generator.permutation(list("aabbbccccc") * 3).tolist()
    return RelationAnalysis(
        {name: kept() for name in RELATIONS},
        {name: measured() for name in TEACHER_MODALITIES},
        {name: measured() for name in TEACHER_MODALITIES},
        {name: generator.random() for name in MODALITIES},
        {name: torch.from_numpy(generator.random(5)) for name in MODALITIES},
        {
            name: class_structure(generator.normal(size=(30, 6)), labels[: 30 - seed] + [None] * seed)
            for name in MODALITIES
        },
    )


def expected_rows(of: RelationAnalysis) -> dict[tuple[str, str], tuple[float, float | None]]:
    """Value and chance by group and measure, of one analysis, written out."""
    found: dict[tuple[str, str], tuple[float, float | None]] = {}
    for name in RELATIONS:
        relation = of.relations[name]
        found[name, "divergence_mean"] = np.mean(relation.divergence), np.mean(relation.flat_divergence)
        for measure, percent in (("q1", 25), ("median", 50), ("q3", 75)):
            quantiles = (np.percentile(values, percent) for values in (relation.divergence, relation.flat_divergence))
            found[name, f"divergence_{measure}"] = tuple(quantiles)
        found[name, "spearman"] = np.mean(relation.correlation), 0
        for k in (1, 4):
            found[name, f"overlap_at_{k}"] = np.mean(relation.overlap[k]), k / relation.num_columns
    for name in TEACHER_MODALITIES:
        found[name, "alignment"], found[name, "cka"] = of.alignment[name], of.cka[name]
    for name in MODALITIES:
        shares = of.singular_values[name].numpy() ** 2 / (of.singular_values[name].numpy() ** 2).sum()
        found["spread", f"uniformity_{name}"] = of.uniformity[name], None
        found["spread", f"effective_rank_{name}"] = np.exp(-(shares * np.log(shares)).sum()), None
        found["spread", f"participation_ratio_{name}"] = 1 / (shares**2).sum(), None
        structure = of.classes[name]
        for measure in ("own_centroid", "other_centroid", "nearest_is_own", "centroid_distance", "silhouette"):
            found[f"classes_{name}", measure] = getattr(structure, measure), None
        found[f"classes_{name}", "between_share"] = structure.between_share, structure.between_share_chance
    return found


def test_each_row_has_its_own_figures_before_and_after():
    before, after = analysis(0), analysis(1)
    rows = {(row.group, row.measure): row for row in compare_analyses(before, after)}
    expected = [expected_rows(of) for of in (before, after)]
    assert rows.keys() == expected[0].keys()
    for key, row in rows.items():
        (old, old_chance), (new, new_chance) = expected[0][key], expected[1][key]
        assert (row.before, row.after) == (pytest.approx(old), pytest.approx(new)), key
        if key[1] == "between_share":  # of the same classes both times
            old_chance = new_chance
        for chance, wanted in ((row.chance_before, old_chance), (row.chance_after, new_chance)):
            assert chance is None if wanted is None else chance == pytest.approx(wanted), key
