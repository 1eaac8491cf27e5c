"""What a fine-tuned network says of shapes, as they are or in several versions that vote."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ...models.modeling_point_bert import PointBertForShapeClassification
from ...models.modeling_point_bert_parts import PointBertForPartSegmentation
from .labeled_clouds import LabeledClouds
from .network_building import Network


SCALES = (0.8, 1.2)  # of the versions after the first; as RS-CNN and Point-BERT vote


def class_probabilities(
    model: PointBertForShapeClassification,
    clouds: LabeledClouds,
    num_points: int,
    batch_size: int,
    votes: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """The probability of each class, `(num_shapes, num_classes)`, as the mean over versions of each shape.

    Args:
        model ([`PointBertForShapeClassification`]): Left in evaluation mode.
        clouds ([`LabeledClouds`])
        num_points (`int`), batch_size (`int`)
        votes (`int`, defaults to 1): The first version is what the feature extractor makes; the others have other
            points of the shape, where it has more, and another size.
        seed (`int`, defaults to 0): Of these.
    """
    total = np.zeros((len(clouds), model.num_labels))
    for vote in range(votes):
        for rows in _batches(clouds, batch_size):
            if vote == 0:
                values, _ = clouds.batch(rows, num_points)
            else:
                rngs = _generators(seed, vote, rows)
                drawn = (clouds.batch([row], num_points, rng)[0] for row, rng in zip(rows, rngs, strict=True))
                values = _scaled(np.concatenate(list(drawn)), rngs)
            total[rows] += _softmax(model, values, {})
    return total / votes


def part_predictions(
    model: PointBertForPartSegmentation,
    clouds: LabeledClouds,
    num_points: int,
    batch_size: int,
    votes: int = 1,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The predicted and the true part of each point that the network sees, both int64 `(num_shapes, num_points)`.

    Parts are chosen from those of the object's class, which is given. Arguments as for [`class_probabilities`];
    but all versions have the same points, so that each point gets its votes.
    """
    predicted, true = (np.empty((len(clouds), num_points), dtype=np.int64) for _ in range(2))
    for rows in _batches(clouds, batch_size):
        values, parts = clouds.batch(rows, num_points)
        assert parts is not None
        classes = torch.from_numpy(clouds.labels[rows])
        inputs = {"object_classes": classes.to(model.device)}
        scaled = (_scaled(values, _generators(seed, vote, rows)) for vote in range(1, votes))
        probabilities = sum(_softmax(model, version, inputs) for version in (values, *scaled))
        found = model.most_likely_parts(torch.as_tensor(probabilities), classes)
        predicted[rows], true[rows] = found.numpy(), parts
    return predicted, true


def _batches(clouds: LabeledClouds, batch_size: int) -> list[list[int]]:
    rows = list(range(len(clouds)))
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def _generators(seed: int, vote: int, rows: list[int]) -> list[np.random.Generator]:
    """One a shape, so that its versions are the same in any batch."""
    return [np.random.default_rng([seed, vote, row]) for row in rows]


def _scaled(values: np.ndarray, rngs: list[np.random.Generator]) -> np.ndarray:
    """A version of some shapes of another size; the given ones stay as they are, as others are made of them."""
    scaled = values.copy()
    scaled[..., :3] *= np.array([rng.uniform(*SCALES) for rng in rngs]).reshape(-1, 1, 1)
    return scaled


@contextmanager
def _own_forward(model: Network) -> Iterator[None]:
    """While it evaluates, a network has its class's forward, not accelerate's around it, which computes in the
    precision of training; training continues with that."""
    wrapped = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped


@torch.inference_mode()
def _softmax(model: Network, values: np.ndarray, inputs: dict[str, torch.Tensor]) -> np.ndarray:
    model.eval()
    with torch.autocast(model.device.type, enabled=False), _own_forward(model):
        logits = model(torch.from_numpy(values).to(model.device), **inputs).logits
    return logits.float().softmax(dim=1).cpu().numpy()
