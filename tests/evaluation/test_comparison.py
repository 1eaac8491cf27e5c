"""Comparisons of two evaluations: of the same shapes alone, and as a loop over the shapes finds them."""

import numpy as np
import pytest
from tiny_reports import make_report

from mrd_hf.errors import UserError
from mrd_hf.evaluation.comparison import compare_evaluations, comparisons_as_dict, format_comparison
from mrd_hf.evaluation.report import Score
from mrd_hf.evaluation.scores.bootstrap import mean_interval, median_interval


LABELS = np.array([0, 0, 0, 1, 1, 2, -1])
IDS = [f"shape-{row}" for row in range(len(LABELS))]


def evaluation(folder, hits, ranks=range(7), **changes):
    outcomes = np.where(LABELS < 0, np.nan, hits).astype(float)
    ranks = np.array(ranks, dtype=float)
    interval = mean_interval(outcomes[:-1])
    scores = [
        Score("zero_shot_top1", "top-1", interval, 6, outcomes=outcomes),
        Score("zero_shot_class_mean", "class mean", interval, 6, statistic="class_mean", outcomes=outcomes),
        Score("x_median_rank", "median rank", median_interval(ranks), 7, statistic="median", outcomes=ranks),
    ]
    make_report(**{"ids": IDS, "labels": LABELS, "scores": scores, **changes}).save(folder)
    return folder


def test_differences_are_those_of_means_and_of_class_means(tmp_path):
    first = evaluation(tmp_path / "a", [1, 1, 1, 0, 1, 1, 0])
    second = evaluation(tmp_path / "b", [0, 1, 0, 0, 1, 1, 0])
    top1, class_mean, _ = compare_evaluations(first, second)
    assert (top1.key, class_mean.key) == ("zero_shot_top1", "zero_shot_class_mean")
    assert top1.paired.difference == pytest.approx(5 / 6 - 3 / 6)
    assert class_mean.paired.difference == pytest.approx((1 + 1 / 2 + 1) / 3 - (1 / 3 + 1 / 2 + 1) / 3)
    assert top1.paired.low <= top1.paired.difference <= top1.paired.high
    assert top1.first == pytest.approx(5 / 6) and top1.second == pytest.approx(3 / 6)
    (line,) = [line for line in format_comparison([top1]).split("\n") if line.startswith("top-1")]
    assert line.split()[:4] == ["top-1", "83.3", "50.0", "+33.3"]
    assert comparisons_as_dict([top1])[0]["p_value"] == top1.paired.p_value


def test_median_ranks_are_compared_as_ranks(tmp_path):
    hits = np.ones(len(LABELS))
    first = evaluation(tmp_path / "a", hits, ranks=[1, 1, 2, 3, 3, 4, 9])
    second = evaluation(tmp_path / "b", hits, ranks=[1, 2, 3, 4, 5, 6, 7])
    median = compare_evaluations(first, second)[-1]
    assert (median.statistic, median.first, median.second, median.paired.difference) == ("median", 3, 4, -1)
    (line,) = [line for line in format_comparison([median]).split("\n") if line.startswith("median rank")]
    assert line.split()[:5] == ["median", "rank", "3.0", "4.0", "-1.0"]
    assert comparisons_as_dict([median])[0]["statistic"] == "median"


def test_a_model_against_itself_differs_by_nothing(tmp_path):
    first = evaluation(tmp_path / "a", [1, 0, 1, 0, 1, 1, 0])
    for comparison in compare_evaluations(first, first):
        assert (comparison.paired.difference, comparison.paired.low, comparison.paired.high) == (0, 0, 0)
        assert comparison.paired.p_value == 1


def test_evaluations_of_other_shapes_are_refused(tmp_path):
    hits = np.ones(len(LABELS))
    first = evaluation(tmp_path / "a", hits)
    second = evaluation(tmp_path / "b", hits, ids=[*IDS[:-1], "another"])
    with pytest.raises(UserError, match="'shape-6' and 'another' as id of row 6.*one split"):
        compare_evaluations(first, second)
    with pytest.raises(UserError, match=f"{tmp_path / 'c'}: holds no evaluation"):
        compare_evaluations(first, tmp_path / "c")


def test_evaluations_without_a_common_figure_are_refused(tmp_path):
    first = evaluation(tmp_path / "a", np.ones(len(LABELS)))
    second = evaluation(tmp_path / "b", np.ones(len(LABELS)), scores=[])
    with pytest.raises(UserError, match="no figure in common"):
        compare_evaluations(first, second)
