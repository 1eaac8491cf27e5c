"""Courses of training, against numpy and as drawn."""

import numpy as np
import pytest

from mrd_hf.evaluation.ablation.arm_courses import HELD_OUT_KEYS, TRAINING_KEY, arm_course
from mrd_hf.evaluation.plots import course_plot
from mrd_hf.evaluation.plots.course_plot import write_courses


RECALL, TOP1 = HELD_OUT_KEYS
BASELINES = {"plain": None, "mrd": "plain", "small_plain": None, "small": "small_plain", "silent": "plain"}


def logs_of(rng, num_runs, steps=(10, 20, 30), held_out=(20, 30)):
    logs = []
    for _ in range(num_runs):
        log = [{"step": step, TRAINING_KEY: rng.random()} for step in steps]
        log += [{"step": step, RECALL: rng.random(), TOP1: rng.random()} for step in held_out]
        logs.append(sorted(log, key=lambda line: line["step"]))
    return logs


def test_means_and_spreads_are_numpys():
    logs = logs_of(np.random.default_rng(0), 4)
    for key, steps in ((TRAINING_KEY, [10, 20, 30]), (RECALL, [20, 30])):
        values = np.array([[line[key] for line in log if key in line] for log in logs])
        course = arm_course(logs, key)
        np.testing.assert_array_equal(course.steps, steps)
        np.testing.assert_allclose(course.means, values.mean(axis=0))
        np.testing.assert_allclose(course.spreads, values.std(axis=0, ddof=1))


def test_steps_that_a_run_lacks_are_left_out():
    rng = np.random.default_rng(1)
    logs = [*logs_of(rng, 2), *logs_of(rng, 1, steps=(10, 20), held_out=())]
    np.testing.assert_array_equal(arm_course(logs, TRAINING_KEY).steps, [10, 20])
    assert arm_course(logs, RECALL) is None
    assert arm_course([], RECALL) is None
    assert arm_course(logs[:1], RECALL).spreads.tolist() == [0, 0]


def courses_of(arms, rng):
    logs = {arm: logs_of(rng, 3) for arm in arms}
    return {arm: {key: arm_course(logs[arm], key) for key in (TRAINING_KEY, RECALL, TOP1)} for arm in arms}


def looks(figure):
    """Of the first panel each arm's color and style."""
    return {line.get_label(): (line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}


@pytest.fixture
def figures(monkeypatch):
    """Those that are saved."""
    saved, save = [], course_plot.save_figure
    monkeypatch.setattr(course_plot, "save_figure", lambda figure, path: (saved.append(figure), save(figure, path)))
    return saved


def test_an_arm_and_its_baseline_have_one_color_and_two_styles(tmp_path, figures):
    rng = np.random.default_rng(2)
    courses = courses_of([name for name in BASELINES if name != "silent"], rng)
    courses["silent"] = {TRAINING_KEY: arm_course(logs_of(rng, 3), TRAINING_KEY)}  # nothing held out
    assert write_courses(tmp_path / "courses.png", courses, BASELINES, "title")
    assert (tmp_path / "courses.png").stat().st_size > 10_000
    panels = [{line.get_label(): line for line in axes.lines} for axes in figures[0].axes]
    assert len(panels) == 3 and all(set(lines) == set(BASELINES) - {"silent"} for lines in panels)
    for lines in panels:
        assert lines["plain"].get_color() == lines["mrd"].get_color() != lines["small"].get_color()
        assert lines["small"].get_color() == lines["small_plain"].get_color()
        assert lines["plain"].get_linestyle() == "--" and lines["mrd"].get_linestyle() == "-"
    np.testing.assert_allclose(panels[0]["mrd"].get_ydata(), courses["mrd"][TRAINING_KEY].means)
    np.testing.assert_allclose(panels[1]["mrd"].get_ydata(), 100 * courses["mrd"][RECALL].means)


def test_arms_of_one_baseline_are_told_apart(tmp_path, figures):
    """Also one that is a baseline and compared itself; more of them than there are colors; and with --against."""
    arms = ["plain", "mrd", *(f"other{number}" for number in range(9))]
    courses = courses_of(arms, np.random.default_rng(3))
    baselines = dict.fromkeys(arms, "plain") | {"plain": None, "other0": "mrd", "other1": None}
    write_courses(tmp_path / "courses.png", courses, baselines, "title")
    write_courses(tmp_path / "courses.png", courses, {arm: None if arm == "mrd" else "mrd" for arm in arms}, "title")
    recipes, against = map(looks, figures)
    for found in (recipes, against):
        assert found.keys() == set(arms) and len(set(found.values())) == len(arms)
    assert recipes["plain"] == (recipes["mrd"][0], "--") and recipes["mrd"][1] == recipes["other1"][1] == "-"
    assert against["mrd"] == (against["plain"][0], "--") and against["plain"][1] == "-"
    assert [arm for arm in arms if recipes[arm][1] == "--"] == ["plain"]


@pytest.mark.parametrize("courses", [{}, {"plain": {}}])
def test_without_held_out_figures_nothing_is_drawn(tmp_path, courses):
    assert not write_courses(tmp_path / "courses.png", courses, BASELINES, "title")
    assert not list(tmp_path.iterdir())
