"""The figures about the teacher's relations that the page of evidence argues with."""

import math

import numpy as np
import pytest
import torch
from support.paths import DEMO_DATA, SCRIPTS

from mrd_hf.models.configuration_mrd import MRDConfig
from mrd_hf.models.relation_distillation import normalized_similarity, self_pairs


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS / "evidence")
    import teacher_relations

    return teacher_relations


def unit_rows(seed, *shape):
    rows = np.random.default_rng(seed).normal(size=shape)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_relations_are_those_that_the_objective_distills(script):
    """Within a modality without a sample's relation to itself, across two with it."""
    embeds = {"image": unit_rows(0, 9, 4), "text": unit_rows(1, 9, 4)}
    same = self_pairs(9, 9, 0, torch.device("cpu"))
    for row, column in script.TERMS:
        cosines = torch.from_numpy(embeds[row] @ embeds[column].T)
        masked = same if MRDConfig().mask_self_pairs and row == column else None
        expected = normalized_similarity(cosines, 0.07, masked).exp()
        expected = expected[~same].reshape(9, 8) if row == column else expected
        np.testing.assert_allclose(script.relation(embeds, row, column, 0.07), expected.numpy(), rtol=1e-6)


def test_shapes_are_those_that_the_arms_train_on(script):
    """443 to 477 of a division, as the page of evidence says."""
    counts = [len(part["image"]) for part in script.training_parts(DEMO_DATA / "data")]
    assert counts == [len(part["text"]) for part in script.training_parts(DEMO_DATA / "data")]
    assert len(counts) == 3 and all(443 <= count <= 477 for count in counts)


def test_an_even_relation_is_about_all_and_a_certain_one_about_one(script):
    assert script.num_about(np.full((2, 8), 1 / 8)) == pytest.approx(8)
    assert script.num_about(np.eye(8)) == pytest.approx(1)
    halves = np.array([[0.5, 0.25, 0.25]])
    assert script.num_about(halves) == pytest.approx(math.exp(1.5 * math.log(2)))


def test_worse_teachers_are_those_of_the_arms(script):
    rng = np.random.default_rng(0)
    embeds = {kind: rng.normal(size=(40, 6)) for kind in ("image", "text")}
    embeds = {kind: x / np.linalg.norm(x, axis=1, keepdims=True) for kind, x in embeds.items()}
    worse = dict(script.worse_teachers(embeds, seed=0))
    half = worse["50% of images wrong"]
    assert (half["image"] != embeds["image"]).any(axis=1).sum() == 20 and half["text"] is embeds["text"]
    moved = np.linalg.norm(worse["noise of 0.25"]["image"] - embeds["image"], axis=1)
    assert 0.1 < moved.mean() < 0.3 and worse.keys() >= {"noise of 1.0", "10% of images wrong"}
