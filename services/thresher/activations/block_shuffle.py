"""A shuffle for harvests that are larger than the cache: each byte is read once an epoch, from far fewer places.

An epoch is the blocks of consecutive rows in random order; within a window of so many blocks the rows stand in random
order. Both orders are permutations that are computed, not stored (see shuffle.py), so that any offset can be the first
and nothing depends on the number of workers or on where shards end.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from thresher.activations.shuffle import IndexArray, RowRange, permute


@dataclass(frozen=True)
class BlockOrder:
    """Epoch after epoch of rows as one line of them, readable at any offset; each row stands once in every epoch."""

    num_items: int
    seed: int
    block_rows: int
    """Rows of a block; the last of the split may have fewer."""
    window_blocks: int
    """Blocks of a window; the last of the epoch may have fewer."""

    def __post_init__(self) -> None:
        assert self.num_items > 0, "nothing to shuffle"
        assert self.block_rows > 0, "a block has rows"
        assert self.window_blocks > 0, "a window has blocks"

    def items(self, start: int, stop: int) -> IndexArray:
        """Rows at offsets [start, stop) of the line."""
        parts = []
        while start < stop:
            epoch, window, within, window_rows = self._place(start)
            count = min(stop - start, window_rows - within)
            parts.append(self._items(epoch, window, within, within + count))
            start += count
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def ahead(self, start: int, stop: int) -> list[RowRange]:
        """The blocks of the windows that [start, stop) lies in; of the next one too, where that is a single window."""
        ranges: list[RowRange] = []
        num_windows = 0
        while start < stop or num_windows == 1:
            epoch, window, within, window_rows = self._place(start)
            first_block = window * self.window_blocks
            blocks = _blocks(self, epoch)[0][first_block : first_block + self.window_blocks]
            ranges += [self._rows_of(block) for block in blocks.tolist()]
            start += window_rows - within
            num_windows += 1
        return ranges

    def _rows_of(self, block: int) -> RowRange:
        return block * self.block_rows, min((block + 1) * self.block_rows, self.num_items)

    def _place(self, offset: int) -> tuple[int, int, int, int]:
        """(epoch, window of the epoch, offset within the window, rows of the window)."""
        epoch, within = divmod(offset, self.num_items)
        _, starts = _blocks(self, epoch)
        block = int(np.searchsorted(starts, within, side="right")) - 1
        window = block // self.window_blocks
        first = int(starts[window * self.window_blocks])
        last = min((window + 1) * self.window_blocks, len(starts) - 1)
        return epoch, window, within - first, int(starts[last]) - first

    def _items(self, epoch: int, window: int, first: int, stop: int) -> IndexArray:
        blocks, starts = _blocks(self, epoch)
        part = slice(window * self.window_blocks, (window + 1) * self.window_blocks)
        own_blocks, own_starts = blocks[part], starts[:-1][part] - starts[part.start]
        num_rows = int(starts[min(part.stop, len(blocks))] - starts[part.start])
        places_N = permute(np.arange(first, stop), num_rows, self.seed, epoch, window)
        block_N = np.searchsorted(own_starts, places_N, side="right") - 1
        return np.asarray(own_blocks[block_N] * self.block_rows + places_N - own_starts[block_N])


@lru_cache(maxsize=8)
def _blocks(order: BlockOrder, epoch: int) -> tuple[IndexArray, IndexArray]:
    """The blocks of an epoch in their order, and the offset at which each begins, with the end of the last."""
    num_blocks = -(-order.num_items // order.block_rows)
    blocks = permute(np.arange(num_blocks), num_blocks, order.seed, epoch)
    sizes = np.full(num_blocks, order.block_rows, np.int64)
    sizes[blocks == num_blocks - 1] = order.num_items - (num_blocks - 1) * order.block_rows
    return blocks, np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
