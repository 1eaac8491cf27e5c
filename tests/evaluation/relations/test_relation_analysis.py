"""Kept relations against loops, scipy and sorting; chance, ties, bounds, invariances, blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from mrd_hf.evaluation.relations import relation_analysis
from mrd_hf.evaluation.relations.relation_analysis import RELATIONS, analyze_relations, average_ranks, compare_relation
from mrd_hf.models.relation_distillation import RELATION_TERMS, relation_losses, self_pairs


KS = (1, 3, 5)
# Which embeddings each relation compares, written out again: teacher's rows and columns, then the student's.
PAIRS = {
    "intra_image": "vvpp",
    "intra_text": "ttpp",
    "cross_image_text": "vtpt",
    "cross_text_image": "tvpv",
}
seeds = st.integers(0, 10**6)


def draw(seed, count=14, width=5, coarse=False):
    """Embeddings of the three modalities; coarse ones have many equal rows and equal similarities."""
    generator = np.random.default_rng(seed)
    if coarse:
        basis = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0]])
        return {m: basis[generator.integers(0, 4, count)] for m in ("point", "image", "text")}
    return {m: generator.normal(size=(count, width)) for m in ("point", "image", "text")}


def similarities(name, embeds):
    """Teacher's and student's rows of cosines, as lists, without self-pairs within a modality."""
    unit = {m[0]: e / np.linalg.norm(e, axis=1, keepdims=True) for m, e in embeds.items()}
    unit["v"] = unit.pop("i")
    sides = []
    for rows, columns in (PAIRS[name][:2], PAIRS[name][2:]):
        table = np.round(unit[rows] @ unit[columns].T, 9)
        sides.append([np.delete(row, i) if rows == columns else row for i, row in enumerate(table)])
    return sides


def jeffrey_by_loops(teacher, student, temperature):
    p, q = (np.exp(row / temperature) for row in (teacher, student))
    p, q = p / p.sum(), q / q.sum()
    total = 0.0
    for a, b in zip(p, q, strict=True):
        total += a * np.log(a / b) + b * np.log(b / a)
    return total


def nearest(row, k):
    return set(np.argsort(-row, kind="stable")[:k].tolist())


def test_all_four_relations_are_analyzed():
    assert set(RELATIONS) == set(PAIRS) == {name for name in RELATION_TERMS if not name.endswith("transposed")}


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=15, deadline=None)
@given(seed=seeds, temperature=st.sampled_from([0.07, 0.5]))
def test_against_loops_scipy_and_sorting(name, seed, temperature):
    embeds = draw(seed)
    found = compare_relation(name, embeds, KS, temperature)
    for i, (teacher, student) in enumerate(zip(*similarities(name, embeds), strict=True)):
        assert found.divergence[i] == pytest.approx(jeffrey_by_loops(teacher, student, temperature), abs=1e-6)
        flat = jeffrey_by_loops(teacher, np.zeros(len(teacher)), temperature)
        assert found.flat_divergence[i] == pytest.approx(flat, abs=1e-6)
        assert found.correlation[i] == pytest.approx(spearmanr(teacher, student).statistic, abs=1e-12)
        for k in KS:
            shared = len(nearest(teacher, k) & nearest(student, k)) / k
            assert found.overlap[k][i] == pytest.approx(shared, abs=1e-12)
        assert found.num_columns == len(teacher)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, columns=st.integers(1, 12))
def test_ranks_of_ties_are_averaged(seed, columns):
    rows = np.random.default_rng(seed).integers(0, 4, (5, columns)).astype(float)
    np.testing.assert_array_equal(average_ranks(relation_analysis.torch.tensor(rows)), rankdata(rows, axis=1))


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=8, deadline=None)
@given(seed=seeds)
def test_ties_among_the_teachers_do_not_depend_on_the_order_of_shapes(name, seed):
    """Overlap is then the mean over all ways of settling the teacher's ties; correlation is scipy's."""
    embeds = {**draw(seed, count=10, coarse=True), "point": draw(seed, count=10, width=3)["point"]}
    found = compare_relation(name, embeds, (3,))
    generator = np.random.default_rng(seed)
    for i, (teacher, student) in enumerate(zip(*similarities(name, embeds), strict=True)):
        if len(set(teacher)) > 1 and len(set(student)) > 1:
            assert found.correlation[i] == pytest.approx(spearmanr(teacher, student).statistic, abs=1e-12)
        if len(set(student)) == len(student):
            settled = []
            for _ in range(200):
                order = np.lexsort((generator.random(len(teacher)), -teacher))[:3]
                settled.append(len(set(order.tolist()) & nearest(student, 3)) / 3)
            assert found.overlap[3][i] == pytest.approx(np.mean(settled), abs=0.17)


def test_equal_texts_stay_equal_in_float64_products():
    """A matrix product may round equal columns differently, which must not settle ties."""
    texts = np.random.default_rng(0).normal(size=(3, 384))[np.arange(61) % 3]
    embeds = {**draw(0, 61, 384), "text": texts}
    found = compare_relation("intra_text", {**embeds, "point": texts * 7}, (10,))
    np.testing.assert_allclose(found.overlap[10], 1, atol=1e-12)
    np.testing.assert_allclose(found.correlation, 1, atol=1e-12)


@pytest.mark.parametrize("coarse", [False, True])
@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_a_copy_of_the_teacher_keeps_all(coarse, seed):
    embeds = draw(seed, coarse=coarse)
    for name, modality in (("intra_image", "image"), ("cross_image_text", "image"), ("intra_text", "text")):
        found = compare_relation(name, {**embeds, "point": 3 * embeds[modality]}, KS)
        np.testing.assert_allclose(found.divergence, 0, atol=1e-6)
        for k in KS:
            np.testing.assert_allclose(found.overlap[k], 1, atol=1e-12)
        if not coarse:
            np.testing.assert_allclose(found.correlation, 1, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, count=st.integers(7, 20), coarse=st.booleans())
def test_bounds(seed, count, coarse):
    found = analyze_relations(draw(seed, count, coarse=coarse), KS)
    for relation in found.relations.values():
        for values in (relation.divergence, relation.flat_divergence):
            assert (values > -1e-9).all() and np.isfinite(values).all()
        assert (np.abs(relation.correlation) <= 1 + 1e-12).all()
        for k in KS:
            assert (relation.overlap[k] > -1e-12).all() and (relation.overlap[k] <= 1 + 1e-12).all()
    for modality in ("image", "text"):
        assert 0 <= found.alignment[modality].value <= 4 and -1e-12 <= found.cka[modality].value <= 1 + 1e-12
    assert all(-8 <= value <= 1e-12 for value in found.uniformity.values())


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_relations_within_3d_do_not_know_its_rotation_and_those_across_do(seed):
    embeds = draw(seed)
    turned = {**embeds, "point": embeds["point"] @ np.linalg.qr(draw(seed, 5)["text"])[0]}
    for name in RELATIONS:
        found, other = compare_relation(name, embeds, KS), compare_relation(name, turned, KS)
        same = [
            np.allclose(found.divergence, other.divergence, atol=1e-6),
            np.allclose(found.correlation, other.correlation, atol=1e-6),
            all(np.allclose(found.overlap[k], other.overlap[k]) for k in KS),
        ]
        assert all(same) if name.startswith("intra") else not any(same[:2])


@pytest.mark.parametrize("name", PAIRS)
def test_a_collapsed_encoder_scores_as_what_knows_nothing(name):
    """Its cosines are all 1 up to rounding, which must not count as an order."""
    embeds = {**draw(0, 40, 16), "point": np.full((40, 16), 0.3, dtype=np.float32)}
    found = compare_relation(name, embeds, KS)
    if name.startswith("intra"):
        np.testing.assert_allclose(found.divergence, found.flat_divergence, atol=1e-6)
        assert (found.correlation == 0).all()
        for k in KS:
            np.testing.assert_allclose(found.overlap[k], k / 39)
    else:  # all shapes have the one row of similarities
        assert abs(found.correlation.mean()) < 0.15


def test_random_embeddings_score_at_chance():
    found = analyze_relations(draw(0, 400, 16), (10, 50))
    for name, relation in found.relations.items():
        assert relation.num_columns == (399 if name.startswith("intra") else 400)
        assert abs(relation.correlation.mean()) < 0.02
        for k in (10, 50):
            spread = relation.overlap[k].std() / len(relation.overlap[k]) ** 0.5
            assert abs(relation.overlap[k].mean() - k / relation.num_columns) < 4 * spread
    for cka in found.cka.values():
        assert cka.value == pytest.approx(cka.chance, rel=0.1)
    for alignment in found.alignment.values():
        assert alignment.value == pytest.approx(alignment.chance, rel=0.05)


def test_the_divergence_is_what_training_lowers():
    torch = relation_analysis.torch
    embeds = draw(3)
    unit = {m: torch.nn.functional.normalize(torch.tensor(e), dim=1) for m, e in embeds.items()}
    for name in RELATIONS:
        term = RELATION_TERMS[name]
        teacher, student = (unit[rows] @ unit[columns].T for rows, columns in (term.teacher, term.student))
        masked = self_pairs(14, 14, 0, teacher.device) if name.startswith("intra") else None
        loss = relation_losses("normalized_similarity", "jeffrey", [teacher], student, 0.07, 0.07, masked=masked)
        np.testing.assert_allclose(compare_relation(name, embeds, (1,)).divergence, loss, atol=1e-6)


@pytest.mark.parametrize("coarse", [False, True])
def test_blocks_give_the_same_result(monkeypatch, coarse):
    embeds = draw(1, 60, 7, coarse=coarse)
    whole = analyze_relations(embeds, KS)
    for block_size in (1, 7 * 60 + 3):
        monkeypatch.setattr(relation_analysis, "BLOCK_SIZE", block_size)
        blocks = analyze_relations(embeds, KS)
        for name in RELATIONS:
            one, other = whole.relations[name], blocks.relations[name]
            np.testing.assert_allclose(one.divergence, other.divergence, atol=1e-9)
            np.testing.assert_allclose(one.correlation, other.correlation, atol=1e-12)
            for k in KS:
                np.testing.assert_allclose(one.overlap[k], other.overlap[k], atol=1e-12)


def test_a_block_holds_no_more_than_its_size(monkeypatch):
    sizes = []
    original = relation_analysis.average_ranks
    monkeypatch.setattr(relation_analysis, "average_ranks", lambda rows: sizes.append(rows.numel()) or original(rows))
    monkeypatch.setattr(relation_analysis, "BLOCK_SIZE", 600)
    compare_relation("cross_image_text", draw(0, 55), (1,))
    assert max(sizes) <= 600 and sum(sizes) == 2 * 55 * 55


def test_inputs_that_do_not_fit():
    embeds = draw(0)
    with pytest.raises(ValueError, match=r"14 shapes with embeddings of \(14, 5\) \(point\), \(13, 5\) \(image\)"):
        compare_relation("intra_image", {**embeds, "image": embeds["image"][1:]}, KS)
    with pytest.raises(ValueError, match="as many of each modality, of one width"):
        analyze_relations({**embeds, "text": embeds["text"][:, 1:]}, KS)
    for k in (0, 14):
        with pytest.raises(ValueError, match=rf"k must lie in 1..13, got {k}"):
            compare_relation("intra_image", embeds, (1, k))
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        compare_relation("intra_image", embeds, KS, 0)
