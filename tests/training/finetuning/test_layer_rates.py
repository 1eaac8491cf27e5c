"""Learning rates by depth, against a loop over names."""

import pytest
import torch
from support.tiny_encoders import TINY, TINY_ULIP

from mrd_hf import PointBertConfig, PointBertForPartSegmentation, PointBertForShapeClassification
from mrd_hf.training.finetuning.layer_rates import layer_wise_groups


@pytest.mark.parametrize("fields", [TINY, TINY_ULIP], ids=["openshape", "ulip"])
@pytest.mark.parametrize("kind", [PointBertForShapeClassification, PointBertForPartSegmentation])
def test_each_parameter_has_the_rate_of_its_depth_once(kind, fields):
    model = kind(PointBertConfig(**fields, num_labels=4, object_parts={"a": [0, 1], "b": [2, 3]}))
    expected = {}
    for name, parameter in model.named_parameters():
        # Embeddings, three blocks, and what is above them.
        depth = 0 if ".embeddings." in name else 4
        for block in range(3):
            if f".layers.{block}." in name:
                depth = block + 1
        decay = 0.05 if name.endswith("weight") and parameter.dim() == 2 else 0.0
        expected[name] = (0.01 * 0.5 ** (4 - depth), decay)
    groups = layer_wise_groups(model, 3, learning_rate=0.01, weight_decay=0.05, layer_decay=0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [(names[id(p)], group["lr"], group["weight_decay"]) for group in groups for p in group["params"]]
    assert len(found) == len(expected)
    for name, rate, decay in found:
        assert (rate, decay) == pytest.approx(expected.pop(name))
    assert groups[-1]["lr"] == 0.01  # the head's, which the log shows
    assert len({group["lr"] for group in groups}) == 5


def test_without_decay_all_rates_are_alike():
    model = PointBertForShapeClassification(PointBertConfig(**TINY))
    assert {group["lr"] for group in layer_wise_groups(model, 3, 0.01, 0.05, 1.0)} == {0.01}
    torch.optim.AdamW(layer_wise_groups(model, 3, 0.01, 0.05, 0.75))
