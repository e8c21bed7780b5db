import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.activations.block_shuffle import BlockOrder
from thresher.activations.shuffle import EndlessOrder, RowOrder, StoredOrder, permute, worker_slice

FIRST_OF_A_THOUSAND = [243, 444, 86, 774, 671]


@settings(max_examples=60)
@given(num_items=st.integers(1, 3000), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_every_item_once_an_epoch(num_items: int, seed: int, epoch: int) -> None:
    items = permute(np.arange(num_items), num_items, seed, epoch)
    assert np.array_equal(np.sort(items), np.arange(num_items))


@settings(max_examples=40)
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


@settings(max_examples=60)
@given(
    num_items=st.integers(1, 400),
    batch_rows=st.integers(1, 150),
    first_step=st.integers(0, 12),
    world_sizes=st.lists(st.integers(1, 9), min_size=2, max_size=2),
    blocks=st.booleans(),
)
def test_the_order_is_the_same_for_any_number_of_workers_and_from_any_step(
    num_items: int, batch_rows: int, first_step: int, world_sizes: list[int], blocks: bool
) -> None:
    """Workers that begin at a step read, all together, what one worker that began at 0 reads from there."""
    order: RowOrder = BlockOrder(num_items, 7, 8, 3) if blocks else EndlessOrder(num_items, 7)
    whole = order.items(0, 20 * batch_rows)[first_step * batch_rows :]
    for world_size in world_sizes:
        read = []
        for step in range(first_step, 20):
            for rank in range(world_size):
                part = worker_slice(batch_rows, rank, world_size)
                start = step * batch_rows
                read.append(order.items(start + part.start, start + part.stop))
        assert np.array_equal(np.concatenate(read), whole)


def cells(items: np.ndarray, num_items: int, lag: int) -> float:
    """Chi-square over 16 x 16 cells of (item, item `lag` later), in standard deviations from its mean."""
    coarse = items * 16 // num_items
    counts = np.bincount(coarse[:-lag] * 16 + coarse[lag:], minlength=256)
    expected = counts.sum() / 256
    return float((((counts - expected) ** 2 / expected).sum() - 255) / (2 * 255) ** 0.5)


@pytest.mark.parametrize("num_items", [2**16, 2**16 + 1, 100_003])
@pytest.mark.parametrize("lag", [1, 2, 255, 256, 4096])
def test_no_locality_at_any_distance(num_items: int, lag: int) -> None:
    """Also where the network is larger than the number of items, so that items walk its cycles."""
    for seed in range(3):
        assert abs(cells(permute(np.arange(num_items), num_items, seed, 0), num_items, lag)) < 6


def test_a_batch_holds_as_few_rows_of_one_sequence_as_chance_gives() -> None:
    """Pairs of one batch that lie in one sequence of 256 rows: their number is that of independent draws."""
    num_items, batch_rows, length = 256 * 2000, 4096, 256
    order = EndlessOrder(num_items, seed=11)
    pairs = 0
    for step in range(40):
        counts = np.bincount(order.items(step * batch_rows, (step + 1) * batch_rows) // length)
        pairs += int((counts * (counts - 1) // 2).sum())
    expected = 40 * (batch_rows * (batch_rows - 1) / 2) * (length - 1) / (num_items - 1)
    assert abs(pairs - expected) < 6 * expected**0.5


def test_orders_of_two_epochs_are_independent() -> None:
    num_items = 2**16
    first, second = (permute(np.arange(num_items), num_items, 0, epoch) for epoch in (0, 1))
    correlation = np.corrcoef(first, second)[0, 1]
    assert abs(correlation) < 6 / num_items**0.5
    assert (first == second).sum() < 12  # one on average


def test_the_order_is_what_it_has_always_been() -> None:
    """A run that was begun goes on with the rows that it would have read."""
    assert permute(np.arange(5), 1000, 3, 4).tolist() == FIRST_OF_A_THOUSAND


def test_stored_order_reads_rows_as_they_lie() -> None:
    order = StoredOrder(10)
    assert order.items(8, 12).tolist() == [8, 9, 0, 1]
    assert order.ahead(0, 4) == [(0, 8)]
    assert order.ahead(8, 12) == [(8, 10)]
