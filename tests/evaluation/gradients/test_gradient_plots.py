"""What the pictures of gradients show: the report's figures, and runs that have other terms."""

import numpy as np
import pytest

from mrd_hf.evaluation.gradients import gradient_plots
from mrd_hf.evaluation.gradients.gradient_plots import write_cosine_plot, write_matrix_plot, write_norm_plot


ALIGNMENT = ["point_image", "point_text", "alignment", "loss"]
ALL = [
    "point_image",
    "point_text",
    "intra_text",
    "cross_text_image",
    "alignment",
    "intra",
    "cross",
    "relations",
    "loss",
]


def checkpoint(step: int, rows: list[str]) -> dict:
    generator = np.random.default_rng(step)

    def matrix() -> list:
        return generator.uniform(-1, 1, (len(rows), len(rows))).tolist()

    def of(extra: dict) -> dict:
        norms = {name: {"mean": generator.uniform(1, 2), "spread": 0.1} for name in rows}
        return {"norms": norms, "cosines": {"rows": rows, "mean": matrix(), "spread": matrix()}, **extra}

    return {"step": step, "encoder": of({"of_mean": {"cosines": matrix()}}), "embeddings": of({})}


@pytest.fixture
def runs() -> dict:
    return {
        "mrd": [checkpoint(step, ALL) for step in (0, 5, 10)],
        "contrastive": [checkpoint(s, ALIGNMENT) for s in (0, 8)],
    }


@pytest.fixture
def drawn(monkeypatch):
    """Figures instead of files."""
    figures = []
    monkeypatch.setattr(gradient_plots, "save_figure", lambda figure, path: figures.append(figure))

    def draw(write, runs):
        write("unused.png", runs)
        return figures[-1]

    return draw


def test_norms_are_lines_over_the_steps(drawn, runs):
    figure = drawn(write_norm_plot, runs)
    assert len(figure.axes) == 6
    lines = {line.get_label(): line for line in figure.axes[2].lines}
    assert set(lines) == set(ALL[4:]) and {line.get_label() for line in figure.axes[0].lines} == set(ALL[:4])
    np.testing.assert_array_equal(lines["intra"].get_xdata(), [0, 5, 10])
    expected = [c["encoder"]["norms"]["intra"]["mean"] for c in runs["mrd"]]
    np.testing.assert_allclose(lines["intra"].get_ydata(), expected)
    of_embeddings = {line.get_label(): line for line in figure.axes[5].lines}
    expected = [c["embeddings"]["norms"]["loss"]["mean"] for c in runs["contrastive"]]
    np.testing.assert_allclose(of_embeddings["loss"].get_ydata(), expected)


def test_cosines_are_a_line_a_run_that_has_the_terms_and_a_dashed_one_of_the_mean_gradient(drawn, runs):
    figure = drawn(write_cosine_plot, runs)
    panel, alignment = figure.axes[0], figure.axes[2]
    assert panel.get_title() == "intra and cross" and alignment.get_title() == "alignment with images and with texts"
    zero, solid, dashed = panel.lines[:3]
    i, j = ALL.index("intra"), ALL.index("cross")
    np.testing.assert_allclose(solid.get_ydata(), [c["encoder"]["cosines"]["mean"][i][j] for c in runs["mrd"]])
    np.testing.assert_allclose(dashed.get_ydata(), [c["encoder"]["of_mean"]["cosines"][i][j] for c in runs["mrd"]])
    assert zero.get_ydata()[0] == 0 and dashed.get_linestyle() == "--"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mrd", "contrastive"]
    assert len(drawn(write_cosine_plot, {"one": runs["contrastive"]}).axes) == 2


def test_matrices_are_of_the_last_checkpoints_with_names_where_they_differ(drawn, runs):
    figure = drawn(write_matrix_plot, runs)
    for panel, name, which in zip(figure.axes, [*runs, *runs], ["encoder"] * 2 + ["embeddings"] * 2, strict=False):
        last = runs[name][-1][which]["cosines"]
        np.testing.assert_allclose(panel.images[0].get_array(), last["mean"])
        labels = [label.get_text() for label in panel.get_yticklabels()]
        assert labels == [row.replace("_", " ") for row in last["rows"]]
    shown = {text.get_text() for text in figure.axes[0].texts}
    assert f"{runs['mrd'][-1]['encoder']['cosines']['mean'][0][1]:.2f}" in shown
    twice = drawn(write_matrix_plot, {"a": runs["mrd"], "b": runs["mrd"]})
    assert {label.get_text() for label in twice.axes[1].get_yticklabels()} == {""}


def test_what_is_not_known_is_left_out(drawn, runs):
    for row in runs["mrd"][1]["encoder"]["cosines"]["mean"]:
        row[:] = [None] * len(row)
    runs["mrd"][1]["encoder"]["cosines"]["spread"] = [[None] * 9] * 9
    figure = drawn(write_cosine_plot, runs)
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_xdata(), [0, 10])
    drawn(write_matrix_plot, {"mrd": runs["mrd"][:2]})
