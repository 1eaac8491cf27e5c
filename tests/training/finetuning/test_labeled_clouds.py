"""Shapes in memory are those that the feature extractor makes, and parts go with their points."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrd_hf import PointCloudFeatureExtractor
from mrd_hf.models.shapes import ColoredPoints
from mrd_hf.training.finetuning.labeled_clouds import KEPT, prepare_clouds


def shapes(sizes, colored=False, seed=0):
    rng = np.random.default_rng(seed)
    return [
        ColoredPoints(
            rng.normal(size=(size, 3)).astype(np.float32) * 7 + 3,
            rng.integers(0, 256, (size, 3)).astype(np.uint8) if colored else None,
        )
        for size in sizes
    ]


def prepared(clouds, num_points, parts=None, up_axis="y"):
    ids, labels = [str(i) for i in range(len(clouds))], np.arange(len(clouds))
    parts = [None] * len(clouds) if parts is None else parts
    extractor = PointCloudFeatureExtractor(num_points=num_points, default_color=0.3)
    return prepare_clouds(zip(clouds, parts, strict=True), ids, labels, extractor, up_axis, num_points), extractor


@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(1, 20), st.booleans(), st.sampled_from("yz"))
def test_without_a_generator_they_are_the_extractors(sizes, num_points, colored, up_axis):
    clouds = shapes(sizes, colored)
    found, extractor = prepared(clouds, num_points, up_axis=up_axis)
    values, parts = found.batch(list(range(len(sizes))), num_points)
    colors = [cloud.rgb for cloud in clouds] if colored else None
    expected = extractor([cloud.xyz for cloud in clouds], colors, up_axis=up_axis, return_tensors="np")
    np.testing.assert_array_equal(values, expected["point_values"])
    assert parts is None


@given(st.integers(1, 90), st.integers(1, 12), st.integers(0, 99))
def test_parts_go_with_their_points_and_each_point_comes_once(size, num_points, seed):
    # The part of a point is its place, so that it can be known again by its coordinates.
    (cloud,) = shapes([size])
    found, _ = prepared([cloud], num_points, [np.arange(size)])
    everything = PointCloudFeatureExtractor(num_points=size)(cloud.xyz, return_tensors="np")["point_values"][0, :, :3]
    for rng in (None, np.random.default_rng(seed)):
        values, parts = found.batch([0], num_points, rng)
        np.testing.assert_array_equal(values[0, :, :3], everything[parts[0]])
        counts = np.bincount(parts[0])
        assert counts.max() == -(-num_points // min(size, KEPT * num_points))
    assert len(found.points[0]) == min(size, KEPT * num_points)


def test_another_seed_gives_other_points():
    found, _ = prepared(shapes([40]), 10)
    draws = [found.batch([0], 10, np.random.default_rng(seed))[0] for seed in (1, 1, 2)]
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])


def test_shapes_with_and_without_parts_do_not_go_together():
    with pytest.raises(Exception, match="some of the shapes have parts"):
        prepared(shapes([5, 5]), 4, [np.zeros(5, int), None])
