"""Gradients of single terms: against the gradient of the whole loss, finite differences, and parts of a batch."""

import pytest
import torch
from support.tiny_mrd import teacher_embeds, tiny_mrd

from mrd_hf.evaluation.gradients.term_gradients import ALIGNMENT, TermGradients, sums_of_terms, term_gradients
from mrd_hf.models import mrd_objective


RELATIONS = ["intra_image", "intra_text", "cross_image_text", "cross_text_image"]


def model_and_inputs(batch: int = 6, double: bool = False, **changes):
    """A tiny model in eval mode whose loss's own numbers are not those it starts with, and a batch for it."""
    model = tiny_mrd(**changes).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.objective.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    points = torch.rand(batch, 64, 6, generator=generator)
    image, text = teacher_embeds(batch)
    inputs = {"point_values": points, "image_embeds": image, "text_embeds": text}
    if double:
        return model.double(), {name: value.double() for name, value in inputs.items()}
    return model, inputs


def whole_gradient(model, inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the loss, by torch's own backward: to the encoder, and to the unit embeddings."""
    parameters = list(model.point_bert.parameters())
    output = model(**inputs)
    found = torch.autograd.grad(output.loss, [output.point_embeds, *parameters], allow_unused=True)
    embeds = found[0] * output.point_embeds.norm(dim=1, keepdim=True)
    return torch.cat([g.flatten() for g in found[1:] if g is not None]), embeds.flatten()


def weighted_sum(found: TermGradients) -> tuple[torch.Tensor, torch.Tensor]:
    return found.weights @ found.encoder, found.weights @ found.embeddings


SETTINGS = [
    {"loss": "contrastive"},
    {"relation_weighting": "fixed", "fixed_relation_weights": [1, 0, 2, 0.5]},
    *({"relation_weighting": kind} for kind in ("softmax", "intra_cross", "uncertainty", "target")),
    {"relation_form": "euclidean", "learn_student_temperature": True},
    {"relation_form": "partial_order", "relation_divergence": "kl", "relation_weight": 2},
]


@pytest.mark.parametrize("changes", SETTINGS, ids=lambda changes: "-".join(map(str, changes.values())))
def test_weighted_terms_add_up_to_the_gradient_of_the_loss(changes):
    model, inputs = model_and_inputs(double=True, **changes)
    found = term_gradients(model, inputs)
    expected = whole_gradient(model, inputs)
    for total, of_loss in zip(weighted_sum(found), expected, strict=True):
        assert total.shape == of_loss.shape and of_loss.norm() > 0
        torch.testing.assert_close(total, of_loss, rtol=1e-4, atol=1e-6 * of_loss.norm().item())
    output = model(**inputs)
    assert found.loss == pytest.approx(output.loss.item(), abs=1e-12)
    alignments = output.alignment_losses.detach()
    torch.testing.assert_close(found.losses[:2], torch.stack([alignments[:2].mean(), alignments[2:].mean()]))
    if output.relation_losses is not None:
        torch.testing.assert_close(found.losses[2:], output.relation_losses.detach())
    assert found.names == [*ALIGNMENT, *model.objective.loss_names]


@pytest.mark.parametrize("form", ["normalized_similarity", "euclidean", "partial_order"])
def test_each_terms_gradients_are_finite_differences(form):
    model, inputs = model_and_inputs(batch=5, double=True, relation_form=form)
    found = term_gradients(model, inputs)
    generator = torch.Generator().manual_seed(1)
    embeds = model(**inputs).point_embeds.detach()
    unit = embeds / embeds.norm(dim=1, keepdim=True)
    others = inputs["image_embeds"], inputs["text_embeds"]

    def terms(output) -> torch.Tensor:
        alignment = output.alignment_losses.detach()
        return torch.cat([torch.stack([alignment[:2].mean(), alignment[2:].mean()]), output.relation_losses.detach()])

    def slopes(at, step: float) -> torch.Tensor:
        ends = [terms(at(step)), terms(at(-step))]
        return (ends[0] - ends[1]) / (2 * step)

    for _ in range(3):
        direction = torch.randn(unit.shape, generator=generator, dtype=torch.float64)
        found_slopes = slopes(lambda by, to=direction: model.objective(unit + by * to, *others), 1e-6)
        torch.testing.assert_close(found.embeddings @ direction.flatten(), found_slopes, rtol=1e-6, atol=1e-6)

    # Within the encoder some steps are in float32 always, but not in the last layer.
    last = model.point_bert.projection.weight
    direction = torch.randn(last.shape, generator=generator, dtype=torch.float64)
    flat = [direction if p is last else torch.zeros_like(p) for p in model.point_bert.parameters()]

    def moved(by: float):
        with torch.no_grad():
            last.add_(by * direction)
            output = model(**inputs)
            last.sub_(by * direction)
        return output

    of_last = found.encoder @ torch.cat([part.flatten() for part in flat])
    torch.testing.assert_close(of_last, slopes(moved, 1e-6), rtol=1e-5, atol=1e-5)


def test_embeddings_of_other_lengths_have_the_same_gradients():
    model, inputs = model_and_inputs(double=True)
    before = term_gradients(model, inputs).embeddings
    with torch.no_grad():
        for parameter in (model.point_bert.projection.weight, model.point_bert.projection.bias):
            parameter.mul_(7)
    torch.testing.assert_close(term_gradients(model, inputs).embeddings, before, rtol=1e-9, atol=1e-12)


def test_in_parts_of_the_batch_and_of_the_loss_it_is_the_same(monkeypatch):
    model, inputs = model_and_inputs(batch=7, double=True)
    whole = term_gradients(model, inputs)
    parts = term_gradients(model, inputs, encoder_batch_size=3)
    monkeypatch.setattr(mrd_objective, "PAIRS_AT_ONCE", 15)
    rows = term_gradients(model, inputs)
    for other in (parts, rows):
        torch.testing.assert_close(other.encoder, whole.encoder, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(other.embeddings, whole.embeddings, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(other.weights, whole.weights)


def test_a_frozen_encoder_layer_has_no_part_and_nothing_is_left_in_grad():
    model, inputs = model_and_inputs()
    count = sum(p.numel() for p in model.point_bert.parameters())
    assert term_gradients(model, inputs).encoder.shape == (6, count)
    frozen = model.point_bert.projection.weight
    frozen.requires_grad_(False)
    assert term_gradients(model, inputs).encoder.shape == (6, count - frozen.numel())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_sums_are_of_the_terms_that_there_are():
    assert sums_of_terms([*ALIGNMENT, *RELATIONS]) == {
        "alignment": [0, 1],
        "intra": [2, 3],
        "cross": [4, 5],
        "relations": [2, 3, 4, 5],
        "loss": [0, 1, 2, 3, 4, 5],
    }
    assert sums_of_terms([*ALIGNMENT, "intra_image+intra_text", "cross_text_image"])["intra"] == [2]
    assert sums_of_terms(list(ALIGNMENT)) == {"alignment": [0, 1], "loss": [0, 1]}
    assert "cross" not in sums_of_terms([*ALIGNMENT, "intra_text"])
