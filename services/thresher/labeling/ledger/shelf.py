"""Answers of many finished runs, in buckets by the first digits of their request's hash.

A bucket is a folder of a few files, each sorted by hash. A look-up takes the hashes of its bucket, read once, and the
one group of rows that holds the answer: never a list of all files, however many answers there are. Files are never
changed; several of a bucket are put together into a new one before they go.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from thresher.labeling.ledger.rows import Place, file_bytes, read_table
from thresher.storage import ObjectMissingError, ObjectStore
from thresher.storage.artifacts import put_hashed_file

PREFIX_DIGITS = 2
MAX_FILES_IN_BUCKET = 8
MAX_BYTES_PER_BATCH = 256 << 20
MAX_CACHED_HASHES = 4_000_000  # 64 bytes each
MAX_LISTINGS = 10
"""Of one bucket; a store whose lists go on naming what it does not have is at fault itself."""


@dataclass(frozen=True)
class _File:
    key: str
    sha256_N: npt.NDArray[np.bytes_]  # ascending


class AnswerShelf:
    """The buckets of one model's revision."""

    def __init__(self, store: ObjectStore, shelf: str) -> None:
        self._store, self._folder = store, f"{shelf}/buckets"
        self._buckets: OrderedDict[str, list[_File]] = OrderedDict()
        self._num_cached = 0
        self._lock = Lock()

    def is_cached(self, sha256: str) -> bool:
        """Whether `find` will not read."""
        return sha256[:PREFIX_DIGITS] in self._buckets

    def find(self, sha256: str, *, fresh: bool = False) -> list[Place]:
        """Where a request's answers lie: more than one if two runs asked at the same time, or a day apart.

        `fresh` lists the bucket anew, for a file that is gone. May be called by several threads.
        """
        prefix, wanted = sha256[:PREFIX_DIGITS], sha256.encode()
        with self._lock:
            if fresh and prefix in self._buckets:
                self._num_cached -= _num_hashes(self._buckets.pop(prefix))
            files = self._bucket(prefix)
        rows = [int(np.searchsorted(file.sha256_N, wanted)) for file in files]
        return [
            Place(file.key, row)
            for file, row in zip(files, rows, strict=True)
            if row < len(file.sha256_N) and file.sha256_N[row] == wanted
        ]

    def add(self, parts: Sequence[str]) -> None:
        """Copy the answers of log files into their buckets. To do it twice changes nothing."""
        for table in self._batches(parts):
            for prefix, rows in _by_prefix(table):
                self._put(prefix, rows)

    def _bucket(self, prefix: str) -> list[_File]:
        if prefix not in self._buckets:
            self._buckets[prefix] = self._read_bucket(prefix)
            self._num_cached += _num_hashes(self._buckets[prefix])
            while self._num_cached > MAX_CACHED_HASHES and len(self._buckets) > 1:
                self._num_cached -= _num_hashes(self._buckets.popitem(last=False)[1])
        self._buckets.move_to_end(prefix)
        return self._buckets[prefix]

    def _read_bucket(self, prefix: str) -> list[_File]:
        """Listed again if a listed file is gone: it may be part of one that was not listed yet."""
        known: dict[str, _File] = {}
        for listing in range(1, MAX_LISTINGS + 1):
            listed = [info.key for info in self._store.list(f"{self._folder}/{prefix}/")]
            try:
                for key in listed:
                    known[key] = known.get(key) or self._read_file(key)
                break
            except ObjectMissingError:
                if listing == MAX_LISTINGS:
                    raise
        return [known[key] for key in listed]

    def _read_file(self, key: str) -> _File:
        column = read_table(self._store, key, ["request_sha256"])["request_sha256"]
        return _File(key, np.asarray(column.to_pylist(), dtype="S64"))

    def _batches(self, parts: Sequence[str]) -> Iterator[pa.Table]:
        waiting: list[pa.Table] = []
        for key in parts:
            try:
                waiting.append(read_table(self._store, key))
            except ObjectMissingError:  # another process sealed it
                continue
            if sum(table.nbytes for table in waiting) >= MAX_BYTES_PER_BATCH:
                yield pa.concat_tables(waiting)
                waiting = []
        if waiting:
            yield pa.concat_tables(waiting)

    def _put(self, prefix: str, rows: pa.Table) -> None:
        stem, files = f"{self._folder}/{prefix}/answers", []
        existing = [info.key for info in self._store.list(f"{self._folder}/{prefix}/")]
        if len(existing) >= MAX_FILES_IN_BUCKET:
            try:
                files = [read_table(self._store, key) for key in existing]
            except ObjectMissingError:  # another process is at it
                existing = []
        else:
            existing = []
        merged = _first_of_each(pa.concat_tables([*files, rows]))
        entry = put_hashed_file(self._store, stem, ".parquet", file_bytes(merged))
        for key in existing:
            if key != entry.key:
                self._store.delete(key)


def _num_hashes(files: Sequence[_File]) -> int:
    return sum(len(file.sha256_N) for file in files)


def _first_of_each(table: pa.Table) -> pa.Table:
    """Ascending by hash; of two answers to one request the newer."""
    ordered = table.sort_by([("request_sha256", "ascending"), ("received_at", "descending")])
    hashes = np.asarray(ordered["request_sha256"].to_pylist())
    is_first = np.ones(len(hashes), bool)
    is_first[1:] = hashes[1:] != hashes[:-1]
    return ordered.filter(pa.array(is_first))


def _by_prefix(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    prefixes = pc.utf8_slice_codeunits(table["request_sha256"], 0, PREFIX_DIGITS)
    for prefix in sorted(pc.unique(prefixes).to_pylist()):
        yield prefix, table.filter(pc.equal(prefixes, prefix))
