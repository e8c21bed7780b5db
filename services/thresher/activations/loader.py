"""Batches of shuffled rows, read ahead by one thread.

Shape suffixes: B rows of this worker's part of a global batch, D width of the site.
"""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch

from thresher.activations.dense_reader import DenseSite
from thresher.activations.shuffle import EndlessOrder, worker_slice
from thresher.activations.split_rows import SplitRows

POLL_S = 0.1


@dataclass(frozen=True)
class BatchPlan:
    """Which rows a worker reads at each step: a function of the plan alone, so any step can be the first."""

    rows: SplitRows
    order: EndlessOrder
    batch_rows: int
    """Rows of a global batch, over all workers."""
    rank: int = 0
    world_size: int = 1

    def gather(self, site: DenseSite, step: int) -> torch.Tensor:
        """This worker's part x_BD of the global batch of a step, float32."""
        numbers = self.order.items(step * self.batch_rows, (step + 1) * self.batch_rows)
        part = numbers[worker_slice(self.batch_rows, self.rank, self.world_size)]
        return site.gather(self.rows.to_harvest_rows(part))


class BatchLoader:
    """Iterates over the batches of steps [start_step, stop_step), at most `depth` of them ahead.

    Use as a context manager; a failure of the reading thread is raised to the reader of the batches.
    """

    def __init__(
        self, site: DenseSite, plan: BatchPlan, start_step: int, stop_step: int, depth: int = 2
    ) -> None:
        self.wait_s = 0.0
        """Time that the reader of the batches has spent waiting for data."""
        self._site, self._plan = site, plan
        self._steps = range(start_step, stop_step)
        self._queue: queue.Queue[torch.Tensor | BaseException] = queue.Queue(maxsize=depth)
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

    def __iter__(self) -> Iterator[tuple[int, torch.Tensor]]:
        for step in self._steps:
            start_s = time.perf_counter()
            item = self._queue.get()
            self.wait_s += time.perf_counter() - start_s
            if isinstance(item, BaseException):
                raise item
            yield step, item

    def _read_ahead(self) -> None:
        try:
            for step in self._steps:
                if not self._offer(self._plan.gather(self._site, step)):
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the thread that reads the batches
            self._offer(error)

    def _offer(self, item: torch.Tensor | BaseException) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return True
        return False
