"""Every answer, stored before anything is derived from it, found again by the content of its request.

Answers lie on a shelf by model and revision, which all runs of a root share: nothing that was paid for is asked again,
by whatever run. Calls are at-least-once: a crash between an answer and its commit asks again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from thresher.contracts import paths
from thresher.contracts.errors import StoreError
from thresher.contracts.ids import canonical_json, sha256_hex
from thresher.contracts.manifests import FileEntry
from thresher.labeling.budget.prices import Usage
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import UNSTATED, EndpointSpec
from thresher.labeling.ledger.committer import Committer
from thresher.labeling.ledger.log import AnswerLog
from thresher.labeling.ledger.rows import (
    Place,
    Row,
    answer_of,
    file_bytes,
    read_row,
    read_table,
    row_of,
    table_of,
)
from thresher.labeling.ledger.shelf import AnswerShelf
from thresher.storage import ObjectMissingError, ObjectStore
from thresher.storage.artifacts import put_hashed_file

MAX_AGE_UNSTATED = timedelta(hours=24)
ROWS_PER_FILE = 4096
KEY_LENGTH = 16
MAX_MOVES = 5
"""Of an answer, by other processes, while it is looked for."""


@dataclass(frozen=True)
class Found:
    """A stored answer, and whether this run paid for it."""

    answer: Answer
    is_paid: bool


def shelf_of(model: str, revision: str, root: str | None) -> str:
    """Where a model's answers lie. Without a revision, what the server says that it loaded stands in its place."""
    parts = {"revision": revision, "root": root if revision == UNSTATED else None}
    return paths.responses(model, sha256_hex(canonical_json(parts).encode())[:KEY_LENGTH])


def open_ledger(
    store: ObjectStore, endpoint: EndpointSpec, roots: Mapping[str, str | None], run_id: str
) -> "Ledger":
    """The answers of an endpoint's model, those stored before this call among them.

    Args:
        roots: what is loaded, by the name of the model, as far as its server says so.
        run_id: who asks.
    """
    shelf = shelf_of(endpoint.model, endpoint.revision, roots.get(endpoint.model))
    return Ledger(store, shelf, run_id, is_dated=endpoint.revision == UNSTATED)


class Ledger:
    """Answers of one model's revision, as one label run sees and adds to them.

    Args:
        shelf: as `shelf_of`.
        is_dated: the revision is unstated, so that the model behind the name may have changed: answers of other runs
            are taken only while they are less than a day old.
    """

    def __init__(self, store: ObjectStore, shelf: str, run_id: str, *, is_dated: bool = False) -> None:
        self._store, self._run_id, self.name = store, run_id, shelf
        self._oldest = datetime.now(UTC) - MAX_AGE_UNSTATED if is_dated else None
        self._log = AnswerLog(store, shelf, run_id)
        self._shelf = AnswerShelf(store, shelf)
        self._committer = Committer(self._log.write)

    @property
    def longest_commit_s(self) -> float:
        """Longest time from an answer to its durable commit."""
        return self._committer.longest_s

    def paid(self) -> Usage:
        """Tokens this run has paid for, in all its attempts."""
        return sum(self._log.paid.values(), Usage())

    async def find(self, request: ModelRequest) -> Found | None:
        """A stored answer to the request; what other runs store meanwhile is not looked for."""
        if self._is_surely_unknown(request.sha256):
            return None
        found = await asyncio.to_thread(self._known_rows, request.sha256)
        usable = [row for row in found if self._is_usable(row)]
        if not usable:
            return None
        row = max(usable, key=lambda row: row["received_at"])
        return Found(answer_of(row), row["run_id"] == self._run_id)

    def _known_rows(self, sha256: str) -> list[Row]:
        return [row for _, row in self._all_rows(sha256)] if self._places(sha256) else []

    def _is_surely_unknown(self, sha256: str) -> bool:
        """As far as can be told without reading."""
        return (
            self._log.find(sha256) is None and self._shelf.is_cached(sha256) and not self._shelf.find(sha256)
        )

    def _is_usable(self, row: Row) -> bool:
        return row["run_id"] == self._run_id or self._oldest is None or row["received_at"] >= self._oldest

    async def append(self, request: ModelRequest, answer: Answer) -> None:
        """Store an answer; returns once it is durable.

        Raises:
            StoreError: the store refused; the answer is lost.
        """
        await self._committer.commit(row_of(request, answer, self._run_id))

    async def close(self) -> None:
        """Commit what is pending."""
        await self._committer.close()

    def put_answers(self, stem: str, hashes: Sequence[str]) -> list[FileEntry]:
        """Write the answers a run used, its own and others', each once: an artifact that is whole by itself."""
        files, waiting = list[FileEntry](), list[pa.Table]()
        for table in self._tables(hashes):
            waiting.append(table)
            if sum(len(part) for part in waiting) >= ROWS_PER_FILE:
                files.append(self._put_file(stem, waiting))
                waiting = []
        if waiting:
            files.append(self._put_file(stem, waiting))
        return files

    def seal(self) -> None:
        """Tidy away the finished run's answers. Of no effect on what is found."""
        parts = self._log.seal()
        self._shelf.add(parts)
        for key in parts:
            self._store.delete(key)

    def _tables(self, hashes: Sequence[str]) -> Iterator[pa.Table]:
        """The answers, file by file."""
        rows_by_key: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for sha256 in hashes:
            place = self._only_place(sha256) or self._newest(sha256)[0]
            rows_by_key[place.key].append((place.row, sha256))
        for key, rows in sorted(rows_by_key.items()):
            try:
                yield read_table(self._store, key).take([row for row, _ in sorted(rows)])
            except ObjectMissingError:  # moved by another process meanwhile
                yield table_of([self._newest(sha256)[1] for _, sha256 in sorted(rows)])

    def _only_place(self, sha256: str) -> Place | None:
        places = self._places(sha256)
        return places[0] if len(places) == 1 else None

    def _newest(self, sha256: str) -> tuple[Place, Row]:
        """Of the answers to a request that has some."""
        found = self._all_rows(sha256)
        assert found, "answers move, and are never lost"
        return max(found, key=lambda place_row: place_row[1]["received_at"])

    def _all_rows(self, sha256: str) -> list[tuple[Place, Row]]:
        """All answers to a request; another process may move them while they are looked for."""
        for attempt in range(MAX_MOVES):
            places = self._places(sha256, fresh=attempt > 0)
            try:
                rows = [(place, read_row(self._store, place)) for place in places]
            except ObjectMissingError:
                continue
            if rows or attempt > 0:
                return rows
        raise StoreError(
            f"The answer to request {sha256} was moved {MAX_MOVES} times while it was looked for: other runs tidy "
            f"{self.name} without end. Run this again: what is answered is stored."
        )

    def _places(self, sha256: str, *, fresh: bool = False) -> list[Place]:
        if fresh:
            self._log.reread()
        place = self._log.find(sha256)
        return [place] if place is not None else self._shelf.find(sha256, fresh=fresh)

    def _put_file(self, stem: str, tables: list[pa.Table]) -> FileEntry:
        return put_hashed_file(self._store, stem, ".parquet", file_bytes(pa.concat_tables(tables)))
