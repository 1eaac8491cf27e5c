"""Patches that encoders return, and their features carried to points, against loops in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_encoders import TINY_CONFIGS, clouds, tiny_encoder

from mrd_hf import point_features
from mrd_hf.models import modeling_point_bert, modeling_uni3d
from mrd_hf.models.point_features import EPSILON


def carried_by_a_loop(features, centers, points, num_neighbors):
    """Each point's feature, from all distances; of equally near centres the first counts as nearer."""
    carried = np.zeros((len(points), features.shape[1]))
    for row, point in enumerate(points):
        squared = np.array([np.sum((center - point) ** 2) for center in centers])
        nearest = np.argsort(squared, kind="stable")[:num_neighbors]
        weights = 1 / (squared[nearest] + EPSILON)
        carried[row] = sum(w * features[i] for w, i in zip(weights, nearest, strict=True)) / weights.sum()
    return carried


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 12), st.integers(1, 20), st.integers(1, 5), st.integers(0, 1000))
def test_features_are_carried_by_inverse_distances(batch, num_patches, num_points, num_neighbors, seed):
    generator = np.random.default_rng(seed)
    features, centers = generator.normal(size=(batch, num_patches, 4)), generator.normal(size=(batch, num_patches, 3))
    points = generator.normal(size=(batch, num_points, 6))
    features, centers, points = (array.astype(np.float32) for array in (features, centers, points))
    found = point_features(*map(torch.from_numpy, (features, centers, points)), num_neighbors=num_neighbors)
    for cloud in range(batch):
        arrays = (array[cloud].astype(np.float64) for array in (features, centers, points[..., :3]))
        expected = carried_by_a_loop(*arrays, num_neighbors)
        np.testing.assert_allclose(found[cloud].numpy(), expected, rtol=1e-4, atol=1e-4)


def test_a_point_that_is_a_centre_has_its_patchs_feature():
    centers, features = torch.eye(3)[None], torch.tensor([[[1.0], [2.0], [4.0]]])
    torch.testing.assert_close(point_features(features, centers, centers), features, rtol=1e-6, atol=1e-6)


def test_features_learn_and_keep_their_precision():
    features = torch.randn(2, 5, 3, dtype=torch.bfloat16, requires_grad=True)
    carried = point_features(features, torch.randn(2, 5, 3), torch.randn(2, 9, 6))
    assert carried.dtype == torch.bfloat16 and carried.shape == (2, 9, 3)
    carried.float().sum().backward()
    # The weights of each of the nine points add up to 1.
    torch.testing.assert_close(features.grad.float().sum((0, 1)), torch.full((3,), 18.0), rtol=0.02, atol=0)


def test_the_class_token_among_the_features_is_seen():
    with pytest.raises(ValueError, match="leave the class token out"):
        point_features(torch.randn(2, 9, 4), torch.randn(2, 8, 3), torch.randn(2, 20, 3))


@pytest.mark.parametrize("kind", TINY_CONFIGS)
def test_patches_are_the_points_around_their_centres(kind):
    model, values = tiny_encoder(kind), clouds()
    with torch.no_grad():
        plain, output = model(values), model(values, output_patches=True)
    assert plain.patch_centers is None and plain.patch_members is None
    assert torch.equal(plain.point_embeds, output.point_embeds)
    assert output.patch_centers.shape == (3, 8, 3) and output.patch_members.shape == (3, 8, 16)
    xyz = values[..., :3].numpy()
    for cloud in range(3):
        for center, members in zip(output.patch_centers[cloud].numpy(), output.patch_members[cloud], strict=True):
            squared = ((xyz[cloud] - center) ** 2).sum(axis=1)
            assert squared.min() == 0
            if model.config.model_type == "point_bert" and model.config.grouping == "ball":
                inside = np.flatnonzero(squared <= model.config.patch_radius**2)[:16]
                assert members[: len(inside)].tolist() == inside.tolist()
                assert set(members[len(inside) :].tolist()) <= {int(inside[0])}
            else:
                assert sorted(members.tolist()) == sorted(np.argsort(squared, kind="stable")[:16].tolist())


@pytest.mark.parametrize("kind", ["openshape", "ulip", "uni3d"])
def test_members_of_dropped_patches_are_dropped_as_well(kind):
    model, values = tiny_encoder(kind, patch_dropout=0.5).train(), clouds()
    output = model(values, output_patches=True)
    assert output.patch_members.shape == (3, 4, 16) and output.last_hidden_state.shape[1] == 5
    centers, members = model.embeddings.find_patches(values)
    for cloud in range(3):
        for center, kept in zip(output.patch_centers[cloud], output.patch_members[cloud], strict=True):
            (patch,) = (centers[cloud] == center).all(-1).nonzero()[0].tolist()
            assert torch.equal(members[cloud, patch], kept)


def counted(function, calls):
    def call(*arguments, **options):
        calls.append(function)
        return function(*arguments, **options)

    return call


@pytest.mark.parametrize("module", [modeling_point_bert, modeling_uni3d])
def test_patches_are_found_once_whether_they_are_returned_or_not(module, monkeypatch):
    calls = []
    for name in ("farthest_point_sampling", "ball_query", "knn_query", "gather_groups"):
        if name in vars(module):
            monkeypatch.setattr(module, name, counted(vars(module)[name], calls))
    model = tiny_encoder("openshape" if module is modeling_point_bert else "uni3d")
    for options in ({}, {"output_patches": True}):
        calls.clear()
        model(clouds(), **options)
        assert len(calls) == 3
