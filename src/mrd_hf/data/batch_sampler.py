"""Which samples make up each global batch, and which of them belong to this process."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from ..errors import UserError


class ShuffledBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of a shuffled dataset, epoch after epoch, as lists of (index, epoch).

    Which samples form global batch k depends on the seed alone. So a run that resumes at a step, even with another
    number of processes at the same global batch size, goes on with the batches that it would have seen. The samples
    of an incomplete last batch of an epoch are left out; another shuffle leaves out others.

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
        self.num_batches = num_batches
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start = start
        self.batches_per_epoch = num_samples // (batch_size * world_size)
        if self.batches_per_epoch == 0:
            raise UserError(
                f"the dataset has {num_samples} samples, fewer than one global batch of {batch_size * world_size} "
                f"(per_device_batch_size {batch_size} x {world_size} processes); lower per_device_batch_size."
            )

    def __len__(self) -> int:
        return max(0, self.num_batches - self.start)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order, order_epoch = np.empty(0, dtype=np.int64), -1
        for batch in range(self.start, self.num_batches):
            epoch, position = divmod(batch, self.batches_per_epoch)
            if epoch != order_epoch:
                order, order_epoch = np.random.default_rng([self.seed, epoch]).permutation(self.num_samples), epoch
            first = (position * self.world_size + self.rank) * self.batch_size
            yield [(int(index), epoch) for index in order[first : first + self.batch_size]]
