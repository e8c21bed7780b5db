"""The log of a shelf: small files of answers, written as they come, each under a name never used before.

A run's files lie in a folder of its own, so that what it has paid for is known again when it resumes. When it is
finished they become one, in a folder that all runs share, until that is large enough to be dealt to buckets.
"""

import re
from collections.abc import Sequence
from threading import Lock

import pyarrow as pa

from thresher.labeling.budget.prices import Usage
from thresher.labeling.ledger.rows import (
    INDEX_COLUMNS,
    Place,
    Row,
    file_bytes,
    read_table,
    table_of,
    usage_of,
)
from thresher.storage import ObjectExistsError, ObjectMissingError, ObjectStore
from thresher.storage.artifacts import put_hashed_file

ROLL_AFTER_PARTS = 64
PART = re.compile(r"(?P<run>[^/]+)/(?P<number>\d{8})\.parquet")
SEALED = "sealed"
"""Folder of finished runs' files; no run has this id."""
MAX_SEALED_FILES, MAX_SEALED_BYTES = 32, 64 << 20


class AnswerLog:
    """Where the answers of unfinished runs lie, by the hash of their request.

    Args:
        shelf: folder of the model's revision.
        run_id: whose answers are written.
        own_only: leave those of other runs out.
    """

    def __init__(self, store: ObjectStore, shelf: str, run_id: str, *, own_only: bool = False) -> None:
        self._store, self._folder, self._run_id = store, f"{shelf}/log", run_id
        self._places: dict[str, Place] = {}
        self._paid: dict[str, Usage] = {}
        self._fresh_parts: list[str] = []  # small, and written by this process
        self._next_number = 0
        self._listed = f"{self._folder}/{run_id}/" if own_only else f"{self._folder}/"
        self._indexed: set[str] = set()
        self._lock = Lock()
        self.reread()

    @property
    def paid(self) -> dict[str, Usage]:
        """What this run has paid for, in all its attempts."""
        return self._paid

    def find(self, sha256: str) -> Place | None:
        return self._places.get(sha256)

    def reread(self) -> None:
        """See what other processes have added, moved and sealed. May be called by several threads.

        A file appears before those that it takes the place of go, and after them in the order of the list.
        """
        with self._lock:
            present = [info.key for info in self._store.list(self._listed)]
            self._indexed &= set(present)
            self._places = {
                sha256: place for sha256, place in self._places.items() if place.key in self._indexed
            }
            for key in present:
                if key not in self._indexed:
                    self._index(key)

    def write(self, rows: Sequence[Row]) -> None:
        """Make answers durable. Raises: StoreError."""
        table = table_of(rows)
        with self._lock:
            self._fresh_parts.append(self._put(table))
            self._note(self._fresh_parts[-1], table, own=True)
            if len(self._fresh_parts) >= ROLL_AFTER_PARTS:
                self._roll()

    def own_parts(self) -> list[str]:
        """Keys of this run's files, of all its attempts."""
        return [info.key for info in self._store.list(f"{self._folder}/{self._run_id}/")]

    def seal(self) -> list[str]:
        """The run is finished: put its files together with those of other finished runs.

        Returns: files that are to be dealt to buckets now, and may go after that.
        """
        parts = self.own_parts()
        sizes = sum(info.size for key in parts if (info := self._store.head(key)) is not None)
        if sizes >= MAX_SEALED_BYTES:
            return parts
        tables = [table for key in parts if (table := self._read(key)) is not None]
        if tables:
            stem = f"{self._folder}/{SEALED}/answers"
            put_hashed_file(self._store, stem, ".parquet", file_bytes(pa.concat_tables(tables)))
        for key in parts:
            self._store.delete(key)
        sealed = list(self._store.list(f"{self._folder}/{SEALED}/"))
        is_full = len(sealed) > MAX_SEALED_FILES or sum(info.size for info in sealed) > MAX_SEALED_BYTES
        return [info.key for info in sealed] if is_full else []

    def _read(self, key: str) -> pa.Table | None:
        try:
            return read_table(self._store, key)
        except ObjectMissingError:  # sealed by another attempt at this run
            return None

    def _roll(self) -> None:
        """Put many small files together: first the new one, then the old ones go. A kill between leaves both."""
        parts, self._fresh_parts = self._fresh_parts, []
        try:
            table = pa.concat_tables([read_table(self._store, key) for key in parts])
        except ObjectMissingError:  # sealed by another attempt at this run
            return
        self._note(self._put(table), table, own=True)
        for key in parts:
            self._store.delete(key)

    def _put(self, table: pa.Table) -> str:
        data = file_bytes(table)
        while True:
            key = f"{self._folder}/{self._run_id}/{self._next_number:08d}.parquet"
            self._next_number += 1
            try:
                self._store.put(key, data, if_absent=True)
            except ObjectExistsError:  # another attempt at the same run took the name
                continue
            return key

    def _index(self, key: str) -> None:
        match = PART.fullmatch(key.removeprefix(f"{self._folder}/"))
        is_own = match is not None and match["run"] == self._run_id
        try:
            self._note(key, read_table(self._store, key, INDEX_COLUMNS), own=is_own)
        except ObjectMissingError:  # put together with others since it was listed
            return
        if match is not None and is_own:
            self._next_number = max(self._next_number, int(match["number"]) + 1)

    def _note(self, key: str, table: pa.Table, *, own: bool) -> None:
        self._indexed.add(key)
        for index, row in enumerate(table.select(INDEX_COLUMNS).to_pylist()):
            self._places[row["request_sha256"]] = Place(key, index)
            if own:
                self._paid[row["request_sha256"]] = usage_of(row)
