"""The second pass: tokens, documents and activations of the windows that were chosen.

Shapes: U distinct windows, E exemplars, P windows of a pool, C tokens of a window, F latents.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from thresher.activations.codes_reader import CodesShard, Float32s, Int32s, Int64s
from thresher.features.windows import WindowGrid

Entries = npt.NDArray[np.void]
"""Records with `sequence` and `window`."""


class ShownWindows:
    """Tokens and documents of every distinct window among `entries`."""

    def __init__(self, entries: list[Entries], grid: WindowGrid) -> None:
        self._grid = grid
        self._keys = np.unique(np.concatenate([self._key(entry) for entry in entries]))
        self._token_ids_UC = np.zeros((len(self._keys), grid.length), np.int32)
        self._documents_UC = np.zeros((len(self._keys), grid.length), np.int32)
        self._index_of_doc_id: dict[str, int] = {}

    def add(self, shard: CodesShard) -> None:
        stop = shard.first_sequence + shard.num_sequences
        low, high = np.searchsorted(
            self._keys, np.array([shard.first_sequence, stop]) * self._grid.num_windows
        )
        sequences, windows = np.divmod(self._keys[low:high], self._grid.num_windows)
        rows = shard.rows_of(sequences, self._grid.starts[windows])[:, None] + np.arange(self._grid.length)
        self._token_ids_UC[low:high] = shard.token_ids[rows]
        shown, local = np.unique(shard.documents[rows], return_inverse=True)
        indices = [
            self._index_of_doc_id.setdefault(shard.doc_ids[index], len(self._index_of_doc_id))
            for index in shown
        ]
        self._documents_UC[low:high] = np.array(indices, np.int32)[local.reshape(rows.shape)]

    def token_ids(self, entries: Entries) -> Int32s:
        """[E, C]: the tokens of each entry's window."""
        return self._token_ids_UC[self._index(entries)]

    def shown_token_ids(self) -> Int32s:
        """Every token id that any window shows, once, ascending."""
        return np.unique(self._token_ids_UC)

    def doc_ids(self, entries: Entries) -> list[str]:
        """The document at the `position` of each entry."""
        offset = entries["position"] - self._grid.starts[entries["window"]]
        names = list(self._index_of_doc_id)
        return [names[index] for index in self._documents_UC[self._index(entries), offset]]

    def documents(self, entries: Entries) -> set[str]:
        """Every document that some token of the entries' windows belongs to."""
        names = list(self._index_of_doc_id)
        return {names[index] for index in np.unique(self._documents_UC[self._index(entries)])}

    def _index(self, entries: Entries) -> Int64s:
        index: Int64s = np.searchsorted(self._keys, self._key(entries))
        return index

    def _key(self, entries: Entries) -> Int64s:
        key: Int64s = entries["sequence"].astype(np.int64) * self._grid.num_windows + entries["window"]
        return key


class ShownActivations:
    """Activations of each exemplar's own feature in its window, kept sparse until they are written."""

    def __init__(self, exemplars: Entries, grid: WindowGrid) -> None:
        self._exemplars, self._grid = exemplars, grid
        self._by_sequence = np.argsort(exemplars["sequence"], kind="stable")
        self._found: list[tuple[Int64s, Int64s, Float32s]] = []

    def add(self, shard: CodesShard) -> None:
        entries = self._entries_in(shard)
        exemplars = self._exemplars[entries]
        first_rows = shard.rows_of(exemplars["sequence"], self._grid.starts[exemplars["window"]])
        by_latent = shard.by_latent()
        rows = shard.rows_of_codes()[by_latent]
        keys = shard.latents[by_latent].astype(np.int64) * shard.num_rows + rows
        first_keys = exemplars["feature"].astype(np.int64) * shard.num_rows + first_rows
        lows, highs = np.searchsorted(keys, first_keys), np.searchsorted(keys, first_keys + self._grid.length)
        owner, index = _spread(lows, highs)
        self._found.append((entries[owner], rows[index] - first_rows[owner], shard.values[by_latent[index]]))

    def dense(self, start: int, stop: int) -> Float32s:
        """[stop - start, C]: activations of the exemplars [start, stop)."""
        entries, offsets, values = self._sorted
        low, high = np.searchsorted(entries, [start, stop])
        dense_EC = np.zeros((stop - start, self._grid.length), np.float32)
        dense_EC[entries[low:high] - start, offsets[low:high]] = values[low:high]
        return dense_EC

    @cached_property
    def _sorted(self) -> tuple[Int64s, Int64s, Float32s]:
        """Exemplar, place in the window and value of each activation, by exemplar; not before the last shard."""
        entries, offsets, values = (np.concatenate(column) for column in zip(*self._found, strict=True))
        order = np.argsort(entries, kind="stable")
        return entries[order], offsets[order], values[order]

    def _entries_in(self, shard: CodesShard) -> Int64s:
        sequences = self._exemplars["sequence"][self._by_sequence]
        bounds = [shard.first_sequence, shard.first_sequence + shard.num_sequences]
        low, high = np.searchsorted(sequences, bounds)
        entries: Int64s = self._by_sequence[low:high]
        return entries


class PoolActivity:
    """Which latents fire in each window of a pool."""

    def __init__(self, pool: Entries, num_latents: int, grid: WindowGrid) -> None:
        self._pool, self._grid = pool, grid
        self.fires_PF = np.zeros((len(pool), num_latents), bool)

    def add(self, shard: CodesShard) -> None:
        offset = self._pool["sequence"] - shard.first_sequence
        members = np.flatnonzero((offset >= 0) & (offset < shard.num_sequences))
        pool = self._pool[members]
        first_rows = shard.rows_of(pool["sequence"], self._grid.starts[pool["window"]])
        owner, index = _spread(
            shard.row_offsets[first_rows], shard.row_offsets[first_rows + self._grid.length]
        )
        self.fires_PF[members[owner], shard.latents[index]] = True


def _spread(lows: Int64s, highs: Int64s) -> tuple[Int64s, Int64s]:
    """Every index of the ranges [low, high), and which range it is of."""
    counts = highs - lows
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(counts.sum()) + np.repeat(lows - (np.cumsum(counts) - counts), counts)
