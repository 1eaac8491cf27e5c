"""The parts of the objective that the whole does not show, against numpy; masks, strides, limits."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import entropy

from mrd_hf.models.relation_distillation import (
    comparison_strides,
    contrastive_losses,
    divergence,
    duplicate_pairs,
    masked_log_softmax,
    normalized_similarity,
    self_pairs,
)


def unit_rows(seed: int, rows: int = 6, width: int = 5) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, width))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)


def test_contrastive_loss_of_rows_from_the_middle_of_the_global_batch():
    similarities = unit_rows(0, rows=2) @ unit_rows(1, rows=6).T
    losses, hits = contrastive_losses(tensor(similarities), 10.0, 3)
    log_probs = log_softmax(10 * similarities, axis=1)
    np.testing.assert_allclose(losses, [-log_probs[0, 3], -log_probs[1, 4]])
    assert hits.tolist() == [similarities[0].argmax() == 3, similarities[1].argmax() == 4]


def test_self_pairs_of_a_later_process():
    assert self_pairs(2, 6, 4, torch.device("cpu")).nonzero().tolist() == [[0, 4], [1, 5]]


def test_duplicates_are_other_samples_with_the_same_embedding():
    texts = tensor(unit_rows(0)).float()
    texts[4] = texts[1]
    stored = torch.nn.functional.normalize(texts.half().float(), dim=-1)  # as cached embeddings are
    same = self_pairs(6, 6, 0, torch.device("cpu"))
    assert duplicate_pairs(stored @ stored.T, same).nonzero().tolist() == [[1, 4], [4, 1]]


@pytest.mark.parametrize(("distance", "equal"), [(1e-4, False), (1e-6, True)])
def test_nearly_equal_samples_are_no_duplicates(distance, equal):
    """Two that float16 stores apart, and two that only its rounding tells apart."""
    similarities = torch.tensor([[1.0, 1 - distance], [1 - distance, 1.0]])
    found = duplicate_pairs(similarities, torch.eye(2, dtype=torch.bool))
    assert found.tolist() == [[False, equal], [equal, False]]


def test_excluding_duplicates_removes_them_from_the_softmax():
    """Not by multiplying logits by zero, which would leave exp(0) in the sum."""
    similarities = unit_rows(0) @ unit_rows(1).T
    masked = torch.zeros(6, 6, dtype=torch.bool)
    masked[2, 4] = True
    losses, _ = contrastive_losses(tensor(similarities), 10.0, 0, masked)
    expected = -log_softmax(10 * similarities[2, [0, 1, 2, 3, 5]])[2]
    assert losses[2].item() == pytest.approx(expected)


def test_masked_relations_are_those_of_the_others():
    similarities = unit_rows(0) @ unit_rows(0).T
    relation = normalized_similarity(tensor(similarities), 0.1, torch.eye(6, dtype=torch.bool)).exp().numpy()
    for i in range(6):
        others = [j for j in range(6) if j != i]
        np.testing.assert_allclose(relation[i, others], np.exp(log_softmax(similarities[i, others] / 0.1)), atol=1e-12)
        assert relation[i, i] == 0


def test_a_row_without_pairs_has_a_gradient_of_zeros():
    logits = torch.randn(2, 3, requires_grad=True)
    masked = torch.tensor([[True, True, True], [True, False, False]])
    log_probs = masked_log_softmax(logits, masked)
    assert (log_probs.exp()[masked] == 0).all()
    divergence("jeffrey", log_probs.detach() * 1.5, log_probs).sum().backward()
    assert (logits.grad[0] == 0).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("kind", ["jeffrey", "kl", "reverse_kl", "js"])
def test_divergences_equal_scipys(kind):
    p, q = (np.exp(log_softmax(5 * unit_rows(seed), axis=1)) for seed in (0, 1))
    middle = (p + q) / 2
    expected = {
        "jeffrey": entropy(p, q, axis=1) + entropy(q, p, axis=1),
        "kl": entropy(p, q, axis=1),
        "reverse_kl": entropy(q, p, axis=1),
        "js": (entropy(p, middle, axis=1) + entropy(q, middle, axis=1)) / 2,
    }[kind]
    found = divergence(kind, tensor(np.log(p)), tensor(np.log(q)))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(divergence(kind, tensor(np.log(p)), tensor(np.log(p))), 0, atol=1e-15)


@pytest.mark.parametrize(
    ("num_columns", "strides"), [(1, []), (2, [1]), (3, [1, 2]), (5, [1, 2, 4]), (8, [1, 2, 4]), (9, [1, 2, 4, 8])]
)
def test_strides_are_the_powers_of_two_below_the_batch(num_columns, strides):
    assert comparison_strides(num_columns) == strides


def test_strides_connect_all_columns_by_few_comparisons():
    """So that no two columns are without an order, directly or through others."""
    count = 1000
    reached = {0}
    for _ in range(10):
        reached |= {(j + s) % count for j in reached for s in comparison_strides(count)}
    assert reached == set(range(count))
