"""The closed formulas of the forms: against autograd through the objective's own functions, and exact values."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mrd_hf.evaluation.relations import relation_forms as forms
from mrd_hf.models.relation_distillation import divergence, normalized_similarity, partial_order, relation_losses


FORMS = ("normalized_similarity", "euclidean", "partial_order")
SEEDS = st.integers(0, 10**6)


def similarities(seed: int, count: int = 4, columns: int = 9, width: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a teacher and a student, to the same columns."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(2, count, width, generator=generator, dtype=torch.float64)
    others = torch.randn(2, columns, width, generator=generator, dtype=torch.float64)
    unit = [torch.nn.functional.normalize(e, dim=-1) for e in (rows, others)]
    teacher, student = unit[0] @ unit[1].transpose(1, 2)
    return teacher, student


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=12)
@example(seed=0, columns=9, temperatures=(0.1, 0.2))
@given(seed=SEEDS, columns=st.integers(2, 12), temperatures=st.tuples(st.floats(0.05, 3), st.floats(0.05, 3)))
def test_the_gradient_with_respect_to_similarities_is_autograds(form, seed, columns, temperatures):
    teacher, student = similarities(seed, columns=columns)
    student.requires_grad_()
    losses = relation_losses(form, "jeffrey", [teacher], student, *temperatures)
    (expected,) = torch.autograd.grad(losses.sum(), student)
    found = forms.similarity_gradient(form, teacher, student.detach(), *temperatures)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@settings(max_examples=20)
@given(seed=SEEDS, scale=st.floats(0.1, 8))
def test_the_gradient_with_respect_to_logits_is_autograds_and_needs_probability(seed, scale):
    teacher, student = (scale * rows for rows in similarities(seed))
    student.requires_grad_()
    target = teacher.log_softmax(dim=-1)
    (expected,) = torch.autograd.grad(divergence("jeffrey", target, student.log_softmax(dim=-1)).sum(), student)
    found = forms.logit_gradient(target, student.detach().log_softmax(dim=-1))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.sum(dim=-1), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-10)
    p, q = target.exp(), student.detach().softmax(dim=-1)
    ratio = (q / p).log()
    limit = p + q * (1 + (ratio - (q * ratio).sum(dim=-1, keepdim=True)).abs())
    assert (found.abs() <= limit + 1e-12).all()


@given(a=st.floats(-30, 30), m=st.floats(-30, 30))
def test_the_gradient_of_a_comparison_is_autograds_and_saturates(a, m):
    teacher, student = torch.tensor(a, dtype=torch.float64), torch.tensor(m, dtype=torch.float64, requires_grad=True)
    logs = [torch.nn.functional.logsigmoid(torch.stack([x, -x])) for x in (teacher, student)]
    (expected,) = torch.autograd.grad(divergence("jeffrey", *logs), student)
    found = forms.order_gradient(teacher, student.detach())
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    assert abs(found.item()) <= 1 + abs(m - a) / 4
    if min(a, m) > 20 or max(a, m) < -20:  # decided alike
        assert abs(found.item()) < 1e-6


@settings(max_examples=20)
@given(seed=SEEDS, columns=st.integers(2, 20), temperature=st.floats(0.03, 2))
def test_no_column_of_a_partial_order_has_more_than_its_share(seed, columns, temperature):
    teacher, student = similarities(seed, columns=columns)
    strides = [2**k for k in range((columns - 1).bit_length())]
    margins = [[(rows - rows.roll(-s, dims=1)) / temperature for s in strides] for rows in (teacher, student)]
    sizes = [forms.order_gradient(a, m).abs() for a, m in zip(*margins, strict=True)]
    limit = forms.order_gradient_limit(columns, temperature, torch.stack(sizes).amax(dim=(0, 2)))
    found = forms.similarity_gradient("partial_order", teacher, student, temperature, temperature)
    assert (found.abs().amax(dim=1) <= limit * (1 + 1e-9)).all()


@settings(max_examples=20)
@given(similarity=st.floats(-0.99, 0.999), temperature=st.floats(0.01, 2))
def test_the_euclidean_form_has_the_slope_of_normalised_similarity_at_tau_times_the_distance(similarity, temperature):
    at = torch.tensor(similarity, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(-forms.distances(at) / temperature, at)
    effective = forms.effective_temperature(at.detach(), temperature)
    assert slope.item() == pytest.approx(1 / effective.item(), rel=1e-9)
    # So two columns near that distance have the relation that normalised similarity at that temperature has.
    row = torch.tensor([[similarity, similarity + 1e-6, similarity - 1e-6]], dtype=torch.float64)
    by_similarity = normalized_similarity(row, effective)
    by_distance = (-forms.distances(row) / temperature).log_softmax(dim=-1)
    torch.testing.assert_close(by_distance, by_similarity, rtol=0, atol=1e-3 * (1e-6 / effective.item()) + 1e-7)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=8)
@given(seed=SEEDS)
def test_the_pull_on_an_embedding_is_the_gradient_along_the_sphere(form, seed):
    """Of one row: of a single pair's similarity, by autograd through the normalised embedding."""
    rng = np.random.default_rng(seed)
    p = torch.from_numpy(rng.normal(size=5))
    p = (p / p.norm()).requires_grad_()
    columns = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(7, 5))), dim=1)
    teacher = torch.from_numpy(rng.uniform(-1, 1, (1, 7)))
    student = (columns @ torch.nn.functional.normalize(p, dim=0))[None]
    gradient = forms.similarity_gradient(form, teacher, student.detach(), 0.1, 0.2)
    pulls = forms.pull_on_embedding(gradient, student.detach())
    for column in range(7):
        (expected,) = torch.autograd.grad(student[0, column] * gradient[0, column], p, retain_graph=True)
        assert pulls[0, column].item() == pytest.approx(expected.norm().item(), rel=1e-7, abs=1e-12)
    # sqrt(1 - s^2) = d sqrt(1 - d^2 / 4), which cancels the Euclidean form's 1 / d.
    d = (2 - 2 * student.detach()).sqrt()
    expected = gradient.abs() * d * (1 - d.square() / 4).clamp(min=0).sqrt()
    torch.testing.assert_close(pulls, expected, rtol=1e-6, atol=1e-9)


