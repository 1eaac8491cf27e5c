"""The presets against the published sizes of OpenShape's and ULIP's networks."""

import pytest
import torch

from mrd_hf import POINT_BERT_PRESETS, PointBertConfig, PointBertModel


# In millions. OpenShape counts its scalings with the projection of width 1280, ULIP its own without it.
PUBLISHED = {
    "openshape-1": 5.10,
    "openshape-2": 13.35,
    "openshape-3": 25.95,
    "openshape-4": 32.33,
    "openshape-5": 72.07,
    "openshape-6": 171.26,
    "openshape-vitl14": 25.69,
    "openshape-vitb32": 25.30,
    "ulip-2": 32.5,
}


def millions_of_parameters(name: str) -> float:
    changes = {"projection_dim": None} if name.startswith("ulip") else {}
    with torch.device("meta"):
        model = PointBertModel(PointBertConfig.from_preset(name, **changes))
    return sum(p.numel() for p in model.parameters()) / 1e6


@pytest.mark.parametrize("name", PUBLISHED)
def test_has_the_published_number_of_parameters(name):
    assert millions_of_parameters(name) == pytest.approx(PUBLISHED[name], abs=0.01)


def test_the_largest_is_about_as_large_as_mrds():
    """The paper says 307M, not with which widths: ours are those of ViT-L."""
    assert millions_of_parameters("mrd-307m") == pytest.approx(307, rel=0.015)


def test_ulips_first_is_its_second_with_fewer_blocks_and_no_colors():
    second = PointBertConfig.from_preset("ulip-2", num_hidden_layers=12, patch_colors=False, projection_dim=512)
    assert PointBertConfig.from_preset("ulip").to_dict() == second.to_dict()


def test_every_preset_is_checked():
    assert set(POINT_BERT_PRESETS) == {*PUBLISHED, "mrd-307m", "ulip"}


def test_changes_win_over_the_preset():
    config = PointBertConfig.from_preset("openshape-vitl14", projection_dim=None, patch_dropout=0.5)
    assert (config.projection_dim, config.patch_dropout, config.num_patches) == (None, 0.5, 64)


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="no preset 'openshape-7'; choose one of openshape-1, .*mrd-307m"):
        PointBertConfig.from_preset("openshape-7")
