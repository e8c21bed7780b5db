"""Event files that TensorBoard reads, written by tensorboardX, which Ray Train brings along."""

from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter


class TensorBoardTracker:
    """Scalars of a run.

    Args:
        folder: of the run's event files; every start of it adds one.
        step: that the run goes on from. TensorBoard then hides what an interrupted start showed after it.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        self._writer.close()
