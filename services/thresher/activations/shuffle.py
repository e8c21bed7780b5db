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

import numpy as np
import numpy.typing as npt

IndexArray = npt.NDArray[np.int64]
KeyArray = npt.NDArray[np.uint64]

NUM_ROUNDS = 8
MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64's finaliser


@lru_cache(maxsize=8)
def _round_keys(seed: int, epoch: int) -> KeyArray:
    digest = hashlib.shake_256(f"thresher shuffle {seed} {epoch}".encode()).digest(8 * NUM_ROUNDS)
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def _mix(values_N: KeyArray) -> KeyArray:
    mixed_N = (values_N ^ (values_N >> np.uint64(30))) * MULTIPLIERS[0]
    mixed_N = (mixed_N ^ (mixed_N >> np.uint64(27))) * MULTIPLIERS[1]
    return mixed_N ^ (mixed_N >> np.uint64(31))


def _encipher(values_N: KeyArray, keys: KeyArray, half_bits: int) -> KeyArray:
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left_N, right_N = values_N >> shift, values_N & mask
    for key in keys:
        left_N, right_N = right_N, left_N ^ (_mix(right_N + key) & mask)
    return (left_N << shift) | right_N


def permute(positions_N: IndexArray, num_items: int, seed: int, epoch: int) -> IndexArray:
    """Which item stands at each position of the epoch's order.

    A bijection of [0, num_items) that depends on (num_items, seed, epoch) alone; memory is that of
    `positions_N`.
    """
    half_bits = max(1, (max(num_items - 1, 1).bit_length() + 1) // 2)
    keys = _round_keys(seed, epoch)
    items_N = _encipher(positions_N.astype(np.uint64), keys, half_bits)
    outside = np.flatnonzero(items_N >= num_items)
    while outside.size:
        items_N[outside] = _encipher(items_N[outside], keys, half_bits)
        outside = outside[items_N[outside] >= num_items]
    return items_N.astype(np.int64)


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


def worker_slice(batch_rows: int, rank: int, world_size: int) -> slice:
    """The part of a global batch that a worker takes: all workers together take each row once."""
    return slice(batch_rows * rank // world_size, batch_rows * (rank + 1) // world_size)
