"""The writing side of a worker: a thread that takes encoded rows off the ring and writes the open shards.

The next forward pass runs while rows are assembled, framed, hashed and uploaded here; and the next shard is written
while the last files of the one before go up.
"""

import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
from torch.cuda import Event

from thresher.activations.row_encoding import EncodedRows, RowEncoding
from thresher.harvest.plan import ShardPart, ShardPlan
from thresher.harvest.ring import BoundedRing, RingClosedError
from thresher.harvest.shard_writer import ShardWriter
from thresher.storage import ObjectStore

MAX_FINISHING = 4
"""Shards whose last files go up at once. How many there are is bounded by the calls in flight."""


@dataclass(frozen=True)
class SequenceRows:
    """Rows [first_row, stop_row) of a step are the selected ones of positions [start, start + num_positions)."""

    sequence: int
    start: int
    num_positions: int
    first_row: int
    stop_row: int


@dataclass(frozen=True)
class StepRows:
    """What one forward pass gave: encoded rows of each site, and whose they are."""

    sites: Mapping[str, EncodedRows]
    sequences: list[SequenceRows]
    copied: Event | None = None
    """Recorded after the copies to host memory, on GPU."""

    @property
    def num_bytes(self) -> int:
        return sum(rows.num_bytes for rows in self.sites.values())


class ShardSink:
    """Shards that are open, and the thread that writes them.

    A fault of the thread is raised to the engine's thread at its next call; the sink is of no more use then.

    Args:
        store: where shards go.
        sites: of this rank.
        encodings: by site, filled before the first rows come.
        ring_bytes: bound of the rows between the engine and the store.
        writes_addresses: whether this rank writes the tables of addresses.
    """

    def __init__(
        self,
        store: ObjectStore,
        sites: list[str],
        encodings: Mapping[str, RowEncoding],
        ring_bytes: int,
        writes_addresses: bool,
    ) -> None:
        self._store, self._sites, self._encodings = store, sites, encodings
        self._writes_addresses = writes_addresses
        self._ring: BoundedRing[Callable[[], None]] = BoundedRing(ring_bytes)
        self._writers: dict[int, ShardWriter] = {}
        self._done: queue.SimpleQueue[ShardPart] = queue.SimpleQueue()
        self._fault: BaseException | None = None
        self._finishing = ThreadPoolExecutor(MAX_FINISHING, thread_name_prefix="shard-finish")
        self._thread = threading.Thread(target=self._write, name="shard-sink", daemon=True)
        self._thread.start()

    @property
    def wait_s(self) -> float:
        """Time that the engine stood still because the ring was full."""
        return self._ring.wait_s

    def open(self, plan: ShardPlan, addresses: pa.Table) -> None:
        """Rows of the plan's sequences are taken from now on."""
        self._put(lambda: self._open(plan, addresses), addresses.nbytes)

    def put(self, step: StepRows) -> None:
        """Hand a step's rows on; waits while the ring is full.

        Raises:
            CoverageError, StoreError: the writing thread failed.
        """
        self._put(lambda: self._add(step), step.num_bytes)

    def close(self, plan: ShardPlan) -> None:
        """All rows of the shard were put; its part will be among those of `collect`."""
        self._put(lambda: self._finish(plan), 0)

    def collect(self) -> list[ShardPart]:
        """Parts that were finished since the last call.

        Raises:
            CoverageError, StoreError: the writing thread failed.
        """
        self._raise_fault()
        return [self._done.get() for _ in range(self._done.qsize())]

    def abort(self) -> None:
        """Give up all that is open; nothing of it becomes visible."""
        self._ring.close()
        self._thread.join()
        self._finishing.shutdown()
        for writer in self._writers.values():
            writer.abort()

    def _put(self, work: Callable[[], None], num_bytes: int) -> None:
        self._raise_fault()
        try:
            self._ring.put(work, num_bytes)
        except RingClosedError:
            self._raise_fault()
            raise

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _write(self) -> None:
        while (work := self._ring.take()) is not None:
            if not self._try(work):
                return
            self._ring.release()

    def _try(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised to the engine's thread at its next call
            self._fault = error
            self._ring.close()
            return False
        return True

    def _open(self, plan: ShardPlan, addresses: pa.Table) -> None:
        if self._sites:
            self._writers[plan.index] = ShardWriter(
                self._store, plan, self._sites, addresses, self._encodings, self._writes_addresses
            )

    def _add(self, step: StepRows) -> None:
        if step.copied is not None:
            step.copied.synchronize()
        for item in step.sequences:
            writer = self._writer_of(item.sequence)
            rows = {site: rows.part(item.first_row, item.stop_row) for site, rows in step.sites.items()}
            writer.add(item.sequence, item.start, item.num_positions, rows)

    def _writer_of(self, sequence: int) -> ShardWriter:
        return next(writer for writer in self._writers.values() if writer.covers(sequence))

    def _finish(self, plan: ShardPlan) -> None:
        if not self._sites:
            self._done.put(ShardPart(index=plan.index, num_rows=None, sites={}, rows=None))
            return
        writer = self._writers.pop(plan.index)
        self._finishing.submit(self._try, lambda: self._finish_files(writer))

    def _finish_files(self, writer: ShardWriter) -> None:
        try:
            self._done.put(writer.finish())
        except BaseException:
            writer.abort()
            raise
