"""Event files that TensorBoard reads, in the format of tensorboardX, which Ray Train brings along."""

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary


class TensorBoardTracker:
    """Scalars of a run, on disk when `log` returns: a SummaryWriter's thread would lose the last ones with the process.

    Args:
        folder: of the run's event files; every start of it adds one.
        step: that the run goes on from. TensorBoard then hides what an interrupted start showed after it.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Files are named by the second of their start, and would replace each other within one.
        self._writer = EventsWriter(str(folder / "events"), f".{step:09d}")
        self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        shown = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(step=step, summary=Summary(value=shown)))

    def close(self, *, failed: bool) -> None:
        self._writer.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)
        self._writer.flush()
