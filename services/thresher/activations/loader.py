"""Batches of rows in a planned order, read ahead by one thread.

Shape suffixes: B rows of this worker's part of a global batch, D width of the input, E width of the output.
"""

import itertools
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch

from thresher.activations.read_meter import ReadMeter
from thresher.activations.recycled_arrays import RecycledArrays
from thresher.activations.row_pairs import RowPairs
from thresher.activations.row_source import RowSource, gather_pairs
from thresher.activations.shuffle import RowOrder, RowRange, worker_slice

READ_ROWS = 4096


@dataclass(frozen=True)
class BatchPlan:
    """Which rows a worker reads at each step: a function of the plan alone, so any step can be the first."""

    order: RowOrder
    batch_rows: int
    """Rows of a global batch, over all workers."""
    rank: int = 0
    world_size: int = 1

    def gather(self, source: RowSource, step: int, arrays: RecycledArrays | None = None) -> RowPairs:
        """This worker's part of the global batch of a step, float32."""
        part = worker_slice(self.batch_rows, self.rank, self.world_size)
        start = step * self.batch_rows
        return gather_pairs(source, self.order.items(start + part.start, start + part.stop), arrays)

    def ahead(self, step: int) -> list[RowRange]:
        """The ranges of rows that this step and those after it read, where the order keeps to ranges."""
        return self.order.ahead(step * self.batch_rows, (step + 1) * self.batch_rows)


class BatchLoader:
    """Iterates over the batches of steps [start_step, stop_step), at most `depth` of them ahead.

    Use as a context manager; a failure to read is raised to the reader of the batches. The memory of a batch is used
    again once nothing refers to its tensors.
    """

    def __init__(
        self,
        source: RowSource,
        plan: BatchPlan,
        start_step: int,
        stop_step: int,
        depth: int = 2,
        num_threads: int = 1,
    ) -> None:
        self.meter = ReadMeter()
        """Who waits for whom."""
        self._source, self._plan, self._depth = source, plan, depth
        self._steps = range(start_step, stop_step)
        self._arrays = RecycledArrays()
        self._ahead: deque[Future[RowPairs]] = deque()
        self._expected: list[RowRange] = []
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="batch-loader")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._expected:
            self._source.expect([])

    def __iter__(self) -> Iterator[tuple[int, RowPairs]]:
        steps = iter(self._steps)
        for step in itertools.islice(steps, self._depth):
            self._begin(step)
        for step in self._steps:
            start_s, num_ready = time.perf_counter(), sum(future.done() for future in self._ahead)
            pairs = self._ahead.popleft().result()
            num_rows = len(pairs.x_BD)
            self.meter.add_taken(
                num_rows, num_rows * self._source.row_bytes, time.perf_counter() - start_s, num_ready
            )
            if (following := next(steps, None)) is not None:
                self._begin(following)
            yield step, pairs

    def _begin(self, step: int) -> None:
        """Expectations follow the order of steps, and come before any read of theirs."""
        if (ahead := self._plan.ahead(step)) != self._expected:
            wait(self._ahead)  # reads under way need what is expected so far
            self._source.expect(ahead)
            self._expected = ahead
        self._ahead.append(self._threads.submit(self._read, step))

    def _read(self, step: int) -> RowPairs:
        start_s = time.perf_counter()
        pairs = self._plan.gather(self._source, step, self._arrays)
        self.meter.add_read(time.perf_counter() - start_s)
        return pairs


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
