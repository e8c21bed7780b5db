"""Priorities are SplitMix64's, and uniform over every part."""

import numpy as np

from thresher.activations.priority import priority


def test_the_seed_alone_gives_the_published_first_output() -> None:
    # First output of the reference SplitMix64 (splitmix64.c of Vigna 2015) for these states.
    assert int(priority(0)) == 0xE220A8397B1DCDAF
    assert int(priority(1234567)) == 6457827717110365317


def test_each_part_changes_the_priority_and_order_matters() -> None:
    found = {int(priority(*parts)) for parts in [(1, 2, 3), (2, 1, 3), (1, 3, 2), (1, 2, 4), (1, 2)]}
    assert len(found) == 5


def test_neighbouring_addresses_are_uniform_and_distinct() -> None:
    drawn = priority(3, np.arange(100)[:, None], np.arange(1000)).ravel()
    assert len(np.unique(drawn)) == len(drawn)
    counts = np.bincount((drawn >> np.uint64(58)).astype(np.int64), minlength=64)
    expected = len(drawn) / 64
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 113  # 63 degrees of freedom: exceeded with probability 1e-4
