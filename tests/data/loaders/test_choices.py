"""Which image and text is drawn: OpenShape's probabilities, others by weight, and numbers that look random."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from mrd_hf.data.loaders.choices import ChoiceConfig, pick_image, pick_text, uniform_draws
from mrd_hf.errors import UserError


FULL = ("name", "caption_blip", "caption_azure", "retrieval", "retrieval", "retrieval")


def drawn(count: int = 30_000, stream: int = 0) -> np.ndarray:
    return uniform_draws(3, stream, np.arange(count) // 1000, np.arange(count) % 1000)


def test_draws_are_uniform_and_uncorrelated():
    indices, epochs = np.tile(np.arange(2000), 5), np.repeat(np.arange(5), 2000)
    streams = [uniform_draws(0, stream, epochs, indices) for stream in (0, 1)]
    for draws in streams:
        assert stats.kstest(draws, "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.04
        assert abs(np.corrcoef(draws[:2000], draws[2000:4000])[0, 1]) < 0.08
    assert abs(np.corrcoef(*streams)[0, 1]) < 0.04


def openshapes_text(sources: tuple[str, ...], rng: np.random.Generator) -> int:
    """As its training code draws, for shapes that both captioners described."""
    kinds = []
    if "name" in sources:
        kinds.append(sources.index("name"))
    kinds.append(sources.index("caption_blip" if rng.random() < 0.5 else "caption_azure"))
    if "retrieval" in sources:
        kinds.append(rng.choice([i for i, s in enumerate(sources) if s == "retrieval"]))
    return int(rng.choice(kinds))


@pytest.mark.parametrize("sources", [FULL, FULL[1:], FULL[:3], FULL[1:3]])
def test_by_default_texts_are_drawn_as_openshape_draws_them(sources):
    probabilities = ChoiceConfig().text_probabilities(sources)
    ours = np.bincount([pick_text(draw, probabilities) for draw in drawn()], minlength=len(sources))
    rng = np.random.default_rng(0)
    theirs = np.bincount([openshapes_text(sources, rng) for _ in range(30_000)], minlength=len(sources))
    assert stats.chi2_contingency([ours, theirs]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("weights", "sources", "expected"),
    [
        # By hand.
        ({}, FULL, [1 / 3, 1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9]),
        ({}, ("name", "caption", "tags"), [1 / 3, 1 / 3, 1 / 3]),
        ({}, ("name", "name", "caption_blip"), [1 / 4, 1 / 4, 1 / 2]),
        ({"name": 3, "retrieval": 1}, FULL, [3 / 4, 0, 0, 1 / 12, 1 / 12, 1 / 12]),
        ({"name": 1, "caption": 1}, FULL, [1 / 2, 1 / 4, 1 / 4, 0, 0, 0]),
        ({"caption_blip": 3, "caption": 1}, FULL, [0, 3 / 4, 1 / 4, 0, 0, 0]),
        ({"name": 1, "caption_blip": 1}, ("name", "caption_azure"), [1, 0]),
        ({"name": 1}, ("caption_blip", "retrieval"), [1 / 2, 1 / 2]),
    ],
)
def test_probabilities_follow_the_weights(weights, sources, expected):
    probabilities = ChoiceConfig(weights).text_probabilities(sources)
    np.testing.assert_allclose(probabilities, expected)
    counts = np.bincount([pick_text(draw, probabilities) for draw in drawn()], minlength=len(sources))
    possible = np.flatnonzero(expected)
    assert counts.sum() == counts[possible].sum()
    if len(possible) > 1:
        assert stats.chisquare(counts[possible], 30_000 * np.array(expected)[possible]).pvalue > 1e-3


@settings(max_examples=60)
@example(["name", "name"], {"name": 5e-324}, 0.0)
@given(
    st.lists(st.sampled_from(["name", "caption", "caption_blip", "tags"]), min_size=1, max_size=8),
    st.dictionaries(st.sampled_from(["name", "caption", "caption_blip"]), st.floats(0, 1e6), max_size=3),
    st.floats(0, 1, exclude_max=True),
)
def test_a_text_is_always_picked_among_those_with_a_probability(sources, weights, draw):
    if weights and not any(weights.values()):
        return
    probabilities = ChoiceConfig(weights).text_probabilities(sources)
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[pick_text(draw, probabilities)] > 0


@pytest.mark.parametrize(("source", "first"), [("objaverse", 0.5), ("shapenet", 1 / 13), (None, 1 / 13)])
def test_the_first_image_has_its_share_for_the_sources_that_have_one(source, first):
    choice = ChoiceConfig({}, {"objaverse": 0.5})
    share = choice.first_image_share(source, 13)
    counts = np.bincount([pick_image(draw, 13, share) for draw in drawn()], minlength=13)
    assert stats.chisquare(counts, 30_000 * np.array([first] + [(1 - first) / 12] * 12)).pvalue > 1e-3


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 20), st.floats(0, 1))
def test_a_picked_image_exists(draw, count, first):
    share = ChoiceConfig({}, {"s": first}).first_image_share("s", count)
    assert 0 <= pick_image(draw, count, share) < count


def test_equal_texts_are_picked_as_before_there_were_weights():
    """What runs on the demo data saw: `int(draw * n)`."""
    for count in (1, 2, 4):
        sources = [f"kind{i}" for i in range(count)]
        probabilities = ChoiceConfig().text_probabilities(sources)
        draws = drawn(5000)
        assert [pick_text(draw, probabilities) for draw in draws] == [int(draw * count) for draw in draws]


def test_unknown_sources_are_found():
    choice = ChoiceConfig({"caption": 1, "caption_azure": 1, "nmae": 1}, {"objaverse": 0.1})
    assert choice.unknown_text_sources(FULL) == ["nmae"]
    assert choice.unknown_shape_sources(["objaverse", "abo"]) == []
    assert choice.unknown_shape_sources(["abo"]) == ["objaverse"]


@pytest.mark.parametrize(
    ("texts", "images", "message"),
    [
        ({"name": -1}, {}, "text_weights: 'name' must have a number of at least 0, got -1"),
        ({"name": float("inf")}, {}, "text_weights: 'name'"),
        ({"name": "much"}, {}, "text_weights: 'name'"),
        ({"name": True}, {}, "text_weights: 'name'"),
        ({"name": 0}, {}, "all weights are 0"),
        ({}, {"abo": 1.5}, "first_image_probability: 'abo' must be from 0 to 1, got 1.5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(texts, images, message):
    with pytest.raises(UserError, match=message):
        ChoiceConfig(texts, images)


def test_texts_of_one_source_share_evenly():
    counts = Counter(pick_text(draw, ChoiceConfig().text_probabilities(["name"] * 5)) for draw in drawn())
    assert stats.chisquare([counts[i] for i in range(5)]).pvalue > 1e-3
