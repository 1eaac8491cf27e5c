"""The counts that scripts/model_sizes.py prints against a count by hand."""

import runpy

import pytest
from support.paths import SCRIPTS

from mrd_hf import PointBertConfig


SCRIPT = runpy.run_path(str(SCRIPTS / "model_sizes.py"))


@pytest.mark.parametrize("name", ["openshape-1", "openshape-vitb32"])
def test_flops_are_those_of_the_layers(name):
    config = PointBertConfig.from_preset(name)
    width, depth, tokens = config.hidden_size, config.num_hidden_layers, config.num_patches + 1
    narrow, feature = config.patch_hidden_size, config.patch_feature_size
    points = config.num_patches * config.patch_size
    products = points * (9 * narrow + narrow * narrow + narrow * feature)
    products += config.num_patches * (3 + feature) * width
    products += depth * tokens * (4 * width * width + 2 * width * config.intermediate_size)
    products += depth * 2 * tokens * tokens * width  # attention: queries by keys, probabilities by values
    products += width * (config.projection_dim or 0)
    row = SCRIPT["size_row"](name, num_points=1000)
    assert row.split("|")[-2].strip() == f"{2 * products / 1e9:.2f}"
    assert row.split("|")[1].strip() == f"`{name}`"
