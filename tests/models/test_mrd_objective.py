"""The whole objective: every form, divergence and weighting against numpy; in parts; with duplicates; its limits."""

import itertools
import math

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_objective import TERMS, numpy_objective
from torch import nn

from mrd_hf import MRDConfig
from mrd_hf.models import mrd_objective
from mrd_hf.models.mrd_objective import MRDObjective


FORMS = ["normalized_similarity", "euclidean", "partial_order"]
DIVERGENCES = ["jeffrey", "kl", "reverse_kl", "js"]
WEIGHTINGS = ["softmax", "intra_cross", "uncertainty", "target", "fixed"]
ALL_TERMS = list(TERMS)
LOSSES = ("loss", "alignment_loss", "alignment_losses", "retrieval_accuracies")
RELATION_LOSSES = ("relation_losses", "relation_loss", "weighting_loss")


def objective(seed: int | None = 0, **changes) -> MRDObjective:
    """In float64, with learnable numbers that are not those it starts with."""
    config = MRDConfig(**changes)
    module = MRDObjective(config).double()
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def embeddings(count: int = 7, width: int = 5, seed: int = 0, duplicates: bool = True) -> tuple[torch.Tensor, ...]:
    """Shapes, images and texts; samples 1 and 4 share their text, 2 and 5 their image."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((count, width))
    text, point = (image + rng.standard_normal((count, width)) for _ in range(2))
    if duplicates and count > 5:
        text[4], image[5] = 3 * text[1], image[2]
    return tuple(torch.from_numpy(e) for e in (point, image, text))


def assert_equals_numpy(module: MRDObjective, embeds: tuple[torch.Tensor, ...]) -> None:
    output = module(*embeds)
    learned = {name: value.numpy() for name, value in module.state_dict().items()}
    expected = numpy_objective(module.config, tuple(e.detach().numpy() for e in embeds), learned)
    names = set(LOSSES + (RELATION_LOSSES if module.config.loss == "mrd" else ()))
    if not module.config.mask_duplicates:
        names.remove("retrieval_accuracies")  # which of two equal texts is the nearer one is a matter of rounding
    for name in names:
        np.testing.assert_allclose(output[name].detach().numpy(), expected[name], rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("form", "kind", "weighting"), list(itertools.product(FORMS, DIVERGENCES, WEIGHTINGS)))
def test_every_form_divergence_and_weighting_equals_numpy(form, kind, weighting):
    module = objective(
        relation_form=form,
        relation_divergence=kind,
        relation_weighting=weighting,
        relation_terms=ALL_TERMS,
        fixed_relation_weights=[0.5, 2, 0, 1, 3, 1] if weighting == "fixed" else None,
        learn_student_temperature=weighting != "fixed",
        teacher_temperature=0.1,
    )
    assert_equals_numpy(module, embeddings())


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 9),
    st.integers(0, 10**6),
    st.fixed_dictionaries(
        {
            "loss": st.sampled_from(["mrd", "contrastive"]),
            "relation_form": st.sampled_from(FORMS),
            "relation_terms": st.lists(st.sampled_from(ALL_TERMS), min_size=1, unique=True),
            "relation_weight": st.floats(0.1, 2),
            "mask_duplicates": st.booleans(),
            "mask_self_pairs": st.booleans(),
            "mask_duplicate_relations": st.booleans(),
            "weight_entropy": st.floats(0.1, 2),
            "teacher_temperature": st.sampled_from([0.05, 0.3, None]),
            "teacher_logit_scale": st.just(25.0),
            "student_temperature": st.floats(0.05, 1),
            "learn_student_temperature": st.booleans(),
            "logit_scale_init_value": st.floats(0, 6),  # beyond the clamp
        }
    ),
)
def test_every_setting_equals_numpy(count, seed, fields):
    assert_equals_numpy(objective(seed, **fields), embeddings(count, seed=seed))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_the_formulas(form, weighting):
    module = objective(
        relation_form=form,
        relation_weighting=weighting,
        relation_terms=ALL_TERMS,
        learn_student_temperature=True,
        student_temperature=0.3,
        teacher_temperature=0.2,
    )
    point, image, text = embeddings(6)
    parameters = dict(module.named_parameters())

    def loss(point_embeds: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        changed = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(module, changed, (point_embeds, image, text)).loss

    values = [p.detach().clone().requires_grad_() for p in parameters.values()]
    assert torch.autograd.gradcheck(loss, (point.requires_grad_(), *values))


@pytest.mark.parametrize("pairs", [1, 20, 50])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weighting", ["softmax", "target"])
def test_in_parts_it_is_the_same(monkeypatch, form, weighting, pairs):
    fields = {"relation_form": form, "relation_weighting": weighting, "mask_duplicate_relations": True}
    results = []
    for at_once in (2**22, pairs):
        monkeypatch.setattr(mrd_objective, "PAIRS_AT_ONCE", at_once)
        module, (point, image, text) = objective(**fields), embeddings(17)
        output = module(point.requires_grad_(), image, text)
        output.loss.backward()
        gradients = [point.grad, *(p.grad for p in module.parameters())]
        results.append([output.loss, output.relation_losses, output.retrieval_accuracies, *gradients])
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("form", "comparisons"), [("normalized_similarity", 1), ("euclidean", 1), ("partial_order", 5)]
)
def test_parts_bound_what_is_computed_at_a_time(monkeypatch, form, comparisons):
    """Of a partial order, a pair is compared with the columns 1, 2, 4, 8 and 16 places on."""
    monkeypatch.setattr(mrd_objective, "PAIRS_AT_ONCE", 40 * comparisons)
    module, shapes = objective(relation_form=form), []
    row_sums = module.row_sums
    module.row_sums = lambda rows, *others: shapes.append(rows[0].shape[0]) or row_sums(rows, *others)
    module(*embeddings(17)).loss.backward()
    assert (max(shapes) - 1) * 17 < 40 <= max(shapes) * 17  # as many rows as it takes
    assert sum(shapes) == 2 * 17  # once more in the backward pass


def test_the_teacher_gets_no_gradient_and_the_shapes_do():
    embeds = [e.requires_grad_() for e in embeddings()]
    objective(learn_student_temperature=True)(*embeds).loss.backward()
    assert embeds[0].grad.abs().sum() > 0
    assert embeds[1].grad is None
    assert embeds[2].grad is None


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("loss", ["mrd", "contrastive"])
def test_every_parameter_gets_a_gradient(loss, weighting):
    module = objective(loss=loss, relation_weighting=weighting, learn_student_temperature=True)
    module(*embeddings()).loss.backward()
    assert all(p.grad is not None for p in module.parameters())
    names = {name for name, _ in module.named_parameters()}
    if loss == "contrastive":
        assert names == {"log_logit_scale"}
    else:
        weights = set() if weighting == "fixed" else {"relation_weights.logits"}
        assert names == {"log_logit_scale", "log_student_temperature"} | weights


def test_contrastive_is_mrd_without_relations():
    embeds = embeddings()
    mrd, contrastive = objective(seed=None)(*embeds), objective(seed=None, loss="contrastive")(*embeds)
    assert torch.equal(mrd.alignment_loss, contrastive.loss)
    assert contrastive.relation_loss is None
    assert contrastive.relation_weights is None


# Limits: optimising the loss's own parameters alone, duplicates, extreme numbers.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weighting", ["softmax", "intra_cross", "uncertainty", "target"])
def test_the_losss_own_parameters_cannot_make_a_term_vanish(form, weighting):
    """300 steps on weights, temperature and scale alone, at ten times the rate of training."""
    fields = {"relation_form": form, "relation_weighting": weighting, "learn_student_temperature": True}
    module, embeds = objective(seed=None, **fields), embeddings(24, width=16, duplicates=False)
    before = module(*embeds)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.05, weight_decay=0.0)
    for _ in range(300):
        optimizer.zero_grad()
        module(*embeds).loss.backward()
        optimizer.step()
    after = module(*embeds)
    assert after.loss < before.loss
    assert (after.relation_losses > 0.05 * before.relation_losses).all()
    # No weight is (nearly) zero or infinite, so no term is without effect.
    assert after.relation_weights.min() > 0.02
    assert after.relation_weights.max() < 200
    if weighting in ("softmax", "intra_cross", "target"):
        assert after.relation_weights.sum().item() == pytest.approx(4)
    assert 0.01 <= after.student_temperature <= 10
    assert 1 <= after.logit_scale <= 100


def test_a_bare_factor_would_vanish():
    """What the test above is there to prevent."""
    factor = nn.Parameter(torch.ones(()))
    optimizer = torch.optim.AdamW([factor], lr=0.05, weight_decay=0.0)
    for _ in range(300):
        optimizer.zero_grad()
        (factor.abs() * 3.0).backward()
        optimizer.step()
    assert factor.abs() < 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("masked", [True, False])
def test_equal_samples_in_any_precision_give_numbers(dtype, form, kind, masked):
    """Similarities of exactly 1 everywhere: the same shape, image and text throughout the batch."""
    fields = {"relation_form": form, "relation_divergence": kind, "learn_student_temperature": True}
    module = MRDObjective(MRDConfig(mask_duplicates=masked, mask_duplicate_relations=masked, **fields))
    row = torch.randn(3, 1, 20, generator=torch.Generator().manual_seed(0)).to(dtype)
    point, image, text = row.expand(3, 6, 20).clone()
    image = point.clone()  # and the shape's embedding is the image's
    point.requires_grad_()
    output = module(point, image, text)
    output.loss.backward()
    for value in (output.loss, output.relation_losses, point.grad, *(p.grad for p in module.parameters())):
        assert torch.isfinite(value).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_the_length_of_embeddings_does_not_matter(scale):
    embeds = embeddings()
    expected = objective()(*embeds).loss
    torch.testing.assert_close(objective()(*(scale * e for e in embeds)).loss, expected)


def test_a_batch_of_one_has_nothing_to_relate_or_contrast():
    for form in FORMS:
        module, (point, image, text) = objective(relation_form=form), embeddings(1)
        output = module(point.requires_grad_(), image, text)
        output.loss.backward()
        assert output.alignment_loss == 0
        torch.testing.assert_close(output.relation_losses, torch.zeros(4, dtype=torch.float64))
        assert torch.isfinite(point.grad).all()


def test_a_perfect_student_has_no_relation_loss():
    _, image, _ = embeddings(duplicates=False)
    output = objective(seed=None, student_temperature=0.07, teacher_temperature=0.07)(image, image, image)
    torch.testing.assert_close(output.relation_losses, torch.zeros(4, dtype=torch.float64))


def test_autocast_does_not_reach_the_loss():
    module, embeds = MRDObjective(MRDConfig()), [e.float() for e in embeddings()]
    full = module(*embeds).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = module(*embeds).loss
    assert autocast.dtype == torch.float32
    assert torch.equal(autocast, full)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", FORMS)
def test_half_precision_embeddings_have_the_loss_of_their_values(dtype, form):
    embeds = [e.to(dtype) for e in embeddings(17, duplicates=False)]
    module = MRDObjective(MRDConfig(relation_form=form))
    output = module(*embeds)
    assert output.loss.dtype == torch.float32
    learned = {name: value.numpy() for name, value in module.state_dict().items()}
    expected = numpy_objective(module.config, tuple(e.double().numpy() for e in embeds), learned)
    assert output.loss.item() == pytest.approx(float(expected["loss"]), rel=1e-4)


@pytest.mark.parametrize("temperature", [0.02, 0.07, 0.5])
def test_a_learned_temperature_begins_where_the_configuration_says(temperature):
    config = MRDConfig(learn_student_temperature=True, student_temperature=temperature)
    output = MRDObjective(config)(*(e.float() for e in embeddings()))
    assert output.student_temperature.item() == pytest.approx(temperature)


def test_each_loss_has_the_name_of_its_term():
    output = objective(relation_terms=ALL_TERMS, seed=None)(*embeddings())
    names = objective(relation_terms=ALL_TERMS).loss_names
    assert names == [
        "intra_image",
        "intra_text",
        "cross_image_text",
        "cross_text_image",
        "cross_image_text_transposed",
        "cross_text_image_transposed",
    ]
    for name, loss in zip(names, output.relation_losses, strict=True):
        alone = objective(relation_terms=[name], seed=None)(*embeddings()).relation_losses
        torch.testing.assert_close(alone, loss[None])
    joined = objective(relation_weighting="target", relation_terms=ALL_TERMS).loss_names
    assert joined[0] == "intra_image+intra_text"


@pytest.mark.parametrize("begins", ["beyond its limit", "at its limit"])
def test_what_is_learned_comes_back_from_its_limit(begins):
    """A gradient ends at a clamp, so what has gone beyond it once would stay there."""
    margin = 0.2 if begins == "beyond its limit" else 0.0
    module = MRDObjective(MRDConfig(learn_student_temperature=True)).train()
    with torch.no_grad():
        module.log_logit_scale.fill_(math.log(100) + margin)
        module.log_student_temperature.fill_(math.log(0.01) - margin)
    # Of a teacher whose relations are weaker than these, and with wrong partners.
    point, image, text = (torch.randn(16, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    for _ in range(3):
        output = module(point, image, text)
        assert output.logit_scale <= 100 and output.student_temperature >= 0.01
        optimizer.zero_grad()
        output.loss.backward()
        assert module.log_logit_scale.grad > 0 > module.log_student_temperature.grad
        optimizer.step()
    assert module.log_logit_scale < math.log(99.9) and module.log_student_temperature > math.log(0.0101)


# What the configuration refuses.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"relation_terms": ["intra_shape"]}, "relation_terms must be some of intra_image, .* got intra_shape"),
        ({"relation_terms": []}, "relation_terms must be some of"),
        ({"relation_terms": ["intra_text", "intra_text"]}, "each once"),
        ({"fixed_relation_weights": [1, 1, 1, 1]}, "need relation_weighting='fixed'"),
        ({"relation_weighting": "fixed", "fixed_relation_weights": [1]}, "one for each of the 4"),
        ({"relation_weighting": "target", "relation_terms": ["intra_image"]}, "needs two that share one"),
        ({"relation_weighting": "intra_cross", "relation_terms": ["intra_image"]}, "needs some of both"),
        ({"teacher_temperature": None}, "give its teacher_logit_scale"),
        ({"teacher_temperature": 0.0}, "teacher_temperature must be positive"),
        ({"student_temperature": -1.0}, "student_temperature must be positive"),
        ({"student_temperature": 0.001, "learn_student_temperature": True}, "at least 0.01 where it is learned"),
        ({"teacher_logit_scale": 0}, "teacher_logit_scale must be positive"),
        ({"relation_weight": 0.0}, "set loss='contrastive'"),
        ({"relation_weight": math.nan}, "relation_weight must be positive"),
        ({"student_temperature": math.inf}, "student_temperature must be positive"),
        ({"relation_weighting": "fixed", "fixed_relation_weights": [1, 1, 1, -1]}, "at least 0 and not all of them 0"),
        ({"relation_weighting": "fixed", "fixed_relation_weights": [0, 0, 0, 0]}, "at least 0 and not all of them 0"),
        ({"relation_weighting": "fixed", "fixed_relation_weights": [1, 1, 1, math.nan]}, "not all of them 0"),
        ({"weight_entropy": 0.0}, "weight_entropy must be positive"),
        ({"relation_form": "cosine"}, "relation_form"),
        ({"loss": "clip"}, "loss"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        MRDConfig(**fields)


def test_configuration_survives_its_file(tmp_path):
    config = MRDConfig(relation_terms=ALL_TERMS, relation_weighting="fixed", fixed_relation_weights=[1.0] * 6)
    config.save_pretrained(tmp_path)
    assert MRDConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
    assert MRDConfig().to_dict() == MRDConfig.from_dict(MRDConfig().to_dict()).to_dict()
