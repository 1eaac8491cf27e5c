"""The table of an ablation against numpy, from reports as `mrd-hf evaluate` writes them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrd_hf.errors import UserError
from mrd_hf.evaluation.ablation.arm_scores import RunOutcomes, arm_scores, mixed_pairs, read_outcomes
from mrd_hf.evaluation.ablation.arm_table import as_json, as_markdown
from mrd_hf.evaluation.plots import ablation_plots
from mrd_hf.evaluation.plots.ablation_plots import CurvePoint, write_curves, write_forest
from mrd_hf.evaluation.report import EvaluationReport
from mrd_hf.evaluation.scores.crossed_bootstrap import crossed_difference
from mrd_hf.evaluation.scoring import retrieval_scores, zero_shot_scores


ARMS = {"plain": None, "mrd": "plain", "never": "plain"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Reports of two arms, three splits and two seeds, with 30 of 50 shapes each; `mrd` is better on purpose."""
    out, rng, found = tmp_path_factory.mktemp("runs"), np.random.default_rng(0), {}
    images, classes = rng.standard_normal((50, 8)), rng.standard_normal((4, 8))
    labels = rng.integers(-1, 4, 50)
    for split in range(3):
        rows = np.sort(rng.permutation(50)[:30])
        ids = [f"shape {row}" for row in rows]
        for seed in range(2):
            for arm, noise in (("plain", 1.5), ("mrd", 0.7)):
                embeds = images[rows] + rng.standard_normal((30, 8)) * noise
                embeds += np.where(labels[rows, None] >= 0, classes[labels[rows]], 0)
                scores = zero_shot_scores(embeds, classes, labels[rows])
                scores += retrieval_scores("shape_to_image", "shape to image", embeds, images[rows], ids, ids)
                folder = out / arm / f"{split}-{seed}"
                EvaluationReport("m", "0", "0", "b", "validation", ids, labels[rows], 4, "t", None, 0, scores).save(
                    folder
                )
                found.setdefault(arm, {})[split, seed] = read_outcomes(folder)
    return found


def test_means_spreads_and_differences_are_numpys(runs):
    by_key = {(score.arm, score.key): score for score in arm_scores(runs, ARMS, 6)}
    for key in ("zero_shot_top1", "shape_to_image_recall_at_5"):
        values = {arm: np.array([[runs[arm][s, n].values[key] for n in (0, 1)] for s in range(3)]) for arm in runs}
        for arm in runs:
            score = by_key[arm, key]
            assert (score.num_runs, score.num_planned) == (6, 6)
            assert score.mean == pytest.approx(values[arm].mean())
            assert score.spread == pytest.approx(np.sqrt(values[arm].var(axis=1, ddof=1).mean()))
        found = by_key["mrd", key]
        assert (found.num_pairs, found.num_splits, found.baseline) == (6, 3, "plain")
        assert found.difference.difference == pytest.approx((values["mrd"] - values["plain"]).mean())
        assert found.difference.low < found.difference.difference < found.difference.high
        assert found.excludes_zero and by_key["plain", key].difference is None
    # A median is no mean over shapes, and the classes' mean is one of another kind.
    assert not {key for _, key in by_key} & {"shape_to_image_median_rank", "zero_shot_class_mean"}


def test_shapes_of_a_group_are_resampled_together(runs):
    """Of one pair, where all shapes are one group, every resample is the sample."""
    one = {arm: {(0, 0): found[0, 0]} for arm, found in runs.items()}
    scores, alone = (
        [score.difference for score in arm_scores(one, ARMS, 6, group_of=group_of) if score.num_pairs]
        for group_of in (lambda shape: "all", None)
    )
    for together, by_itself in zip(scores, alone, strict=True):
        assert together.low == together.high == pytest.approx(together.difference)
        assert together.difference == by_itself.difference
    assert any(difference.low < difference.high for difference in alone)


def test_values_are_the_means_of_what_each_shape_contributes(runs):
    for outcomes in runs["mrd"].values():
        for key, values in outcomes.outcomes.items():
            assert outcomes.values[key] == pytest.approx(np.nanmean(values))
        assert np.isnan(outcomes.outcomes["zero_shot_top1"]).any()  # those without a label


