import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.activations.block_shuffle import BlockOrder
from thresher.activations.mixture import MAX_PATTERN, MixedOrder, whole_quotas
from thresher.activations.shuffle import EndlessOrder

WEIGHTS = st.lists(st.sampled_from([1.0, 0.5, 0.25, 0.3, 2.0, 3.7, 0.01]), min_size=1, max_size=4)


def mixed(weights: list[float], sizes: list[int], seed: int = 0) -> MixedOrder:
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).tolist()
    return MixedOrder([EndlessOrder(size, seed) for size in sizes], firsts, weights)


def source_of(rows: np.ndarray, sizes: list[int]) -> np.ndarray:
    return np.searchsorted(np.cumsum(sizes), rows, side="right")


@settings(max_examples=60)
@given(weights=WEIGHTS, start=st.integers(0, 3000), count=st.integers(0, 1000))
def test_every_stretch_holds_the_shares(weights: list[float], start: int, count: int) -> None:
    sizes = [50 + 10 * index for index in range(len(weights))]
    rows = mixed(weights, sizes).items(start, start + count)
    found = np.bincount(source_of(rows, sizes), minlength=len(weights))
    assert (np.abs(found - count * np.array(weights) / sum(weights)) < 2).all()


@settings(max_examples=40)
@given(weights=WEIGHTS, start=st.integers(0, 3000), count=st.integers(0, 500))
def test_any_offset_reads_the_same_line(weights: list[float], start: int, count: int) -> None:
    order = mixed(weights, [30 + index for index in range(len(weights))])
    assert np.array_equal(order.items(start, start + count), order.items(0, start + count)[start:])


def test_each_row_of_a_source_stands_once_in_each_of_its_epochs() -> None:
    sizes = [100, 37, 11]
    rows = mixed([1.0, 0.5, 0.3], sizes).items(0, 5000)
    for source, size in enumerate(sizes):
        own = rows[source_of(rows, sizes) == source] - sum(sizes[:source])
        for epoch in range(len(own) // size):
            assert np.array_equal(np.sort(own[epoch * size : (epoch + 1) * size]), np.arange(size))


def test_a_source_keeps_its_own_order_whatever_it_is_mixed_with() -> None:
    alone = EndlessOrder(100, 3).items(0, 400)
    rows = mixed([1.0, 2.0], [100, 50], seed=3).items(0, 1200)
    assert np.array_equal(rows[rows < 100], alone)


def test_ranges_of_every_source_are_announced() -> None:
    order = MixedOrder([BlockOrder(100, 0, 10, 2), BlockOrder(60, 0, 10, 2)], [0, 100], [1.0, 1.0])
    for start in range(0, 300, 7):
        announced = np.zeros(160, bool)
        for first, stop in order.ahead(start, start + 7):
            announced[first:stop] = True
        assert announced[order.items(start, start + 7)].all()


@pytest.mark.parametrize(
    ("weights", "quotas"), [([1, 0.5, 0.25], [4, 2, 1]), ([1], [1]), ([1, 0.3], [10, 3]), ([2, 4], [1, 2])]
)
def test_quotas_are_the_weights_in_whole_numbers(weights: list[float], quotas: list[int]) -> None:
    assert whole_quotas(weights) == quotas


def test_quotas_of_long_decimals_are_bounded_and_near() -> None:
    quotas = whole_quotas([1.0, 0.123456789, 0.001])
    assert sum(quotas) == MAX_PATTERN
    assert quotas[1] / quotas[0] == pytest.approx(0.123456789, rel=1e-4)
