"""What every encoder promises, whatever its architecture: outputs, precisions, compilation, saving."""

import pytest
import torch
from safetensors import safe_open
from support.replicas import replica
from support.tiny_encoders import TINY_CONFIGS, clouds, tiny_encoder
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

from mrd_hf import PointCloudFeatureExtractor


HALVES = [torch.bfloat16, torch.float16]
pytestmark = pytest.mark.parametrize("kind", TINY_CONFIGS)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found.float() - expected).norm(dim=-1) / expected.norm(dim=-1)).max().item()


def test_output_shapes_and_recorded_states(kind):
    model = tiny_encoder(kind)
    output = model(clouds(), output_hidden_states=True)
    assert output.last_hidden_state.shape == (3, 9, 32)
    assert output.pooler_output.shape == (3, 64 if kind.startswith("ulip") else 32)
    assert output.point_embeds.shape == (3, 20)
    assert model.config.embedding_dim == 20
    assert len(output.hidden_states) == 4
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    model.set_attn_implementation("eager")
    attentions = model(clouds(), output_attentions=True).attentions
    assert len(attentions) == 3
    assert attentions[0].shape == (3, 2, 9, 9)
    torch.testing.assert_close(attentions[0].sum(-1), torch.ones(3, 2, 9))


def test_returns_a_tuple_when_asked(kind):
    model = tiny_encoder(kind)
    output = model(clouds(), return_dict=False)
    assert isinstance(output, tuple)
    assert all(torch.equal(a, b) for a, b in zip(output, model(clouds()).to_tuple(), strict=True))


def test_a_configuration_that_asks_for_tuples_changes_no_embedding(kind):
    model = tiny_encoder(kind)
    expected = model.get_point_features(clouds())
    model.config.return_dict = False
    assert isinstance(model(clouds()), tuple)
    assert torch.equal(model.get_point_features(clouds()), expected)


def test_eager_and_sdpa_attention_agree(kind):
    model = tiny_encoder(kind)
    sdpa = model.get_point_features(clouds())
    model.set_attn_implementation("eager")
    torch.testing.assert_close(model.get_point_features(clouds()), sdpa, atol=1e-6, rtol=1e-5)


def test_without_projection_the_pooled_output_is_the_embedding(kind):
    model = tiny_encoder(kind, projection_dim=None)
    output = model(clouds())
    assert output.point_embeds is None
    assert torch.equal(model.get_point_features(clouds()), output.pooler_output)
    assert model.config.embedding_dim == output.pooler_output.shape[-1]


def test_the_same_cloud_gives_the_same_bits(kind):
    model = tiny_encoder(kind)
    assert torch.equal(model.get_point_features(clouds()), model.get_point_features(clouds()))


