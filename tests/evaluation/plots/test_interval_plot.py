"""Bar charts of reports: bars, intervals and marks stand where the figures are, for one model and for several."""

import copy
import warnings

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from PIL import Image

from mrd_hf.evaluation.plots import interval_plot
from mrd_hf.evaluation.plots.interval_plot import COLORS, write_interval_bars, write_robustness_bars


def metric(key, title, value, low, high, chance, majority=None, teacher=None):
    return {
        "key": key,
        "title": title,
        "value": value,
        "low": low,
        "high": high,
        "num_shapes": 113,
        "chance": chance,
        "majority": majority,
        "teacher": teacher,
    }


def make_report(model="outputs/encoder", sha256="0123456789abcdef", benchmark="modelnet40"):
    return {
        "version": 1,
        "model": {"name": model, "sha256": sha256},
        "benchmark": {"name": benchmark, "split": "test", "num_shapes": 2468, "num_classes": 40},
        "teacher": "teacher",
        "templates": None,
        "seed": 0,
        "metrics": [
            metric("zero_shot_top1", "zero-shot top-1 (40 classes)", 0.575, 0.53, 0.61, 0.025, 0.1, 0.6),
            metric("shape_to_image_recall_at_1", "shape to image, recall at 1", 0.2, 0.15, 0.24, 0.004),
            metric("shape_to_image_median_rank", "shape to image, median rank", 12.0, 9.0, 17.0, 1234.5),
            metric("zero_shot_top1/without_color", "zero-shot top-1, without color", 0.4, 0.35, 0.45, 0.025),
            metric("zero_shot_top1/thinned_512", "zero-shot top-1, 512 points", 0.6, 0.55, 0.65, 0.025),
        ],
    }


@pytest.fixture
def drawn(monkeypatch):
    """Figures instead of files."""
    figures = []
    monkeypatch.setattr(interval_plot, "save_figure", lambda figure, path: figures.append(figure))

    def draw(write, *reports):
        write("unused.png", reports)
        return figures[-1]

    return draw


def bars(panel):
    return {bar.get_gid(): bar for bar in panel.patches}


def segments(panel):
    """Horizontal and vertical ones, each as (x from, x to, y from, y to)."""
    lines = [path for group in panel.collections if isinstance(group, LineCollection) for path in group.get_segments()]
    return [(*line[:, 0], *line[:, 1]) for line in lines if len(line)]


def test_bars_intervals_and_marks_are_where_the_figures_say(drawn):
    shares, ranks = drawn(write_interval_bars, make_report()).axes
    assert {key: bar.get_width() for key, bar in bars(shares).items()} == {
        "zero_shot_top1:0": pytest.approx(57.5),
        "shape_to_image_recall_at_1:0": pytest.approx(20),
    }
    assert bars(ranks)["shape_to_image_median_rank:0"].get_width() == 12
    found = segments(shares)
    top1 = bars(shares)["zero_shot_top1:0"]
    middle, edges = top1.get_y() + top1.get_height() / 2, (pytest.approx(-0.4), pytest.approx(0.4))
    assert (pytest.approx(53), pytest.approx(61), pytest.approx(middle), pytest.approx(middle)) in found
    assert (pytest.approx(2.5), pytest.approx(2.5), *edges) in found  # chance
    assert (pytest.approx(10), pytest.approx(10), *edges) in found  # majority
    (teacher,) = [line for line in shares.lines if line.get_marker() == "D"]
    np.testing.assert_allclose(teacher.get_xydata(), [[60, middle]])
    assert (pytest.approx(9), pytest.approx(17), pytest.approx(0), pytest.approx(0)) in segments(ranks)
    assert ranks.get_xscale() == "log" and shares.get_xlim() == (0, 100)
    texts = [text.get_text() for text in (*shares.texts, *ranks.texts)]
    assert {"57.5 [53.0, 61.0]", "20.0 [15.0, 24.0]", "12 [9, 17]"} < set(texts)
    assert shares.get_title("left") == "modelnet40 (test, 2,468 shapes)"
    assert [tick.get_text() for tick in shares.get_yticklabels()] == [
        "zero-shot top-1 (40 classes)",
        "shape to image, recall at 1",
    ]


