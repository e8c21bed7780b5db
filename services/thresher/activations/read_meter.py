"""Who waits for whom: the training for rows, or the reading for room."""

import threading
import time
from dataclasses import dataclass

WAITING_SHARE = 0.05
"""Of the time: below it nobody would gain by faster reads."""


@dataclass(frozen=True)
class ReadFigures:
    """Of a span of time."""

    rows_per_s: float
    """Rows handed to the training, over the whole span."""
    bytes_per_s: float
    """Stored bytes behind them."""
    data_wait_share: float
    """Share of the span that the training waited for rows."""
    read_share: float
    """Share of the span that rows were being read: at 1 the reading cannot go faster."""
    queue_depth: float
    """Batches that lay ready when the training asked, on average: near 0 it waits, near the limit the reading does."""


def who_waits(data_wait_share: float, bytes_per_s: float, queue_depth: float) -> str:
    """In words, for a line of progress."""
    side = "waits for data" if data_wait_share > WAITING_SHARE else "compute-bound"
    return f"{side} ({data_wait_share:.0%} waiting, {queue_depth:.1f} batches ready, {bytes_per_s / 1e6:,.0f} MB/s)"


class ReadMeter:
    """Counts from when it is made. The reading and the training thread each tell it of themselves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._start_s = time.perf_counter()
        self._rows = self._bytes = self._batches = self._ready = 0
        self._wait_s = self._read_s = 0.0

    @property
    def wait_s(self) -> float:
        """Time that the training has waited."""
        return self._wait_s

    def add_read(self, elapsed_s: float) -> None:
        """A batch was read, in so many seconds."""
        with self._lock:
            self._read_s += elapsed_s

    def add_taken(self, num_rows: int, num_bytes: int, wait_s: float, num_ready: int) -> None:
        """The training took a batch, for which it waited; so many lay ready when it asked."""
        with self._lock:
            self._rows += num_rows
            self._bytes += num_bytes
            self._batches += 1
            self._ready += num_ready
            self._wait_s += wait_s

    def figures(self) -> ReadFigures:
        """From the beginning until now."""
        with self._lock:
            elapsed_s = max(time.perf_counter() - self._start_s, 1e-9)
            return ReadFigures(
                rows_per_s=self._rows / elapsed_s,
                bytes_per_s=self._bytes / elapsed_s,
                data_wait_share=min(1.0, self._wait_s / elapsed_s),
                read_share=min(1.0, self._read_s / elapsed_s),
                queue_depth=self._ready / max(1, self._batches),
            )