@settings(max_examples=20)
@given(seed=SEEDS, columns=st.integers(2, 40))
def test_entropies_to_second_order(seed, columns):
    """What is left is of third order, so a thousandth of that for logits a tenth as large."""
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, columns)))
    for scale in (0.02, 0.002):
        logs = (scale * logits).log_softmax(dim=-1)
        exact = -(logs.exp() * logs).sum(dim=-1)
        error = (forms.entropy_of_close_logits(scale * logits) - exact).abs()
        assert (error <= scale**3 * (1 + logits.abs().amax(dim=-1) ** 3)).all()
        margins = scale * (logits[:, 0] - logits[:, 1])
        both = partial_order(torch.stack([margins, torch.zeros(3, dtype=torch.float64)], dim=1), 1.0)[:, 0, 0]
        of_comparison = -(both.exp() * both).sum(dim=-1)
        torch.testing.assert_close(
            forms.entropy_of_close_comparison(margins), of_comparison, rtol=0, atol=100 * scale**4
        )


@settings(max_examples=20)
@given(seed=SEEDS, temperature=st.floats(0.05, 2))
def test_the_divergence_to_second_order_is_the_variance_of_the_difference(seed, temperature):
    teacher, other = similarities(seed)
    errors = []
    for scale in (0.02, 0.01):
        difference = scale * other
        logs = (teacher / temperature + difference).log_softmax(dim=-1)
        exact = divergence("jeffrey", (teacher / temperature).log_softmax(dim=-1), logs)
        found = forms.divergence_of_close_logits(logs, difference)
        errors.append(((found - exact) / exact.clamp(min=1e-14)).abs())
    assert (errors[0] < 0.1).all() and (errors[1] <= errors[0] * 0.7 + 1e-4).all()


def test_columns_are_counted_by_how_far_the_gradient_is_spread():
    gradient = torch.tensor([[1.0, -1, 1, -1], [0, 0, 5, 0], [0, 0, 0, 0], [3, 0, 0, -3]])
    torch.testing.assert_close(forms.num_effective_columns(gradient), torch.tensor([4.0, 1, 0, 2]))


def test_the_forms_spread_their_gradients_as_said():
    """Many columns, a low temperature: the softmax of similarities or distances moves few of them, an order all."""
    teacher, student = similarities(0, count=20, columns=200, width=16)
    columns = {
        form: forms.num_effective_columns(forms.similarity_gradient(form, teacher, student, 0.07, 0.07)).mean().item()
        for form in FORMS
    }
    assert max(columns["normalized_similarity"], columns["euclidean"]) < 20 < 100 < columns["partial_order"]
