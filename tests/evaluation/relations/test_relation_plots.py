"""What the pictures of kept relations show: which pairs, and embeddings that are all alike."""

import warnings

import numpy as np
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
    for picture in tmp_path.iterdir():
        with Image.open(picture) as opened:
            assert opened.width > 1000
