"""The whole objective against an independent numpy computation, and as a transformers model."""

import numpy as np
import pytest
import torch
from numpy_objective import numpy_objective
from support.tiny_encoders import clouds
from support.tiny_mrd import teacher_embeds, tiny_mrd
from transformers import AutoModel, AutoModelForPreTraining

from mrd_hf import MRDForPretraining


def test_the_models_loss_is_the_objective_of_its_embeddings():
    model = tiny_mrd().eval()
    image, text = teacher_embeds()
    output = model(clouds(6), image, text)
    assert torch.equal(output.point_embeds, model.get_point_features(clouds(6)))
    arrays = tuple(e.detach().double().numpy() for e in (output.point_embeds, image, text))
    learned = {name: value.numpy() for name, value in model.objective.state_dict().items()}
    expected = numpy_objective(model.config, arrays, learned)
    for name, value in expected.items():
        np.testing.assert_allclose(output[name].detach(), value, rtol=1e-4, atol=1e-6, err_msg=name)


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


def test_logit_scale_is_clamped():
    model = tiny_mrd(logit_scale_init_value=10.0).eval()
    assert model(clouds(6), *teacher_embeds()).logit_scale.item() == 100
    learned = model.train()(clouds(6), *teacher_embeds()).logit_scale.item()  # which stays where it has a gradient
    assert learned <= 100 and learned == pytest.approx(100, rel=1e-5)


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


def test_a_learned_temperature_begins_where_the_configuration_says():
    model = tiny_mrd(learn_student_temperature=True, student_temperature=0.2).eval()
    assert model(clouds(6), *teacher_embeds()).student_temperature.item() == pytest.approx(0.2)


def test_what_the_loss_has_learned_is_loaded_in_float32(tmp_path):
    model = tiny_mrd(learn_student_temperature=True)
    with torch.no_grad():
        for parameter in model.objective.parameters():
            parameter.add_(0.123456789)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForPreTraining.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.point_bert.layers[0].mlp.fc1.weight.dtype == torch.bfloat16
    for name, parameter in model.objective.named_parameters():
        assert torch.equal(loaded.objective.get_parameter(name), parameter), name


def test_the_encoder_loads_alone(tmp_path):
    model = tiny_mrd().eval()
    model.point_bert.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(loaded.get_point_features(clouds()), model.get_point_features(clouds()))


def test_output_is_a_tuple_when_asked():
    output = tiny_mrd()(clouds(6), *teacher_embeds(), return_dict=False)
    assert isinstance(output, tuple)
    assert output[0].ndim == 0