def test_an_arm_without_runs_and_runs_without_a_partner_are_told(runs):
    fewer = {"plain": {place: runs["plain"][place] for place in list(runs["plain"])[:3]}, "mrd": runs["mrd"]}
    rows = [score for score in arm_scores(fewer, ARMS, 6) if score.key == "zero_shot_top1"]
    assert [(score.arm, score.num_runs, score.num_pairs) for score in rows] == [
        ("plain", 3, 0),
        ("mrd", 6, 3),
        ("never", 0, 0),
    ]
    table = as_markdown(rows, "A title", ["A line."])
    assert "| plain | 3 of 6 |" in table and "| mrd | 6 |" in table
    assert "| never | 0 of 6 | - | - | plain | - | - | 0 | - |" in table
    assert table.count("| 3 (2 splits) |") == 2  # of the overview and of the score


def test_of_one_split_no_interval_is_said_to_exclude_0(runs, monkeypatch, tmp_path):
    """Its other splits may differ by more than the interval knows of; the interval itself stays."""
    one = {arm: {place: found for place, found in of_arm.items() if place[0] == 0} for arm, of_arm in runs.items()}
    for num_planned, pairs in ((6, "2 (1 split)"), (2, "2")):
        (score,) = [s for s in arm_scores(one, ARMS, num_planned) if (s.arm, s.key) == ("mrd", "zero_shot_top1")]
        assert score.difference.low > 0 and (score.num_pairs, score.num_splits) == (2, 1)
        assert not score.excludes_zero and score.as_dict()["excludes_zero"] is False
        table = as_markdown([score], "A title", ["A line."])
        assert f"| {pairs} | one split |\n" in table and f"| mrd | plain | {pairs} |" in table
        assert "**" not in table.partition("## All differences")[2]
    figures = []
    monkeypatch.setattr(ablation_plots, "save_figure", lambda figure, path: figures.append(figure))
    assert write_forest(tmp_path / "a.png", [score], "t")
    assert [line.get_color() for line in figures[0].axes[0].lines if line.get_gid()] == [ablation_plots.UNCLEAR]


def test_runs_of_two_kinds_of_cpus_are_no_pair(runs):
    """Where both are known; (0, 0) has two kinds, (1, 1) is known of one run alone."""
    kinds = {"plain": {(0, 0): "AVX2", (0, 1): "AVX2", (2, 0): "AVX512"}}
    kinds["mrd"] = {(0, 0): "AVX512", (0, 1): "AVX2", (1, 1): "AVX512", (2, 0): "AVX512"}
    known = {
        arm: {place: replace(found, processor=kinds[arm].get(place)) for place, found in of_arm.items()}
        for arm, of_arm in runs.items()
    }
    without = {arm: {place: found for place, found in runs[arm].items() if place != (0, 0)} for arm in runs}
    assert mixed_pairs(known, ARMS) == [("mrd", "plain", (0, 0))] and mixed_pairs(runs, ARMS) == []
    for score, expected in zip(arm_scores(known, ARMS, 6), arm_scores(without, ARMS, 6), strict=True):
        assert (score.difference, score.num_pairs) == (expected.difference, expected.num_pairs)
        assert score.num_runs == expected.num_runs + (score.arm in runs)
    (kept,) = {found.of_shapes(found.ids[:3]).processor for found in (known["mrd"][2, 0],)}
    assert kept == "AVX512"


def test_the_markdown_has_the_figures_of_the_json(runs):
    scores = arm_scores(runs, ARMS, 6)
    content = json.loads(as_json(scores, {"split": "validation"}))
    assert content["split"] == "validation" and len(content["scores"]) == len(scores)
    table = as_markdown(scores, "A title", ["A line."])
    assert table.startswith("# A title\n\nA line.\n\n")
    (found,) = [s for s in content["scores"] if (s["arm"], s["key"]) == ("mrd", "zero_shot_top1")]
    difference, pairs = found["difference"], found["num_pairs"]
    low, high = f"{100 * difference['low']:+.1f}", f"{100 * difference['high']:+.1f}"
    cells = f"| plain | {100 * difference['difference']:+.1f} | {low} to {high} | {pairs} | yes |"
    section = table.partition(f"## {found['title']}\n")[2].partition("##")[0]
    assert f"| mrd | 6 | {100 * found['mean']:.1f} | {100 * found['spread']:.1f} {cells}" in section
    overview = table.partition("## All differences\n")[2].partition("##")[0]
    assert f"| mrd | plain | {pairs} | **{100 * difference['difference']:+.1f} ({low} to {high})** |" in overview
    shown = [s for s in content["scores"] if s["difference"] is not None and f"| {s['title']} |" in overview]
    assert overview.count("**") == 2 * sum(s["excludes_zero"] for s in shown)
    for score in shown:
        low = f"{100 * score['difference']['low']:+.1f}".replace("-", "\N{MINUS SIGN}")
        assert f"({low} to " in overview


