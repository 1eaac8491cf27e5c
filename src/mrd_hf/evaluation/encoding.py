"""Encode a dataset's shapes the same way every time."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from datasets import Dataset
from torch import nn
from tqdm import tqdm
from transformers import FeatureExtractionMixin, PreTrainedModel

from ..data.triplet_schema import SHAPE_COLUMNS, check_columns


def encode_dataset(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    dataset: Dataset,
    batch_size: int = 64,
    progress: bool = False,
) -> torch.Tensor:
    """Encode all shapes of a triplet dataset, in its order.

    Args:
        model (`PreTrainedModel`):
            Has `get_point_features(point_values)`, as `PointBertModel` does. Left on its device and, afterwards, in
            the train or eval mode it came in.
        feature_extractor (`FeatureExtractionMixin`):
            Makes `point_values` (batch, num_points, 6) of points and colours, as `PointCloudFeatureExtractor` does.
        dataset (`datasets.Dataset`):
            With the columns `points` and `colors`.
        batch_size (`int`, defaults to 64):
            Shapes encoded at a time.
        progress (`bool`, defaults to `False`):
            Whether to show a progress bar.

    Returns:
        `torch.Tensor` of shape `(len(dataset), width)`: float32 on the CPU, un-normalised.

    Raises:
        UserError: If a column is missing or of another type.
    """
    check_columns(dataset.features, SHAPE_COLUMNS, "the dataset to encode")
    shapes = dataset.select_columns(["points", "colors"]).with_format("numpy")
    batches = (
        feature_extractor(list(rows["points"]), list(rows["colors"]), return_tensors="pt")["point_values"]
        for rows in shapes.iter(batch_size)
    )
    num_batches = -(-len(dataset) // batch_size)
    return encode_shapes(model, tqdm(batches, desc="Encoding shapes", total=num_batches, disable=not progress))


def encode_shapes(model: PreTrainedModel, point_values_batches: Iterable[torch.Tensor]) -> torch.Tensor:
    """Encode batches of prepared shapes, in eval mode and without autocast.

    Args:
        model (`PreTrainedModel`):
            Has `get_point_features(point_values)`.
        point_values_batches (iterable of `torch.Tensor` of shape `(batch, num_points, 6)`):
            xyz in the unit sphere and rgb in 0..1.

    Returns:
        `torch.Tensor` of shape `(num_shapes, width)`: float32 on the CPU, un-normalised.
    """
    device = next(model.parameters()).device
    with _eval_mode(model), torch.inference_mode(), torch.autocast(device.type, enabled=False):
        embeds = [model.get_point_features(batch.to(device)).float().cpu() for batch in point_values_batches]
    return torch.cat(embeds)  # outside inference mode, so that a probe can be trained on it


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; then each module back in its own mode (a part may be frozen in eval mode on purpose)."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