def test_the_order_of_the_points_matters_through_sampling_alone(kind):
    """With the same first centre, and patches that take all points of a ball (or the nearest), it does not."""
    model = tiny_encoder(kind, patch_size=200) if kind == "openshape" else tiny_encoder(kind)
    shuffled = clouds()[:, [0, *torch.randperm(199, generator=torch.Generator().manual_seed(1)).add(1).tolist()]]
    expected = model.get_point_features(clouds())
    torch.testing.assert_close(model.get_point_features(shuffled), expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(model.get_point_features(clouds().flip(1)), expected, atol=1e-6, rtol=1e-5)


def test_a_cloud_is_encoded_alike_alone_and_in_a_batch(kind):
    model = tiny_encoder(kind)
    together = model.get_point_features(clouds())
    alone = torch.cat([model.get_point_features(cloud[None]) for cloud in clouds()])
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("place", [0, 150])
def test_a_point_that_is_not_finite_spoils_its_cloud_alone(kind, value, place):
    model, values = tiny_encoder(kind), clouds()
    expected = model.get_point_features(values)
    values[1, place, 0] = value
    found = model.get_point_features(values)
    assert not found[1].isfinite().any()
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("num_points", [1, 5, 8])
def test_fewer_points_than_patches_or_than_a_patch(kind, num_points):
    output = tiny_encoder(kind)(clouds(num_points=num_points))
    assert output.last_hidden_state.shape == (3, 9, 32)
    assert torch.isfinite(output.point_embeds).all()


def test_patch_dropout_and_stochastic_depth_act_in_training_only(kind):
    model = tiny_encoder(kind, patch_dropout=0.5, drop_path_rate=0.5)
    assert torch.equal(model.get_point_features(clouds()), model.get_point_features(clouds()))
    assert model(clouds()).last_hidden_state.shape == (3, 1 + 8, 32)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    first, second = model(clouds()), model(clouds())
    assert first.last_hidden_state.shape == (3, 1 + 4, 32)
    assert not torch.allclose(first.point_embeds, second.point_embeds)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("dropout", ["drop_path_rate", "attention_dropout"])
def test_each_dropout_alone_acts_in_training_only(kind, dropout, attention):
    model, plain = tiny_encoder(kind, **{dropout: 0.5}), tiny_encoder(kind)
    for encoder in (model, plain):
        encoder.set_attn_implementation(attention)
    assert torch.equal(model.get_point_features(clouds()), plain.get_point_features(clouds()))
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    first, second = model(clouds()), model(clouds())
    assert not torch.allclose(first.point_embeds, second.point_embeds)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_gradient_checkpointing_gives_the_same_gradients(kind):
    gradients = []
    for checkpointing in (False, True):
        model = tiny_encoder(kind).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.get_point_features(clouds()).square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert all(g is not None for g in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_no_point_changes_its_group_under_autocast(kind):
    model = tiny_encoder(kind)
    seen = []
    group = model.embeddings.group
    model.embeddings.group = lambda points: seen.append(group(points)) or seen[-1]
    model(clouds())
    for dtype in HALVES:
        with torch.autocast("cpu", dtype=dtype):
            model(clouds())
    model.to(torch.bfloat16)(clouds())
    (centers, groups), *others = seen
    assert centers.dtype == groups.dtype == torch.float32
    assert len(others) == 3
    for other_centers, other_groups in others:
        assert torch.equal(other_centers, centers)
        assert torch.equal(other_groups, groups)


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_embeddings_are_close(kind, dtype, tmp_path):
    """Autocast, weights loaded in half precision, and all weights made so."""
    model = tiny_encoder(kind)
    model.save_pretrained(tmp_path)
    full = model.get_point_features(clouds()).detach()
    with torch.autocast("cpu", dtype=dtype):
        autocast = model.get_point_features(clouds())
    assert relative_error(autocast, full) < 1e-2
    loaded_model = AutoModel.from_pretrained(tmp_path, dtype=dtype)
    assert loaded_model.layers[0].self_attn.q_proj.weight.dtype == dtype
    loaded = loaded_model.get_point_features(clouds())
    assert relative_error(loaded, full) < 1e-2
    assert autocast.dtype == loaded.dtype == torch.float32  # the projection stays in full precision
    cast = model.to(dtype)(clouds())
    assert cast.last_hidden_state.dtype == cast.pooler_output.dtype == cast.point_embeds.dtype == dtype
    assert relative_error(cast.point_embeds, full) < 2e-2  # every weight is rounded


def test_half_precision_trains(kind):
    model = tiny_encoder(kind).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.get_point_features(clouds()).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_trunk_compiles_without_graph_breaks(kind):
    model = tiny_encoder(kind)
    expected = model.get_point_features(clouds())
    for layer in model.layers:
        layer.compile(fullgraph=True, backend="eager")
    torch.testing.assert_close(model.get_point_features(clouds()), expected)


def test_saves_safetensors_that_the_auto_classes_load(kind, tmp_path):
    model = tiny_encoder(kind)
    model.save_pretrained(tmp_path)
    PointCloudFeatureExtractor().save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(model.state_dict())
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == model.config.to_diff_dict()
    assert type(AutoFeatureExtractor.from_pretrained(tmp_path)) is PointCloudFeatureExtractor
    assert torch.equal(loaded.get_point_features(clouds()), model.get_point_features(clouds()))


def test_saves_shards_that_load(kind, tmp_path):
    model = tiny_encoder(kind)
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    loaded = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(loaded.get_point_features(clouds()), model.get_point_features(clouds()))


@pytest.mark.parametrize("shape", [(3, 200, 3), (200, 6), (3, 0, 6)])
def test_refuses_input_of_another_shape(kind, shape):
    with pytest.raises(ValueError, match="point_values must have shape"):
        tiny_encoder(kind)(torch.zeros(shape))


def test_a_replica_for_data_parallel_gives_the_same(kind):
    model = tiny_encoder(kind)
    with pytest.raises(StopIteration):
        next(replica(model).parameters())
    assert torch.equal(replica(model).get_point_features(clouds()), model.get_point_features(clouds()))
    assert replica(model.to(torch.bfloat16))(clouds()).last_hidden_state.dtype == torch.bfloat16
