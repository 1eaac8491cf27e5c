"""A triplet dataset as training reads it: whole batches, with one image and one text drawn for each shape."""

import logging
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset

from ...errors import UserError
from ..embedding.cached_teacher import origins_in_dataset, the_teacher
from ..schema import embedding_dim
from .choices import ChoiceConfig
from .triplet_rows import TripletRows, columns_to_read


LISTED = 5
OPENSHAPES_CHOICE = ChoiceConfig()

logger = logging.getLogger(__name__)


class TripletDataset(torch.utils.data.Dataset):
    """Reads batches of (index, epoch) keys, as [`~mrd_hf.data.loaders.batch_sampler.ShuffledBatchSampler`] gives them.

    Which image and which text of a shape is drawn depends on the seed, the epoch and the shape alone, so it is the
    same for any number of loader workers and processes. Shapes without points, image or text are left out; the log
    lists them.

    Args:
        dataset (`datasets.Dataset`): With the columns of [`mrd_hf.data.schema`].
        seed (`int`)
        cached (`bool`): Whether to read cached embeddings, or the images and texts for a teacher to embed.
        name (`str`): The dataset's folder or Hub id, for messages.
        choice ([`ChoiceConfig`], *optional*): Probabilities of a shape's images and texts; by default OpenShape's.

    A batch is a dict: `ids` (list of str), `points` (as stored, float16 or float32, (batch, num_points, 3)), `colors`
    (as stored, uint8, (batch, num_points, 3)), and `image_embeds`, `text_embeds` (float32 (batch, embedding_dim)) or
    `images` (list of PIL images) and `texts` (list of str). `num_points` is that of the first shape: of a larger cloud
    a random part is taken, and a smaller one's points are repeated.

    Raises:
        UserError: when a column is missing, no shape can be used, or `choice` names a source that no shape has.
    """

    def __init__(
        self, dataset: Dataset, seed: int, cached: bool, name: str, choice: ChoiceConfig = OPENSHAPES_CHOICE
    ) -> None:
        self.columns = columns_to_read(dataset.features, cached, choice, name)
        self.seed = seed
        self.cached = cached
        self.name = name
        self.choice = choice
        self.embedding_dim = embedding_dim(dataset.features) if cached else 0
        self.dataset = dataset.select_columns(self.columns)
        # Those of the table, where the dataset is a selection of its rows.
        selected = self.dataset._indices
        self.table_rows = np.arange(len(dataset)) if selected is None else selected.column(0).to_numpy().astype(int)
        self._rows: TripletRows | None = None
        self.teacher = the_teacher([origins_in_dataset(dataset)], name) if cached and len(dataset) else None
        if not len(dataset):
            raise UserError(f"{name}: has no shapes; prepare it again with mrd-hf prepare.")
        _check_sources(self.dataset.data.table, choice, name)
        self.usable = np.flatnonzero(self.rows.usable()[self.table_rows])
        if len(self.usable) < len(dataset):
            self._report_unusable(np.setdiff1d(np.arange(len(dataset)), self.usable))
        self.num_points = len(self.rows.points[int(self.table_rows[self.usable[0]])])

    @property
    def rows(self) -> TripletRows:
        """Of the whole table. Rebuilt in each process, since to pickle it would be to copy the table."""
        if self._rows is None:
            table = self.dataset.data.table
            self._rows = TripletRows(table, self.embedding_dim, self.cached, self.choice, self.seed, self.name)
        return self._rows

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rows": None}

    def __len__(self) -> int:
        return len(self.usable)

    def __getitem__(self, keys: list[tuple[int, int]]) -> dict[str, Any]:
        numbers, epochs = (np.array(column) for column in zip(*keys, strict=True))
        indices = self.usable[numbers]
        return self.rows.batch(self.table_rows[indices], indices, epochs, self.num_points)

    def _report_unusable(self, missing: np.ndarray) -> None:
        ids = [str(self.rows.ids[int(self.table_rows[index])]) for index in missing[:LISTED]]
        listed = ", ".join(ids) + (", ..." if len(missing) > LISTED else "")
        lacking = "points, image or text embeddings" if self.cached else "points, images or texts"
        message = f"{self.name}: {len(missing)} of {len(self.dataset)} shapes have no {lacking} ({listed})"
        if not len(self.usable):
            raise UserError(f"{message}, so there is nothing to train on.")
        logger.warning(f"{message}; they are left out.")


def _check_sources(table: pa.Table, choice: ChoiceConfig, name: str) -> None:
    """Raise a [`UserError`] for a source in `choice` that nothing in the table has."""
    if choice.text_weights:
        present = text_sources(table)
        if unknown := choice.unknown_text_sources(present):
            message = f"text_weights: no text of {name} has the source '{unknown[0]}'"
            raise UserError(f"{message}; it has {_listed(present)}.")
    if choice.first_image_probability:
        present = set(pc.unique(table.column("source")).to_pylist()) - {None}
        if unknown := choice.unknown_shape_sources(present):
            message = f"first_image_probability: no shape of {name} has the source '{unknown[0]}'"
            raise UserError(f"{message}; it has {_listed(present)}.")


def text_sources(table: pa.Table) -> set[str]:
    """The sources of the texts in a table of triplets."""
    found: set[str] = set()
    for chunk in table.column("texts").chunks:
        found.update(pc.unique(chunk.flatten().field("source")).to_pylist())
    return found - {None}


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
