"""Deterministic, seekable shuffle: any part of the order is computed on its own, without a table of it.

A permutation of [0, n) is a Feistel network over the smallest even number of bits that holds n (Luby and
Rackoff, 1988), with cycle walking for values that fall outside (Black and Rogaway, "Ciphers with arbitrary
finite domains", CT-RSA 2002, section 3). Using such a cipher to shuffle training data follows Mitchell et
al., "Bandwidth-optimal random shuffling for GPUs" (2021).

Shape suffix N: numbers of items.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numba as nb
import numpy as np
import numpy.typing as npt

IndexArray = npt.NDArray[np.int64]
KeyArray = npt.NDArray[np.uint64]
RowRange = tuple[int, int]
"""Rows [first, stop)."""

NUM_ROUNDS = 8
FIRST_MULTIPLIER, SECOND_MULTIPLIER = (
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)  # splitmix64's finaliser


@lru_cache(maxsize=64)
def _round_keys(seed: int, epoch: int, window: int | None) -> KeyArray:
    text = f"thresher shuffle {seed} {epoch}" + ("" if window is None else f" window {window}")
    digest = hashlib.shake_256(text.encode()).digest(8 * NUM_ROUNDS)
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


@nb.njit(nogil=True, cache=True)
def _encipher(values_N, keys, half_bits):  # type: ignore[no-untyped-def]
    """In place. A round over all values before the next, so that the loop within is vectorised."""
    shift = np.uint64(half_bits)
    mask = (np.uint64(1) << shift) - np.uint64(1)
    left_N, right_N = values_N >> shift, values_N & mask
    for index in range(keys.shape[0]):
        key = keys[index]
        for n in range(values_N.shape[0]):
            right = right_N[n]
            mixed = right + key
            mixed = (mixed ^ (mixed >> np.uint64(30))) * FIRST_MULTIPLIER
            mixed = (mixed ^ (mixed >> np.uint64(27))) * SECOND_MULTIPLIER
            mixed = mixed ^ (mixed >> np.uint64(31))
            right_N[n] = left_N[n] ^ (mixed & mask)
            left_N[n] = right
    for n in range(values_N.shape[0]):
        values_N[n] = (left_N[n] << shift) | right_N[n]


@nb.njit(nogil=True, cache=True)
def _permute(positions_N, num_items, keys, half_bits):  # type: ignore[no-untyped-def]
    limit = np.uint64(num_items)
    items_N = positions_N.astype(np.uint64)
    _encipher(items_N, keys, half_bits)
    outside = np.flatnonzero(items_N >= limit)
    while outside.size:
        again = items_N[outside]
        _encipher(again, keys, half_bits)
        items_N[outside] = again
        outside = outside[again >= limit]
    return items_N.view(np.int64)


def permute(
    positions_N: IndexArray, num_items: int, seed: int, epoch: int, window: int | None = None
) -> IndexArray:
    """Which item stands at each position of the epoch's order, or of an order within it that `window` names.

    A bijection of [0, num_items) that depends on (num_items, seed, epoch, window) alone; memory is that of
    `positions_N`.
    """
    half_bits = max(1, (max(num_items - 1, 1).bit_length() + 1) // 2)
    keys = _round_keys(seed, epoch, window)
    items_N: IndexArray = _permute(np.ascontiguousarray(positions_N, np.int64), num_items, keys, half_bits)
    return items_N


class RowOrder(Protocol):
    """An endless line of row numbers, readable at any offset."""

    def items(self, start: int, stop: int) -> IndexArray:
        """Rows at offsets [start, stop) of the line."""

    def ahead(self, start: int, stop: int) -> list[RowRange]:
        """The ranges of rows that offsets [start, stop), and those that follow, are drawn from; empty where they may
        be drawn from anywhere."""


@dataclass(frozen=True)
class EndlessOrder:
    """Epoch after epoch of shuffled items as one line of them, readable at any offset.

    Batches may span two epochs, so that no item is ever dropped: each stands once in every epoch.
    """

    num_items: int
    seed: int

    def __post_init__(self) -> None:
        assert self.num_items > 0, "nothing to shuffle"

    def items(self, start: int, stop: int) -> IndexArray:
        """Items at offsets [start, stop) of the line."""
        parts = []
        while start < stop:
            epoch, first = divmod(start, self.num_items)
            last = min(first + stop - start, self.num_items)
            parts.append(permute(np.arange(first, last), self.num_items, self.seed, epoch))
            start += last - first
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def ahead(self, start: int, stop: int) -> list[RowRange]:
        """No range: what is at any offset may be any item."""
        return []


@dataclass(frozen=True)
class StoredOrder:
    """Rows as they are stored, over and over: what a whole split is read in."""

    num_items: int

    def items(self, start: int, stop: int) -> IndexArray:
        """Rows at offsets [start, stop) of the line."""
        return np.arange(start, stop, dtype=np.int64) % self.num_items

    def ahead(self, start: int, stop: int) -> list[RowRange]:
        """Those rows, and as many after them."""
        first, last = min(start, self.num_items), min(2 * stop - start, self.num_items)
        return [(first, last)] if first < last else []


def worker_slice(batch_rows: int, rank: int, world_size: int) -> slice:
    """The part of a global batch that a worker takes: all workers together take each row once."""
    return slice(batch_rows * rank // world_size, batch_rows * (rank + 1) // world_size)
