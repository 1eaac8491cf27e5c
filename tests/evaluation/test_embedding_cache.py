"""Cached embeddings: read only where all that they depend on is the same."""

import os

import pytest
import torch

from mrd_hf.evaluation.embedding_cache import cached_embeds


FACTS = {"weights": "abc", "data": "123"}
EMBEDS = torch.arange(6.0).reshape(3, 2)


def fail() -> torch.Tensor:
    raise AssertionError("computed again")


def test_what_was_computed_is_read_again(tmp_path):
    assert torch.equal(cached_embeds(tmp_path, FACTS, 3, lambda: EMBEDS), EMBEDS)
    assert torch.equal(cached_embeds(tmp_path, FACTS, 3, fail), EMBEDS)


@pytest.mark.parametrize("facts", [{**FACTS, "data": "124"}, {**FACTS, "corruption": "jitter"}])
def test_other_facts_are_computed(tmp_path, facts):
    cached_embeds(tmp_path, FACTS, 3, lambda: EMBEDS)
    assert torch.equal(cached_embeds(tmp_path, facts, 3, lambda: EMBEDS + 1), EMBEDS + 1)
    assert torch.equal(cached_embeds(tmp_path, FACTS, 3, fail), EMBEDS)


@pytest.mark.parametrize("length", [0, 10, 60])
def test_a_file_cut_short_is_regenerated(tmp_path, length):
    cached_embeds(tmp_path, FACTS, 3, lambda: EMBEDS)
    (file,) = tmp_path.iterdir()
    os.truncate(file, length)
    assert torch.equal(cached_embeds(tmp_path, FACTS, 3, lambda: EMBEDS), EMBEDS)
    assert torch.equal(cached_embeds(tmp_path, FACTS, 3, fail), EMBEDS)


def test_another_number_of_shapes_is_computed(tmp_path):
    cached_embeds(tmp_path, FACTS, 3, lambda: EMBEDS)
    assert len(cached_embeds(tmp_path, FACTS, 2, lambda: EMBEDS[:2])) == 2
