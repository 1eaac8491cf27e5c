"""What the pictures of kept relations show: which pairs, and embeddings that are all alike."""

import warnings

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from mrd_hf.evaluation.relations import relation_plots
from mrd_hf.evaluation.relations.relation_analysis import analyze_relations
from mrd_hf.evaluation.relations.relation_plots import (
    drawn_pairs,
    write_divergence_plot,
    write_measures_plot,
    write_similarity_plot,
)
from mrd_hf.evaluation.relations.relation_report import compare_analyses


def embeddings(count=9, width=4):
    generator = np.random.default_rng(0)
    rows = {modality: generator.normal(size=(count, width)) for modality in ("point", "image", "text")}
    return {modality: e / np.linalg.norm(e, axis=1, keepdims=True) for modality, e in rows.items()}


@pytest.fixture
def drawn(monkeypatch):
    """Figures instead of files."""
    figures = []
    monkeypatch.setattr(relation_plots, "save_figure", lambda figure, path: figures.append(figure))

    def draw(write, *content):
        write("unused.png", *content, "a title")
        assert figures[-1].get_suptitle() == "a title"
        return figures[-1]

    return draw


@pytest.fixture
def before_and_after():
    after = embeddings()
    return {**after, "point": np.random.default_rng(7).normal(size=after["point"].shape)}, after


def test_similarities_are_drawn_once_a_pair_of_shapes_before_above_after(drawn, before_and_after):
    figure = drawn(write_similarity_plot, *before_and_after)
    panels = {panel.get_title(): panel for panel in figure.axes}
    names = ("image-image", "text-text", "image-text", "text-image")
    assert list(panels)[:8] == [f"{name}, {moment}" for moment in ("before", "after") for name in names]
    for moment, embeds in zip(("before", "after"), before_and_after, strict=True):
        shapes = embeds["point"] / np.linalg.norm(embeds["point"], axis=1, keepdims=True)
        (mesh,) = panels[f"image-text, {moment}"].collections
        counts = np.ma.filled(mesh.get_array(), 0).reshape(relation_plots.NUM_BINS, relation_plots.NUM_BINS)
        assert counts.sum() == 9 * 9
        edges = mesh.get_coordinates()[:, 0, 1]
        in_3d = np.histogram((shapes @ embeds["text"].T).ravel(), bins=edges)[0]
        np.testing.assert_array_equal(counts.sum(axis=1), in_3d)
    assert panels["image-text, after"].get_xlabel() == "teacher's cosine, image to text"
    assert panels["image-text, after"].get_ylabel() == "cosine in 3D, shape to text"
    assert figure.axes[-1].get_ylabel() == "pairs"


def test_divergences_are_drawn_of_every_shape_with_their_medians(drawn, before_and_after):
    analyses = [analyze_relations(embeds, (1, 3)) for embeds in before_and_after]
    figure = drawn(write_divergence_plot, *analyses)
    assert [panel.get_title() for panel in figure.axes] == ["image-image", "text-text", "image-text", "text-image"]
    for panel, name in zip(figure.axes, relation_plots.RELATIONS, strict=True):
        for patches, moment, analysis in zip(panel.containers, ("before", "after"), analyses, strict=True):
            rows = analysis.relations[name].divergence
            assert sum(bar.get_height() for bar in patches) == len(rows) == 9
            assert patches[0].get_label() == f"{moment} (median {np.median(rows):.2f})"
            line = next(line for line in panel.lines if line.get_color() == relation_plots.COLORS[moment])
            assert line.get_xdata()[0] == pytest.approx(np.median(rows))


def test_measures_are_bars_with_their_values_and_chance(drawn, before_and_after):
    rows = compare_analyses(*(analyze_relations(embeds, (1, 3)) for embeds in before_and_after))
    figure = drawn(write_measures_plot, rows)
    panels = {panel.get_title(): panel for panel in figure.axes if panel.get_title()}
    assert len(panels) == 7 and "3 nearest neighbours kept (1 is best)" in panels
    panel = panels["Linear CKA of shapes with (1 is best)"]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["images", "texts"]
    shown = [row for row in rows if row.measure == "cka"]
    for bars, moment in zip(panel.containers, ("before", "after"), strict=True):
        values = [getattr(row, moment) for row in shown]
        assert [bar.get_height() for bar in bars] == pytest.approx(values)
        assert {to_hex(bar.get_facecolor()) for bar in bars} == {relation_plots.COLORS[moment]}
        assert {f"{value:.2f}" for value in values} <= {text.get_text() for text in panel.texts}
    chances = sorted(segment[0, 1] for lines in panel.collections for segment in lines.get_segments())
    assert chances == pytest.approx(sorted(c for row in shown for c in (row.chance_before, row.chance_after)))


def test_all_pairs_of_few_shapes_and_of_many_the_same_sample(monkeypatch):
    embeds = embeddings()
    teacher, student = drawn_pairs(embeds, "cross_image_text")
    np.testing.assert_allclose(teacher, (embeds["image"] @ embeds["text"].T).ravel(), atol=1e-8)
    np.testing.assert_allclose(student, (embeds["point"] @ embeds["text"].T).ravel(), atol=1e-8)
    monkeypatch.setattr(relation_plots, "MAX_SHAPES", 5)
    for name, count in (("cross_image_text", 5 * 5), ("intra_image", 5 * 4)):
        first, again = drawn_pairs(embeds, name), drawn_pairs(embeds, name)
        assert len(first[0]) == len(first[1]) == count
        np.testing.assert_array_equal(first, again)
    sampled = set(zip(*np.round(drawn_pairs(embeds, "cross_image_text"), 6), strict=True))
    assert len(sampled) == 25 and sampled < set(zip(*np.round((teacher, student), 6), strict=True))


def test_collapsed_embeddings_and_names_like_formulas_draw_without_a_warning(tmp_path):
    after = embeddings()
    before = {**after, "point": np.ones((9, 4))}
    analyses = [analyze_relations(embeds, (1, 3)) for embeds in (before, after)]
    title = "a $folder_{$" + "/of a long path" * 30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_similarity_plot(tmp_path / "similarities.png", before, after, title)
        write_measures_plot(tmp_path / "measures.png", compare_analyses(*analyses), title)
        write_divergence_plot(tmp_path / "divergences.png", *analyses, title)
    pictures = sorted(tmp_path.iterdir())
    assert [picture.name for picture in pictures] == ["divergences.png", "measures.png", "similarities.png"]
    for picture in pictures:
        with Image.open(picture) as opened:
            opened.load()
