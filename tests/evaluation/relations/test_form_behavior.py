"""How the forms would act: entropies and shares of gradients against loops in numpy, on few and on many shapes."""

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from scipy.stats import entropy

from mrd_hf.evaluation.relations import form_behavior
from mrd_hf.evaluation.relations.form_behavior import FORMS, TEMPERATURES, compare_forms, relative_entropy


COUNT = 14


def embeddings(count: int = COUNT) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = {modality: rng.normal(size=(count, 6)) for modality in ("point", "image", "text")}
    return {modality: e / np.linalg.norm(e, axis=1, keepdims=True) for modality, e in rows.items()}


def cosines(rows: np.ndarray) -> np.ndarray:
    """Of each to the others: `(count, count - 1)`."""
    return np.array([[rows[i] @ rows[j] for j in range(len(rows)) if j != i] for i in range(len(rows))])


def test_entropies_are_those_of_the_rows():
    embeds = embeddings()
    found = compare_forms(embeds, 0.1)
    teacher, student = cosines(embeds["image"]), cosines(embeds["point"])
    for place in (0, 10, 20):
        tau = TEMPERATURES[place]
        for name, logits in (("normalized_similarity", lambda s: s), ("euclidean", lambda s: -np.sqrt(2 - 2 * s))):
            for field, rows in (("teacher_entropy", teacher), ("student_entropy", student)):
                expected = entropy(softmax(logits(rows) / tau, axis=1), axis=1).mean() / np.log(COUNT - 1)
                assert getattr(found.forms[name], field)[place] == pytest.approx(expected, abs=1e-5)
        columns = np.arange(COUNT - 1)
        margins = [row - row[(columns + stride) % (COUNT - 1)] for row in teacher for stride in (1, 2, 4, 8)]
        p = expit(np.concatenate(margins) / tau)
        bits = entropy([p, 1 - p], base=2)
        assert found.forms["partial_order"].teacher_entropy[place] == pytest.approx(np.mean(bits), abs=1e-6)
    assert found.variance == pytest.approx(teacher.var(axis=1).mean())
    np.testing.assert_allclose(found.distances, np.sqrt(2 - 2 * student + 1e-6).ravel(), atol=1e-7)


def test_gradients_fall_on_columns_by_the_teachers_order():
    embeds = embeddings()
    found = compare_forms(embeds, 0.1)
    teacher, student = cosines(embeds["image"]), cosines(embeds["point"])
    for name in FORMS:
        form = found.forms[name]
        sizes = form.gradient.reshape(COUNT, COUNT - 1)
        shares = []
        for row, order in zip(sizes, np.argsort(-teacher, axis=1), strict=True):
            shares.append(np.cumsum(row[order]) / row.sum())
        np.testing.assert_allclose(form.cumulative, np.mean(shares, axis=0), atol=1e-9)
        assert form.cumulative[-1] == pytest.approx(1) and (np.diff(form.cumulative) >= 0).all()
        counted = [row.sum() ** 2 / (row**2).sum() for row in sizes]
        assert form.effective_columns == pytest.approx(np.mean(counted))
        np.testing.assert_allclose(form.pull, form.gradient * np.sqrt(1 - student**2).ravel(), atol=1e-9)
    shown = found.as_dict()["forms"]["euclidean"]
    assert shown["gradient_on_nearest_tenth"] == pytest.approx(found.forms["euclidean"].cumulative[0], abs=1e-6)
    assert len(shown["teacher_entropy"]) == len(found.as_dict()["temperatures"]) == 21


def test_rows_without_a_preference_have_all_the_entropy_there_is():
    for form in FORMS:
        assert relative_entropy(form, torch.full((2, 9), 0.3, dtype=torch.float64), 0.05) == pytest.approx(1)


def test_of_many_shapes_the_same_ones_are_drawn(monkeypatch):
    monkeypatch.setattr(form_behavior, "MAX_SHAPES", 8)
    embeds = embeddings(30)
    first, again = (compare_forms(embeds, 0.1) for _ in range(2))
    assert first.num_columns == 7 and first.as_dict() == again.as_dict()
    assert len(first.distances) == 8 * 7


def test_shapes_that_keep_the_relation_have_no_gradient():
    embeds = embeddings()
    found = compare_forms({**embeds, "point": embeds["image"]}, 0.1)
    for form in found.forms.values():
        assert form.gradient.max() < 1e-12
    assert np.isfinite(found.forms["euclidean"].cumulative).all()
