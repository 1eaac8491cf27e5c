"""Robustness to corruptions: the scores of the same shapes, corrupted."""

import sys
from functools import partial

import numpy as np
from accelerate import PartialState

from ..models.shapes import ColoredPoints
from .held_out import evaluate_held_out
from .report import Score
from .scored_shapes import Shapes
from .scores.corruptions import CORRUPTIONS, Corruption, corrupt
from .scoring import under_corruption
from .split_encoder import SplitEncoder


# What is reported of corrupted shapes, as far as the data allows.
ROBUSTNESS_KEYS = ("zero_shot_top1", "shape_to_image_recall_at_1")


def robustness_scores(encoder: SplitEncoder, shapes: Shapes, seed: int) -> list[Score]:
    """Scores of the shapes under each corruption that changes them; which do not is said on stderr."""
    idle = _without_effect(shapes, seed)
    if idle and PartialState().is_main_process:
        names = ", ".join(corruption.name for corruption in idle)
        print(f"--robustness: without effect on these shapes, so without a row: {names}", file=sys.stderr)
    scores: list[Score] = []
    for corruption in CORRUPTIONS:
        if corruption in idle:
            continue
        read = partial(_read_corrupted, shapes, corruption.name, seed)
        embeds = encoder(shapes, f"{corruption.name}, seed {seed}", read)
        found = evaluate_held_out(embeds, shapes.held_out, seed)
        scores += [under_corruption(score, corruption) for score in found if score.key in ROBUSTNESS_KEYS]
    return scores


def _without_effect(shapes: Shapes, seed: int) -> list[Corruption]:
    """Those that leave every shape as it is: colors dropped where there are none, thinned to more points than are."""
    idle = list(CORRUPTIONS)
    for row in range(len(shapes.held_out.ids)):
        if not idle:
            break
        (given,) = shapes.read([row])
        left = ((corruption, _corrupted(shapes, corruption.name, seed, row, given)) for corruption in idle)
        idle = [corruption for corruption, cloud in left if _is_same(given, cloud)]
    return idle


def _is_same(cloud: ColoredPoints, other: ColoredPoints) -> bool:
    return np.array_equal(cloud.xyz, other.xyz) and (cloud.rgb is None) == (other.rgb is None)


def _read_corrupted(shapes: Shapes, corruption: str, seed: int, rows: list[int]) -> list[ColoredPoints]:
    return [
        _corrupted(shapes, corruption, seed, row, cloud) for row, cloud in zip(rows, shapes.read(rows), strict=True)
    ]


def _corrupted(shapes: Shapes, corruption: str, seed: int, row: int, cloud: ColoredPoints) -> ColoredPoints:
    points, colors = cloud
    if points.dtype != np.float64:  # which is kept: of a cloud far from the origin, float32 has but the first digits
        points = points.astype(np.float32)
    return corrupt(corruption, points, colors, shapes.up_axis, seed, row)
