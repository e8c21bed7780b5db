"""Batches of rows in a planned order, read ahead by one thread.

Shape suffixes: B rows of this worker's part of a global batch, D width of the input, E width of the output.
"""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch

from thresher.activations.read_meter import ReadMeter
from thresher.activations.row_pairs import RowPairs
from thresher.activations.row_source import RowSource, gather_pairs
from thresher.activations.shuffle import RowOrder, RowRange, worker_slice

POLL_S = 0.1
READ_ROWS = 4096


@dataclass(frozen=True)
class BatchPlan:
    """Which rows a worker reads at each step: a function of the plan alone, so any step can be the first."""

    order: RowOrder
    batch_rows: int
    """Rows of a global batch, over all workers."""
    rank: int = 0
    world_size: int = 1

    def gather(self, source: RowSource, step: int) -> RowPairs:
        """This worker's part of the global batch of a step, float32."""
        part = worker_slice(self.batch_rows, self.rank, self.world_size)
        start = step * self.batch_rows
        return gather_pairs(source, self.order.items(start + part.start, start + part.stop))

    def ahead(self, step: int) -> list[RowRange]:
        """The ranges of rows that this step and those after it read, where the order keeps to ranges."""
        return self.order.ahead(step * self.batch_rows, (step + 1) * self.batch_rows)


class BatchLoader:
    """Iterates over the batches of steps [start_step, stop_step), at most `depth` of them ahead.

    Use as a context manager; a failure of the reading thread is raised to the reader of the batches.
    """

    def __init__(
        self, source: RowSource, plan: BatchPlan, start_step: int, stop_step: int, depth: int = 2
    ) -> None:
        self.meter = ReadMeter()
        """Who waits for whom."""
        self._source, self._plan = source, plan
        self._steps = range(start_step, stop_step)
        self._queue: queue.Queue[RowPairs | BaseException] = queue.Queue(maxsize=depth)
        self._expected: list[RowRange] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read_ahead, name="batch-loader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._expected:
            self._source.expect([])

    def __iter__(self) -> Iterator[tuple[int, RowPairs]]:
        for step in self._steps:
            start_s, num_ready = time.perf_counter(), self._queue.qsize()
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            num_rows = len(item.x_BD)
            self.meter.add_taken(
                num_rows, num_rows * self._source.row_bytes, time.perf_counter() - start_s, num_ready
            )
            yield step, item

    def _read_ahead(self) -> None:
        try:
            for step in self._steps:
                start_s = time.perf_counter()
                if (ahead := self._plan.ahead(step)) != self._expected:
                    self._source.expect(ahead)
                    self._expected = ahead
                pairs = self._plan.gather(self._source, step)
                self.meter.add_read(time.perf_counter() - start_s)
                if not self._offer(pairs):
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the thread that reads the batches
            self._offer(error)

    def _offer(self, item: RowPairs | BaseException) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return True
        return False


def read_batches(
    source: RowSource, order: RowOrder, num_rows: int, batch_rows: int = READ_ROWS
) -> Iterator[RowPairs]:
    """The first rows of an order, read ahead; the last batch has what is left."""
    num_steps = -(-num_rows // batch_rows)
    with BatchLoader(source, BatchPlan(order, batch_rows), 0, num_steps) as loader:
        for step, pairs in loader:
            left = num_rows - step * batch_rows
            if left >= batch_rows:
                yield pairs
            else:
                x_BD = pairs.x_BD[:left]
                yield RowPairs(x_BD, x_BD if source.is_reconstruction else pairs.y_BE[:left])


def read_pairs(source: RowSource, order: RowOrder, num_rows: int) -> RowPairs:
    """The first rows of an order, in memory at once."""
    parts = list(read_batches(source, order, num_rows))
    x_ND = torch.cat([part.x_BD for part in parts])
    return RowPairs(x_ND, x_ND if source.is_reconstruction else torch.cat([part.y_BE for part in parts]))
