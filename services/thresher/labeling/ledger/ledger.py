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
        """A stored answer to the request."""
        for fresh in (False, True):
            places = await self._locate(request.sha256, fresh=fresh)
            try:
                rows = [await asyncio.to_thread(read_row, self._store, place) for place in places]
            except (
                ObjectMissingError
            ):  # moved by another process, or put together with others, since it was found
                self._log.forget(request.sha256, places)
                continue
            usable = [row for row in rows if self._is_usable(row)]
            if not usable:
                return None
            row = max(usable, key=lambda found: found["received_at"])
            return Found(answer_of(row), row["run_id"] == self._run_id)
        return None

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

    async def _locate(self, sha256: str, *, fresh: bool) -> list[Place]:
        place = self._log.find(sha256)
        if place is not None:
            return [place]
        if not fresh and self._shelf.is_cached(sha256):
            return self._shelf.find(sha256)
        return await asyncio.to_thread(self._shelf.find, sha256, fresh=fresh)

    def _tables(self, hashes: Sequence[str]) -> Iterator[pa.Table]:
        """The answers, file by file."""
        rows_by_key: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for sha256 in hashes:
            place = self._log.find(sha256) or self._newest(sha256)
            rows_by_key[place.key].append((place.row, sha256))
        for key, rows in sorted(rows_by_key.items()):
            try:
                yield read_table(self._store, key).take([row for row, _ in sorted(rows)])
            except ObjectMissingError:  # moved by another process meanwhile
                places = [self._newest(sha256) for _, sha256 in sorted(rows)]
                yield table_of([read_row(self._store, place) for place in places])

    def _newest(self, sha256: str) -> Place:
        places = self._shelf.find(sha256) or self._shelf.find(sha256, fresh=True)
        assert places, "answers move, and are never lost"
        if len(places) == 1:
            return places[0]
        return max(places, key=lambda place: read_row(self._store, place)["received_at"])

    def _put_file(self, stem: str, tables: list[pa.Table]) -> FileEntry:
        return put_hashed_file(self._store, stem, ".parquet", file_bytes(pa.concat_tables(tables)))
