"""The batch sampler's promises: coverage, resumption, and the same batches for any number of processes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrd_hf.data.loaders.batch_sampler import ShuffledBatchSampler
from mrd_hf.errors import UserError


@settings(max_examples=50)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 5))
def test_an_epoch_visits_no_sample_twice_and_leaves_out_less_than_a_batch(num_samples, batch_size, seed):
    if num_samples < batch_size:
        return
    per_epoch = num_samples // batch_size
    batches = list(ShuffledBatchSampler(num_samples, batch_size, 2 * per_epoch, seed))
    for epoch in range(2):
        keys = [key for batch in batches[epoch * per_epoch : (epoch + 1) * per_epoch] for key in batch]
        assert {e for _, e in keys} == {epoch}
        indices = [index for index, _ in keys]
        assert len(set(indices)) == len(indices) == per_epoch * batch_size
        assert set(indices) <= set(range(num_samples))


def test_epochs_and_seeds_shuffle_differently():
    first, second = list(ShuffledBatchSampler(20, 20, 2, seed=0))
    other = next(iter(ShuffledBatchSampler(20, 20, 1, seed=1)))
    orders = [[index for index, _ in batch] for batch in (first, second, other)]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert orders[0] != sorted(orders[0])


@pytest.mark.parametrize("start", [0, 3, 5, 11])
def test_resuming_goes_on_with_the_batches_that_would_have_come(start):
    whole = list(ShuffledBatchSampler(50, 8, 12, seed=3))
    resumed = ShuffledBatchSampler(50, 8, 12, seed=3, start=start)
    assert list(resumed) == whole[start:]
    assert len(resumed) == 12 - start


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_the_batches_of_one(world_size):
    joined = list(ShuffledBatchSampler(50, 16, 7, seed=3))
    shards = [
        list(ShuffledBatchSampler(50, 16 // world_size, 7, seed=3, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert [sum(parts, []) for parts in zip(*shards, strict=True)] == joined


def test_a_dataset_smaller_than_a_batch_is_refused():
    with pytest.raises(UserError, match="7 samples, fewer than one global batch of 8.*lower per_device_batch_size"):
        ShuffledBatchSampler(7, 4, 1, seed=0, world_size=2)
