"""Windows of a split drawn at random, whatever fires in them: where negatives and near texts are looked for.

Shapes: P windows of the pool, F latents, B features of a block.
"""

import numpy as np
import numpy.typing as npt

from thresher.activations.codes_reader import CodesShard, Int32s, Int64s
from thresher.activations.priority import UInt64s
from thresher.features.best_windows import at_random
from thresher.features.loops import distinct_pairs
from thresher.features.windows import WINDOW_PEAK, WindowGrid, WindowPeaks

POOL_WINDOWS = 2048
"""Windows of a split in which texts near to a feature's are looked for."""


class WindowPool:
    """The `POOL_WINDOWS` windows of lowest order of a stream; one that merges in any order."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._windows, self._orders = np.zeros(0, WINDOW_PEAK), np.zeros(0, np.uint64)

    def add(self, windows: WindowPeaks) -> None:
        self._windows = np.concatenate([self._windows, windows])
        self._orders = np.concatenate([self._orders, at_random(windows["latent"], windows, self._seed)])
        kept = np.argsort(self._orders)[:POOL_WINDOWS]
        self._windows, self._orders = self._windows[kept], self._orders[kept]

    def best(self) -> WindowPeaks:
        """In ascending order."""
        return self._windows


class PoolActivity:
    """Which latents fire in each window of a pool, kept as pairs: windows are few, latents are many."""

    def __init__(self, pool: WindowPeaks, num_latents: int, grid: WindowGrid) -> None:
        self._pool, self._num_latents, self._grid = pool, num_latents, grid
        self._pairs: list[Int64s] = [np.zeros(0, np.int64)]

    def add(self, shard: CodesShard) -> None:
        offset = self._pool["sequence"] - shard.first_sequence
        members = np.flatnonzero((offset >= 0) & (offset < shard.num_sequences))
        pool = self._pool[members]
        first_rows = shard.rows_of(pool["sequence"], self._grid.starts[pool["window"]])
        lows, highs = shard.row_offsets[first_rows], shard.row_offsets[first_rows + self._grid.length]
        pairs = np.empty(int((highs - lows).sum()), np.int64)
        num_pairs = distinct_pairs(
            shard.latents, lows, highs, members, len(self._pool), self._num_latents, pairs
        )
        self._pairs.append(pairs[:num_pairs].copy())

    def finish(self) -> None:
        """After the last shard: sort the pairs by latent."""
        self._pairs = [np.sort(np.concatenate(self._pairs))]

    def silent(self, features: range) -> npt.NDArray[np.bool_]:
        """[P, B]: in which windows each of `features` never fires."""
        [pairs] = self._pairs
        size = max(len(self._pool), 1)
        low, high = np.searchsorted(pairs, [features.start * size, features.stop * size])
        latents, windows = np.divmod(pairs[low:high], size)
        silent_PB = np.ones((len(self._pool), len(features)), bool)
        silent_PB[windows, latents - features.start] = False
        return silent_PB


def windows_of(
    shard: CodesShard, hashes: UInt64s, grid: WindowGrid, sequences: Int32s, windows: Int32s
) -> WindowPeaks:
    """Windows of a shard as entries of latent 0 whose position is the window's first."""
    found = np.zeros(len(sequences), WINDOW_PEAK)
    found["sequence"], found["window"] = sequences, windows
    found["position"] = grid.starts[windows]
    rows = shard.rows_of(found["sequence"], found["position"])
    found["document"] = hashes[shard.documents[rows]]
    return found
