import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.activations.block_shuffle import BlockOrder

orders = st.builds(
    BlockOrder,
    num_items=st.integers(1, 600),
    seed=st.integers(0, 2**40),
    block_rows=st.integers(1, 70),
    window_blocks=st.integers(1, 9),
)


@settings(max_examples=80)
@given(order=orders, epoch=st.integers(0, 5))
def test_every_row_once_an_epoch(order: BlockOrder, epoch: int) -> None:
    items = order.items(epoch * order.num_items, (epoch + 1) * order.num_items)
    assert np.array_equal(np.sort(items), np.arange(order.num_items))


@settings(max_examples=80)
@given(order=orders, start=st.integers(0, 1500), count=st.integers(0, 700))
def test_any_offset_reads_the_same_line(order: BlockOrder, start: int, count: int) -> None:
    assert np.array_equal(order.items(start, start + count), order.items(0, start + count)[start:])


@settings(max_examples=80)
@given(order=orders, start=st.integers(0, 1500), count=st.integers(1, 300))
def test_what_is_read_was_announced(order: BlockOrder, start: int, count: int) -> None:
    """By the step itself, and by the one before it: no row is first heard of when it is needed."""
    announced = np.zeros(order.num_items, bool)
    for first, stop in order.ahead(start, start + count):
        announced[first:stop] = True
    assert announced[order.items(start, start + count)].all()


@settings(max_examples=80)
@given(order=orders, start=st.integers(0, 1500))
def test_no_more_than_two_windows_are_announced(order: BlockOrder, start: int) -> None:
    ranges = order.ahead(start, start + 1)
    assert sum(stop - first for first, stop in ranges) <= 2 * order.block_rows * order.window_blocks
    following = set(ranges[order.window_blocks :])
    assert following <= set(order.ahead(start + order.block_rows * order.window_blocks, start + 10**4))


def test_a_window_reads_its_blocks_whole_and_no_others() -> None:
    order = BlockOrder(num_items=10_000, seed=1, block_rows=100, window_blocks=10)
    for window in range(10):
        items = order.items(window * 1000, (window + 1) * 1000)
        assert len(np.unique(items // 100)) == 10
        assert np.array_equal(np.sort(items % 100), np.repeat(np.arange(100), 10))


def test_order_differs_by_seed_epoch_and_window() -> None:
    base = BlockOrder(2000, 0, 100, 5)
    first = base.items(0, 2000)
    assert (BlockOrder(2000, 1, 100, 5).items(0, 2000) == first).mean() < 0.02
    assert (base.items(2000, 4000) == first).mean() < 0.02
    within = [base.items(500 * window, 500 * (window + 1)) % 100 for window in range(2)]
    assert (within[0] == within[1]).mean() < 0.1


@pytest.mark.parametrize("lag", [1, 2, 100, 256])
def test_no_locality_within_a_window(lag: int) -> None:
    """A chi-square over 16 x 16 cells of (block, block of the row `lag` later): 255 degrees of freedom."""
    order = BlockOrder(num_items=2**18, seed=2, block_rows=2**12, window_blocks=16)
    items = order.items(0, 2**16)
    blocks = np.searchsorted(np.unique(items // 2**12), items // 2**12)
    counts = np.bincount(blocks[:-lag] * 16 + blocks[lag:], minlength=256)
    expected = counts.sum() / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 6 * (2 * 255) ** 0.5
