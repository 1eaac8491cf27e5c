"""Votes against a loop over versions of each shape."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from support.tiny_encoders import TINY

from mrd_hf import (
    PointBertConfig,
    PointBertForPartSegmentation,
    PointBertForShapeClassification,
    PointCloudFeatureExtractor,
)
from mrd_hf.models.shapes import ColoredPoints
from mrd_hf.training.finetuning.labeled_clouds import prepare_clouds
from mrd_hf.training.finetuning.prediction import SCALES, class_probabilities, part_predictions


RAW = [np.random.default_rng(i).normal(size=(50 + 10 * i, 3)).astype(np.float32) for i in range(5)]
PARTS = [np.random.default_rng(i).integers(0, 4, len(cloud)) for i, cloud in enumerate(RAW)]
EXTRACTOR = PointCloudFeatureExtractor(num_points=40)


def tiny_clouds(parts=None):
    shapes = zip([ColoredPoints(cloud, None) for cloud in RAW], parts or [None] * 5, strict=True)
    return prepare_clouds(shapes, list("abcde"), np.array([0, 1, 1, 0, 1]), EXTRACTOR, "y", 40)


def test_one_version_is_what_a_user_of_the_folder_gets():
    torch.manual_seed(0)
    model = PointBertForShapeClassification(PointBertConfig(**TINY, num_labels=3)).eval()
    found = class_probabilities(model, tiny_clouds(), 40, batch_size=2)
    for cloud, probabilities in zip(RAW, found, strict=True):
        logits = model(**EXTRACTOR(cloud)).logits[0]
        np.testing.assert_allclose(probabilities, logits.softmax(0).detach().numpy(), rtol=1e-5, atol=1e-7)


def test_votes_are_the_mean_over_versions_and_repeat():
    torch.manual_seed(0)
    model, clouds = PointBertForShapeClassification(PointBertConfig(**TINY, num_labels=3)), tiny_clouds()
    plain, voted, again = (class_probabilities(model, clouds, 40, 5, votes, seed=7) for votes in (1, 3, 3))
    assert np.array_equal(voted, again) and not np.array_equal(voted, plain)
    expected = plain.copy()
    for vote in (1, 2):
        for row in range(5):
            rng = np.random.default_rng([7, vote, row])
            values, _ = clouds.batch([row], 40, rng)
            values[..., :3] *= rng.uniform(*SCALES)
            expected[row] += model(torch.from_numpy(values)).logits[0].softmax(0).detach().numpy()
    np.testing.assert_allclose(voted, expected / 3, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(voted.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("parts", [False, True], ids=["classes", "parts"])
def test_no_batch_size_changes_a_version(parts):
    torch.manual_seed(0)
    clouds, names = tiny_clouds(PARTS if parts else None), {"a": [0, 1], "b": [2, 3]}
    config = PointBertConfig(**TINY, num_labels=4, object_parts=names if parts else None)
    model = (PointBertForPartSegmentation if parts else PointBertForShapeClassification)(config)
    seen = []
    model.point_bert.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    versions = []
    for batch_size in (2, 3, 5):
        seen.clear()
        (part_predictions if parts else class_probabilities)(model, clouds, 40, batch_size, 3)
        versions.append(sorted(cloud.numpy().tobytes() for batch in seen for cloud in batch))
    assert versions[0] == versions[1] == versions[2] and len(set(versions[0])) == 15


def test_parts_are_of_the_objects_class_and_votes_are_for_the_same_points():
    torch.manual_seed(0)
    names = {"a": [0, 1], "b": [2, 3]}
    model = PointBertForPartSegmentation(PointBertConfig(**TINY, num_labels=4, object_parts=names)).eval()
    clouds = tiny_clouds(PARTS)
    for votes in (1, 4):
        predicted, true = part_predictions(model, clouds, 40, 2, votes)
        assert predicted.shape == true.shape == (5, 40)
        for row, (label, parts) in enumerate(zip(clouds.labels, PARTS, strict=True)):
            assert set(predicted[row]) <= set(names["ab"[label]])
            # Those of the extractor's choice: a fixed one of a larger cloud.
            chosen = np.random.default_rng(0).permutation(len(parts))[:40]
            np.testing.assert_array_equal(true[row], parts[chosen])
    plain, _ = part_predictions(model, clouds, 40, 2)
    logits = model(**EXTRACTOR(RAW[1]), object_classes=torch.tensor([1])).logits
    np.testing.assert_array_equal(plain[1], model.most_likely_parts(logits, torch.tensor([1]))[0].numpy())


@pytest.mark.parametrize("parts", [False, True], ids=["classes", "parts"])
def test_each_version_has_a_size_of_its_own_near_the_original(parts):
    torch.manual_seed(0)
    seen, votes = [], 12
    clouds, names = tiny_clouds(PARTS if parts else None), {"a": [0, 1], "b": [2, 3]}
    config = PointBertConfig(**TINY, num_labels=4, object_parts=names if parts else None)
    model = (PointBertForPartSegmentation if parts else PointBertForShapeClassification)(config)
    model.point_bert.register_forward_pre_hook(lambda _, args: seen.append(args[0][..., :3].norm(dim=-1).amax(dim=1)))
    (part_predictions if parts else class_probabilities)(model, clouds, 40, 5, votes)
    sizes = torch.stack(seen)
    if parts:  # whose versions have the same points, so the largest distance tells the factor
        factors = sizes / sizes[0]
        assert factors.min() >= 0.799 and factors.max() <= 1.201
        assert len(torch.unique(factors[1:].round(decimals=4))) > 2 * votes  # one for each shape and version
    assert sizes.shape == (votes, 5) and sizes.max() <= 1.201  # of clouds in the unit sphere


@pytest.mark.parametrize("parts", [False, True], ids=["classes", "parts"])
def test_evaluates_in_float32_what_is_trained_in_bfloat16(parts):
    AcceleratorState._reset_state()
    torch.manual_seed(0)
    clouds, names = tiny_clouds(PARTS if parts else None), {"a": [0, 1], "b": [2, 3]}
    config = PointBertConfig(**TINY, num_labels=4, object_parts=names if parts else None)
    model = (PointBertForPartSegmentation if parts else PointBertForShapeClassification)(config)
    seen = []
    model.point_bert.layers[0].mlp.fc1.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    try:
        prepared = Accelerator(cpu=True, mixed_precision="bf16").prepare(model)
        (part_predictions if parts else class_probabilities)(prepared, clouds, 40, 5)
        values, _ = clouds.batch([0, 1], 40)
        prepared(torch.from_numpy(values))
    finally:
        AcceleratorState._reset_state()
    assert seen == [torch.float32, torch.bfloat16]  # and training continues as it was
