"""Each change alone does what it says, with its colours along, and only by its generator."""

import numpy as np
import pytest
import torch

from mrd_hf import PointCloudFeatureExtractor
from mrd_hf.data.loaders.augmentation import AugmentationConfig, augment_point_clouds, change_points
from mrd_hf.errors import UserError


NOTHING = {
    "point_dropout": 0.0,
    "scale_min": 1.0,
    "scale_max": 1.0,
    "shift": 0.0,
    "jitter_std": 0.0,
    "rotate": False,
    "color_dropout": 0.0,
}
POINTS = torch.nn.functional.normalize(torch.randn(16, 64, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
COLORS = (POINTS + 1) / 2  # a point's colour tells where it was


def augment(seed: int = 0, num_points: int = 64, **changes) -> torch.Tensor:
    config = AugmentationConfig(**{**NOTHING, **changes})
    return augment_point_clouds(POINTS, COLORS, num_points, config, torch.Generator().manual_seed(seed))


def origin(values: torch.Tensor) -> torch.Tensor:
    """Where each point was before, by its colour."""
    return values[..., 3:] * 2 - 1


def test_with_all_switched_off_points_are_only_shuffled():
    values = augment()
    torch.testing.assert_close(values[..., :3], origin(values))
    for cloud in range(16):
        assert {tuple(p) for p in values[cloud, :, :3].tolist()} == {tuple(p) for p in POINTS[cloud].tolist()}
        assert not torch.equal(values[cloud, :, :3], POINTS[cloud])


def test_thinning_takes_points_without_repetition():
    values = augment(num_points=20)
    assert values.shape == (16, 20, 6)
    for cloud in values:
        assert len({tuple(p) for p in cloud.tolist()}) == 20


def test_dropped_points_move_onto_the_first_with_their_color():
    values = augment(point_dropout=0.9)
    torch.testing.assert_close(values[..., :3], origin(values))
    at_first = (values == values[:, :1]).all(-1).float().mean(dim=1)
    assert at_first.min() < 0.2  # the share is another one for each cloud
    assert at_first.max() > 0.6
    assert at_first.max() <= 0.95


def test_scale_is_one_factor_a_cloud_within_its_range():
    values = augment(scale_min=0.5, scale_max=2.0)
    factors = values[..., :3].norm(dim=-1)  # the points were on the unit sphere
    assert (factors.amax(1) - factors.amin(1)).max() < 1e-5
    assert factors.min() >= 0.5
    assert factors.max() <= 2
    assert factors[:, 0].std() > 0.1


def test_shift_is_one_vector_a_cloud_within_its_range():
    values = augment(shift=0.3)
    moved = values[..., :3] - origin(values)
    assert (moved.amax(1) - moved.amin(1)).max() < 1e-5
    assert moved.abs().max() <= 0.3
    assert moved[:, 0].std(dim=0).min() > 0.05


def test_jitter_has_its_spread_and_is_cut_off():
    values = augment(jitter_std=0.05, jitter_max=0.08)
    noise = values[..., :3] - origin(values)
    assert noise.abs().max() <= 0.08 + 1e-6
    expected = np.random.default_rng(0).normal(0, 0.05, 10**6).clip(-0.08, 0.08).std()
    assert noise.std().item() == pytest.approx(expected, rel=0.05)


def test_rotation_is_about_the_up_axis_and_no_reflection():
    values = augment(rotate=True)
    before, after = origin(values), values[..., :3]
    torch.testing.assert_close(after[..., 1], before[..., 1])
    for cloud in range(16):
        rotation = torch.linalg.lstsq(before[cloud], after[cloud]).solution.T
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-4, rtol=0)
        assert torch.linalg.det(rotation).item() == pytest.approx(1, abs=1e-4)
    angles = torch.atan2(after[:, 0, 2], after[:, 0, 0]) - torch.atan2(before[:, 0, 2], before[:, 0, 0])
    assert angles.remainder(2 * torch.pi).std() > 0.5


def test_shapes_that_are_up_by_z_are_turned_about_it_and_not_reflected():
    config = AugmentationConfig(**{**NOTHING, "rotate": True})
    values = change_points(POINTS, COLORS, config, torch.Generator().manual_seed(0), "z")
    torch.testing.assert_close(values[..., 2], POINTS[..., 2])
    for cloud in range(16):
        rotation = torch.linalg.lstsq(POINTS[cloud], values[cloud, :, :3]).solution.T
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-4, rtol=0)
        assert torch.linalg.det(rotation).item() == pytest.approx(1, abs=1e-4)


