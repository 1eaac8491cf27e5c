"""PointBERT against recordings of the originals, and its configuration."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from support.golden import original_weights, recording
from support.tiny_encoders import TINY, tiny_encoder
from torch import nn

from mrd_hf import PointBertConfig, PointBertModel


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("openshape_pointbert_scaling1", "openshape-1"),
        ("openshape_pointbert_vitl14", "openshape-vitl14"),
        ("ulip2_pointbert", "ulip-2"),
    ],
)
def test_gives_the_original_networks_embeddings(name, preset):
    recorded = recording(name)
    model = PointBertModel(PointBertConfig.from_preset(preset)).eval()
    model.load_state_dict(original_weights(name))
    with torch.no_grad():
        output = model(recorded["points"], output_hidden_states=True)
        centers, groups = model.embeddings.group(recorded["points"])
        features = model.embeddings.patch_network(groups)
    error = (output.point_embeds - recorded["embedding"]).norm(dim=-1) / recorded["embedding"].norm(dim=-1)
    assert error.max() < 5e-6
    if "center" in recorded:
        torch.testing.assert_close(centers, recorded["center"], atol=0, rtol=0)
        torch.testing.assert_close(features, recorded["patch_feature"], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(output.hidden_states[0][:, 1:], recorded["patch_token"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output.last_hidden_state, recorded["last_token"], atol=2e-5, rtol=1e-5)


def test_default_config_is_openshapes_vitg14():
    model = PointBertModel(PointBertConfig())
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(32.33e6, abs=0.01e6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "multiple of num_attention_heads"),
        ({"num_patches": 0}, "num_patches must be positive"),
        ({"patch_dropout": 1.0}, "patch_dropout must be in"),
        ({"projection_dim": 0}, "projection_dim must be positive"),
    ],
)
def test_config_refuses_fields_that_do_not_fit(changes, message):
    with pytest.raises(StrictDataclassError, match=message):
        PointBertConfig(**{**TINY, **changes})


def test_config_refuses_a_value_of_another_type():
    with pytest.raises(StrictDataclassError, match="hidden_size"):
        PointBertConfig(hidden_size="wide")


@pytest.mark.parametrize("kind", ["openshape", "ulip"])
def test_initial_weights(kind):
    model = tiny_encoder(kind, hidden_size=256, intermediate_size=256, initializer_range=0.03)
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    drawn = [linear.weight for linear in linears if linear.weight.numel() > 1000] + [model.embeddings.cls_token]
    if kind == "ulip":
        drawn.append(model.embeddings.cls_position)
    for weight in drawn:
        # Cut off at two deviations of 1, so not at all.
        assert weight.std().item() == pytest.approx(0.03, rel=0.15)
        assert abs(weight.mean().item()) < 0.01
    assert not any(linear.bias.any() for linear in linears if linear.bias is not None)
