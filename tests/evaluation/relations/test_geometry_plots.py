"""What the pictures of spectra, classes and forms show."""

import numpy as np
import pytest

from mrd_hf.evaluation.relations import geometry_plots
from mrd_hf.evaluation.relations.embedding_spectrum import variance_shares
from mrd_hf.evaluation.relations.form_behavior import TEMPERATURES, compare_forms
from mrd_hf.evaluation.relations.geometry_plots import binned_medians, write_form_plot, write_geometry_plot
from mrd_hf.evaluation.relations.relation_analysis import analyze_relations
from mrd_hf.evaluation.relations.relation_report import compare_analyses


CLASSES = [*"aaabbbccc", None]


def embeddings(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {modality: rng.normal(size=(10, 4)) for modality in ("point", "image", "text")}


@pytest.fixture
def drawn(monkeypatch):
    """Figures instead of files."""
    figures = []
    monkeypatch.setattr(geometry_plots, "save_figure", lambda figure, path: figures.append(figure))

    def draw(write, *content):
        write("unused.png", *content, "a title")
        return figures[-1]

    return draw


def test_spectra_are_lines_and_classes_bars_beside_the_images(drawn):
    after = embeddings()
    before = {**after, "point": embeddings(7)["point"]}
    analyses = [analyze_relations(embeds, (3,), classes=CLASSES) for embeds in (before, after)]
    rows = compare_analyses(*analyses)
    spectrum, classes = drawn(write_geometry_plot, *analyses, rows).axes
    assert [line.get_label().split(" (")[0] for line in spectrum.lines] == [
        "shapes before",
        "shapes after",
        "images",
        "texts",
    ]
    shares = variance_shares(analyses[1].singular_values["point"]).numpy()
    np.testing.assert_allclose(spectrum.lines[1].get_ydata(), shares)
    of_shapes = [row for row in rows if row.group == "classes_point"]
    assert len(of_shapes) == 6
    for bars, moment in zip(classes.containers[:2], ("before", "after"), strict=True):
        assert [bar.get_height() for bar in bars] == pytest.approx([getattr(row, moment) for row in of_shapes])
    of_images = [row.after for row in rows if row.group == "classes_image"]
    (dotted,) = classes.collections
    assert [segment[0, 1] for segment in dotted.get_segments()] == pytest.approx(of_images)


def test_without_classes_the_spectra_are_alone(drawn):
    analysis = analyze_relations(embeddings(), (3,))
    rows = compare_analyses(analysis, analysis)
    assert len(drawn(write_geometry_plot, analysis, analysis, rows).axes) == 1


def test_forms_are_drawn_with_their_entropies_and_gradients(drawn):
    found = compare_forms(embeddings(), 0.1)
    entropies, gradients, shares, _ = drawn(write_form_plot, found, 0.1).axes
    lines = {line.get_label(): line for line in entropies.lines}
    np.testing.assert_allclose(lines["partial order"].get_ydata(), found.forms["partial_order"].teacher_entropy)
    close = 1 - found.variance / (2 * np.array(TEMPERATURES) ** 2 * np.log(9))
    np.testing.assert_allclose(lines["log n - var(s) / (2 tau²)"].get_ydata(), close)
    # At a high temperature the second order is all that there is.
    assert close[-1] == pytest.approx(found.forms["normalized_similarity"].teacher_entropy[-1], abs=2e-2)
    x, y = binned_medians(found.distances, found.forms["euclidean"].gradient)
    np.testing.assert_allclose(gradients.lines[1].get_xdata(), x)
    np.testing.assert_allclose(gradients.lines[1].get_ydata(), y)
    np.testing.assert_allclose(shares.lines[0].get_ydata(), found.forms["normalized_similarity"].cumulative)


def test_medians_are_of_bins_with_enough_in_them():
    x = np.concatenate([np.linspace(0, 0.01, 9), [5.0], np.linspace(9.99, 10, 7)])
    values = np.arange(17.0)
    places, medians = binned_medians(x, values)
    assert medians.tolist() == [4.0, 13.0] and places == pytest.approx([0.005, 9.995])
    assert binned_medians(np.ones(6), np.arange(6.0))[1].tolist() == [2.5]
