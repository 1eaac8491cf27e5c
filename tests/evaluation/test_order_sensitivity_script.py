"""scripts/order_sensitivity.py, against encoders whose sensitivity is known."""

import runpy
import sys

import pytest
import torch
from support.paths import SCRIPTS
from support.tiny_encoders import clouds, tiny_encoder
from support.tiny_triplets import save_tiny_triplets

from mrd_hf import PointCloudFeatureExtractor


SCRIPT = runpy.run_path(str(SCRIPTS / "order_sensitivity.py"))


def report(tmp_path, monkeypatch, capsys, **changes) -> str:
    tiny_encoder("openshape", **changes).save_pretrained(tmp_path / "model")
    PointCloudFeatureExtractor(num_points=96).save_pretrained(tmp_path / "model")
    arguments = ["--model", tmp_path / "model", "--dataset", save_tiny_triplets(tmp_path / "data"), "--orders", 3]
    monkeypatch.setattr(sys, "argv", ["order_sensitivity.py", *map(str, arguments)])
    SCRIPT["main"]()
    return capsys.readouterr().out


def test_patches_around_and_of_all_points_do_not_know_their_order(tmp_path, monkeypatch, capsys):
    found = report(tmp_path, monkeypatch, capsys, num_patches=96, patch_radius=3.0, patch_size=96)
    assert "the same order twice     bit-equal" in found
    assert "cosine                   median 1.0000, 1 in 100 below 1.0000" in found


def test_crowded_patches_do(tmp_path, monkeypatch, capsys):
    found = report(tmp_path, monkeypatch, capsys, num_patches=4, patch_radius=1.0, patch_size=4)
    assert "the same order twice     bit-equal" in found
    assert "relative difference      median 0.0000" not in found


def test_each_cloud_is_shuffled_as_a_whole():
    points = clouds()
    found = SCRIPT["shuffled"](points, torch.Generator().manual_seed(0))
    orders = []
    for cloud, other in zip(points, found, strict=True):
        orders.append([int((cloud == row).all(1).nonzero()) for row in other])
        assert sorted(orders[-1]) == list(range(200))
    assert orders[0] != orders[1]


@pytest.mark.parametrize("orders", ["0", "-1"])
def test_needs_an_order(monkeypatch, orders):
    monkeypatch.setattr(sys, "argv", ["x", "--model", "m", "--dataset", "d", "--orders", orders])
    with pytest.raises(Exception, match="--orders must be at least 1"):
        SCRIPT["main"]()
