"""Small reports."""

import numpy as np

from mrd_hf.evaluation.report import EvaluationReport, Score
from mrd_hf.evaluation.scores.bootstrap import Interval


def make_report(**changes) -> EvaluationReport:
    outcomes = np.array([1.0, np.nan, 0.0])
    scores = [
        Score("zero_shot_top1", "zero-shot top-1", Interval(0.5, 0.0, 1.0), 2, 0.25, 0.5, 0.75, "mean", outcomes),
        Score("few_shot_5_way_1_shot", "5-way 1-shot", Interval(0.4, 0.3, 0.5), 3),
        Score("x_median_rank", "x, median rank", Interval(7.0, 3.0, 9.5), 3, statistic="median", outcomes=outcomes),
    ]
    fields = {"model": "org/encoder", "model_sha256": "0" * 64, "config_sha256": "c" * 64}
    fields |= {"benchmark": "toy", "split": "test"}
    fields |= {"ids": ["a", "b", "c"], "labels": np.array([1, -1, 0]), "num_classes": 4, "teacher": "t"}
    return EvaluationReport(**{**fields, "templates": None, "seed": 0, "scores": scores, **changes})
