"""Rows of a site of a remote store, fetched by ranged reads and held in memory only while they are expected.

Shape suffixes: N rows, D width of the site, G blocks of columns.
"""

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from thresher.activations.arrow_layout import BatchLayout, read_layout, read_schema
from thresher.activations.mapped_shards import check_schema
from thresher.activations.row_decoding import RawRows, RowDecoding
from thresher.activations.row_gather import IndexArray, Pieces
from thresher.activations.stored_rows import StoredRun, pieces_of
from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import HarvestManifest, ShardCommit
from thresher.contracts.schemas import dense_rows, num_int8_blocks
from thresher.storage import ObjectStore

NUM_READS = 8
UNEXPECTED_ROWS = 4096
"""Rows that are fetched around one that nobody announced."""
STORED_DTYPES = {"bfloat16": np.uint16, "float16": np.float16, "int8": np.int8}

RowRange = tuple[int, int]


@dataclass(frozen=True)
class _ShardLayout:
    batches: list[BatchLayout]
    decoding: RowDecoding


class RangedShards:
    """Holds the ranges of rows that it was told to expect, and no others.

    What arrives is checked against the shapes that the headers and the commit record say; a range cannot be hashed.

    Raises:
        IntegrityError: a shard is not what its commit record says; names the file.
    """

    def __init__(self, store: ObjectStore, manifest: HarvestManifest, site: str) -> None:
        self._store, self._site = store, site
        self._width = manifest.sites[site].width
        self._encoding = str(manifest.encoding)
        self._schema = dense_rows(self._encoding, self._width)
        self._shards = sorted(manifest.shards, key=lambda item: item.index)
        self._starts = np.concatenate([[0], np.cumsum([shard.num_rows for shard in self._shards])])
        self._layouts: dict[int, _ShardLayout] = {}
        self._layout_locks = [threading.Lock() for _ in self._shards]
        self._held: dict[RowRange, Future[list[StoredRun]]] = {}
        self._pool = ThreadPoolExecutor(NUM_READS, thread_name_prefix="ranged-read")
        self._table: Pieces | None = None
        self._lock = threading.Lock()

    def expect(self, ranges: Iterable[RowRange]) -> None:
        """Begin to fetch these ranges of rows, and let go of all that is not among them."""
        wanted = dict.fromkeys(part for first, stop in ranges for part in self._within_shards(first, stop))
        with self._lock:
            for key in self._held.keys() - wanted.keys():
                self._held.pop(key).cancel()
            for key in wanted:  # in the order of the ranges: what is needed first comes first
                if key not in self._held:
                    self._held[key] = self._pool.submit(self._fetch, *key)
            self._table = None

    def pieces(self, rows_N: IndexArray) -> Pieces:
        """Where rows lie, once they are here. Rows that were not expected are fetched for this call alone."""
        with self._lock:
            if self._table is None or not self._table.cover(rows_N).all():
                self._wait_for(rows_N)
                self._table = self._as_pieces(self._arrived())
            missing_N = rows_N[~self._table.cover(rows_N)]
            if missing_N.size:
                self._table = self._as_pieces(self._fetch_around(missing_N) + self._arrived())
            return self._table

    def close(self) -> None:
        """Let go of everything."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            self._held.clear()
            self._table = None

    @property
    def held_bytes(self) -> int:
        """Of the ranges that have arrived."""
        with self._lock:
            return sum(run.num_bytes for run in self._arrived())

    def _wait_for(self, rows_N: IndexArray) -> None:
        """Wait for the ranges that hold these rows; others may still be under way."""
        for (first, stop), future in self._held.items():
            if not future.done() and ((rows_N >= first) & (rows_N < stop)).any():
                future.result()

    def _arrived(self) -> list[StoredRun]:
        return [run for future in self._held.values() if future.done() for run in future.result()]

    def _fetch_around(self, rows_N: IndexArray) -> list[StoredRun]:
        stop_row = int(self._starts[-1])
        firsts = (np.unique(rows_N // UNEXPECTED_ROWS) * UNEXPECTED_ROWS).tolist()
        ranges = [(first, min(first + UNEXPECTED_ROWS, stop_row)) for first in firsts]
        parts = [part for first, stop in ranges for part in self._within_shards(first, stop)]
        return [run for runs in self._pool.map(lambda part: self._fetch(*part), parts) for run in runs]

    def _as_pieces(self, runs: list[StoredRun]) -> Pieces:
        """Runs may overlap where unexpected rows lie between expected ones. A row is looked for in the last run that
        begins at or before it: one that ends before another, earlier run is left out."""
        kept: list[StoredRun] = []
        reach = -1
        for run in sorted(runs, key=lambda run: (run.first_row, len(run.raw_ND))):
            stop = run.first_row + len(run.raw_ND)
            if stop > reach:
                kept.append(run)
                reach = stop
        return pieces_of(kept, self._width)

    def _within_shards(self, first: int, stop: int) -> Iterator[RowRange]:
        """A range cut where shards end."""
        while first < stop:
            shard = int(np.searchsorted(self._starts, first, side="right")) - 1
            end = min(stop, int(self._starts[shard + 1]))
            yield first, end
            first = end

    def _fetch(self, first: int, stop: int) -> list[StoredRun]:
        """Rows [first, stop), which lie in one shard: one read for each record batch they touch."""
        shard_index = int(np.searchsorted(self._starts, first, side="right")) - 1
        layout = self._layout(shard_index)
        key = self._shards[shard_index].sites[self._site].key
        runs = []
        row = int(self._starts[shard_index])
        for batch in layout.batches:
            low, high = max(first, row), min(stop, row + batch.num_rows)
            if low < high:
                raw_ND = self._rows(key, batch.x_offset, low - row, high - row, self._encoding, self._width)
                scale_NG = None
                if batch.scale_offset is not None:
                    blocks = num_int8_blocks(self._width)
                    scale_NG = self._rows(key, batch.scale_offset, low - row, high - row, "float16", blocks)
                runs.append(StoredRun(low, raw_ND, scale_NG, layout.decoding))
            row += batch.num_rows
        return runs

    def _rows(self, key: str, offset: int, low: int, high: int, encoding: str, width: int) -> RawRows:
        dtype = np.dtype(STORED_DTYPES[encoding])
        row_bytes = dtype.itemsize * width
        data = self._store.get(key, offset + low * row_bytes, offset + high * row_bytes)
        if len(data) != (high - low) * row_bytes:
            raise IntegrityError(f"{self._store.url}/{key} ends before its rows do: harvest it again.")
        return np.frombuffer(data, dtype).reshape(high - low, width)

    def _layout(self, index: int) -> _ShardLayout:
        with self._layout_locks[index]:
            if index not in self._layouts:
                self._layouts[index] = self._read_layout(self._shards[index])
            return self._layouts[index]

    def _read_layout(self, shard: ShardCommit) -> _ShardLayout:
        entry = shard.sites[self._site]
        read = partial(self._store.get, entry.key)
        batches = read_layout(read, entry.size, f"{self._store.url}/{entry.key}")
        schema = read_schema(read)
        check_schema(schema, self._schema, entry)
        num_rows = sum(batch.num_rows for batch in batches)
        if num_rows != shard.num_rows:
            raise IntegrityError(f"{entry.key} has {num_rows} rows; its record says {shard.num_rows}.")
        return _ShardLayout(batches, RowDecoding.of(schema))
