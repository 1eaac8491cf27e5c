"""Patch networks in blocks, against torch's own layers one after the other in float64, gradients included."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mrd_hf.models import pointnet_blocks
from mrd_hf.models.encoder_layers import MiniPointNet, PointNet


def pointnet(width: int, seed: int, training: bool) -> PointNet:
    """With scales of either sign and running statistics that are not those of a new one."""
    torch.manual_seed(seed)
    network = PointNet(9, 16, width)
    for norm in network.norms:
        for values, low, high in (
            (norm.weight, -1, 2),
            (norm.bias, -1, 1),
            (norm.running_mean, -1, 1),
            (norm.running_var, 0.5, 2),
        ):
            nn.init.uniform_(values, low, high)
    return network.train(training)


def groups_of(batch: int, patches: int, size: int) -> torch.Tensor:
    """Some of them padded with their first point, as ball query does."""
    groups = torch.randn(batch, patches, size, 9)
    groups[:, ::2, (size + 1) // 2 :] = groups[:, ::2, :1]
    return groups


def layer_by_layer(network: PointNet, groups: torch.Tensor) -> torch.Tensor:
    features = groups.flatten(0, 2)
    for linear, norm in zip(network.linears, network.norms, strict=True):
        features = torch.relu(norm(linear(features)))
    return features.view(*groups.shape[:3], -1).amax(dim=2)


def gradients(network: PointNet, features: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad((features * weights.to(features)).sum(), list(network.parameters())))


def differs(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm() / expected.norm().clamp(min=1e-3)).item()


@given(
    batch=st.integers(1, 3),
    patches=st.integers(1, 6),
    size=st.integers(1, 9),
    width=st.integers(1, 20),
    floats=st.sampled_from([1, 200, 2**19]),
    training=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_features_gradients_and_statistics_are_those_of_the_layers(
    batch, patches, size, width, floats, training, seed
):
    network = pointnet(width, seed, training)
    reference = copy.deepcopy(network).double()
    groups = groups_of(batch, patches, size)
    if training and groups[..., 0].numel() < 8:  # of a few points deviations can be next to nothing
        return
    before, pointnet_blocks.CACHED_FLOATS = pointnet_blocks.CACHED_FLOATS, floats
    try:
        assert pointnet_blocks.works_in_blocks(network.linears, network.norms, groups) == (groups[..., 0].numel() > 1)
        features = network(groups)
        weights = torch.randn(features.shape)
        found = gradients(network, features, weights)
        with torch.no_grad():
            again = copy.deepcopy(network)(groups)
    finally:
        pointnet_blocks.CACHED_FLOATS = before
    expected_features = layer_by_layer(reference, groups.double())
    expected = gradients(reference, expected_features, weights)
    assert differs(features, expected_features) < 1e-4
    assert differs(again, expected_features) < 1e-4
    for (name, _), gradient, exact in zip(network.named_parameters(), found, expected, strict=True):
        assert differs(gradient, exact) < 1e-3, name
    for (name, buffer), exact in zip(network.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(buffer.double(), exact.double(), rtol=1e-4, atol=1e-5, msg=name)


def test_gradients_are_closer_to_the_truth_than_those_of_the_layers():
    network = pointnet(96, 0, training=True)
    plain, reference = copy.deepcopy(network), copy.deepcopy(network).double()
    groups = groups_of(4, 16, 64)
    weights = torch.randn(4, 16, 96)
    exact = torch.cat([g.flatten() for g in gradients(reference, layer_by_layer(reference, groups.double()), weights)])
    errors = [
        differs(torch.cat([g.flatten() for g in gradients(which, encode(groups), weights)]).double(), exact)
        for which, encode in ((network, network), (plain, lambda g: layer_by_layer(plain, g)))
    ]
    assert errors[0] < 5e-6 and errors[0] < 2 * errors[1]


@pytest.mark.parametrize("training", [True, False])
def test_gradients_have_gradients(training):
    network, groups = pointnet(6, 1, training), groups_of(2, 3, 5)
    reference = copy.deepcopy(network).double()
    seconds = []
    for which, features in ((network, network(groups)), (reference, layer_by_layer(reference, groups.double()))):
        first = torch.autograd.grad(features.square().sum(), list(which.parameters()), create_graph=True)
        norm = sum(g.square().sum() for g in first)
        found = torch.autograd.grad(norm, list(which.parameters()), allow_unused=True)
        seconds.append(torch.cat([g.flatten().double() for g in found if g is not None and g.ndim == 2]))
    assert differs(*seconds) < 1e-3


def test_a_change_of_weights_is_seen_at_once_and_nothing_is_kept():
    network, groups = pointnet(6, 2, training=False), groups_of(2, 3, 5)
    names = set(network.state_dict()), set(vars(network))

    @torch.no_grad()
    def is_right(which: PointNet) -> bool:
        return differs(which(groups), layer_by_layer(copy.deepcopy(which).double(), groups.double())) < 1e-5

    assert is_right(network)
    with torch.no_grad():
        for values in network.state_dict().values():
            if values.is_floating_point():
                values.mul_(1.25)
    assert is_right(network) and is_right(copy.deepcopy(network))
    network.load_state_dict(pointnet(6, 3, training=False).state_dict())
    assert is_right(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    network.train()(groups).sum().backward()
    optimizer.step()
    assert is_right(network.eval())
    assert (set(network.state_dict()), set(vars(network))) == names


def test_gradients_under_checkpointing_are_the_same():
    network, groups = pointnet(6, 1, training=True), groups_of(2, 3, 5)
    weights = torch.randn(2, 3, 6)
    expected = gradients(network, network(groups), weights)
    recomputed = torch.utils.checkpoint.checkpoint(network, groups, use_reentrant=False)
    assert all(map(torch.equal, gradients(network, recomputed, weights), expected))


@pytest.mark.parametrize("momentum", [None, 0.0, 0.3])
def test_running_statistics_move_as_batch_norm_says(momentum):
    network = pointnet(6, 4, training=True)
    for norm in network.norms:
        norm.momentum = momentum
    reference = copy.deepcopy(network).double()
    for _ in range(3):
        groups = groups_of(2, 3, 5)
        with torch.no_grad():
            network(groups)
        layer_by_layer(reference, groups.double())
    for buffer, exact in zip(network.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(buffer.double(), exact.double(), rtol=1e-4, atol=1e-5)


def test_layers_that_someone_has_changed_are_called():
    groups = groups_of(2, 3, 5)
    hooked = pointnet(6, 5, training=False)
    seen = []
    hooked.norms[1].register_forward_hook(lambda *_: seen.append(1))
    hooked(groups)
    assert seen == [1]
    replaced = pointnet(6, 5, training=False)
    replaced.linears[0] = nn.Sequential(replaced.linears[0], nn.Hardtanh(-0.1, 0.1))
    assert not torch.equal(replaced(groups), pointnet(6, 5, training=False)(groups))
    frozen = pointnet(6, 5, training=True)
    frozen.norms[0].eval()
    before = frozen.norms[0].running_mean.clone()
    frozen(groups)
    assert torch.equal(frozen.norms[0].running_mean, before)


@given(patches=st.integers(1, 5), size=st.integers(1, 7), floats=st.sampled_from([1, 2**19]))
@settings(max_examples=20, deadline=None)
def test_mini_pointnet_in_blocks_is_that_of_the_layers(patches, size, floats):
    torch.manual_seed(patches)
    network = MiniPointNet(6, 8, 12).eval()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -1, 1)  # so that what a layer gets wrong is seen behind all others
    for norm in (network.norm1, network.norm3):
        nn.init.uniform_(norm.running_mean, -1, 1)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    groups = torch.randn(2, patches, size, 6)
    before, pointnet_blocks.CACHED_FLOATS = pointnet_blocks.CACHED_FLOATS, floats
    try:
        with torch.no_grad():
            found = network(groups)
    finally:
        pointnet_blocks.CACHED_FLOATS = before
    expected = copy.deepcopy(network).double()(groups.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
