"""Uni3D against recordings of the original, its neighbours against a loop, and as a transformers model."""

import json

import numpy as np
import pytest
import torch
from golden import FOLDER, recording
from golden_uni3d import uni3d_weights
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

from mrd_hf import UNI3D_PRESETS, PointCloudFeatureExtractor, Uni3DConfig, Uni3DModel
from mrd_hf.models.point_sampling import nearest_neighbors


SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_patches": 8,
    "patch_size": 16,
    "patch_hidden_size": 8,
    "patch_feature_size": 24,
    "position_hidden_size": 12,
    "projection_dim": 20,
}
KINDS = st.sampled_from(["random", "duplicates", "lattice"])


def small_model(**changes) -> Uni3DModel:
    torch.manual_seed(0)
    return Uni3DModel(Uni3DConfig(**{**SMALL, **changes})).eval()


def clouds(batch: int = 3, num_points: int = 200, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    xyz = nn.functional.normalize(torch.randn(batch, num_points, 3, generator=generator), dim=-1)
    return torch.cat([xyz, torch.rand(batch, num_points, 3, generator=generator)], dim=-1)


def cloud(kind: str, num_points: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "random":
        return rng.standard_normal((num_points, 3)).astype(np.float32)
    if kind == "duplicates":
        return rng.standard_normal((3, 3)).astype(np.float32)[rng.integers(0, 3, num_points)]
    return rng.integers(0, 3, (num_points, 3)).astype(np.float32)  # lattice: many equal distances


def loop_nearest(center: np.ndarray, points: np.ndarray, num_samples: int) -> list[int]:
    def distance(point: np.ndarray) -> np.float32:
        x, y, z = point - center
        return (x * x + y * y) + z * z

    order = sorted(range(len(points)), key=lambda i: (distance(points[i]), i))[:num_samples]
    return order + [order[0]] * (num_samples - len(order))


@settings(deadline=None, max_examples=60)
@given(KINDS, st.integers(1, 40), st.integers(1, 50), st.integers(0, 10**6))
def test_nearest_neighbors_equal_a_loop(kind, num_points, num_samples, seed):
    batch = np.stack([cloud(kind, num_points, seed), cloud(kind, num_points, seed + 1)])
    centers = batch[:, ::3] if seed % 2 else batch[:, ::3] + np.float32(0.25)  # on the points or beside them
    found = nearest_neighbors(torch.from_numpy(centers), torch.from_numpy(batch), num_samples)
    expected = [
        [loop_nearest(c, points, num_samples) for c in near] for points, near in zip(batch, centers, strict=True)
    ]
    assert found.tolist() == expected


def test_nearest_neighbors_of_many_equal_points_are_the_first():
    points = torch.zeros(1, 5000, 3)
    points[0, 2000] = 1.0
    found = nearest_neighbors(points[:, [0, 2000]], points, 4)
    assert found.tolist() == [[[0, 1, 2, 3], [2000, 0, 1, 2]]]


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_gives_the_original_networks_embeddings(size):
    recorded = recording(f"uni3d_{size}")
    model = Uni3DModel(Uni3DConfig.from_preset(size)).eval()
    model.load_state_dict(uni3d_weights(f"uni3d_{size}"))
    embeddings = []
    for points in recorded["points"]:
        with torch.no_grad():
            embeddings.append(model.get_point_features(points[None]))
    error = (torch.cat(embeddings) - recorded["embedding"]).norm(dim=-1) / recorded["embedding"].norm(dim=-1)
    assert error.max() < 5e-6


@pytest.mark.parametrize(
    ("size", "image_size", "num_classes", "published"),
    [
        ("tiny", 224, 0, 6.4e6),
        ("small", 224, 0, 22.8e6),
        ("base", 448, 1000, 89e6),
        ("large", 448, 1000, 307e6),
        ("giant", 560, 1000, 1.02e9),
    ],
)
def test_presets_have_the_published_sizes(size, image_size, num_classes, published):
    with torch.device("meta"):
        model = Uni3DModel(Uni3DConfig.from_preset(size))
    ours = sum(p.numel() for p in model.parameters())
    # The published figures include what Uni3D does not use of the vision transformer, with patches of 14 pixels.
    positions = (image_size // 14) ** 2 + 1
    unused = 1 + positions + 3 * 14**2 + 1 + num_classes
    assert ours + unused * model.config.hidden_size + num_classes == pytest.approx(published, rel=0.005)
    assert ours == pytest.approx(published, rel=0.03)
    if (FOLDER / f"uni3d_{size}.safetensors").exists():
        with safe_open(FOLDER / f"uni3d_{size}.safetensors", "pt") as file:
            shapes = json.loads(file.metadata()["shapes"])
        buffers = ("running_mean", "running_var", "num_batches_tracked")
        original = sum(int(np.prod(shape)) for name, shape in shapes.items() if not name.endswith(buffers))
        assert ours + unused * model.config.hidden_size + num_classes == original


def test_default_config_is_base():
    assert Uni3DConfig().to_dict() == Uni3DConfig.from_preset("base").to_dict()


def test_presets_take_changes_and_know_their_names():
    assert set(UNI3D_PRESETS) == {"tiny", "small", "base", "large", "giant"}
    config = Uni3DConfig.from_preset("tiny", projection_dim=None, num_hidden_layers=2)
    assert (config.hidden_size, config.projection_dim, config.num_hidden_layers) == (192, None, 2)
    with pytest.raises(ValueError, match="no preset 'huge'; choose one of tiny, .*giant"):
        Uni3DConfig.from_preset("huge")


def test_a_plain_block_equals_torchs_encoder_layer():
    """Giant's kind of block, of which there is no recording."""
    layer = small_model(gated_mlp=False, mlp_norm=False, hidden_act="gelu").layers[0]
    reference = nn.TransformerEncoderLayer(32, 2, 48, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True).eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    attention = layer.self_attn
    ours = {
        "self_attn.in_proj_weight": torch.cat([getattr(attention, f"{x}_proj").weight for x in "qkv"]),
        "self_attn.in_proj_bias": torch.cat([attention.q_proj.bias, torch.zeros(32), attention.v_proj.bias]),
    }
    for name, module in (
        ("self_attn.out_proj", attention.out_proj),
        ("linear1", layer.mlp.up_proj),
        ("linear2", layer.mlp.down_proj),
        ("norm1", layer.layer_norm1),
        ("norm2", layer.layer_norm2),
    ):
        ours |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    reference.load_state_dict(ours)
    tokens = torch.randn(2, 9, 32)
    torch.testing.assert_close(layer(tokens), reference(tokens), atol=1e-5, rtol=1e-5)


def test_output_shapes_and_recorded_states():
    model = small_model()
    output = model(clouds(), output_hidden_states=True)
    assert output.last_hidden_state.shape == (3, 9, 32)
    assert output.pooler_output.shape == (3, 32)
    assert output.point_embeds.shape == (3, 20)
    assert len(output.hidden_states) == 4
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    model.set_attn_implementation("eager")
    attentions = model(clouds(), output_attentions=True).attentions
    assert len(attentions) == 3
    assert attentions[0].shape == (3, 2, 9, 9)
    torch.testing.assert_close(attentions[0].sum(-1), torch.ones(3, 2, 9))


def test_returns_a_tuple_when_asked():
    output = small_model()(clouds(), return_dict=False)
    assert isinstance(output, tuple)
    assert [tuple(t.shape) for t in output] == [(3, 9, 32), (3, 32), (3, 20)]


def test_eager_and_sdpa_attention_agree():
    model = small_model()
    sdpa = model.get_point_features(clouds())
    model.set_attn_implementation("eager")
    torch.testing.assert_close(model.get_point_features(clouds()), sdpa, atol=1e-6, rtol=1e-5)


def test_without_projection_the_class_token_is_the_embedding():
    model = small_model(projection_dim=None)
    output = model(clouds())
    assert output.point_embeds is None
    assert torch.equal(model.get_point_features(clouds()), output.pooler_output)


def test_the_order_of_the_points_after_the_first_does_not_matter():
    model = small_model()
    shuffled = clouds()[:, [0, *torch.randperm(199).add(1).tolist()]]
    torch.testing.assert_close(
        model.get_point_features(shuffled), model.get_point_features(clouds()), atol=1e-6, rtol=1e-5
    )


def test_a_cloud_is_encoded_alike_alone_and_in_a_batch():
    model = small_model()
    together = model.get_point_features(clouds())
    alone = torch.cat([model.get_point_features(cloud[None]) for cloud in clouds()])
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("num_points", [1, 5, 8])
def test_fewer_points_than_patches_or_than_a_patch(num_points):
    output = small_model()(clouds(num_points=num_points))
    assert output.last_hidden_state.shape == (3, 9, 32)
    assert torch.isfinite(output.point_embeds).all()


def test_patch_dropout_and_stochastic_depth_act_in_training_only():
    model = small_model(patch_dropout=0.5, drop_path_rate=0.5)
    assert torch.equal(model.get_point_features(clouds()), model.get_point_features(clouds()))
    assert model(clouds()).last_hidden_state.shape == (3, 1 + 8, 32)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    first, second = model(clouds()), model(clouds())
    assert first.last_hidden_state.shape == (3, 1 + 4, 32)
    assert not torch.allclose(first.point_embeds, second.point_embeds)


def test_patch_dropout_keeps_centers_and_groups_together():
    model = small_model(patch_dropout=0.5)
    centers, groups = model.embeddings.group(clouds())
    kept_centers, kept_groups = model.embeddings.drop_patches(centers, groups)
    for i in range(3):
        for center, group in zip(kept_centers[i], kept_groups[i], strict=True):
            position = (centers[i] == center).all(-1).nonzero()[0, 0]
            assert torch.equal(groups[i, position], group)


@pytest.mark.parametrize("mlp", [{}, {"gated_mlp": False, "mlp_norm": False, "hidden_act": "gelu"}])
def test_gradient_checkpointing_gives_the_same_gradients(mlp):
    gradients = []
    for checkpointing in (False, True):
        model = small_model(**mlp).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.get_point_features(clouds()).square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert all(g is not None for g in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_groups_the_same_points(dtype):
    model = small_model()
    centers, groups = model.embeddings.group(clouds())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast_centers, autocast_groups = model.embeddings.group(clouds())
    assert torch.equal(autocast_centers, centers)
    assert torch.equal(autocast_groups, groups)
    full = model.get_point_features(clouds())
    half = model.to(dtype).get_point_features(clouds())
    assert half.dtype == dtype
    torch.testing.assert_close(half.float(), full, atol=0.02, rtol=0.1)


def test_initial_weights():
    model = small_model(hidden_size=256, intermediate_size=256)
    assert not model.embeddings.cls_token.any()
    assert model.embeddings.cls_position.std().item() == pytest.approx(1, abs=0.2)
    for linear in (m for m in model.modules() if isinstance(m, nn.Linear) and m.weight.numel() > 1000):
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.15)


def test_saves_safetensors_that_the_auto_classes_load(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path)
    PointCloudFeatureExtractor().save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(model.state_dict())
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is Uni3DModel
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == model.config.to_diff_dict()
    assert type(AutoFeatureExtractor.from_pretrained(tmp_path)) is PointCloudFeatureExtractor
    torch.testing.assert_close(
        loaded.get_point_features(clouds()), model.get_point_features(clouds()), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(3, 200, 3), (200, 6), (3, 0, 6)])
def test_refuses_input_of_another_shape(shape):
    with pytest.raises(ValueError, match="point_values must have shape"):
        small_model()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "multiple of num_attention_heads"),
        ({"num_patches": 0}, "num_patches must be positive"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must be in"),
        ({"projection_dim": 0}, "projection_dim must be positive"),
        ({"hidden_size": "wide"}, "hidden_size"),
    ],
)
def test_config_refuses_fields_that_do_not_fit(changes, message):
    with pytest.raises(StrictDataclassError, match=message):
        Uni3DConfig(**{**SMALL, **changes})