def test_models_of_one_benchmark_share_a_panel_and_keep_their_colors(drawn):
    first, second = make_report(), make_report("peer/$model$")
    second["metrics"] = second["metrics"][:1]
    elsewhere = make_report("peer/$model$", benchmark="scanobjectnn")
    elsewhere["metrics"] = elsewhere["metrics"][:1]
    figure = drawn(write_interval_bars, first, second, elsewhere)
    shares, _, other = figure.axes
    for key, color in (("zero_shot_top1:0", COLORS[0]), ("zero_shot_top1:1", COLORS[1])):
        assert bars(shares)[key].get_facecolor() == to_rgba(color)
    assert "shape_to_image_recall_at_1:1" not in bars(shares)  # which the second report lacks
    (bar,) = other.patches
    assert bar.get_facecolor() == to_rgba(COLORS[1]) and bar.get_height() > 0.7
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["outputs/encoder", "peer/$model$", "chance", "majority class", "the teacher's images"]


def test_models_of_one_name_are_told_apart(drawn):
    figure = drawn(write_interval_bars, make_report(sha256="aaaaaaaaaa"), make_report(sha256="bbbbbbbbbb"))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["outputs/encoder (aaaaaaaa)", "outputs/encoder (bbbbbbbb)"]


def test_more_models_than_colors_are_hatched(drawn):
    figure = drawn(write_interval_bars, *(make_report(f"model {number}") for number in range(8)))
    first, seventh = (bars(figure.axes[0])[f"zero_shot_top1:{number}"] for number in (0, 6))
    assert first.get_facecolor() == seventh.get_facecolor() and first.get_hatch() != seventh.get_hatch()


def test_an_interval_that_leaves_out_the_value(drawn):
    report = make_report()
    report["metrics"] = [metric("zero_shot_top1", "top-1", 0.5, 0.55, 0.6, None)]
    (panel,) = drawn(write_interval_bars, report).axes
    assert (pytest.approx(50), pytest.approx(60), pytest.approx(0), pytest.approx(0)) in segments(panel)
    assert "50.0 [55.0, 60.0]" in [text.get_text() for text in panel.texts]


def test_robustness_has_a_row_a_corruption_and_the_way_it_has_fallen(drawn):
    other = make_report("another")
    other["metrics"][0]["value"] = 0.6
    (panel,) = drawn(write_robustness_bars, make_report(), other).axes
    assert panel.get_title("left") == "modelnet40 (test, 2,468 shapes): zero-shot top-1 (40 classes)"
    assert [tick.get_text() for tick in panel.get_yticklabels()] == ["as they are", "without color", "thinned 512"]
    assert bars(panel)["zero_shot_top1/without_color:1"].get_width() == pytest.approx(40)
    texts = [text.get_text() for text in panel.texts]
    assert "57.5 [53.0, 61.0]" in texts
    assert "40.0 [35.0, 45.0]  \N{MINUS SIGN}17.5" in texts and "40.0 [35.0, 45.0]  \N{MINUS SIGN}20.0" in texts
    assert "60.0 [55.0, 65.0]  +2.5" in texts and "60.0 [55.0, 65.0]  ±0.0" in texts
    lines = [line for line in panel.lines if len(line.get_xdata()) == 2 and line.get_ydata()[1] == 1]
    assert [line.get_xdata()[0] for line in lines] == [pytest.approx(57.5), pytest.approx(60)]


def test_robustness_without_a_score_of_the_shapes_as_they_are(drawn):
    report = make_report()
    report["metrics"] = report["metrics"][3:]
    (panel,) = drawn(write_robustness_bars, report).axes
    assert [tick.get_text() for tick in panel.get_yticklabels()] == ["without color", "thinned 512"]
    assert "40.0 [35.0, 45.0]" in [text.get_text() for text in panel.texts]


@pytest.mark.parametrize("write", [write_interval_bars, write_robustness_bars])
def test_files_of_a_size_to_look_at_and_of_the_same_bytes(tmp_path, write):
    reports = [make_report(), make_report("a $model_{$" + "/of a long path" * 20)]
    before = copy.deepcopy(reports)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(tmp_path / "one.png", reports)
    write(tmp_path / "two.png", reports)
    assert reports == before
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as image:
        assert image.width == 1430 and 400 < image.height < 900


def test_nothing_to_draw():
    report = make_report()
    report["metrics"] = report["metrics"][:1]
    with pytest.raises(ValueError, match="no metric under a corruption"):
        write_robustness_bars("unused.png", [report])
    report["metrics"] = []
    with pytest.raises(ValueError, match="no metric"):
        write_interval_bars("unused.png", [report])
