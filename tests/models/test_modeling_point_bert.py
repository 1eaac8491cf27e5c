"""The encoder against recordings of the original, and as a transformers model."""

import pytest
import torch
from golden import original_weights, recording
from huggingface_hub.errors import StrictDataclassError
from safetensors import safe_open
from transformers import AutoConfig, AutoModel

from mrd_hf import PointBertConfig, PointBertModel


SCALING_1 = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_patches": 64,
    "patch_radius": 0.4,
    "patch_size": 256,
    "patch_feature_size": 96,
    "projection_dim": 1280,
}
VITL14 = {
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_patches": 64,
    "patch_radius": 0.4,
    "patch_size": 256,
    "patch_feature_size": 128,
    "projection_dim": 768,
}
TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_patches": 8,
    "patch_radius": 0.4,
    "patch_size": 16,
    "patch_feature_size": 24,
    "projection_dim": 20,
}


def tiny_model(**changes) -> PointBertModel:
    torch.manual_seed(0)
    return PointBertModel(PointBertConfig(**{**TINY, **changes})).eval()


def clouds(batch: int = 3, num_points: int = 200, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.nn.functional.normalize(torch.randn(batch, num_points, 3, generator=generator), dim=-1)
    return torch.cat([xyz, torch.rand(batch, num_points, 3, generator=generator)], dim=-1)


@pytest.mark.parametrize(
    ("name", "config"), [("openshape_pointbert_scaling1", SCALING_1), ("openshape_pointbert_vitl14", VITL14)]
)
def test_gives_the_original_networks_embeddings(name, config):
    recorded = recording(name)
    model = PointBertModel(PointBertConfig(**config)).eval()
    model.load_state_dict(original_weights(name))
    with torch.no_grad():
        output = model(recorded["points"], output_hidden_states=True)
        centers, groups = model.embeddings.group(recorded["points"])
        features = model.embeddings.patch_network(groups)
    torch.testing.assert_close(output.point_embeds, recorded["embedding"], atol=2e-5, rtol=1e-5)
    if "center" in recorded:
        torch.testing.assert_close(centers, recorded["center"], atol=0, rtol=0)
        torch.testing.assert_close(features, recorded["patch_feature"], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(output.hidden_states[0][:, 1:], recorded["patch_token"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output.last_hidden_state, recorded["last_token"], atol=2e-5, rtol=1e-5)


def test_default_config_is_openshapes_vitg14():
    model = PointBertModel(PointBertConfig())
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(32.33e6, abs=0.01e6)


def test_output_shapes_and_recorded_states():
    model = tiny_model()
    output = model(clouds(), output_hidden_states=True)
    assert output.last_hidden_state.shape == (3, 9, 32)
    assert output.pooler_output.shape == (3, 32)
    assert output.point_embeds.shape == (3, 20)
    assert len(output.hidden_states) == 4
    model.set_attn_implementation("eager")
    attentions = model(clouds(), output_attentions=True).attentions
    assert len(attentions) == 3
    assert attentions[0].shape == (3, 2, 9, 9)
    torch.testing.assert_close(attentions[0].sum(-1), torch.ones(3, 2, 9))


def test_returns_a_tuple_when_asked():
    output = tiny_model()(clouds(), return_dict=False)
    assert isinstance(output, tuple)
    assert [tuple(t.shape) for t in output] == [(3, 9, 32), (3, 32), (3, 20)]


def test_eager_and_sdpa_attention_agree():
    model = tiny_model()
    sdpa = model.get_point_features(clouds())
    model.set_attn_implementation("eager")
    torch.testing.assert_close(model.get_point_features(clouds()), sdpa, atol=1e-6, rtol=1e-5)


def test_without_projection_the_class_token_is_the_embedding():
    model = tiny_model(projection_dim=None)
    output = model(clouds())
    assert output.point_embeds is None
    assert torch.equal(model.get_point_features(clouds()), output.pooler_output)


def test_a_cloud_is_encoded_alike_alone_and_in_a_batch():
    model = tiny_model()
    together = model.get_point_features(clouds())
    alone = torch.cat([model.get_point_features(cloud[None]) for cloud in clouds()])
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("num_points", [1, 5, 8])
def test_fewer_points_than_patches_or_than_a_patch(num_points):
    assert torch.isfinite(tiny_model().get_point_features(clouds(num_points=num_points))).all()


def test_patch_dropout_and_stochastic_depth_act_in_training_only():
    model = tiny_model(patch_dropout=0.5, drop_path_rate=0.5)
    assert torch.equal(model.get_point_features(clouds()), model.get_point_features(clouds()))
    model.train()
    for norm in model.embeddings.patch_network.norms:
        norm.eval()
    first, second = model(clouds()), model(clouds())
    assert first.last_hidden_state.shape == (3, 1 + 4, 32)
    assert not torch.allclose(first.point_embeds, second.point_embeds)


def test_patch_dropout_keeps_centers_and_groups_together():
    model = tiny_model(patch_dropout=0.5)
    centers, groups = model.embeddings.group(clouds())
    kept_centers, kept_groups = model.embeddings.drop_patches(centers, groups)
    for cloud in range(3):
        for center, group in zip(kept_centers[cloud], kept_groups[cloud], strict=True):
            position = (centers[cloud] == center).all(-1).nonzero()[0, 0]
            assert torch.equal(groups[cloud, position], group)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.get_point_features(clouds()).square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert all(g is not None for g in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_groups_the_same_points(dtype):
    model = tiny_model()
    centers, groups = model.embeddings.group(clouds())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast_centers, autocast_groups = model.embeddings.group(clouds())
    assert torch.equal(autocast_centers, centers)
    assert torch.equal(autocast_groups, groups)
    full = model.get_point_features(clouds())
    half = model.to(dtype).get_point_features(clouds())
    assert half.dtype == dtype
    torch.testing.assert_close(half.float(), full, atol=0.02, rtol=0.1)


def test_saves_safetensors_that_the_auto_classes_load(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(model.state_dict())
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is PointBertModel
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == model.config.to_diff_dict()
    assert torch.equal(loaded.get_point_features(clouds()), model.get_point_features(clouds()))


@pytest.mark.parametrize("shape", [(3, 200, 3), (200, 6), (3, 0, 6)])
def test_refuses_input_of_another_shape(shape):
    with pytest.raises(ValueError, match="point_values must have shape"):
        tiny_model()(torch.zeros(shape))


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