def test_colors_are_dropped_for_whole_clouds():
    values = augment(color_dropout=0.5)
    gray = (values[..., 3:] == 0.4).all(-1)
    assert torch.equal(gray.any(1), gray.all(1))
    assert 2 < gray.any(1).sum() < 14


def test_dropped_colors_are_those_of_a_shape_without_any():
    assert torch.equal(augment(color_dropout=1.0, default_color=0.7)[..., 3:], torch.full((16, 64, 3), 0.7))


def test_each_point_of_each_cloud_has_a_jitter_of_its_own():
    values = augment(jitter_std=0.05, jitter_max=0.5)
    noise = (values[..., :3] - origin(values)).reshape(16, -1)
    correlations = np.corrcoef(noise.numpy())[~np.eye(16, dtype=bool)]
    assert abs(correlations).max() < 0.35  # of 192 numbers: five deviations
    assert (
        abs(np.corrcoef(noise.reshape(-1, 3)[:-1].numpy().ravel(), noise.reshape(-1, 3)[1:].numpy().ravel())[0, 1])
        < 0.1
    )


def test_stored_dtypes_give_what_floats_give():
    colors = (COLORS * 255).round().to(torch.uint8)
    config = AugmentationConfig()

    def augmented(points: torch.Tensor, colors: torch.Tensor) -> torch.Tensor:
        return augment_point_clouds(points, colors, 40, config, torch.Generator().manual_seed(0))

    stored = augmented(POINTS.half(), colors)
    assert stored.dtype == torch.float32
    assert torch.equal(stored, augmented(POINTS.half().float(), torch.from_numpy(colors.numpy() / np.float32(255))))


def test_only_the_generator_decides():
    changes = {"scale_min": 0.5, "shift": 0.1, "jitter_std": 0.1, "rotate": True, "color_dropout": 0.5}
    torch.manual_seed(1)
    first = augment(seed=5, **changes)
    state = torch.get_rng_state()
    assert torch.equal(augment(seed=5, **changes), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(augment(seed=6, **changes), first)


@pytest.mark.parametrize(
    "changes",
    [
        {"shift": -1.0},
        {"color_dropout": 1.5},
        {"scale_min": 2.0},
        {"jitter_std": "much"},
        {"rotate": "false"},
        {"rotate": 1},
        {"point_dropout": True},
        {"scale_max": float("inf")},
        {"default_color": 40},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(UserError, match=f"augmentation.{next(iter(changes))}"):
        AugmentationConfig(**changes)


def test_an_encoder_that_takes_z_up_sees_what_its_extractor_would_show_it():
    extractor = PointCloudFeatureExtractor(num_points=64, normalize=False, encoder_up_axis="z")
    expected = extractor(POINTS.numpy(), colors=COLORS.numpy())["point_values"]
    config = AugmentationConfig(**NOTHING)
    values = augment_point_clouds(POINTS, COLORS, 64, config, torch.Generator().manual_seed(0), up_axis="z")
    rows = [{tuple(row) for row in cloud.tolist()} for cloud in expected]
    assert [{tuple(row) for row in cloud.tolist()} for cloud in values] == rows
    config = AugmentationConfig(**{**NOTHING, "rotate": True})
    turned = augment_point_clouds(POINTS, COLORS, 64, config, torch.Generator().manual_seed(0), up_axis="z")
    assert torch.equal(turned[..., 2], values[..., 2]) and not torch.allclose(turned[..., 0], values[..., 0])
