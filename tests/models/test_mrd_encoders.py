"""The pretraining model over every kind of encoder, a user's own among them."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from numpy_objective import numpy_objective
from support.tiny_encoders import TINY, TINY_CONFIGS, TINY_UNI3D, clouds
from support.tiny_mrd import teacher_embeds
from support.toy_encoder import ToyConfig, ToyModel
from transformers import AutoModel, AutoModelForPreTraining

from mrd_hf import MRDConfig, MRDForPretraining, PointBertModel, Uni3DModel


OWN = {kind: config_class(**fields) for kind, (config_class, fields) in TINY_CONFIGS.items()}
CONFIGS = {**OWN, "toy": ToyConfig(projection_dim=20)}


def model_over(kind: str) -> MRDForPretraining:
    torch.manual_seed(0)
    return MRDForPretraining(MRDConfig(point_config=CONFIGS[kind]))


def loss_of(model, **call) -> torch.Tensor:
    return model(clouds(6), *teacher_embeds(), **call).loss


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_loss_is_the_objective_of_the_encoders_embeddings_and_reaches_all_of_it(kind):
    model = model_over(kind).eval()
    image, text = teacher_embeds()
    output = model(clouds(6), image, text)
    assert torch.equal(output.point_embeds, model.encoder.get_point_features(clouds(6)))
    arrays = tuple(e.detach().double().numpy() for e in (output.point_embeds, image, text))
    learned = {name: value.numpy() for name, value in model.objective.state_dict().items()}
    expected = numpy_objective(model.config, arrays, learned)
    assert output.loss.item() == pytest.approx(float(expected["loss"]), rel=1e-4)
    output.loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("kind", CONFIGS)
def test_it_comes_back_from_its_folder_with_its_encoder(kind, tmp_path):
    model = model_over(kind).eval()
    model.save_pretrained(tmp_path / "whole")
    model.encoder.save_pretrained(tmp_path / "encoder")
    whole = AutoModelForPreTraining.from_pretrained(tmp_path / "whole")
    assert type(whole.encoder) is type(model.encoder) and torch.equal(loss_of(whole), loss_of(model))
    encoder = AutoModel.from_pretrained(tmp_path / "encoder")
    assert torch.equal(encoder.get_point_features(clouds()), model.get_point_features(clouds()))


@pytest.mark.parametrize("kind", ["uni3d", "toy"])
def test_parts_of_a_batch_have_the_gradients_of_the_whole(kind):
    model = model_over(kind).eval()  # a batch norm in training sees the parts
    gradients = []
    for call in ({}, {"encoder_batch_size": 4}):
        model.zero_grad()
        loss_of(model, **call).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-4)


def test_a_mapping_names_its_encoder():
    for name, fields, expected in (
        (None, TINY, PointBertModel),  # as it may be in folders of earlier versions
        ("point_bert", TINY, PointBertModel),
        ("uni3d", TINY_UNI3D, Uni3DModel),
        ("toy_points", {}, ToyModel),
    ):
        named = {} if name is None else {"model_type": name}
        assert type(MRDForPretraining(MRDConfig(point_config={**fields, **named})).encoder) is expected
    with pytest.raises(ValueError, match="nonsense"):
        MRDConfig(point_config={"model_type": "nonsense"})


def test_the_weights_of_earlier_folders_are_called_as_they_were():
    assert {name.split(".")[0] for name in model_over("uni3d").state_dict()} == {"point_bert", "objective"}


def test_a_toy_records_no_states_and_says_what_it_needs():
    output = model_over("toy")(clouds(6), *teacher_embeds())
    assert output.hidden_states is None and output.attentions is None
    assert ToyConfig().min_points == 1 and OWN["uni3d"].min_points == OWN["ulip"].min_points == 8
    for fields, message in (
        ({"projection_dim": 0}, "projection_dim must be positive or None"),
        ({"logit_scale": -1.0}, "logit_scale must be positive or None"),
        ({"text_tower_id": "/home/me/words"}, "text_tower_id must be a Hub id"),
    ):
        with pytest.raises(StrictDataclassError, match=message):
            ToyConfig(**fields)
    with pytest.raises(ValueError, match="projection_dim must be given: a toy_points has no embeddings without"):
        _ = ToyConfig(projection_dim=None).embedding_dim
