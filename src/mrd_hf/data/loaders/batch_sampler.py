"""Which samples make up each global batch, and which of them belong to this process."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from ...errors import UserError


class GlobalBatchSampler(Sampler[list[tuple[int, int]]]):
    """Shares out global batches among processes, as lists of (index, epoch); what is in them, heirs say.

    Global batch k depends on the seed and k alone. So a run that resumes at a step, even with another number of
    processes at the same global batch size, goes on with the batches that it would have seen.

    Args:
        num_samples (`int`): Size of the dataset.
        batch_size (`int`): Samples of a batch on one process.
        num_batches (`int`): Batches in all, counted from the start of the training.
        seed (`int`)
        rank (`int`, defaults to 0), world_size (`int`, defaults to 1): This process, and how many there are.
        start (`int`, defaults to 0): Batches already seen.

    Raises:
        UserError: when the dataset is smaller than one global batch.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        num_batches: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
    ) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.global_batch_size = batch_size * world_size
        self.num_batches = num_batches
        self.seed = seed
        self.rank = rank
        self.start = start
        if num_samples < self.global_batch_size:
            raise UserError(
                f"the dataset has {num_samples} samples, fewer than one global batch of {self.global_batch_size} "
                f"(per_device_batch_size {batch_size} x {world_size} processes); lower per_device_batch_size."
            )

    def __len__(self) -> int:
        return max(0, self.num_batches - self.start)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first = self.rank * self.batch_size
        for batch in range(self.start, self.num_batches):
            yield self.global_batch(batch)[first : first + self.batch_size]

    def global_batch(self, batch: int) -> list[tuple[int, int]]:
        """All processes' (index, epoch) of a batch."""
        raise NotImplementedError


class ShuffledBatchSampler(GlobalBatchSampler):
    """Batches of a shuffled dataset, epoch after epoch.

    The samples of an incomplete last batch of an epoch are left out; another shuffle leaves out others. Arguments and
    errors as for [`GlobalBatchSampler`].
    """

    _order: tuple[int, np.ndarray] | None = None

    def global_batch(self, batch: int) -> list[tuple[int, int]]:
        epoch, position = divmod(batch, self.num_samples // self.global_batch_size)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.num_samples)
        first = position * self.global_batch_size
        return [(index, epoch) for index in self._order[1][first : first + self.global_batch_size].tolist()]
