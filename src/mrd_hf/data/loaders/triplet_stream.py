"""Training batches straight from parquet files: nothing is copied to disk first, and only a part is in memory.

`datasets` streams too, but its shuffled stream starts with an empty buffer when it resumes, it can only share out
whole files, and it decodes point clouds slowly. So the order is planned here, from the numbers of rows alone.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import IterableDataset, get_worker_info

from ...errors import UserError
from .triplet_dataset import LISTED
from .triplet_rows import TripletRows
from .triplet_shards import TripletShards


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Piece:
    """Rows `start` to `stop` of a row group."""

    group: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class TripletStream(IterableDataset):
    """The batches of one process, from [`TripletShards`]; to be loaded with `DataLoader(stream, batch_size=None)`.

    In each epoch all row groups are put in a random order, and the rows, so ordered, are shared out in equal stretches
    among all workers of all processes, to the row: none gets a row that another one gets. A worker reads
    `shards.buffer_size` shapes at a time and gives them in random order; the batch that an epoch ends in goes on with
    the next epoch. So no shape is lost, and every process can take the same number of steps, whatever the numbers of
    files and rows; but a shape may come twice in that batch, where the loss counts it as two. Of a dataset that is
    small beside its batches, train without streaming.

    Everything follows from the seed, the number of workers and the number of batches that went before: a run that
    resumes at step `start` with as many processes and workers goes on with exactly the batches that would have come.
    With other numbers of them it goes on at the same epoch, with a share of its own: it may see shapes of that epoch
    twice, and others not.

    Args:
        shards ([`TripletShards`])
        batch_size (`int`): Shapes in a batch of this process.
        num_batches (`int`): Batches in all, counted from the start of the training.
        seed (`int`): Of the order.
        rank (`int`, defaults to 0), world_size (`int`, defaults to 1): This process, and how many there are.
        start (`int`, defaults to 0): Batches already seen.

    Batches are those of [`~mrd_hf.data.loaders.triplet_dataset.TripletDataset`], with the same choice of image and
    text for the same shape in the same epoch. Where a shape lacks points, image or text, another one takes its place:
    of those that the worker read with it or, where all of these lack something, of the first row group. The log lists
    them.

    Raises:
        UserError: in iteration, when a worker's share of the dataset is smaller than a batch, or a file cannot be
            read.
    """

    def __init__(
        self,
        shards: TripletShards,
        batch_size: int,
        num_batches: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
    ) -> None:
        self.shards = shards
        self.batch_size = batch_size
        self.num_batches = num_batches
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start = start

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        workers, worker_id = (worker.num_workers, worker.id) if worker is not None else (1, 0)
        self.check_shares(workers)
        # The loader takes batches from its workers in turn, from the first one on. So, whoever makes it, batch n comes
        # from reader n % workers, and is its batch n // workers.
        first = self.start + worker_id
        reader = self.rank * workers + first % workers
        batches = range(first, self.num_batches, workers)
        return self._batches(reader, self.world_size * workers, first // workers, len(batches))

    def check_shares(self, num_workers: int) -> None:
        """Raise a [`UserError`] if, with that many workers a process, a worker's share is smaller than a batch."""
        readers = self.world_size * max(1, num_workers)
        if len(self.shards) // readers < self.batch_size:
            raise UserError(
                f"{self.shards.name}: has {len(self.shards)} shapes, and the share of each of {readers} readers "
                f"(processes x num_workers) is smaller than a batch of {self.batch_size}; lower num_workers or "
                "per_device_batch_size."
            )

    def share(self, epoch: int, reader: int, readers: int) -> list[Piece]:
        """What a reader reads in an epoch, in order."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.shards.groups))
        ends = np.cumsum(self.shards.groups[order, 2])
        begin, end = (len(self.shards) * number // readers for number in (reader, reader + 1))
        pieces = []
        for place in range(int(np.searchsorted(ends, begin, side="right")), len(order)):
            group, stop = int(order[place]), int(ends[place])
            start = stop - int(self.shards.groups[group, 2])
            if start >= end:
                break
            pieces.append(Piece(group, max(begin - start, 0), min(end, stop) - start))
        return pieces

    def _batches(self, reader: int, readers: int, skipped: int, count: int) -> Iterator[dict[str, Any]]:
        """A reader's batches from number `skipped` on."""
        share = len(self.shards) * (reader + 1) // readers - len(self.shards) * reader // readers
        epoch, position = divmod(skipped * self.batch_size, share)
        parts: list[dict[str, Any]] = []
        wanted = self.batch_size
        while count:
            for window in self._windows(self.share(epoch, reader, readers)):
                length = sum(map(len, window))
                if position >= length:
                    position -= length
                    continue
                rows, places, indices = self._read(window, epoch)
                while position < length and count:
                    taken = slice(position, position + wanted)
                    epochs = np.full(len(places[taken]), epoch)
                    parts.append(rows.batch(places[taken], indices[taken], epochs, self.shards.num_points))
                    position += len(epochs)
                    wanted -= len(epochs)
                    if not wanted:
                        yield _joined(parts)
                        parts, wanted, count = [], self.batch_size, count - 1
                position = 0
                del rows  # or two windows would be in memory while the next one is read
                if not count:
                    break
            epoch += 1

    def _windows(self, pieces: list[Piece]) -> Iterator[list[Piece]]:
        """Pieces that are read and shuffled together."""
        window: list[Piece] = []
        for piece in pieces:
            window.append(piece)
            if sum(map(len, window)) >= self.shards.buffer_size:
                yield window
                window = []
        if window:
            yield window

    def _read(self, window: list[Piece], epoch: int) -> tuple[TripletRows, np.ndarray, np.ndarray]:
        """A window's rows, their places in it in random order, and their numbers in the dataset in the same order."""
        rows, numbers = self._read_pieces(window)
        planned = len(numbers)
        generator = np.random.default_rng([self.seed, epoch, int(numbers[0])])
        order = generator.permutation(planned)
        usable = rows.usable()[order]
        if not usable.all():
            missing = [str(rows.ids[int(place)]) for place in order[~usable]]
            listed = ", ".join(missing[:LISTED]) + (", ..." if len(missing) > LISTED else "")
            logger.warning(
                f"{self.shards.name}: {len(missing)} shapes have no points, image or text ({listed}); others take "
                "their place."
            )
            if not usable.any():
                # Not those of the window before, which who resumes has not read. Of the first group some are usable.
                rows, numbers = self._read_pieces([Piece(0, 0, int(self.shards.groups[0, 2]))])
                order = generator.permutation(len(numbers))
                usable = rows.usable()[order]
            # As many rows as planned, so that what follows stays where it is.
            order = np.resize(order[usable], planned)
        return rows, order, numbers[order]

    def _read_pieces(self, pieces: list[Piece]) -> tuple[TripletRows, np.ndarray]:
        """Their rows, and the numbers of these in the dataset."""
        tables = [self.shards.read(piece.group).slice(piece.start, len(piece)) for piece in pieces]
        starts = self.shards.first_rows
        numbers = np.concatenate([starts[p.group] + np.arange(p.start, p.stop) for p in pieces])
        return self.shards.rows(pa.concat_tables(tables)), numbers


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One batch from parts of it."""
    if len(parts) == 1:
        return parts[0]
    batch: dict[str, Any] = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        batch[name] = torch.cat(values) if isinstance(values[0], torch.Tensor) else list(chain(*values))
    return batch
