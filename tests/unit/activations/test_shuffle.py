import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.activations.shuffle import EndlessOrder, permute, worker_slice


@settings(max_examples=60, deadline=None)
@given(num_items=st.integers(1, 3000), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_every_item_once_an_epoch(num_items: int, seed: int, epoch: int) -> None:
    items = permute(np.arange(num_items), num_items, seed, epoch)
    assert np.array_equal(np.sort(items), np.arange(num_items))


@settings(max_examples=40, deadline=None)
@given(num_items=st.integers(1, 500), start=st.integers(0, 2000), count=st.integers(0, 700))
def test_any_offset_reads_the_same_line(num_items: int, start: int, count: int) -> None:
    order = EndlessOrder(num_items, seed=3)
    whole = order.items(0, start + count)
    assert np.array_equal(order.items(start, start + count), whole[start:])


def test_large_harvests_need_no_table() -> None:
    trillion = 10**12
    items = permute(np.arange(trillion - 1000, trillion), trillion, seed=1, epoch=2)
    assert len(np.unique(items)) == 1000
    assert items.min() >= 0
    assert items.max() < trillion


def test_orders_differ_by_seed_and_epoch() -> None:
    base = permute(np.arange(1000), 1000, seed=0, epoch=0)
    for seed, epoch in ((0, 1), (1, 0)):
        assert (permute(np.arange(1000), 1000, seed, epoch) == base).mean() < 0.01


def test_neighbours_are_spread_evenly() -> None:
    """A chi-square over 16 x 16 cells of (first, second) item of neighbours: 255 degrees of freedom."""
    items = permute(np.arange(2**16), 2**16, seed=5, epoch=0) // 2**12
    counts = np.bincount(items[:-1] * 16 + items[1:], minlength=256)
    expected = (2**16 - 1) / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 6 * (2 * 255) ** 0.5


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_workers_share_a_batch_without_gap_or_overlap(world_size: int) -> None:
    batch = EndlessOrder(1000, seed=0).items(4096, 4096 + 100)
    parts = [batch[worker_slice(100, rank, world_size)] for rank in range(world_size)]
    assert np.array_equal(np.concatenate(parts), batch)
