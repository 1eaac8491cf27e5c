"""Comparisons of two evaluations: of the same shapes alone, and as a loop over the shapes finds them."""

import inspect

import numpy as np
import pytest
from tiny_reports import make_report

from mrd_hf.errors import UserError
from mrd_hf.evaluation import comparison
from mrd_hf.evaluation.comparison import compare_evaluations, comparisons_as_dict, format_comparison
from mrd_hf.evaluation.report import Score
from mrd_hf.evaluation.scores.bootstrap import mean_interval, median_interval
from mrd_hf.evaluation.scores.corruptions import CORRUPTIONS


LABELS = np.array([0, 0, 0, 1, 1, 2, -1])
IDS = [f"shape-{row}" for row in range(len(LABELS))]


def evaluation(folder, hits, ranks=range(7), **changes):
    outcomes = np.where(LABELS < 0, np.nan, hits).astype(float)
    ranks = np.array(ranks, dtype=float)
    interval = mean_interval(outcomes[~np.isnan(outcomes)])
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


@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_shape_without_a_label_counts_for_no_class_wherever_it_is(tmp_path, monkeypatch, place):
    """Classes' means are of the labelled shapes, in their order."""
    labels = np.insert(np.array([0, 0, 0, 1, 1, 2]), place, -1)
    monkeypatch.setattr("test_comparison.LABELS", labels)
    hits = [np.insert(of, place, 0) for of in ([1, 1, 1, 0, 1, 1], [0, 1, 0, 0, 1, 1])]
    first, second = (evaluation(tmp_path / name, of) for name, of in zip("ab", hits, strict=True))
    class_mean = compare_evaluations(first, second)[1]
    assert class_mean.paired.difference == pytest.approx((1 + 1 / 2 + 1) / 3 - (1 / 3 + 1 / 2 + 1) / 3)


def test_the_seed_is_that_of_every_interval(tmp_path, monkeypatch):
    drawn = []
    for name in ("paired_difference", "paired_median_difference"):
        called = getattr(comparison, name)
        signature = inspect.signature(called)

        def recorded(*given, called=called, signature=signature, **named):
            drawn.append(signature.bind(*given, **named).arguments["seed"])
            return called(*given, **named)

        monkeypatch.setattr(comparison, name, recorded)
    folder = evaluation(tmp_path / "a", [1, 0, 1, 0, 1, 1, 0])
    assert len(compare_evaluations(folder, folder, seed=7)) == 3 and drawn == [7, 7, 7]


def test_median_ranks_are_compared_as_ranks(tmp_path):
    hits = np.ones(len(LABELS))
    first = evaluation(tmp_path / "a", hits, ranks=[1, 1, 2, 3, 3, 4, 9])
    second = evaluation(tmp_path / "b", hits, ranks=[1, 2, 3, 4, 5, 6, 7])
    median = compare_evaluations(first, second)[-1]
    assert (median.statistic, median.first, median.second, median.paired.difference) == ("median", 3, 4, -1)
    (line,) = [line for line in format_comparison([median]).split("\n") if line.startswith("median rank")]
    assert line.split()[:5] == ["median", "rank", "3.0", "4.0", "-1.0"]
    assert comparisons_as_dict([median])[0]["statistic"] == "median"


def test_variants_of_scanobjectnn_are_other_clouds_under_the_same_ids(tmp_path):
    names = ("scanobjectnn-obj_only", "scanobjectnn-obj_bg")
    first, second = (evaluation(tmp_path / name, np.ones(len(LABELS)), benchmark=name) for name in names)
    with pytest.raises(UserError, match="are of scanobjectnn-obj_only and scanobjectnn-obj_bg"):
        compare_evaluations(first, second)
    # A dataset that was renamed is the same.
    others = (evaluation(tmp_path / name, np.ones(len(LABELS)), benchmark=name) for name in ("mine", "yours"))
    assert compare_evaluations(*others)


