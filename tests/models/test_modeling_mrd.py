"""The whole objective against an independent numpy computation, and as a transformers model."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from tiny_encoders import TINY, clouds
from transformers import AutoModel, AutoModelForPreTraining

from mrd_hf import MRDConfig, MRDForPretraining


WIDTH = TINY["projection_dim"]


def tiny_mrd(**changes) -> MRDForPretraining:
    torch.manual_seed(0)
    return MRDForPretraining(MRDConfig(point_config=TINY, **changes))


def teacher_embeds(batch: int = 6, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, WIDTH, generator=generator)
    return image, image + 0.7 * torch.randn(batch, WIDTH, generator=generator)


def numpy_objective(point, image, text, scale, config) -> tuple[float, list[float]]:
    """Alignment loss and relation losses, straight from their definitions."""
    p, v, t = (e / np.linalg.norm(e, axis=1, keepdims=True) for e in (point, image, text))
    count = len(p)

    def cross_entropy(rows, columns, teacher):
        logits = scale * rows @ columns.T
        for i in range(count):
            for j in range(count):
                if i != j and config.mask_duplicates and np.allclose(teacher[i], teacher[j], atol=1e-6):
                    logits[i, j] = -np.inf
        return -np.diag(log_softmax(logits, axis=1)).mean()

    alignment = np.mean(
        [cross_entropy(p, v, v), cross_entropy(v, p, v), cross_entropy(p, t, t), cross_entropy(t, p, t)]
    )

    def jeffrey(teacher_logits, student_logits, mask):
        total = 0.0
        for i in range(count):
            kept = [j for j in range(count) if not (mask and i == j)]
            log_p = log_softmax(teacher_logits[i, kept] / config.teacher_temperature)
            log_q = log_softmax(student_logits[i, kept] / config.student_temperature)
            total += (np.exp(log_p) * (log_p - log_q)).sum() + (np.exp(log_q) * (log_q - log_p)).sum()
        return total / count

    mask = config.mask_self_pairs
    relations = [
        jeffrey(v @ v.T, p @ p.T, mask),
        jeffrey(t @ t.T, p @ p.T, mask),
        jeffrey(v @ t.T, p @ t.T, False),
        jeffrey(t @ v.T, p @ v.T, False),
    ]
    return alignment, relations


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mask_self_pairs": False},
        {"mask_duplicates": False},
        {"teacher_temperature": 0.2, "student_temperature": 0.1, "relation_weight": 1.0},
    ],
)
def test_objective_equals_numpy(changes):
    model = tiny_mrd(**changes).eval()
    image, text = teacher_embeds()
    text[5] = text[2]  # a text that two shapes share
    output = model(clouds(6), image, text)
    arrays = [e.detach().double().numpy() for e in (output.point_embeds, image, text)]
    alignment, relations = numpy_objective(*arrays, output.logit_scale.double().item(), model.config)
    assert output.alignment_loss.item() == pytest.approx(alignment, rel=1e-5)
    np.testing.assert_allclose(output.relation_losses.detach(), relations, rtol=1e-4)
    expected = alignment + model.config.relation_weight * np.mean(relations)
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)


def test_duplicate_texts_matter():
    image, text = teacher_embeds()
    text[5] = text[2]
    losses = [
        tiny_mrd(mask_duplicates=masked).eval()(clouds(6), image, text).alignment_loss.item()
        for masked in (True, False)
    ]
    assert losses[0] < losses[1]


def test_a_batch_of_one_text_and_one_image_is_finite():
    image, text = (e[:1].expand(6, -1) for e in teacher_embeds())
    model = tiny_mrd()
    output = model(clouds(6), image, text)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_batch_of_one_has_nothing_to_relate_or_contrast():
    model = tiny_mrd().eval()
    output = model(clouds(1), *teacher_embeds(1))
    output.loss.backward()
    assert output.relation_losses.tolist() == [0, 0, 0, 0]
    assert output.alignment_loss.item() == 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_encoders_states_are_recorded_when_asked():
    model = tiny_mrd()
    model.set_attn_implementation("eager")
    output = model(clouds(6), *teacher_embeds(), output_hidden_states=True, output_attentions=True)
    encoded = model.point_bert(clouds(6), output_hidden_states=True, output_attentions=True)
    assert output.keys() >= {"hidden_states", "attentions"}
    for name in ("hidden_states", "attentions"):
        torch.testing.assert_close(output[name], encoded[name])
    assert model(clouds(6), *teacher_embeds()).hidden_states is None


def test_every_parameter_learns_and_the_teacher_does_not():
    model = tiny_mrd().train()
    image, text = (e.requires_grad_() for e in teacher_embeds())
    model(clouds(6), image, text).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert image.grad is None
    assert text.grad is None


def test_without_relations_it_is_the_contrastive_loss_alone():
    model = tiny_mrd(relation_weight=0.0)
    output = model(clouds(6), *teacher_embeds())
    assert torch.equal(output.loss, output.alignment_loss)
    assert output.relation_loss is None
    assert not any("relation" in name for name, _ in model.named_parameters())


def test_autocast_does_not_reach_the_loss():
    model = tiny_mrd().eval()
    inputs = clouds(6), *teacher_embeds()
    point_embeds = model.get_point_features(inputs[0])
    full = model.objective(point_embeds, *inputs[1:]).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = model.objective(point_embeds, *inputs[1:]).loss
    assert autocast.dtype == torch.float32
    assert torch.equal(autocast, full)


def test_logit_scale_is_clamped():
    model = tiny_mrd(logit_scale_init_value=10.0)
    assert model(clouds(6), *teacher_embeds()).logit_scale.item() == 100


def test_embeddings_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"image_embeds must have shape \(6, 20\).*projection_dim = 20.*got \(6, 7\)"):
        tiny_mrd()(clouds(6), torch.randn(6, 7), torch.randn(6, 7))


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForPreTraining])
def test_saves_and_loads_through_the_auto_classes(tmp_path, auto_class):
    model = tiny_mrd().eval()
    with torch.no_grad():
        for parameter in model.objective.parameters():
            parameter.add_(0.5)
    model.save_pretrained(tmp_path)
    loaded = auto_class.from_pretrained(tmp_path)
    assert type(loaded) is MRDForPretraining
    inputs = clouds(6), *teacher_embeds()
    assert torch.equal(loaded(*inputs).loss, model(*inputs).loss)


def test_the_encoder_loads_alone(tmp_path):
    model = tiny_mrd().eval()
    model.point_bert.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(loaded.get_point_features(clouds()), model.get_point_features(clouds()))


def test_output_is_a_tuple_when_asked():
    output = tiny_mrd()(clouds(6), *teacher_embeds(), return_dict=False)
    assert isinstance(output, tuple)
    assert output[0].ndim == 0
