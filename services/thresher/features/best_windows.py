"""The windows of lowest order of each latent, of distinct documents, over a stream of shards."""

import numpy as np
import numpy.typing as npt

from thresher.activations.priority import UInt64s, priority
from thresher.features.windows import WINDOW_PEAK, WindowPeaks

MIN_PENDING = 1 << 20
"""Entries that wait before they are merged: sorting the kept ones for every shard would cost more."""


class BestWindows:
    """Per latent, the `limit` windows of lowest order, at most one a document.

    The result is that of sorting all windows at once, in whatever order they are added: a document's best
    window is among the best of its shard, so nothing that is dropped could have been kept. Memory grows with
    latents x limit, not with tokens.
    """

    def __init__(self, num_latents: int, limit: int) -> None:
        self._limit = limit
        self._kept, self._kept_order = np.zeros(0, WINDOW_PEAK), np.zeros(0, np.uint64)
        self._pending: list[tuple[WindowPeaks, UInt64s]] = []
        self._num_pending = 0
        self._worst = np.full(num_latents, np.iinfo(np.uint64).max)

    def add(self, peaks: WindowPeaks, order: UInt64s) -> None:
        """Offer windows; the lower its `order`, the sooner one is kept. Orders of a latent must differ."""
        possible = order <= self._worst[peaks["latent"]]
        self._pending.append((peaks[possible], order[possible]))
        self._num_pending += int(possible.sum())
        if self._num_pending > max(MIN_PENDING, len(self._kept)):
            self._merge()

    def best(self) -> WindowPeaks:
        """The windows kept, sorted by (latent, order)."""
        self._merge()
        return self._kept

    def _merge(self) -> None:
        peaks = np.concatenate([self._kept, *(peaks for peaks, _ in self._pending)])
        order = np.concatenate([self._kept_order, *(order for _, order in self._pending)])
        self._pending, self._num_pending = [], 0
        by_order = np.lexsort((order, peaks["latent"]))
        peaks, order = peaks[by_order], order[by_order]
        first = _first_of_each(peaks["latent"], peaks["document"])
        peaks, order = peaks[first], order[first]
        rank = rank_in_group(peaks["latent"])
        self._kept, self._kept_order = peaks[rank < self._limit], order[rank < self._limit]
        full = rank == self._limit - 1
        self._worst[peaks["latent"][full]] = order[full]


def strongest_first(peaks: WindowPeaks, seed: int) -> UInt64s:
    """Order by peak, strongest first; equal peaks at random, so that early sequences are not preferred."""
    bits = peaks["peak"].copy().view(np.uint32)  # positive floats sort as their bits do
    return (np.uint64(0xFFFFFFFF) - bits.astype(np.uint64) << np.uint64(32)) | (
        at_random(peaks, seed) >> np.uint64(32)
    )


def at_random(peaks: WindowPeaks, seed: int) -> UInt64s:
    """A seeded uniform order of the windows of each latent."""
    return priority(seed, peaks["latent"], peaks["sequence"], peaks["window"])


def rank_in_group(sorted_groups: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """0, 1, 2, … within each run of equal values."""
    index = np.arange(len(sorted_groups))
    is_start = np.diff(sorted_groups, prepend=sorted_groups[:1] - 1) != 0
    start: npt.NDArray[np.int64] = np.maximum.accumulate(np.where(is_start, index, 0))
    return index - start


def _first_of_each(
    latents: npt.NDArray[np.int32], documents: npt.NDArray[np.uint64]
) -> npt.NDArray[np.bool_]:
    """Mask of the first entry of each (latent, document)."""
    grouped = np.lexsort((documents, latents))  # stable: entries of a group stay in their order
    is_first = np.ones(len(latents), bool)
    is_first[1:] = (np.diff(latents[grouped]) != 0) | (np.diff(documents[grouped]) != 0)
    mask = np.zeros(len(latents), bool)
    mask[grouped[is_first]] = True
    return mask
