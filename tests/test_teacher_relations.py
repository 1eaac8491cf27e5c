"""The figures about the teacher's relations that the page of evidence argues with."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats
from support.paths import DEMO_DATA, SCRIPTS

from mrd_hf.data.resplitting.name_splits import splits_of_names
from mrd_hf.models.configuration_mrd import MRDConfig
from mrd_hf.models.relation_distillation import normalized_similarity, self_pairs
from mrd_hf.training.ablation.recipe import read_ablation


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS / "evidence")
    import teacher_relations

    return teacher_relations


def unit_rows(seed, *shape):
    rows = np.random.default_rng(seed).normal(size=shape)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_relations_are_those_that_the_objective_distills(script):
    """Within a modality without a sample's relation to itself, across two with it."""
    embeds = {"image": unit_rows(0, 9, 4), "text": unit_rows(1, 9, 4)}
    same = self_pairs(9, 9, 0, torch.device("cpu"))
    for row, column in script.TERMS:
        cosines = torch.from_numpy(embeds[row] @ embeds[column].T)
        masked = same if MRDConfig().mask_self_pairs and row == column else None
        expected = normalized_similarity(cosines, 0.07, masked).exp()
        expected = expected[~same].reshape(9, 8) if row == column else expected
        np.testing.assert_allclose(script.relation(embeds, row, column, 0.07), expected.numpy(), rtol=1e-6)


def test_shapes_are_those_that_the_arms_train_on(script):
    """443 to 477 of a division, as the page of evidence says."""
    counts = [len(part["image"]) for part in script.training_parts(DEMO_DATA / "data")]
    assert counts == [len(part["text"]) for part in script.training_parts(DEMO_DATA / "data")]
    assert len(counts) == 3 and all(443 <= count <= 477 for count in counts)


def test_an_even_relation_is_about_all_and_a_certain_one_about_one(script):
    assert script.num_about(np.full((2, 8), 1 / 8)) == pytest.approx(8)
    assert script.num_about(np.eye(8)) == pytest.approx(1)
    halves = np.array([[0.5, 0.25, 0.25]])
    assert script.num_about(halves) == pytest.approx(math.exp(1.5 * math.log(2)))


def test_worse_teachers_are_those_of_the_arms(script):
    rng = np.random.default_rng(0)
    embeds = {kind: rng.normal(size=(40, 6)) for kind in ("image", "text")}
    embeds = {kind: x / np.linalg.norm(x, axis=1, keepdims=True) for kind, x in embeds.items()}
    worse = dict(script.worse_teachers(embeds, seed=0))
    half = worse["50% of images wrong"]
    assert (half["image"] != embeds["image"]).any(axis=1).sum() == 20 and half["text"] is embeds["text"]
    assert worse.keys() >= {"10% of images wrong", "30% of images wrong"}
    # Noise of norm s at right angles to an embedding turns it to a cosine of 1 / sqrt(1 + s^2), in many dimensions.
    wide = {"image": unit_rows(2, 200, 300), "text": unit_rows(3, 200, 300)}
    noisy = dict(script.worse_teachers(wide, seed=0))
    for strength in (0.25, 0.5, 1.0):
        for kind, of_kind in noisy[f"noise of {strength}"].items():
            cosines = (of_kind * wide[kind]).sum(axis=1)
            assert cosines.mean() == pytest.approx(1 / math.sqrt(1 + strength**2), abs=0.02)


def test_correlations_are_scipys(script):
    first, second = unit_rows(0, 5, 7), unit_rows(1, 5, 7)
    expected = stats.pearsonr(first.ravel(), (first + second).ravel()).statistic
    assert script.correlation(first, first + second) == pytest.approx(expected)


def test_each_shape_has_its_first_image_and_text(script, tmp_path):
    """Of shapes that have several of them, in the rows that a division trains on."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "name": "".join(chr(97 + number % 26) for _ in range(3 + number // 26)),
            "image_embeds": rng.normal(size=(2, 4)),
            "text_embeds": rng.normal(size=(3, 4)),
        }
        for number in range(30)
    ]
    as_lists = [{key: value if key == "name" else value.tolist() for key, value in row.items()} for row in rows]
    pq.write_table(pa.Table.from_pylist(as_lists), tmp_path / "train.parquet")
    recipe = read_ablation("arms")
    for split, part in zip(recipe.splits, script.training_parts(tmp_path), strict=True):
        names = [row["name"] for row in rows]
        places = splits_of_names(names, recipe.test_share, recipe.validation_share, split)
        for kind in ("image", "text"):
            chosen = [row[f"{kind}_embeds"][0] for row, of in zip(rows, places, strict=True) if of == "train"]
            expected = np.array(chosen) / np.linalg.norm(chosen, axis=1, keepdims=True)
            np.testing.assert_allclose(part[kind], expected)


def test_the_table_has_the_figures_of_the_relations(script, monkeypatch, capsys):
    """Of one division and one batch that is all of it, computed again."""
    part = {"image": unit_rows(0, 64, 8), "text": unit_rows(1, 64, 8)}
    monkeypatch.setattr(script, "training_parts", lambda folder: [part])
    monkeypatch.setattr(script, "BATCHES", ((64, 0.07),))
    monkeypatch.setattr("sys.argv", ["teacher_relations.py", "--batches", "1"])
    script.main()
    table = capsys.readouterr().out.splitlines()
    logits = part["image"] @ part["text"].T / 0.07
    relations = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    about = np.exp(stats.entropy(relations, axis=1)).mean()
    assert table[2].endswith(f"| {about:.1f} ({about / 64:.0%}) | {np.diagonal(relations).mean():.0%} |")
    within = part["image"] @ part["image"].T / 0.07
    others = [np.exp(np.delete(row, number)) for number, row in enumerate(within)]
    about = np.mean([np.exp(stats.entropy(row)) for row in others])
    assert f"| 64 | 0.07 | {about:.1f} ({about / 63:.0%}) |" in table[2]
