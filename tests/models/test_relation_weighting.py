"""The relation weights: where they start, what they sum to, and where training them alone settles."""

import math

import pytest
import torch

from mrd_hf.models.relation_weighting import RelationWeights


LOSSES = torch.tensor([0.2, 0.5, 1.0, 2.0])
SINGLE = [[0], [1], [2], [3]]


def settle(weights: RelationWeights, losses: torch.Tensor) -> torch.Tensor:
    """The weights after training them alone."""
    optimizer = torch.optim.Adam(weights.parameters(), lr=0.05)
    for _ in range(3000):
        optimizer.zero_grad()
        loss, cost, _ = weights(losses)
        (loss + cost).backward()
        optimizer.step()
    return weights(losses)[2]


@pytest.mark.parametrize("kind", ["softmax", "uncertainty"])
def test_weights_start_even_and_cost_nothing(kind):
    loss, cost, values = RelationWeights(kind, SINGLE, entropy=1.0)(LOSSES)
    assert loss.item() == pytest.approx(LOSSES.mean().item())
    assert cost.item() == pytest.approx(0, abs=1e-7)
    assert values.tolist() == [1, 1, 1, 1]


def test_softmax_weights_always_sum_to_the_number_of_terms():
    weights = RelationWeights("softmax", SINGLE, entropy=1.0)
    with torch.no_grad():
        weights.logits.copy_(torch.tensor([3.0, -1, 0, 2]))
    assert weights(LOSSES)[2].sum().item() == pytest.approx(4)


@pytest.mark.parametrize("unit", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("entropy", [0.5, 1.0])
def test_softmax_weights_settle_inside_whatever_the_losses_sizes(unit, entropy):
    losses = unit * LOSSES
    expected = 4 * torch.softmax(-losses / (entropy * losses.mean()), dim=0)  # the stationary point, by hand
    found = settle(RelationWeights("softmax", SINGLE, entropy), losses)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
    assert found.min() > 0.04


FAMILIES = [[0, 3], [1, 2, 4]]


def test_intra_against_cross_by_hand():
    """Of five terms, two within a modality and three across; shares 0.8 and 0.2."""
    weights = RelationWeights("intra_cross", [[k] for k in range(5)], entropy=0.5, families=FAMILIES)
    assert weights.logits.shape == (2,)
    with torch.no_grad():
        weights.logits.copy_(torch.tensor([0.8, 0.2]).log())
    losses = torch.tensor([1.0, 2.0, 3.0, 5.0, 7.0], requires_grad=True)  # of means 3 and 4
    loss, cost, values = weights(losses)
    assert loss.item() == pytest.approx(0.8 * 3 + 0.2 * 4)
    assert cost.item() == pytest.approx(0.5 * 3.5 * (0.8 * math.log(1.6) + 0.2 * math.log(0.4)))
    assert values.tolist() == pytest.approx([5 * 0.4, 5 * 0.2 / 3, 5 * 0.2 / 3, 5 * 0.4, 5 * 0.2 / 3])
    assert values.sum().item() == pytest.approx(5) and not values.requires_grad
    (gradient,) = torch.autograd.grad(loss, losses)
    torch.testing.assert_close(gradient, values / 5)


@pytest.mark.parametrize("unit", [0.01, 100.0])
def test_intra_against_cross_starts_even_and_settles_inside(unit):
    losses = unit * torch.tensor([1.0, 2.0, 3.0, 5.0, 7.0])
    weights = RelationWeights("intra_cross", [[k] for k in range(5)], entropy=1.0, families=FAMILIES)
    loss, cost, _ = weights(losses)
    assert loss.item() == pytest.approx(3.5 * unit) and cost.item() == pytest.approx(0, abs=1e-6 * unit)
    shares = torch.softmax(-torch.tensor([3.0, 4.0]) / 3.5, dim=0)  # the stationary point, by hand
    found = settle(weights, losses)
    torch.testing.assert_close(found[[0, 1]], 5 * shares / torch.tensor([2.0, 3.0]), atol=2e-3, rtol=0)


def test_uncertainty_weights_settle_at_the_losses_inverse():
    found = settle(RelationWeights("uncertainty", SINGLE, entropy=1.0), LOSSES)
    torch.testing.assert_close(found, 1 / LOSSES, atol=2e-3, rtol=1e-3)


def test_fixed_weights_are_those_given():
    weights = RelationWeights("fixed", SINGLE, 1.0, fixed=[2.0, 0.0, 1.0, 0.5])
    loss, cost, values = weights(LOSSES)
    assert loss.item() == pytest.approx((0.4 + 0 + 1 + 1) / 4)
    assert cost == 0
    assert values.tolist() == [2, 0, 1, 0.5]
    assert list(weights.parameters()) == []


def test_targets_are_mixtures_of_those_who_share_a_student():
    weights = RelationWeights("target", [[0, 1], [2], [3]], entropy=1.0)
    with torch.no_grad():
        weights.logits.copy_(torch.tensor([1.0, -1, 5, 7]))
    losses = torch.tensor([1.0, 2.0, 3.0])
    loss, cost, values = weights(losses)
    shares = torch.softmax(torch.tensor([1.0, -1]), dim=0)
    assert loss.item() == pytest.approx((2 * 1 + 2 + 3) / 4)
    assert cost.item() == pytest.approx(2 / 4 * (shares * (shares * 2).log()).sum().item(), rel=1e-5)
    assert values.tolist() == pytest.approx([2 * shares[0].item(), 2 * shares[1].item(), 1, 1])
    torch.testing.assert_close(weights.log_shares(0).exp(), shares)
    assert weights.log_shares(1) is None
    (loss + cost).backward()
    assert weights.logits.grad is not None