def test_a_model_against_itself_differs_by_nothing(tmp_path):
    first = evaluation(tmp_path / "a", [1, 0, 1, 0, 1, 1, 0])
    for found in compare_evaluations(first, first):
        assert (found.paired.difference, found.paired.low, found.paired.high) == (0, 0, 0)
        assert found.paired.p_value == 1


def test_evaluations_of_other_shapes_are_refused(tmp_path):
    hits = np.ones(len(LABELS))
    first = evaluation(tmp_path / "a", hits)
    second = evaluation(tmp_path / "b", hits, ids=[*IDS[:-1], "another"])
    with pytest.raises(UserError, match="'shape-6' and 'another' as id of row 6.*one split"):
        compare_evaluations(first, second)
    with pytest.raises(UserError, match=f"{tmp_path / 'c'}: holds no evaluation"):
        compare_evaluations(first, tmp_path / "c")


def test_evaluations_among_other_classes_are_refused(tmp_path):
    """Of the same labels: class texts that append classes leave them as they are."""
    hits = np.ones(len(LABELS))
    first = evaluation(tmp_path / "a", hits, num_classes=34)
    second = evaluation(tmp_path / "b", hits, num_classes=66)
    with pytest.raises(UserError, match=r"'zero_shot_top1' is among 34 classes in one and 66 in the other; .*classes"):
        compare_evaluations(first, second)
    tuned = [Score("fine_tuned_top1", "top-1", mean_interval(hits), 7, outcomes=hits)]
    first = evaluation(tmp_path / "c", hits, num_classes=34, scores=tuned)
    second = evaluation(tmp_path / "d", hits, num_classes=66, scores=tuned)
    with pytest.raises(UserError, match="'fine_tuned_top1' is among 34 classes in one and 66 in the other"):
        compare_evaluations(first, second)
    # What has nothing to do with the classes is compared.
    images = [Score("shape_to_image_recall_at_1", "recall", mean_interval(hits), 7, outcomes=hits)]
    first = evaluation(tmp_path / "e", hits, num_classes=34, scores=images)
    second = evaluation(tmp_path / "f", hits, num_classes=66, scores=images)
    assert [found.key for found in compare_evaluations(first, second)] == [images[0].key]


def test_other_class_lists_are_called_so(tmp_path):
    hits = np.ones(len(LABELS))
    first = evaluation(tmp_path / "a", hits)
    second = evaluation(tmp_path / "b", hits, labels=LABELS[::-1].copy())
    with pytest.raises(UserError, match="have other class lists.*'shape-0' has the label 0 in one and -1 in the"):
        compare_evaluations(first, second)


def test_scores_of_shapes_that_were_corrupted_differently_are_refused(tmp_path):
    """Other seeds; the parts of classes, with a slash too, were not corrupted."""
    hits = np.ones(len(LABELS))
    corrupted = Score(f"zero_shot_top1/{CORRUPTIONS[0].name}", "corrupted", mean_interval(hits), 7, outcomes=hits)
    parts = Score("part_miou/chair", "chair", mean_interval(hits), 7, outcomes=hits)
    first = evaluation(tmp_path / "a", hits, scores=[corrupted, parts])
    second = evaluation(tmp_path / "b", hits, scores=[corrupted, parts], seed=1)
    with pytest.raises(UserError, match=f"'{corrupted.key}' is of shapes corrupted by --seed 0 in one and 1 in"):
        compare_evaluations(first, second)
    second = evaluation(tmp_path / "c", hits, scores=[parts], seed=1)
    assert [found.key for found in compare_evaluations(first, second)] == ["part_miou/chair"]


def test_evaluations_without_a_common_figure_are_refused(tmp_path):
    first = evaluation(tmp_path / "a", np.ones(len(LABELS)))
    second = evaluation(tmp_path / "b", np.ones(len(LABELS)), scores=[])
    with pytest.raises(UserError, match="no figure in common"):
        compare_evaluations(first, second)
