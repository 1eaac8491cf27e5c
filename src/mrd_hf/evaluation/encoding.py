"""Encode a benchmark's or a dataset's shapes the same way every time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal, TypeVar, cast

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from torch import nn
from tqdm import tqdm
from transformers import FeatureExtractionMixin, PreTrainedModel

from ..data.schema import SHAPE_COLUMNS, check_columns
from ..models.float32_products import exact_float32_products
from ..models.shapes import ColoredPoints


Item = TypeVar("Item")
# Reads the clouds of some rows, in their order; `Benchmark.shapes` is one, [`dataset_clouds`] makes one.
CloudReader = Callable[[Sequence[int]], Sequence[ColoredPoints]]


def dataset_clouds(dataset: Dataset) -> CloudReader:
    """A reader of a triplet dataset's points and colors.

    Raises:
        UserError: If a column is missing or of another type.
    """
    check_columns(dataset.features, SHAPE_COLUMNS, "the dataset to encode")
    shapes = dataset.select_columns(["points", "colors"]).with_format("numpy")

    def read(rows: Sequence[int]) -> list[ColoredPoints]:
        batch = shapes[[int(row) for row in rows]]
        return [ColoredPoints(*cloud) for cloud in zip(batch["points"], batch["colors"], strict=True)]

    return read


def encode_clouds(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    read: CloudReader,
    num_shapes: int,
    up_axis: Literal["y", "z"] = "y",
    batch_size: int = 64,
    progress: str | None = None,
) -> torch.Tensor:
    """Encode shapes, in their order; several processes (`accelerate launch`) share them out, and each gets all.

    Args:
        model (`PreTrainedModel`):
            Has `get_point_features(point_values)`, as `PointBertModel` does. Left on its device and, afterwards, in
            the train or eval mode it came in.
        feature_extractor (`FeatureExtractionMixin`):
            Makes `point_values` (batch, num_points, 6) of points and colours, as `PointCloudFeatureExtractor` does.
        read ([`CloudReader`])
        num_shapes (`int`): How many there are.
        up_axis (`"y"` or `"z"`, defaults to `"y"`): Which axis points up in the clouds.
        batch_size (`int`, defaults to 64): Shapes encoded at a time.
        progress (`str`, *optional*): What the progress bar is called; without it there is none.

    Returns:
        `torch.Tensor` of shape `(num_shapes, embedding_dim)`: float32 on the CPU, un-normalised.
    """
    state = PartialState()
    rows = np.array_split(np.arange(num_shapes), state.num_processes)[state.process_index]
    progress = progress if state.is_main_process else None
    embeds = _encode_rows(model, feature_extractor, read, rows, up_axis, batch_size, progress)
    return torch.cat(gather_object([embeds])) if state.num_processes > 1 else embeds


def encode_dataset(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    dataset: Dataset,
    batch_size: int = 64,
    progress: bool = False,
) -> torch.Tensor:
    """Encode all shapes of a triplet dataset, in its order and in this process alone; see [`encode_clouds`].

    Raises:
        UserError: If a column is missing or of another type.
    """
    read, rows = dataset_clouds(dataset), np.arange(len(dataset))
    return _encode_rows(model, feature_extractor, read, rows, "y", batch_size, "Encoding shapes" if progress else None)


def _encode_rows(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    read: CloudReader,
    rows: np.ndarray,
    up_axis: Literal["y", "z"],
    batch_size: int,
    progress: str | None,
) -> torch.Tensor:
    if len(rows) == 0:  # of a process that others left nothing
        return torch.zeros(0, model.config.embedding_dim)

    def batches() -> Iterator[torch.Tensor]:
        for start in tqdm(range(0, len(rows), batch_size), desc=progress, disable=progress is None):
            points, colors = zip(*read(rows[start : start + batch_size].tolist()), strict=True)
            yield feature_extractor(list(points), list(colors), up_axis=up_axis, return_tensors="pt")["point_values"]

    return encode_shapes(model, batches())


def encode_shapes(model: PreTrainedModel, point_values_batches: Iterable[torch.Tensor]) -> torch.Tensor:
    """Encode batches of prepared shapes, in eval mode and without autocast.

    Args:
        model (`PreTrainedModel`):
            Has `get_point_features(point_values)`.
        point_values_batches (iterable of `torch.Tensor` of shape `(batch, num_points, 6)`):
            xyz in the unit sphere and rgb in 0..1.

    Returns:
        `torch.Tensor` of shape `(num_shapes, embedding_dim)`: float32 on the CPU, un-normalised.
    """
    device = next(model.parameters()).device
    if device.type == "cuda":
        point_values_batches = read_ahead(point_values_batches)
    with (
        _eval_mode(model),
        torch.inference_mode(),
        torch.autocast(device.type, enabled=False),
        exact_float32_products(),
    ):
        embeds = [model.get_point_features(batch.to(device)).float().cpu() for batch in point_values_batches]
    return torch.cat(embeds)  # outside inference mode, so that a probe can be trained on it


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, each made by a thread while the one before it is in use."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = thread.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, source, end)
            yield cast(Item, item)


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
