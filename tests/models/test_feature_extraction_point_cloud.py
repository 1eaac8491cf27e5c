"""The feature extractor's promises on clouds of every kind."""

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor

from mrd_hf import PointBertConfig, PointCloudFeatureExtractor


RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((50, 3)) * 7 + 100
COLORS = RNG.integers(0, 256, (50, 3), dtype=np.uint8)


def test_centers_and_scales_into_the_unit_sphere():
    values = PointCloudFeatureExtractor(num_points=50)(POINTS, COLORS)["point_values"]
    assert values.shape == (1, 50, 6)
    assert values.dtype == torch.float32
    xyz = values[0, :, :3].numpy()
    np.testing.assert_allclose(xyz.mean(axis=0), 0, atol=1e-5)
    assert np.linalg.norm(xyz, axis=1).max() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(values[0, :, 3:], COLORS / 255, atol=1e-6)


def test_clouds_of_several_sizes_make_one_batch():
    extractor = PointCloudFeatureExtractor(num_points=30)
    values = extractor([POINTS, POINTS[:10], POINTS[:1]])["point_values"]
    assert values.shape == (3, 30, 6)
    assert torch.isfinite(values).all()
    assert (values[..., 3:] == np.float32(0.4)).all()
    assert torch.equal(values[1, :10], values[1, 10:20])  # a small cloud repeats its points


def test_thinning_keeps_points_with_their_colors_and_is_repeatable():
    extractor = PointCloudFeatureExtractor(num_points=20, normalize=False)
    values = extractor(POINTS, COLORS)["point_values"][0].numpy()
    full = np.concatenate([POINTS, COLORS / 255], axis=1).astype(np.float32)
    rows = [int(np.abs(full - row).sum(axis=1).argmin()) for row in values]
    np.testing.assert_allclose(full[rows], values, atol=1e-5)
    assert len(set(rows)) == 20
    assert torch.equal(extractor(POINTS, COLORS)["point_values"], extractor([POINTS], [COLORS])["point_values"])


def test_z_up_is_rotated_not_mirrored():
    axes = np.eye(3)
    rotated = PointCloudFeatureExtractor(num_points=3, normalize=False, up_axis="z")(axes)["point_values"][0, :, :3]
    assert rotated[2].tolist() == [0, 1, 0]  # what was up in z is up in y
    assert np.linalg.det(rotated.numpy()) == pytest.approx(1)


def test_float_colors_are_taken_as_they_are():
    extractor = PointCloudFeatureExtractor(num_points=50)
    floats = extractor(POINTS, COLORS / 255.0)["point_values"]
    torch.testing.assert_close(floats, extractor(POINTS, COLORS)["point_values"])


@pytest.mark.parametrize(
    ("points", "colors", "message"),
    [
        ([POINTS, np.zeros((0, 3))], None, r"points\[1\] must have shape"),
        ([POINTS[:, :2]], None, r"points\[0\] must have shape"),
        ([np.where(POINTS > 100, np.nan, POINTS)], None, "not finite"),
        ([POINTS], [COLORS[:10]], r"colors\[0\] must have shape \(50, 3\)"),
        ([POINTS], [COLORS.astype(float)], "floats in 0..1"),
        ([POINTS, POINTS], [COLORS], "colors has 1 clouds"),
        ([], None, "no cloud"),
    ],
)
def test_bad_input_is_named(points, colors, message):
    with pytest.raises(ValueError, match=message):
        PointCloudFeatureExtractor()(points, colors)


@pytest.mark.parametrize(("arguments", "message"), [({"up_axis": "x"}, "up_axis"), ({"num_points": 0}, "num_points")])
def test_bad_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PointCloudFeatureExtractor(**arguments)


def test_saves_and_loads_with_its_settings(tmp_path):
    PointBertConfig().save_pretrained(tmp_path)
    PointCloudFeatureExtractor(num_points=77, up_axis="z").save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(loaded) is PointCloudFeatureExtractor
    assert (loaded.num_points, loaded.up_axis, loaded.normalize) == (77, "z", True)
