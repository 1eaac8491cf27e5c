"""The parts that tokens are made of, against plain formulas."""

import numpy as np
import pytest
import torch
from support.tiny_encoders import TINY_CONFIGS, clouds, tiny_encoder
from torch import nn

from mrd_hf.models.encoder_layers import DropPath, MiniPointNet, PointNet, drop_patches


def with_random_statistics(network: nn.Module) -> nn.Module:
    """In evaluation mode, with running statistics and scales that are not those of a new batch norm."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            for values in (module.running_mean, module.running_var, module.weight, module.bias):
                nn.init.uniform_(values, 0.5, 2)
    return network.eval()


def linear(layer: nn.Linear, x: np.ndarray) -> np.ndarray:
    return x @ layer.weight.detach().numpy().T + (0 if layer.bias is None else layer.bias.detach().numpy())


def norm_relu(norm: nn.BatchNorm1d, x: np.ndarray) -> np.ndarray:
    mean, var, weight, bias = (
        v.detach().numpy() for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return np.maximum((x - mean) / np.sqrt(var + norm.eps) * weight + bias, 0)


def test_pointnet_is_its_formula():
    network = with_random_statistics(PointNet(9, 8, 12))
    groups = torch.randn(2, 3, 5, 9)
    x = groups.numpy()
    for layer, norm in zip(network.linears, network.norms, strict=True):
        x = norm_relu(norm, linear(layer, x))
    np.testing.assert_allclose(network(groups).detach().numpy(), x.max(axis=2), rtol=1e-5, atol=1e-6)


def test_mini_pointnet_is_its_formula():
    network = with_random_statistics(MiniPointNet(6, 8, 12))
    groups = torch.randn(2, 3, 5, 6)
    first = linear(network.linear2, norm_relu(network.norm1, linear(network.linear1, groups.numpy())))
    # The original joins each point's feature to the patch's maximum, which comes first, and has one layer for both.
    joined = np.concatenate([np.broadcast_to(first.max(axis=2, keepdims=True), first.shape), first], axis=-1)
    weight = torch.cat([network.patch_linear3.weight, network.point_linear3.weight], dim=1).detach().numpy()
    third = norm_relu(network.norm3, joined @ weight.T + network.point_linear3.bias.detach().numpy())
    expected = linear(network.linear4, third).max(axis=2)
    np.testing.assert_allclose(network(groups).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", TINY_CONFIGS)
def test_patch_dropout_keeps_centers_and_groups_together(kind):
    centers, groups = tiny_encoder(kind).embeddings.group(clouds())
    kept_centers, kept_groups, none = drop_patches(centers, groups, 0.5)
    assert kept_centers.shape == (3, 4, 3) and none is None
    for i in range(3):
        assert len(kept_centers[i].unique(dim=0)) == 4
        for center, group in zip(kept_centers[i], kept_groups[i], strict=True):
            position = (centers[i] == center).all(-1).nonzero()[0, 0]
            assert torch.equal(groups[i, position], group)


def test_one_patch_always_stays():
    centers, groups = torch.randn(2, 8, 3), torch.randn(2, 8, 4, 9)
    assert drop_patches(centers, groups, 0.99)[1].shape == (2, 1, 4, 9)


@pytest.mark.parametrize("kind", TINY_CONFIGS)
def test_what_is_recorded_without_gradients_is_what_was_computed(kind):
    """Without gradients blocks overwrite what is their own, and nothing else."""
    model = tiny_encoder(kind).eval()
    values = clouds(2, 64)
    before = values.clone()
    with_gradients = model(values, output_hidden_states=True)
    with torch.no_grad():
        without = model(values, output_hidden_states=True)
    assert torch.equal(values, before)
    for recorded, expected in zip(without.hidden_states, with_gradients.hidden_states, strict=True):
        torch.testing.assert_close(recorded, expected)
    torch.testing.assert_close(without.point_embeds, with_gradients.point_embeds)


def test_stochastic_depth_drops_whole_samples_at_its_rate_and_keeps_the_mean():
    drop = DropPath(0.3).train()
    torch.manual_seed(0)
    samples = drop(torch.ones(20_000, 2, 3)).reshape(20_000, 6)
    assert torch.equal(samples, samples[:, :1].expand(-1, 6))
    kept = samples[:, 0] > 0
    torch.testing.assert_close(samples[kept, 0], torch.full((int(kept.sum()),), 1 / 0.7))
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.02)
    branch = torch.randn(4, 2, 3)
    assert torch.equal(drop.eval()(branch), branch)


@pytest.mark.parametrize("kind", TINY_CONFIGS)
@pytest.mark.parametrize("depth", [1, 4])
def test_the_rate_of_stochastic_depth_rises_with_depth(kind, depth):
    model = tiny_encoder(kind, drop_path_rate=0.6, num_hidden_layers=depth)
    rates = [layer.drop_path.rate for layer in model.layers]
    np.testing.assert_allclose(rates, np.linspace(0, 0.6, depth))
