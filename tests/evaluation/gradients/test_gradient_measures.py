"""Norms and cosines over batches, against numpy on the gradients themselves."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mrd_hf.evaluation.gradients import gradient_measures
from mrd_hf.evaluation.gradients.gradient_measures import GradientMeasures, gram_matrix, norms_and_cosines
from mrd_hf.evaluation.gradients.term_gradients import TermGradients


NAMES = ["point_image", "point_text", "intra_text", "cross_image_text", "cross_text_image"]
WEIGHTS = torch.tensor([0.5, 0.5, 0.2, 0.03, 0.07])
MEMBERS = {"alignment": [0, 1], "intra": [2], "cross": [3, 4], "relations": [2, 3, 4], "loss": [0, 1, 2, 3, 4]}


def found(seed: int, width: int = 40) -> TermGradients:
    generator = torch.Generator().manual_seed(seed)
    encoder, embeddings = (torch.randn(5, w, generator=generator) + 0.3 for w in (width, 12))
    return TermGradients(NAMES, torch.rand(5, generator=generator), WEIGHTS, encoder, embeddings, float(seed))


def measured(batches: list[TermGradients]) -> dict:
    measures = GradientMeasures(NAMES)
    for batch in batches:
        measures.add(batch)
    return measures.as_dict()


def rows_of(gradients: np.ndarray) -> dict[str, np.ndarray]:
    """Gradients of terms, and of weighted sums, as vectors."""
    weights = WEIGHTS.double().numpy()
    rows = dict(zip(NAMES, gradients, strict=True))
    return rows | {name: sum(weights[i] * gradients[i] for i in members) for name, members in MEMBERS.items()}


def cosines_of(rows: dict[str, np.ndarray]) -> np.ndarray:
    return np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in rows.values()] for a in rows.values()])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 4), width=st.integers(3, 60))
def test_norms_and_cosines_are_those_of_the_vectors(seed, count, width):
    batches = [found(seed + i, width) for i in range(count)]
    report = measured(batches)
    for which in ("encoder", "embeddings"):
        vectors = [rows_of(getattr(batch, which).double().numpy()) for batch in batches]
        assert report[which]["cosines"]["rows"] == [*NAMES, *MEMBERS]
        cosines = np.array([cosines_of(rows) for rows in vectors])
        np.testing.assert_allclose(report[which]["cosines"]["mean"], cosines.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(report[which]["cosines"]["spread"], cosines.std(axis=0, ddof=1), atol=1e-6)
        for name in (*NAMES, *MEMBERS):
            norms = [np.linalg.norm(rows[name]) for rows in vectors]
            assert report[which]["norms"][name]["mean"] == pytest.approx(np.mean(norms), rel=1e-6)
            assert report[which]["norms"][name]["spread"] == pytest.approx(np.std(norms, ddof=1), rel=1e-5, abs=1e-7)
    mean = rows_of(np.mean([batch.encoder.double().numpy() for batch in batches], axis=0))
    of_mean = report["encoder"]["of_mean"]
    np.testing.assert_allclose(of_mean["cosines"], cosines_of(mean), atol=1e-5)
    assert list(of_mean["norms"].values()) == pytest.approx([np.linalg.norm(row) for row in mean.values()], rel=1e-5)
    assert "of_mean" not in report["embeddings"]  # other batches have other shapes
    assert report["losses"]["loss"]["mean"] == pytest.approx(np.mean([batch.loss for batch in batches]), rel=1e-6)
    losses = [batch.losses[2].item() for batch in batches]
    assert report["losses"]["intra_text"]["mean"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert list(report["weights"].values()) == pytest.approx(WEIGHTS.tolist())


def test_the_batches_that_were_added_stay_as_they_are():
    batches = [found(seed) for seed in range(3)]
    copies = [batch.encoder.clone() for batch in batches]
    measured(batches)
    assert all(torch.equal(batch.encoder, copy) for batch, copy in zip(batches, copies, strict=True))


def test_blocks_give_the_same_products(monkeypatch):
    rows = found(3, width=50).encoder
    whole = gram_matrix(rows)
    np.testing.assert_allclose(whole, rows.double().numpy() @ rows.double().numpy().T, rtol=1e-12)
    monkeypatch.setattr(gradient_measures, "BLOCK_SIZE", 7)
    np.testing.assert_allclose(gram_matrix(rows), whole, rtol=1e-12)


def test_no_spread_of_a_single_batch_and_no_cosine_with_nothing():
    batch = found(0)
    batch.encoder[2] = 0
    report = measured([batch])
    assert report["losses"]["loss"] == {"mean": 0.0, "spread": None}
    cosines, norms = report["encoder"]["cosines"], report["encoder"]["norms"]
    assert norms["intra_text"]["mean"] == norms["intra"]["mean"] == 0
    intra = cosines["rows"].index("intra")
    assert cosines["mean"][intra] == cosines["mean"][2] == [None] * 10
    assert cosines["mean"][0][1] is not None and report["encoder"]["of_mean"]["cosines"][2][2] is None
    assert report["embeddings"]["cosines"]["mean"][2][2] == 1


def test_equal_and_opposite_gradients_have_cosines_of_one():
    row = np.random.default_rng(0).normal(size=9)
    rows = np.stack([row, 3 * row, -row])
    norms, cosines = norms_and_cosines(rows @ rows.T)
    np.testing.assert_allclose(norms, np.linalg.norm(rows, axis=1))
    np.testing.assert_allclose(cosines, [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], atol=1e-12)
    assert np.abs(cosines).max() <= 1


def test_other_terms_are_refused():
    measures = GradientMeasures(NAMES[:3])
    with pytest.raises(ValueError, match="expected the terms"):
        measures.add(found(0))
    with pytest.raises(ValueError, match="no batch"):
        measures.as_dict()
