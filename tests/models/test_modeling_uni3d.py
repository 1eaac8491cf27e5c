"""Uni3D against recordings of the original, its sizes, and its configuration."""

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from support.golden import FOLDER, original_shapes, original_weights, recording
from support.tiny_encoders import TINY_UNI3D, tiny_encoder
from torch import nn

from mrd_hf import UNI3D_PRESETS, Uni3DConfig, Uni3DModel


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_gives_the_original_networks_embeddings(size):
    recorded = recording(f"uni3d_{size}")
    model = Uni3DModel(Uni3DConfig.from_preset(size)).eval()
    model.load_state_dict(original_weights(f"uni3d_{size}"))
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
        shapes = original_shapes(f"uni3d_{size}")
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
    layer = tiny_encoder("uni3d giant").layers[0]
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


def test_initial_weights():
    model = tiny_encoder("uni3d", hidden_size=256, intermediate_size=256)
    assert not model.embeddings.cls_token.any()
    assert model.embeddings.cls_position.std().item() == pytest.approx(1, abs=0.2)
    for linear in (m for m in model.modules() if isinstance(m, nn.Linear) and m.weight.numel() > 1000):
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.15)


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
        Uni3DConfig(**{**TINY_UNI3D, **changes})
