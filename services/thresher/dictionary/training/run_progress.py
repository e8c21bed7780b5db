"""How far a fit is, told from its first worker to the driver by a small object that is overwritten."""

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Self

from thresher.activations.read_meter import ReadMeter, who_waits
from thresher.contracts.manifests import Record
from thresher.runtime.progress import Meter
from thresher.storage import ObjectStore
from thresher.storage.artifacts import find_record, record_bytes

INTERVAL_S = 2.0


class RunProgress(Record):
    """training/progress.json: about a run, not about the dictionary, so it is in no manifest."""

    num_rows: int
    """Rows trained on, earlier runs included."""
    rows_per_s: float
    """Of the first worker, since this run began to train, in rows that it took itself."""
    bytes_per_s: float = 0.0
    """Stored bytes behind those rows."""
    data_wait_share: float
    """Share of this run's time that training waited for data."""
    read_share: float = 0.0
    """Share of it that rows were being read."""
    queue_depth: float = 0.0
    """Batches that lay ready when training asked for one, on average."""
    fault: str | None = None
    """Why training stopped for good."""

    @property
    def waits(self) -> str:
        """Which side waits for which, in words."""
        return who_waits(self.data_wait_share, self.bytes_per_s, self.queue_depth)


def progress_key(artifact: str) -> str:
    return f"{artifact}/training/progress.json"


class ProgressWriter:
    """Writes at most one record every few seconds."""

    def __init__(self, store: ObjectStore, artifact: str) -> None:
        self._store, self._key = store, progress_key(artifact)
        self._written_s = 0.0

    def write(
        self, num_rows: int, meter: ReadMeter, *, fault: str | None = None, force: bool = False
    ) -> None:
        now_s = time.monotonic()
        if not force and fault is None and now_s - self._written_s < INTERVAL_S:
            return
        self._written_s = now_s
        record = RunProgress(num_rows=num_rows, **asdict(meter.figures()), fault=fault)
        self._store.put(self._key, record_bytes(record))


class ProgressFollower:
    """Moves the driver's meter while the block runs, by reading the workers' records.

    Args:
        store: that the dictionaries lie in.
        rows_done: of each artifact that is trained, before the block.
        meter: to move.
    """

    def __init__(self, store: ObjectStore, rows_done: Mapping[str, int], meter: Meter) -> None:
        self._store, self._rows_done, self._meter = store, dict(rows_done), meter
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="fit-progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._advance()

    def _follow(self) -> None:
        while not self._done.wait(INTERVAL_S):
            self._advance()

    def _advance(self) -> None:
        for artifact, before in self._rows_done.items():
            record = find_record(self._store, progress_key(artifact), RunProgress)
            if record is not None and record.num_rows > before:
                self._meter.note(record.waits)
                self._meter.advance(record.num_rows - before)
                self._rows_done[artifact] = record.num_rows