def test_some_shapes_alone(runs):
    """Those of odd numbers, of which one that is in no run."""
    chosen = {f"shape {number}" for number in range(1, 50, 2)} | {"shape 99"}
    some = {arm: {place: found.of_shapes(chosen) for place, found in of_arm.items()} for arm, of_arm in runs.items()}
    (score,) = [s for s in arm_scores(some, ARMS, 6) if (s.arm, s.key) == ("mrd", "zero_shot_top1")]
    means, gains = [], []
    for place, found in runs["mrd"].items():
        kept = [row for row, shape in enumerate(found.ids) if int(shape.split()[1]) % 2]
        ours, others = (of.outcomes["zero_shot_top1"][kept] for of in (found, runs["plain"][place]))
        means.append(np.nanmean(ours))
        gains.append(np.nanmean(ours - others))
    assert score.mean == pytest.approx(np.mean(means)) and score.difference.difference == pytest.approx(np.mean(gains))
    assert score.num_pairs == 6 and {len(found.ids) for found in some["mrd"].values()} != {30}


def outcomes(values, key="top1"):
    values = np.asarray(values, dtype=np.float64)
    ids = tuple(f"shape {number}" for number in range(len(values)))
    return RunOutcomes(ids, {key: float(np.nanmean(values))}, {key: values}, {key: key})


def test_splits_are_resampled_whole_and_seeds_within_them():
    """Gains that are of the split alone: two seeds tell no more of it than one."""
    rng, gain = np.random.default_rng(0), {0: 0.0, 1: 0.3, 2: 0.9}
    plain = {(split, seed): outcomes(rng.random(40)) for split in gain for seed in (0, 1)}
    better = {place: outcomes(found.outcomes["top1"] + gain[place[0]]) for place, found in plain.items()}
    *_, score = arm_scores({"plain": plain, "mrd": better}, {"plain": None, "mrd": "plain"}, 6)
    matrix = np.repeat([[0.0], [0.3], [0.9]], 2, axis=0) + np.zeros((6, 40))
    expected = crossed_difference(matrix, np.array([0, 0, 1, 1, 2, 2]))
    assert [score.difference.low, score.difference.high] == pytest.approx([expected.low, expected.high])
    # All three draws are of one split once in 9 resamples, of the first two alone in 8 of 27.
    assert (score.difference.low, score.difference.high) == (pytest.approx(0.0), pytest.approx(0.9))


def test_an_arm_that_is_the_other_one_excludes_nothing():
    plain = {(split, 0): outcomes([0.0, 1, 0, 1]) for split in range(3)}
    *_, score = arm_scores({"plain": plain, "mrd": plain}, {"plain": None, "mrd": "plain"}, 3)
    assert (score.difference.low, score.difference.high) == (0, 0) and score.excludes_zero is False
    for low, high, excludes in ((0.0, 1.0, False), (-1.0, 0.0, False), (0.1, 1.0, True), (-1.0, -0.1, True)):
        assert replace(score, difference=replace(score.difference, low=low, high=high)).excludes_zero is excludes


def test_runs_that_score_other_shapes_of_the_same_are_not_compared():
    runs = {"plain": {(0, 0): outcomes([0.0, 1, 0, np.nan])}, "mrd": {(0, 0): outcomes([0.0, 1, 0, 1])}}
    with pytest.raises(UserError, match="not scored on the same shapes by 'top1'"):
        arm_scores(runs, {"plain": None, "mrd": "plain"}, 1)


def test_a_score_that_one_run_lacks_is_a_pair_less():
    plain = {(split, 0): outcomes([0.0, 1, 0, 1]) for split in range(3)}
    other = plain | {(2, 0): outcomes([0.0, 1, 0, 1], key="mAP")}
    for found, against in ((plain, other), (other, plain)):
        scores = arm_scores({"plain": against, "mrd": found}, {"plain": None, "mrd": "plain"}, 3)
        pairs = {score.key: (score.num_runs, score.num_pairs) for score in scores if score.arm == "mrd"}
        assert pairs["top1"][1] == 2
    # The overview tells of the most pairs that the arm has in any score.
    both = {place: merged(found, outcomes([1.0, 0, 1, 1], key="zero_shot_top1")) for place, found in plain.items()}
    scores = arm_scores(
        {"plain": both, "mrd": both | {(2, 0): outcomes([1.0, 0, 1, 1], key="zero_shot_top1")}},
        {"plain": None, "mrd": "plain"},
        3,
    )
    overview = as_markdown(scores, "A title", ["A line."]).partition("## All differences\n")[2].partition("##")[0]
    assert "| mrd | plain | 3 |" in overview


