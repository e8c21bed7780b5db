"""The second pass: tokens, documents and activations of the windows that may be shown.

Shapes: U distinct windows, E entries, C tokens of a window.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from thresher.activations.codes_reader import CodesShard, Float32s, Int32s, Int64s
from thresher.features.loops import activations_in_windows
from thresher.features.windows import WindowGrid
from thresher.latents.kernels.threads import for_ranges

Entries = npt.NDArray[np.void]
"""Records with `sequence` and `window`, and of exemplars `position`."""
MAX_ENTRIES = 1 << 16
"""Activations are looked up for so many entries at once."""


class ShownWindows:
    """Tokens and documents of every distinct window among `entries`."""

    def __init__(self, entries: Sequence[Entries], grid: WindowGrid) -> None:
        self._grid = grid
        self._keys = np.unique(np.concatenate([np.zeros(0, np.int64), *map(self._key, entries)]))
        self.token_ids_UC = np.zeros((len(self._keys), grid.length), np.int32)
        self._documents_UC = np.zeros((len(self._keys), grid.length), np.int32)
        self._index_of_doc_id: dict[str, int] = {}

    def add(self, shard: CodesShard) -> None:
        stop = shard.first_sequence + shard.num_sequences
        low, high = np.searchsorted(
            self._keys, np.array([shard.first_sequence, stop]) * self._grid.num_windows
        )
        sequences, windows = np.divmod(self._keys[low:high], self._grid.num_windows)
        rows = shard.rows_of(sequences, self._grid.starts[windows])[:, None] + np.arange(self._grid.length)
        self.token_ids_UC[low:high] = shard.token_ids[rows]
        shown, local = np.unique(shard.documents[rows], return_inverse=True)
        indices = [
            self._index_of_doc_id.setdefault(shard.doc_ids[index], len(self._index_of_doc_id))
            for index in shown
        ]
        self._documents_UC[low:high] = np.array(indices, np.int32)[local.reshape(rows.shape)]

    def index(self, entries: Entries) -> Int64s:
        """[E]: the distinct window of each entry."""
        index: Int64s = np.searchsorted(self._keys, self._key(entries))
        return index

    def token_ids(self, entries: Entries) -> Int32s:
        """[E, C]: the tokens of each entry's window."""
        return self.token_ids_UC[self.index(entries)]

    def shown_token_ids(self) -> Int32s:
        """Every token id that any window shows, once, ascending."""
        return np.unique(self.token_ids_UC)

    def documents(self, entries: Entries) -> Int32s:
        """[E]: a number for the document at the `position` of each entry."""
        offset = entries["position"] - self._grid.starts[entries["window"]]
        documents: Int32s = self._documents_UC[self.index(entries), offset]
        return documents

    def doc_ids(self, documents: Int32s) -> list[str]:
        """The ids of documents by their numbers."""
        names = self._names
        return [names[number] for number in documents]

    def all_doc_ids(self, entries: Entries) -> set[str]:
        """Every document that some token of the entries' windows belongs to."""
        shown = np.unique(self.index(entries))
        return set(self.doc_ids(np.unique(self._documents_UC[shown])))

    @cached_property
    def _names(self) -> list[str]:
        """Not before the last shard."""
        return list(self._index_of_doc_id)

    def _key(self, entries: Entries) -> Int64s:
        key: Int64s = entries["sequence"].astype(np.int64) * self._grid.num_windows + entries["window"]
        return key


class WindowActivations:
    """Activations of each entry's own feature in its window, kept sparse until they are asked for."""

    def __init__(self, entries: Entries, grid: WindowGrid) -> None:
        """`entries` have `feature`, `sequence` and `window`."""
        self._entries, self._grid = entries, grid
        self._by_sequence = np.argsort(entries["sequence"], kind="stable")
        self._sequences = entries["sequence"][self._by_sequence]
        self._found: list[tuple[Int32s, Int32s, Float32s]] = []

    def add(self, shard: CodesShard) -> None:
        bounds = [shard.first_sequence, shard.first_sequence + shard.num_sequences]
        low, high = np.searchsorted(self._sequences, bounds)
        for first in range(low, high, MAX_ENTRIES):
            members = self._by_sequence[first : min(first + MAX_ENTRIES, high)]
            members_M, tokens, values = self._of_members(shard, members)
            self._found.append((members_M.astype(np.int32), tokens.astype(np.int32), values))

    def is_silent(self) -> npt.NDArray[np.bool_]:
        """[E]: whether the feature never fires in the window."""
        silent_E = np.ones(len(self._entries), bool)
        for members, _, _ in self._found:
            silent_E[members] = False
        return silent_E

    def dense(self, start: int, stop: int) -> Float32s:
        """[stop - start, C]: activations of the entries [start, stop)."""
        members, tokens, values = self._sorted
        low, high = np.searchsorted(members, [start, stop])
        dense_EC = np.zeros((stop - start, self._grid.length), np.float32)
        dense_EC[members[low:high] - start, tokens[low:high]] = values[low:high]
        return dense_EC

    def _of_members(self, shard: CodesShard, members: Int64s) -> tuple[Int64s, Int64s, Float32s]:
        """Entry, place in the window and value of each activation."""
        entries = self._entries[members]
        first_rows = shard.rows_of(entries["sequence"], self._grid.starts[entries["window"]])
        out_MC = np.empty((len(members), self._grid.length), np.float32)
        features = np.ascontiguousarray(entries["feature"])
        for_ranges(
            activations_in_windows,
            len(members),
            features,
            first_rows,
            shard.row_offsets,
            shard.latents,
            shard.values,
            out_MC,
        )
        found, tokens = np.nonzero(out_MC)
        return members[found], tokens, out_MC[found, tokens]

    @cached_property
    def _sorted(self) -> tuple[Int32s, Int32s, Float32s]:
        """By entry; not before the last shard."""
        none = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))
        columns = zip(none, *self._found, strict=True)
        members, tokens, values = (np.concatenate(column) for column in columns)
        self._found = []
        order = np.argsort(members, kind="stable")
        return members[order], tokens[order], values[order]
