"""Robustness to corruptions: the scores of the same shapes, corrupted."""

import sys
from functools import partial

import numpy as np
from accelerate import PartialState

from .held_out import evaluate_held_out
from .report import Score
from .scored_shapes import Shapes
from .scores.corruptions import CORRUPTIONS, corrupt
from .scoring import under_corruption
from .split_encoder import SplitEncoder


# What is reported of corrupted shapes, as far as the data allows.
ROBUSTNESS_KEYS = ("zero_shot_top1", "shape_to_image_recall_at_1")


def robustness_scores(encoder: SplitEncoder, shapes: Shapes, seed: int) -> list[Score]:
    """Scores of the shapes under each corruption that changes them; which do not is said on stderr."""
    idle = [corruption for corruption in CORRUPTIONS if _leaves_alone(shapes, corruption.name, seed)]
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


def _leaves_alone(shapes: Shapes, corruption: str, seed: int) -> bool:
    """Whether a corruption does nothing: colors dropped where there are none, thinned to more points than are."""
    ((points, colors),) = shapes.read([0])
    ((new_points, new_colors),) = _read_corrupted(shapes, corruption, seed, [0])
    return np.array_equal(points, new_points) and (colors is None) == (new_colors is None)


def _read_corrupted(shapes: Shapes, corruption: str, seed: int, rows: list[int]) -> list:
    return [
        corrupt(corruption, points.astype(np.float32), colors, shapes.up_axis, seed, row)
        for row, (points, colors) in zip(rows, shapes.read(rows), strict=True)
    ]
