"""Encoding a dataset: every shape in its place, the same each time, and the model left as it was."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Array2D, Dataset, Features
from torch import nn
from transformers import BatchFeature

from mrd_hf.errors import UserError
from mrd_hf.evaluation import encoding
from mrd_hf.evaluation.encoding import dataset_clouds, encode_clouds, encode_dataset, encode_shapes, read_ahead


class StubModel(nn.Module):
    """Its embedding tells the mean of the cloud, and whether dropout or autocast were on."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.dropout = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(4)
        self.batch_sizes: list[int] = []

    def get_point_features(self, point_values: torch.Tensor) -> torch.Tensor:
        assert point_values.dtype == torch.float32
        self.batch_sizes.append(len(point_values))
        return self.norm(self.dropout(self.linear(point_values.mean(dim=1))))


def stub_extractor(points, colors, up_axis, return_tensors):
    assert return_tensors == "pt" and up_axis == "y"
    clouds = [np.concatenate([xyz[:8], rgb[:8] / 255], axis=1) for xyz, rgb in zip(points, colors, strict=True)]
    return BatchFeature({"point_values": np.stack(clouds).astype(np.float32)}, tensor_type="pt")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return StubModel()


@pytest.fixture
def dataset():
    generator = np.random.default_rng(0)
    rows = [
        {
            "id": str(index),
            "points": generator.normal(size=(8 + index, 3)).astype(np.float16),
            "colors": generator.integers(0, 256, (8 + index, 3), dtype=np.uint8),
        }
        for index in range(7)
    ]
    features = Features({"points": Array2D((None, 3), "float16"), "colors": Array2D((None, 3), "uint8")})
    return Dataset.from_list(rows).cast(Features({**Dataset.from_list([{"id": "0"}]).features, **features}))


def test_every_shape_is_encoded_in_its_place(model, dataset):
    embeds = encode_dataset(model, stub_extractor, dataset, batch_size=3)
    assert model.batch_sizes == [3, 3, 1]
    assert embeds.shape == (7, 4)
    assert embeds.dtype == torch.float32
    model.eval()
    for index, row in enumerate(dataset):
        values = stub_extractor([np.array(row["points"])], [np.array(row["colors"])], "y", "pt")["point_values"]
        torch.testing.assert_close(embeds[index], model.get_point_features(values)[0].detach(), atol=1e-5, rtol=0)


def test_repeats_to_the_last_bit_and_under_autocast(model, dataset):
    model.train()
    first = encode_dataset(model, stub_extractor, dataset)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = encode_dataset(model, stub_extractor, dataset)
    assert torch.equal(first, again)


def test_a_process_without_shapes_gives_none(model, dataset, monkeypatch):
    """Of three that share two shapes; each gets all."""
    monkeypatch.setattr(model, "config", SimpleNamespace(embedding_dim=4), raising=False)
    parts = {}

    def encoded(index: int) -> torch.Tensor:
        state = SimpleNamespace(num_processes=3, process_index=index, is_main_process=index == 0)
        monkeypatch.setattr(encoding, "PartialState", lambda: state)
        monkeypatch.setattr(
            encoding, "gather_object", lambda part: parts.update({index: part[0]}) or list(parts.values())
        )
        return encode_clouds(model, stub_extractor, dataset_clouds(dataset), 2)

    found = [encoded(index) for index in range(3)][-1]
    assert [tuple(part.shape) for part in parts.values()] == [(1, 4), (1, 4), (0, 4)]
    assert torch.equal(found, encode_dataset(model, stub_extractor, dataset.select([0, 1]), batch_size=1))


def test_each_module_returns_to_its_own_mode(model, dataset):
    model.train()
    model.norm.eval()  # frozen on purpose
    statistics = model.norm.running_mean.clone()
    encode_dataset(model, stub_extractor, dataset)
    assert (model.training, model.dropout.training, model.norm.training) == (True, True, False)
    assert torch.equal(model.norm.running_mean, statistics)


def test_modes_return_after_an_error(model):
    model.train()
    with pytest.raises(RuntimeError):
        encode_shapes(model, [torch.zeros(1, 8, 5)])
    assert model.training and model.norm.training


def test_a_probe_can_be_trained_on_the_embeddings(model, dataset):
    embeds = encode_dataset(model, stub_extractor, dataset)
    probe = nn.Linear(4, 2)
    probe(embeds).sum().backward()
    assert probe.weight.grad is not None
    assert model.linear.weight.grad is None


def test_dataset_without_points_is_refused(model, dataset):
    with pytest.raises(UserError, match="no column 'points'"):
        encode_dataset(model, stub_extractor, dataset.remove_columns("points"))


def test_what_is_read_ahead_comes_in_order_one_before_it_is_asked_for():
    made = []
    items = read_ahead(made.append(number) or number for number in range(50))
    assert not made
    for number, item in enumerate(items):
        assert item == number and len(made) <= number + 2
    assert made == list(range(50))
    assert list(read_ahead([])) == []


def test_an_error_in_what_is_read_ahead_comes_in_its_place():
    items = read_ahead(1 / number for number in (2, 1, 0, 4))
    assert [next(items), next(items)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(items)


def test_products_are_exact_whatever_training_has_set(model, dataset):
    matmul, seen = torch.backends.cuda.matmul, []
    # Where torch has the newer name, the older one cannot be read meanwhile.
    model.linear.register_forward_hook(lambda *_: seen.append(getattr(matmul, "fp32_precision", "ieee")))
    before, matmul.allow_tf32 = matmul.allow_tf32, True
    try:
        encode_dataset(model, stub_extractor, dataset)
        assert matmul.allow_tf32
    finally:
        matmul.allow_tf32 = before
    assert seen == ["ieee"]
