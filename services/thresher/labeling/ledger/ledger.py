"""Every answer, stored before anything is derived from it, found again by the content of its request.

Calls are at-least-once: a crash between an answer and its commit asks again. Stored answers are never asked for
again, neither by a resumed run nor by another run of the same dictionary.
"""

import asyncio
import json
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from thresher.contracts import paths
from thresher.contracts.errors import StoreError
from thresher.contracts.manifests import FileEntry
from thresher.contracts.schemas import RESPONSES
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.storage import ObjectExistsError, ObjectStore
from thresher.storage.artifacts import object_sha256
from thresher.storage.read_file import open_input

COMMIT_WINDOW_S = 0.2
PARTS_CACHED = 4
PART = re.compile(r"responses-(\d{6})\.parquet")
INDEX_COLUMNS = ["request_sha256", "num_prompt_tokens", "num_completion_tokens"]


@dataclass(frozen=True)
class StoredAnswer:
    """Where an answer lies, and what it cost."""

    key: str
    row: int
    num_prompt_tokens: int
    num_completion_tokens: int


@dataclass(frozen=True)
class Totals:
    """Over the distinct answers of a run."""

    num_calls: int
    num_prompt_tokens: int
    num_completion_tokens: int


class Ledger:
    """Answers of one label run, and a view on those of the dictionary's other runs.

    Answers that arrive within a small window are committed together, as one part file of a name never used before.
    """

    def __init__(self, store: ObjectStore, name: str, version: str, run_id: str) -> None:
        self._store, self._artifact = store, paths.label_run(name, version, run_id)
        self._own: dict[str, StoredAnswer] = {}
        self._others: dict[str, StoredAnswer] = {}
        self._tables: OrderedDict[str, pa.Table] = OrderedDict()
        self._pending: list[tuple[dict[str, Any], asyncio.Future[None]]] = []
        self._committer: asyncio.Task[None] | None = None
        self._next_part = 0
        for info in store.list(paths.label_run(name, version, "")):
            folder, _, file = info.key.rpartition("/")
            if (match := PART.fullmatch(file)) is not None:
                own = folder == self._artifact
                self._index(info.key, self._own if own else self._others)
                self._next_part = max(self._next_part, int(match[1]) + 1) if own else self._next_part

    def totals(self) -> Totals:
        answers = self._own.values()
        return Totals(
            num_calls=len(answers),
            num_prompt_tokens=sum(answer.num_prompt_tokens for answer in answers),
            num_completion_tokens=sum(answer.num_completion_tokens for answer in answers),
        )

    def num_tokens_paid(self) -> int:
        """Tokens this run has paid for: its answers, without those that another run had before."""
        paid = [answer for sha256, answer in self._own.items() if sha256 not in self._others]
        return sum(answer.num_prompt_tokens + answer.num_completion_tokens for answer in paid)

    async def find(self, request: ModelRequest) -> Answer | None:
        """A stored answer; one of another run is first copied into this run, which stays whole by itself."""
        if (own := self._own.get(request.sha256)) is not None:
            return _answer(self._row(own))
        if (other := self._others.get(request.sha256)) is not None:
            row = self._row(other)
            await self._commit(row)
            return _answer(row)
        return None

    async def append(self, request: ModelRequest, answer: Answer) -> None:
        """Store an answer; returns once it is durable.

        Raises:
            StoreError: the store refused; the answer is lost.
        """
        await self._commit(
            {
                "request_sha256": request.sha256,
                "purpose": request.purpose,
                "model": request.model,
                "response": json.dumps(answer.body, ensure_ascii=False, separators=(",", ":")),
                "num_prompt_tokens": answer.num_prompt_tokens,
                "num_completion_tokens": answer.num_completion_tokens,
                "received_at": answer.received_at,
            }
        )

    async def close(self) -> None:
        """Commit what is pending."""
        if self._committer is not None:
            await self._committer

    def parts(self) -> list[FileEntry]:
        """Every part file of this run, with what it hashes to in the store."""
        return [
            FileEntry(key=info.key, size=info.size, sha256=object_sha256(self._store, info.key, info.size))
            for info in self._store.list(f"{self._artifact}/responses-")
        ]

    async def _commit(self, row: dict[str, Any]) -> None:
        durable = asyncio.get_running_loop().create_future()
        self._pending.append((row, durable))
        if self._committer is None or self._committer.done():
            self._committer = asyncio.create_task(self._commit_pending())
        await durable

    async def _commit_pending(self) -> None:
        while self._pending:
            await asyncio.sleep(COMMIT_WINDOW_S)
            batch, self._pending = self._pending, []
            rows = [row for row, _ in batch]
            failure: StoreError | None = None
            try:
                key = await asyncio.to_thread(self._write_part, rows)
            except StoreError as error:
                failure = error
            else:
                self._own.update(_locations(key, rows))
            for _, durable in batch:
                if durable.done():  # its asker was cancelled
                    continue
                if failure is None:
                    durable.set_result(None)
                else:
                    durable.set_exception(failure)

    def _write_part(self, rows: list[dict[str, Any]]) -> str:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema=RESPONSES), sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        while True:
            key = f"{self._artifact}/responses-{self._next_part:06d}.parquet"
            self._next_part += 1
            try:
                self._store.put(key, data, if_absent=True)
            except ObjectExistsError:  # another attempt at the same run took the name
                continue
            return key

    def _index(self, key: str, into: dict[str, StoredAnswer]) -> None:
        with open_input(self._store, key) as file:
            into.update(_locations(key, pq.read_table(file, columns=INDEX_COLUMNS).to_pylist()))

    def _row(self, stored: StoredAnswer) -> dict[str, Any]:
        if stored.key not in self._tables:
            with open_input(self._store, stored.key) as file:
                self._tables[stored.key] = pq.read_table(file, schema=RESPONSES)
            if len(self._tables) > PARTS_CACHED:
                self._tables.popitem(last=False)
        row: dict[str, Any] = self._tables[stored.key].slice(stored.row, 1).to_pylist()[0]
        return row


def _locations(key: str, rows: list[dict[str, Any]]) -> Iterator[tuple[str, StoredAnswer]]:
    for index, row in enumerate(rows):
        yield (
            row["request_sha256"],
            StoredAnswer(key, index, row["num_prompt_tokens"], row["num_completion_tokens"]),
        )


def _answer(row: dict[str, Any]) -> Answer:
    return Answer(
        body=json.loads(row["response"]),
        num_prompt_tokens=row["num_prompt_tokens"],
        num_completion_tokens=row["num_completion_tokens"],
        received_at=row["received_at"],
    )
