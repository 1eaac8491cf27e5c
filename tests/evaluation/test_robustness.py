"""Scores under corruptions: which are without effect, and what is corrupted."""

from types import SimpleNamespace

import numpy as np
import pytest

from mrd_hf import PointCloudFeatureExtractor
from mrd_hf.evaluation import robustness
from mrd_hf.evaluation.scores.corruptions import corrupt
from mrd_hf.models.shapes import ColoredPoints


def cloud(seed: int, count: int, colored: bool) -> ColoredPoints:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 3)).astype(np.float32)
    return ColoredPoints(points, rng.random((count, 3)) if colored else None)


def reported(clouds: list[ColoredPoints], monkeypatch) -> tuple[set[str], int]:
    """The corruptions that shapes are encoded under, and how often shapes were read before that."""
    reads, encoded = [], []
    shapes = SimpleNamespace(
        read=lambda rows: reads.append(rows) or [clouds[row] for row in rows],
        up_axis="y",
        held_out=SimpleNamespace(ids=[str(row) for row in range(len(clouds))]),
    )
    monkeypatch.setattr(robustness, "evaluate_held_out", lambda *_: [])
    robustness.robustness_scores(lambda _, title, read: encoded.append(title.split(",")[0]), shapes, 0)
    return set(encoded), len(reads)


def test_a_corruption_is_left_out_only_if_it_changes_no_shape(monkeypatch):
    bare, rich = cloud(0, 500, False), cloud(1, 3000, True)
    of_bare, _ = reported([bare, bare], monkeypatch)
    assert not of_bare & {"no_color", "thin_512", "thin_2048"} and "jitter" in of_bare
    of_both, _ = reported([bare, bare, rich], monkeypatch)
    assert of_both - of_bare == {"no_color", "thin_512", "thin_1024", "thin_2048"}
    everything, reads = reported([cloud(2, 12_000, True), bare], monkeypatch)
    assert of_both < everything and reads == 1  # the first shows that all of them change something


def test_a_cloud_far_from_the_origin_is_corrupted_as_it_is():
    """As of surveyors' coordinates, which float32 has in steps of a quarter."""
    points = np.random.default_rng(0).random((1000, 3)) + [5e5, 4.5e6, 100]
    shapes = SimpleNamespace(read=lambda rows: [ColoredPoints(points, None)], up_axis="z")
    extractor = PointCloudFeatureExtractor(num_points=1000)
    ((corrupted, _),) = robustness._read_corrupted(shapes, "no_color", 0, [0])
    as_read, seen = (extractor(xyz, up_axis="z")["point_values"] for xyz in (points, corrupted))
    assert (as_read - seen).abs().max() < 1e-6


def test_clouds_of_halves_and_of_whole_numbers_are_corrupted_in_float32():
    for dtype in (np.float16, np.int32):
        points = np.arange(30).reshape(10, 3).astype(dtype)
        shapes = SimpleNamespace(read=lambda rows, points=points: [ColoredPoints(points, None)], up_axis="y")
        ((corrupted, _),) = robustness._read_corrupted(shapes, "jitter", 0, [0])
        assert corrupted.dtype == np.float32


@pytest.mark.parametrize("up_axis", ["y", "z"])
def test_each_shape_is_corrupted_by_the_seed_and_its_place(monkeypatch, up_axis):
    """What is encoded is kept under a title, by which another seed's embeddings are others."""
    clouds, seeds, encoded = [cloud(number, 600, True) for number in range(3)], [], {}
    shapes = SimpleNamespace(
        read=lambda rows: [clouds[row] for row in rows], up_axis=up_axis, held_out=SimpleNamespace(ids=["a", "b", "c"])
    )
    monkeypatch.setattr(robustness, "evaluate_held_out", lambda embeds, held_out, seed: seeds.append(seed) or [])
    for seed in (0, 1):
        robustness.robustness_scores(
            lambda _, title, read, seed=seed: encoded.setdefault((seed, title), read([2, 0])), shapes, seed
        )
    assert len({title for _, title in encoded}) == len(encoded) and set(seeds) == {0, 1}
    for (seed, title), found in encoded.items():
        name = title.split(",")[0]
        for row, (points, colors) in zip([2, 0], found, strict=True):
            expected = corrupt(name, clouds[row].xyz, clouds[row].rgb, up_axis, seed, row)
            np.testing.assert_array_equal(points, expected.xyz)
            assert (colors is None) == (expected.rgb is None)