def merged(one, other):
    return RunOutcomes(one.ids, one.values | other.values, one.outcomes | other.outcomes, one.titles | other.titles)


def test_another_seed_draws_another_interval(runs):
    bounds = {
        (score.difference.low, score.difference.high)
        for seed in (0, 1)
        for score in arm_scores(runs, ARMS, 6, seed=seed)
        if (score.arm, score.key) == ("mrd", "zero_shot_top1")
    }
    assert len(bounds) == 2


def test_runs_of_other_shapes_are_not_compared(runs):
    mixed = {"plain": {(0, 0): runs["plain"][1, 0]}, "mrd": {(0, 0): runs["mrd"][0, 0]}}
    with pytest.raises(UserError, match="split 0, seed 0: two arms were not scored on the same shapes"):
        arm_scores(mixed, ARMS, 1)


def png_size(file: Path) -> tuple[int, int]:
    data = file.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def test_the_pictures_are_there_and_the_same_each_time(runs, tmp_path):
    scores = arm_scores(runs, ARMS, 6)
    points = [CurvePoint("plain", 0.01, "fixed"), CurvePoint("mrd", 1.0, "fixed"), CurvePoint("never", 2.0, "learned")]
    for name in ("first", "second"):
        assert write_forest(tmp_path / f"{name}.png", scores, "A $title$")
        assert write_curves(tmp_path / f"{name}-curve.png", scores, "temperature", points)
    for kind in ("", "-curve"):
        first, second = (tmp_path / f"{name}{kind}.png" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes() and min(png_size(first)) > 200


def test_arms_of_one_place_on_a_line_are_both_drawn(runs, monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(ablation_plots, "save_figure", lambda figure, path: figures.append(figure))
    points = [CurvePoint("mrd", 0.3, ""), CurvePoint("plain", 0.3, ""), CurvePoint("plain", 0.1, "")]
    assert write_curves(tmp_path / "a.png", arm_scores(runs, ARMS, 6), "relation weight", points)
    assert figures[0].axes[0].lines[0].get_xdata().tolist() == [0.1, 0.3, 0.3]


def drawn(monkeypatch, scores, path):
    """Of each panel of a forest plot the labels of its rows, and the points as (row, percent)."""
    figures = []
    monkeypatch.setattr(ablation_plots, "save_figure", lambda figure, path: figures.append(figure))
    assert write_forest(path, scores, "t")
    panels = []
    for axes in figures[0].axes:
        points = {
            line.get_gid(): (line.get_ydata()[0], line.get_xdata()[0])
            for line in axes.lines
            if line.get_marker() == "o"
        }
        panels.append(([label.get_text() for label in axes.get_yticklabels()], points))
    return panels


def test_one_arm_is_drawn_with_all_figures_of_the_table(runs, monkeypatch, tmp_path):
    scores = arm_scores(runs, ARMS, 6)
    ((labels, points),) = drawn(monkeypatch, scores, tmp_path / "a.png")
    shown = ["zero_shot_top1", "zero_shot_top5", "shape_to_image_recall_at_1", "shape_to_image_recall_at_10"]
    expected = {key: next(s for s in scores if (s.arm, s.key) == ("mrd", key)) for key in shown}
    assert labels == [score.title for score in expected.values()]
    for place, (key, score) in enumerate(expected.items()):
        assert points[f"{key}:mrd"] == (place, pytest.approx(100 * score.difference.difference))


def test_of_several_arms_each_is_a_row(runs, monkeypatch, tmp_path):
    scores = arm_scores(runs | {"never": dict(list(runs["plain"].items())[:2])}, ARMS, 6)
    panels = drawn(monkeypatch, scores, tmp_path / "a.png")
    assert len(panels) == 2 and panels[0][0] == ["mrd (6 pairs)", "never (2 pairs)"]
    assert [row for row, _ in panels[0][1].values()] == [0, 1]


def test_nothing_to_draw(runs, tmp_path):
    scores = arm_scores({"plain": runs["plain"]}, ARMS, 6)
    assert not write_forest(tmp_path / "a.png", scores, "t")
    assert not write_curves(tmp_path / "a.png", scores, "t", [CurvePoint("never", 1, "")])
    assert not (tmp_path / "a.png").exists()
