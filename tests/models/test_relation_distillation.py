"""The parts of the objective against numpy in float64, and their limits."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr

from mrd_hf.models.relation_distillation import (
    RelationWeights,
    contrastive_loss,
    duplicate_pairs,
    jeffrey_divergence,
    pair_logits,
    relation_log_probs,
    self_pairs,
)


def unit_rows(seed: int, rows: int = 6, width: int = 5) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, width))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(a) for a in arrays]


def test_relation_is_the_softmax_of_similarities():
    a, b = unit_rows(0), unit_rows(1, rows=9)
    expected = log_softmax(a @ b.T / 0.07, axis=1)
    np.testing.assert_allclose(relation_log_probs(*tensors(a, b), 0.07), expected, atol=1e-10)


def test_relation_without_self_pairs_is_the_softmax_of_the_others():
    a = unit_rows(0)
    same = self_pairs(6, 6, 0, torch.device("cpu"))
    relation = relation_log_probs(*tensors(a, a), 0.1, same).exp().numpy()
    for i in range(6):
        others = [j for j in range(6) if j != i]
        np.testing.assert_allclose(relation[i, others], np.exp(log_softmax(a[i] @ a[others].T / 0.1)), atol=1e-12)
        assert relation[i, i] == 0


@pytest.mark.parametrize("masked", [False, True])
def test_jeffrey_divergence_is_both_kl_divergences(masked):
    a, b = unit_rows(0), unit_rows(1)
    same = self_pairs(6, 6, 0, torch.device("cpu")) if masked else None
    log_p, log_q = (relation_log_probs(*tensors(x, x), 0.1, same) for x in (a, b))
    p, q = log_p.exp().numpy(), log_q.exp().numpy()
    expected = (rel_entr(p, q) + rel_entr(q, p)).sum(axis=1).mean()
    assert jeffrey_divergence(log_p, log_q, same).item() == pytest.approx(expected, abs=1e-10)
    assert jeffrey_divergence(log_p, log_p, same).item() == 0


@pytest.mark.parametrize("masked", [False, True])
def test_jeffrey_divergence_passes_gradcheck(masked):
    same = self_pairs(6, 6, 0, torch.device("cpu")) if masked else None
    target = relation_log_probs(*tensors(unit_rows(0), unit_rows(0)), 0.2, same)

    def divergence(student: torch.Tensor) -> torch.Tensor:
        return jeffrey_divergence(target, relation_log_probs(student, student, 0.2, same), same)

    assert torch.autograd.gradcheck(divergence, torch.from_numpy(unit_rows(1)).requires_grad_())


def test_contrastive_loss_with_rows_from_the_middle_of_the_global_batch():
    rows, columns = unit_rows(0, rows=2), unit_rows(1, rows=6)
    logits = pair_logits(*tensors(rows, columns), 10.0)
    log_probs = log_softmax(10 * rows @ columns.T, axis=1)
    assert contrastive_loss(logits, 3).item() == pytest.approx(-(log_probs[0, 3] + log_probs[1, 4]) / 2)


def test_self_pairs_of_a_later_process():
    assert self_pairs(2, 6, 4, torch.device("cpu")).nonzero().tolist() == [[0, 4], [1, 5]]


def test_duplicates_are_other_samples_with_the_same_embedding():
    texts = torch.from_numpy(unit_rows(0)).float()
    texts[4] = texts[1]
    stored = torch.nn.functional.normalize(texts.half().float(), dim=-1)  # as cached embeddings are
    same = self_pairs(6, 6, 0, torch.device("cpu"))
    assert duplicate_pairs(stored, stored, same).nonzero().tolist() == [[1, 4], [4, 1]]


def test_excluding_duplicates_removes_them_from_the_softmax():
    """Not by multiplying logits by zero, which would leave exp(0) in the sum."""
    rows, columns = unit_rows(0), unit_rows(1)
    excluded = torch.zeros(6, 6, dtype=torch.bool)
    excluded[2, 4] = True
    logits = pair_logits(*tensors(rows, columns), 10.0, excluded)
    kept = [0, 1, 2, 3, 5]
    expected = -log_softmax(10 * rows[2] @ columns[kept].T)[2]
    assert contrastive_loss(logits[2:3], 2).item() == pytest.approx(expected)


def test_weights_start_even_and_always_sum_to_the_number_of_terms():
    weights = RelationWeights(4, entropy=1.0)
    losses = torch.tensor([1.0, 2.0, 3.0, 6.0])
    loss, values = weights(losses)
    assert loss.item() == pytest.approx(3.0)
    assert values.tolist() == [1, 1, 1, 1]
    with torch.no_grad():
        weights.logits.copy_(torch.tensor([3.0, -1, 0, 2]))
    assert weights(losses)[1].sum().item() == pytest.approx(4)


def test_training_the_weights_alone_settles_inside_not_on_the_easiest_term():
    weights = RelationWeights(4, entropy=1.0)
    losses = torch.tensor([0.2, 0.5, 1.0, 2.0])
    optimizer = torch.optim.Adam(weights.parameters(), lr=0.05)
    for _ in range(3000):
        optimizer.zero_grad()
        weights(losses)[0].backward()
        optimizer.step()
    expected = 4 * torch.softmax(-losses, dim=0)  # the stationary point, worked out by hand
    torch.testing.assert_close(weights(losses)[1], expected, atol=1e-3, rtol=0)
    assert weights(losses)[1].min() > 0.1
